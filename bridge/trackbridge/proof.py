"""Compares runs in two stores by digest, and names the values that differ."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa

from trackbridge.adapter import Batch, FileRef, Reader, Row, RunInfo, RunRef, Writer
from trackbridge.columns import batches
from trackbridge.damage import Damage
from trackbridge.digest import Digests, RunDigests, point_hashes, row_digest
from trackbridge.errors import NotFoundError
from trackbridge.filing import WHOLE, FileChoice
from trackbridge.losses import Losses
from trackbridge.prefetch import prefetched
from trackbridge.row_residual import LABELS
from trackbridge.schema import LOCAL
from trackbridge.sidecar import Overlay
from trackbridge.translate import translation
from trackbridge.unequal import Unequal, Unlike

if TYPE_CHECKING:
    from trackbridge.gone import Gone

BLOCK = 1 << 20
MOST_NAMED = 5
"""Differing values named per table of a run."""


@dataclass(frozen=True)
class Difference:
    """A value that is not the same in both stores; `key` names the row, if the table has keys.

    `run` is project and id in the source, as in `project/id`; empty for what belongs to no run.
    """

    run: str
    table: str
    key: str | None
    what: str

    def __str__(self) -> str:
        key = "" if self.key is None else f" {self.key}"
        run = f"run {self.run}: " if self.run else ""
        return f"{run}{self.table}{key}: {self.what}"


@dataclass
class Tally:
    """What became of the items of one kind."""

    total: int = 0
    copied: int = 0
    updated: int = 0
    skipped: int = 0
    equal: int = 0
    """Items that a comparison found to be the same in both stores."""
    held: bool = True
    """Whether the target holds items of this kind; if not, none is moved or compared."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Id and reason."""


@dataclass
class Comparison:
    """What comparing runs has shown."""

    total: int = 0
    equal: int = 0
    missing: int = 0
    series: int = 0
    series_equal: int = 0
    differences: list[Difference] = field(default_factory=list)
    unequal: list[Unequal] = field(default_factory=list)
    """The same counted, by series and table, for runs that are in both stores."""
    digests: dict[str, dict[str, str]] = field(default_factory=dict)
    """Run key -> digest of each table, for runs that are equal."""
    items: dict[str, Tally] = field(default_factory=dict)
    """What belongs to no run, by kind."""
    losses: Losses = field(default_factory=Losses)
    """What was not to be moved, and is therefore not compared."""
    gone: list[Gone] = field(default_factory=list)
    """What was moved once, was deleted at the source since, and is still in the target."""
    damage: Damage = field(default_factory=Damage)
    """What is damaged in the source; known where its translation is compared."""

    @property
    def different(self) -> int:
        return self.total - self.equal - self.missing

    @property
    def holds(self) -> bool:
        """Whether every run is there and equal, and everything else too."""
        return self.equal == self.total and not self.differences

    def __iadd__(self, other: Comparison) -> Comparison:
        self.total += other.total
        self.equal += other.equal
        self.missing += other.missing
        self.series += other.series
        self.series_equal += other.series_equal
        self.differences += other.differences
        self.unequal += other.unequal
        self.digests |= other.digests
        self.losses.merge(other.losses.list())
        self.damage |= other.damage
        return self


def hashed(data: BinaryIO) -> tuple[int, str]:
    """Size and SHA-256 of a stream, read to its end."""
    state, size = hashlib.sha256(), 0
    while block := data.read(BLOCK):
        state.update(block)
        size += len(block)
    return size, state.hexdigest()


class Hashing(io.RawIOBase):
    """A stream that is hashed and counted as it is read."""

    def __init__(self, data: BinaryIO) -> None:
        self._data = data
        self.state, self.size = hashlib.sha256(), 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._data.read(size)
        self.state.update(block)
        self.size += len(block)
        return block

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        block = self.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)


