// Where a run stands: what it used and who made that, what it made and who used that.

const MOST_NODES = 12;
const NODE = { wide: 190, high: 44, gap: 14, between: 60 };

/** The columns of the graph, left to right: nodes {id, title, note, link, kind} and edges. */
function lineageOf(archive, run, detail, things) {
  const known = new Map(things.map((each) => [each.thing, each]));
  const columns = [[], [], [], [], []];
  const edges = [];
  const left = new Map();
  const node = (column, id, made) => {
    if (columns.some((some) => some.some((each) => each.id === id))) return true;
    if (columns[column].length >= MOST_NODES) {
      if (!left.has(column)) left.set(column, new Set());
      left.get(column).add(id);
      return false;
    }
    columns[column].push({ id, ...made });
    return true;
  };
  const runNode = (number, note) => ({ title: archive.name(number), note, link: archive.link(number), kind: "run" });
  const own = `run ${run}`;
  node(2, own, { title: archive.name(run), note: archive.project(run), kind: "self" });
  const uses = [
    ...detail.artifacts.filter((row) => row.direction === "used").map((row) => ({ thing: row.thing, title: `${row.collection}${row.version ? `:${row.version}` : ""}`, note: row.kind })),
    ...detail.inputs.map((row) => ({ thing: row.thing, title: row.name || "unnamed", note: [row.context, row.kind].filter(Boolean).join(", ") || "dataset" })),
  ];
  const makes = detail.artifacts.filter((row) => row.direction !== "used").map((row) => ({ thing: row.thing, title: `${row.collection}${row.version ? `:${row.version}` : ""}`, note: row.kind }));
  const parent = archive.runs.parent[run];
  if (parent !== null && node(1, `run ${parent}`, runNode(parent, "the run that it is part of"))) edges.push([`run ${parent}`, own]);
  for (const { thing, title, note } of uses) {
    if (!node(1, `used ${thing}`, { title, note, kind: "thing" })) continue;
    edges.push([`used ${thing}`, own]);
    for (const maker of known.get(thing)?.made || []) {
      if (maker !== run && node(0, `run ${maker}`, runNode(maker, "made it"))) edges.push([`run ${maker}`, `used ${thing}`]);
    }
  }
  for (const { thing, title, note } of makes) {
    if (!node(3, `made ${thing}`, { title, note, kind: "thing" })) continue;
    edges.push([own, `made ${thing}`]);
    for (const user of known.get(thing)?.used || []) {
      if (user !== run && node(4, `run ${user}`, runNode(user, "used it"))) edges.push([`made ${thing}`, `run ${user}`]);
    }
  }
  for (const child of archive.children.get(run) || []) {
    if (node(3, `run ${child}`, runNode(child, "part of it"))) edges.push([own, `run ${child}`]);
  }
  const files = detail.files.filter((file) => !file.owner).length;
  if (files && node(3, "files", { title: count(files, "file"), note: "of its own", kind: "thing" })) edges.push([own, "files"]);
  return { columns, edges, left };
}

function lineageSection(archive, run, detail, things) {
  const { columns, edges, left } = lineageOf(archive, run, detail, things);
  if (columns.flat().length === 1) return null;
  const used = columns.map((nodes, column) => ({ nodes, column })).filter(({ nodes }) => nodes.length);
  const most = Math.max(...used.map(({ nodes }) => nodes.length));
  const high = most * (NODE.high + NODE.gap) + NODE.gap;
  const wide = used.length * (NODE.wide + NODE.between) - NODE.between + 2;
  const places = new Map();
  used.forEach(({ nodes }, index) => {
    const top = (high - nodes.length * (NODE.high + NODE.gap) + NODE.gap) / 2;
    nodes.forEach((node, row) => places.set(node.id, { x: 1 + index * (NODE.wide + NODE.between), y: top + row * (NODE.high + NODE.gap) }));
  });
  const drawn = edges.map(([from, to]) => {
    const [a, b] = [places.get(from), places.get(to)];
    const [x, y, u, v] = [a.x + NODE.wide, a.y + NODE.high / 2, b.x, b.y + NODE.high / 2];
    const bend = NODE.between / 2;
    return svg("path", { class: "edge", d: x <= u ? `M${x} ${y}C${x + bend} ${y} ${u - bend} ${v} ${u} ${v}` : `M${x} ${y}L${u} ${v}` });
  });
  const boxes = columns.flat().map((node) => {
    const { x, y } = places.get(node.id);
    const content = [
      svg("title", null, node.title),
      svg("rect", { x, y, width: NODE.wide, height: NODE.high, rx: 7 }),
      svg("text", { class: "strong", x: x + 10, y: y + 18 }, short(node.title, 26)),
      svg("text", { x: x + 10, y: y + 34 }, short(node.note || "", 30)),
    ];
    return node.link ? svg("a", { class: `node ${node.kind}`, href: node.link }, content) : svg("g", { class: `node ${node.kind}` }, content);
  });
  const graph = svg("svg", { class: "lineage plot", viewBox: `0 0 ${wide} ${high}`, width: wide, height: high, role: "group", "aria-label": "what the run used and made" }, drawn, boxes);
  const more = [...left.values()].reduce((sum, ids) => sum + ids.size, 0);
  return section("lineage", "Lineage", "what it used, and what became of it",
    el("div", { class: "scroll", tabindex: "0" }, graph),
    more ? el("p", { class: "note" }, `${count(more, "more thing")} not drawn: see artifacts, files and inputs`) : null);
}

function short(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
