"""Where journals lie, and how a run's folder is laid out."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

from trackbridge.dual.journal import SUFFIX
from trackbridge.dual.records import leads_out
from trackbridge.dual.values import Kept

DIR = "TRACKBRIDGE_DIR"
DEFAULT = "trackbridge"
FILES = "files"
"""Folder of a run's files, each called after the SHA-256 of its content."""
DELIVERY = "delivery"
"""Folder of a run that says how far each back end is."""
_UNSAFE = re.compile(r"[^\w.-]", re.ASCII)
_BLOCK = 1 << 20
_HEADER = 1 << 16
"""No header is longer."""


def root(cwd: Path | None = None) -> Path:
    """The folder of all journals: `TRACKBRIDGE_DIR`, or `trackbridge` in the working directory."""
    return (cwd or here()) / (os.environ.get(DIR) or DEFAULT)


def here() -> Path:
    """The working directory; another one where that is gone."""
    try:
        return Path.cwd()
    except OSError:
        return temporary()


def host() -> str:
    """The name of this machine."""
    if hasattr(os, "uname"):
        return os.uname().nodename
    return os.environ.get("COMPUTERNAME", "")


def temporary() -> Path:
    """A folder on a disk of this machine, the same for every process of a user."""
    return Path("/tmp") if os.name == "posix" else Path(os.environ["TEMP"])


def make_root(folder: Path) -> None:
    """Make the folder of journals; version control leaves it alone."""
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / ".gitignore").write_text("*\n")


def new_id() -> str:
    """An id of a run as W&B makes them: eight characters of 36."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    number = int.from_bytes(os.urandom(16), "little")
    return "".join(digits[number // 36**at % 36] for at in range(8))


def folder_of(root: Path, project: str, run_id: str) -> Path:
    """The folder of a run, whichever process begins it and when: several may at the same time.

    No other run has it. Its name is for people, what counts stands in its files.
    """
    ref = json.dumps([project, run_id])
    return root / f"run-{safe(run_id)}.{hashlib.sha256(ref.encode()).hexdigest()[:12]}"


def _stamped(run_id: str) -> str:
    """What folders were called that have the second of their beginning in their names."""
    shown = safe(run_id)
    if shown.lower() != run_id:
        shown += f"-{hashlib.sha256(run_id.encode('utf-8', 'replace')).hexdigest()[:6]}"
    return f"run-????????_??????-{shown}.????"


def safe(name: str) -> str:
    """A name as part of a file's."""
    return _UNSAFE.sub("_", name)[:64]


def content(folder: Path, sha256: str) -> Path:
    """Where the bytes of a file of a run lie."""
    return folder / FILES / sha256[:2] / sha256


def keep(folder: Path, path: str, source: bytes | Path) -> Kept:
    """Copy bytes or a file into a run's folder; there it has its name once it is whole."""
    if leads_out(path):
        raise ValueError(f"{path!r} is no path below the folder of a run")
    if isinstance(source, Path) and not source.is_file():
        raise FileNotFoundError(errno.ENOENT, "no such file", str(source))
    aside = folder / FILES / f".{os.urandom(8).hex()}"
    aside.parent.mkdir(parents=True, exist_ok=True)
    state, size = hashlib.sha256(), 0
    try:
        opened = BytesIO(source) if isinstance(source, bytes) else source.open("rb")
        with opened as data, aside.open("wb") as out:
            while block := data.read(_BLOCK):
                state.update(block)
                size += out.write(block)
        place = content(folder, state.hexdigest())
        place.parent.mkdir(exist_ok=True)
        aside.replace(place)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    return Kept(path, size, state.hexdigest())


def find(root: Path, project: str, run_id: str) -> Path | None:
    """The folder of a run that has been begun."""
    for folder in (folder_of(root, project, run_id), *sorted(root.glob(_stamped(run_id)))):
        if any(header(path).get("run") == [project, run_id] for path in files(folder)):
            return folder
    return None


def runs(root: Path) -> list[Path]:
    """The folders of runs, in the order in which they were begun; those that are empty last.

    `OSError` where they cannot be listed; none where there is no such folder.
    """
    found = (root / e.name for e in _listed(root) if e.name.startswith("run-") and e.is_dir())
    return sorted(found, key=lambda path: (_begun(path), path.name))


@lru_cache(maxsize=1 << 16)
def _begun(folder: Path) -> str:
    """What sorts runs by their beginning, which is looked for once: they are listed often."""
    with suppress(OSError):
        return next((path.name for path in files(folder)), "~")
    return "~"


def files(folder: Path) -> list[Path]:
    """The journal files of a run, in the order in which they were begun; raises as `runs` does."""
    return sorted(folder / e.name for e in _listed(folder) if e.name.endswith(SUFFIX))


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def fingerprint(*folders: Path) -> str:
    """Stands for what is in the journal of a run, in all its folders; each record changes it."""
    found = (path for folder in folders for path in files(folder))
    return fingerprint_of((path.name, path.stat().st_size) for path in found)


def fingerprint_of(sizes: Iterable[tuple[str, int]]) -> str:
    """The same by names and sizes of the files."""
    state = "\n".join(f"{name} {size}" for name, size in sorted(sizes))
    return hashlib.sha256(state.encode()).hexdigest()


def put(path: Path, text: str) -> None:
    """Put a text in the place of a file, as a whole; raises `OSError`.

    Its folder is made, but not what that lies in: a run's folder that was deleted stays so.
    """
    path.parent.mkdir(exist_ok=True)
    aside = path.with_name(f".{path.stem}-{os.urandom(4).hex()}")
    try:
        aside.write_text(text)
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def standing(folder: Path, store: str) -> Path:
    """Where is said how far a back end is with a run; `store` is an address without secrets."""
    return folder / DELIVERY / f"{hashlib.sha256(store.encode()).hexdigest()[:16]}.json"


def header(path: Path) -> dict[str, Any]:
    """What the first record of a journal file says; nothing where that is not whole."""
    from trackbridge.dual.scanning import scan  # here, since most runs begin without it

    with path.open("rb") as file:
        window = next(scan(file.read(_HEADER), most=1), None)
    first = window.records[0] if window and window.records else {}
    return first if first.get("t") == "begin" else {}


def latest_header(folder: Path) -> dict[str, Any]:
    """What the last process said that begun to log to a run; nothing where none can be read."""
    headers = (header(path) for path in reversed(files(folder)))
    return next(filter(None, headers), {})


def next_call(folder: Path) -> tuple[int, int]:
    """Row and step of the call that comes after all that are in the journal of a run."""
    from trackbridge.dual.scanning import call_of, scan

    row, step = -1, -1
    for path in files(folder):
        data = path.read_bytes()
        for window in scan(data):
            calls = [call_of(data, at) for starts in window.points.values() for at in starts]
            series = (record for record in window.records if record["t"] == "series")
            calls += ((record["row"], record["step"]) for record in series)
            row = max([row, *(call[0] for call in calls)])
            step = max([step, *(call[1] for call in calls)])
    return row + 1, step + 1
