"""Log folders: which runs are in one, their files, and what these say up front."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from trackbridge.adapter import ORIGIN, RunKey, RunRef
from trackbridge_adapters.tensorboard import carried, wire
from trackbridge_adapters.tensorboard.framing import frames, is_sound, records
from trackbridge_adapters.tensorboard.names import shown
from trackbridge_adapters.tensorboard.tree import Folder, Tree

KIND = "tensorboard"
ROOT = "."
"""Id of the run whose event files are in the log folder itself."""
PROJECTOR = "projector_config.pbtxt"
PROFILES = Path("plugins", "profile")
"""Where the profiler's plugin looks, below a run."""
HEAD = 1 << 16
"""Bytes at both ends of an event file that a listing looks at."""
SETTLED = 600.0
"""Seconds after which nobody goes on writing a record: writers flush every two minutes."""
END = b"_hparams_/session_end_info"
_NAMED = re.compile(r'_path\s*:\s*"([^"\\]*)"')
_HOST = re.compile(r"tfevents\.\d+\.(.+?)(?:\.\d+)*(?:\.v2|\.profile-empty)?$")

State = tuple[int, int, int]
"""Inode, size and time of change of a file."""


@dataclass
class Head:
    """What a listing knows of a file."""

    size: int
    digest: str
    """Of its beginning and its end."""
    first: bytes | None = None
    """Its first record, of an event file."""
    started: float | None = None
    ends: list[bytes] = field(default_factory=list)
    """Metadata in which sessions say how they ended, as far as they are at its ends."""


@dataclass
class Run:
    """A folder with event files."""

    ref: RunRef
    path: Path
    events: list[Path] = field(default_factory=list)
    """In the order in which TensorBoard reads them: by name."""
    others: dict[str, Path] = field(default_factory=dict)
    """Other files that plugins read, by their path below the run."""
    heads: dict[Path, Head] = field(default_factory=dict)
    states: dict[Path, State] = field(default_factory=dict)
    origin: carried.Origin | None = None
    """Who the run is, if we wrote it."""

    @property
    def put(self) -> list[carried.File]:
        """The files that we put beside it."""
        return list(carried.files(self.path)) if self.origin else []

    @property
    def name(self) -> str:
        return self.ref.project if self.ref.run_id == ROOT else self.ref.run_id

    @property
    def started(self) -> float | None:
        """Time of the first event, in seconds."""
        return next((h.started for h in self._known() if h.started is not None), None)

    @property
    def host(self) -> str | None:
        found = (_HOST.search(path.name) for path in self.events)
        return next((shown(match.group(1)) for match in found if match), None)

    @property
    def key(self) -> RunKey:
        """The run by its first event: folders are moved, and many are called alike."""
        if self.origin is not None:
            return self.origin.key
        first = next((p for p in self.events if self.heads[p].first is not None), self.events[0])
        told = hashlib.sha256(first.name.encode("utf-8", "surrogateescape") + b"\0")
        told.update(self.heads[first].first or b"")
        return RunKey(KIND, told.hexdigest()[:16], *self.ref)

    @property
    def fingerprint(self) -> str:
        state = hashlib.sha256()
        for path in (*self.events, *self.others.values()):
            head = self.heads[path]
            name = path.relative_to(self.path).as_posix()
            state.update(f"{name}\0{head.size}\0{head.digest}\n".encode(errors="replace"))
        for told in carried.state(self.path) if self.origin else ():
            state.update(f"{told}\n".encode(errors="replace"))
        return state.hexdigest()

    @property
    def ends(self) -> list[bytes]:
        return [content for head in self._known() for content in head.ends]

    def is_growing(self, path: Path) -> bool:
        """Whether an event file may end within a record because that is being written."""
        changed = self.states[path][2] / 1e9
        return path == self.events[-1] and abs(time.time() - changed) < SETTLED

    def _known(self) -> Iterator[Head]:
        return (self.heads[path] for path in self.events)


