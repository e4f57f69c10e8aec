"""A store as it may leave: a reader that applies the rules to all that it gives.

It gives runs as they were where they were born, whatever their store keeps in a sidecar; nothing
of them is read but through the rules. Projects and runs keep their identity under names that may
leave, so exporting again joins with what was exported before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO, cast

from trackbridge import shared
from trackbridge.adapter import (
    Batch,
    Capabilities,
    FileRef,
    ItemRef,
    Query,
    Reader,
    Row,
    RunInfo,
    RunKey,
    RunRef,
)
from trackbridge.audit.redaction.files import (
    EDITED,
    WITHHELD,
    ChangedError,
    Files,
    Look,
    Unchanged,
)
from trackbridge.audit.redaction.ledger import Ledger, Place
from trackbridge.audit.redaction.rules import Rules, Salt
from trackbridge.audit.redaction.scrub import Scrubber
from trackbridge.audit.redaction.tables import Passage, Tables
from trackbridge.columns import batches, relabel
from trackbridge.errors import IntegrityError, NotFoundError
from trackbridge.losses import Losses
from trackbridge.optional import ItemInfo, ItemStore
from trackbridge.schema import ITEM_FILES, ITEMS
from trackbridge.sidecar import Overlay

NO_RUN = RunRef("", "")
OF_ITEM = {part: kind for kind, item in ITEMS.items() for part in item.parts}
"""Tables of what items are made of, and the kind of item."""
CONTENT = "content"
"""What the ledger calls the bytes of a file, instead of a table."""


@dataclass(frozen=True)
class Policy:
    """What is to be taken out. `people` and `hosts` are names that the records have."""

    rules: Rules
    salt: Salt
    people: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    """Credentials that were found somewhere, which are then looked for everywhere."""

    @property
    def rules_id(self) -> str:
        """Another one for other rules, or another salt."""
        return self.salt.digest(repr(self.rules))[:16]

    @property
    def id(self) -> str:
        """Another one for whatever gives other results."""
        names = [sorted(self.people), sorted(self.hosts), sorted(self.secrets)]
        return self.salt.digest(repr((self.rules_id, names)))[:16]


@dataclass
class Survey:
    """What was found before anything left."""

    runs: dict[RunRef, Ledger] = field(default_factory=dict)
    """By run, as it is called where it goes."""
    others: Ledger = field(default_factory=Ledger)
    """In what belongs to no run."""
    files: dict[FileRef, Look] = field(default_factory=dict)
    """By file, as it is called where it goes."""

    @property
    def ledger(self) -> Ledger:
        """Everything."""
        every = Ledger()
        for ledger in (self.others, *self.runs.values()):
            every += ledger
        for file, look in self.files.items():
            place = Place(CONTENT, *file.run, "/".join(filter(None, (file.owner, file.path))))
            every.add(place, look.hits)
        return every

    @property
    def opaque(self) -> list[FileRef]:
        """Files that leave as they are, since nobody can look into them."""
        return [file for file, look in self.files.items() if look.opaque]

    @property
    def withheld(self) -> list[FileRef]:
        return [file for file, look in self.files.items() if look.fate == WITHHELD]


class Redacted:
    """The store of a reader under a policy.

    With the survey that was made of it, nothing is given that the survey does not have: where the
    source has changed since in what is taken out, `IntegrityError` is raised for that run. Without
    one, it is for making it.
    """

    def __init__(self, policy: Policy, survey: Survey | None, reader: Reader) -> None:
        self.capabilities = Capabilities.everything(items=reader.capabilities.items)
        self.losses = Losses()
        """What the source holds and nobody reads."""
        self._survey, self._reader = survey, reader
        self._salt, self._policy_id = policy.salt, policy.id
        names = policy.people, policy.hosts, policy.secrets
        scrubber = Scrubber(policy.rules, policy.salt, *names)
        self._tables, self._files = Tables(scrubber), Files(scrubber)
        self.secrets = scrubber.secrets
        self.label = self._tables.label
        self.address = self.label(reader.address)  # references to files that stay there have it
        """A project, run or instance as it is called here."""
        self._natives: dict[RunRef, RunInfo] = {}
        self._ids: dict[str, str] = {}
        self._overlays: dict[RunRef, Overlay] = {}
        self._native_items: dict[ItemRef, ItemRef] = {}
        self._paths: dict[FileRef, FileRef] = {}
        """Where files are that were read, with the overlay's labels."""
        self.ledgers: dict[RunRef, Ledger] = {}
        """What was taken out of the runs that were read last, and of what belongs to none."""

    def query(self, query: Query) -> Query:
        """A query in the terms of the source, in those of this store."""
        named = set(query.run_ids)
        infos = self._reader.list_runs(Query()) if named else ()
        runs = {self.placed(i).ref.run_id for i in infos if i.ref.run_id in named}
        projects = [*map(self.label, query.projects)]
        return replace(query, projects=projects, run_ids=sorted(runs) if runs else query.run_ids)

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        wide = replace(query, projects=(), run_ids=())
        for info in self._reader.list_runs(wide):
            there = self.placed(info)
            if query.projects and there.ref.project not in query.projects:
                continue
            if query.run_ids and there.ref.run_id not in query.run_ids:
                continue
            yield there

    def placed(self, info: RunInfo) -> RunInfo:
        """A run of the source as it is listed here."""
        label = self.label
        key = RunKey(info.key.kind, *map(label, info.key[1:]))
        there = replace(
            info,
            ref=RunRef(label(info.ref.project), label(info.key.run_id)),
            key=key.placed(label(info.key.label)),
            fingerprint=self._salt.digest(f"{info.fingerprint} {self._policy_id}"),
            name=None if info.name is None else self._tables.text("runs", "name", info.name),
            native_id=None,
            carried=False,
        )
        known = self._natives.setdefault(there.ref, info)
        if known.ref != info.ref:
            raise IntegrityError(
                f"{self.address}: runs {'/'.join(known.ref)} and {'/'.join(info.ref)} would be "
                "called alike; export one of them"
            )
        return there

    def read_runs(
        self, refs: Sequence[RunRef], tables: Collection[str] | None = None
    ) -> Iterator[Batch]:
        infos = [self._native(ref) for ref in refs]
        overlay = Overlay(self._reader, infos)
        labels = {info.key.born: ref for info, ref in zip(infos, refs)}
        self._overlays = dict.fromkeys(refs, overlay)
        self._paths, passage = {}, self._tables.passage()
        for batch in overlay.read(tables):
            if batch.table == "files":
                yield from self._listed(batch, labels, passage)
            else:
                yield from passage.feed(Batch(batch.table, relabel(batch.data, labels)))
        yield from passage.finish()
        self.ledgers = passage.ledgers
        if self._survey is not None and tables is None:
            for ref in refs:
                self._check(ref)

    def _check(self, ref: RunRef) -> None:
        """Nothing is taken out that the ledger does not name."""
        survey = cast(Survey, self._survey)
        nothing = Ledger()
        found, told = self.ledgers.get(ref, nothing), survey.runs.get(ref, nothing)
        if found.digest() != told.digest():
            raise self._changed(ref)

    def _changed(self, ref: RunRef) -> IntegrityError:
        return IntegrityError(
            f"run {ref.run_id} has changed at the source since it was looked through; call again"
        )

    def _listed(
        self, batch: Batch, labels: Mapping[RunRef, RunRef], passage: Passage
    ) -> Iterator[Batch]:
        """Files as they are called where they go, without those that are withheld."""
        rows: list[Row] = []
        for row in batch.data.to_pylist():
            run = RunRef(row["project"], row["run_id"])
            named = passage.row("files", {**row, **labels[run]._asdict()})
            assert named is not None
            file = FileRef(labels[run], named["owner"] or "", named["path"])
            self._paths[file] = FileRef(run, row["owner"] or "", row["path"])
            if self._leaves(file, named):
                rows.append(named)
        yield from batches("files", rows)

    def _leaves(self, file: FileRef, row: Row) -> bool:
        """Whether a file may leave; what the row says of bytes that will be others is taken out."""
        look = None if self._survey is None else self._survey.files.get(file)
        if look is not None and look.fate == EDITED:
            row.update(size=None, sha256=None)
        return look is None or look.fate != WITHHELD

    def read_shared(self, query: Query) -> Iterator[Batch]:
        every = [(info.ref, info.key) for info in self._reader.list_runs(Query())]
        origins = shared.Origins(every)
        found = shared.read(self._reader, self._native_query(query), origins, self.losses)
        natives = {key.project: ref.project for ref, key in every}
        passage = self._tables.passage()
        for table, rows in sorted(found.items()):
            given = []
            for row in rows.values():
                row = dict(row)
                project: str | None = row.get("project")
                if project is not None:
                    row["project"] = self.label(natives.get(project) or project)
                if row.get("run_id") is not None:  # as it was born
                    row["run_id"] = self.label(row["run_id"])
                altered = passage.row(table, row)
                if altered is not None:
                    given.append(altered)
            yield from batches(table, given)
        self._note_others(passage)

    def list_items(
        self, kind: str, query: Query, ids: Collection[str] | None = None
    ) -> Iterator[ItemInfo]:
        if self._survey is not None and self._tables.drops(kind):
            return
        for info in self._items.list_items(kind, self._native_query(query), ids):
            yield replace(
                info,
                ref=self._item(info.ref),
                fingerprint=self._salt.digest(f"{info.fingerprint} {self._policy_id}"),
                run_id=None if info.run_id is None else self._run(info.run_id),
            )

    def read_items(self, refs: Sequence[ItemRef]) -> Iterator[Batch]:
        self._know_items(refs)
        natives = [self._native_items[ref] for ref in refs]
        passage = self._tables.passage()
        for batch in self._items.read_items(natives):
            given = []
            for row in batch.data.to_pylist():
                kind = OF_ITEM.get(batch.table) or row.get("kind") or batch.table
                if kind != batch.table and self._tables.drops(kind):
                    continue  # it goes with its item
                row["project"] = self.label(row["project"])
                if row.get("run_id"):
                    row["run_id"] = self._run(row["run_id"])
                altered = passage.row(batch.table, row)
                if altered is None:
                    continue
                if batch.table == ITEM_FILES:
                    ref = ItemRef(row["kind"], row["project"], altered["item_id"])
                    file = ref.file(altered["path"])
                    self._paths[file] = self._native_items[ref].file(row["path"])
                    if not self._leaves(file, altered):
                        continue
                given.append(altered)
            yield from batches(batch.table, given)
        self._note_others(passage)

    def _note_others(self, passage: Passage) -> None:
        """What was taken out of what belongs to no run, which has to be in the ledger too."""
        self.ledgers = passage.ledgers
        told = None if self._survey is None else self._survey.others
        if told is not None and not all(map(told.covers, self.ledgers.values())):
            raise IntegrityError(
                f"{self.address}: projects, models or traces have changed since they were looked "
                "through; call again"
            )

    def not_read(self, query: Query) -> Mapping[str, int]:
        return self._items.not_read(self._native_query(query))

    def open_file(self, file: FileRef) -> BinaryIO:
        data = self.original(file)
        if self._survey is None:
            return data
        look = self._survey.files.get(file)
        if look is None:
            data.close()
            raise self._changed(file.run)
        if look.fate == WITHHELD:
            data.close()
            raise NotFoundError(f"{self.address}: {file.path} is withheld")
        if look.fate == EDITED:
            with data:
                try:
                    return self._files.edited(self._paths[file].path, data, look)
                except ChangedError:
                    raise self._changed(file.run) from None
        return cast(BinaryIO, Unchanged(data, look.sha256, lambda: self._changed(file.run)))

    def original(self, file: FileRef) -> BinaryIO:
        """The bytes of a file as they are at the source."""
        if file not in self._paths:
            self._find(file)
        there = self._paths.get(file)
        if there is None:
            raise NotFoundError(f"{self.address}: no file {file.path!r}")
        if ItemRef.of(there) is not None:
            return self._reader.open_file(there)
        return self._overlays[file.run].open_file(there.run, there.owner, there.path)

    def look(self, file: FileRef) -> Look | None:
        """What is to become of a file; None where its bytes are missing."""
        try:
            data = self.original(file)
        except NotFoundError:
            return None
        with data:
            return self._files.look(self._paths[file].path, data)

    def _find(self, file: FileRef) -> None:
        item = ItemRef.of(file)
        if item is not None:
            for _ in self.read_items([item]):
                pass
        elif file.run != NO_RUN:
            for _ in self.read_runs([file.run], ["files"]):
                pass

    @property
    def _items(self) -> ItemStore:
        return cast(ItemStore, self._reader)

    def _run(self, native: str) -> str:
        """The id of a run of the source, as it is called here."""
        if not self._ids:
            self._ids = {i.ref.run_id: i.key.run_id for i in self._reader.list_runs(Query())}
        return self.label(self._ids.get(native, native))

    def _item(self, ref: ItemRef) -> ItemRef:
        label = self.label
        return ItemRef(ref.kind, label(ref.project), label(ref.id))

    def _know_items(self, refs: Collection[ItemRef]) -> None:
        missing = {ref.kind for ref in refs if ref not in self._native_items}
        for kind in missing:
            for info in self._items.list_items(kind, Query()):
                self._native_items[self._item(info.ref)] = info.ref

    def _native(self, ref: RunRef) -> RunInfo:
        if ref not in self._natives:
            for _ in self.list_runs(Query()):
                pass
        if ref not in self._natives:
            raise NotFoundError(f"{self.address}: no run {ref.run_id} in {ref.project}")
        return self._natives[ref]

    def _native_query(self, query: Query) -> Query:
        """A query in the terms of this store, in those of the source."""
        if not (query.projects or query.run_ids):
            return query
        if not self._natives:
            for _ in self.list_runs(Query()):
                pass
        projects, runs = set(query.projects), set(query.run_ids)
        refs = [(there, info.ref) for there, info in self._natives.items()]
        return replace(
            query,
            projects=sorted({r.project for t, r in refs if t.project in projects} or projects),
            run_ids=sorted({r.run_id for t, r in refs if t.run_id in runs} or runs),
        )
