// The first page: projects, and what else is in the archive.

const TONES = new Map([
  ["finished", "good"],
  ["running", "calm"],
  ["scheduled", "calm"],
  ["unknown", "warn"],
]);

/** A state, in its colour. */
function badge(status, text) {
  return el("span", { class: `badge ${TONES.get(status) || "bad"}` }, text || status);
}

function overview(archive, others) {
  const about = new Map(archive.data.about.map((row) => [row.project, row]));
  const projects = projectsOf(archive);
  const tiles = [
    ["projects", projects.length],
    ["runs", archive.size],
    ["points", archive.data.points],
  ].map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, number(value))));
  const heads = ["project", "runs", "states", "first start", "last end", "points"];
  const rows = projects.map((project) => projectRow(project, about.get(project.name)));
  return [
    el(
      "header",
      null,
      el("p", { class: "eyebrow" }, archive.data.name),
      el("h1", null, "Records of experiment tracking"),
      el("dl", { class: "tiles" }, tiles),
    ),
    section("projects", "Projects", null, grid(heads, rows, [1, 5])),
    modelsSection(archive, others.tables),
    definitions("sweeps", "Sweeps", others.tables.sweeps, "name"),
    definitions("reports", "Reports", others.tables.reports, "title"),
    itemsSection(Object.entries(others.items)),
  ].filter(Boolean);
}

/** Projects with what their runs come to. */
function projectsOf(archive) {
  const { project, status, points, started, ended } = archive.runs;
  const nothing = (name) => ({ name, runs: 0, points: 0, states: new Map(), times: [] });
  const found = archive.projects().map(nothing);
  for (let run = 0; run < archive.size; run++) {
    const of = found[project[run]];
    const state = status[run] || "unknown";
    of.runs++;
    of.points += points[run];
    of.states.set(state, (of.states.get(state) || 0) + 1);
    if (started[run] === null) continue;
    const [first, last] = of.times.length ? of.times : [Infinity, -Infinity];
    of.times = [Math.min(first, started[run]), Math.max(last, ended[run] ?? started[run])];
  }
  return found;
}

function projectRow({ name, runs, points, states, times }, about) {
  const link = `#/runs?project=${encodeURIComponent(name)}`;
  const badges = [...states]
    .sort()
    .map(([state, many]) => badge(state, `${number(many)} ${state}`));
  return [
    [
      el("a", { href: link }, name || "(no name)"),
      about?.deleted ? [" ", badge("deleted")] : null,
      about?.notes ? el("small", { class: "notes" }, about.notes) : null,
    ],
    number(runs),
    el("span", { class: "badges" }, badges),
    moment(times[0]),
    moment(times[1]),
    number(points),
  ];
}

function modelsSection(archive, { models, model_versions: versions }) {
  const known = new Set(versions.map((row) => row.name));
  const bare = models.filter((model) => !known.has(model.name));
  if (!versions.length && !bare.length) return null;
  const rows = [...versions, ...bare].map((row) => [
    row.name,
    row.version ?? "none",
    row.stage,
    row.run_id ? runById(archive, row.run_id) : "",
    moment(row.created),
    row.description,
  ]);
  const heads = ["model", "version", "stage", "run", "registered", "description"];
  return section(
    "models",
    "Registered models",
    null,
    some(rows, 200, (part) => grid(heads, part)),
  );
}

/** Sweeps or reports, which are shown as they are defined. */
function definitions(id, title, rows, named) {
  if (!rows.length) return null;
  const cells = rows.map((row) => [row.project, row[named], code(row.definition)]);
  return section(
    id,
    title,
    null,
    some(cells, 100, (part) => grid(["project", named, "definition"], part)),
  );
}

function itemsSection(items) {
  if (!items.length) return null;
  const rows = items.map(([words, many]) => [words, number(many)]);
  return section(
    "items",
    "Also in the archive",
    "in tables that this page does not show",
    grid(["what", "number"], rows, [1]),
  );
}

function runLink(archive, run) {
  return el("a", { href: archive.link(run) }, archive.name(run));
}

/** A link to a run that is known by its id alone; its id where there is none, or several. */
function runById(archive, id) {
  const run = archive.only(id);
  return run === undefined ? id : runLink(archive, run);
}

/** A long text is folded. */
function code(text) {
  if (text === null || text === undefined) return "";
  return text.length < 120 ? el("code", null, text) : folded(`${text.slice(0, 80)}…`, text);
}

function folded(title, text) {
  return el("details", null, el("summary", null, title), el("pre", null, text));
}
