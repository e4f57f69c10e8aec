"""The part of the contract that stores keep which several write a run into at once (`Dividing`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import final

import pyarrow as pa
import pytest

from trackbridge.adapter import Batch, Sink
from trackbridge.columns import relabel, sliced
from trackbridge.errors import IntegrityError
from trackbridge.optional import Adopting, Dividing
from trackbridge.testing import samples
from trackbridge.testing.made import MadeRun, fitted, store
from trackbridge.testing.roundtrip import RoundTripContract


class DividingContract(RoundTripContract):
    """Tests of writers that are `Dividing`; of others they ask nothing."""

    @final
    def test_a_run_whose_points_came_in_parts_is_the_run(self, tmp_path: Path) -> None:
        place, run = self.location(tmp_path), samples.simple("a")
        if not isinstance(self.write(place), Dividing):
            return
        tokens = [self.put(place, run, *ends) for ends in ((0, 2), (2, 5), (5, 5))]
        assert self.visible(place) == []
        written = self.finish(place, run, tokens)
        self.check_rows(place, written, run)
        (info,) = self.visible(place)
        assert (info.key, info.points) == (run.key, 5)

    @final
    def test_a_part_that_is_written_twice_is_there_once(self, tmp_path: Path) -> None:
        place, run = self.location(tmp_path), samples.simple("a")
        if not isinstance(self.write(place), Dividing):
            return
        parts = [(0, 3), (0, 3), (3, 5)]
        first, again, last = (self.put(place, run, *ends) for ends in parts)
        self.check_rows(place, self.finish(place, run, [again, last]), run)
        self.check_rows(place, self.finish(place, run, [first, last]), run)
        assert len(self.visible(place)) == 1

    @final
    def test_what_came_in_parts_is_replaced_by_what_comes_whole(self, tmp_path: Path) -> None:
        place, run, other = (
            self.location(tmp_path),
            samples.simple("a"),
            samples.simple("a", loss=7),
        )
        if not isinstance(self.write(place), Dividing):
            return
        self.finish(place, run, [self.put(place, run, 0, 2), self.put(place, run, 2, 5)])
        self.check_rows(place, store(self.write(place), [other]), other)
        written = self.finish(place, run, [self.put(place, run, 0, 2), self.put(place, run, 2, 5)])
        self.check_rows(place, written, run)

    @final
    def test_parts_that_are_left_without_commit_are_not_there(self, tmp_path: Path) -> None:
        place, run = self.location(tmp_path), samples.simple("a")
        writer = self.write(place)
        if not isinstance(writer, Dividing):
            return
        token = self.put(place, run, 0, 5)
        with writer.open([run.key]) as sink:
            adopt(sink, token)
        assert self.visible(place) == []

    @final
    def test_parts_of_another_run_are_refused(self, tmp_path: Path) -> None:
        place, run, other = self.location(tmp_path), samples.simple("a"), samples.simple("b")
        writer = self.write(place)
        if not isinstance(writer, Dividing):
            return
        token = self.put(place, other, 0, 5)
        with writer.open([run.key]) as sink, pytest.raises(IntegrityError):
            adopt(sink, token)
        with pytest.raises(IntegrityError):
            writer.put_points(run.key, points(writer, other, 0, 5))

    # Aids

    def put(self, location: str, run: MadeRun, first: int, last: int) -> str:
        """Write some points of a run, as a worker does that knows of no other."""
        writer = self.write(location)
        assert isinstance(writer, Dividing)
        return writer.put_points(run.key, points(writer, run, first, last))

    def finish(self, location: str, run: MadeRun, tokens: list[str]) -> list[Batch]:
        """Write the rest and commit; gives all rows of the run."""
        writer = self.write(location)
        with writer.open([run.key]) as sink:
            for token in tokens:
                adopt(sink, token)
            written = fitted(writer, sink, [run])
            for batch in written:
                if batch.table != "metrics":
                    sink.write(batch)
            sink.commit()
        return written


def points(writer: Dividing, run: MadeRun, first: int, last: int) -> Iterator[Batch]:
    """Some points of a run, as they are in the store."""
    labels = {run.ref: writer.target(run.key)}
    whole = [batch.data for batch in run.batches() if batch.table == "metrics"]
    rows = pa.Table.from_batches(whole).slice(first, last - first)
    for data in rows.to_batches():
        yield from sliced("metrics", relabel(data, labels))


def adopt(sink: Sink, token: str) -> None:
    assert isinstance(sink, Adopting)
    sink.adopt(token)
