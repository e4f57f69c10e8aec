// The table of runs: sorted, searched, filtered; only the rows in sight are there.

const ROW = 34;
const WIDTHS = {
  name: 260,
  project: 180,
  tags: 200,
  notes: 260,
  time: 190,
  number: 120,
  duration: 100,
  text: 150,
};
const AT_FIRST = ["name", "project", "status", "started", "duration", "user", "tags", "points"];

/** All columns that runs can be shown, sorted and filtered by. */
function columnsOf(archive, keyed) {
  const { runs } = archive;
  const own = (id, kind, value, title = id) => ({ id, title, kind, value });
  const plain = (id, kind) => own(id, kind, (run) => runs[id][run]);
  const columns = [
    own("name", "text", (run) => archive.name(run)),
    plain("run_id", "text"),
    own("project", "text", (run) => archive.project(run)),
    plain("status", "text"),
    plain("started", "time"),
    plain("ended", "time"),
    own("duration", "duration", (run) => archive.seconds(run)),
    plain("user", "text"),
    own("tags", "text", (run) => runs.tags[run].join(", ")),
    plain("group", "text"),
    plain("points", "number"),
    plain("files", "number"),
    own("part of", "text", (run) =>
      runs.parent[run] === null ? null : archive.name(runs.parent[run]),
    ),
    plain("notes", "text"),
    own("deleted", "text", (run) => (runs.deleted[run] ? "deleted" : null)),
  ];
  for (const { kind, key, values, runs: some } of keyed.columns) {
    const sparse = some && new Map(some.map((run, index) => [run, values[index]]));
    const value = sparse ? (run) => sparse.get(run) : (run) => values[run];
    const numbers = values.some((each) => numberIn(each) !== null);
    columns.push(own(`${kind}.${key}`, numbers ? "number" : "text", value, key));
  }
  return columns;
}

/** Columns of keys that tell runs apart: what most people want to see first. */
function telling(archive, keyed) {
  const found = [];
  for (const kind of ["params", "summary", "metrics"]) {
    const telling = keyed.columns.filter(
      (column) => column.kind === kind && new Set(column.values.slice(0, 500)).size > 1,
    );
    found.push(
      ...telling.slice(0, kind === "params" ? 4 : 3).map((column) => `${kind}.${column.key}`),
    );
  }
  return found.slice(0, 7);
}

/** The page of the table; `asked` is the query of its address. */
class RunsPage {
  constructor(archive, keyed, asked) {
    this.archive = archive;
    this.columns = columnsOf(archive, keyed);
    this.keyed = keyed;
    this.chosen = new Set();
    this.asked = asked;
    const first = [
      ...AT_FIRST.filter((id) => id !== "project" || archive.data.projects.length > 1),
      ...telling(archive, keyed),
    ];
    this.picked = asked.has("columns");
    this.shown = this.picked ? asked.get("columns").split("\n") : first;
    this.sort = asked.get("sort") || "-started";
    this.haystack = null;
    this.build();
    this.filter();
  }

  build() {
    const { archive, asked } = this;
    const changed = calmly(() => this.filter());
    const field = (name, props) =>
      el("input", { type: "search", name, value: asked.get(name) || "", input: changed, ...props });
    const pick = (name, all, values) => {
      const select = el(
        "select",
        { name, "aria-label": name, change: () => this.filter() },
        el("option", { value: "" }, all),
        values.map((value) =>
          el("option", { value, selected: value === asked.get(name) }, value || "(none)"),
        ),
      );
      return select;
    };
    const distinct = (values) =>
      [...new Set(values.filter((value) => value !== null))].sort(ORDER.compare);
    this.fields = {
      q: field("q", { placeholder: "words in names, tags, params …" }),
      project: pick("project", "every project", archive.projects()),
      status: pick("status", "every state", distinct(archive.runs.status)),
      tag: pick("tag", "every tag", distinct(archive.runs.tags.flat()).slice(0, 500)),
      where: field("where", { placeholder: "lr > 0.1 and status = finished", size: "30" }),
    };
    this.told = el("span", { role: "status", class: "note" });
    this.problem = el("p", { class: "problem", role: "alert", hidden: true });
    this.compare = el("a", { class: "button", hidden: true }, "");
    this.head = el("thead", null);
    this.body = el("tbody", null);
    this.widths = el("colgroup", null);
    this.table = el("table", { class: "runs" }, this.widths, this.head, this.body);
    this.frame = el(
      "div",
      {
        class: "frame",
        tabindex: "0",
        role: "region",
        "aria-label": "runs",
        scroll: () => this.scrolled(),
      },
      this.table,
    );
    const labelled = (text, input) => el("label", null, text, " ", input);
    this.element = el(
      "section",
      { class: "wide" },
      el("h1", null, "Runs"),
      el(
        "div",
        { class: "bar" },
        labelled("search", this.fields.q),
        labelled("where", this.fields.where),
        this.fields.project,
        this.fields.status,
        this.fields.tag,
        this.chooser(),
      ),
      this.problem,
      el("div", { class: "bar" }, this.told, this.compare),
      this.frame,
      this.note(),
    );
    new ResizeObserver(() => this.paint()).observe(this.frame);
  }

