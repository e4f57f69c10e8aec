"""The part of the contract about files and shared tables, for stores that can be written."""

from __future__ import annotations

import io
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import final

import pytest

from trackbridge.adapter import ORIGIN, SHARED_FILE, SIDECAR, STORE, FileRef, Query, Row, RunKey
from trackbridge.columns import batches
from trackbridge.errors import BridgeError
from trackbridge.fit import fit_rows
from trackbridge.losses import Losses
from trackbridge.schema import LOCAL, NAMED_BY
from trackbridge.testing import samples
from trackbridge.testing.base import OUTSIDE, SECRET, ContractBase, rows_of, snapshot
from trackbridge.testing.made import deliver, store


class _Pipe(io.RawIOBase):
    """A stream that can only be read once, from its beginning: a download."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, 1000) if size >= 0 else size)


class FilingContract(ContractBase):
    """Tests that write files and shared tables into stores of their own."""

    # Files

    @final
    def test_files_come_back_byte_for_byte(self, tmp_path: Path) -> None:
        place, run = self.location(tmp_path), samples.simple("a")
        for path, content in samples.CONTENTS.items():
            run.add_file("", path, content)
        writer = self.write(place)
        written = store(writer, [run])
        self.check_rows(place, written, run)
        reader, found = self.read(place), []
        for row in self.rows(place, run, "files"):
            file = FileRef(writer.target(run.key), row["owner"], row["path"])
            with reader.open_file(file) as data:
                found.append(data.read())
        lost = Counter(run.contents.values()) - Counter(found)
        assert not lost, "these contents are not among the run's files"

    @final
    def test_a_files_bytes_are_taken_from_a_stream_that_cannot_be_rewound(
        self, tmp_path: Path
    ) -> None:
        place, run, content = self.location(tmp_path), samples.simple("a"), bytes(range(256)) * 99
        writer = self.write(place)
        file = FileRef(writer.target(run.key), "", f"{ORIGIN}/some.bin")
        with writer.open([run.key]) as sink:
            deliver(writer, sink, [run])
            sink.put_file(file, _Pipe(content))  # type: ignore[arg-type]
            sink.commit()
        assert self.read(place).open_file(file).read() == content

    @final
    def test_the_bridges_own_files_can_be_opened_but_are_not_the_runs(self, tmp_path: Path) -> None:
        place, run = self.location(tmp_path), samples.simple("a")
        writer = self.write(place)
        of_run = FileRef(writer.target(run.key), "", SIDECAR)
        of_store = FileRef(STORE, "", SHARED_FILE)
        with writer.open([run.key]) as sink:
            written = deliver(writer, sink, [run])
            sink.put_file(of_run, io.BytesIO(b"of the run"))
            sink.commit()
        for content in (b"old", b"of the store"):
            with writer.open([]) as sink:
                sink.put_file(of_store, io.BytesIO(content))
                sink.commit()
        assert self.read(place).open_file(of_run).read() == b"of the run"
        assert self.read(place).open_file(of_store).read() == b"of the store"
        self.check_rows(place, written, run)

    @final
    @pytest.mark.parametrize("path", OUTSIDE)
    def test_a_path_that_leads_out_is_refused_or_contained(self, tmp_path: Path, path: str) -> None:
        (tmp_path / "around" / "inside").mkdir(parents=True)
        for folder in (tmp_path, tmp_path / "around"):
            (folder / "secret.txt").write_text(SECRET)
        place, other, run = (
            self.location(tmp_path / "around" / "inside"),
            samples.simple("other"),
            samples.simple("a"),
        )
        writer = self.write(place)
        written = store(writer, [other])
        before = _outside(tmp_path)
        for file in (
            FileRef(writer.target(run.key), "", path),
            FileRef(writer.target(run.key), "..", path),
            FileRef(writer.target(run.key), "", f"{ORIGIN}/{path}"),
        ):
            with suppress(BridgeError), writer.open([run.key]) as sink:
                deliver(writer, sink, [run])
                sink.put_file(file, io.BytesIO(b"escaped"))
                sink.commit()
                assert self.read(place).open_file(file).read() == b"escaped"
        assert _outside(tmp_path) == before
        self.check_rows(place, written, other)

    @final
    def test_files_may_be_put_and_opened_by_several_threads_where_that_is_claimed(
        self, tmp_path: Path
    ) -> None:
        place, run = self.location(tmp_path), samples.simple("a")
        writer = self.write(place)
        if not writer.capabilities.parallel_files:
            return
        contents = {f"{ORIGIN}/{n}.bin": bytes([n % 7]) * (50_000 + n % 7) for n in range(40)}
        places = {FileRef(writer.target(run.key), "", path): path for path in contents}
        with ThreadPoolExecutor(8) as pool:
            with writer.open([run.key]) as sink:
                deliver(writer, sink, [run])
                put = (
                    pool.submit(sink.put_file, file, _Pipe(contents[path]))  # type: ignore[arg-type]
                    for file, path in places.items()
                )
                for done in list(put):
                    done.result()
                sink.commit()
            reader = self.read(place)
            read = pool.map(lambda file: reader.open_file(file).read(), places)
            assert dict(zip(places.values(), read)) == contents

    # Shared tables

    @final
    def test_rows_of_shared_tables_replace_those_of_the_same_name_only(
        self, tmp_path: Path
    ) -> None:
        place = self.location(tmp_path)
        writer = self.write(place)
        project = writer.target(RunKey("some-kind", "", "vision", "")).project
        old, new = samples.shared(project, "a", 1), samples.shared(project, "a", 2)
        other = samples.shared(project, "b", 3)
        for rows in (old, other, new):
            with writer.open([]) as sink:
                for table in NAMED_BY:
                    fitted = fit_rows(table, rows[table], writer.capabilities, Losses())
                    for batch in batches(table, fitted):
                        sink.write(batch)
                sink.commit()
        found = rows_of(self.read(place).read_shared(Query()))
        for table, names in NAMED_BY.items():
            expected = fit_rows(table, other[table] + new[table], writer.capabilities, Losses())
            wanted, read = (
                {tuple(row[name] for name in names): _common(table, row) for row in rows}
                for rows in (expected, found.get(table, []))
            )
            assert {**read, **wanted} == read, f"{table}: not what was written last"
            assert len(read) == len(found.get(table, [])), f"{table}: a name occurs twice"


def _outside(folder: Path) -> dict[str, str]:
    """What is not in the innermost folder."""
    found = snapshot(folder)
    return {path: digest for path, digest in found.items() if "inside/" not in path}


def _common(table: str, row: Row) -> Row:
    """A row without what is true of one store only."""
    return {name: value for name, value in row.items() if (table, name) not in LOCAL}
