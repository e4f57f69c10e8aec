"""Archives in an object store: names of any signs, answers that break off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile
from unit.archive.archives import runs
from unit.archive.test_shares import finish, put

from trackbridge.adapter import FileRef, Query
from trackbridge.errors import BridgeError, TransientError
from trackbridge.folder import open_folder
from trackbridge.testing.made import store
from trackbridge_adapters.archive import ADAPTER


class ClientPayloadError(Exception):
    """As aiohttp's: an answer was cut off in the middle; no error of the system's."""


def test_a_run_in_pieces_lies_wherever_patterns_could_be_meant(tmp_path: Path) -> None:
    place: Any = f"memory://{tmp_path.as_posix()}/of [a] team/*/what?"
    (run,) = runs("a")
    finish(place, run, put(place, run, 0, 2), put(place, run, 2, 5))
    archive = ADAPTER.reader(place, {})
    (info,) = archive.list_runs(Query())
    rows = (batch.data.num_rows for batch in archive.read_runs([info.ref], ["metrics"]))
    assert sum(rows) == 5
    system, root = fsspec.core.url_to_fs(place)
    assert not [path for path in system.find(root) if "/data/shares/" in path]


@pytest.mark.parametrize("amid", [ClientPayloadError("not enough data"), OSError(5, "I/O error")])
def test_content_that_breaks_off_is_a_fault_that_may_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amid: Exception
) -> None:
    place = f"memory://{tmp_path.as_posix()}"
    store(ADAPTER.writer(place, {}), runs("a"))
    archive = ADAPTER.reader(place, {})
    (info,) = archive.list_runs(Query())
    row = next(b for b in archive.read_runs([info.ref], ["files"])).data.to_pylist()[0]

    def breaks(*_: object) -> bytes:
        raise amid

    file = FileRef(info.ref, row["owner"], row["path"])
    opened = archive.open_file(file)
    with monkeypatch.context() as patched:
        patched.setattr(MemoryFile, "read", breaks)
        with pytest.raises(TransientError, match="bytes/"):
            opened.read()
    assert archive.open_file(file).read() == b"a"


def test_an_error_of_another_kind_is_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_folder(f"memory://{tmp_path.as_posix()}", {})
    system, root = fsspec.core.url_to_fs(folder.address)
    system.pipe_file(f"{root}/a", b"1")

    def breaks(*_: object) -> bytes:
        raise ValueError("what is this?\nnobody knows")

    monkeypatch.setattr(MemoryFile, "read", breaks)
    with pytest.raises(BridgeError, match=r"/a: ValueError: what is this\?$"):
        folder.open("a").read()