  /** What of the keys has no column. */
  note() {
    const cut = Object.entries(this.keyed.keys)
      .map(([kind, all]) => [kind, all, this.keyed.columns.filter((each) => each.kind === kind)])
      .filter(([, all, few]) => all > few.length)
      .map(([kind, all, few]) => `of ${number(all)} ${kind} the ${few.length} that most runs have`);
    const what = `${cut.join("; ")} are columns here; run pages have all`;
    return cut.length ? el("p", { class: "note" }, what) : null;
  }

  chooser() {
    const list = el("div", { class: "choices" });
    const search = el("input", {
      type: "search",
      placeholder: "part of a name",
      "aria-label": "part of a column's name",
      input: calmly(() => fillList()),
    });
    const fillList = () => {
      const word = search.value.toLowerCase();
      const meant = this.columns
        .filter((column) => column.id.toLowerCase().includes(word))
        .slice(0, 200);
      list.replaceChildren(
        ...meant.map((column) => {
          const box = el("input", {
            type: "checkbox",
            checked: this.shown.includes(column.id),
            change: () => {
              this.shown = box.checked
                ? [...this.shown, column.id]
                : this.shown.filter((id) => id !== column.id);
              this.picked = true;
              this.keep();
              this.lay();
            },
          });
          return el("label", null, box, ` ${column.id}`);
        }),
      );
    };
    fillList();
    return el("details", { class: "chooser" }, el("summary", null, "columns"), search, list);
  }

  /** Find the runs that are meant, and show them. */
  filter() {
    const { archive, fields } = this;
    let meant = () => false; // rather no list than one of what nobody asked for
    try {
      meant = meaning(fields.where.value, this.columns);
      this.problem.hidden = true;
    } catch (error) {
      this.problem.textContent = error.message;
      this.problem.hidden = false;
    }
    const words = fields.q.value.toLowerCase().split(/\s+/).filter(Boolean);
    const project = archive.data.projects.indexOf(fields.project.value);
    if (words.length && !this.haystack) this.haystack = this.texts();
    this.found = Array.from(archive.runs.run_id.keys()).filter(
      (run) =>
        (!fields.project.value || archive.runs.project[run] === project) &&
        (!fields.status.value || archive.runs.status[run] === fields.status.value) &&
        (!fields.tag.value || archive.runs.tags[run].includes(fields.tag.value)) &&
        words.every((word) => this.haystack[run].includes(word)) &&
        meant(run),
    );
    this.told.textContent = `${number(this.found.length)} of ${count(archive.size, "run")}`;
    this.keep();
    this.lay();
  }

  /** What words are looked for in, of each run. */
  texts() {
    const columns = this.columns.filter(
      (column) => column.kind === "text" || column.id.startsWith("params."),
    );
    return Array.from({ length: this.archive.size }, (_, run) =>
      columns
        .map((column) => column.value(run))
        .filter((value) => value !== null && value !== undefined)
        .join("\n")
        .toLowerCase(),
    );
  }

