"""What came from a source, is not found there any more, and is still in a target.

That it came from this source, and from no other one, only the receipts of the job say. Nothing is
claimed where a query leaves open what else the source has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import quote, unquote

from trackbridge import items, shared
from trackbridge.adapter import Query, Reader, RunInfo, RunKey, RunRef
from trackbridge.choose import EVERY_RUN, Chosen
from trackbridge.optional import ItemStore
from trackbridge.receipts import Receipt, Receipts
from trackbridge.retry import persist
from trackbridge.schema import NAMED_BY, SHARED
from trackbridge.shared_file import Name

NOBODY: Mapping[str, str] = {}


@dataclass(frozen=True)
class Gone:
    """Things of one kind by their names in the target; `kind` is a table of the run model.

    Those that are `marked` are still in the source, but marked as deleted.
    """

    kind: str
    names: list[str]
    marked: bool = False
    called: Mapping[str, str] = field(default_factory=dict)
    """Of runs, whose names are project and id: what people call them, where they have a name."""


@dataclass(frozen=True)
class Search:
    """Looks for what is gone of what the receipts `known` are of.

    Whole stores are looked into for more than runs, so this is done for calls that mean all.
    """

    known: Mapping[str, Receipt]
    meant: Chosen
    reader: Reader
    target: Reader

    def everything(
        self,
        here: Collection[tuple[RunRef, RunKey]],
        listed: Iterable[RunInfo],
        rows: shared.Rows,
        origins: shared.Origins,
        there: shared.Origins,
    ) -> list[Gone]:
        """What is gone of any kind; for the arguments see the methods for each."""
        return [*self.runs(here, listed), *self.rows(rows, origins, there), *self.items()]

    def runs(
        self, here: Collection[tuple[RunRef, RunKey]], there: Iterable[RunInfo]
    ) -> Iterator[Gone]:
        """Runs of the projects that are meant, out of all of the source and of the target.

        A run of the same id in another project of the source may be the same one: it is there.
        """
        query = self.meant.query
        there = [info for info in there if not info.deleted]
        living = {info.key: "/".join(info.ref) for info in there}
        called = {"/".join(info.ref): info.name for info in there if info.name}
        if self.meant.is_complete:
            present = {(key.kind, key.instance, key.run_id) for _, key in here}
            wanted = {key.project for ref, key in here if ref.project in query.projects}
            missing = (
                name
                for key, name in living.items()
                if str(key) in self.known
                and (key.kind, key.instance, key.run_id) not in present
                and (key.project in wanted or not query.projects)
            )
            yield from _named("runs", missing, called=called)
        marked = (living[info.key] for info in self.meant.deleted if info.key in living)
        yield from _named("runs", marked, marked=True, called=called)

    def rows(
        self, rows: shared.Rows, origins: shared.Origins, there: shared.Origins
    ) -> Iterator[Gone]:
        """Shared rows; `rows` are those of the source by their names in the target."""
        came = [(table, tuple(name)) for table, *name in self._came() if table in SHARED]
        if not came:
            return
        every = persist(lambda: shared.read(self.reader, EVERY_RUN, origins))
        ours = persist(lambda: shared.brought(self.target, there))
        births = persist(lambda: shared.renamed(self.target))
        for table in sorted(SHARED):
            names = {name for place, name in came if place == table} & ours[table]
            missing = names - every[table].keys() - rows[table].keys()
            missing = {n for n in missing if _born(table, n, births) not in every[table]}
            yield from _named(table, map(" ".join, missing))

    def items(self) -> Iterator[Gone]:
        """Items of kinds that both stores hold."""
        came = [(kind, name[-1]) for kind, *name in self._came()]
        for kind in items.kinds(self.reader):
            if kind in self.target.capabilities.items:
                names = {name for place, name in came if place == kind}
                missing = names - _ids(self.reader, kind, EVERY_RUN, names)
                still = _ids(self.target, kind, Query(include_deleted=False), missing)
                yield from _named(kind, still)

    def _came(self) -> Iterator[list[str]]:
        """The parts of the keys of all receipts, if all of the source is meant."""
        if self.meant.is_complete and not self.meant.query.projects:
            yield from ([unquote(part) for part in key.split("/")] for key in self.known)


def remember(
    receipts: Receipts,
    known: Set[str],
    rows: shared.Rows,
    target: Reader,
    there: shared.Origins,
) -> None:
    """Give receipts to shared rows of a source that were brought to the target, and have none."""
    new = {
        "/".join(quote(part, safe="") for part in (table, *name)): (table, name)
        for table, named in rows.items()
        for name in named
    }
    if new.keys() <= known:
        return
    ours = persist(lambda: shared.brought(target, there))
    keys = sorted(k for k, (table, name) in new.items() if k not in known and name in ours[table])
    if keys:
        chunk = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]
        receipts.add(chunk, [Receipt(key, "", "", {}) for key in keys])


def _born(table: str, name: Name, births: Mapping[str, str]) -> Name:
    """The name of a row where its project is called as where it was born."""
    parts = zip(NAMED_BY[table], name)
    return tuple(births.get(part, part) if column == "project" else part for column, part in parts)


def _ids(store: Reader, kind: str, query: Query, ids: Collection[str]) -> set[str]:
    """Those of some ids that items of a store have."""
    if not ids:
        return set()
    listed = cast(ItemStore, store).list_items
    return persist(lambda: {info.ref.id for info in listed(kind, query, ids)})


def _named(
    kind: str,
    names: Iterable[str],
    *,
    marked: bool = False,
    called: Mapping[str, str] = NOBODY,
) -> Iterator[Gone]:
    found = sorted(names)
    if found:
        yield Gone(kind, found, marked, {name: called[name] for name in found if name in called})
