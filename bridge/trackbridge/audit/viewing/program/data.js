// Loads the data beside the page: scripts that each call `take` once, since a page that was opened
// from a disk may read no other files.

const taken = new Map();
const waiting = new Map();

function take(name, document) {
  taken.set(name, document);
}

/** The document of a script beside the page, which is loaded once. */
function load(name) {
  if (!waiting.has(name)) {
    waiting.set(
      name,
      new Promise((done, failed) => {
        const script = el("script", {
          src: `${name}.js`,
          load: () =>
            taken.has(name) ? done(taken.get(name)) : failed(new Error(`${name}.js is damaged`)),
          error: () => failed(new Error(`${name}.js is missing beside this page`)),
        });
        document.head.append(script);
      }),
    );
  }
  return waiting.get(name);
}

/** Numbers, from the form that the page keeps them in. */
function unpacked(packed) {
  if (typeof packed !== "string") {
    return Float64Array.from(
      { length: packed.count },
      (_, index) => packed.from + packed.by * index,
    );
  }
  const text = atob(packed);
  const raw = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) raw[index] = text.charCodeAt(index);
  const view = new DataView(raw.buffer);
  return Float64Array.from({ length: raw.length / 8 }, (_, index) =>
    view.getFloat64(8 * index, true),
  );
}

/** All runs: the table that is loaded first. */
class Archive {
  constructor(data) {
    this.data = data;
    this.runs = data.runs;
    this.size = data.runs.run_id.length;
    this.numbers = new Map();
    this.byId = new Map();
    this.children = new Map();
    for (let run = 0; run < this.size; run++) {
      this.numbers.set(JSON.stringify([this.project(run), this.runs.run_id[run]]), run);
      this.byId.set(this.runs.run_id[run], this.byId.has(this.runs.run_id[run]) ? undefined : run);
      const parent = this.runs.parent[run];
      if (parent === null) continue;
      if (!this.children.has(parent)) this.children.set(parent, []);
      this.children.get(parent).push(run);
    }
  }

  project(run) {
    return this.data.projects[this.runs.project[run]];
  }

  /** All projects; those that have no runs come last. */
  projects() {
    return [...new Set([...this.data.projects, ...this.data.about.map((row) => row.project)])];
  }

  /** What people call a run. */
  name(run) {
    return this.runs.name[run] || this.runs.run_id[run];
  }

  /** The number of a run; undefined where there is none. */
  find(project, id) {
    return this.numbers.get(JSON.stringify([project, id]));
  }

  /** The number of the only run with that id; undefined where there is none, or several. */
  only(id) {
    return this.byId.get(id);
  }

  link(run) {
    return `#/run/${encodeURIComponent(this.project(run))}/${encodeURIComponent(this.runs.run_id[run])}`;
  }

  seconds(run) {
    const [from, to] = [this.runs.started[run], this.runs.ended[run]];
    return from === null || to === null ? null : Math.round(to - from) / 1000;
  }

  /** All that is known of a run, from the file that it shares with some others. */
  async detail(run) {
    const starts = this.data.groups;
    let low = 0;
    for (let high = starts.length - 1; low < high;) {
      const middle = Math.ceil((low + high) / 2);
      if (starts[middle] <= run) low = middle;
      else high = middle - 1;
    }
    const group = await load(`group-${String(low).padStart(5, "0")}`);
    return group[run - starts[low]];
  }
}
