"""Moves one chunk of runs: read, translate, write, commit, read back, prove."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from trackbridge.adapter import (
    SIDECAR,
    Batch,
    FileRef,
    Query,
    Reader,
    Row,
    RunInfo,
    RunRef,
    Sink,
    Writer,
)
from trackbridge.columns import batches
from trackbridge.damage import Damage
from trackbridge.digest import Digests, RunDigests
from trackbridge.errors import DuplicatePointsError, IntegrityError, NotFoundError
from trackbridge.filing import WHOLE, FileChoice
from trackbridge.fit import holds_everything
from trackbridge.losses import Loss, Losses
from trackbridge.optional import Adopting
from trackbridge.prefetch import prefetched, together
from trackbridge.progress import SILENCE, Progress
from trackbridge.proof import Hashing, compare_digests, digest_chunk
from trackbridge.schema import TABLES
from trackbridge.sidecar import Overlay, Sidecar
from trackbridge.translate import Translation, translation
from trackbridge.verbatim import Verbatim

TOGETHER = 8
"""Files that are copied at a time where both stores allow it: each has one block in memory."""


class Written(NamedTuple):
    """Points of a run that are in the target already, though no reader finds them there yet."""

    token: str
    points: int
    digests: RunDigests
    sound: bool
    """Whether each of them has a step, a time and a value."""


class MissedPointsError(IntegrityError):
    """The points of a run that several have read are not those that it was listed with."""


@dataclass
class Moved:
    """What became of a chunk, proven run by run."""

    digests: dict[str, dict[str, str]] = field(default_factory=dict)
    """Run key -> digest of each table, for runs that are proven."""
    targets: dict[str, str] = field(default_factory=dict)
    """Run key -> fingerprint in the target, before it was read back."""
    failures: dict[str, str] = field(default_factory=dict)
    """Run key -> what is not as it should be, for the others."""
    damage: Damage = field(default_factory=Damage)
    """What is damaged in the source."""
    losses: list[Loss] = field(default_factory=list)
    left: set[RunRef] = field(default_factory=set)
    """Runs whose files were not all to be moved, by the project and id that they were born with."""
    points: int = 0
    files: int = 0
    size: int = 0


def move(
    source: Reader,
    target: Writer,
    infos: Sequence[RunInfo],
    progress: Progress = SILENCE,
    files: FileChoice = WHOLE,
    written: Sequence[Written] = (),
) -> Moved:
    """Write runs and prove them; `progress` is told of points as they pass, and of stages.

    What was `written` already are all points of the one run: they are committed with the rest, and
    left to the caller to prove. `MissedPointsError` where the run has not as many points then as
    it was listed with. Chunks in which points become equal or moves ambiguous are written a second
    time, carefully. Errors of the stores are raised, and then nothing of the chunk is committed.
    """
    if written:
        return _Passage(source, target, infos, progress, files, written).run()
    try:
        moved = _Passage(source, target, infos, progress, files).run()
    except DuplicatePointsError:
        moved = None
    if moved is None or moved.failures:
        moved = _Passage(source, target, infos, progress, files, careful=True).run()
    if moved.failures and not holds_everything(target.capabilities):
        _take_back(target, [i for i in infos if str(i.key) in moved.failures], moved.failures)
    return moved


def _take_back(target: Writer, infos: Sequence[RunInfo], reasons: Mapping[str, str]) -> None:
    """Leave no more than a marked shell of runs that are not what they were."""
    shells = Translation(target, [info.key for info in infos])
    rows = [
        {
            "project": info.key.project,
            "run_id": info.key.run_id,
            "name": info.name,
            "started": info.started,
            "deleted": False,
        }
        for info in infos
    ]
    for batch in batches("runs", rows):
        list(shells.feed(batch))
    shells.present()
    with target.open([info.key for info in infos]) as sink:
        for batch in shells.finish():
            sink.write(batch)
        for info in infos:
            side = Sidecar(unproven=reasons[str(info.key)])
            place = FileRef(target.target(info.key), "", SIDECAR)
            sink.put_file(place, io.BytesIO(side.dumps()))
        sink.commit()


class _Copied(NamedTuple):
    """Size and digest of a file's bytes, as far as they are known."""

    size: int | None
    sha256: str | None


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Makes an error of the system, met while a file is read, one of the run that has it alone."""
    try:
        yield
    except OSError as error:
        raise IntegrityError(
            f"{path}: cannot be read ({error.strerror or error});"
            " make it readable at the source, or leave it there"
        ) from error


class _Source:
    """A stream of the source, whose errors are told from those of the file that it is copied to."""

    def __init__(self, data: BinaryIO, path: str) -> None:
        self._data, self._path = data, path

    def read(self, size: int = -1) -> bytes:
        with _reading(self._path):
            return self._data.read(size)


class _Passage:
    """One try at moving a chunk."""

    def __init__(
        self,
        source: Reader,
        target: Writer,
        infos: Sequence[RunInfo],
        progress: Progress,
        files: FileChoice,
        written: Sequence[Written] = (),
        *,
        careful: bool = False,
    ) -> None:
        self._target, self._infos, self._choice = target, infos, files
        self._written = written
        self._tables = TABLES.keys() - {"metrics"} if written else None
        self._progress, self._careful = progress, careful
        self._together = source.capabilities.parallel_files and target.capabilities.parallel_files
        self._overlay = Overlay(source, infos)
        keys = [info.key for info in infos]
        self._moved: Translation | Verbatim = translation(target, keys, careful=careful)
        self._model = Digests()
        # a digest covers no labels, and nothing else of a verbatim run is changed
        self._promised = None if isinstance(self._moved, Verbatim) else Digests()
        self._result, self._left = Moved(), Losses()

    def run(self) -> Moved:
        with self._target.open([info.key for info in self._infos]) as sink:
            self._adopt(sink)
            files = self._pass(sink)
            self._moved.present()
            self._copy(sink, files)
            for batch in self._promises(self._moved.finish()):
                sink.write(batch)
            for ref, side in self._moved.sidecars():
                sink.put_file(FileRef(ref, "", SIDECAR), io.BytesIO(side))
            self._check_written()
            self._progress.stage("writing")
            sink.commit()
        self._progress.stage("reading back")
        self._prove()
        self._result.losses = [*self._moved.losses.list(), *self._left.list()]
        return self._result

    def _adopt(self, sink: Sink) -> None:
        """Take in what was written already."""
        for written in self._written:
            assert isinstance(sink, Adopting)
            sink.adopt(written.token)
            self._result.points += written.points

    def _check_written(self) -> None:
        """With what was written already, the run has to have all points that it was listed with."""
        if self._written and self._result.points != self._infos[0].points:
            raise MissedPointsError(
                f"{self._infos[0].key}: {self._infos[0].points} points were listed,"
                f" {self._result.points} were found"
            )

    def _pass(self, sink: Sink) -> list[Row]:
        """Read everything once; gives the files, which are still to be copied.

        Reading, translating and writing each have a thread, since most of it is not Python's work.
        """
        files: list[Row] = []
        with (
            prefetched(self._read()) as batches_read,
            prefetched(self._translated(batches_read, files)) as translated,
        ):
            for points, natives in translated:
                for native in natives:
                    sink.write(native)
                if not self._careful:  # else they were told of before
                    self._progress.points(points)
        return files

    def _read(self) -> Iterator[Batch]:
        if self._written:
            return self._overlay.read_rest(sound=all(each.sound for each in self._written))
        return self._overlay.read()

    def _translated(
        self, batches_read: Iterator[Batch], files: list[Row]
    ) -> Iterator[tuple[int, list[Batch]]]:
        """Of each batch, how many points it has and what can be written of it already."""
        for batch in batches_read:
            points = batch.data.num_rows if batch.table in ("metrics", "series") else 0
            self._result.points += points
            self._result.damage.note(batch)
            if batch.table == "files":
                batch = self._chosen(batch)
                files += batch.data.to_pylist()
            else:
                self._model.add(batch)
            yield points, list(self._promises(self._moved.feed(batch)))

    def _chosen(self, batch: Batch) -> Batch:
        """Files as they are to be moved."""
        rows = batch.data.to_pylist()
        left = (row for row in rows if self._choice.leaves(row))
        self._result.left.update(RunRef(row["project"], row["run_id"]) for row in left)
        rows = self._choice.apply(rows, self._overlay, self._left)
        return Batch("files", pa.RecordBatch.from_pylist(rows, batch.data.schema))

    def _promises(self, natives: Iterator[Batch]) -> Iterator[Batch]:
        for native in natives:
            if native.data.num_rows:
                if self._promised is not None:
                    self._promised.add(native)
                yield native

    def _copy(self, sink: Sink, files: list[Row]) -> None:
        here = [row for row in files if not row["reference"]]
        if here:
            self._progress.stage("copying files")
        count = TOGETHER if self._together else 1
        with together(self._carrier(sink), here, count) as copied:
            for row, found in copied:
                self._note_copied(row, found)
        for place, content in self._moved.contents():
            sink.put_file(place, io.BytesIO(content))
        self._moved.leave_out_missing()
        for batch in batches("files", files):
            self._model.add(batch)

    def _carrier(self, sink: Sink) -> Callable[[Row], _Copied | None]:
        def carry(row: Row) -> _Copied | None:
            """Copy a file; None where its bytes are missing. May run in any thread."""
            origin = RunRef(row["project"], row["run_id"])
            try:
                with _reading(row["path"]):
                    data = self._overlay.open_file(origin, row["owner"], row["path"])
            except NotFoundError:
                return None
            with data:
                hashing = Hashing(_Source(data, row["path"]))  # type: ignore[arg-type]
                place = self._moved.place(origin, row["owner"], row["path"])
                sink.put_file(place, hashing)  # type: ignore[arg-type]
            return _Copied(hashing.size, hashing.state.hexdigest())

        return carry

    def _note_copied(self, row: Row, found: _Copied | None) -> None:
        """What copying has told of a file."""
        origin = RunRef(row["project"], row["run_id"])
        size, sha256 = found or _Copied(row["size"], None)
        self._moved.set_file(origin, row["owner"], row["path"], size, sha256)
        if found and row["sha256"] not in (None, sha256):
            self._doubt(origin, f"{row['path']}: its bytes are not those that were recorded")
        row.update(size=size, sha256=sha256)
        if found:
            self._result.files += 1
            self._result.size += size or 0
        else:
            self._result.damage.miss(row, self._overlay)

    def _doubt(self, origin: RunRef, what: str) -> None:
        """Damage, unless it may be an edit in a store that the run was brought to."""
        if not self._overlay.has_sidecar(origin):
            raise IntegrityError(f"run {origin.run_id}: {what}")
        self._result.damage.doubt(origin, f"{what}; moved as they are")

    def _prove(self) -> None:
        """Read back: the native form is the promised one, and with the sidecar it is the run."""
        back = [
            RunInfo(self._target.target(info.key), info.key, fingerprint="", carried=True)
            for info in self._infos
        ]
        query = Query(run_ids={info.ref.run_id for info in back})
        listed = {i.ref: i.fingerprint for i in self._target.list_runs(query)}
        self._result.targets = {str(info.key): listed.get(info.ref, "") for info in back}
        found = digest_chunk(self._target, back, tables=self._tables)
        for source, info in zip(self._infos, back):
            origin = info.key.born
            promised = self._model[origin] if self._promised is None else self._promised[info.ref]
            unlike = compare_digests(promised, found.native[info.ref])
            unrestored = compare_digests(self._model[origin], found.model[origin])
            if unlike or unrestored:
                self._result.failures[str(info.key)] = _reason(unlike, unrestored)
            else:
                for written in self._written:
                    self._model.include(origin, written.digests)
                self._count(source)
                self._result.digests[str(info.key)] = self._model.totals(origin)

    def _count(self, info: RunInfo) -> None:
        """Points that are listed and were not read: what both proofs would not know of.

        With a sidecar there may be fewer: what stood in for others is not the run's.
        """
        origin = info.key.born
        if info.estimated or self._overlay.has_sidecar(origin):
            return
        places = self._model[origin].items()
        read = sum(digest.rows for place, digest in places if place.table in ("metrics", "series"))
        if read < info.points and origin not in self._result.damage.named:
            self._result.damage.doubt(
                origin, f"{info.points - read} of {info.points} points that it lists were not read"
            )


def _reason(unlike: list[tuple[str, str | None]], unrestored: list[tuple[str, str | None]]) -> str:
    def named(places: list[tuple[str, str | None]]) -> str:
        words = [table if key is None else f"{table} {key!r}" for table, key in places[:3]]
        return ", ".join(words) + (f" and {len(places) - 3} more" if len(places) > 3 else "")

    if unlike:
        return f"read back from the target, it is not what was written: {named(unlike)}"
    return f"read back with its sidecar, it is not the source's: {named(unrestored)}"
