"""The pages of an archive in a real Chromium: used as people use them, and not to be taken over."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browser import PROGRAM, Page
from unit.archive.archives import write, writer
from unit.audit.viewed import HOSTILE, Looked, exported, hostile, mixed, page_in, related, viewed

from trackbridge.audit.viewing import page as pages
from trackbridge.audit.viewing.page import page
from trackbridge.columns import batches
from trackbridge.testing import samples
from trackbridge.testing.strategies import EDGY

needs_browser = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed")
VISION = "#/run/vision/"
ESCAPES = """(() => {
    window.held = [];
    document.addEventListener('securitypolicyviolation', e => held.push(e.violatedDirective));
    for (const name of ['img', 'iframe']) {
        const made = document.createElement(name);
        made.src = 'http://127.0.0.1:9/';
        document.body.append(made);
    }
    fetch('http://127.0.0.1:9/').catch(() => {});
    const code = 'window.taken_over = 1';
    const markup = `<b onclick="${code}">b</b><style>b {}</style><script>${code}</` + 'script>';
    document.body.insertAdjacentHTML('beforeend', markup);
    document.body.querySelector('b').click();
})()"""
"""What a page might try, if somebody could have it do so."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = mixed(tmp_path_factory.mktemp("mixed") / "archive")
    viewed(made)
    return made


@pytest.fixture
def looked(place: Path, chromium: Page) -> Looked:
    return Looked(chromium, page_in(place))


def test_the_page_is_whole_in_itself() -> None:
    text = page()
    assert text.count("<script") == 1 and text.count("</script>") == 1
    assert not re.search(r"<link[^>]+(?:stylesheet|https?:)|@import|\bsrc=\"|url\(", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text)


def test_every_file_of_the_program_is_in_the_page() -> None:
    folder = Path(pages.__file__).parent / "program"
    assert set(pages.PROGRAM) == {path.name for path in folder.glob("*.js")}


@needs_browser
def test_projects_and_states_are_listed(looked: Looked) -> None:
    looked.go("#/")
    assert looked.texts(".tiles dd") == ["2", "4", "31"]
    [strange, vision] = looked.texts("#at-projects tbody tr")
    assert HOSTILE in strange and "1 finished" in strange
    assert vision.startswith("vision3") and "1 failed" in vision and "2 finished" in vision


@needs_browser
def test_many_tags_have_the_width_of_the_page(tmp_path: Path, chromium: Page) -> None:
    run = samples.simple("a")
    run.tables["tags"] = [{"key": f"tag {n}", "value": f"its value {n}"} for n in range(40)]
    write(tmp_path / "archive", [run])
    viewed(tmp_path / "archive")
    looked = Looked(chromium, page_in(tmp_path / "archive"))
    looked.go(f"{VISION}a")
    wide = "document.querySelector('{}').getBoundingClientRect().width"
    assert looked.value(wide.format(".labels")) > 0.9 * looked.value(wide.format("#at-about"))


@needs_browser
def test_projects_that_have_no_runs_keep_their_names_notes_and_badges(
    tmp_path: Path, chromium: Page
) -> None:
    write(tmp_path / "archive", related())
    named = [
        {"project": "Default"},
        {"project": "exp of Joe", "notes": "An experiment note"},
        {"project": "gone", "deleted": True},
        {"project": "vision", "notes": "of eyes"},
    ]
    versions = [{"name": "model", "version": "1", "run_id": "a"}]
    with writer(tmp_path / "archive").open([]) as sink:
        for table, rows in (("projects", named), ("model_versions", versions)):
            for batch in batches(table, rows):
                sink.write(batch)
        sink.commit()
    viewed(tmp_path / "archive")
    looked = Looked(chromium, page_in(tmp_path / "archive"))
    cells = looked.texts("#at-projects tbody td:first-child")
    assert cells == ["visionof eyes", "Default", "exp of JoeAn experiment note", "gone deleted"]
    assert looked.texts(".tiles dd")[0] == "4"
    assert looked.texts("#at-models a") == ["named a"]
    looked.value("location.hash = document.querySelectorAll('#at-projects a')[3].hash")
    looked.wait("document.body.dataset.ready === '#/runs?project=gone'")
    assert looked.texts("[role=status]") == ["0 of 3 runs"]


