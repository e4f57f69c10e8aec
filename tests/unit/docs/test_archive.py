"""What the page on archives shows is run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from unit.archive.archives import runs, write

PAGE = Path(__file__).parents[3] / "docs" / "archive.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "archive", [*runs("ab"), *runs("c", loss=0.25)])
    monkeypatch.chdir(tmp_path)


def run(library: str) -> dict[str, Any]:
    """The names that an example has made."""
    (code,) = (code for code in EXAMPLES if library in code)
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def test_every_example_has_a_test() -> None:
    assert len(EXAMPLES) == 4


def test_pandas_shows_a_column_a_run(here: None) -> None:
    losses = run("losses = ")["losses"]
    assert list(losses.columns) == ["a", "b", "c"]
    assert losses.shape == (5, 3) and losses["c"][0] == 0.25


def test_duckdb_finds_the_best_run(here: None) -> None:
    best = run("duckdb")["best"]
    assert best["run_id"][0] == "c"
    assert best["note"][0] == "loss is 0.25"


def test_polars_says_how_long_runs_took(here: None) -> None:
    hours = run("polars")["hours"]
    assert hours.shape == (3, 3) and set(hours["status"]) == {"finished"}


def test_bytes_of_a_file_are_found(here: None) -> None:
    assert run("content = ")["content"] == b"a"
