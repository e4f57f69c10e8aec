// Which runs are meant: words, choices, and conditions such as `lr > 0.1 and status = finished`.

const CONDITION =
  /^\s*(?:"([^"]+)"|([^"=<>!~]+?))\s*(==|=|!=|<=|>=|<|>|!~|~)\s*(?:"([^"]*)"|(.*?))\s*(?:\band\b|$)/i;

/** The conditions of a text, as functions of a run; an error says what is not understood. */
function conditions(text, columns) {
  const found = [];
  let rest = text.trim();
  while (rest) {
    const match = CONDITION.exec(rest);
    if (!match)
      throw new Error(
        `not understood: ${rest}. Write for instance: lr > 0.1 and status = finished`,
      );
    const name = match[1] ?? match[2];
    const column = columnCalled(name, columns);
    if (!column) throw new Error(`no column is called ${name}`);
    found.push(condition(column, match[3], match[4] ?? match[5]));
    rest = rest.slice(match[0].length).trim();
  }
  return found;
}

/** A column by its title, or by `params.title` and the like where that is not clear. */
function columnCalled(name, columns) {
  return (
    columns.find((column) => column.id === name) || columns.find((column) => column.title === name)
  );
}

function condition(column, sign, text) {
  const wanted =
    column.kind === "time"
      ? Date.parse(
          /[zZ]|[+-]\d\d:?\d\d$/.test(text)
            ? text
            : `${text.trim().replace(" ", "T")}${text.includes(":") ? "Z" : ""}`,
        )
      : Number(text);
  const isNumber = text.trim() !== "" && !Number.isNaN(wanted);
  return (run) => {
    const value = column.value(run);
    if (value === null || value === undefined || value === "")
      return sign === "!=" || sign === "!~";
    const compared =
      isNumber && typeof value === "number" ? value - wanted : ORDER.compare(String(value), text);
    if (sign === "=" || sign === "==") return compared === 0;
    if (sign === "!=") return compared !== 0;
    if (sign === "~") return String(value).toLowerCase().includes(text.toLowerCase());
    if (sign === "!~") return !String(value).toLowerCase().includes(text.toLowerCase());
    if (isNumber && typeof value !== "number") return false;
    return sign === "<"
      ? compared < 0
      : sign === "<="
        ? compared <= 0
        : sign === ">"
          ? compared > 0
          : compared >= 0;
  };
}

const ORDER = new Intl.Collator("en", { numeric: true });

/** Runs by a column: numbers before texts, what has no value last. */
function ordered(runs, column, descending) {
  const rank = (value) =>
    value === null || value === undefined || value === "" ? 2 : typeof value === "number" ? 0 : 1;
  const values = new Map(runs.map((run) => [run, column.value(run)]));
  const way = descending ? -1 : 1;
  return [...runs].sort((one, other) => {
    const [a, b] = [values.get(one), values.get(other)];
    const [first, second] = [rank(a), rank(b)];
    if (first !== second)
      return first === 2 || second === 2 ? first - second : way * (first - second);
    if (first === 2) return one - other;
    return way * (first === 0 ? a - b : ORDER.compare(String(a), String(b))) || one - other;
  });
}