@needs_browser
def test_runs_are_sorted_searched_and_filtered(looked: Looked) -> None:
    looked.go("#/runs")
    names = ".runs tbody a"

    def asked(field: str, text: str, number: int) -> list[str]:
        looked.put(f"[name={field}]", text)
        looked.wait(f"document.querySelector('[role=status]').textContent === '{number} of 4 runs'")
        found = looked.texts(names)
        looked.put(f"[name={field}]", "")
        looked.wait("document.querySelector('[role=status]').textContent === '4 of 4 runs'")
        return found

    assert len(looked.texts(names)) == 4
    assert asked("q", "resnet", 1) == ["named a"]
    assert asked("q", "named VISION", 3) == ["named a", "named b", "named c"]
    assert asked("status", "failed", 1) == ["named b"]
    assert asked("tag", "team=nlp", 1) == ["named c"]
    assert asked("project", "vision", 3) == ["named a", "named b", "named c"]
    assert asked("where", "lr > 0.3", 1) == ["named b"]
    assert asked("where", "params.lr <= 0.5 and status = finished", 1) == ["named a"]
    assert asked("where", 'name ~ "named" and user != ann', 2) == ["named a", "named c"]
    assert asked("where", '"note" = "loss is 2"', 1) == ["named b"]
    assert asked("where", "points >= 5 and started > 2026-03-01", 0) == []
    looked.click(".runs th button", "name")
    assert looked.texts(names)[-3:] == ["named a", "named b", "named c"]
    looked.click(".runs [aria-sort] button")
    assert looked.texts(names)[:3] == ["named c", "named b", "named a"]
    assert looked.value("location.hash") == "#/runs?sort=-name"
    looked.put("[name=where]", "colour = red")
    looked.wait("!document.querySelector('.problem').hidden")
    assert looked.texts(".problem") == ["no column is called colour"]


@needs_browser
def test_a_link_leads_to_what_was_asked_and_back_leads_back(looked: Looked) -> None:
    looked.go("#/runs?where=lr+%3E+0.1&sort=name")
    assert looked.texts(".runs tbody a") == ["named a", "named b"]
    looked.click(".runs tbody a")
    looked.wait("document.body.dataset.ready === '#/run/vision/a'")
    assert looked.texts("h1") == ["named afinished"]
    looked.value("history.back()")
    looked.wait("document.body.dataset.ready.startsWith('#/runs')")
    assert looked.texts(".runs tbody a") == ["named a", "named b"]
    assert looked.value("document.querySelector('[name=where]').value") == "lr > 0.1"
    looked.go("#/run/vision/nobody")
    assert "Nothing is there" in looked.texts("h2")[0]


@needs_browser
def test_columns_are_chosen(looked: Looked) -> None:
    looked.go("#/runs")
    looked.click(".choices label", "params.model.name")
    assert looked.texts(".runs thead th")[-1] == "model.name"
    assert "resnet" in looked.texts(".runs tbody td")
    looked.go("#/state")
    looked.value("history.back()")
    looked.wait("document.querySelector('.runs thead')")
    assert looked.texts(".runs thead th")[-1] == "model.name"


