"""One run on its way into a run folder: its files as they come, its rows until it is complete."""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import secrets
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.adapter import ORIGIN, FileRef, Row, RunKey, RunRef
from trackbridge.errors import IntegrityError
from trackbridge_adapters.wandb import calls, encode, names, runfiles
from trackbridge_adapters.wandb.artifacts import is_inside
from trackbridge_adapters.wandb.framing import RecordWriter
from trackbridge_adapters.wandb.marks import HIDDEN, STAGING, mark, staging_of
from trackbridge_adapters.wandb.records import Record

BLOCK = 1 << 20
STREAMS = ("metrics", "series", "logs")
MEDIA, TRACKER = 2, 1  # of `FileType`


class Staged(NamedTuple):
    """Bytes of an artifact's file, in the staging area."""

    path: Path
    size: int
    digest: str


class Draft:
    """A run that is being written; nothing of it is in its place before `place`."""

    def __init__(self, out: Path, key: RunKey, ref: RunRef) -> None:
        self.key, self.ref = key, ref
        self._out = out
        self._left = f"{HIDDEN}{mark(ref)}-*"
        name = f"{HIDDEN}{mark(ref)}-{secrets.token_hex(4)}"
        self.folder = out / name
        self._staging = out / STAGING / name
        self._staged_at = staging_of(out, ref)
        self.rows: dict[str, list[Row]] = defaultdict(list)
        self.streams: dict[str, list[pa.RecordBatch]] = defaultdict(list)
        self._staged: dict[tuple[str, str], Staged] = {}
        self._numbers = itertools.count()  # threads may put files at a time

    def write(self, table: str, data: pa.RecordBatch) -> None:
        if table in STREAMS:
            self.streams[table].append(data)
        else:
            self.rows[table] += data.to_pylist()

    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        if not is_inside(file.path):
            raise IntegrityError(
                f"run {self.ref.run_id}: the file {file.path!r} would lie outside of its run; "
                "rename it at the source"
            )
        place = self._staging if file.owner else self.folder / runfiles.FOLDER
        place.mkdir(parents=True, exist_ok=True)
        if not file.owner:
            copy(data, place / file.path)
            return
        number = f"{next(self._numbers):06d}"
        size, digest = copy(data, self._staging / number)
        self._staged[file.owner, file.path] = Staged(self._staged_at / number, size, digest)

    def complete(self) -> None:
        """Write the `.wandb` file, and everything to disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / runfiles.FOLDER).mkdir(exist_ok=True)
        if len(self.rows["runs"]) != 1:
            raise IntegrityError(f"run {self.ref.run_id}: it has no row in runs")
        with (self.folder / self._file_name).open("wb") as stream:
            writer = RecordWriter(stream)
            for record in self._records():
                writer.write(record.SerializeToString())
            stream.flush()
            os.fsync(stream.fileno())
        for folder in (self.folder, self._staging):
            for path in [folder, *folder.rglob("*")] if folder.is_dir() else ():
                if path.is_dir():
                    sync(path)

    def place(self, old: list[Path]) -> Path:
        """Put the folder in its place, which is given; `old` ones of this run go."""
        target = self._target([path.name for path in old])
        aside = [
            path.rename(path.with_name(f"{self.folder.name}-{n}")) for n, path in enumerate(old)
        ]
        old_staging = self._staging.with_name(f"{self._staging.name}-old")
        if self._staged_at.exists():
            self._staged_at.rename(old_staging)
        if self._staging.exists():
            self._staging.rename(self._staged_at)
            sync(self._staged_at.parent)
        self.folder.rename(target)
        for path in [*aside, old_staging]:
            shutil.rmtree(path, ignore_errors=True)
        return target

    def sweep(self) -> None:
        """Remove what writers left of this run that were killed."""
        for place in (self._out, self._staging.parent):
            for path in place.glob(self._left):
                shutil.rmtree(path, ignore_errors=True)

    def discard(self) -> None:
        for path in (self.folder, self._staging):
            shutil.rmtree(path, ignore_errors=True)

    @property
    def _file_name(self) -> str:
        return f"run-{self.ref.run_id}.wandb"

    def _target(self, old: list[str]) -> Path:
        """The folder's name as wandb makes it; where it is another run's, marked by the project."""
        started: datetime | None = self.rows["runs"][0]["started"]
        time = (started or datetime.fromtimestamp(0, timezone.utc)).strftime("%Y%m%d_%H%M%S")
        name = f"offline-run-{time}-{self.ref.run_id}"
        taken = {path.name.lower() for path in self._out.iterdir()} - {n.lower() for n in old}
        if name.lower() in taken:
            name += "-" + hashlib.sha256("\n".join(self.ref).encode()).hexdigest()[:8]
        return self._out / name

    def _records(self) -> Iterator[Any]:
        artifacts = list(self._artifacts())
        points = calls.table_of("metrics", self.streams["metrics"])
        system = points.column("system").fill_null(False)
        own = calls.Calls(
            points.filter(pc.invert(system)), calls.table_of("series", self.streams["series"])
        )
        flat = calls.is_flat(self.key.kind, own.used(), self._special)
        told = self._told(artifacts)
        yield from encode.opening(self.key, self.ref, self.rows, flat=flat, told=told)
        yield self._files()
        yield from self._history(own, None if flat else self._special)
        yield from calls.stats(points.filter(system))
        yield from self._console()
        if self.key.kind != "wandb":
            yield _last_values(own)
        yield from encode.closing(self.rows, artifacts)

    @property
    def _special(self) -> dict[str, names.Path]:
        """Names of its metrics and series that are not their keys joined by dots."""
        return names.checked(encode.extra_of(self.rows["runs"][0]).get("special_names", {}))

    def _told(self, artifacts: list[Any]) -> dict[str, Any]:
        """What is to stand in our entry in the config besides."""
        return {}

    def _history(self, own: calls.Calls, special: Mapping[str, names.Path] | None) -> Iterator[Any]:
        yield from calls.history(own, special)

    def _console(self) -> Iterator[Any]:
        yield from calls.output(calls.table_of("logs", self.streams["logs"]))

    def _files(self) -> Any:
        """What wandb is to upload; a fact of our making."""
        record = Record(uuid=ORIGIN)
        root = self.folder / runfiles.FOLDER
        for path in sorted(p for p in root.rglob("*") if p.is_file()):
            name = path.relative_to(root).as_posix()
            kind = MEDIA if name.startswith("media/") else 0
            kind = TRACKER if name.startswith("wandb-") else kind
            record.files.files.add(path=name, policy=1, type=kind)
        record.files.SetInParent()
        return record

    def _artifacts(self) -> Iterator[Any]:
        for row in self.rows["artifacts"]:
            owner = f"{row['collection']}:{row['version']}"
            entries = [self._entry(file) for file in self.rows["files"] if file["owner"] == owner]
            digest = encode.manifest_digest(entries)
            yield encode.artifact(self.key, self.ref, row, entries, digest)

    def _entry(self, row: Row) -> Any:
        if not is_inside(row["path"]):
            raise IntegrityError(f"artifact {row['owner']}: {row['path']!r} leads out of it")
        entry = encode.entry_of(row)
        staged = self._staged.get((row["owner"], row["path"]))
        if staged is not None:
            entry.size, entry.digest = staged.size, staged.digest
            entry.local_path = str(staged.path.absolute())
        elif not entry.ref:
            raise IntegrityError(
                f"artifact {row['owner']}: the bytes of {row['path']!r} are missing"
            )
        return entry


def _last_values(own: calls.Calls) -> Any:
    """The summary that W&B's tables show, for a run that has none of its own."""
    record = Record(uuid=ORIGIN)
    for name, text in own.last():
        record.summary.update.add(key=name, value_json=text)
    record.summary.SetInParent()
    return record


def copy(data: BinaryIO, path: Path) -> tuple[int, str]:
    """Store a stream on disk; size and MD5 of its bytes, as manifests have it."""
    state, size = hashlib.md5(usedforsecurity=False), 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            while block := data.read(BLOCK):
                out.write(block)
                state.update(block)
                size += len(block)
            out.flush()
            os.fsync(out.fileno())
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise IntegrityError(f"{path}: a file and a folder have the same name") from error
    return size, base64.b64encode(state.digest()).decode()


def sync(folder: Path) -> None:
    """Make the names in a folder durable, where the system lets folders be opened."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