class LogFolder:
    """A folder with runs below it; looks again at what has changed."""

    def __init__(self, location: Path) -> None:
        self.path = location
        self.project = shown(location.absolute().resolve().name) or "logs"
        self.beside = 0
        """Files that are beside event files and not TensorBoard's."""
        self.links: Mapping[str, list[str]] = {}
        """Links that were not followed, by why."""
        self.has_own = False
        """Whether there are runs that we did not write."""
        self._known: dict[Path, tuple[State, Head]] = {}
        self._origins: dict[Path, tuple[State, carried.Origin | None]] = {}

    def look(self) -> dict[RunRef, Run]:
        """Every run as it is now, in order."""
        tree = Tree(self.path)
        found = sorted(tree.folders(), key=lambda each: each.is_linked)
        self.links, self.beside = tree.links, tree.beside
        written: dict[RunRef, Run] = {}
        own: list[Folder] = []
        for each in found:
            origin = self._origin(self.path / each.path)
            if origin is None or origin.ref in written:
                own.append(each)
            else:
                written[origin.ref] = self._run(each, origin.ref, origin)
        self.has_own = bool(own)
        runs = written | {run.ref: run for run in self._own(own, written)}
        for run in runs.values():
            self._settle(run)
        return dict(sorted(runs.items()))

    def _own(self, folders: list[Folder], written: Iterable[RunRef]) -> Iterator[Run]:
        """Runs that we did not write: they are called as their folders are, but no two alike."""
        taken = {ref.run_id for ref in written if ref.project == self.project}
        for folder in sorted(folders, key=lambda each: shown(each.path) != each.path):
            name = _free(folder.path or ROOT, taken)
            taken.add(name)
            yield self._run(folder, RunRef(self.project, name))

    def _run(self, folder: Folder, ref: RunRef, origin: carried.Origin | None = None) -> Run:
        path = self.path / folder.path
        events = [self.path / event for event in folder.events]
        if origin is not None:
            gone = carried.emptied(path, origin)
            events = [event for event in events if event not in gone] or events
        others: dict[str, Path] = {}
        for other in folder.others:
            inside = other[len(folder.path) :].lstrip("/")
            others[_free(inside, others)] = self.path / other
        return Run(ref, path, events, others, origin=origin)

    def _origin(self, folder: Path) -> carried.Origin | None:
        """Who the run in a folder is, if we wrote it; read again where that has changed."""
        about = folder / ORIGIN / carried.ABOUT
        try:
            state = _state(about)
        except OSError:
            return None
        known = self._origins.get(about)
        if known is None or known[0] != state:
            known = self._origins[about] = state, carried.origin(folder)
        return known[1]

    def _settle(self, run: Run) -> None:
        """Tell the files of plugins from others, and look at those that are the run's."""
        found = {p: path for p, path in run.others.items() if Path(p).is_relative_to(PROFILES)}
        if PROJECTOR in run.others:
            found[PROJECTOR] = run.others[PROJECTOR]
            text = run.others[PROJECTOR].read_text("utf-8", "replace")
            named = {os.path.normpath(name).replace(os.sep, "/") for name in _NAMED.findall(text)}
            found |= {p: path for p, path in run.others.items() if p in named}
        found = {p: path for p, path in found.items() if path.is_file() and not path.is_symlink()}
        self.beside += len(run.others) - len(found)
        run.others = dict(sorted(found.items()))
        for path in (*run.events, *found.values()):
            state = _state(path)
            known = self._known.get(path)
            if known is None or known[0] != state:
                known = self._known[path] = state, _head(path, state[1], path in run.events)
            run.states[path], run.heads[path] = known


def _state(path: Path) -> State:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _free(name: str, taken: Container[str]) -> str:
    """A name of the file system as text, with marks behind it as long as another one has it."""
    found = shown(name)
    while found in taken:
        found += "~" + hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
    return found


def _head(path: Path, size: int, is_events: bool) -> Head:
    with path.open("rb") as stream:
        head = stream.read(HEAD)
        stream.seek(max(size - HEAD, 0))
        tail = stream.read(HEAD)
        digest = hashlib.sha256(head + b"\0" + tail).hexdigest()
        found = Head(size, digest)
        if is_events:
            for end in (min(size, HEAD), size):
                if found.first is None:
                    _begin(found, stream, end)
            found.ends = _ends(head) + (_ends(tail) if size > HEAD else [])
        return found


def _begin(found: Head, stream: BinaryIO, end: int) -> None:
    """Note the first event before an offset."""
    for part in frames(stream, [], end):
        for start, size in zip(part.starts.tolist(), part.sizes.tolist()):
            data = part.data[start : start + size]
            if is_sound(part.data, start, size):
                with suppress(wire.WireError):
                    found.started, found.first = wire.event(data).time, data
                    return


def _ends(data: bytes) -> list[bytes]:
    """Metadata of the ends of sessions in a part of a file."""
    found = []
    if END in data:
        for _, record in records(BytesIO(data), []):
            with suppress(wire.WireError, UnicodeDecodeError):
                for tag, metadata in wire.tags(record):
                    found += [metadata] if metadata and tag == END.decode() else []
    return found
