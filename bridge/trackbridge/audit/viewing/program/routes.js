// Leads from addresses to pages: #/, #/runs?…, #/run/<project>/<id>, #/compare/<numbers>, #/state.

let archive;
let runsPage;

const PAGES = [
  ["#/", "Projects"],
  ["#/runs", "Runs"],
  ["#/state", "Verification"],
];

/** The content of the page at an address, and its title. */
async function pageAt(address) {
  const [path, query] = address.replace(/^#?\/?/, "").split(/\?(.*)/s);
  const [name, ...parts] = path.split("/").map(decodeURIComponent);
  if (name === "") return ["Projects", overview(archive, await load("others"))];
  if (name === "runs") {
    if (!runsPage || runsPage.address !== location.hash)
      runsPage = new RunsPage(archive, await load("columns"), new URLSearchParams(query));
    return ["Runs", runsPage.element];
  }
  if (name === "state") return ["Verification", statePage(archive)];
  if (name === "run") {
    const run = archive.find(parts[0], parts[1]);
    if (run !== undefined) return [archive.name(run), await runPage(archive, run)];
  }
  if (name === "compare") {
    const runs = (parts[0] || "")
      .split(",")
      .map(Number)
      .filter((run) => Number.isInteger(run) && run >= 0 && run < archive.size);
    if (runs.length) return ["Comparison", await comparePage(archive, runs)];
  }
  return [
    "Not found",
    section(
      "nothing",
      "Nothing is there",
      null,
      el(
        "p",
        null,
        "The archive has no such page. ",
        el("a", { href: "#/" }, "Projects"),
        " lists what there is.",
      ),
    ),
  ];
}

let turn = 0;

async function show() {
  const mine = ++turn;
  const main = document.getElementById("main");
  let title, content;
  try {
    [title, content] = await pageAt(location.hash);
  } catch (error) {
    [title, content] = [
      "Error",
      section(
        "error",
        "This page cannot be shown",
        null,
        el("p", { class: "problem", role: "alert" }, error.message),
      ),
    ];
  }
  if (mine !== turn) return; // somebody went on meanwhile
  document.title = `${title} · archive`;
  const here = location.hash.split("?")[0] || "#/";
  document
    .getElementById("nav")
    .replaceChildren(
      ...PAGES.map(([link, text]) =>
        el("a", { href: link, "aria-current": link === here ? "page" : null }, text),
      ),
    );
  sight.disconnect();
  main.replaceChildren(...[content].flat(Infinity));
  if (runsPage && title === "Runs") runsPage.back();
  for (const plot of main.querySelectorAll("figure")) if (plot.plot) sight.observe(plot);
  if (mine > 1) main.focus({ preventScroll: true });
  if (title !== "Runs") scrollTo(0, 0);
  document.body.dataset.ready = location.hash || "#/";
}

window.take = take;
window.addEventListener("hashchange", show);
load("runs").then(
  (data) => {
    archive = new Archive(data);
    show();
  },
  (error) => {
    document
      .getElementById("main")
      .replaceChildren(
        section(
          "error",
          "The data of this page cannot be read",
          null,
          el("p", { class: "problem", role: "alert" }, error.message),
        ),
      );
  },
);
