"""The contract suite finds faults: adapters with one fault each, and the test that has to fail."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pytest
from contract import test_memory

from trackbridge.adapter import (
    Batch,
    Capabilities,
    FileRef,
    Presentation,
    Query,
    RunInfo,
    RunKey,
    RunRef,
)
from trackbridge.errors import IntegrityError, UnsupportedError
from trackbridge.testing import AdapterContract
from trackbridge_adapters import memory
from trackbridge_adapters.memory import MemorySink, MemoryStore


class ListsTwice(MemoryStore):
    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        for info in super().list_runs(query):
            yield from (info, info)


class IgnoresProjects(MemoryStore):
    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        return super().list_runs(replace(query, projects=()))


class IgnoresStart(MemoryStore):
    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        return super().list_runs(replace(query, since=None))


class ForgetsKeys(MemoryStore):
    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        for info in super().list_runs(query):
            yield replace(info, key=RunKey("memory", self.address, *info.ref))


class NeverChanges(MemoryStore):
    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        for info in super().list_runs(query):
            yield replace(info, fingerprint="always")


class ReadsNeighbours(MemoryStore):
    def read_runs(self, refs: Any, tables: Any = None) -> Iterator[Batch]:
        list(super().read_runs(refs, tables))
        projects = {ref.project for ref in refs}
        return super().read_runs([r for r in self._contents.runs if r.project in projects], tables)


class ReadsAllTables(MemoryStore):
    def read_runs(self, refs: Any, tables: Any = None) -> Iterator[Batch]:
        return super().read_runs(refs)


class FindsNothing(MemoryStore):
    def read_runs(self, refs: Any, tables: Any = None) -> Iterator[Batch]:
        return super().read_runs([ref for ref in refs if ref in self._contents.runs], tables)


class ReadsOnce(MemoryStore):
    _read = False

    def read_runs(self, refs: Any, tables: Any = None) -> Iterator[Batch]:
        if not self._read:
            yield from super().read_runs(refs, tables)
        self._read = True


class DecodesKeys(MemoryStore):
    def read_runs(self, refs: Any, tables: Any = None) -> Iterator[Batch]:
        for batch in super().read_runs(refs, tables):
            columns = dict(zip(batch.data.schema.names, batch.data.columns))
            if batch.table == "metrics":
                columns["key"] = columns["key"].cast(pa.string())
            yield Batch(batch.table, pa.RecordBatch.from_pydict(columns))


class LeavesOwnersOut(MemoryStore):
    def read_runs(self, refs: Any, tables: Any = None) -> Iterator[Batch]:
        for batch in super().read_runs(refs, tables):
            if batch.table == "files":
                rows = [{**row, "owner": None} for row in batch.data.to_pylist()]
                batch = Batch("files", pa.RecordBatch.from_pylist(rows, batch.data.schema))
            yield batch


class LocksOnReading(MemoryStore):
    def read_runs(self, refs: Any, tables: Any = None) -> Iterator[Batch]:
        (Path(self._name) / "lock").touch()
        return super().read_runs(refs, tables)


class OpensAnything(MemoryStore):
    def open_file(self, file: FileRef) -> BinaryIO:
        place = Path(self._name) / file.path
        return place.open("rb") if place.is_file() else super().open_file(file)


class MixesRuns(MemoryStore):
    def target(self, key: RunKey) -> RunRef:
        return RunRef("all", key.run_id)


class FoldsNames(MemoryStore):
    def target(self, key: RunKey) -> RunRef:
        return RunRef(key.project, str(key).replace("%2F", "_"))


class KnowsRunsByTheirId(MemoryStore):
    def target(self, key: RunKey) -> RunRef:
        for ref in [r for r in self._contents.runs if self._contents.runs[r].key == key]:
            return ref
        for ref in [r for r in self._contents.runs if r.run_id == key.run_id]:
            del self._contents.runs[ref]
        return RunRef(key.project, key.run_id)


class ChoosesAtRandom(MemoryStore):
    def target(self, key: RunKey) -> RunRef:
        return RunRef(key.project, uuid.uuid4().hex)


class PresentsInPlace(MemoryStore):
    def present(self, key: RunKey, tables: Mapping[str, list[Any]]) -> Presentation:
        tables["runs"][0]["name"] = f"{key.run_id}!"
        return Presentation(dict(tables))


class Claims(MemoryStore):
    """Shares the fault of its writer: no test that only goes through the adapter finds it."""

    def read_runs(self, refs: Any, tables: Any = None) -> Iterator[Batch]:
        for batch in super().read_runs(refs, tables):
            yield _turned(batch)


def _turned(batch: Batch) -> Batch:
    """Values of points with their sign turned: done twice, nothing is changed."""
    if batch.table != "metrics":
        return batch
    at = batch.data.schema.get_field_index("value")
    turned = pa.compute.negate(batch.data.column(at))
    return Batch("metrics", batch.data.set_column(at, batch.data.schema.field(at), turned))


class CommitsOnLeaving(MemorySink):
    def __exit__(self, *error: object) -> None:
        self.commit()


class CommitsAtOnce(MemorySink):
    def write(self, batch: Batch) -> None:
        super().write(batch)
        if batch.table == "runs":
            self.commit()


class CommitsWhatItCan(MemorySink):
    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self.commit()


class CommitsHalf(MemorySink):
    def commit(self) -> Mapping[RunKey, RunRef]:
        whole = {ref: key for ref, key in self._targets.items() if "runs" in self._rows[ref]}
        lacking, self._targets = len(whole) < len(self._targets), whole
        done = super().commit()
        if lacking:
            raise IntegrityError("a run is missing")
        return done


class Appends(MemorySink):
    def commit(self) -> Mapping[RunKey, RunRef]:
        old = {ref: run for ref, run in self._contents.runs.items() if ref in self._targets}
        done = super().commit()
        for ref, run in old.items():
            rows = self._contents.runs[ref].tables
            rows["metrics"] = pa.concat_tables([run.tables["metrics"], rows["metrics"]])
        return done


class ForgetsOthers(MemorySink):
    def commit(self) -> Mapping[RunKey, RunRef]:
        self._contents.runs = {}
        return super().commit()


class KeepsOldFiles(MemorySink):
    def commit(self) -> Mapping[RunKey, RunRef]:
        kept = dict(self._contents.files)
        done = super().commit()
        self._contents.files = {**kept, **self._contents.files}
        return done


class LosesNaN(MemorySink):
    def write(self, batch: Batch) -> None:
        if batch.table == "metrics":
            number = pa.compute.invert(pa.compute.is_nan(batch.data.column("value")))
            batch = Batch("metrics", batch.data.filter(number))
        super().write(batch)


class RoundsTimes(MemorySink):
    def write(self, batch: Batch) -> None:
        if batch.table == "metrics":
            at = batch.data.schema.get_field_index("time")
            times = batch.data.column(at).cast(pa.int64())
            rounded = pa.compute.multiply(pa.compute.divide(times, 1000), 1000)
            field = batch.data.schema.field(at)
            batch = Batch("metrics", batch.data.set_column(at, field, rounded.cast(field.type)))
        super().write(batch)


class TranslatesNewlines(MemorySink):
    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        super().put_file(file, BytesIO(data.read().replace(b"\r\n", b"\n")))


class Rewinds(MemorySink):
    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        data.seek(0)
        super().put_file(file, data)


class TurnsSigns(MemorySink):
    def write(self, batch: Batch) -> None:
        super().write(_turned(batch))


class KeepsFirstName(MemorySink):
    def commit(self) -> Mapping[RunKey, RunRef]:
        before = {table: dict(rows) for table, rows in self._contents.shared.items()}
        done = super().commit()
        for table, rows in before.items():
            self._contents.shared[table].update(rows)
        return done


FAULTS = {
    ListsTwice: "listing_gives_every_run_once_and_in_the_same_order_each_time",
    IgnoresProjects: "a_listing_can_be_narrowed_to_projects_and_runs",
    IgnoresStart: "a_listing_can_be_narrowed_by_the_start",
    ForgetsKeys: "commit_makes_every_run_of_the_chunk_visible_and_says_where_it_is",
    NeverChanges: "writing_the_same_runs_again_replaces_them",
    ReadsNeighbours: "exactly_the_runs_that_are_asked_for_are_read",
    ReadsAllTables: "only_the_named_tables_are_read",
    FindsNothing: "a_run_that_is_not_there_is_not_found",
    ReadsOnce: "reading_again_gives_the_same_rows",
    DecodesKeys: "batches_have_the_schema_of_their_table_and_no_more_rows_than_allowed",
    LeavesOwnersOut: "columns_that_have_a_default_are_never_null",
    LocksOnReading: "reading_leaves_the_store_byte_for_byte_as_it_was",
    OpensAnything: "no_file_outside_of_the_store_can_be_opened",
    MixesRuns: "runs_of_one_store_get_targets_of_their_own_that_never_change",
    FoldsNames: "names_that_are_nearly_the_same_get_targets_of_their_own",
    KnowsRunsByTheirId: "runs_of_one_id_in_two_projects_are_two_runs",
    CommitsHalf: "a_chunk_that_lacks_a_run_is_refused_whole",
    ChoosesAtRandom: "runs_of_one_store_get_targets_of_their_own_that_never_change",
    PresentsInPlace: "presenting_a_run_twice_gives_the_same_and_leaves_the_rows_alone",
    Claims: "runs_read_as_the_stores_own_client_shows_them",
    CommitsOnLeaving: "nothing_is_visible_before_commit_nor_without_it",
    CommitsAtOnce: "nothing_is_visible_before_commit_nor_without_it",
    CommitsWhatItCan: "after_an_error_everything_is_as_it_was_before",
    Appends: "writing_the_same_runs_again_replaces_them",
    ForgetsOthers: "runs_can_be_written_again_in_another_company",
    KeepsOldFiles: "files_that_a_run_no_longer_has_are_gone_after_writing_it_again",
    LosesNaN: "a_run_with_everything_reads_back_as_it_was_written",
    RoundsTimes: "any_run_reads_back_as_it_was_written",
    TranslatesNewlines: "a_run_with_everything_comes_back_whole",
    Rewinds: "a_files_bytes_are_taken_from_a_stream_that_cannot_be_rewound",
    TurnsSigns: "the_stores_own_client_shows_what_was_written",
    KeepsFirstName: "rows_of_shared_tables_replace_those_of_the_same_name_only",
}


def suite(fault: type, **attributes: Any) -> test_memory.TestMemory:
    """The contract of the memory adapter with a fault in its store or its sink."""

    class Store(fault if issubclass(fault, MemoryStore) else MemoryStore):  # type: ignore[misc]
        def open(self, keys: Sequence[RunKey]) -> MemorySink:
            sink: MemorySink = super().open(keys)
            return fault(sink._contents, sink._targets) if issubclass(fault, MemorySink) else sink

    class Adapter(memory.MemoryAdapter):
        def writer(self, location: str, options: Mapping[str, str]) -> MemoryStore:
            return Store(location, self.capabilities)

        def reader(self, location: str, options: Mapping[str, str]) -> MemoryStore:
            super().reader(location, options)
            return Store(location)

    made = type("TestFault", (test_memory.TestMemory,), {"adapter": Adapter(), **attributes})
    contract: test_memory.TestMemory = made()
    return contract


def run(contract: AdapterContract, name: str, folder: Path) -> None:
    """One contract test as pytest runs it."""
    test = getattr(contract, f"test_{name}")
    wanted = test.__code__.co_varnames[1 : test.__code__.co_argcount]
    given = {"tmp_path": folder, "path": "../secret.txt"}
    if "seeded" in wanted:
        given["seeded"] = contract.make_seeded(folder)
    test(**{name: given[name] for name in wanted if name in given})


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_an_adapter_with_this_fault_fails_the_test_that_is_meant_for_it(
    fault: type, tmp_path: Path
) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception, OSError)) as found:
        run(suite(fault), FAULTS[fault], tmp_path)
    assert str(found.value)


def test_the_same_tests_pass_without_a_fault(tmp_path: Path) -> None:
    for number, name in enumerate(sorted(set(FAULTS.values()))):
        folder = tmp_path / str(number)
        folder.mkdir()
        run(suite(MemoryStore), name, folder)


def test_a_column_that_is_not_claimed_may_not_have_values(tmp_path: Path) -> None:
    class Claimless(MemoryStore):
        def __init__(self, name: str, capabilities: Capabilities = memory.EVERYTHING) -> None:
            super().__init__(name, capabilities)
            self.capabilities = Capabilities(holds={"runs": ("name",)})

    with pytest.raises(AssertionError, match=r"params\.value"):
        run(suite(Claimless), "columns_that_the_store_does_not_claim_to_hold_are_empty", tmp_path)


def test_a_contract_test_cannot_be_overridden() -> None:
    with pytest.raises(TypeError, match="test_a_file_that_is_not_there_is_not_found"):
        suite(MemoryStore, test_a_file_that_is_not_there_is_not_found=lambda self: None)


def test_a_known_gap_has_to_name_a_test() -> None:
    with pytest.raises(TypeError, match="no_such_test"):
        suite(MemoryStore, known_gaps={"no_such_test": "because"})


def test_where_an_adapter_is_read_only_every_test_that_writes_asserts_it(tmp_path: Path) -> None:
    class ReadOnly(memory.MemoryAdapter):
        def writer(self, location: str, options: Mapping[str, str]) -> MemoryStore:
            raise UnsupportedError(f"memory:{location} cannot be written")

    read_only, honest = suite(MemoryStore, writable=False), suite(MemoryStore, writable=False)
    honest.adapter = ReadOnly()  # type: ignore[misc]
    for name in ("test_files_come_back_byte_for_byte", "test_any_run_comes_back_whole"):
        getattr(honest, name)(tmp_path)
        with pytest.raises(pytest.fail.Exception):
            getattr(read_only, name)(tmp_path)
