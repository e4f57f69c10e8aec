"""What is read of a run in pieces, while it grows, is what is read of it as a whole."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackbridge.adapter import Batch, Query, RunRef
from trackbridge.dual import place
from trackbridge.dual.journal import Journal
from trackbridge.dual.run import Run
from trackbridge.dual.starting import start
from trackbridge.optional import Growing
from trackbridge.registry import open_reader
from trackbridge_adapters.journal import reader as module

REF = RunRef("p", "r")
STREAMS = ("metrics", "series")
KEYS = st.sampled_from(["a", "b", "c", "d"])
VALUES = st.floats(allow_nan=False) | st.integers(-5, 5) | st.sampled_from(["words", True, None])
LOGGED = st.tuples(
    st.just("log"),
    st.dictionaries(KEYS, VALUES, max_size=3),
    st.none() | st.integers(-2, 6),
    st.none() | st.booleans(),
)
TOLD = st.tuples(st.just("config"), KEYS, st.integers(0, 3))
DEEDS = st.lists(
    LOGGED | TOLD | st.tuples(st.just("tag"), KEYS) | st.just(("read",)) | st.just(("again",)),
    max_size=25,
)


def journals(root: Path) -> Growing:
    reader = open_reader(f"journal:{root}")
    assert isinstance(reader, Growing)
    return reader


def rows(batches: list[Batch] | Iterator[Batch]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for batch in batches:
        found.setdefault(batch.table, []).extend(batch.data.to_pylist())
    return found


def counted(table: list[dict[str, Any]], *but: str) -> Counter[str]:
    return Counter(
        str({name: value for name, value in row.items() if name not in but}) for row in table
    )


class Follower:
    """Reads what is added, and keeps it as a store would."""

    def __init__(self, root: Path, *, whole_rows: bool = False) -> None:
        self._reader, self._whole_rows = journals(root), whole_rows
        self.position = ""
        self.streams: dict[str, list[dict[str, Any]]] = {"metrics": [], "series": []}
        self.small: dict[str, list[dict[str, Any]]] = {}

    def read(self) -> bool:
        before = self.position
        batches, self.position = self._reader.read_added(
            REF, self.position, whole_rows=self._whole_rows
        )
        for table, found in rows(batches).items():
            if table in STREAMS:
                self.streams[table] += found
            else:
                self.small[table] = found
        return self.position != before


def do(run: Run, deed: tuple[Any, ...]) -> None:
    if deed[0] == "log":
        run.log(deed[1], step=deed[2], commit=deed[3])
    elif deed[0] == "config":
        run.config[deed[1]] = deed[2]
    elif deed[0] == "tag":
        run.set_tags([deed[1]])


@pytest.mark.parametrize("whole_rows", [False, True])
@settings(max_examples=100)
@given(DEEDS, st.integers(600, 3000))
def test_pieces_are_the_whole(whole_rows: bool, deeds: list[tuple[Any, ...]], rotated: int) -> None:
    with TemporaryDirectory() as name:
        root = Path(name)
        header = {"run": list(REF), "host": "here", "by": "", "to": []}
        run = Run(Journal(place.folder_of(root, *REF), header, rotated), *REF)
        run.set(status="running")
        follower = Follower(root, whole_rows=whole_rows)
        for deed in deeds:
            if deed[0] == "read":
                follower.read()
            elif deed[0] == "again":
                run.finish()
                run = start(*REF[:1], run_id=REF[1], resume=True, folder=root)
            else:
                do(run, deed)
        run.finish()
        while follower.read():
            pass
        whole = rows(journals(root).read_runs([REF]))
        for table in STREAMS:
            assert counted(follower.streams[table]) == counted(whole.get(table, []))
        for table, found in follower.small.items():
            assert counted(found) == counted(whole[table])


def test_a_long_run_is_given_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 1000)
    monkeypatch.setattr("trackbridge.dual.scanning.scan.__defaults__", (0, None, 100))
    with start(*REF[:1], run_id=REF[1], folder=tmp_path) as run:
        for call in range(2000):
            run.log({"a": float(call), "b": 1.0, "text": "words"})
    follower = Follower(tmp_path)
    sizes = []
    while follower.read():
        sizes.append(sum(map(len, follower.streams.values())) - sum(sizes))
    assert max(sizes) < 1500
    assert sum(sizes) == 6000


@pytest.mark.skipif(sys.platform == "win32", reason="has no fork")
def test_rows_of_processes_that_log_at_once_are_told_in_the_end_alone(tmp_path: Path) -> None:
    run = start(*REF[:1], run_id=REF[1], folder=tmp_path)
    run.log({"a": 0.0})
    follower = Follower(tmp_path)
    follower.read()
    for child in range(2):
        if not (pid := os.fork()):
            for call in range(20):
                run.log({"a": float(call), "child": float(child), "text": "words"})
            os._exit(0)
        os.waitpid(pid, 0)
        run.log({"a": -1.0})
        follower.read()
    run.finish()
    while follower.read():
        pass
    whole = rows(journals(tmp_path).read_runs([REF]))
    for table in STREAMS:
        assert counted(follower.streams[table], "row") == counted(whole[table], "row")
    assert {row["row"] for row in follower.streams["metrics"][1:]} == {None}
    assert sorted({row["row"] for row in whole["metrics"]}) == list(range(43))
    ordered = sorted(whole["metrics"], key=lambda row: row["row"])
    assert [row["time"] for row in ordered] == sorted(row["time"] for row in ordered)


def test_a_position_means_the_same_to_another_reader(tmp_path: Path) -> None:
    run = start(*REF[:1], run_id=REF[1], folder=tmp_path)
    run.log({"a": 1.0})
    first = Follower(tmp_path)
    first.read()
    run.log({"a": 2.0})
    second = Follower(tmp_path)
    second.position = first.position
    second.read()
    run.finish()
    assert [row["value"] for row in second.streams["metrics"]] == [2.0]


def test_a_run_is_in_the_list_as_it_grows(tmp_path: Path) -> None:
    reader = journals(tmp_path) if list(tmp_path.glob("run-*")) else None
    assert reader is None
    run = start(*REF[:1], run_id=REF[1], folder=tmp_path)
    run.log({"a": 1.0})
    reader = journals(tmp_path)
    [first] = reader.list_runs(Query())
    run.log({"a": 1.0})
    [second] = reader.list_runs(Query())
    run.finish()
    [third] = reader.list_runs(Query())
    assert [info.points for info in (first, second, third)] == [1, 2, 2]
    assert len({info.fingerprint for info in (first, second, third)}) == 3
    assert [info.status for info in (first, third)] == ["running", "finished"]
