// What was known of seals when the pages were made, and how to check for oneself.

function statePage(archive) {
  const { state, made, by } = archive.data;
  const inside = state.where === "inside";
  const seals = state.seals.map((seal) => [seal.generation, seal.sealed || "", seal.key ? el("code", { class: "digest" }, seal.key) : "", seal.problem || ""]);
  return [
    el("header", null, el("h1", null, "Verification")),
    section("pages", "These pages", null,
      facts([
        ["made", `${moment(made)} UTC`],
        ["by", by],
        ["of", archive.data.name],
        ["shows", `${count(archive.size, "run")}, ${count(archive.data.points, "point")}; of ${count(state.metrics, "metric")} ${SEPARATED.format(state.reduced)} are drawn by their extremes`],
        ["records", el("code", { class: "digest" }, state.records)],
      ]),
      inside
        ? el("p", { class: "remarks" }, `A page cannot vouch for itself: whoever changes the archive can change what is said here. These pages are covered by seal ${state.generation}, once it is made. Check it in the archive's folder, with Python and nothing else:`)
        : el("p", { class: "remarks" }, "These pages lie outside of the archive, and no seal covers them. They are as good as where you have them from; the archive is what can be checked, in its folder, with Python and nothing else:"),
      el("pre", null, "python verify.py --public-key KEY.pub"),
      el("p", { class: "note" }, "KEY.pub is the public key that whoever sealed the archive gave you by another way. Trackbridge checks the same, and the tables besides: trackbridge audit check ARCHIVE --public-key KEY.pub")),
    state.checked ? checkedSection(state.checked, made) : null,
    section("seals", "Seals that were there", null,
      seals.length ? grid(["generation", "sealed", "key (SHA-256)", "problem"], seals, [0]) : el("p", null, "None: the archive was not sealed when these pages were made.")),
    redactionsSection(state.redactions),
  ].filter(Boolean);
}

function redactionsSection(rules) {
  if (!rules.length) return null;
  return section("redactions", "What was taken out", "before the records came into the archive: see data/redactions",
    grid(["rule", "what was done", "times"], rules.map(({ rule, action, times }) => [rule, action, SEPARATED.format(times)]), [2]));
}

function checkedSection({ problems, count: number, files, gaps }, made) {
  return section("checked", "What a check found", `${moment(made)} UTC`,
    number
      ? [el("p", null, badge("failed", count(number, "problem"))), el("ul", { class: "remarks" }, problems.map((text) => el("li", null, text)))]
      : el("p", null, badge("finished", "as it was sealed"), ` ${count(files, "file")}`),
    number > problems.length ? el("p", { class: "note" }, `and ${count(number - problems.length, "more", "more")}`) : null,
    gaps.length ? [el("p", { class: "note" }, "What the records refer to and never had:"), el("ul", null, gaps.map((text) => el("li", null, text)))] : null);
}
