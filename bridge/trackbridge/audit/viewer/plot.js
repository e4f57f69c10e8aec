// Draws curves of metrics as SVG, which can be zoomed by dragging or with the keyboard.

const WIDE = 420;
const HIGH = 190;
const BOX = { left: 54, right: WIDE - 10, top: 10, bottom: HIGH - 24 };
const COLOURS = 8;

/** Maps values to places along an axis, and back. */
class Scale {
  constructor(low, high, start, stop, log = false) {
    Object.assign(this, { low, high, start, stop, log });
    const [from, to] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
    this.from = from;
    this.span = to - from;
  }

  at(value) {
    const place = this.log ? Math.log10(value) : value;
    const share = this.span > 0 ? (place - this.from) / this.span : 0.5;
    return this.start + share * (this.stop - this.start);
  }

  back(place) {
    const value = this.from + ((place - this.start) / (this.stop - this.start)) * this.span;
    return this.log ? 10 ** value : value;
  }

  /** Round values within, few enough to be told apart. */
  ticks(most) {
    if (this.log && this.span >= 1) {
      const every = Math.ceil(this.span / most);
      const first = Math.ceil(this.from);
      const powers = Array.from({ length: Math.floor(this.from + this.span) - first + 1 }, (_, n) => first + n);
      return powers.filter((power) => power % every === 0).map((power) => 10 ** power);
    }
    const span = this.high - this.low;
    if (!(span > 0)) return [this.low];
    const rough = span / most;
    const unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5].map((by) => by * unit).find((by) => by >= rough) || 10 * unit;
    const first = Math.ceil(this.low / step - 1e-9);
    const last = Math.floor(this.high / step + 1e-9);
    return Array.from({ length: Math.max(0, last - first + 1) }, (_, n) => step * (first + n));
  }
}

/** A curve: places on the x axis and values, ordered by x; points without x are left out. */
function curve(name, x, y) {
  let order = Array.from(x.keys()).filter((index) => !Number.isNaN(x[index]));
  if (order.some((at, n) => n && x[order[n - 1]] > x[at])) order = order.sort((a, b) => x[a] - x[b] || a - b);
  return { name, x: Float64Array.from(order, (index) => x[index]), y: Float64Array.from(order, (index) => y[index]) };
}

/** The first place of an ordered array that is not less than a value. */
function firstFrom(sorted, value) {
  let low = 0;
  for (let high = sorted.length; low < high; ) {
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
    this.whole = el("button", { type: "button", class: "whole", hidden: true, click: () => this.zoom(null) }, "all of it");
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
    this.element = el("figure", null, el("figcaption", null, el("code", null, title), notes, this.readout), this.drawing, this.whole);
    this.element.plot = this;
  }

  /** The ends of what there is to see along x. */
  extent() {
    const ends = this.drawn.filter((each) => each.x.length).flatMap((each) => [each.x[0], each.x[each.x.length - 1]]);
    return ends.length ? [Math.min(...ends), Math.max(...ends)] : null;
  }

  draw() {
    this.drawn = this.curves();
    const { log, unit } = this.options();
    const all = this.extent();
    const range = all && (this.range || all);
    const shown = range ? this.drawn.map((each) => within(each, range)) : [];
    let [low, high] = [Infinity, -Infinity];
    let hidden = 0;
    for (const { y, from, to } of shown) {
      for (let index = from; index < to; index++) {
        if (log && !(y[index] > 0)) hidden++;
        else {
          if (y[index] < low) low = y[index];
          if (y[index] > high) high = y[index];
        }
      }
    }
    this.whole.hidden = !this.range;
    if (!(low <= high)) {
      const why = hidden ? "no values above zero" : "no finite values";
      this.drawing.replaceChildren(svg("svg", { class: "plot", viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": why }, svg("text", { x: WIDE / 2, y: HIGH / 2, "text-anchor": "middle" }, why)));
      this.x = null;
      return;
    }
    const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    this.x = new Scale(range[0], range[1], BOX.left, BOX.right);
    this.y = log ? new Scale(low / 1.1, high * 1.1, BOX.bottom, BOX.top, true) : new Scale(low - room, high + room, BOX.bottom, BOX.top);
    this.hair = svg("path", { class: "hair", d: "" });
    this.selection = svg("rect", { class: "selection", y: BOX.top, height: BOX.bottom - BOX.top, width: 0, x: 0 });
    const lines = shown.map((each, number) => svg("path", { class: `line c${number % COLOURS}${each.to - each.from === 1 ? " dot" : ""}`, d: this.path(each, log) }));
    this.drawing.replaceChildren(
      svg("svg", { class: "plot", viewBox: `0 0 ${WIDE} ${HIGH}` }, this.axes(unit), lines, this.hair, this.selection),
    );
    if (hidden) this.drawing.append(el("small", { class: "hidden-note" }, `${count(hidden, "value")} not above zero: not drawn`));
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
      svg("path", { class: "grid", d: `M${BOX.left} ${this.y.at(tick).toFixed(1)}H${BOX.right}` }),
      svg("text", { x: BOX.left - 6, y: this.y.at(tick) + 4, "text-anchor": "end" }, brief(tick)),
    ]);
    const ticks = time ? [this.x.low, (this.x.low + this.x.high) / 2] : this.x.ticks(5).filter((tick) => this.x.at(tick) < BOX.right - 60);
    const below = ticks.map((tick, index) =>
      svg("text", { x: this.x.at(tick), y: HIGH - 8, "text-anchor": time && index === 0 ? "start" : "middle" }, time ? moment(tick) : brief(tick)),
    );
    return [across, below, svg("text", { x: BOX.right, y: HIGH - 8, "text-anchor": "end" }, time ? "UTC" : unit)];
  }

  zoom(range) {
    this.range = range;
    this.draw();
  }

  place(event) {
    const frame = this.drawing.getBoundingClientRect();
    return Math.min(BOX.right, Math.max(BOX.left, ((event.clientX - frame.left) / frame.width) * WIDE));
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
      if (this.hair) this.hair.setAttribute("d", "");
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
    if (place === null) return;
    this.hair.setAttribute("d", `M${this.x.at(place).toFixed(1)} ${BOX.top}V${BOX.bottom}`);
    this.readout.textContent = `${unit === "time" ? moment(place) : `${unit} ${number(place)}`} · ${told.slice(0, 4).join(" · ")}`;
  }
}

/** The part of a curve that is seen, and its neighbours beyond the edges. */
function within({ x, y }, [low, high]) {
  const from = Math.max(0, firstFrom(x, low) - 1);
  let to = firstFrom(x, high);
  while (to < x.length && x[to] <= high) to++;
  return { x, y, from, to: Math.min(x.length, to + 1) };
}

/** Draws plots when they come into sight. */
const sight = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      entry.target.plot.seen = entry.isIntersecting;
      if (entry.isIntersecting && entry.target.plot.stale !== false) {
        entry.target.plot.stale = false;
        entry.target.plot.draw();
      }
    }
  },
  { rootMargin: "300px" },
);

