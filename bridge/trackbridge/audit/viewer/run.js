// The page of a run, and the page that lays several over each other.

async function runPage(archive, run) {
  const [detail, things] = await Promise.all([archive.detail(run), load("lineage")]);
  const { run: row } = detail;
  const sections = [
    aboutSection(archive, run, detail),
    notesSection(row),
    metricsSection([{ archive, run, detail }]),
    valuesSection("params", "Configuration", detail.params, detail.more.params),
    valuesSection("summary", "Summary", detail.summary, detail.more.summary),
    mediaSections(detail),
    artifactsSection(detail),
    filesSection(detail),
    lineageSection(archive, run, detail, things),
    provenanceSection(archive, run, detail),
    alertsSection(detail),
    logSection(detail.log),
  ].flat().filter(Boolean);
  const links = sections.map((each) => el("button", { type: "button", click: () => {
    each.scrollIntoView();
    each.querySelector("h2").focus();
  } }, each.dataset.title || each.querySelector("h2").firstChild.textContent));
  sections.forEach((each) => each.querySelector("h2").setAttribute("tabindex", "-1"));
  return [
    el("header", null,
      el("p", { class: "eyebrow" }, el("a", { href: `#/runs?project=${encodeURIComponent(archive.project(run))}` }, archive.project(run) || "(no project)")),
      el("h1", null, archive.name(run), badge(archive.runs.status[run] || "unknown"), archive.runs.deleted[run] ? badge("deleted", "deleted at its source") : null),
      el("p", { class: "sub" }, el("code", null, archive.runs.run_id[run]))),
    el("nav", { class: "within", "aria-label": "Sections" }, links),
    sections,
  ];
}

function aboutSection(archive, run, { run: row, tags, more }) {
  const parent = archive.runs.parent[run];
  const labels = tags.length ? el("span", { class: "labels" }, tags.map((tag) => el("span", { class: "label", title: tag.value }, tag.value === undefined ? tag.key : `${tag.key}: ${short(tag.value, 120)}`))) : null;
  return section("about", "About", null,
    facts([
      ["started", moment(row.started)],
      ["ended", moment(row.ended)],
      ["took", duration(archive.seconds(run))],
      ["user", row.user],
      ["host", row.host],
      ["program", row.program],
      ["commit", row.git_commit],
      ["repository", row.git_remote],
      ["Python", row.python],
      ["part of", parent === null ? row.parent_run_id : el("a", { href: archive.link(parent) }, archive.name(parent))],
      ["group", row.group],
      ["role", row.job_type],
      ["sweep", row.sweep_id],
      ["was read from", row.source],
      ["tags", labels],
    ]),
    more.tags ? el("p", { class: "note" }, `${count(tags.length, "tag")} of ${SEPARATED.format(more.tags)}`) : null,
    row.extra ? el("details", null, el("summary", null, "fields of its own store"), el("pre", null, JSON.stringify(parsed(row.extra), null, 1))) : null);
}

function notesSection(row) {
  return row.notes ? section("notes", "Notes", null, el("pre", { class: "text" }, row.notes)) : null;
}

/** Plots of the metrics of one run, or of several over each other. */
function metricsSection(shown) {
  const keys = new Map();
  shown.forEach(({ detail }, number) => {
    for (const metric of detail.metrics) {
      const name = JSON.stringify([metric.system, metric.key]);
      if (!keys.has(name)) keys.set(name, { key: metric.key, system: metric.system, of: [] });
      keys.get(name).of.push({ number, metric, detail });
    }
  });
  if (!keys.size) return null;
  const names = shown.map(({ archive, run }) => archive.name(run));
  const metrics = [...keys.values()].sort((a, b) => a.system - b.system).map(({ key, system, of }) => ({
    key,
    system,
    notes: notesOf(of.map(({ metric, number }) => [names[number], pointNotes(metric).join("; ")])),
    curves: (axis) => {
      const found = shown.map((_, number) => ({ name: shown.length > 1 ? names[number] : "", x: new Float64Array(), y: new Float64Array() }));
      for (const { number, metric, detail } of of) Object.assign(found[number], pointsOf(metric, detail.axes, axis));
      return found;
    },
  }));
  return section("metrics", "Metrics", null, plots(metrics, names));
}

