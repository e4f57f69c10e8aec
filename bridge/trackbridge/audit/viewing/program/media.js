// Images, sounds and films of a run, by step; other points that are no numbers; files.

const MAKES = new Map([
  ["image", (file, alt) => el("img", { src: file.link, alt: alt || file.path, loading: "lazy" })],
  ["audio", (file) => el("audio", { src: file.link, controls: true, preload: "none" })],
  ["video", (file) => el("video", { src: file.link, controls: true, preload: "none" })],
]);

function canBeShown(file) {
  return Boolean(file.link) && MAKES.has(file.kind);
}

/** What shows a file in the page; null for one that cannot be shown. */
function shown(file, alt) {
  return canBeShown(file) ? MAKES.get(file.kind)(file, alt) : null;
}

/** A file's name, as a link to its content where one may be followed. */
function fileName(file, text = file.path) {
  return file.link
    ? el("a", { href: file.link, target: "_blank", rel: "noopener noreferrer" }, text)
    : el("span", null, text);
}

/** The files that a point of a series refers to, by their paths in its value. */
function filesOf(value, path, files) {
  const found = new Set();
  const parts = [path, value];
  while (parts.length) {
    const part = parts.pop();
    if (typeof part === "string" && files.has(part)) found.add(files.get(part));
    else if (part && typeof part === "object") parts.push(...Object.values(part));
  }
  return [...found].reverse();
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The sections for all that a run has logged besides numbers. */
function mediaSections(detail) {
  const files = new Map(
    detail.files.filter(({ owner }) => !owner).map((file) => [file.path, file]),
  );
  const used = new Set();
  const series = detail.series.map((each) => ({
    ...each,
    points: each.points.map(([step, time, text, path]) => {
      const value = parsed(text);
      const found = filesOf(value, path, files);
      found.forEach((file) => used.add(file));
      return { step, time, text, value, files: found };
    }),
  }));
  const rest = detail.files.filter((file) => canBeShown(file) && !used.has(file));
  return [
    series.length
      ? section("media", "Media and other points", null, series.map(seriesBlock))
      : null,
    rest.length
      ? section(
          "gallery",
          "Images, sounds and films among its files",
          null,
          some(rest, 24, gallery),
        )
      : null,
  ];
}

function gallery(files) {
  const figure = (file) => el("figure", null, shown(file), el("figcaption", null, fileName(file)));
  return el("div", { class: "gallery" }, files.map(figure));
}

/** One series: a point at a time, by step. */
function seriesBlock({ key, kind, count: all, points }) {
  const place = el("div", { class: "point" });
  const told = el("small", { class: "note", role: "status" });
  const last = points.length - 1;
  function show(index) {
    const { step, time } = points[index];
    const where = last ? `${index + 1} of ${last + 1}` : null;
    const when = [step === null ? null : `step ${number(step)}`, moment(time), where];
    told.textContent = when.filter(Boolean).join(" · ");
    place.replaceChildren(...pointContent(points[index]));
  }
  show(last);
  const slider = el("input", {
    type: "range",
    min: 0,
    max: last,
    value: last,
    "aria-label": `point of ${key}`,
    input: () => show(Number(slider.value)),
  });
  const few = `${count(last + 1, "point")} of ${number(all)}: the first and the last ones`;
  return el(
    "div",
    { class: "series" },
    el("h3", null, el("code", null, key), el("small", null, kind)),
    last ? slider : null,
    told,
    place,
    all > last + 1 ? el("p", { class: "note" }, few) : null,
  );
}

function pointContent(point) {
  const seen = point.files.map((file) => shown(file, caption(point.value)));
  const names = point.files
    .filter((_, index) => !seen[index])
    .map((file) => el("p", null, fileName(file), " ", el("small", null, whyNot(file))));
  const pictures = seen.filter(Boolean);
  const histogram = bins(point.value);
  if (histogram) return [bars(histogram)];
  if (pictures.length) return [...pictures, captionText(point.value), ...names].filter(Boolean);
  if (typeof point.value === "string") return [el("pre", null, point.value), ...names];
  return [...names, code(point.text ?? "null")];
}

function whyNot(file) {
  if (file.kind === "lost") return "its bytes are missing, or not as they were written";
  if (file.kind === "kept") return "its bytes are in the archive, under their SHA-256";
  if (file.kind === "active") return "not opened from here: it may hold scripts";
  if (!file.link)
    return file.reference ? `lies elsewhere: ${file.reference}` : "no bytes to be shown here";
  return "not shown in this page";
}

function caption(value) {
  return value && typeof value === "object" && typeof value.caption === "string"
    ? value.caption
    : "";
}

function captionText(value) {
  return caption(value) ? el("p", { class: "note" }, caption(value)) : null;
}

/** Edges and amounts of a histogram, if a value is one. */
function bins(value) {
  if (!value || typeof value !== "object" || !Array.isArray(value.values)) return null;
  const edges = value.bins;
  if (!Array.isArray(edges) || edges.length !== value.values.length + 1) return null;
  return [...edges, ...value.values].every((each) => Number.isFinite(each))
    ? { edges, values: value.values }
    : null;
}

function bars({ edges, values }) {
  const x = new Scale(edges[0], edges[edges.length - 1], BOX.left, BOX.right);
  const y = new Scale(
    0,
    values.reduce((most, value) => Math.max(most, value), 0) || 1,
    BOX.bottom,
    BOX.top,
  );
  const drawn = values.map((value, n) =>
    svg(
      "rect",
      {
        class: "bar",
        x: x.at(edges[n]).toFixed(1),
        width: Math.max(0.5, x.at(edges[n + 1]) - x.at(edges[n]) - 0.5).toFixed(1),
        y: y.at(value).toFixed(1),
        height: (BOX.bottom - y.at(value)).toFixed(1),
      },
      svg("title", null, `${brief(edges[n])} to ${brief(edges[n + 1])}: ${number(value)}`),
    ),
  );
  const texts = [
    ...x
      .ticks(5)
      .map((tick) =>
        svg("text", { x: x.at(tick), y: HIGH - 8, "text-anchor": "middle" }, brief(tick)),
      ),
    ...y
      .ticks(3)
      .map((tick) =>
        svg("text", { x: BOX.left - 6, y: y.at(tick) + 4, "text-anchor": "end" }, brief(tick)),
      ),
  ];
  return el(
    "div",
    { class: "drawing still" },
    svg(
      "svg",
      { class: "plot", viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": "histogram" },
      drawn,
      texts,
    ),
  );
}