@needs_browser
def test_a_run_is_shown_with_its_config_media_files_and_console(looked: Looked) -> None:
    looked.go(f"{VISION}a")
    config = looked.texts("#at-params tbody tr")
    assert config == ["model", "depth18integer", "nameresnetstring", "lr0.25float"]
    looked.wait("document.querySelector('#at-media img').naturalWidth === 8")
    assert looked.texts("#at-media .series:first-of-type .note")[0].startswith("step 1 · 2 of 2")
    before = looked.value("document.querySelector('#at-media img').src")
    looked.put("#at-media input[type=range]", "0")
    looked.wait("document.querySelector('#at-media img').naturalWidth === 8")
    assert looked.value("document.querySelector('#at-media img').src") != before
    assert "picture 0" in looked.texts("#at-media .point")[0]
    assert len(looked.texts("#at-media rect.bar")) == 2
    assert looked.value("document.querySelectorAll('#at-gallery audio').length") == 1
    links = looked.value(
        "[...document.querySelectorAll('#at-files a')].map(a => [a.textContent, a.href])"
    )
    assert {name for name, _ in links} == {
        "a.txt",
        "media/0.png",
        "media/1.png",
        "tone.wav",
        "model.bin",
    }
    assert all("/data/bytes/" in url and url.startswith("file:") for _, url in links)
    assert any(
        "page.html" in row and "may hold scripts" in row for row in looked.texts("#at-files tr")
    )
    assert looked.texts("#at-log pre") == ["100%\nred\n"]
    assert any("weights:v0logged" in row for row in looked.texts("#at-artifacts tr"))
    assert looked.complaints == [] and looked.asked_elsewhere == []


@needs_browser
def test_metrics_are_drawn_and_zoomed(looked: Looked, chromium: Page) -> None:
    looked.go(f"{VISION}a")
    looked.value("document.querySelector('#at-metrics').scrollIntoView()")
    looked.wait("document.querySelector('#at-metrics path.line')")
    path = "document.querySelector('#at-metrics path.line').getAttribute('d')"
    whole = looked.value(path)
    assert whole.count("L") == 4
    left, top, width, height = looked.value(
        "Object.values(document.querySelector('#at-metrics .drawing').getBoundingClientRect()"
        ".toJSON()).slice(0, 4)"
    )
    for kind, share in (("mousePressed", 0.5), ("mouseMoved", 0.7), ("mouseReleased", 0.9)):
        chromium.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=left + share * width,
            y=top + height / 2,
            button="left",
            clickCount=1,
        )
    looked.wait(f"{path} !== {whole!r}")
    assert looked.texts("#at-metrics .readout")[0].startswith("step ")
    looked.click("#at-metrics .whole")
    assert looked.value(path) == whole
    looked.press("#at-metrics .drawing", "+")
    assert looked.value(path) != whole
    looked.press("#at-metrics .drawing", "0")
    assert looked.value(path) == whole
    looked.put("#at-metrics select", "seconds")
    assert "seconds" in looked.texts("#at-metrics svg")[0]
    looked.click("#at-metrics input[type=checkbox]")
    assert looked.value(path) != whole


@needs_browser
def test_long_series_say_what_is_left_out(tmp_path: Path, chromium: Page) -> None:
    run = samples.long("long", 50_000)
    run.tables["metrics"][3]["value"] = float("nan")
    write(tmp_path / "archive", [run])
    viewed(tmp_path / "archive")
    looked = Looked(chromium, page_in(tmp_path / "archive"))
    looked.go(f"{VISION}long")
    notes = looked.texts("#at-metrics figcaption small")
    assert re.match(
        r"[234],\d{3} of 49,999 points: least and greatest of each of 1,\d{3} stretches", notes[0]
    )
    assert notes[0].endswith(" stretches; 1 NaN, not drawn")


@needs_browser
def test_runs_are_laid_over_each_other(looked: Looked) -> None:
    looked.go("#/runs?project=vision&sort=name")
    looked.value(
        "[...document.querySelectorAll('.runs tbody input')].slice(0, 2).forEach(b => b.click())"
    )
    looked.click("a.button")
    looked.wait("document.body.dataset.ready.startsWith('#/compare/')")
    looked.wait("document.querySelectorAll('#at-metrics svg path.line').length === 2")
    assert looked.texts("#at-metrics .legend li") == ["named a", "named b"]
    assert "lr0.250.5" in looked.texts("#at-params tbody tr")


