"""The part of the contract that stores keep which show runs while they go on (`Extending`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import final

import pytest

from trackbridge.adapter import Batch, FileRef, Sink
from trackbridge.columns import split
from trackbridge.errors import IntegrityError
from trackbridge.optional import Extending
from trackbridge.testing import samples
from trackbridge.testing.made import MadeRun, fitted, store
from trackbridge.testing.roundtrip import RoundTripContract


class ExtendingContract(RoundTripContract):
    """Tests of writers that are `Extending`; of others they ask nothing."""

    @final
    def test_a_run_that_grows_is_listed_as_running_with_its_key(self, tmp_path: Path) -> None:
        place, run = self.location(tmp_path), samples.simple("a")
        writer = self.write(place)
        if not isinstance(writer, Extending):
            return
        for count in (2, 4):
            extend(writer, [run], 0, count)
            (info,) = self.visible(place)
            assert (info.ref, info.key) == (writer.target(run.key), run.key)
            assert info.status in ("running", None)
        self.check_points(place, run, 4)

    @final
    def test_what_is_extended_twice_counts_once(self, tmp_path: Path) -> None:
        place, run = self.location(tmp_path), samples.simple("a")
        if not isinstance(self.write(place), Extending):
            return
        for first, last in ((0, 2), (0, 2), (1, 4), (4, 5), (4, 5)):
            writer = self.write(place)
            assert isinstance(writer, Extending)
            for _ in "ab":
                extend(writer, [run], first, last)
        self.check_points(place, run, 5)

    @final
    def test_what_is_not_given_again_stays(self, tmp_path: Path) -> None:
        place, run, later = self.location(tmp_path), samples.simple("a"), samples.simple("a")
        later.tables["params"] = [{"key": "later", "value": "1", "type": "string"}]
        later.tables["files"], later.contents = [], {}
        later.add_file("", "later.txt", b"later")
        writer = self.write(place)
        if not isinstance(writer, Extending):
            return
        extend(writer, [run], 0, 2)
        shown = self.contents(place, run)
        extend(writer, [later], 2, 5)
        params = {row["key"] for row in self.rows(place, run, "params")}
        if "params" in writer.capabilities.holds:
            assert params >= {"note", "later"}
        assert self.contents(place, run) >= shown
        self.check_points(place, run, 5)

    @final
    def test_a_run_that_was_not_written_whole_has_not_ended(self, tmp_path: Path) -> None:
        place, run = self.location(tmp_path), samples.simple("a")
        writer = self.write(place)
        if not isinstance(writer, Extending):
            return
        with writer.extend([run.key]) as sink:
            for batch in fitted(writer, sink, [run]):
                sink.write(batch)
            sink.commit()
        (info,) = self.visible(place)
        assert info.status in ("running", None)

    @final
    def test_several_runs_grow_in_one_chunk(self, tmp_path: Path) -> None:
        place, runs = self.location(tmp_path), [samples.simple(name) for name in "abc"]
        writer = self.write(place)
        if not isinstance(writer, Extending):
            return
        extend(writer, runs[:2], 0, 2)
        extend(writer, runs[1:], 0, 5)
        extend(writer, runs, 2, 5)
        assert {info.key for info in self.visible(place)} == {run.key for run in runs}
        for run in runs:
            self.check_points(place, run, 5)

    @final
    def test_an_extension_that_is_left_without_commit_adds_nothing(self, tmp_path: Path) -> None:
        place, run = self.location(tmp_path), samples.simple("a")
        writer = self.write(place)
        if not isinstance(writer, Extending):
            return
        with writer.extend([run.key]) as sink:
            add(writer, sink, [run], 0, 2)
        assert self.visible(place) == []
        extend(writer, [run], 0, 2)
        with writer.extend([run.key]) as sink:
            add(writer, sink, [run], 2, 5)
        self.check_points(place, run, 2)

    @final
    def test_opening_a_run_that_has_grown_makes_it_whole(self, tmp_path: Path) -> None:
        place, run = self.location(tmp_path), samples.simple("a")
        writer = self.write(place)
        if not isinstance(writer, Extending):
            return
        for first, last in ((0, 2), (2, 4)):
            extend(writer, [run], first, last)
        written = store(writer, [run])
        self.check_rows(place, written, run)
        (info,) = self.visible(place)
        assert (info.ref, info.key) == (writer.target(run.key), run.key)

    @final
    def test_a_run_that_has_grown_is_proven_when_it_is_moved(self, tmp_path: Path) -> None:
        place, run = self.location(tmp_path), samples.simple("a")
        writer = self.write(place)
        if not isinstance(writer, Extending):
            return
        extend(writer, [run], 0, 3)
        self.check_whole(place, [run])
        assert [info.key for info in self.visible(place)] == [run.key]

    @final
    def test_opening_leaves_nothing_of_what_is_no_part_of_the_run(self, tmp_path: Path) -> None:
        place, run, other = (
            self.location(tmp_path),
            samples.simple("a"),
            samples.simple("a", loss=7),
        )
        other.tables["params"].append({"key": "gone", "value": "1", "type": "string"})
        other.tables["metrics"] += [{**point, "key": "gone"} for point in other.tables["metrics"]]
        other.add_file("", "gone.txt", b"gone")
        writer = self.write(place)
        if not isinstance(writer, Extending):
            return
        extend(writer, [other], 0, 5)
        written = store(writer, [run])
        self.check_rows(place, written, run)
        assert [info.key for info in self.visible(place)] == [run.key]

    @final
    def test_a_run_of_another_origin_is_not_extended(self, tmp_path: Path) -> None:
        place, first, second = self.location(tmp_path), samples.simple("a"), samples.simple("a")
        second.key = first.key._replace(instance="other store")
        writer = self.write(place)
        if not isinstance(writer, Extending) or writer.target(first.key) != writer.target(
            second.key
        ):
            return
        written = store(writer, [first])
        with pytest.raises(IntegrityError):
            extend(writer, [second], 0, 5)
        self.check_rows(place, written, first)

    # Aids

    def contents(self, location: str, run: MadeRun) -> set[bytes]:
        """The bytes of each file of a run, whatever it is called in the store."""
        reader, found = self.read(location), set()
        ref = self.write(location).target(run.key)
        for row in self.rows(location, run, "files"):
            with reader.open_file(FileRef(ref, row["owner"], row["path"])) as data:
                found.add(data.read())
        return found

    def check_points(self, location: str, run: MadeRun, count: int) -> None:
        """The first points of a run are there, each once."""
        there = [row["value"] for row in self.rows(location, run, "metrics")]
        expected = [point["value"] for point in run.tables["metrics"][:count]]
        assert sorted(there, reverse=True) == expected


def extend(writer: Extending, runs: list[MadeRun], first: int, last: int) -> None:
    """Add a part of each run's points, and everything else of the runs, as they go on."""
    with writer.extend([run.key for run in runs]) as sink:
        add(writer, sink, runs, first, last)
        sink.commit()


def add(writer: Extending, sink: Sink, runs: list[MadeRun], first: int, last: int) -> None:
    """The same into a sink."""
    for batch in fitted(writer, sink, [_going_on(run) for run in runs]):
        for part in _parts(batch, first, last):
            sink.write(part)


def _going_on(run: MadeRun) -> MadeRun:
    rows = [{**row, "status": "running", "ended": None} for row in run.tables["runs"]]
    going_on = MadeRun(run.key, {**run.tables, "runs": rows})
    going_on.contents = run.contents
    return going_on


def _parts(batch: Batch, first: int, last: int) -> Iterator[Batch]:
    """Of the points of each run some, as they are in the store."""
    if batch.table != "metrics":
        yield batch
        return
    for _, points in split(batch.data):
        yield Batch(batch.table, points.slice(first, last - first))