/** Notes at a plot: of each run by name, unless they are all the same. */
function notesOf(said) {
  if (new Set(said.map(([, text]) => text)).size === 1) return el("small", null, said[0][1]);
  return said.map(([name, text]) => el("small", null, `${name}: ${text}`));
}

/** What is left out of a plot is said at it. */
function pointNotes(metric) {
  const notes = [];
  const finite = metric.count - metric.nan - metric.infinite;
  if (metric.stretches) notes.push(`${SEPARATED.format(metric.kept)} of ${SEPARATED.format(finite)} points: least and greatest of each of ${SEPARATED.format(metric.stretches)} stretches`);
  else notes.push(count(metric.count, "point"));
  if (metric.nan) notes.push(`${SEPARATED.format(metric.nan)} NaN, not drawn`);
  if (metric.infinite) notes.push(`${SEPARATED.format(metric.infinite)} infinite, not drawn`);
  return notes;
}

function pointsOf(metric, axes, axis) {
  const y = unpacked(metric.values);
  const none = new Float64Array();
  if (axis === "step") {
    const steps = unpacked(axes[metric.steps]);
    return { x: steps.some((step) => !Number.isNaN(step)) ? steps : Float64Array.from(y.keys()), y };
  }
  if (metric.times === null) return { x: none, y: none };
  const times = unpacked(axes[metric.times]);
  const begun = axis === "since" ? times.reduce((least, time) => (time < least ? time : least), Infinity) : 0;
  return { x: axis === "since" ? times.map((time) => (time - begun) / 1000) : times, y };
}

/** Params or final values: nested as they were, and searched. */
function valuesSection(id, title, rows, all) {
  if (!rows.length) return null;
  const tree = { inside: new Map() };
  for (const row of rows) {
    const path = row.path ? parsed(row.path) : [row.key];
    let at = tree;
    for (const part of Array.isArray(path) ? path.map(String) : [row.key]) {
      if (!at.inside.has(part)) at.inside.set(part, { inside: new Map() });
      at = at.inside.get(part);
    }
    at.row = row;
  }
  const lines = [];
  const walk = (at, depth) => {
    for (const [name, part] of at.inside) {
      lines.push({ name, depth, row: part.row, text: part.row ? `${part.row.key}\n${valueText(part.row)}`.toLowerCase() : null });
      walk(part, depth + 1);
    }
  };
  walk(tree, 0);
  const place = el("div", null);
  const draw = (word) => {
    const meant = word ? lines.filter((line) => line.text && line.text.includes(word)) : lines;
    place.replaceChildren(...some(meant, 500, (part) => grid(["key", "value", "type"], part.map((line) => {
      const name = el("code", null, word ? line.row.key : line.name);
      if (!word) name.style.paddingLeft = `${line.depth * 18}px`;
      return [name, line.row ? code(valueText(line.row)) : "", line.row ? line.row.type : ""];
    }))));
  };
  draw("");
  const search = el("input", { type: "search", placeholder: "part of a key or value", "aria-label": `search in ${title}`, input: calmly(() => draw(search.value.toLowerCase())) });
  return section(id, title, all ? `${count(rows.length, "value")} of ${SEPARATED.format(all)}` : count(rows.length, "value"),
    rows.length > 8 ? el("div", { class: "bar" }, search) : null, place);
}

function artifactsSection({ artifacts, inputs }) {
  if (!artifacts.length && !inputs.length) return null;
  const rows = artifacts.map((row) => [
    `${row.collection}${row.version ? `:${row.version}` : ""}`, row.direction, row.kind,
    (Array.isArray(parsed(row.aliases || "[]")) ? parsed(row.aliases || "[]") : []).join(", "),
    el("code", null, row.digest || ""), [row.description ? el("p", null, row.description) : null, row.metadata ? code(row.metadata) : null]]);
  const used = inputs.map((row) => [row.name, "input", row.kind, row.context, el("code", null, row.digest || ""), [row.source ? code(row.source) : null, row.schema ? code(row.schema) : null, row.profile ? code(row.profile) : null]]);
  return section("artifacts", "Artifacts and inputs", null,
    some([...rows, ...used], 200, (part) => grid(["name", "made or used", "kind", "aliases, context", "digest", "more"], part)));
}