@needs_browser
def test_lineage_leads_from_run_to_run(looked: Looked) -> None:
    looked.go(f"{VISION}a")
    assert looked.texts("a.node .strong") == ["named b"]
    looked.go(f"{VISION}b")
    nodes = looked.texts(".node .strong")
    assert nodes == ["named a", "weights:v0", "numbers", "named b", "named c", "1 file"]
    assert looked.value("document.querySelectorAll('.edge').length") == 5
    looked.click("a.node")
    looked.wait("document.body.dataset.ready === '#/run/vision/a'")
    looked.go(f"{VISION}c")
    assert looked.texts(".node .strong")[0] == "named b"
    looked.go(f"{VISION}b")
    assert {"ann", "train.py", "failed"} <= set(looked.texts("#at-provenance dd"))


@needs_browser
def test_hostile_names_and_files_take_nothing_over(looked: Looked) -> None:
    looked.value("window.alert = () => { window.taken_over = true }")
    run = looked.value(
        "archive.link(archive.data.projects.findIndex(p => p !== 'vision') === 0 ? 0 : 3)"
    )
    for route in ("#/", "#/runs", run, "#/compare/0,1", "#/state"):
        looked.go(route)
        assert looked.value("window.taken_over") is None
        assert (
            looked.value(
                "document.querySelectorAll('main script, main iframe, main object').length"
            )
            == 0
        )
        assert looked.value("document.querySelectorAll('main img').length") == 0 or route != run
        links = "[...document.querySelectorAll('main a[href]')]"
        assert (
            looked.value(f"{links}.filter(a => a.protocol !== 'file:').map(a => a.outerHTML)") == []
        )
        handlers = (
            "[...document.querySelectorAll('*')]"
            ".flatMap(e => [...e.attributes]).filter(a => a.name.startsWith('on')).length"
        )
        assert looked.value(handlers) == 0
    looked.go(run)
    assert looked.texts("h1")[0].startswith(HOSTILE)
    assert HOSTILE in looked.texts("#at-notes pre")[0]
    assert [row for row in looked.texts("#at-params code") if row == "__proto__"]
    assert looked.texts("#at-files a") == []
    assert sum("may hold scripts" in row for row in looked.texts("#at-files tr")) == 4
    assert looked.complaints == [] and looked.asked_elsewhere == []


@needs_browser
def test_the_pages_policy_lets_nothing_out(looked: Looked) -> None:
    """What would be asked of other places is held back by Chromium itself."""
    looked.value(ESCAPES)
    looked.wait("(window.held || []).length >= 5")
    assert set(looked.value("window.held")) >= {
        "img-src",
        "script-src-attr",
        "frame-src",
        "connect-src",
        "style-src-elem",
    }
    assert looked.value("window.taken_over") is None


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_fits_its_window(place: Path, chromium: Page, width: int, dark: bool) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    chromium.call("Emulation.setDeviceMetricsOverride", **size)
    try:
        looked = Looked(chromium, page_in(place), dark=dark)
        for route in ("#/", "#/runs", f"{VISION}a", f"{VISION}b", "#/compare/1,2", "#/state"):
            looked.go(route)
            assert looked.value("document.documentElement.scrollWidth <= innerWidth"), route
        paper = looked.value("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(15, 18, 22)") is dark
    finally:
        chromium.call("Emulation.clearDeviceMetricsOverride")


@needs_browser
def test_pages_elsewhere_show_their_copies(tmp_path: Path, chromium: Page) -> None:
    write(tmp_path / "archive", related())
    made = viewed(tmp_path / "archive", tmp_path / "pages")
    (tmp_path / "archive").rename(tmp_path / "gone")
    looked = Looked(chromium, Path(made.page))
    looked.go(f"{VISION}a")
    looked.wait("document.querySelector('#at-media img').naturalWidth === 8")
    looked.go("#/state")
    assert "1 problem" in looked.texts("#at-checked p")[0]
    assert "no seal covers them" in looked.texts("#at-pages .remarks")[0]


