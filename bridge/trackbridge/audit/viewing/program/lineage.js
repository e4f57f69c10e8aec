// Where a run stands: what it used and who made that, what it made and who used that.

const MOST_NODES = 12;
const NODE = { wide: 190, high: 44, gap: 14, between: 60 };

/** Nodes {id, title, note, link, kind} in five columns, left to right, and edges between them. */
class Graph {
  constructor() {
    this.columns = [[], [], [], [], []];
    this.edges = [];
    this.known = new Set();
    this.left = new Set();
    this.more = 0;
  }

  /** How many nodes there would be besides. */
  get undrawn() {
    return this.left.size + this.more;
  }

  /** Add a node; false where there are too many in its column. */
  add(column, id, node) {
    if (this.known.has(id)) return true;
    if (this.columns[column].length >= MOST_NODES) {
      this.left.add(id);
      return false;
    }
    this.known.add(id);
    this.columns[column].push({ id, ...node });
    return true;
  }

  /** Add a node and the edge that leads from it, or to it. */
  join(column, id, node, other, before = true) {
    const is = this.add(column, id, node);
    if (is) this.edges.push(before ? [id, other] : [other, id]);
    return is;
  }
}

/** What a run used and made, its parent and children, and the runs that share things with it. */
function lineageOf(archive, run, detail, things) {
  const graph = new Graph();
  const known = new Map(things.map((each) => [each.thing, each]));
  const named = (each, note) => ({
    title: archive.name(each),
    note,
    link: archive.link(each),
    kind: "run",
  });
  const others = (thing, how) => {
    graph.more += known.get(thing)?.more[how] || 0;
    return (known.get(thing)?.[how] || []).filter((each) => each !== run);
  };
  const artifact = (row) => ({
    thing: row.thing,
    title: artifactName(row),
    note: row.kind,
    kind: "thing",
  });
  const input = (row) => ({
    thing: row.thing,
    title: row.name || "unnamed",
    note: [row.context, row.kind].filter(Boolean).join(", ") || "dataset",
    kind: "thing",
  });
  const own = `run ${run}`;
  graph.add(2, own, { title: archive.name(run), note: archive.project(run), kind: "self" });
  const parent = archive.runs.parent[run];
  if (parent !== null)
    graph.join(1, `run ${parent}`, named(parent, "the run that it is part of"), own);
  const used = detail.artifacts.filter((row) => row.direction === "used");
  for (const { thing, ...node } of [...used.map(artifact), ...detail.inputs.map(input)]) {
    if (!graph.join(1, `used ${thing}`, node, own)) continue;
    for (const each of others(thing, "made"))
      graph.join(0, `run ${each}`, named(each, "made it"), `used ${thing}`);
  }
  const made = detail.artifacts.filter((row) => row.direction !== "used");
  for (const { thing, ...node } of made.map(artifact)) {
    if (!graph.join(3, `made ${thing}`, node, own, false)) continue;
    for (const each of others(thing, "used"))
      graph.join(4, `run ${each}`, named(each, "used it"), `made ${thing}`, false);
  }
  for (const child of archive.children.get(run) || [])
    graph.join(3, `run ${child}`, named(child, "part of it"), own, false);
  const files = detail.files.filter((file) => !file.owner).length;
  if (files)
    graph.join(
      3,
      "files",
      { title: count(files, "file"), note: "of its own", kind: "thing" },
      own,
      false,
    );
  return graph;
}

function lineageSection(archive, run, detail, things) {
  const { columns, edges, undrawn } = lineageOf(archive, run, detail, things);
  if (columns.flat().length === 1) return null;
  const used = columns
    .map((nodes, column) => ({ nodes, column }))
    .filter(({ nodes }) => nodes.length);
  const most = Math.max(...used.map(({ nodes }) => nodes.length));
  const high = most * (NODE.high + NODE.gap) + NODE.gap;
  const wide = used.length * (NODE.wide + NODE.between) - NODE.between + 2;
  const places = new Map();
  used.forEach(({ nodes }, index) => {
    const top = (high - nodes.length * (NODE.high + NODE.gap) + NODE.gap) / 2;
    nodes.forEach((node, row) =>
      places.set(node.id, {
        x: 1 + index * (NODE.wide + NODE.between),
        y: top + row * (NODE.high + NODE.gap),
      }),
    );
  });
  const drawn = edges.map(([from, to]) => {
    const [a, b] = [places.get(from), places.get(to)];
    const [x, y, u, v] = [a.x + NODE.wide, a.y + NODE.high / 2, b.x, b.y + NODE.high / 2];
    const bend = NODE.between / 2;
    return svg("path", {
      class: "edge",
      d: x <= u ? `M${x} ${y}C${x + bend} ${y} ${u - bend} ${v} ${u} ${v}` : `M${x} ${y}L${u} ${v}`,
    });
  });
  const boxes = columns.flat().map((node) => {
    const { x, y } = places.get(node.id);
    const content = [
      svg("title", null, node.title),
      svg("rect", { x, y, width: NODE.wide, height: NODE.high, rx: 7 }),
      svg("text", { class: "strong", x: x + 10, y: y + 18 }, short(node.title, 26)),
      svg("text", { x: x + 10, y: y + 34 }, short(node.note || "", 30)),
    ];
    return node.link
      ? svg("a", { class: `node ${node.kind}`, href: node.link }, content)
      : svg("g", { class: `node ${node.kind}` }, content);
  });
  const graph = svg(
    "svg",
    {
      class: "lineage plot",
      viewBox: `0 0 ${wide} ${high}`,
      width: wide,
      height: high,
      role: "group",
      "aria-label": "what the run used and made",
    },
    drawn,
    boxes,
  );
  const note = `${count(undrawn, "more thing")} not drawn: see artifacts, files and inputs`;
  return section(
    "lineage",
    "Lineage",
    "what it used, and what became of it",
    el("div", { class: "scroll", tabindex: "0" }, graph),
    undrawn ? el("p", { class: "note" }, note) : null,
  );
}

function short(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