function filesSection({ files, more }) {
  if (!files.length) return null;
  const rows = files.map((file) => [
    file.owner || "",
    [fileName(file), file.link ? null : el("small", null, whyNot(file))],
    bytes(file.size), file.media_type || "", el("code", { class: "digest" }, file.sha256 || "")]);
  return section("files", "Files", more.files ? `${count(files.length, "file")} of ${SEPARATED.format(more.files)}` : count(files.length, "file"),
    some(rows, 200, (part) => grid(["of artifact", "path", "size", "type", "SHA-256"], part, [2])));
}

/** Who ran what on which inputs, and what came of it: as the archive's RO-Crate says it. */
function provenanceSection(archive, run, { run: row, params, summary, inputs, artifacts, given, made }) {
  const used = artifacts.filter((each) => each.direction === "used");
  const logged = artifacts.filter((each) => each.direction !== "used");
  const named = (some) => some.map((each) => each.collection ? `${each.collection}${each.version ? `:${each.version}` : ""}` : each.name || "unnamed").join(", ");
  return section("provenance", "Provenance", "as data/ro-crate-metadata.json in the archive says it",
    facts([
      ["who", row.user],
      ["with which program", row.program || "unknown program"],
      ["in which version", row.git_commit],
      ["from where", row.git_remote],
      ["from", moment(row.started)],
      ["until", moment(row.ended)],
      ["how it ended", archive.runs.status[run]],
      ["given", [count(params.length, "parameter"), inputs.length ? named(inputs) : null, used.length ? named(used) : null, given ? count(given, "file") : null].filter(Boolean).join("; ")],
      ["results", [count(summary.length, "final value"), logged.length ? named(logged) : null, count(made, "file")].filter(Boolean).join("; ")],
    ]));
}

function alertsSection({ alerts }) {
  return alerts.length ? section("alerts", "Alerts", null, grid(["level", "title", "time", "more"], alerts.map((row) => [row.level, row.title, moment(row.time), code(row.definition)]))) : null;
}

function logSection({ pieces, kept, text }) {
  if (!pieces) return null;
  const note = kept < pieces ? `the first and the last of ${count(pieces, "piece")}: ${SEPARATED.format(kept)}` : "as a terminal shows it";
  return section("log", "Console", note, el("pre", { class: "log", tabindex: "0" }, text));
}

/** Several runs: their metrics over each other, and where their params differ. */
async function comparePage(archive, runs) {
  const shown = await Promise.all(runs.map(async (run) => ({ archive, run, detail: await archive.detail(run) })));
  const differing = (table) => {
    const keys = new Map();
    shown.forEach(({ detail }, number) => {
      for (const row of detail[table]) {
        if (!keys.has(row.key)) keys.set(row.key, shown.map(() => undefined));
        keys.get(row.key)[number] = valueText(row);
      }
    });
    return [...keys].filter(([, values]) => new Set(values).size > 1).map(([key, values]) => [el("code", null, key), ...values.map((value) => (value === undefined ? "–" : code(value)))]);
  };
  const names = runs.map((run) => el("a", { href: archive.link(run) }, archive.name(run)));
  const part = (id, title) => {
    const rows = differing(id);
    return rows.length ? section(id, title, "where they differ", some(rows, 200, (few) => grid(["key", ...names.map((name) => name.cloneNode(true))], few))) : null;
  };
  return [
    el("header", null, el("h1", null, `${count(runs.length, "run")} compared`), el("p", { class: "sub names" }, names)),
    metricsSection(shown),
    part("params", "Configuration"),
    part("summary", "Summary"),
  ].filter(Boolean);
}
