"""The part of the contract that readers keep which find some of the points (`Selecting`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import pyarrow as pa
import pytest

from trackbridge.adapter import Batch, Reader, RunRef
from trackbridge.errors import NotFoundError
from trackbridge.optional import Excerpt, Selecting
from trackbridge.schema import BATCH_ROWS, TABLES
from trackbridge.testing import samples
from trackbridge.testing.base import ContractBase, Seeded, listed
from trackbridge.testing.compare import same_rows
from trackbridge.testing.made import store
from trackbridge.testing.reading import NOWHERE


class SelectingContract(ContractBase):
    """Tests of readers that are `Selecting`; of others they ask nothing."""

    @final
    def test_points_of_an_excerpt_are_exactly_those_among_all_that_are_in_it(
        self, seeded: Seeded
    ) -> None:
        reader = self.read(seeded.location)
        refs = [info.ref for info in listed(reader)]
        for some in (refs, refs[:1], []):
            check_excerpts(reader, some)

    @final
    def test_points_of_every_kind_are_found_in_their_excerpts(self, tmp_path: Path) -> None:
        if not self.writable:
            return
        place = self.location(tmp_path)
        runs = [samples.everything(), samples.simple("a"), samples.simple("b", project="speech")]
        store(self.write(place), runs)
        reader = self.read(place)
        refs = [info.ref for info in listed(reader)]
        for some in (refs, refs[1:], *([ref] for ref in refs)):
            check_excerpts(reader, some)

    @final
    def test_points_of_a_run_that_is_not_there_are_not_found(self, seeded: Seeded) -> None:
        reader = self.read(seeded.location)
        if not isinstance(reader, Selecting):
            return
        (there, *_) = (info.ref for info in listed(reader))
        for missing in (RunRef(NOWHERE, there.run_id), RunRef(there.project, "no such run")):
            for excerpt in (Excerpt(), Excerpt(frozenset({"loss"}), 0, 1)):
                with pytest.raises(NotFoundError):
                    list(reader.read_points([there, missing], excerpt))


def check_excerpts(reader: Reader, refs: Sequence[RunRef]) -> None:
    """Excerpts of these runs, by key, by step and by both, have the rows that are in them."""
    __tracebackhide__ = True
    if not isinstance(reader, Selecting):
        return
    every = list(reader.read_runs(refs, ["metrics"]))
    for excerpt in excerpts(every):
        found = list(reader.read_points(refs, excerpt))
        same_rows((_inside(batch, excerpt) for batch in every), found)
        for batch in found:
            assert batch.table == "metrics"
            assert batch.data.schema.equals(TABLES["metrics"])
            assert batch.data.num_rows <= BATCH_ROWS
            batch.data.validate(full=True)


def excerpts(batches: Sequence[Batch]) -> Iterator[Excerpt]:
    """Excerpts of some points: with and without keys and ends, some with nothing in them."""
    keys = sorted({key for batch in batches for key in batch.data.column("key").to_pylist()})
    steps = {step for batch in batches for step in batch.data.column("step").to_pylist()}
    low, middle, high = _edges(sorted(steps - {None}))
    ranges = [(None, None), (middle, None), (None, middle), (middle, middle), (low, high)]
    yield from (Excerpt(None, *ends) for ends in [*ranges, (high, low - 1), (None, low - 1)])
    for names in ([], ["no such key"], keys, keys[:1], keys[1::2], [*keys[-1:], "no such key"]):
        for ends in ranges[:4]:
            yield Excerpt(frozenset(names), *ends)


def _edges(steps: Sequence[int]) -> tuple[int, int, int]:
    return (steps[0], steps[len(steps) // 2], steps[-1]) if steps else (0, 0, 0)


def _inside(batch: Batch, excerpt: Excerpt) -> Batch:
    rows = [_is_in(row, excerpt) for row in batch.data.to_pylist()]
    return Batch(batch.table, batch.data.filter(pa.array(rows, pa.bool_())))


def _is_in(row: dict[str, Any], excerpt: Excerpt) -> bool:
    step = row["step"]
    if excerpt.keys is not None and row["key"] not in excerpt.keys:
        return False
    if step is None:
        return excerpt.first is None
    return (excerpt.first is None or excerpt.first <= step) and (
        excerpt.last is None or step <= excerpt.last
    )
