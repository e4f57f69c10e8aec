// What was known of seals when the pages were made, and how to check for oneself.

const INSIDE =
  "A page cannot vouch for itself: whoever changes the archive can change what is said here. " +
  "Check it in the archive's folder, with Python and nothing else:";
const OUTSIDE =
  "These pages lie outside of the archive, and no seal covers them. They are as good as where " +
  "you have them from. What can be checked is the archive, in its folder, with Python and " +
  "nothing else:";
const WHOSE =
  "KEY.pub is the public key that whoever sealed the archive gave you by another way. Trackbridge " +
  "checks the same, and the tables besides: trackbridge audit check ARCHIVE --public-key KEY.pub";

function statePage(archive) {
  const { state, made } = archive.data;
  return [
    el("header", null, el("h1", null, "Verification")),
    pagesSection(archive),
    state.checked ? checkedSection(state.checked, made) : null,
    sealsSection(state.seals),
    redactionsSection(state.redactions),
  ].filter(Boolean);
}

function pagesSection(archive) {
  const { state, made, by, name, points } = archive.data;
  const reduced = `${number(state.reduced)} of ${count(state.metrics, "metric")}`;
  const inside = state.where === "inside";
  return section(
    "pages",
    "These pages",
    null,
    facts([
      ["made", moment(made)],
      ["by", by],
      ["of", name],
      ["covered by", inside ? `seal ${state.generation}, once it is made` : null],
      ["show", `${count(archive.size, "run")}, ${count(points, "point")}`],
      ["drawn by their extremes", reduced],
      ["records (SHA-256 of their list)", el("code", { class: "digest" }, state.records)],
    ]),
    el("p", { class: "remarks" }, inside ? INSIDE : OUTSIDE),
    el("pre", null, "python verify.py --public-key KEY.pub"),
    el("p", { class: "note" }, WHOSE),
  );
}

function sealsSection(seals) {
  const none = "None: the archive was not sealed when these pages were made.";
  const rows = seals.map(({ generation, sealed, key, problem }) => [
    generation,
    sealed,
    el("code", { class: "digest" }, key),
    problem,
  ]);
  const heads = ["generation", "sealed", "key (SHA-256)", "problem"];
  return section(
    "seals",
    "Seals that were there",
    null,
    rows.length ? grid(heads, rows, [0]) : el("p", null, none),
  );
}

function redactionsSection(rules) {
  if (!rules.length) return null;
  return section(
    "redactions",
    "What was taken out",
    "before the records came into the archive: see data/redactions",
    grid(
      ["rule", "what was done", "times"],
      rules.map(({ rule, action, times }) => [rule, action, number(times)]),
      [2],
    ),
  );
}

/** What the check said that was made of the whole archive before these pages were. */
function checkedSection({ problems, count: all, files, gaps }, made) {
  const list = (texts) => texts.map((text) => el("li", null, text));
  const note = (text) => el("p", { class: "note" }, text);
  const wrong = [
    el("p", null, badge("failed", count(all, "problem"))),
    el("ul", { class: "remarks" }, list(problems)),
    all > problems.length ? note(`and ${number(all - problems.length)} more`) : null,
  ];
  const right = [
    el("p", null, badge("finished", "as it was sealed"), ` ${count(files, "file")}`),
    note("By the keys below; whether these are the ones that you believe, only you can say."),
  ];
  return section(
    "checked",
    "What a check found",
    moment(made),
    all ? wrong : right,
    gaps.length
      ? [note("What the records refer to and never had:"), el("ul", null, list(gaps))]
      : null,
  );
}
