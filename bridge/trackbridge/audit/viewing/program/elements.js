// Makes elements. Texts only ever become text: nothing in here reads markup.

/** An HTML element. Props are attributes; functions listen; false and null are left out. */
function el(name, props, ...children) {
  return fill(document.createElement(name), props, children);
}

/** The same for SVG. */
function svg(name, props, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined)
      element.setAttribute(name, value);
  }
  element.append(
    ...children
      .flat(Infinity)
      .filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** A section of a page, under a heading that a link can lead to. */
function section(id, title, note, ...content) {
  return el(
    "section",
    { id: `at-${id}` },
    el("h2", null, title, note ? el("small", null, note) : null),
    content,
  );
}

/** A table; cells are texts or elements, `numbers` the columns that are aligned as such. */
function grid(heads, rows, numbers = []) {
  const cell = (kind) => (content, column) =>
    el(
      kind,
      { class: numbers.includes(column) ? "n" : null, scope: kind === "th" ? "col" : null },
      content ?? "",
    );
  const head = el("thead", null, el("tr", null, heads.map(cell("th"))));
  const body = el(
    "tbody",
    null,
    rows.map((row) => el("tr", null, row.map(cell("td")))),
  );
  return el("div", { class: "scroll", tabindex: "0" }, el("table", null, head, body));
}

/** What is known, by its name; nothing is said of what is not known. */
function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el(
    "dl",
    { class: "facts" },
    known.map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, value))),
  );
}

/** A long list, some at a time. */
function some(items, size, make) {
  const list = el("div", null);
  let shown = 0;
  const more = el("button", { type: "button", click: grow });
  function grow() {
    const part = items.slice(shown, shown + size);
    shown += part.length;
    list.append(make(part));
    more.textContent = `${count(items.length - shown, "more", "more")}`;
    more.hidden = shown >= items.length;
  }
  grow();
  return [list, more];
}

/** Waits with work until it has not been asked for again for a moment. */
function calmly(work, pause = 120) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), pause);
  };
}
