"""Writes a chunk of runs into a log folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from trackbridge import disk
from trackbridge.adapter import ORIGIN, SHARED_FILE, STORE, Batch, FileRef, RunKey, RunRef
from trackbridge.columns import split
from trackbridge.disk import system_errors
from trackbridge.errors import IntegrityError
from trackbridge.schema import SHARED
from trackbridge_adapters.tensorboard import carried
from trackbridge_adapters.tensorboard.draft import Draft, event_file
from trackbridge_adapters.tensorboard.finding import is_event_file
from trackbridge_adapters.tensorboard.places import Places
from trackbridge_adapters.tensorboard.staging import Staging


class LogFolderSink:
    """A chunk of runs, each built aside; the event file is the last of a run to be put in place.

    A run that is there already is replaced: its old event file is emptied before the new one comes,
    whose name is another one. A TensorBoard that has the old one open does not show points twice:
    its data server drops what has a step that comes again, or a later one; its Python loader goes
    on to the next file, in which the start of a session has it drop all that was before
    (`encode.opening`). It would stay for ever at a file that is gone (directory_watcher.py, 2.21):
    so the name of the last one is kept, with nothing in it. Metrics and early points that the run
    no longer has stay on the pages of the data server until it is started again.
    """

    def __init__(
        self, root: Path, runs: Mapping[RunRef, RunKey], on_commit: Callable[[], None]
    ) -> None:
        self._root, self._runs, self._on_commit = root, runs, on_commit
        self._staging = Staging(root)
        self._shared: dict[str, Path] = {}
        self._drafts: dict[RunRef, Draft] = {}
        try:
            with system_errors(root):
                self._there()
            for ref, key in runs.items():
                self._drafts[ref] = Draft(self._staging.place(), key, ref)
        except BaseException:
            self._staging.close()
            raise

    def __enter__(self) -> LogFolderSink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._staging.close()

    def write(self, batch: Batch) -> None:
        if batch.table in SHARED:
            return
        for ref, rows in split(batch.data):
            self._draft(ref).write(batch.table, rows)

    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        if file.run != STORE:
            self._draft(file.run).put_file(file, data)
        elif file[1:] == ("", SHARED_FILE):
            self._shared[file.path] = self._staging.place()
            disk.write(self._shared[file.path], data)
        else:
            raise IntegrityError(f"{self._root}: {file.path!r} is no file of a log folder")

    def commit(self) -> Mapping[RunKey, RunRef]:
        with system_errors(self._root):
            names = self._complete()
        with system_errors(self._root), self._staging.locked():
            places, there = self._there()
            for ref, draft in self._drafts.items():
                place = places.free(draft.key, ref, draft.row.get("name"))
                for folder in there[ref]:
                    self._give_way(folder, place)
                self._staging.put(draft.home, place / ORIGIN)
                self._staging.put(draft.events, place / names[ref])
            for shared, made in self._shared.items():
                self._staging.put(made, self._root / shared)
            self._staging.commit()
        self._on_commit()
        return {key: ref for ref, key in self._runs.items()}

    def _complete(self) -> dict[RunRef, str]:
        """Complete every run; the names of their event files."""
        _, there = self._there()
        names = {}
        for number, (ref, draft) in enumerate(self._drafts.items()):
            old = [event.name for folder in there[ref] for event in _events(folder)]
            names[ref] = event_file(number, max(old, default=""))
            draft.complete(names[ref])
        return names

    def _give_way(self, folder: Path, place: Path) -> None:
        """Take away what is there of a run, which is to be in another place or in the same."""
        known = carried.origin(folder)
        for path in carried.emptied(folder, known) if known else ():
            self._staging.drop(path)
        for path in _events(folder):
            if folder == place:
                nothing = self._staging.place()
                nothing.touch()
                self._staging.put(nothing, path)
            else:
                self._staging.drop(path)
        if folder != place:
            self._staging.drop(folder / ORIGIN)

    def _draft(self, ref: RunRef) -> Draft:
        if ref not in self._drafts:
            raise IntegrityError(f"{self._root}: {ref.project}/{ref.run_id} is no run of the chunk")
        return self._drafts[ref]

    def _there(self) -> tuple[Places, dict[RunRef, list[Path]]]:
        """Where each run is already; `IntegrityError` where that is another one."""
        places = Places(self._root)
        found = {ref: places.of(key, ref) for ref, key in self._runs.items()}
        for ref, folders in found.items():
            for folder in folders:
                known = carried.origin(folder)
                if known is not None and known.key != self._runs[ref]:
                    raise IntegrityError(
                        f"{folder}: is run {known.key}; choose another folder, or another project"
                    )
        return places, found


def _events(folder: Path) -> list[Path]:
    """The event file that we wrote; others that are there have come since, and stay."""
    known = carried.origin(folder)
    path = folder / known.events if known and is_event_file(known.events) else None
    return [path] if path and path.parent == folder and path.is_file() else []
