"""What lies in the folder of a run that Trackbridge wrote, beside the run's event file.

    PROJECT/RUN/events.out.tfevents.*      all that TensorBoard has a form for
    PROJECT/RUN/trackbridge/run.json       who the run is, and what else is known of it up front
    PROJECT/RUN/trackbridge/sidecar.zip    what the store does not hold
    PROJECT/RUN/trackbridge/files/         files of the run
    PROJECT/RUN/trackbridge/artifacts/     files of artifacts, by owner

TensorBoard takes every folder below the log folder for a run that has a file with `tfevents` in
its name (tensorboard 2.21, io_wrapper.py and disk_logdir.rs), hidden ones included: so names are
written without it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from trackbridge.adapter import ORIGIN, SIDECAR, Row, RunKey, RunRef
from trackbridge.errors import IntegrityError
from trackbridge.times import EPOCH, micros
from trackbridge_adapters.tensorboard.names import decoded, pieces

ABOUT = "run.json"
LOCK = "writing.lock"
"""File in the log folder's own `ORIGIN`; its lock is held by whoever puts runs in their places."""
FILES, ARTIFACTS = "files", "artifacts"
OUR_EVENTS = re.compile(rf"tfevents\.\d+\.{ORIGIN}\.[\d.]+$")
COLUMNS = ("name", "status", "group", "host", "extra")
TIMES = ("started", "ended")


class Metric(NamedTuple):
    """A metric as `metrics` tells it from others."""

    key: str
    system: bool


class Origin(NamedTuple):
    """Who a run is: its key, and what it is called in this store.

    `events` is the name of its event file, `row` what is known of it in `runs`, `tags` those that
    are not simply the key of a metric that the run logged itself.
    """

    key: RunKey
    ref: RunRef
    events: str
    row: Row
    tags: Mapping[str, Metric] = MappingProxyType({})


class File(NamedTuple):
    """A file of a run as `files` shows it."""

    owner: str
    path: str
    size: int


def origin(folder: Path) -> Origin | None:
    """Who the run in a folder is; None where Trackbridge did not write it."""
    try:
        told = json.loads((folder / ORIGIN / ABOUT).read_bytes())
        ref = RunRef(_text(told["project"]), _text(told["run_id"]))
        row: Row = {name: _text(told["run"][name]) for name in COLUMNS if name in told["run"]}
        row |= {name: _time(told["run"][name]) for name in TIMES if name in told["run"]}
        tags = {tag: _metric(*told) for tag, told in dict(told.get("tags", {})).items()}
        return Origin(RunKey.parse(_text(told["run_key"])), ref, _text(told["events"]), row, tags)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, IntegrityError):
        return None


def emptied(folder: Path, made: Origin) -> list[Path]:
    """Event files that were replaced, of which the names are kept (`sink.LogFolderSink`)."""
    left = (path for path in folder.glob("*tfevents*") if OUR_EVENTS.search(path.name))
    return [path for path in left if path.name != made.events and not path.stat().st_size]


def about(made: Origin) -> bytes:
    """The content of the file that says who a run is."""
    run = {name: made.row[name] for name in COLUMNS if made.row.get(name) is not None}
    for name in TIMES:
        if made.row.get(name) is not None:
            run[name] = micros(made.row[name])
    told = {"run_key": str(made.key), **made.ref._asdict(), "events": made.events, "run": run}
    if made.tags:
        told["tags"] = dict(made.tags)
    return json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def place(home: Path, owner: str, path: str) -> Path:
    """Where a file lies; `home` is the run's `trackbridge` folder.

    Raises `IntegrityError` for a path that leads out of it.
    """
    if (owner, path) == ("", SIDECAR):
        return home / SIDECAR.rpartition("/")[2]
    root = home.joinpath(ARTIFACTS, *pieces(owner)) if owner else home / FILES
    return root.joinpath(*(name for part in path.split("/") for name in pieces(part)))


def files(folder: Path) -> Iterator[File]:
    """Every file that Trackbridge put beside a run, the sidecar left out, in order."""
    home = folder / ORIGIN
    for owner, above in [("", home / FILES), *_owners(home / ARTIFACTS, "")]:
        for path, size, there in sorted(_below(above, "")):
            with suppress(IntegrityError):
                if place(home, owner, path) == there:  # else we did not put it there
                    yield File(owner, path, size)


def state(folder: Path) -> Iterator[str]:
    """What changes when anything that lies beside a run does."""
    home = folder / ORIGIN
    yield hashlib.sha256((home / ABOUT).read_bytes()).hexdigest()
    for path in sorted(path for path in home.rglob("*") if path.is_file()):
        status = path.stat()
        yield f"{path.relative_to(home).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}"


def _below(folder: Path, prefix: str) -> Iterator[tuple[str, int, Path]]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        goes_on = entry.name.endswith("%")
        path = prefix + decoded(entry.name.removesuffix("%"))
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path), path if goes_on else f"{path}/")
        elif entry.is_file(follow_symlinks=False):
            yield path, entry.stat(follow_symlinks=False).st_size, Path(entry.path)


def _owners(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    """Each artifact that has files, and its folder."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        owner = prefix + decoded(path.name.removesuffix("%"))
        if path.name.endswith("%"):
            yield from _owners(path, owner)
        else:
            yield owner, path


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"no text: {value!r}")
    value.encode()  # half of a pair of surrogates is a `ValueError`
    return value


def _metric(key: Any, system: Any) -> Metric:
    return Metric(_text(key), bool(system))


def _time(value: Any) -> datetime:
    return EPOCH + timedelta(microseconds=int(value))
