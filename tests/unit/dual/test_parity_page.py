"""The page of the parity report: whole in one file, readable, and not to be taken over by names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import PROGRAM, Page, browser
from unit.dual.logged import alter, begin, database, deliver, finished, look

from trackbridge.cli import main
from trackbridge.dual import standing
from trackbridge.dual.curves import BUCKETS, curves
from trackbridge.dual.parity import parity
from trackbridge.dual.parity_page import page

pytest.importorskip("mlflow")  # a database of its is delivered to
HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed")


@pytest.fixture
def journals(tmp_path: Path) -> Path:
    """Runs, of which one has hostile names, in a database that was tampered with."""
    finished(tmp_path)
    with begin(tmp_path, HOSTILE, notes=HOSTILE) as run:
        for step in range(2000):
            run.log({HOSTILE: step * 1.5, "loss": 1 / (step + 1), "one": 1.0})
        journal = run.folder
    folder = tmp_path / "journals"
    deliver([folder], database(tmp_path))
    alter(
        tmp_path,
        "DELETE FROM metrics WHERE key = 'loss' AND step = 7",
        "UPDATE metrics SET value = 1e300 WHERE key = 'acc' AND step = 1",
        "UPDATE params SET value = '<b>bold</b>' WHERE key = 'lr'",
    )
    assert journal
    at = standing.load(journal, database(tmp_path))
    at.lags, at.outages = [0.5, 1.0, 2.5], [[at.contact - 9, at.contact - 2, HOSTILE]]
    standing.save(journal, at)
    return folder


class Elements(HTMLParser):
    """Counts the elements of a page and keeps addresses that it names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "action", "data", "srcset"):
                self.addresses.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)


def test_hostile_names_do_not_become_markup(tmp_path: Path, journals: Path) -> None:
    text = page(parity([journals], [database(tmp_path)]))
    found = Elements(text)
    assert not {"script", "img", "iframe", "b"} & set(found.tags)
    assert not found.handlers
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_the_page_names_no_address_outside_itself(tmp_path: Path, journals: Path) -> None:
    text = page(parity([journals], [database(tmp_path)]))
    assert all(a.startswith(("#", "data:")) for a in Elements(text).addresses)
    assert not re.search(r"@import|url\(", text)


def test_metrics_that_differ_are_drawn_first(tmp_path: Path, journals: Path) -> None:
    found = parity([journals], [database(tmp_path)])
    by_name = {each.info.name: each for each in found}
    assert [curve.key for curve in curves(by_name["resnet"])][:2] == ["acc", "loss"]


def test_a_long_curve_keeps_its_least_and_its_greatest_value(tmp_path: Path) -> None:
    with begin(tmp_path) as run:
        for step in range(20_000):
            run.log({"loss": {777: 50.0, 15_001: -50.0}.get(step, float(step % 7))})
        journal = run.folder
    assert journal
    deliver([journal], database(tmp_path))
    [curve] = curves(look(journal, database(tmp_path)))
    assert curve.sent.is_reduced and curve.sent.count == 20_000
    assert len(curve.sent.points) <= 2 * BUCKETS + 2
    assert (777.0, 50.0) in curve.sent.points and (15_001.0, -50.0) in curve.sent.points
    assert curve.arrived == curve.sent


def test_a_store_that_does_not_answer_has_a_page_too(tmp_path: Path) -> None:
    journal = finished(tmp_path)
    text = page(parity([journal], [f"archive:{tmp_path / 'nowhere'}"]))
    assert "no answer" in text and "not known what arrived" in text
    assert "1 of 1 deliveries could not be looked at" in text
    assert "it does not answer now" in text and "no outage was noticed" not in text
    assert "nothing has arrived yet" in text


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@needs_browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_chromium_shows_the_page_without_a_complaint_or_a_request(
    tmp_path: Path, journals: Path, chromium: Page, dark: bool
) -> None:
    file = tmp_path / "out.html"
    with pytest.raises(SystemExit) as ended:
        main(["parity", str(journals), "--to", database(tmp_path), "--html", str(file)])
    assert ended.value.code == 1
    chromium.requests.clear()
    chromium.noise.clear()
    chromium.open(file, dark=dark)
    assert {url for url in chromium.requests if not url.startswith("data:")} == {
        file.resolve().as_uri()
    }
    assert chromium.noise == []
    assert chromium.value("document.title") == "Parity report"
    assert chromium.value("document.scripts.length") == 0
    assert chromium.value("document.querySelectorAll('section.pair').length") == 2
    drawn = (
        "[...document.querySelectorAll('svg')].every(s => s.getBoundingClientRect().height > 50)"
    )
    assert chromium.value(drawn) is True
    assert chromium.value("document.querySelectorAll('.plot .bad').length") >= 2
    assert chromium.value("document.documentElement.scrollWidth <= innerWidth") is True
    paper = chromium.value("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(15, 18, 22)") is dark
