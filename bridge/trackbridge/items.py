"""Moves items: what belongs to projects and not to runs, kind by kind, in chunks, with proof.

Items have no sidecar: a target holds a kind whole or not at all, and what it does not hold is
named, never dropped in silence. They keep their ids, so a second migration hits the same ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import cast

from trackbridge.adapter import ItemRef, Query, Reader, Row, RunKey, Sink, Writer
from trackbridge.columns import batches
from trackbridge.digest import ZERO, Digest, labelled
from trackbridge.errors import BridgeError, ConfigError, NotFoundError, TransientError
from trackbridge.losses import Loss, Losses
from trackbridge.optional import ItemInfo, ItemStore
from trackbridge.proof import Difference, Hashing, Tally, hashed
from trackbridge.receipts import Receipt, Receipts
from trackbridge.retry import persist
from trackbridge.schema import ITEM_FILES, ITEMS
from trackbridge.shared import Origins

CHUNK_ITEMS = 1000
CHUNK_ROWS = 20_000
"""What is written and proven together: small enough that the rows of its small tables fit."""

DIFFERS = "not in the target as in the source"
MISSING = "not in the target"
GONE = "was deleted at the source while it was moved; call again"

Tables = dict[str, Digest]
"""Digest of each table of an item."""


class Labels:
    """Projects and runs of items under the names of the source, of their birth, of the target.

    `named` gives the other name that a native project of the source is to have in the target, which
    then stands for the one at birth; None: there is no other.
    """

    def __init__(
        self,
        here: Origins,
        writer: Writer | None,
        there: Origins,
        named: Callable[[str], str | None] = lambda native: None,
    ) -> None:
        self._here, self._writer, self._there, self._named = here, writer, there, named
        self._natives: dict[str, str] = {}
        self._births: dict[str, str] = {}

    def born(self, row: Row) -> Row:
        """A row of the source under the names that its project and run were born with."""
        return _renamed(row, self._born, self._here.run)

    def native(self, row: Row) -> Row:
        """A row, under the names of its birth, as it is labelled in the target."""
        return _renamed(row, self._native, self._run)

    def back(self, row: Row) -> Row:
        """A row of the target under the names of birth; those of the source were asked for."""
        return _renamed(row, self._back, self._there.run)

    def ref(self, ref: ItemRef) -> ItemRef:
        """Where an item of the source is in the target."""
        return ref._replace(project=self._native(self._born(ref.project)))

    def _born(self, project: str) -> str:
        name = self._named(project) or self._here.project(project)
        self._native(name)
        return name

    def _native(self, born: str) -> str:
        if born not in self._natives:
            native = born
            if born and self._writer is not None:
                key = self._here.born_projects.get(born, RunKey("", "", born, ""))
                native = self._writer.target(self._here.placed.get(born, key)).project
            self._natives[born], self._births[native] = native, born
        return self._natives[born]

    def _back(self, project: str) -> str:
        return self._births.get(project) or self._there.project(project)

    def _run(self, born: str) -> str:
        key = self._here.born_runs.get(born)
        return born if key is None or self._writer is None else self._writer.target(key).run_id


def _renamed(row: Row, project: Callable[[str], str], run: Callable[[str], str]) -> Row:
    row = {**row, "project": project(row["project"])}
    if row.get("run_id"):
        row["run_id"] = run(row["run_id"])
    if row.get("projects"):
        names = [project(name) for name in json.loads(row["projects"])]
        row["projects"] = json.dumps(names, ensure_ascii=False)
    return row


def kinds(store: Reader) -> list[str]:
    """The kinds of items that a store holds, in the order in which they are moved."""
    return [kind for kind in ITEMS if kind in store.capabilities.items]


def counted(
    reader: Reader, writer: Writer, query: Query, labels: Labels, receipts: Receipts
) -> dict[str, int]:
    """How many items of each kind are not proven to be in the target in their present state."""
    numbers: dict[str, int] = {}
    for mover in _movers(reader, writer, labels, receipts):
        numbers[mover.kind] = sum(map(len, mover.sort(query)))
    return {kind: number for kind, number in numbers.items() if number}


def left_behind(reader: Reader, writer: Reader, query: Query) -> list[Loss]:
    """What is in the source and will not be in the target: of items, and of what nobody reads."""
    losses = Losses()
    if not kinds(reader):
        return []
    store = cast(ItemStore, reader)
    for kind in kinds(reader):
        if kind not in writer.capabilities.items:
            refs = [info.ref for info in store.list_items(kind, query)]
            example = refs[0].project or refs[0].id if refs else ""
            losses.add(f"{ITEMS[kind].words} not moved", example, len(refs), kept=False)
    for what, number in store.not_read(query).items():
        losses.add(f"{what} not moved", "", number, kept=False)
    return losses.list()


def move(
    reader: Reader, writer: Writer, query: Query, labels: Labels, receipts: Receipts
) -> dict[str, Tally]:
    """Bring the items that a query means to the target; those that are proven there are skipped."""
    return {mover.kind: mover.run(query) for mover in _movers(reader, writer, labels, receipts)}


def _movers(reader: Reader, writer: Writer, labels: Labels, receipts: Receipts) -> Iterator[_Mover]:
    """One for each kind that both stores hold."""
    held = [kind for kind in kinds(reader) if kind in writer.capabilities.items]
    known = receipts.latest() if held else {}
    for kind in held:
        yield _Mover(cast(ItemStore, reader), writer, kind, labels, receipts, known)


def compare(reader: Reader, other: Reader, query: Query, labels: Labels) -> dict[str, Tally]:
    """Compare the items that a query means with those of the same ids in another store."""
    found: dict[str, Tally] = {}
    for kind in kinds(reader):
        source = cast(ItemStore, reader)
        infos = persist(partial(_listed, source, kind, query))
        tally = found[kind] = Tally(total=len(infos), held=kind in other.capabilities.items)
        if tally.held:
            for chunk in _chunked(infos):
                unlike = _unlike(source, cast(ItemStore, other), chunk, labels)
                tally.failures += sorted(unlike.items())
                tally.equal += len(chunk) - len(unlike)
    return found


def _listed(store: ItemStore, kind: str, query: Query) -> list[ItemInfo]:
    return list(store.list_items(kind, query))


def differences(tallies: Mapping[str, Tally]) -> Iterator[Difference]:
    """What a comparison has found to differ."""
    for kind, tally in tallies.items():
        yield from (Difference("", kind, name, what) for name, what in tally.failures)


def _unlike(
    reader: ItemStore, other: ItemStore, infos: Sequence[ItemInfo], labels: Labels
) -> dict[str, str]:
    """Ids of items that are not the same in both stores, with the reason."""
    try:
        refs = [info.ref for info in infos]
        here = persist(lambda: digests(reader, refs, labels.born))
        there = persist(lambda: digests(other, list(map(labels.ref, refs)), labels.back))
    except (ConfigError, TransientError):
        raise
    except BridgeError as error:
        if len(infos) == 1:
            return {infos[0].ref.id: str(error)}
        middle = len(infos) // 2
        halves = [_unlike(reader, other, half, labels) for half in (infos[:middle], infos[middle:])]
        return halves[0] | halves[1]
    return {name: _reason(here[name], there.get(name)) for name in _differing(here, there)}


def _differing(here: Mapping[str, Tables], there: Mapping[str, Tables]) -> list[str]:
    return [name for name, tables in here.items() if there.get(name) != tables]


def _reason(expected: Tables, found: Tables | None) -> str:
    if not found:
        return MISSING
    tables = sorted(t for t in {*expected, *found} if expected.get(t) != found.get(t))
    return f"{DIFFERS} ({', '.join(tables)})"


def digests(
    store: ItemStore, refs: Sequence[ItemRef], named: Callable[[Row], Row]
) -> dict[str, Tables]:
    """The digest of each table of some items of one kind, with the bytes of their files."""
    sums = _Sums()
    for batch in store.read_items(refs):
        rows = [named(row) for row in batch.data.to_pylist()]
        if batch.table == ITEM_FILES:
            for row, native in zip(rows, batch.data.to_pylist()):
                row.update(_bytes_of(store, native))
        sums.add(batch.table, rows)
    return sums.tables


def _bytes_of(store: ItemStore, row: Row) -> Row:
    try:
        with store.open_file(_owner(row).file(row["path"])) as data:
            size, sha256 = hashed(data)
    except NotFoundError:
        return {"sha256": None}
    return {"size": size, "sha256": sha256}


def _owner(row: Row) -> ItemRef:
    """The item that a row of `item_files` belongs to."""
    return ItemRef(row["kind"], row["project"], row["item_id"])


class _Sums:
    """Digests of items, fed row by row."""

    def __init__(self) -> None:
        self.tables: dict[str, Tables] = {}

    def add(self, table: str, rows: Iterable[Row]) -> None:
        for batch in batches(table, rows):
            for (name,), digest in labelled(batch, id_column(table)).items():
                tables = self.tables.setdefault(name, {})
                tables[table] = tables.get(table, ZERO) + digest


def id_column(table: str) -> str:
    """The column of a table of items that names the item."""
    if table == ITEM_FILES:
        return "item_id"
    return next(i.id for kind, i in ITEMS.items() if table in (kind, *i.parts))


def _chunked(infos: Iterable[ItemInfo]) -> Iterator[list[ItemInfo]]:
    part: list[ItemInfo] = []
    rows = 0
    for info in infos:
        rows += info.rows
        if part and (len(part) == CHUNK_ITEMS or rows > CHUNK_ROWS):
            yield part
            part, rows = [], info.rows
        part.append(info)
    if part:
        yield part


class _Mover:
    """The items of one kind on their way from a store to another."""

    def __init__(
        self,
        reader: ItemStore,
        writer: Writer,
        kind: str,
        labels: Labels,
        receipts: Receipts,
        known: Mapping[str, Receipt],
    ) -> None:
        self._reader, self._writer, self.kind = reader, writer, kind
        self._target = cast(ItemStore, writer)
        self._labels, self._receipts, self._known = labels, receipts, known
        self._there: Mapping[str, str] = {}
        """Fingerprints of what is in the target."""
        self._tally = Tally()

    def run(self, query: Query) -> Tally:
        waiting, doubtful = self.sort(query)
        for chunk in _chunked(doubtful):
            waiting += self._examine(chunk)
        for chunk in _chunked(waiting):
            self._move(chunk)
        return self._tally

    def sort(self, query: Query) -> tuple[list[ItemInfo], list[ItemInfo]]:
        """The items that have to be moved, and those in the target that have to be looked at."""
        infos = persist(lambda: _listed(self._reader, self.kind, query))
        self._there = persist(lambda: self._fingerprints(None)) if infos else {}
        self._tally.total = len(infos)
        waiting, doubtful = [], []
        for info in infos:
            receipt, found = self._known.get(self._key(info)), self._there.get(info.ref.id)
            if found is None or (receipt and receipt.fingerprint != info.fingerprint):
                waiting.append(info)
            elif receipt is None or receipt.target != found:
                doubtful.append(info)
            else:
                self._tally.skipped += 1
        return waiting, doubtful

    def _examine(self, chunk: list[ItemInfo]) -> list[ItemInfo]:
        """Those of some items that are in the target which have to be moved again."""
        unlike = _unlike(self._reader, self._target, chunk, self._labels)
        equal = [info for info in chunk if info.ref.id not in unlike]
        self._keep(equal)
        self._tally.skipped += len(equal)
        again = []
        for info in (info for info in chunk if info.ref.id in unlike):
            if self._key(info) in self._known:
                why = "was changed in the target after it was proven; left as it is"
                self._tally.failures.append((info.ref.id, why))
            else:
                again.append(info)
        return again

    def _move(self, chunk: list[ItemInfo]) -> None:
        """Move a chunk; one that fails is halved until the item at fault stands alone."""
        try:
            unlike = persist(lambda: self._pass(chunk))
        except ConfigError:
            raise
        except TransientError as error:
            self._tally.failures += [(info.ref.id, str(error)) for info in chunk]
            return
        except BridgeError as error:
            if len(chunk) == 1:
                self._tally.failures.append((chunk[0].ref.id, str(error)))
                return
            middle = len(chunk) // 2
            for half in (chunk[:middle], chunk[middle:]):
                self._move(half)
            return
        self._tally.failures += sorted(unlike.items())
        proven = [info for info in chunk if info.ref.id not in unlike]
        self._keep(proven)
        self._tally.updated += sum(info.ref.id in self._there for info in proven)
        self._tally.copied += sum(info.ref.id not in self._there for info in proven)

    def _pass(self, chunk: Sequence[ItemInfo]) -> dict[str, str]:
        """Write a chunk and read it back; ids of what is not as it should be, and why."""
        refs = [info.ref for info in chunk]
        expected = _Sums()
        with self._writer.open([]) as sink:
            for batch in self._reader.read_items(refs):
                rows = [self._labels.born(row) for row in batch.data.to_pylist()]
                if batch.table == ITEM_FILES:
                    natives = batch.data.to_pylist()
                    rows = [self._copied(sink, n, row) for n, row in zip(natives, rows)]
                expected.add(batch.table, rows)
                for native in batches(batch.table, map(self._labels.native, rows)):
                    sink.write(native)
            sink.commit()
        found = digests(self._target, list(map(self._labels.ref, refs)), self._labels.back)
        gone = {ref.id: GONE for ref in refs if ref.id not in expected.tables}
        return gone | {
            name: _reason(expected.tables[name], found.get(name))
            for name in _differing(expected.tables, found)
        }

    def _copied(self, sink: Sink, native: Row, row: Row) -> Row:
        """A row of `item_files` with what its bytes are, which are copied."""
        try:
            data = self._reader.open_file(_owner(native).file(native["path"]))
        except NotFoundError:
            return {**row, "sha256": None}
        with data:
            hashing = Hashing(data)
            place = _owner(self._labels.native(row)).file(row["path"])
            sink.put_file(place, hashing)  # type: ignore[arg-type]
        return {**row, "size": hashing.size, "sha256": hashing.state.hexdigest()}

    def _keep(self, proven: Sequence[ItemInfo]) -> None:
        """Receipts for items that are in the target as they are in the source."""
        if not proven:
            return
        targets = persist(lambda: self._fingerprints([info.ref.id for info in proven]))
        state = hashlib.sha256()
        receipts = []
        for info in proven:
            key = self._key(info)
            state.update(f"{key}\n{info.fingerprint}\n".encode())
            receipts.append(Receipt(key, info.fingerprint, targets.get(info.ref.id, ""), {}))
        self._receipts.add(state.hexdigest()[:16], receipts)

    def _fingerprints(self, ids: Collection[str] | None) -> dict[str, str]:
        listed = self._target.list_items(self.kind, Query(), ids)
        return {info.ref.id: info.fingerprint for info in listed}

    def _key(self, info: ItemInfo) -> str:
        born = self._labels.born({"project": info.ref.project})
        return str(info.ref._replace(project=born["project"]))