class FileHashes:
    """Sizes and SHA-256 of a reader's files, each file read once."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[FileRef, tuple[int, str] | None] = {}

    def of(self, file: FileRef) -> tuple[int, str] | None:
        """None where the bytes are missing."""
        if file not in self._known:
            try:
                with self._reader.open_file(file) as data:
                    self._known[file] = hashed(data)
            except NotFoundError:
                self._known[file] = None
        return self._known[file]

    def filled(self, batch: Batch, locate: Callable[[Row], FileRef]) -> Iterator[Batch]:
        """A batch of `files` with the size and hash that its bytes really have; others as is."""
        if batch.table != "files":
            yield batch
            return
        rows = batch.data.to_pylist()
        for row in rows:
            found = None if row["reference"] else self.of(locate(row))
            if found:
                row["size"], row["sha256"] = found
            elif not row["reference"]:
                row["sha256"] = None
        yield from batches("files", rows)


@dataclass
class Digested:
    """Digests of a chunk as its store has it, and as it was where it was born."""

    native: Digests
    model: Digests


def digest_chunk(
    reader: Reader,
    infos: Sequence[RunInfo],
    choice: FileChoice = WHOLE,
    left: Losses | None = None,
    tables: Collection[str] | None = None,
) -> Digested:
    """Both digests of a chunk in one pass; files that the choice leaves are added to `left`."""
    overlay, files = Overlay(reader, infos), FileHashes(reader)
    model = Digests()
    native = model if overlay.changes_nothing else Digests()

    def note(batch: Batch) -> None:
        for part in files.filled(batch, lambda row: FileRef(_ref(row), row["owner"], row["path"])):
            native.add(part)

    noting = None if native is model else note
    batches_made = _batches(overlay, files, noting, tables, choice, left)
    with prefetched(batches_made) as batches_read:
        for batch in batches_read:
            model.add(batch)
    return Digested(native, model)


def promise(
    writer: Writer,
    infos: Sequence[RunInfo],
    reader: Reader,
    files: FileChoice = WHOLE,
    left: Losses | None = None,
    damage: Damage | None = None,
    *,
    careful: bool = False,
) -> tuple[Digests, Digests]:
    """Digests of a chunk at its source, and those that its native form in a store must have.

    What is damaged at the source is added to `damage`.
    """
    model, promised = Digests(), Digests()
    moved = translation(writer, [info.key for info in infos], careful=careful)
    overlay = Overlay(reader, infos)
    batches_made = _batches(overlay, FileHashes(reader), choice=files, left=left)
    with prefetched(batches_made) as batches_read:
        for batch in batches_read:
            model.add(batch)
            for native in moved.feed(batch):
                promised.add(native)
            if damage is not None:
                _note_damage(batch, overlay, damage)
    moved.present()
    moved.leave_out_missing()
    for native in moved.finish():
        promised.add(native)
    return model, promised


def _note_damage(batch: Batch, overlay: Overlay, damage: Damage) -> None:
    damage.note(batch)
    if batch.table == "files":
        for row in batch.data.to_pylist():
            if not (row["sha256"] or row["reference"]):
                damage.miss(row, overlay)


def _batches(
    overlay: Overlay,
    files: FileHashes,
    native: Callable[[Batch], object] | None = None,
    tables: Collection[str] | None = None,
    choice: FileChoice = WHOLE,
    left: Losses | None = None,
) -> Iterator[Batch]:
    """The restored batches; files as they are moved, with what their bytes really are."""
    for batch in overlay.read(tables, native):
        if batch.table == "files" and not choice.is_whole:
            moved = choice.apply(
                batch.data.to_pylist(), overlay, Losses() if left is None else left
            )
            batch = Batch("files", pa.RecordBatch.from_pylist(moved, batch.data.schema))
        yield from files.filled(
            batch, lambda row: overlay.locate(_ref(row), row["owner"], row["path"])
        )


def compare_digests(expected: RunDigests, found: RunDigests) -> list[tuple[str, str | None]]:
    """Tables, and series of `metrics`, that are not equal."""
    places = sorted(set(expected) | set(found), key=lambda place: (place.table, place.series or ""))
    return [(p.table, p.series) for p in places if expected.get(p) != found.get(p)]


def compare_chunk(
    source: Reader,
    target: Reader,
    pairs: Sequence[tuple[RunInfo, RunInfo]],
    writer: Writer | None = None,
    files: FileChoice = WHOLE,
) -> Comparison:
    """Runs of two stores, pair by pair, each read once; values are looked at where they differ.

    With a writer for the target, its native form is held to what translating the source gives,
    so that no sidecar can stand in for missing data. Of `files`, those are compared that are moved.
    """
    left, right = [a for a, _ in pairs], [b for _, b in pairs]
    promised: Digests | None = None
    result = Comparison(total=len(pairs))
    if writer is None:
        model = digest_chunk(source, left, files, result.losses).model
    else:
        model, promised = promise(writer, left, source, files, result.losses, result.damage)
    found = digest_chunk(target, right)
    for here, there in pairs:
        origin = here.key.born
        other = there.key.born
        unequal = compare_digests(model[origin], found.model[other])
        differences, counts = _explain(source, target, here, there, unequal, files)
        result.unequal += counts
        if writer is not None and promised is not None and here.key == there.key:
            native = found.native[there.ref]
            hollow = compare_digests(promised[there.ref], native)
            if hollow:  # chunks with points that are equal in the target are written carefully
                _, careful = promise(writer, [here], source, files, careful=True)
                hollow = compare_digests(careful[there.ref], native)
            named = {difference.table for difference in differences}
            what = "not shown in the target as it should be"
            hidden = [(table, key) for table, key in hollow if table not in named]
            run = "/".join(here.ref)
            differences += [Difference(run, table, key, what) for table, key in hidden]
            result.unequal += [Unequal(run, table, key, hollow=True) for table, key in hidden]
        result.series += sum(place.series is not None for place in model[origin])
        result.series_equal += sum(
            place.series is not None and found.model[other].get(place) == digest
            for place, digest in model[origin].items()
        )
        if not differences:
            result.equal += 1
            result.digests[str(here.key)] = model.totals(origin)
        result.differences += differences
    return result


def _explain(
    source: Reader,
    target: Reader,
    here: RunInfo,
    there: RunInfo,
    unequal: list[tuple[str, str | None]],
    files: FileChoice,
) -> tuple[list[Difference], list[Unequal]]:
    """The values behind digests that differ, and how many; never empty if `unequal` is not."""
    differences: list[Difference] = []
    run, counts = "/".join(here.ref), dict[tuple[str, str | None], Unequal]()
    for table in sorted({table for table, _ in unequal}):
        keys = {key for name, key in unequal if name == table}
        before = rows_behind(source, here, table, keys, files)
        after = rows_behind(target, there, table, keys, WHOLE)
        found: list[Difference] = []
        for each in unlike_rows(table, before, after):
            key = (each.before or each.after or {}).get("key")
            counts.setdefault((table, key), Unequal(run, table, key)).add(each)
            found.append(
                Difference(run, table, _key(each.before or each.after or {}), _what(table, each))
            )
        if not found:
            found = [Difference(run, table, None, "digests differ")]
            counts[table, None] = Unequal(run, table, None, hollow=True)
        differences += found[:MOST_NAMED]
        if len(found) > MOST_NAMED:
            more = f"and {len(found) - MOST_NAMED} more values"
            differences.append(Difference(run, table, None, more))
    return differences, list(counts.values())


def rows_behind(
    reader: Reader, info: RunInfo, table: str, keys: set[str | None], choice: FileChoice
) -> dict[str, tuple[int, Row]]:
    """Digest -> (count, row) of the rows of one table of one run."""
    overlay, files = Overlay(reader, [info]), FileHashes(reader)
    rows: dict[str, tuple[int, Row]] = {}
    for batch in _batches(overlay, files, tables=[table], choice=choice):
        data = batch.data
        if table == "metrics":
            data = data.filter(pa.compute.is_in(data.column("key").cast(pa.string()), _set(keys)))
            digests = [f"{value:016x}" for value in point_hashes(data).tolist()]
        else:
            digests = [row_digest(table, row) for row in data.to_pylist()]
        for digest, row in zip(digests, _shown(data)):
            rows[digest] = (rows.get(digest, (0, row))[0] + 1, row)
    return rows


def _shown(data: pa.RecordBatch) -> list[Row]:
    """Rows for people; times that no calendar of Python's has as microseconds since 1970."""
    try:
        return data.to_pylist()  # type: ignore[no-any-return]
    except (OverflowError, ValueError):
        names, columns = data.schema.names, data.columns
        ticks = [c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in columns]
        return pa.RecordBatch.from_arrays(ticks, names=names).to_pylist()  # type: ignore[no-any-return]


