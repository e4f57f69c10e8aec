"""The part of the contract of readers whose runs several can read at once (`Splitting`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

import pytest

from trackbridge.adapter import Batch, Reader, RunRef
from trackbridge.errors import NotFoundError
from trackbridge.optional import Splitting
from trackbridge.schema import BATCH_ROWS, TABLES
from trackbridge.splitting import is_sound
from trackbridge.testing import samples
from trackbridge.testing.base import ContractBase, Seeded, listed
from trackbridge.testing.compare import same_rows
from trackbridge.testing.made import store
from trackbridge.testing.reading import NOWHERE


class SplittingContract(ContractBase):
    """Tests of readers that are `Splitting`; of others they ask nothing."""

    @final
    def test_pieces_of_a_run_have_each_of_its_points_once(self, seeded: Seeded) -> None:
        check_pieces(self.read(seeded.location))

    @final
    def test_points_of_every_kind_are_in_pieces(self, tmp_path: Path) -> None:
        if not self.writable:
            return
        place = self.location(tmp_path)
        runs = [samples.everything(), samples.long("a", 1000), samples.simple("b")]
        store(self.write(place), runs)
        check_pieces(self.read(place))

    @final
    def test_pieces_of_a_run_that_is_not_there_are_not_found(self, seeded: Seeded) -> None:
        reader = self.read(seeded.location)
        if not isinstance(reader, Splitting):
            return
        (info, *_) = listed(reader)
        for piece in reader.split(info, 1)[:1]:
            with pytest.raises(NotFoundError):
                list(reader.read_piece(RunRef(NOWHERE, info.ref.run_id), piece))


def check_pieces(reader: Reader) -> None:
    """The pieces of each run, of any size, have all its points: one piece where that is enough."""
    __tracebackhide__ = True
    if not isinstance(reader, Splitting):
        return
    for info in listed(reader):
        every = list(reader.read_runs([info.ref], ["metrics"]))
        for points in (1, 100, 10**9):
            pieces = reader.split(info, points)
            found = [b for piece in pieces for b in reader.read_piece(info.ref, piece)]
            same_rows(every, found)
            assert reader.split(info, points) == pieces
            for batch in found:
                assert batch.table == "metrics"
                assert batch.data.schema.equals(TABLES["metrics"])
                assert batch.data.num_rows <= BATCH_ROWS
        check_rest(reader, info.ref, every)


def check_rest(reader: Splitting, ref: RunRef, points: Sequence[Batch]) -> None:
    """What is left of a run beside its pieces is the same as when it is read at once."""
    __tracebackhide__ = True
    whole = [batch for batch in reader.read_runs([ref]) if batch.table != "metrics"]
    for known in {False, all(map(is_sound, points))}:
        rest = list(reader.read_rest(ref, sound=known))
        assert not any(batch.table == "metrics" for batch in rest)
        same_rows(whole, rest)
