// Draws curves of metrics as SVG, which can be zoomed by dragging or with the keyboard.

const WIDE = 420;
const HIGH = 190;
const BOX = { left: 54, right: WIDE - 10, top: 10, bottom: HIGH - 24 };
const COLOURS = 8;

/** A curve: places on the x axis and values, ordered by x; points without x are left out. */
function curve(name, x, y) {
  let order = Array.from(x.keys()).filter((index) => !Number.isNaN(x[index]));
  if (order.some((at, n) => n && x[order[n - 1]] > x[at]))
    order = order.sort((a, b) => x[a] - x[b] || a - b);
  return {
    name,
    x: Float64Array.from(order, (index) => x[index]),
    y: Float64Array.from(order, (index) => y[index]),
  };
}

/** The first place of an ordered array that is not less than a value. */
function firstFrom(sorted, value) {
  let low = 0;
  for (let high = sorted.length; low < high;) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * A plot with its caption. `options()` gives {log, unit} as they are now; `curves()` the curves.
 * It is drawn when it is seen, and anew when `draw` is called.
 */
class Plot {
  constructor(title, notes, curves, options) {
    this.curves = curves;
    this.options = options;
    this.range = null;
    this.readout = el("small", { class: "readout" }, "");
    this.whole = el(
      "button",
      { type: "button", class: "whole", hidden: true, click: () => this.zoom(null) },
      "all of it",
    );
    this.drawing = el("div", {
      class: "drawing",
      tabindex: "0",
      role: "group",
      "aria-label": `${title}: arrows move, plus and minus zoom, 0 shows all`,
      pointerdown: (event) => this.begin(event),
      pointermove: (event) => this.move(event),
      pointerup: (event) => this.end(event),
      pointercancel: () => this.cancel(),
      pointerleave: () => this.point(null),
      dblclick: () => this.zoom(null),
      keydown: (event) => this.key(event),
    });
    this.element = el(
      "figure",
      null,
      el("figcaption", null, el("code", null, title), notes, this.readout),
      this.drawing,
      this.whole,
    );
    this.element.plot = this;
  }

  /** The ends of what there is to see along x. */
  extent() {
    const ends = this.drawn
      .filter((each) => each.x.length)
      .flatMap((each) => [each.x[0], each.x[each.x.length - 1]]);
    return ends.length ? [Math.min(...ends), Math.max(...ends)] : null;
  }

  draw() {
    this.drawn = this.curves();
    const { log, unit } = this.options();
    const range = this.range || this.extent();
    const shown = range ? this.drawn.map((each) => within(each, range)) : [];
    const { low, high, hidden } = bounds(shown, log);
    this.whole.hidden = !this.range;
    this.x = null;
    if (!(low <= high)) return this.say(hidden ? "no values above zero" : "no finite values");
    if (!Number.isFinite(high - low)) return this.say("values too far apart to be drawn");
    const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    this.x = new Scale(range[0], range[1], BOX.left, BOX.right);
    this.y = log
      ? new Scale(low / 1.1, high * 1.1, BOX.bottom, BOX.top, true)
      : new Scale(low - room, high + room, BOX.bottom, BOX.top);
    this.hair = svg("path", { class: "hair" });
    this.selection = svg("rect", { class: "selection", y: BOX.top, height: BOX.bottom - BOX.top });
    const lines = shown.map((each, place) => {
      const dot = each.to - each.from === 1 ? " dot" : "";
      return svg("path", { class: `line c${place % COLOURS}${dot}`, d: this.path(each, log) });
    });
    const inside = { x: BOX.left, width: BOX.right - BOX.left, height: HIGH };
    const cut = svg("svg", { ...inside, viewBox: `${BOX.left} 0 ${inside.width} ${HIGH}` }, lines);
    const note = hidden ? `${count(hidden, "value")} not above zero: not drawn` : "";
    this.put([this.axes(unit), cut, this.hair, this.selection], note);
  }

  /** Say why nothing is drawn. */
  say(why) {
    this.put(svg("text", { x: WIDE / 2, y: HIGH / 2, "text-anchor": "middle" }, why), "");
  }

  put(content, note) {
    const drawing = svg("svg", { class: "plot", viewBox: `0 0 ${WIDE} ${HIGH}` }, content);
    this.drawing.replaceChildren(drawing, el("small", { class: "hidden-note" }, note));
  }

  path({ x, y, from, to }, log) {
    const parts = [];
    let pen = "M";
    for (let index = from; index < to; index++) {
      if (log && !(y[index] > 0)) {
        pen = "M";
        continue;
      }
      parts.push(`${pen}${this.x.at(x[index]).toFixed(1)} ${this.y.at(y[index]).toFixed(1)}`);
      pen = "L";
    }
    if (parts.length === 1) parts.push("h0"); // a dot, since its ends are round
    return parts.join("");
  }

  axes(unit) {
    const time = unit === "time";
    const across = this.y.ticks(4).map((tick) => [
      svg("path", {
        class: "grid",
        d: `M${BOX.left} ${this.y.at(tick).toFixed(1)}H${BOX.right}`,
      }),
      svg("text", { x: BOX.left - 6, y: this.y.at(tick) + 4, "text-anchor": "end" }, brief(tick)),
    ]);
    const ticks = time
      ? [this.x.low, (this.x.low + this.x.high) / 2]
      : this.x.ticks(5).filter((tick) => this.x.at(tick) < BOX.right - 60);
    const below = ticks.map((tick, index) =>
      svg(
        "text",
        {
          x: this.x.at(tick),
          y: HIGH - 8,
          "text-anchor": time && index === 0 ? "start" : "middle",
        },
        time ? moment(tick) : brief(tick),
      ),
    );
    return [
      across,
      below,
      svg("text", { x: BOX.right, y: HIGH - 8, "text-anchor": "end" }, time ? "UTC" : unit),
    ];
  }

  zoom(range) {
    this.range = range;
    this.draw();
  }

  place(event) {
    const frame = this.drawing.getBoundingClientRect();
    return Math.min(
      BOX.right,
      Math.max(BOX.left, ((event.clientX - frame.left) / frame.width) * WIDE),
    );
  }

  begin(event) {
    if (!this.x || event.button) return;
    this.anchor = this.place(event);
    this.drawing.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (!this.x) return;
    const place = this.place(event);
    this.point(this.x.back(place));
    if (this.anchor === undefined) return;
    this.selection.setAttribute("x", Math.min(place, this.anchor));
    this.selection.setAttribute("width", Math.abs(place - this.anchor));
  }

  end(event) {
    if (this.anchor === undefined) return;
    const [low, high] = [this.anchor, this.place(event)].sort((a, b) => a - b);
    this.cancel();
    if (high - low > 6) this.zoom([this.x.back(low), this.x.back(high)]);
  }

  cancel() {
    this.anchor = undefined;
    if (this.selection) this.selection.setAttribute("width", 0);
  }

  key(event) {
    if (!this.x || event.ctrlKey || event.metaKey || event.altKey) return;
    const [low, high] = [this.x.low, this.x.high];
    const span = high - low;
    const ways = {
      "+": [low + span / 4, high - span / 4],
      "=": [low + span / 4, high - span / 4],
      "-": [low - span / 2, high + span / 2],
      ArrowLeft: [low - span / 4, high - span / 4],
      ArrowRight: [low + span / 4, high + span / 4],
    };
    if (event.key === "0" || event.key === "Escape") this.zoom(null);
    else if (ways[event.key]) {
      const all = this.extent();
      const wanted = ways[event.key];
      const beyond = wanted[0] <= all[0] && wanted[1] >= all[1];
      this.zoom(beyond ? null : wanted);
    } else return;
    event.preventDefault();
  }

  /** Tell the values nearest to a place on the x axis. */
  point(at) {
    if (!this.x || at === null) {
      this.readout.textContent = "";
      if (this.hair) this.hair.removeAttribute("d");
      return;
    }
    const told = [];
    let place = null;
    for (const { name, x, y } of this.drawn) {
      if (!x.length) continue;
      let index = firstFrom(x, at);
      if (index === x.length || (index && at - x[index - 1] < x[index] - at)) index--;
      place = x[index];
      told.push(`${name ? `${name}: ` : ""}${number(y[index])}`);
    }
    const { unit } = this.options();
    const where = unit === "time" ? moment(place) : `${unit} ${number(place)}`;
    this.hair.setAttribute("d", `M${this.x.at(place).toFixed(1)} ${BOX.top}V${BOX.bottom}`);
    this.readout.textContent = [where, ...told.slice(0, 4)].join(" · ");
  }
}

/** The least and the greatest value that are seen; how many a logarithmic scale has no place for. */
function bounds(shown, log) {
  let [low, high, hidden] = [Infinity, -Infinity, 0];
  for (const { y, from, to } of shown) {
    for (let index = from; index < to; index++) {
      if (log && !(y[index] > 0)) hidden++;
      else {
        if (y[index] < low) low = y[index];
        if (y[index] > high) high = y[index];
      }
    }
  }
  return { low, high, hidden };
}

/** The part of a curve that is seen, and its neighbours beyond the edges. */
function within({ x, y }, [low, high]) {
  const from = Math.max(0, firstFrom(x, low) - 1);
  let to = firstFrom(x, high);
  while (to < x.length && x[to] <= high) to++;
  return { x, y, from, to: Math.min(x.length, to + 1) };
}
