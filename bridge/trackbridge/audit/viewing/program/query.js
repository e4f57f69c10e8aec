// Which runs are meant, and in which order: `lr > 0.1 and status = finished or user = ann`.

const PART = /"((?:[^"]|"")*)"|[!=<>]=|!~|[=<>~]|[^\s"=<>!~]+|\S/g;
const HOLDS = new Map([
  ["=", (order) => order === 0],
  ["==", (order) => order === 0],
  ["!=", (order) => order !== 0],
  ["<", (order) => order < 0],
  ["<=", (order) => order <= 0],
  [">", (order) => order > 0],
  [">=", (order) => order >= 0],
]);
const QUOTES = 'Texts with signs, "and" or "or" in them go into quotes';
const GROUPS = "there are no parentheses, and binds closer than or";

/** Whether a run is what a text of conditions means; an error says what is not understood. */
function meaning(text, columns) {
  const parts = partsOf(text);
  if (parts.length === 1) return () => true;
  const next = (what, ...kinds) => {
    const part = parts.shift();
    if (kinds.includes(part.kind)) return part.text;
    const where =
      part.kind === "end"
        ? "the end"
        : `character ${part.at + 1}, ${JSON.stringify(short(text.slice(part.at), 40))}`;
    throw new Error(`not understood at ${where}: ${what} should be there. ${QUOTES}`);
  };
  const any = [[]];
  for (let joint = "and"; joint; ) {
    if (joint === "or") any.push([]);
    const column = columnCalled(next("a column's name", "words", "quoted"), columns);
    const sign = next("a sign such as = or >", "sign");
    any.at(-1).push(condition(column, sign, next("a value", "words", "quoted")));
    joint = next('"and", "or" or the end', "joint", "end").toLowerCase();
  }
  return (run) => any.some((all) => all.every((holds) => holds(run)));
}

/** Words that follow each other, quoted texts, signs, joints, and an empty text as the end. */
function partsOf(text) {
  const parts = [];
  for (const { 0: found, 1: quoted, index } of text.matchAll(PART)) {
    const last = parts.at(-1);
    if (quoted !== undefined)
      parts.push({ kind: "quoted", text: quoted.replaceAll('""', '"'), at: index });
    else if (/^(and|or)$/i.test(found)) parts.push({ kind: "joint", text: found, at: index });
    else if (HOLDS.has(found) || found.endsWith("~"))
      parts.push({ kind: "sign", text: found, at: index });
    else if (found === '"' || found === "!") parts.push({ kind: "odd", text: found, at: index });
    else if (last?.kind === "words") last.text = text.slice(last.at, index + found.length);
    else parts.push({ kind: "words", text: found, at: index });
  }
  return [...parts, { kind: "end", text: "", at: text.length }];
}

/** A column by its title, or by `params.title` and the like where that is not clear. */
function columnCalled(name, columns) {
  const column =
    columns.find(({ id }) => id === name) || columns.find(({ title }) => title === name);
  if (column) return column;
  throw new Error(`no column is called ${name}${name.startsWith("(") ? `: ${GROUPS}` : ""}`);
}

/** Whether a run has a value as it is asked for; times are compared as far as they are given. */
function condition(column, sign, text) {
  const isTime = column.kind === "time";
  const valueOf = (run) => (isTime ? moment(column.value(run)) : column.value(run)) ?? "";
  if (sign.endsWith("~")) {
    const part = text.toLowerCase();
    return (run) => String(valueOf(run)).toLowerCase().includes(part) === (sign === "~");
  }
  const wanted = sortable(text);
  if (isTime && text && !isMoment(text))
    throw new Error(`${text} is no time: write for instance 2026-03-01 or 2026-03-01 14:30`);
  if (numeric(column) && /[<>]/.test(sign) && wanted.rank !== 0)
    throw new Error(`${text || "nothing"} is no number, and ${column.id} is one`);
  const holds = HOLDS.get(sign);
  return (run) => {
    const value = sortable(isTime ? valueOf(run).slice(0, text.length || undefined) : valueOf(run));
    return holds(value.rank === wanted.rank ? order(value, wanted) : NaN);
  };
}

/** Whether a text is a time as `moment` writes it, or the beginning of one. */
function isMoment(text) {
  const whole = text + "0000-01-01 00:00:00".slice(text.length);
  const known = [4, 7, 10, 13, 16, 19].includes(text.length);
  return known && moment(Date.parse(`${whole.replace(" ", "T")}Z`)) === whole;
}

const ORDER = new Intl.Collator("en", { numeric: true });
const NUMBER = /^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$/i;
const INFINITE = /^\s*([-+]?)inf(inity)?\s*$/i;

/** The number that a value is or that its text writes, since some stores have only texts. */
function numberIn(value) {
  if (typeof value === "number") return value;
  if (NUMBER.test(value)) return Number(value);
  const infinite = INFINITE.exec(value);
  return infinite && (infinite[1] === "-" ? -Infinity : Infinity);
}

/** A value as it is sorted: numbers (rank 0) before texts (1) before nothing (2). */
function sortable(value) {
  const text = String(value ?? "");
  const number = numberIn(value);
  return { text, number, rank: number !== null ? 0 : text === "" ? 2 : 1 };
}

/** Less than, equal to or more than zero, as one comes before, is, or comes after the other. */
function order(one, other) {
  if (one.rank !== other.rank) return one.rank - other.rank;
  if (one.rank === 0 && one.number !== other.number) return one.number < other.number ? -1 : 1;
  if (one.text === other.text || (one.rank === 0 && Math.abs(one.number) <= 2 ** 53)) return 0;
  return ORDER.compare(one.text, other.text) || (one.text < other.text ? -1 : 1);
}

/** Runs by a column; what is no number comes after the numbers either way. */
function ordered(runs, column, descending) {
  const values = new Map(runs.map((run) => [run, sortable(column.value(run))]));
  const way = descending ? -1 : 1;
  return [...runs].sort((one, other) => {
    const [a, b] = [values.get(one), values.get(other)];
    return (a.rank === b.rank ? way : 1) * order(a, b) || one - other;
  });
}
