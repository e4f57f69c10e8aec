"""Journals that are damaged, hostile, or of another time: named, and read as far as they can be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from unit.dual.test_frames import HOSTILE

from trackbridge.adapter import Query, Reader, RunInfo
from trackbridge.dual import frames, place, scanning
from trackbridge.dual.starting import start
from trackbridge.errors import UnsupportedError
from trackbridge.registry import open_reader


def logged(root: Path, run_id: str = "r", values: int = 10) -> Path:
    """The journal file of a small run."""
    with start("p", "a name", {"lr": 0.1}, run_id=run_id, folder=root) as run:
        for value in range(values):
            run.log({"loss": float(value)})
        run.log({"text": "words"})
        assert run.folder
        [path] = run.folder.glob("*.journal")
    return path


def read(root: Path) -> tuple[Reader, RunInfo, dict[str, list[dict[str, Any]]]]:
    reader = open_reader(f"journal:{root}")
    [info] = reader.list_runs(Query())
    tables: dict[str, list[dict[str, Any]]] = {}
    for batch in reader.read_runs([info.ref]):
        tables.setdefault(batch.table, []).extend(batch.data.to_pylist())
    return reader, info, tables


def damage(tables: dict[str, list[dict[str, Any]]]) -> Sequence[str]:
    told: list[str] = json.loads(tables["runs"][0]["extra"] or "{}").get("damage", [])
    return told


def losses(tables: dict[str, list[dict[str, Any]]]) -> list[float]:
    return [row["value"] for row in tables["metrics"]]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda payload: repr(payload[:60]))
def test_a_hostile_record_is_named_with_its_place(tmp_path: Path, hostile: bytes) -> None:
    path = logged(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + frames.frame(hostile) + frames.record({"t": "new kind", "at": 1}))
    _, info, tables = read(tmp_path)
    assert damage(tables) == [
        f"{path.name}: {12 + len(hostile)} bytes at {len(whole)} are no record"
    ]
    assert (info.ref.run_id, losses(tables)) == ("r", [float(n) for n in range(10)])


ODD = [
    {"t": "set", "row": {"name": 5, "started": "now", "ended": 2**62, "extra": [1], "user": None}},
    {"t": "set", "row": {"run_id": "other", "project": 1, "deleted": "yes", "what": {"a": 1}}},
    {"t": "put", "table": "runs", "rows": [{"name": "x"}]},
    {"t": "put", "table": "metrics", "rows": [{"key": "x"}]},
    {"t": "put", "table": "no table", "rows": [{"key": "x"}]},
    {"t": "put", "table": "tags", "rows": [{"key": ["a"], "value": {"b": 1}}, {}]},
    {"t": "put", "table": "alerts", "rows": [{"time": 1.5, "title": None}, {"time": -(2**63)}]},
    {"t": "put", "table": "metric_defs", "rows": [{"key": "k", "glob": "no", "hidden": 1}]},
    {"t": "drop", "table": "alerts", "keys": ["x"]},
    {"t": "drop", "table": "no table", "keys": ["x"]},
    {"t": "config", "drop": ["never set"], "set": {"": {"": {}}, "n": None, "f": float("nan")}},
    {"t": "config", "set": json.loads('{"a":' * 300 + "1" + "}" * 300)},
    {"t": "summary", "set": {"list": [{"a": [1, None]}]}},
    {"t": "logs", "rows": [["stdout", None, "text"], ["stderr", -(2**63), ""]]},
    {"t": "artifact", "row": {"collection": "c", "metadata": 5, "created": "x"}, "files": []},
    {"t": "file", "file": {"path": "gone", "size": None, "sha256": None, "media_type": 7}},
    {"t": "end", "status": "sleeping", "exit_code": -9},
    {"t": "lost", "calls": 3, "why": "a full disk"},
    {"t": "series", "row": -(2**63), "step": -(2**63), "items": [["k", "new", "no JSON", None]]},
]


@pytest.mark.parametrize("odd", ODD, ids=lambda record: str(record)[:60])
def test_what_fits_no_column_costs_nothing_else(tmp_path: Path, odd: dict[str, Any]) -> None:
    path = logged(tmp_path)
    path.write_bytes(path.read_bytes() + frames.record({"at": 2**50, **odd}))
    _, info, tables = read(tmp_path)
    assert losses(tables) == [float(n) for n in range(10)]
    assert (info.ref.project, info.ref.run_id) == ("p", "r")
    assert tables["runs"][0]["program"]


def test_damage_in_the_middle_is_named_and_the_rest_read(tmp_path: Path) -> None:
    path = logged(tmp_path)
    data = bytearray(path.read_bytes())
    at = data.index(b"P\x02\x00\x00") - 12 + scanning.size(1)
    data[at + 40] ^= 1
    path.write_bytes(data)
    _, _, tables = read(tmp_path)
    assert damage(tables) == [f"{path.name}: {scanning.size(1)} bytes at {at} are no record"]
    assert losses(tables) == [0.0, *(float(n) for n in range(2, 10))]


def test_a_run_that_ended_in_the_middle_of_a_record_says_so(tmp_path: Path) -> None:
    path = logged(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + frames.record({"t": "new kind", "at": 1})[:-3])
    _, _, tables = read(tmp_path)
    [told] = damage(tables)
    assert told.startswith(f"{path.name}: ends in the middle of a record")
    assert told.endswith(f"at {len(whole)}")


def test_half_a_record_is_part_of_the_fingerprint_that_trainings_take(tmp_path: Path) -> None:
    path = logged(tmp_path)
    _, before, _ = read(tmp_path)
    path.write_bytes(path.read_bytes() + frames.record({"t": "new kind", "at": 1})[:-3])
    _, after, _ = read(tmp_path)
    assert before.fingerprint != after.fingerprint == place.fingerprint(path.parent)


def test_a_run_without_its_header_has_the_name_of_its_folder(tmp_path: Path) -> None:
    path = logged(tmp_path)
    data = bytearray(path.read_bytes())
    data[14:30] = bytes(16)
    path.write_bytes(data)
    _, info, tables = read(tmp_path)
    assert info.ref == ("lost", path.parent.name)
    assert losses(tables) == [float(n) for n in range(10)]
    assert damage(tables)[0].endswith("bytes at 0 are no record")


def test_a_journal_of_a_newer_version_is_refused_in_one_line(tmp_path: Path) -> None:
    path = logged(tmp_path)
    path.write_bytes(frames.record({"t": "begin", "version": 99, "at": 1, "run": {"new": "form"}}))
    with pytest.raises(UnsupportedError) as told:
        list(open_reader(f"journal:{tmp_path}").list_runs(Query()))
    assert str(told.value) == f"{path}: written by a newer Trackbridge; install that one"


def test_files_whose_bytes_are_gone_are_named(tmp_path: Path) -> None:
    with start("p", run_id="r", folder=tmp_path) as run:
        kept = run.keep("notes.txt", b"content")
        assert run.folder
        (run.folder / "files" / kept.sha256[:2] / kept.sha256).unlink()
    assert damage(read(tmp_path)[2]) == ["the bytes of 'notes.txt' are missing"]


def test_an_empty_file_and_a_begun_header_are_no_run_yet(tmp_path: Path) -> None:
    for name, content in (("a", b""), ("b", frames.record({"t": "begin"})[:20])):
        (tmp_path / f"run-{name}").mkdir()
        (tmp_path / f"run-{name}" / f"{name}.journal").write_bytes(content)
    assert list(open_reader(f"journal:{tmp_path}").list_runs(Query())) == []


def test_two_folders_of_one_run_are_read_as_one(tmp_path: Path) -> None:
    first = logged(tmp_path / "one")
    second = logged(tmp_path / "two")
    both = tmp_path / "both"
    both.mkdir()
    first.parent.rename(both / "run-1")
    second.parent.rename(both / "run-2")
    _, info, tables = read(both)
    assert sorted(losses(tables)) == sorted([*map(float, range(10))] * 2)
    assert info.points == 22