  /** Keep what is asked for in the address, so that a link leads to it. */
  keep() {
    const asked = new URLSearchParams();
    for (const [name, input] of Object.entries(this.fields))
      if (input.value) asked.set(name, input.value);
    if (this.sort !== "-started") asked.set("sort", this.sort);
    if (this.picked) asked.set("columns", this.shown.join("\n"));
    this.address = `#/runs${String(asked) ? `?${asked}` : ""}`;
    const here = location.hash.startsWith("#/runs"); // or somebody went on while data was loaded
    if (here && location.hash !== this.address) history.replaceState(null, "", this.address);
  }

  /** Sort, and lay the table out. */
  lay() {
    const sorted =
      this.columns.find((column) => column.id === this.sort.replace(/^-/, "")) || this.columns[0];
    const down = this.sort.startsWith("-");
    this.rows = ordered(this.found, sorted, down);
    this.visible = this.shown
      .map((id) => this.columns.find((column) => column.id === id))
      .filter(Boolean);
    const width = (column) => WIDTHS[column.id] || WIDTHS[column.kind];
    this.widths.replaceChildren(
      el("col", { width: 40 }),
      ...this.visible.map((column) => el("col", { width: width(column) })),
    );
    this.table.style.width = `${40 + this.visible.reduce((sum, column) => sum + width(column), 0)}px`;
    this.table.setAttribute("aria-rowcount", this.rows.length + 1);
    const heading = (column) => {
      const is = column.id === sorted.id;
      return el(
        "th",
        {
          scope: "col",
          class: numeric(column) ? "n" : null,
          "aria-sort": is ? (down ? "descending" : "ascending") : null,
          title: column.id,
        },
        el(
          "button",
          {
            type: "button",
            click: () => {
              this.sort = is && !down ? `-${column.id}` : column.id;
              this.keep();
              this.lay();
            },
          },
          column.title,
          is ? (down ? " ↓" : " ↑") : "",
        ),
      );
    };
    this.head.replaceChildren(
      el("tr", null, el("th", { class: "box" }, ""), this.visible.map(heading)),
    );
    this.first = -1;
    this.paint();
  }

  scrolled() {
    if (this.frame.isConnected) this.top = this.frame.scrollTop;
    this.paint();
  }

  /** Be there again, as it was left. */
  back() {
    this.frame.scrollTop = this.top || 0;
    this.paint();
  }

  /** Put the rows that are in sight into the table. */
  paint() {
    const first = Math.max(0, Math.floor(this.frame.scrollTop / ROW) - 20);
    const last = Math.min(
      this.rows.length,
      first + Math.ceil((this.frame.clientHeight || 600) / ROW) + 40,
    );
    if (first === this.first && last === this.last) return;
    [this.first, this.last] = [first, last];
    const gap = (rows) => {
      const row = el("tr", { class: "gap" }, el("td", { colspan: this.visible.length + 1 }));
      row.style.height = `${rows * ROW}px`;
      return row;
    };
    this.body.replaceChildren(
      gap(first),
      ...this.rows.slice(first, last).map((run, index) => this.row(run, first + index)),
      gap(this.rows.length - last),
    );
  }

  row(run, place) {
    const box = el("input", {
      type: "checkbox",
      "aria-label": `compare ${this.archive.name(run)}`,
      checked: this.chosen.has(run),
      change: () => this.choose(run, box.checked),
    });
    const cells = this.visible.map((column) =>
      el("td", { class: numeric(column) ? "n" : null }, this.cell(column, run)),
    );
    return el("tr", { "aria-rowindex": place + 2 }, el("td", { class: "box" }, box), cells);
  }

  cell(column, run) {
    const value = column.value(run);
    if (column.id === "name") return el("a", { href: this.archive.link(run), title: value }, value);
    if (value === null || value === undefined) return "";
    if (column.id === "status") return badge(value);
    if (column.kind === "time") return moment(value);
    if (column.kind === "duration") return duration(value);
    return typeof value === "number" ? number(value) : el("span", { title: value }, String(value));
  }

  choose(run, is) {
    if (is) this.chosen.add(run);
    else this.chosen.delete(run);
    this.compare.hidden = this.chosen.size < 2;
    this.compare.href = `#/compare/${[...this.chosen].join(",")}`;
    this.compare.textContent = `compare ${count(this.chosen.size, "run")}`;
  }
}

function numeric(column) {
  return column.kind === "number" || column.kind === "duration";
}
