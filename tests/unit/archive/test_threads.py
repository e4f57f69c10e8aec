"""An archive's files are opened by several threads at once, whatever chunks they are in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from trackbridge.adapter import FileRef, Query
from trackbridge.folder import open_folder
from trackbridge.testing import samples
from trackbridge.testing.made import store
from trackbridge_adapters.archive import ADAPTER
from trackbridge_adapters.archive.reader import ArchiveReader

Files = dict[FileRef, bytes]


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "archive")


@pytest.fixture
def expected(place: str) -> Files:
    """Files of two runs in two chunks of an archive, in turn."""
    contents = {}
    for name in "ab":
        run = samples.simple(name)
        for number in range(30):
            run.add_file("", f"{number}.txt", f"{name}{number}".encode())
            file = FileRef(ADAPTER.writer(place, {}).target(run.key), "", f"{number}.txt")
            contents[file] = f"{name}{number}".encode()
        store(ADAPTER.writer(place, {}), [run])
    return dict(sorted(contents.items(), key=lambda item: item[0].path))


def test_files_of_two_chunks_are_read_in_turn_by_many_threads(place: str, expected: Files) -> None:
    reader = ADAPTER.reader(place, {})
    assert len(list(reader.list_runs(Query()))) == 2
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda file: reader.open_file(file).read(), expected)
        assert dict(zip(expected, found)) == expected


class _Interrupted(ArchiveReader):
    """Whenever it looks at what it knows of a chunk, another thread makes it know another one."""

    known: tuple[str, Any] = ("", {})
    others: FileRef | None = None

    @property
    def _files(self) -> tuple[str, Any]:
        before, other = self.known, self.others
        if other is not None:
            self.others = None
            with ThreadPoolExecutor(1) as pool:
                pool.submit(lambda: self.open_file(other).close()).result()
        return before

    @_files.setter
    def _files(self, known: tuple[str, Any]) -> None:
        self.known = known


def test_what_a_thread_knows_of_a_chunk_stays_true_while_another_reads(
    place: str, expected: Files
) -> None:
    reader = _Interrupted(open_folder(place, {}))
    mine, other, *_ = expected
    assert mine.run != other.run
    assert reader.open_file(mine).read() == expected[mine]
    reader.others = other
    assert reader.open_file(mine).read() == expected[mine]
