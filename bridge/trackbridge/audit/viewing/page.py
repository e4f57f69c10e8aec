"""The page itself: one HTML file with its style and its program, which loads data beside it."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from string import Template

from trackbridge import plots
from trackbridge.dual.page_style import STYLE

PROGRAM = (
    "elements.js",
    "data.js",
    "texts.js",
    "query.js",
    "scale.js",
    "plot.js",
    "overview.js",
    "table.js",
    "media.js",
    "lineage.js",
    "metrics.js",
    "values.js",
    "run.js",
    "compare.js",
    "state.js",
    "routes.js",
)
"""Files of the program, in the order in which they need each other."""


def page() -> str:
    """The page; the same for every archive.

    Its policy lets nothing in but what lies beside it: no script runs but the one in the page and
    those that it loads itself, and nothing is asked of any other place.
    """
    program = "\n".join(['"use strict";', *map(_file, PROGRAM)])
    style = STYLE + plots.CSS + _file("style.css")
    return Template(_file("page.html")).substitute(
        program=program, style=style, program_hash=_hash(program), style_hash=_hash(style)
    )


def _file(name: str) -> str:
    folder = resources.files("trackbridge.audit.viewing").joinpath("program")
    return folder.joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
