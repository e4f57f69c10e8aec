"""The part of the contract that stores keep which can be written: sinks and what they commit."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import final

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackbridge.adapter import Batch, FileRef, Query, RunKey, RunRef
from trackbridge.errors import BridgeError, IntegrityError, NotFoundError
from trackbridge.schema import BATCH_ROWS, TABLES
from trackbridge.testing import samples, strategies
from trackbridge.testing.base import (
    ContractBase,
    listed,
    tries,
)
from trackbridge.testing.compare import same_rows
from trackbridge.testing.made import MadeRun, deliver, fitted, store
from trackbridge.testing.plain import comparable, read_plain


class _StopError(Exception):
    """What goes wrong in the middle of a chunk."""


class WritingContract(ContractBase):
    """Tests that write stores of their own."""

    # Where runs go

    @final
    @tries
    @given(keys=st.lists(strategies.keys("some-kind", ""), unique=True, max_size=8))
    def test_runs_of_one_store_get_targets_of_their_own_that_never_change(
        self, tmp_path: Path, keys: list[RunKey]
    ) -> None:
        writer, other = self.write(self.location(tmp_path)), self.write(self.location(tmp_path))
        targets = [writer.target(key) for key in keys]
        assert len(set(targets)) == len(keys), "two runs have one target"
        assert targets == [other.target(key) for key in keys]
        assert all(isinstance(ref, RunRef) and ref.run_id for ref in targets)

    @final
    def test_names_that_are_nearly_the_same_get_targets_of_their_own(self, tmp_path: Path) -> None:
        writer = self.write(self.location(tmp_path))
        nearly = (
            "a/b",
            "a_b",
            "a b",
            "a.b",
            "a:b",
            "A_B",
            "a_b ",
            "a_b_",
            "a%2Fb",
            "\u00e4",
            "a\u0308",
        )
        keys = [RunKey("some-kind", "", project, run) for project in nearly for run in nearly]
        targets: dict[RunRef, RunKey] = {}
        for key in keys:
            other = targets.setdefault(writer.target(key), key)
            assert other == key, f"{other} and {key} have one target"

    @final
    def test_runs_of_one_id_in_two_projects_are_two_runs(self, tmp_path: Path) -> None:
        place = self.location(tmp_path)
        runs = [samples.simple("a", project=name) for name in ("vision", "speech")]
        runs[1].tables["params"] = []
        writer = self.write(place)
        for run in runs:
            written = store(writer, [run])
            self.check_rows(place, written, run)
        assert {info.key for info in self.visible(place)} == {run.key for run in runs}
        assert self.rows(place, runs[0], "params"), "the second run has replaced the first one"

    @final
    def test_a_run_goes_into_the_project_that_its_label_names(self, tmp_path: Path) -> None:
        place, run, other = self.location(tmp_path), samples.simple("a"), samples.simple("b")
        writer, born = self.write(place), run.key
        run.key = born.placed("elsewhere")
        there = writer.target(run.key)
        assert there.project == writer.target(born._replace(project="elsewhere")).project
        assert there.project != writer.target(born).project
        assert there.run_id == writer.target(born).run_id, "the id depends on the key alone"
        assert writer.target(born.placed(there.project)) == there
        written = store(writer, [run, other])
        self.check_rows(place, written, run, other)
        found = {info.ref: str(info.key) for info in self.visible(place)}
        assert found == {there: str(born), writer.target(other.key): str(other.key)}

    @final
    @pytest.mark.parametrize("change", [{"kind": "other-kind"}, {"instance": "other store"}])
    def test_a_run_of_another_origin_is_kept_apart_or_refused(
        self, tmp_path: Path, change: dict[str, str]
    ) -> None:
        place, first, second = self.location(tmp_path), samples.simple("a"), samples.simple("a")
        second.key = first.key._replace(**change)
        writer = self.write(place)
        written = store(writer, [first])
        if writer.target(first.key) == writer.target(second.key):
            with pytest.raises(IntegrityError):
                store(writer, [second])
        else:
            store(writer, [second])
            assert {info.key for info in self.visible(place)} == {first.key, second.key}
        self.check_rows(place, written, first)

    @final
    @tries
    @given(run=strategies.made_runs())
    def test_presenting_a_run_twice_gives_the_same_and_leaves_the_rows_alone(
        self, tmp_path: Path, run: MadeRun
    ) -> None:
        writer = self.write(self.location(tmp_path))
        tables = {t: rows for t, rows in run.tables.items() if t not in ("metrics", "logs")}
        before = copy.deepcopy(tables)
        first = copy.deepcopy(writer.present(run.key, tables))
        assert tables == before, "present has changed what it was given"
        assert writer.present(run.key, tables) == first

    @final
    def test_a_writer_makes_nothing_before_the_first_chunk(self, tmp_path: Path) -> None:
        writer = self.write(self.location(tmp_path))
        writer.target(samples.simple("a").key)
        assert listed(writer) == [], "a store that is still to be made has no runs"
        assert not list(tmp_path.iterdir())

    # Committing

    @final
    def test_nothing_is_visible_before_commit_nor_without_it(self, tmp_path: Path) -> None:
        place, run = self.location(tmp_path), samples.simple("a")
        writer = self.write(place)
        with writer.open([run.key]) as sink:
            deliver(writer, sink, [run])
            assert self.visible(place) == []
        assert self.visible(place) == []
        with pytest.raises(NotFoundError):
            list(self.write(place).read_runs([writer.target(run.key)]))

    @final
    def test_after_an_error_everything_is_as_it_was_before(self, tmp_path: Path) -> None:
        place, old, new = self.location(tmp_path), samples.simple("a"), samples.simple("a", loss=2)
        other = samples.simple("b")
        writer = self.write(place)
        written = store(writer, [old])
        with pytest.raises(_StopError), writer.open([new.key, other.key]) as sink:
            deliver(writer, sink, [new, other])
            raise _StopError
        assert [info.key for info in self.visible(place)] == [old.key]
        self.check_rows(place, written, old)

    @final
    def test_a_chunk_that_lacks_a_run_is_refused_whole(self, tmp_path: Path) -> None:
        place, runs = self.location(tmp_path), [samples.simple(name) for name in "ab"]
        writer = self.write(place)
        with pytest.raises(BridgeError), writer.open([run.key for run in runs]) as sink:
            deliver(writer, sink, runs[:1])
            sink.commit()
        assert self.visible(place) == []

    @final
    def test_commit_makes_every_run_of_the_chunk_visible_and_says_where_it_is(
        self, tmp_path: Path
    ) -> None:
        place, runs = self.location(tmp_path), [samples.simple(name) for name in "abc"]
        writer = self.write(place)
        with writer.open([run.key for run in runs]) as sink:
            written = deliver(writer, sink, runs)
            where = sink.commit()
        assert where == {run.key: writer.target(run.key) for run in runs}
        assert {info.key: info.ref for info in self.visible(place)} == where
        assert all(info.carried for info in self.visible(place)), "the bridge brought these runs"
        self.check_rows(place, written, *runs)
        same_rows(written, writer.read_runs(list(where.values())), writer)

    @final
    def test_a_written_store_can_be_opened_again_by_its_address(self, tmp_path: Path) -> None:
        writer = self.write(self.location(tmp_path))
        store(writer, [samples.simple("a")])
        location = writer.address.removeprefix(f"{self.adapter.name}:")
        assert [info.key for info in self.visible(location)] == [samples.simple("a").key]

    @final
    def test_writing_the_same_runs_again_replaces_them(self, tmp_path: Path) -> None:
        place = self.location(tmp_path)
        old, new = samples.simple("a"), samples.simple("a", loss=2.0)
        old.tables["metrics"] += [{**point, "key": "old"} for point in old.tables["metrics"]]
        old.tables["params"].append({"key": "old", "value": "text", "type": "string"})
        writer = self.write(place)
        store(writer, [old])
        (before,) = self.visible(place)
        for run in (new, new):
            written = store(writer, [run])
            (after,) = self.visible(place)
            assert after.key == run.key
            assert after.fingerprint != before.fingerprint, "the run has changed"
            self.check_rows(place, written, run)

    @final
    def test_files_that_a_run_no_longer_has_are_gone_after_writing_it_again(
        self, tmp_path: Path
    ) -> None:
        place, old, new = self.location(tmp_path), samples.simple("a"), samples.simple("a")
        old.add_file("", "old.txt", b"old")
        writer = self.write(place)
        store(writer, [old])
        before = {(row["owner"], row["path"]) for row in self.rows(place, old, "files")}
        store(writer, [new])
        after = {(row["owner"], row["path"]) for row in self.rows(place, new, "files")}
        assert len(before - after) == 1
        for owner, path in before - after:
            with pytest.raises(NotFoundError):
                self.read(place).open_file(FileRef(writer.target(new.key), owner, path)).read()

    @final
    def test_runs_can_be_written_again_in_another_company(self, tmp_path: Path) -> None:
        place = self.location(tmp_path)
        a, b, c = (samples.simple(name) for name in "abc")
        changed = samples.simple("b", loss=2.0)
        writer = self.write(place)
        written = store(writer, [a, b])
        again = store(writer, [changed, c])
        assert sorted(info.key for info in self.visible(place)) == [a.key, b.key, c.key]
        ref = writer.target(a.key)
        kept = [Batch(t.table, _only(t, ref)) for t in written]
        self.check_rows(place, kept, a)
        self.check_rows(place, again, changed, c)

    @final
    def test_a_chunk_without_runs_can_be_committed(self, tmp_path: Path) -> None:
        writer = self.write(self.location(tmp_path))
        with writer.open([]) as sink:
            assert dict(sink.commit()) == {}
        assert listed(writer) == []

    @final
    def test_a_deleted_run_is_listed_with_its_mark_and_only_if_such_are_meant(
        self, tmp_path: Path
    ) -> None:
        place, run, other = self.location(tmp_path), samples.simple("a"), samples.simple("b")
        run.tables["runs"] = [{**run.tables["runs"][0], "deleted": True}]
        writer = self.write(place)
        store(writer, [run, other])
        held = "deleted" in writer.capabilities.holds["runs"]
        marks = {info.key: info.deleted for info in self.visible(place)}
        assert marks == {run.key: held, other.key: False}
        living = listed(self.read(place), Query(include_deleted=False))
        assert {info.key for info in living} == {other.key} | (set() if held else {run.key})

    @final
    def test_a_run_with_nothing_in_it_is_a_run(self, tmp_path: Path) -> None:
        place, run = self.location(tmp_path), MadeRun(RunKey("some-kind", "", "vision", "bare"))
        written = store(self.write(place), [run])
        assert [info.key for info in self.visible(place)] == [run.key]
        self.check_rows(place, written, run)

    @final
    def test_tables_may_come_in_any_order(self, tmp_path: Path) -> None:
        place, runs = self.location(tmp_path), [samples.simple(name) for name in "ab"]
        writer = self.write(place)
        with writer.open([run.key for run in runs]) as sink:
            written = fitted(writer, sink, runs)
            for batch in sorted(written, key=lambda batch: batch.table):
                sink.write(batch)
            sink.commit()
        self.check_rows(place, written, *runs)

    @final
    def test_many_points_come_back_in_batches_of_the_allowed_size(self, tmp_path: Path) -> None:
        place, run = self.location(tmp_path), samples.long("long", BATCH_ROWS + 1000)
        writer = self.write(place)
        store(writer, [run])
        found = list(self.read(place).read_runs([writer.target(run.key)], ["metrics"]))
        assert max(batch.data.num_rows for batch in found) <= BATCH_ROWS
        values = [v for batch in found for v in batch.data.column("value").to_pylist()]
        assert sorted(values) == [point["value"] for point in run.tables["metrics"]]

    @final
    def test_sinks_may_be_open_together_where_that_is_claimed(self, tmp_path: Path) -> None:
        place, runs = self.location(tmp_path), [samples.simple(name) for name in "ab"]
        writers = [self.write(place) for _ in runs]
        if not writers[0].capabilities.parallel_writers:
            return
        with writers[0].open([runs[0].key]) as first, writers[1].open([runs[1].key]) as second:
            written = deliver(writers[0], first, runs[:1]) + deliver(writers[1], second, runs[1:])
            second.commit()
            first.commit()
        assert sorted(info.key for info in self.visible(place)) == [run.key for run in runs]
        self.check_rows(place, written, *runs)

    # What the store's users see

    @final
    def test_the_stores_own_client_shows_what_was_written(self, tmp_path: Path) -> None:
        place, run = self.location(tmp_path), samples.simple("a")
        writer = self.write(place)
        store(writer, [run])
        ref, held = writer.target(run.key), writer.capabilities
        shown = comparable(self.peek(place, ref), held)
        read = comparable(read_plain(self.read(place), ref), held)
        assert (shown.project, shown.run_id, shown.name) == (ref.project, ref.run_id, read.name)
        assert shown.params == {**shown.params, **read.params}
        assert shown.files == {**shown.files, **read.files}
        points = [point for point in shown.points if point.key == "loss"]
        assert [point.value for point in points] == [p["value"] for p in run.tables["metrics"]]
        assert points == [point for point in read.points if point.key == "loss"]


def _only(batch: Batch, ref: RunRef) -> pa.RecordBatch:
    rows = [r for r in batch.data.to_pylist() if RunRef(r["project"], r["run_id"]) == ref]
    return pa.RecordBatch.from_pylist(rows, schema=TABLES[batch.table])
