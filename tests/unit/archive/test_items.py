"""Items in archives: what belongs to no run is replaced whole, found by its id, and swept."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from unit.archive.archives import reader, runs, write, writer

from trackbridge.adapter import Batch, ItemRef, Query
from trackbridge.columns import batches
from trackbridge.errors import IntegrityError, NotFoundError
from trackbridge_adapters.archive.chunks import Chunk


def put(place: Path, traces: Mapping[str, str], project: str = "p") -> None:
    """Traces of these ids and states, each with two spans and a file that say the state too."""
    label = {"project": project}
    with writer(place).open([]) as sink:
        for batch in _tables(traces, label):
            sink.write(batch)
        for name, state in traces.items():
            file = ItemRef("traces", project, name).file("deep/er.txt")
            sink.put_file(file, io.BytesIO(state.encode()))
        sink.commit()


def _tables(traces: Mapping[str, str], label: dict[str, str]) -> Iterable[Batch]:
    yield from batches("traces", [{**label, "trace_id": t, "status": s} for t, s in traces.items()])
    spans = [
        {**label, "trace_id": trace, "span_id": span, "payload": json.dumps(state)}
        for trace, state in traces.items()
        for span in ("1", "2")
    ]
    yield from batches("spans", spans)
    files = [
        {**label, "kind": "traces", "item_id": trace, "path": "deep/er.txt", "size": len(state)}
        for trace, state in traces.items()
    ]
    yield from batches("item_files", files)


def held(place: Path) -> dict[str, str]:
    """Id and state of each trace; fails where its rows and its file do not agree."""
    read = reader(place)
    refs = [info.ref for info in read.list_items("traces", Query())]
    assert len(set(refs)) == len(refs), "a trace is listed twice"
    found: dict[str, str] = {}
    for ref in refs:
        rows = {b.table: b.data.to_pylist() for b in read.read_items([ref])}
        (trace,) = rows["traces"]
        states = {json.loads(span["payload"]) for span in rows["spans"]}
        assert len(rows["spans"]) == 2
        assert states == {trace["status"]}
        assert read.open_file(ref.file("deep/er.txt")).read().decode() == trace["status"]
        found[ref.id] = trace["status"]
    return found


def test_an_item_that_is_written_again_is_replaced_whole_and_the_others_stay(
    tmp_path: Path,
) -> None:
    put(tmp_path, {"a": "old", "b": "old", "c": "old"})
    before = {i.ref.id: i.fingerprint for i in reader(tmp_path).list_items("traces", Query())}
    put(tmp_path, {"b": "new"})
    assert held(tmp_path) == {"a": "old", "b": "new", "c": "old"}
    after = {i.ref.id: i.fingerprint for i in reader(tmp_path).list_items("traces", Query())}
    assert {name for name in before if before[name] != after[name]} == {"b"}


def test_items_of_one_id_in_two_projects_stay_apart(tmp_path: Path) -> None:
    put(tmp_path, {"a": "one"}, "p")
    put(tmp_path, {"a": "two"}, "q")
    read = reader(tmp_path)
    for project, state in (("p", "one"), ("q", "two")):
        ref = ItemRef("traces", project, "a")
        (trace,) = next(b.data.to_pylist() for b in read.read_items([ref]) if b.table == "traces")
        assert trace["status"] == state
        assert read.open_file(ref.file("deep/er.txt")).read().decode() == state
    assert [i.ref.project for i in read.list_items("traces", Query(projects=["q"]))] == ["q"]


def test_runs_and_shared_rows_know_nothing_of_items(tmp_path: Path) -> None:
    write(tmp_path, runs("ab"))
    shared = [batch.data.to_pylist() for batch in reader(tmp_path).read_shared(Query())]
    put(tmp_path, {"a": "old"})
    write(tmp_path, runs("b", loss=0.25))
    read = reader(tmp_path)
    assert [info.ref.run_id for info in read.list_runs(Query())] == ["a", "b"]
    assert [batch.data.to_pylist() for batch in read.read_shared(Query())] == shared
    assert held(tmp_path) == {"a": "old"}


def test_a_sweep_leaves_what_lives_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path, {"a": "old", "b": "old"})
    put(tmp_path, {"a": "new"})
    (tmp_path / "data" / "spans" / "of-a-killed-writer.parquet").write_bytes(b"torn")
    writer(tmp_path).sweep()
    assert held(tmp_path) == {"a": "new", "b": "old"}
    assert not (tmp_path / "data" / "spans" / "of-a-killed-writer.parquet").exists()
    assert len([*(tmp_path / "data" / "traces").iterdir()]) == 2


def test_a_killed_writer_leaves_the_old_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, {"a": "old"})

    def killed(self: Chunk) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Chunk, "dumps", killed)
        put(tmp_path, {"a": "new", "b": "new"})
    assert held(tmp_path) == {"a": "old"}
    put(tmp_path, {"a": "new", "b": "new"})
    assert held(tmp_path) == {"a": "new", "b": "new"}


def test_a_damaged_part_of_items_is_told(tmp_path: Path) -> None:
    put(tmp_path, {"a": "old"})
    (part,) = (tmp_path / "data" / "spans").iterdir()
    part.write_bytes(part.read_bytes()[:-10])
    with pytest.raises(IntegrityError, match="spans"):
        list(reader(tmp_path).read_items([ItemRef("traces", "p", "a")]))


def test_a_file_that_an_item_does_not_have_is_not_found(tmp_path: Path) -> None:
    put(tmp_path, {"a": "old"})
    for name, path in (("a", "other"), ("b", "deep/er.txt")):
        with pytest.raises(NotFoundError):
            reader(tmp_path).open_file(ItemRef("traces", "p", name).file(path))
