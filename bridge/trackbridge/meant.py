"""The runs of a store that an analyst means, by the names they were born with, and their rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property, partial
from typing import Any

import pandas as pd

from trackbridge.adapter import Batch, FileRef, Query, Reader, Row, RunInfo, RunRef
from trackbridge.choose import EVERY_RUN, chosen, near
from trackbridge.columns import relabel
from trackbridge.errors import ConfigError, NotFoundError
from trackbridge.fit import holds_everything
from trackbridge.optional import Excerpt
from trackbridge.plan import chunked
from trackbridge.proof import FileHashes
from trackbridge.sidecar import Overlay

Name = str | tuple[str, str]
"""An id of a run, where ids repeat `project/id`, or project and id."""
Names = Name | Iterable[Name] | pd.DataFrame | pd.Series | pd.Index | None
LABELS = ["project", "run_id"]


@dataclass(frozen=True)
class Selection:
    """What was said of the runs: everything has to hold."""

    names: tuple[frozenset[Name], ...] = ()
    where: tuple[str, ...] = ()
    projects: tuple[frozenset[str], ...] = ()
    since: datetime | None = None
    include_deleted: bool = False

    def narrowed(
        self,
        runs: Names = None,
        where: str | None = None,
        project: str | Collection[str] | None = None,
        since: str | datetime | None = None,
        include_deleted: bool | None = None,
    ) -> Selection:
        """The same with more said."""
        projects = frozenset([project] if isinstance(project, str) else project or ())
        start = None if since is None else _moment(since)
        both = [time for time in (self.since, start) if time is not None]
        return Selection(
            self.names if runs is None else (*self.names, _names(runs)),
            self.where if where is None else (*self.where, where),
            self.projects if project is None else (*self.projects, projects),
            max(both) if both else None,
            self.include_deleted if include_deleted is None else include_deleted,
        )

    @property
    def is_empty(self) -> bool:
        """Whether no run can be meant: a list without names was given."""
        return not all((*self.names, *self.projects))

    @property
    def query(self) -> Query:
        """As much of it as a store is asked for: ids and projects that all have in common."""
        ids = [{n if isinstance(n, str) else n[1] for n in names} for names in self.names]
        plain = [some for some in ids if not any("/" in name for name in some)]
        return Query(
            sorted(frozenset.intersection(*self.projects)) if self.projects else (),
            sorted(plain[0]) if plain else (),
            self.since,
            self.include_deleted,
        )


def _moment(since: str | datetime) -> datetime:
    try:
        time = datetime.fromisoformat(since) if isinstance(since, str) else since
    except ValueError:
        raise ConfigError(f"since={since!r}: no time; write it like 2024-05-01T12:30") from None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def _names(runs: Names) -> frozenset[Name]:
    """What runs are called, out of what people have at hand: names, or a frame with such rows."""
    if isinstance(runs, pd.DataFrame):
        if {*LABELS} <= {*runs.columns}:
            return frozenset(zip(runs["project"].astype(str), runs["run_id"].astype(str)))
        runs = runs.index
    if isinstance(runs, pd.Series):  # a row of such a frame, or its ids
        label = tuple(runs[LABELS]) if {*LABELS} <= {*runs.index} else runs.name
        runs = [label] if _is_pair(label) else list(runs)  # type: ignore[list-item]
    if isinstance(runs, pd.Index):
        if not {*LABELS} <= {*runs.names}:
            raise ConfigError("runs=: a frame of runs has `project` and `run_id`, in its index too")
        pairs = zip(*(runs.get_level_values(name).astype(str) for name in LABELS))
        return frozenset((project, run) for project, run in pairs)
    if isinstance(runs, str) or _is_pair(runs):
        return frozenset([runs])  # type: ignore[list-item]
    given: Iterable[Any] = runs if isinstance(runs, Iterable) else [runs]
    names = [tuple(name) if isinstance(name, list) else name for name in given]
    for name in names:
        if not (isinstance(name, str) or _is_pair(name)):
            raise ConfigError(
                f"runs=: {name!r} names no run; name runs by id, by project/id, or give a frame of"
                " runs, or a row of it"
            )
    return frozenset(names)


def _is_pair(name: object) -> bool:
    """Project and run id, as rows of frames of runs are called."""
    return isinstance(name, tuple) and len(name) == 2 and all(isinstance(n, str) for n in name)


class Meant:
    """Runs of a store, each under a label (project and run id) that no other one has.

    It is that of its origin. Where two runs were born with the same one, in stores of which each
    gives its own ids, their ids are whole keys.
    """

    def __init__(
        self,
        reader: Reader,
        infos: Sequence[RunInfo],
        listed: Iterable[RunInfo] = (),
        deleted: int = 0,
    ) -> None:
        """`listed` are these runs and others, from whose labels theirs have to differ."""
        self.reader = reader
        self.infos = infos
        self.deleted = deleted
        """Runs that are left out since they are marked as deleted."""
        self._last: tuple[tuple[RunInfo, ...], Overlay] | None = None
        often = Counter(info.key.born for info in listed)
        self.labels = {info.ref: _label(info, often) for info in infos}
        self.here = {label: ref for ref, label in self.labels.items()}
        """Where each run lies in this store."""

    @classmethod
    def of(cls, reader: Reader, selection: Selection) -> Meant:
        """The runs of a selection; `NotFoundError` for a project or run that is not there."""
        if selection.is_empty:
            return cls(reader, [])
        where = " and ".join(selection.where) or None
        query = selection.query
        try:
            found = chosen(reader, query, where)
        except NotFoundError:
            query = replace(query, projects=_native_projects(reader, query.projects))
            found = chosen(reader, query, where)
        infos = found.runs
        for names in selection.names:
            infos = _named(reader, infos, names, strict=not where)
        return cls(reader, infos, found.listed, len(found.deleted))

    @property
    def refs(self) -> list[RunRef]:
        """The labels, in their order."""
        return sorted(self.here)

    @cached_property
    def names(self) -> Mapping[RunRef, str | None]:
        """Names of the runs, by label."""
        exact = holds_everything(self.reader.capabilities)
        names = {self.labels[info.ref]: info.name for info in self.infos}
        others = [info for info in self.infos if info.carried and not exact]
        for overlay, labels in self._overlays(others):
            for batch in overlay.read(["runs"]):
                for row in _labelled(batch, labels).data.to_pylist():
                    names[RunRef(row["project"], row["run_id"])] = row["name"]
        return names

    def read(self, tables: Collection[str], *, hashes: bool = False) -> Iterator[Batch]:
        """The rows of small tables; with `hashes`, files with size and digest of their bytes."""
        files = FileHashes(self.reader)
        for overlay, labels in self._overlays(self.infos):
            for batch in overlay.read(tables):
                if batch.table in tables:
                    parts = files.filled(batch, partial(_place, overlay)) if hashes else [batch]
                    yield from (_labelled(part, labels) for part in parts)

    def read_points(self, excerpt: Excerpt) -> Iterator[Batch]:
        """The rows of `metrics` in an excerpt."""
        for overlay, labels in self._overlays(self.infos):
            for batch in overlay.read_points(excerpt):
                yield _labelled(batch, labels)

    def only(self) -> RunInfo:
        """The one run that is meant."""
        if len(self.infos) != 1:
            several = ", ".join("/".join(label) for label in self.refs)
            raise NotFoundError(f"{self.reader.address}: several runs; say which one: {several}")
        (info,) = self.infos
        return info

    def told(self, most: int) -> str:
        """How many there are, in words."""
        projects = Counter(label.project for label in self.labels.values())
        shown = ", ".join(f"{name} ({count:,})" for name, count in projects.most_common(most))
        more = f" and {len(projects) - most:,} more" if len(projects) > most else ""
        left = f"; {self.deleted:,} deleted left out" if self.deleted else ""
        runs = f"{len(self.infos):,} {'run' if len(self.infos) == 1 else 'runs'}"
        return f"{runs} in {shown}{more}{left}" if self.infos else f"no runs{left}"

    def _overlays(
        self, infos: Sequence[RunInfo]
    ) -> Iterator[tuple[Overlay, Mapping[RunRef, RunRef]]]:
        """Runs in chunks, and how runs of each are called that are not called by birth.

        Runs that have no sidecar are all in one, so that the store is asked for them once. The
        last chunk's sidecars are kept: where it is the only one, they are loaded once.
        """
        bare = holds_everything(self.reader.capabilities)
        plain = [info for info in infos if bare or not info.carried]
        together = len({info.key.born for info in plain}) == len(plain)
        parts = [tuple(plain)] if plain and together else [c.runs for c in chunked(plain)]
        parts += [c.runs for c in chunked(i for i in infos if i.carried and not bare)]
        for runs in parts:
            labels = {info.key.born: self.labels[info.ref] for info in runs}
            renamed = {born: label for born, label in labels.items() if born != label}
            if self._last is None or self._last[0] != runs:
                self._last = runs, Overlay(self.reader, runs)
            yield self._last[1], renamed


def _label(info: RunInfo, often: Mapping[RunRef, int]) -> RunRef:
    born = info.key.born
    return born if often[born] < 2 else RunRef(born.project, str(info.key))


def _place(overlay: Overlay, row: Row) -> FileRef:
    return overlay.locate(RunRef(row["project"], row["run_id"]), row["owner"], row["path"])


def _labelled(batch: Batch, labels: Mapping[RunRef, RunRef]) -> Batch:
    return Batch(batch.table, relabel(batch.data, labels)) if labels else batch


def _native_projects(reader: Reader, projects: Collection[str]) -> list[str]:
    """Projects in the store's own terms: they may be named as runs in them were born."""
    native: dict[str, set[str]] = {}
    for info in reader.list_runs(EVERY_RUN):
        native.setdefault(info.key.project, set()).add(info.ref.project)
    return sorted({name for project in projects for name in native.get(project, {project})})


def _named(
    reader: Reader, infos: Sequence[RunInfo], names: frozenset[Name], *, strict: bool
) -> list[RunInfo]:
    """Those of the runs that are called so; `strict`: each of the names has to be one's."""
    found = [info for info in infos if not names.isdisjoint(_called(info))]
    vain = sorted(map(str, names - {name for info in found for name in _called(info)}))
    if vain and strict:
        there = near(vain[0], {info.ref.run_id for info in infos})
        raise NotFoundError(f"{reader.address}: no run {vain[0]}; there are {there}")
    return found


def _called(info: RunInfo) -> set[Any]:
    """All that a run may be named by."""
    pairs = {info.ref, info.key.born, RunRef(info.key.project, str(info.key))}
    return {*info.ids, *pairs, *map("/".join, pairs)}