/**
 * Plots of metrics with what all of them share: axis, scale, which keys. `metrics` are
 * {key, system, notes, curves}, where `curves(axis)` gives [{name, x, y}].
 */
function plots(metrics, names) {
  const options = { axis: "step", log: false };
  const drawn = metrics.map((metric) => {
    const plot = new Plot(metric.key, metric.notes, () => metric.curves(options.axis).map((c) => curve(c.name, c.x, c.y)), () => ({
      log: options.log,
      unit: options.axis === "since" ? "seconds" : options.axis,
    }));
    return { metric, plot };
  });
  const redraw = () => {
    for (const { plot } of drawn) {
      plot.range = null;
      plot.stale = !plot.seen;
      if (plot.seen) plot.draw();
    }
  };
  const choice = (value, text) => el("option", { value }, text);
  const axis = el("select", { change: () => { options.axis = axis.value; redraw(); } },
    choice("step", "step"), choice("time", "time (UTC)"), choice("since", "seconds since its first point"));
  const log = el("input", { type: "checkbox", change: () => { options.log = log.checked; redraw(); } });
  const system = el("input", { type: "checkbox", change: () => pick() });
  const measured = metrics.filter((metric) => metric.system).length;
  system.checked = measured === metrics.length;
  const search = el("input", { type: "search", placeholder: "part of a name", input: calmly(() => pick()) });
  const told = el("span", { class: "note", role: "status" });
  const place = el("div", null);
  function pick() {
    const word = search.value.toLowerCase();
    const meant = drawn.filter(({ metric }) => metric.key.toLowerCase().includes(word) && (system.checked || !metric.system));
    told.textContent = `${count(meant.length, "metric")} of ${SEPARATED.format(metrics.length)}`;
    sight.disconnect();
    place.replaceChildren(...some(meant, 60, (part) => {
      for (const { plot } of part) {
        plot.stale = true;
        sight.observe(plot.element);
      }
      return el("div", { class: "plots" }, part.map(({ plot }) => plot.element));
    }));
  }
  pick();
  const bar = el("div", { class: "bar" },
    el("label", null, "along ", axis), el("label", null, log, " logarithmic"),
    measured ? el("label", null, system, ` measured by the tracker (${SEPARATED.format(measured)})`) : null,
    el("label", null, "name ", search), told);
  const legend = names.length > 1 ? el("ul", { class: "legend" }, names.map((name, n) => el("li", null, el("i", { class: `key c${n % COLOURS}` }), name))) : null;
  return [bar, legend, place, el("p", { class: "note" }, "Drag over a plot to look closer; a double click shows all of it again.")];
}
