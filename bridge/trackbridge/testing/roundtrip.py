"""The part of the contract that is about values: what is written comes back, and whole."""

from __future__ import annotations

import tempfile
from itertools import count
from pathlib import Path
from typing import final

from hypothesis import given

from trackbridge.adapter import RunInfo, Writer
from trackbridge.proof import compare_chunk
from trackbridge.registry import open_writer
from trackbridge.testing import samples, strategies
from trackbridge.testing.base import ContractBase, listed, tries
from trackbridge.testing.compare import same_rows, unheld
from trackbridge.testing.made import MadeRun, deliver, store
from trackbridge.transfer import move

_NUMBERS = count()


class RoundTripContract(ContractBase):
    """Runs of every kind through the store: natively, then with the sidecar."""

    # Natively: what the store says it holds, it holds

    @final
    def test_a_run_with_everything_reads_back_as_it_was_written(self, tmp_path: Path) -> None:
        self.check_natively(self.location(tmp_path), samples.everything())

    @final
    @tries
    @given(run=strategies.made_runs())
    def test_any_run_reads_back_as_it_was_written(self, tmp_path: Path, run: MadeRun) -> None:
        self.check_natively(self.location(Path(tempfile.mkdtemp(dir=tmp_path))), run)

    # With the sidecar: what the store does not hold comes back too

    @final
    def test_a_run_with_everything_comes_back_whole(self, tmp_path: Path) -> None:
        self.check_whole(self.location(tmp_path), [samples.everything(), samples.simple("b")])

    @final
    @tries
    @given(run=strategies.made_runs())
    def test_any_run_comes_back_whole(self, tmp_path: Path, run: MadeRun) -> None:
        self.check_whole(self.location(Path(tempfile.mkdtemp(dir=tmp_path))), [run])

    # Aids

    def check_natively(self, location: str, run: MadeRun) -> None:
        """Write a run without its sidecar; the adapter alone must give back what it was given."""
        writer = self.write(location)
        written = store(writer, [run])
        reader, ref = self.read(location), writer.target(run.key)
        assert [(info.ref, info.key) for info in listed(reader)] == [(ref, run.key)]
        read = list(reader.read_runs([ref]))
        same_rows(written, read, reader)
        assert not unheld(read, reader.capabilities), "claim them in capabilities.holds"

    def check_whole(self, location: str, runs: list[MadeRun]) -> None:
        """Move runs as a migration does, from a store that holds everything."""
        source, infos = _source(runs)
        target = self.write(location)
        moved = move(source, target, infos)
        back = [RunInfo(target.target(info.key), info.key, "", carried=True) for info in infos]
        compared = compare_chunk(source, self.read(location), list(zip(infos, back)), target)
        assert not moved.failures, "\n".join(map(str, compared.differences)) or moved.failures
        assert compared.holds, "\n".join(map(str, compared.differences))


def _source(runs: list[MadeRun]) -> tuple[Writer, list[RunInfo]]:
    """The runs in a store that holds the run model as it is."""
    writer = open_writer(f"memory:contract-{next(_NUMBERS)}")
    with writer.open([run.key for run in runs]) as sink:
        deliver(writer, sink, runs)
        sink.commit()
    return writer, listed(writer)
