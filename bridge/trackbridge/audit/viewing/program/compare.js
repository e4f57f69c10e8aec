// The page that lays several runs over each other.

async function comparePage(archive, runs) {
  const shown = await Promise.all(
    runs.map(async (run) => ({ archive, run, detail: await archive.detail(run) })),
  );
  const names = el(
    "p",
    { class: "sub names" },
    runs.map((run) => runLink(archive, run)),
  );
  return [
    el("header", null, el("h1", null, `${count(runs.length, "run")} compared`), names),
    metricsSection(shown),
    differences("params", "Configuration", shown),
    differences("summary", "Summary", shown),
  ].filter(Boolean);
}

/** The params or final values that are not the same in all runs. */
function differences(table, title, shown) {
  const values = new Map();
  shown.forEach(({ detail }, place) => {
    for (const row of detail[table]) {
      if (!values.has(row.key)) values.set(row.key, Array(shown.length).fill(null));
      values.get(row.key)[place] = valueText(row);
    }
  });
  const cell = (value) => (value === null ? "–" : code(value));
  const rows = [...values]
    .filter(([, each]) => new Set(each).size > 1)
    .map(([key, each]) => [el("code", null, key), ...each.map(cell)]);
  if (!rows.length) return null;
  const heads = () => ["key", ...shown.map(({ archive, run }) => runLink(archive, run))];
  return section(
    table,
    title,
    "where they differ",
    some(rows, 200, (part) => grid(heads(), part)),
  );
}
