"""Archives that are looked at in tests, and ways to look: pages of them, data of pages."""

from __future__ import annotations

import io
import json
import re
import struct
import time
import wave
import zlib
from pathlib import Path
from typing import Any

from browser import Page
from unit.archive.archives import write

import trackbridge
from trackbridge.adapter import Query
from trackbridge.audit.viewing.view import Viewed, view
from trackbridge.testing import MadeRun, samples

FIXTURES = Path(__file__).parents[3] / "fixtures"
HOSTILE = (
    "</script></title><script>alert(1)</script><img src=x onerror=alert(2)>\"'`&\\' \u2028${1}"
)
"""What would take a page over that reads it as markup, or as code."""


def viewed(place: Path, output: Path | None = None) -> Viewed:
    return view(f"archive:{place}", output)


def page_in(place: Path, generation: int = 1) -> Path:
    return place / "data" / "viewer" / f"{generation:04d}" / "index.html"


def data_of(page: Path, name: str) -> Any:
    """What a script beside a page hands to it."""
    text = (page.parent / f"{name}.js").read_text(encoding="utf-8")
    found = re.fullmatch(r"take\(\"(.*?)\",JSON\.parse\('(.*)'\)\)\n", text, re.DOTALL)
    assert found and found[1] == name
    return json.loads(re.sub(r"\\(.)", r"\1", found[2]))


def exported(store: str, place: Path) -> Path:
    """An archive of a store that real clients have written."""
    trackbridge.migrate(str(FIXTURES / store), f"archive:{place}", Query(include_deleted=True))
    return place


def picture(red: int = 255, size: int = 8) -> bytes:
    """A PNG of one colour."""
    lines = b"".join(b"\0" + bytes([red, 40, 40]) * size for _ in range(size))
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    )
    framed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def sound() -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(b"\0\0" * 4000)
    return made.getvalue()


def related() -> list[MadeRun]:
    """Three runs: one made what the others used, of which one is part of the other; media too."""
    maker, user, part = (samples.simple(name, loss=loss) for name, loss in zip("abc", (1, 2, 3)))
    weights = {"collection": "weights", "version": "v0", "kind": "model", "digest": "d1"}
    maker.tables["artifacts"] = [{**weights, "aliases": '["best"]', "direction": "logged"}]
    maker.add_file("weights:v0", "model.bin", b"\x00\x01")
    maker.add_file("", "media/0.png", picture(250))
    maker.add_file("", "media/1.png", picture(20))
    maker.add_file("", "tone.wav", sound())
    maker.add_file("", "page.html", b"<html><script>alert(1)</script>")
    maker.tables["series"] = [
        {
            "key": "sample",
            "step": step,
            "kind": "image",
            "value": json.dumps({"caption": f"picture {step}"}),
            "path": f"media/{step}.png",
        }
        for step in range(2)
    ]
    maker.tables["series"].append(
        {
            "key": "weights",
            "step": 0,
            "kind": "histogram",
            "value": '{"bins":[0,1,2],"values":[3,5]}',
        }
    )
    maker.tables["params"] = [
        {"key": "model.depth", "path": '["model","depth"]', "value": "18", "type": "integer"},
        {"key": "model.name", "path": '["model","name"]', "value": "resnet", "type": "string"},
        {"key": "lr", "value": "0.25", "type": "float"},
    ]
    maker.tables["logs"] = [
        {"stream": "stdout", "line": n, "text": text}
        for n, text in enumerate(["0%\r", "100%\n", "\x1b[31mred\x1b[0m\n"])
    ]
    user.tables["artifacts"] = [{**weights, "direction": "used"}]
    user.tables["params"].append({"key": "lr", "value": "0.5", "type": "float"})
    user.tables["runs"][0] |= {"status": "failed", "user": "ann", "program": "train.py"}
    user.tables["inputs"] = [{"name": "numbers", "digest": "ab12", "kind": "local"}]
    part.tables["runs"][0]["parent_run_id"] = "b"
    part.tables["inputs"] = [{"name": "numbers", "digest": "ab12", "kind": "local"}]
    part.tables["tags"] = [{"key": "team", "value": "nlp"}, {"key": "baseline", "value": None}]
    return [maker, user, part]