@needs_browser
@pytest.mark.parametrize(
    ("store", "models"), [("wandb-0.31/wandb", 0), ("mlflow-3.17/mlflow.db", 3)]
)
def test_what_real_clients_wrote_is_shown_without_a_complaint(
    tmp_path: Path, chromium: Page, store: str, models: int
) -> None:
    place = exported(store, tmp_path / "archive")
    viewed(place)
    looked = Looked(chromium, page_in(place))
    looked.go("#/")
    assert "(no name)" not in looked.texts("#at-projects a")
    assert looked.value("document.querySelectorAll('#at-models a').length") == models
    looked.go("#/runs")
    links = looked.value("Array.from(archive.runs.run_id.keys(), run => archive.link(run))")
    assert len(links) > 10
    for link in links:
        looked.go(link)
        assert looked.texts("h1") and looked.value("document.querySelector('.problem')") is None
        looked.value("document.querySelectorAll('main img').forEach(i => { i.loading = 'eager' })")
        looked.wait("[...document.querySelectorAll('main img')].every(i => i.complete)")
        assert looked.value("[...document.querySelectorAll('main img')].every(i => i.naturalWidth)")
    assert looked.complaints == [] and looked.asked_elsewhere == []


@needs_browser
def test_a_run_with_everything_in_it_is_shown_without_a_complaint(
    tmp_path: Path, chromium: Page
) -> None:
    """Points at the ends of what numbers can be, texts of every kind, points without steps."""
    run = samples.everything()
    for step, value in enumerate((-1.7e308, 1.7e308)):
        run.tables["metrics"].append({"key": "wide", "step": step, "value": value, "system": False})
    write(tmp_path / "archive", [run])
    viewed(tmp_path / "archive")
    looked = Looked(chromium, page_in(tmp_path / "archive"))
    looked.go("#/run/the%20project/the%20lot")
    draw = "document.querySelectorAll('figure').forEach(f => f.plot.draw())"
    for _ in ("logarithmic", "linear"):
        looked.click("#at-metrics input[type=checkbox]")
        for axis in ("time", "seconds", "step"):
            looked.put("#at-metrics select", axis)
            looked.value(draw)
    assert "values too far apart to be drawn" in looked.texts("#at-metrics svg")
    assert looked.complaints == [] and looked.asked_elsewhere == []


@needs_browser
def test_texts_of_every_kind_arrive_as_they_are(tmp_path: Path, chromium: Page) -> None:
    every = "".join(map(chr, [*range(0x2100), *range(0xFFF0, 0x10010), 0x1F600]))
    texts = [*EDGY, every, "\\u0027", "\\\\'", "');alert(1);('"]
    run = samples.simple("a")
    run.tables["tags"] = [{"key": f"{n}", "value": text} for n, text in enumerate(texts)]
    write(tmp_path / "archive", [run])
    viewed(tmp_path / "archive")
    looked = Looked(chromium, page_in(tmp_path / "archive"))
    looked.value("archive.detail(0).then(found => { window.found = found.tags })")
    looked.wait("window.found")
    assert [tag["value"] for tag in looked.value("found")] == texts


@needs_browser
def test_data_that_is_missing_is_named(tmp_path: Path, chromium: Page) -> None:
    write(tmp_path / "archive", [*related(), *hostile()])
    viewed(tmp_path / "archive")
    page_in(tmp_path / "archive").with_name("group-00000.js").unlink()
    looked = Looked(chromium, page_in(tmp_path / "archive"))
    looked.go(f"{VISION}a")
    assert looked.texts(".problem") == ["group-00000.js is missing beside this page"]
