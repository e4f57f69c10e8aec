// The page of a run.

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
  ]
    .flat()
    .filter(Boolean);
  return [runHeader(archive, run), linksTo(sections), sections];
}

function runHeader(archive, run) {
  const project = archive.project(run);
  const link = `#/runs?project=${encodeURIComponent(project)}`;
  const state = badge(archive.runs.status[run] || "unknown");
  const deleted = archive.runs.deleted[run] ? badge("deleted", "deleted at its source") : null;
  return el(
    "header",
    null,
    el("p", { class: "eyebrow" }, el("a", { href: link }, project || "(no project)")),
    el("h1", null, archive.name(run), state, deleted),
    el("p", { class: "sub" }, el("code", null, archive.runs.run_id[run])),
  );
}

/** Buttons that lead to sections: their places are no addresses, since those lead to pages. */
function linksTo(sections) {
  const links = sections.map((each) => {
    const heading = each.querySelector("h2");
    heading.setAttribute("tabindex", "-1");
    const go = () => {
      each.scrollIntoView();
      heading.focus({ preventScroll: true });
    };
    return el("button", { type: "button", click: go }, heading.firstChild.textContent);
  });
  return el("nav", { class: "within", "aria-label": "Sections" }, links);
}

function aboutSection(archive, run, { run: row, tags, more }) {
  const parent = archive.runs.parent[run];
  const known = facts([
    ["started", moment(row.started)],
    ["ended", moment(row.ended)],
    ["took", duration(archive.seconds(run))],
    ["user", row.user],
    ["host", row.host],
    ["program", row.program],
    ["commit", row.git_commit],
    ["repository", row.git_remote],
    ["Python", row.python],
    ["part of", parent === null ? row.parent_run_id : runLink(archive, parent)],
    ["group", row.group],
    ["role", row.job_type],
    ["sweep", row.sweep_id],
    ["was read from", row.source],
    ["tags", tags.length ? el("span", { class: "labels" }, tags.map(label)) : null],
  ]);
  const left = more.tags ? `${count(tags.length, "tag")} of ${number(more.tags)}` : null;
  return section(
    "about",
    "About",
    null,
    known,
    left && el("p", { class: "note" }, left),
    row.extra && folded("fields of its own store", JSON.stringify(parsed(row.extra), null, 1)),
  );
}

function label(tag) {
  const text = tag.value === undefined ? tag.key : `${tag.key}: ${short(tag.value, 120)}`;
  return el("span", { class: "label", title: tag.value }, text);
}

function notesSection(row) {
  return row.notes
    ? section("notes", "Notes", null, el("pre", { class: "text" }, row.notes))
    : null;
}

/** An artifact as people ask for it: with its version, where it has one. */
function artifactName({ collection, version }) {
  return version ? `${collection}:${version}` : collection;
}

function artifactsSection({ artifacts, inputs }) {
  if (!artifacts.length && !inputs.length) return null;
  const aliases = (text) => [parsed(text || "[]")].flat().join(", ");
  const digest = (row) => el("code", { class: "digest" }, row.digest);
  const rows = [
    ...artifacts.map((row) => [
      artifactName(row),
      row.direction,
      row.kind,
      aliases(row.aliases),
      digest(row),
      [row.description ? el("p", null, row.description) : null, code(row.metadata)],
    ]),
    ...inputs.map((row) => [
      row.name,
      "input",
      row.kind,
      row.context,
      digest(row),
      [row.source, row.schema, row.profile].map(code),
    ]),
  ];
  const heads = ["name", "made or used", "kind", "aliases, context", "digest", "more"];
  return section(
    "artifacts",
    "Artifacts and inputs",
    null,
    some(rows, 200, (part) => grid(heads, part)),
  );
}

function filesSection({ files, more }) {
  if (!files.length) return null;
  const rows = files.map((file) => [
    file.owner,
    [fileName(file), file.link ? null : el("small", null, whyNot(file))],
    bytes(file.size),
    file.media_type,
    el("code", { class: "digest" }, file.sha256),
  ]);
  const all = more.files ? ` of ${number(more.files)}` : "";
  const heads = ["of artifact", "path", "size", "type", "SHA-256"];
  return section(
    "files",
    "Files",
    `${count(files.length, "file")}${all}`,
    some(rows, 200, (part) => grid(heads, part, [2])),
  );
}

/** Who ran what on which inputs, and what came of it: as the archive's RO-Crate says it. */
function provenanceSection(archive, run, detail) {
  const { run: row, artifacts } = detail;
  const used = artifacts.filter((each) => each.direction === "used");
  const logged = artifacts.filter((each) => each.direction !== "used");
  const given = [
    count(detail.params.length, "parameter"),
    ...detail.inputs.map((each) => each.name || "unnamed"),
    ...used.map(artifactName),
    detail.given ? count(detail.given, "file") : null,
  ];
  const results = [
    count(detail.summary.length, "final value"),
    ...logged.map(artifactName),
    count(detail.made, "file"),
  ];
  return section(
    "provenance",
    "Provenance",
    "as data/ro-crate-metadata.json in the archive says it",
    facts([
      ["who", row.user],
      ["with which program", row.program || "unknown program"],
      ["in which version", row.git_commit],
      ["from where", row.git_remote],
      ["from", moment(row.started)],
      ["until", moment(row.ended)],
      ["how it ended", archive.runs.status[run]],
      ["given", given.filter(Boolean).join("; ")],
      ["results", results.join("; ")],
    ]),
  );
}

function alertsSection({ alerts }) {
  if (!alerts.length) return null;
  const rows = alerts.map((row) => [row.level, row.title, moment(row.time), code(row.definition)]);
  return section("alerts", "Alerts", null, grid(["level", "title", "time", "more"], rows));
}

function logSection({ pieces, kept, text }) {
  if (!pieces) return null;
  const note =
    kept < pieces
      ? `the first and the last of ${count(pieces, "piece")}: ${number(kept)}`
      : "as a terminal shows it";
  return section("log", "Console", note, el("pre", { class: "log", tabindex: "0" }, text));
}
