// The metrics of runs: their plots, and what all of these share.

const HELP = "Drag over a plot to look closer; a double click shows all of it again.";

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
 * Plots of metrics, with what all of them share: axis, scale, and which are shown. `metrics` are
 * {key, system, notes, curves}, where `curves(axis)` gives [{name, x, y}].
 */
class Plots {
  constructor(metrics, names) {
    this.metrics = metrics;
    this.drawn = metrics.map((metric) => ({ metric, plot: this.plot(metric) }));
    this.measured = metrics.filter((metric) => metric.system).length;
    const again = () => this.redraw();
    this.axis = el(
      "select",
      { change: again },
      el("option", { value: "step" }, "step"),
      el("option", { value: "time" }, "time (UTC)"),
      el("option", { value: "seconds" }, "seconds since its first point"),
    );
    this.log = el("input", { type: "checkbox", change: again });
    this.system = el("input", { type: "checkbox", change: () => this.pick() });
    this.system.checked = this.measured === metrics.length;
    const search = {
      type: "search",
      placeholder: "part of a name",
      input: calmly(() => this.pick()),
    };
    this.search = el("input", search);
    this.told = el("span", { class: "note", role: "status" });
    this.place = el("div", null);
    this.pick();
    this.elements = [this.bar(), legend(names), this.place, el("p", { class: "note" }, HELP)];
  }

  plot(metric) {
    const curves = () => metric.curves(this.axis.value).map(({ name, x, y }) => curve(name, x, y));
    const options = () => ({ log: this.log.checked, unit: this.axis.value });
    return new Plot(metric.key, metric.notes, curves, options);
  }

  bar() {
    const measured = el("label", null, this.system, ` measured by the tracker (${this.measured})`);
    return el(
      "div",
      { class: "bar" },
      el("label", null, "along ", this.axis),
      el("label", null, this.log, " logarithmic"),
      this.measured ? measured : null,
      el("label", null, "name ", this.search),
      this.told,
    );
  }

  redraw() {
    for (const { plot } of this.drawn) {
      plot.range = null;
      plot.stale = !plot.seen;
      if (plot.seen) plot.draw();
    }
  }

  /** Show the plots that are asked for. */
  pick() {
    const word = this.search.value.toLowerCase();
    const meant = this.drawn.filter(
      ({ metric: { key, system } }) =>
        key.toLowerCase().includes(word) && (this.system.checked || !system),
    );
    this.told.textContent = `${count(meant.length, "metric")} of ${number(this.metrics.length)}`;
    sight.disconnect();
    const show = (part) => {
      for (const { plot } of part) {
        plot.stale = true;
        sight.observe(plot.element);
      }
      const figures = part.map(({ plot }) => plot.element);
      return el("div", { class: "plots" }, figures);
    };
    this.place.replaceChildren(...some(meant, 60, show));
  }
}

/** Which colour is which run's, where there are several. */
function legend(names) {
  if (names.length < 2) return null;
  const key = (place) => el("i", { class: `key c${place % COLOURS}` });
  return el(
    "ul",
    { class: "legend" },
    names.map((name, place) => el("li", null, key(place), name)),
  );
}

/** Plots of the metrics of one run, or of several over each other. */
function metricsSection(shown) {
  const keys = new Map();
  shown.forEach(({ detail }, place) => {
    for (const metric of detail.metrics) {
      const name = JSON.stringify([metric.system, metric.key]);
      if (!keys.has(name)) keys.set(name, { key: metric.key, system: metric.system, of: [] });
      keys.get(name).of.push({ place, metric, detail });
    }
  });
  if (!keys.size) return null;
  const names = shown.map(({ archive, run }) => archive.name(run));
  const metrics = [...keys.values()]
    .sort((a, b) => a.system - b.system)
    .map(({ key, system, of }) => ({
      key,
      system,
      notes: notesOf(of.map(({ metric, place }) => [names[place], pointNotes(metric).join("; ")])),
      curves: (axis) => {
        const none = { x: new Float64Array(), y: new Float64Array() };
        const found = names.map((name) => ({ name: names.length > 1 ? name : "", ...none }));
        for (const { place, metric, detail } of of)
          Object.assign(found[place], pointsOf(metric, detail.axes, axis));
        return found;
      },
    }));
  return section("metrics", "Metrics", null, new Plots(metrics, names).elements);
}

/** Notes at a plot: of each run by name, unless they are all the same. */
function notesOf(said) {
  if (new Set(said.map(([, text]) => text)).size === 1) return el("small", null, said[0][1]);
  return said.map(([name, text]) => el("small", null, `${name}: ${text}`));
}

/** What is left out of a plot is said at it. */
function pointNotes({ count: all, nan, infinite, kept, stretches }) {
  const few = `${number(kept)} of ${number(all - nan - infinite)} points`;
  const each = `least and greatest of each of ${number(stretches)} stretches`;
  return [
    stretches ? `${few}: ${each}` : count(all, "point"),
    nan ? `${number(nan)} NaN, not drawn` : null,
    infinite ? `${number(infinite)} infinite, not drawn` : null,
  ].filter(Boolean);
}

/** The points of a metric along an axis; where it has no steps, by their order. */
function pointsOf(metric, axes, axis) {
  const y = unpacked(metric.values);
  if (axis === "step") {
    const steps = unpacked(axes[metric.steps]);
    return { x: steps.every(Number.isNaN) ? Float64Array.from(y.keys()) : steps, y };
  }
  if (metric.times === null) return { x: new Float64Array(), y: new Float64Array() };
  const times = unpacked(axes[metric.times]);
  if (axis === "time") return { x: times, y };
  const begun = times.reduce((least, time) => (time < least ? time : least), Infinity);
  return { x: times.map((time) => (time - begun) / 1000), y };
}
