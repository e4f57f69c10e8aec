// Params and final values.

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
      lines.push({
        name,
        depth,
        row: part.row,
        text: part.row ? `${part.row.key}\n${valueText(part.row)}`.toLowerCase() : null,
      });
      walk(part, depth + 1);
    }
  };
  walk(tree, 0);
  const place = el("div", null);
  const draw = (word) => {
    const meant = word ? lines.filter((line) => line.text && line.text.includes(word)) : lines;
    place.replaceChildren(
      ...some(meant, 500, (part) =>
        grid(
          ["key", "value", "type"],
          part.map((line) => {
            const name = el("code", null, word ? line.row.key : line.name);
            if (!word) name.style.paddingLeft = `${line.depth * 18}px`;
            return [name, line.row ? code(valueText(line.row)) : "", line.row ? line.row.type : ""];
          }),
        ),
      ),
    );
  };
  draw("");
  const search = el("input", {
    type: "search",
    placeholder: "part of a key or value",
    "aria-label": `search in ${title}`,
    input: calmly(() => draw(search.value.toLowerCase())),
  });
  return section(
    id,
    title,
    all ? `${count(rows.length, "value")} of ${number(all)}` : count(rows.length, "value"),
    rows.length > 8 ? el("div", { class: "bar" }, search) : null,
    place,
  );
}