def _set(keys: set[str | None]) -> pa.Array:
    return pa.array([key for key in keys if key is not None], pa.string())


def unlike_rows(
    table: str, before: dict[str, tuple[int, Row]], after: dict[str, tuple[int, Row]]
) -> Iterator[Unlike]:
    """Rows that are not the same, or not as often; those that are about the same thing together."""
    lost = [(d, row) for d, (n, row) in before.items() if n > after.get(d, (0, row))[0]]
    new = [(d, row) for d, (n, row) in after.items() if n > before.get(d, (0, row))[0]]
    partners: dict[Any, list[tuple[str, Row]]] = {}
    for digest, row in new:
        partners.setdefault(_name(table, row), []).append((digest, row))
    for digest, row in lost:
        others = partners.get(_name(table, row))
        if others:
            yield Unlike(row, others.pop(0)[1])
        else:
            yield Unlike(row, None, repeats=digest in after)
    for digest, row in (item for items in partners.values() for item in items):
        yield Unlike(None, row, repeats=digest in before)


def _what(table: str, unlike: Unlike) -> str:
    """In words."""
    before, after, repeats = unlike
    if before is None:
        return f"{'more times' if repeats else 'only'} in the target: {brief(after or {})}"
    if after is None:
        return f"{'fewer times in the target' if repeats else 'missing'}: {brief(before)}"
    changed = changed_columns(table, before, after)
    return "; ".join(f"{c}: {_text(before[c])} -> {_text(after.get(c))}" for c in changed)


