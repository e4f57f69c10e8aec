"""Scratch folders: what a kill left goes, and nobody loses the one that he works in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from unit.archive.archives import key, runs, writer

from trackbridge.folder import SCRATCH, LocalFolder
from trackbridge.testing.dividing import points

AT_ONCE, TIMES = 8, 150
KILLED = """
import os, signal, sys
from trackbridge.folder import LocalFolder
with LocalFolder(sys.argv[1]).scratch("share") as scratch:
    (scratch / "left").write_bytes(b"x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def left(place: Path) -> list[str]:
    return [path.name for path in place.glob(f"{SCRATCH}*")]


def test_folders_of_one_name_are_each_somebodys_own(tmp_path: Path) -> None:
    folder = LocalFolder(str(tmp_path))

    def work(number: int) -> int:
        for time in range(TIMES):
            with folder.scratch("share") as scratch:
                file = scratch / "file"
                assert not file.exists()
                file.write_text(f"{number} {time}")
                assert file.read_text() == f"{number} {time}"
        return number

    with ThreadPoolExecutor(AT_ONCE) as threads:
        assert list(threads.map(work, range(AT_ONCE))) == list(range(AT_ONCE))
    assert not left(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_what_a_killed_writer_of_a_share_left_goes_with_the_next_share(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert left(tmp_path)
    (run,) = runs("a")
    writer(tmp_path).put_points(key("a"), points(writer(tmp_path), run, 0, 2))
    assert not left(tmp_path)
