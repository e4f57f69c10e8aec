// The first page: projects, and what else is in the archive.

function overview(archive, others) {
  const projects = archive.data.projects.map((name) => ({ name, runs: 0, points: 0, states: new Map(), from: Infinity, until: -Infinity }));
  for (let run = 0; run < archive.size; run++) {
    const project = projects[archive.runs.project[run]];
    const status = archive.runs.status[run] || "unknown";
    project.runs++;
    project.points += archive.runs.points[run];
    project.states.set(status, (project.states.get(status) || 0) + 1);
    const { started, ended } = archive.runs;
    if (started[run] !== null) project.from = Math.min(project.from, started[run]);
    if (started[run] !== null) project.until = Math.max(project.until, ended[run] ?? started[run]);
  }
  const about = new Map(archive.data.about.map((row) => [row.project, row]));
  for (const row of archive.data.about) {
    if (!projects.some((project) => project.name === row.project)) projects.push({ name: row.project, runs: 0, points: 0, states: new Map(), from: Infinity, until: -Infinity });
  }
  const rows = projects.map((project) => {
    const notes = about.get(project.name)?.notes;
    const states = [...project.states].sort().map(([status, number]) => badge(status, `${SEPARATED.format(number)} ${status}`));
    return [
      [el("a", { href: `#/runs?project=${encodeURIComponent(project.name)}` }, project.name || "(no name)"), about.get(project.name)?.deleted ? badge("deleted", "deleted") : null, notes ? el("small", { class: "notes" }, notes) : null],
      SEPARATED.format(project.runs),
      el("span", { class: "badges" }, states),
      moment(Number.isFinite(project.from) ? project.from : null),
      moment(Number.isFinite(project.until) ? project.until : null),
      SEPARATED.format(project.points),
    ];
  });
  const tiles = [["projects", projects.length], ["runs", archive.size], ["points", archive.data.points]];
  return [
    el("header", null,
      el("p", { class: "eyebrow" }, archive.data.name),
      el("h1", null, "Records of experiment tracking"),
      el("dl", { class: "tiles" }, tiles.map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, SEPARATED.format(value)))))),
    section("projects", "Projects", null, grid(["project", "runs", "states", "first start", "last end", "points"], rows, [1, 5])),
    belongings(archive, others),
  ];
}

/** A state, in its colour. */
function badge(status, text) {
  const tone = { finished: "good", running: "calm", scheduled: "calm" }[status] || (status === "unknown" ? "warn" : "bad");
  return el("span", { class: `badge ${tone}` }, text || status);
}

/** What belongs to no run. */
function belongings(archive, others) {
  const { models, model_versions: versions, sweeps, reports } = others.tables;
  const items = Object.entries(others.items);
  const found = [];
  if (models.length || versions.length) {
    const rows = versions.map((row) => [row.name, row.version, row.stage, row.run_id ? runById(archive, row.run_id) : "", moment(row.created), row.description]);
    const bare = models.filter((model) => !versions.some((row) => row.name === model.name)).map((model) => [model.name, "none", "", "", moment(model.created), model.description]);
    found.push(section("models", "Registered models", null, some([...rows, ...bare], 200, (part) => grid(["model", "version", "stage", "run", "registered", "description"], part))));
  }
  if (sweeps.length) found.push(section("sweeps", "Sweeps", null, some(sweeps, 100, (part) => grid(["project", "sweep", "name", "definition"], part.map((row) => [row.project, row.sweep_id, row.name, code(row.definition)])))));
  if (reports.length) found.push(section("reports", "Reports", null, some(reports, 100, (part) => grid(["project", "title", "definition"], part.map((row) => [row.project, row.title, code(row.definition)])))));
  if (items.length) found.push(section("items", "Also in the archive", "in tables that this page does not show", grid(["what", "number"], items.map(([words, number]) => [words, SEPARATED.format(number)]), [1])));
  return found;
}

/** A link to a run that is known by its id alone; its id where there is none, or several. */
function runById(archive, id) {
  const run = archive.only(id);
  return run === undefined ? id : el("a", { href: archive.link(run) }, archive.name(run));
}

/** A long text that is folded. */
function code(text) {
  if (text === null || text === undefined) return "";
  return text.length < 120 ? el("code", null, text) : el("details", null, el("summary", null, `${text.slice(0, 80)}…`), el("pre", null, text));
}
