"""Which runs a page lists, and in which order: conditions and sorting, in a real Chromium."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest
from browser import PROGRAM, Page
from unit.archive.archives import write
from unit.audit.viewed import Looked, page_in, viewed

from trackbridge.testing import samples

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed")
TEXTS = ["0.0788", "0.0064", "0.0242", "0.00043", "1e-05", "0.3950", "auto", "v10", None, "-inf"]
"""Values of a param as stores have them that keep texts alone; the runs are called by digits."""


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = []
    for number, value in enumerate(TEXTS):
        run = samples.simple(str(number))
        run.tables["runs"][0] |= {"name": str(number), "user": ("ann", "bob", None)[number % 3]}
        run.tables["runs"][0]["started"] = datetime(2026, 1, 2, 3, 4, number, 5, timezone.utc)
        run.tables["params"] = [] if value is None else [{"key": "lr", "value": value}]
        run.tables["params"].append({"key": "mAP50(B)", "value": ["run-01", "run-1"][number % 2]})
        run.tables["params"].append({"key": "seed", "value": str(2**63 + number % 2)})
        run.tables["params"].append({"key": 'said "or"', "value": 'a "b" and c'})
        made.append(run)
    place = tmp_path_factory.mktemp("texts") / "archive"
    write(place, made)
    viewed(place)
    return place


def meant(looked: Looked, where: str) -> str:
    """The names of the runs that a condition means, by name; or what is said of it."""
    told = "document.querySelector('[role=status]').textContent"
    looked.put("[name=where]", where)
    looked.wait(
        f"new URLSearchParams(runsPage.address.split('?')[1]).get('where') === {json.dumps(where)}"
    )
    if looked.value("!document.querySelector('.problem').hidden"):
        assert looked.value(told) == f"0 of {len(TEXTS)} runs"
        return str(looked.texts(".problem")[0])
    return "".join(looked.texts(".runs tbody a"))


def test_texts_that_are_numbers_are_sorted_as_numbers(texts: Path, chromium: Page) -> None:
    looked = Looked(chromium, page_in(texts))
    looked.go("#/runs?sort=params.lr")
    assert "".join(looked.texts(".runs tbody a")) == "9431205678"
    looked.go("#/runs?sort=-params.lr")
    assert "".join(looked.texts(".runs tbody a")) == "5021349768"
    looked.go("#/runs?sort=params.lr&columns=params.lr")
    cells = looked.texts(".runs tbody td.n")
    assert cells == [TEXTS[int(run)] or "" for run in "9431205678"]


@pytest.mark.parametrize(
    ("where", "runs"),
    [
        ("lr > 0.01", "025"),
        ("lr <= .0242", "12349"),
        ("lr = 0.395", "5"),
        ("lr != 0.395", "012346789"),
        ("lr = auto", "6"),
        ("lr ~ 0.0", "0123"),
        ("lr !~ 0", "689"),
        ("lr > 0.05 or lr < 0.001", "03459"),
        ("lr > 0.05 or lr < 0.001 and user = ann", "0359"),
        ("user = ann AND lr > 0.05 OR user = bob and lr = v10", "07"),
        ('user = "" and name < 6', "25"),
        ("mAP50(B) = run-1 and name < 4", "13"),
        ("seed = 9223372036854775808 and name < 4", "02"),
        ("seed > 5 and name < 4", "0123"),
        ('"said ""or""" = "a ""b"" and c" and lr > 0.01', "025"),
        ("started ~ 2026-01 and name = 1", "1"),
        ("started = 2026-01-02 03:04:01 or started > 2026-01-02 03:04:07", "189"),
        ("started > 2026-01-02 or started < 2026", ""),
    ],
)
def test_conditions_mean_what_they_say(texts: Path, chromium: Page, where: str, runs: str) -> None:
    looked = Looked(chromium, page_in(texts))
    looked.go("#/runs?sort=name")
    assert meant(looked, where) == runs


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("lr >> 3 or", 'character 5, "> 3 or": a value should be there'),
        ("lr > 3 or", "the end: a column's name should be there"),
        ("lr > 3 and and", 'character 12, "and": a column\'s name should be there'),
        ("lr ~", "the end: a value should be there"),
        ("lr", "the end: a sign such as = or > should be there"),
        ("lr = auto or v10", "no column is called v10"),
        ("lr = a = b", 'character 8, "= b": "and", "or" or the end should be there'),
        ('lr = "a', 'character 6, "\\"a": a value should be there'),
        ("started > 2026-13-45", "2026-13-45 is no time: write for instance 2026-03-01"),
        ("started > 2026-02-30", "2026-02-30 is no time"),
        ("started > soon", "soon is no time"),
        ("points > many", "many is no number, and points is one"),
        ("lr > a", "a is no number, and params.lr is one"),
        ("(lr > 3)", "no column is called (lr: there are no parentheses"),
    ],
)
def test_what_is_not_understood_is_named_and_no_runs_are_listed(
    texts: Path, chromium: Page, where: str, problem: str
) -> None:
    looked = Looked(chromium, page_in(texts))
    looked.go("#/runs?sort=name")
    assert problem in meant(looked, where)
    assert looked.texts(".runs tbody a") == []
