"""Files of a run are opened out of its journal without reading all of its records for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trackbridge.adapter import FileRef, Query
from trackbridge.dual.starting import start
from trackbridge.errors import NotFoundError
from trackbridge.registry import open_reader
from trackbridge_adapters.journal import reader as module


def test_records_are_told_once_however_many_files_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    class Counted(module.Facts):
        def __init__(self, *of: Any) -> None:
            told.append(of)
            super().__init__(*of)

    names = [f"{number}.txt" for number in range(9)]
    with start("p", run_id="r", folder=tmp_path / "journals") as run:
        for name in names:
            (tmp_path / name).write_text(name)
            run.save(tmp_path / name)
        run.log({"loss": 1.0})
    monkeypatch.setattr(module, "Facts", Counted)
    reader = open_reader(f"journal:{tmp_path / 'journals'}")
    [info] = reader.list_runs(Query())
    before = len(told)
    for name in names:
        with reader.open_file(FileRef(info.ref, "", name)) as data:
            assert data.read().decode() == name
    assert len(told) == before + 1


def test_a_file_that_was_logged_since_is_found(tmp_path: Path) -> None:
    reader = None
    with start("p", run_id="r", folder=tmp_path / "journals") as run:
        for content in ("one", "two"):
            (tmp_path / "a.txt").write_text(content)
            run.save(tmp_path / "a.txt")
            reader = reader or open_reader(f"journal:{tmp_path / 'journals'}")
            [info] = reader.list_runs(Query())
            with reader.open_file(FileRef(info.ref, "", "a.txt")) as data:
                assert data.read().decode() == content
        with pytest.raises(NotFoundError, match="no file"):
            reader.open_file(FileRef(info.ref, "", "b.txt"))