def hostile() -> list[MadeRun]:
    """A run whose every name and text would take a page over, and files that would."""
    run = samples.simple(HOSTILE, project=HOSTILE)
    run.tables["runs"][0] |= {
        "name": HOSTILE,
        "notes": HOSTILE,
        "user": HOSTILE,
        "host": HOSTILE,
        "program": "javascript:alert(1)",
        "git_remote": "https://127.0.0.1:9/repository",
        "extra": json.dumps({HOSTILE: HOSTILE}),
    }
    for key in (HOSTILE, "__proto__", "constructor", "toString"):
        run.tables["params"].append({"key": key, "value": HOSTILE, "type": "string"})
        run.tables.setdefault("summary", []).append({"key": key, "value": "1", "type": "integer"})
        run.tables.setdefault("tags", []).append({"key": key, "value": HOSTILE})
        run.tables["metrics"].append({"key": key, "step": 0, "value": 1.0, "system": False})
    run.tables["series"] = [
        {
            "key": HOSTILE,
            "step": 0,
            "kind": kind,
            "value": json.dumps({"caption": HOSTILE, "a": HOSTILE}),
        }
        for kind in ("html", "image", "text", "json")
    ]
    run.tables["logs"] = [{"stream": "stdout", "line": 0, "text": HOSTILE}]
    run.tables["alerts"] = [{"title": HOSTILE, "level": HOSTILE, "definition": HOSTILE}]
    names = ("collection", "kind", "aliases", "metadata", "description", "digest")
    run.tables["artifacts"] = [{**dict.fromkeys(names, HOSTILE), "direction": "logged"}]
    run.tables["inputs"] = [{"name": HOSTILE, "source": "http://127.0.0.1:9/source.png"}]
    run.add_file("", "page.html", b"<script>alert(3)</script>")
    run.add_file(
        "",
        "drawing.svg",
        b'\xef\xbb\xbf <svg xmlns="http://www.w3.org/2000/svg" onload="alert(4)"/>',
    )
    run.add_file("", "wide.txt", "\ufeff<html>".encode("utf-16-le"))
    elsewhere = {"owner": "", "path": "x.png", "reference": "http://127.0.0.1:9/x.png"}
    run.tables["files"].append(elsewhere)
    return [run]


def mixed(place: Path) -> Path:
    """An archive of related runs and a hostile one."""
    write(place, [*related(), *hostile()])
    return place


class Looked:
    """A page of an archive, in a browser."""

    def __init__(self, page: Page, file: Path, *, dark: bool = False) -> None:
        self._page = page
        page.requests.clear()
        page.noise.clear()
        page.open(file, dark=dark)
        self.wait("document.body.dataset.ready")

    def go(self, route: str) -> None:
        """Follow a link, and wait for its page."""
        self._page.value(f"location.hash = {json.dumps(route)}")
        self.wait("document.body.dataset.ready === location.hash")

    def value(self, expression: str) -> Any:
        return self._page.value(expression)

    def texts(self, selector: str) -> list[str]:
        """The text of each element that a selector means."""
        found: list[str] = self.value(
            f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)"
        )
        return found

    def put(self, selector: str, text: str) -> None:
        """Write into a field, as a person would."""
        self.value(
            f"(() => {{ const field = document.querySelector({json.dumps(selector)});"
            f" field.value = {json.dumps(text)}; for (const name of ['input', 'change'])"
            " field.dispatchEvent(new Event(name)) })()"
        )

    def click(self, selector: str, text: str | None = None) -> None:
        """Click the first element that a selector means, or the first that has just this text."""
        meant = "true" if text is None else f"e.textContent.trim() === {json.dumps(text)}"
        self.value(
            f"[...document.querySelectorAll({json.dumps(selector)})].find(e => {meant})"
            ".dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true}))"
        )

    def press(self, selector: str, key: str) -> None:
        """Press a key while an element has the focus."""
        self.value(
            f"document.querySelector({json.dumps(selector)}).dispatchEvent("
            f"new KeyboardEvent('keydown', {{key: {json.dumps(key)}, bubbles: true}}))"
        )

    def wait(self, condition: str) -> None:
        """Until an expression holds; the browser tells how it goes on."""
        for _ in range(400):
            if self.value(f"Boolean({condition})"):
                return
            time.sleep(0.025)
        raise AssertionError(f"{condition} never held; {self._page.noise}")

    @property
    def complaints(self) -> list[Any]:
        return self._page.noise

    @property
    def asked_elsewhere(self) -> list[str]:
        """Addresses that it asked for which are no files and no part of the page."""
        return [url for url in self._page.requests if not url.startswith(("file:", "data:"))]
