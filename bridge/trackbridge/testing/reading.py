"""The part of the contract that every store has to keep: reading."""

from __future__ import annotations

import shutil
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import final

import pytest

from trackbridge.adapter import ORIGIN, STORE, Capabilities, FileRef, Query, RunKey, RunRef
from trackbridge.errors import BridgeError, ConfigError, NotFoundError
from trackbridge.schema import BATCH_ROWS, DEFAULTS, SHARED, TABLES
from trackbridge.testing.base import (
    OUTSIDE,
    SECRET,
    ContractBase,
    Seeded,
    listed,
    rows_of,
    snapshot,
)
from trackbridge.testing.compare import same_rows, unheld
from trackbridge.testing.plain import comparable, read_plain

NOWHERE = "no such project"
_NEVER = datetime(2999, 1, 1, tzinfo=timezone.utc)


class ReadingContract(ContractBase):
    """Tests on a store that its own client has written."""

    # Opening

    @final
    def test_a_place_without_a_store_cannot_be_opened_for_reading(self, tmp_path: Path) -> None:
        with pytest.raises((NotFoundError, ConfigError)):
            listed(self.read(self.location(tmp_path)))
        assert not list(tmp_path.iterdir()), "reading made files where no store was"

    @final
    def test_a_store_is_recognized_and_an_empty_or_missing_folder_is_not(
        self, seeded: Seeded, tmp_path: Path
    ) -> None:
        assert self.adapter.recognizes(seeded.location) is self.recognizable
        assert self.adapter.recognizes(str(tmp_path)) is False
        assert self.adapter.recognizes(str(tmp_path / "missing")) is False

    @final
    def test_the_address_has_the_adapters_scheme_and_no_secrets(self, seeded: Seeded) -> None:
        address = self.read(seeded.location).address
        assert address.startswith(f"{self.adapter.name}:")
        assert not [secret for secret in self.secrets if secret in address]

    @final
    def test_capabilities_name_tables_and_columns_of_the_run_model(self, seeded: Seeded) -> None:
        capabilities = self.read(seeded.location).capabilities
        assert isinstance(capabilities, Capabilities)
        for table, columns in capabilities.holds.items():
            assert table in TABLES, f"capabilities.holds: there is no table {table}"
            strange = set(columns) - set(TABLES[table].names)
            assert not strange, f"capabilities.holds: {table} has no column {strange}"
        for table in (*capabilities.names, *capabilities.lengths):
            assert table in TABLES, f"capabilities: there is no table {table}"

    # Listing

    @final
    def test_listing_gives_every_run_once_and_in_the_same_order_each_time(
        self, seeded: Seeded
    ) -> None:
        refs = [info.ref for info in listed(self.read(seeded.location))]
        assert sorted(refs) == sorted(run.ref for run in seeded.runs)
        assert refs == [info.ref for info in listed(self.read(seeded.location))]

    @final
    def test_a_listing_agrees_with_the_runs_own_rows(self, seeded: Seeded) -> None:
        reader = self.read(seeded.location)
        for info in listed(reader):
            (row,) = rows_of(reader.read_runs([info.ref], ["runs"]))["runs"]
            assert (info.name, info.status, info.started) == (
                row["name"],
                row["status"],
                row["started"],
            )

    @final
    def test_every_run_has_a_key_of_its_own(self, seeded: Seeded) -> None:
        keys = [info.key for info in listed(self.read(seeded.location))]
        assert len(set(keys)) == len(keys)
        for key in keys:
            assert key.kind and key.run_id
            assert RunKey.parse(str(key)) == key

    @final
    def test_keys_stay_when_the_store_is_copied_elsewhere(
        self, seeded: Seeded, tmp_path: Path
    ) -> None:
        """Asked of stores that are files: a key with their path in it is another one there."""
        if not (self.recognizable and Path(seeded.location).exists()):
            return
        copied = tmp_path / "elsewhere"
        shutil.copytree(seeded.folder, copied)
        location = str(copied / Path(seeded.location).relative_to(seeded.folder))
        before, after = (listed(self.read(place)) for place in (seeded.location, location))
        assert {info.key for info in after} == {info.key for info in before}

    @final
    def test_a_fingerprint_stays_while_the_run_does(self, seeded: Seeded) -> None:
        first, second = (listed(self.read(seeded.location)) for _ in range(2))
        assert [i.fingerprint for i in first] == [i.fingerprint for i in second]
        assert all(info.fingerprint for info in first), "an empty fingerprint never changes"

    @final
    def test_a_listing_can_be_narrowed_to_projects_and_runs(self, seeded: Seeded) -> None:
        reader = self.read(seeded.location)
        refs = [info.ref for info in listed(reader)]
        for project in {ref.project for ref in refs}:
            inside = [ref for ref in refs if ref.project == project]
            assert [i.ref for i in listed(reader, Query(projects=[project]))] == inside
        for ref in refs:
            same = [other for other in refs if other.run_id == ref.run_id]
            assert [i.ref for i in listed(reader, Query(run_ids=[ref.run_id]))] == same
            elsewhere = {other.project for other in refs} - {other.project for other in same}
            assert not listed(reader, Query(projects=[*elsewhere, NOWHERE], run_ids=[ref.run_id]))

    @final
    def test_a_listing_can_be_narrowed_by_the_start(self, seeded: Seeded) -> None:
        reader = self.read(seeded.location)
        infos = listed(reader)
        for since in {info.started for info in infos if info.started}:
            later = [i.ref for i in infos if i.started is not None and i.started >= since]
            assert [i.ref for i in listed(reader, Query(since=since))] == later
        assert not listed(reader, Query(since=_NEVER))

    @final
    def test_a_project_or_run_that_is_not_there_gives_no_runs(self, seeded: Seeded) -> None:
        """An adapter may say so with a `NotFoundError` instead."""
        for query in (Query(projects=[NOWHERE]), Query(run_ids=["no such run"])):
            try:
                assert listed(self.read(seeded.location), query) == []
            except NotFoundError:
                continue

    # Reading

    @final
    def test_runs_read_as_the_stores_own_client_shows_them(self, seeded: Seeded) -> None:
        reader = self.read(seeded.location)
        held = reader.capabilities
        for run in seeded.runs:
            read = comparable(read_plain(reader, run.ref), held)
            shown = comparable(self.peek(seeded.location, run.ref), held)
            written = comparable(run, held)
            for expected in (written, shown):
                assert read.name == expected.name
                assert {**read.params, **expected.params} == read.params
                assert {**read.files, **expected.files} == read.files
                keys = {point.key for point in expected.points}
                assert [p for p in read.points if p.key in keys] == expected.points

    @final
    def test_exactly_the_runs_that_are_asked_for_are_read(self, seeded: Seeded) -> None:
        reader = self.read(seeded.location)
        refs = [info.ref for info in listed(reader)]
        for asked in ([], *([ref] for ref in refs), refs[1:], refs[::-1]):
            tables = rows_of(reader.read_runs(asked))
            runs = [RunRef(row["project"], row["run_id"]) for row in tables.get("runs", [])]
            assert sorted(runs) == sorted(asked), "each run has one row in the table runs"
            for table, rows in tables.items():
                found = {RunRef(row["project"], row["run_id"]) for row in rows}
                assert found <= set(asked), f"{table} has rows of runs that were not asked for"

    @final
    def test_reading_again_gives_the_same_rows(self, seeded: Seeded) -> None:
        reader = self.read(seeded.location)
        refs = [info.ref for info in listed(reader)]
        first, second = (list(reader.read_runs(refs)) for _ in range(2))
        same_rows(first, second)
        same_rows(first, self.read(seeded.location).read_runs(refs))

    @final
    def test_a_reading_that_is_given_up_halfway_disturbs_no_other(self, seeded: Seeded) -> None:
        reader = self.read(seeded.location)
        refs = [info.ref for info in listed(reader)]
        whole = list(reader.read_runs(refs))
        half = reader.read_runs(refs)
        list(islice(half, 1))
        same_rows(whole, reader.read_runs(refs))
        del half
        same_rows(whole, reader.read_runs(refs))

    @final
    def test_runs_read_alike_together_and_one_by_one(self, seeded: Seeded) -> None:
        reader = self.read(seeded.location)
        refs = [info.ref for info in listed(reader)]
        single = [batch for ref in refs for batch in reader.read_runs([ref])]
        same_rows(reader.read_runs(refs), single)

    @final
    def test_only_the_named_tables_are_read(self, seeded: Seeded) -> None:
        reader = self.read(seeded.location)
        refs = [info.ref for info in listed(reader)]
        whole = list(reader.read_runs(refs))
        for table in sorted(set(TABLES) - SHARED):
            part = list(reader.read_runs(refs, [table]))
            assert {batch.table for batch in part} <= {table}
            same_rows([b for b in whole if b.table == table], part)
        assert not list(reader.read_runs(refs, []))

    @final
    def test_batches_have_the_schema_of_their_table_and_no_more_rows_than_allowed(
        self, seeded: Seeded
    ) -> None:
        reader = self.read(seeded.location)
        refs = [info.ref for info in listed(reader)]
        for batch in [*reader.read_runs(refs), *reader.read_shared(Query())]:
            assert batch.data.schema.equals(TABLES[batch.table]), batch.table
            assert batch.data.num_rows <= BATCH_ROWS
            batch.data.validate(full=True)

    @final
    def test_columns_that_the_store_does_not_claim_to_hold_are_empty(self, seeded: Seeded) -> None:
        reader = self.read(seeded.location)
        batches = reader.read_runs([info.ref for info in listed(reader)])
        assert not unheld(batches, reader.capabilities), "claim them in capabilities.holds"

    @final
    def test_columns_that_have_a_default_are_never_null(self, seeded: Seeded) -> None:
        """What the store does not say of them is as `schema.DEFAULTS` has it."""
        reader = self.read(seeded.location)
        refs = [info.ref for info in listed(reader)]
        for batch in [*reader.read_runs(refs), *reader.read_shared(Query())]:
            for table, column in DEFAULTS:
                if table == batch.table:
                    assert not batch.data.column(column).null_count, f"{table}.{column}"

    @final
    def test_a_run_that_is_not_there_is_not_found(self, seeded: Seeded) -> None:
        reader = self.read(seeded.location)
        (there, *_) = (info.ref for info in listed(reader))
        for missing in (RunRef(NOWHERE, there.run_id), RunRef(there.project, "no such run")):
            for refs in ([missing], [there, missing]):
                with pytest.raises(NotFoundError):
                    list(reader.read_runs(refs))

    @final
    def test_shared_tables_are_those_of_the_store_and_can_be_narrowed_to_projects(
        self, seeded: Seeded
    ) -> None:
        reader = self.read(seeded.location)
        rows = rows_of(reader.read_shared(Query()))
        assert rows.keys() <= SHARED
        for project in {run.project for run in seeded.runs}:
            for table, inside in rows_of(reader.read_shared(Query(projects=[project]))).items():
                if "project" in TABLES[table].names:
                    assert inside == [row for row in rows[table] if row["project"] == project]

    # Files

    @final
    def test_every_file_that_is_named_can_be_read_or_is_not_found(self, seeded: Seeded) -> None:
        reader = self.read(seeded.location)
        refs = [info.ref for info in listed(reader)]
        for row in rows_of(reader.read_runs(refs, ["files"])).get("files", []):
            assert not row["path"].startswith(("/", f"{ORIGIN}/")), row["path"]
            assert ".." not in row["path"].split("/"), row["path"]
            if row["reference"] is None:
                file = FileRef(RunRef(row["project"], row["run_id"]), row["owner"], row["path"])
                try:
                    with reader.open_file(file) as data:
                        content = data.read()
                except NotFoundError:
                    continue
                assert row["size"] in (None, len(content)), row["path"]

    @final
    def test_a_file_that_is_not_there_is_not_found(self, seeded: Seeded) -> None:
        reader = self.read(seeded.location)
        (ref, *_) = (info.ref for info in listed(reader))
        missing = FileRef(ref, "", "no such file")
        for file in (
            missing,
            missing._replace(owner="nothing:v0"),
            missing._replace(path=f"{ORIGIN}/no such file"),
            missing._replace(run=RunRef(NOWHERE, "no such run")),
            missing._replace(run=STORE, path=f"{ORIGIN}/no such file"),
        ):
            with pytest.raises(NotFoundError):
                reader.open_file(file).read()

    @final
    @pytest.mark.parametrize("path", OUTSIDE)
    def test_no_file_outside_of_the_store_can_be_opened(self, seeded: Seeded, path: str) -> None:
        reader = self.read(seeded.location)
        for ref in (listed(reader)[0].ref, STORE):
            for owner in ("", "..", "../..:v0"):
                with pytest.raises(BridgeError):
                    found = reader.open_file(FileRef(ref, owner, path)).read()
                    assert SECRET.encode() not in found

    @final
    def test_reading_leaves_the_store_byte_for_byte_as_it_was(self, seeded: Seeded) -> None:
        before = snapshot(seeded.folder)
        reader = self.read(seeded.location)
        refs = [info.ref for info in listed(reader)]
        files = rows_of(reader.read_runs(refs)).get("files", [])
        rows_of(reader.read_shared(Query()))
        for row in files:
            file = FileRef(RunRef(row["project"], row["run_id"]), row["owner"], row["path"])
            if row["reference"] is None:
                try:
                    reader.open_file(file).close()
                except NotFoundError:
                    continue
        del reader
        assert snapshot(seeded.folder) == before