def changed_columns(table: str, before: Row, after: Row) -> list[str]:
    """In which columns two rows differ, but for those that are true of one store alone."""
    return [c for c in before if not _same(before[c], after.get(c)) and not _is_local(table, c)]


def _same(one: Any, other: Any) -> bool:
    """Equal, or both NaN."""
    return bool(one == other or (one != one and other != other))


def _is_local(table: str, column: str) -> bool:
    return column in LABELS or (table, column) in LOCAL


def _name(table: str, row: Row) -> tuple[Any, ...]:
    """What rows have to have in common to be taken for the same one with other values."""
    if table == "runs":
        return ()
    names = ("key", "path", "step", "owner", "name", "collection", "version", "line", "title")
    return tuple(row.get(name) for name in names)


def _key(row: Row) -> str | None:
    for name in ("key", "path", "name", "collection", "title", "line"):
        if row.get(name) is not None:
            step = row.get("step")
            return str(row[name]) if step is None else f"{row[name]} at step {step}"
    return None


def brief(row: Row) -> str:
    """A row for people."""
    shown = {n: v for n, v in row.items() if v is not None and n not in LABELS}
    return ", ".join(f"{name}={_text(value)}" for name, value in shown.items())[:300]


def _text(value: Any) -> str:
    text = repr(value) if isinstance(value, (str, float)) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _ref(row: Row) -> RunRef:
    return RunRef(row["project"], row["run_id"])
