"""The notebooks of the manual run as they stand there, and show what they say."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

import nbformat
import pytest

DOCS = Path(__file__).parents[3] / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
MOST_BYTES = 200_000


def printed(book: Any) -> list[str]:
    """What each cell prints, in however many parts, without what tables and plots look like."""
    outputs = [cell.get("outputs", ()) for cell in book.cells]
    return ["".join(o.text for o in each if o.output_type == "stream") for each in outputs]


def test_there_are_three_with_plots_that_are_small_and_without_warnings() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["audit", "evaluation", "migration"]
    for path in NOTEBOOKS:
        assert path.stat().st_size < MOST_BYTES
        book = nbformat.read(path, as_version=4)
        nbformat.validate(book)
        outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
        assert any("image/png" in output.get("data", ()) for output in outputs)
        streams = [output.name for output in outputs if output.output_type == "stream"]
        assert set(streams) == {"stdout"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_prints_what_it_shows(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = [str(DOCS.parent / root) for root in ("bridge", "adapters")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(roots))
    executed = runpy.run_path(str(DOCS / "execute.py"))["executed"]
    book = executed(path, tmp_path)
    assert printed(book) == printed(nbformat.read(path, as_version=4))
