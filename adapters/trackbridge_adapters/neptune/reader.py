"""An export of Neptune, for reading."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from trackbridge.adapter import Batch, Capabilities, FileRef, Query, RunInfo, RunKey, RunRef
from trackbridge.columns import batches
from trackbridge.errors import NotFoundError
from trackbridge.optional import Excerpt
from trackbridge.schema import TABLES
from trackbridge_adapters.neptune import facts, registry, tables
from trackbridge_adapters.neptune.facts import Facts
from trackbridge_adapters.neptune.layout import native_errors, open_export
from trackbridge_adapters.neptune.reading import Reading
from trackbridge_adapters.neptune.store import Store

KIND = "neptune"
CAPABILITIES = Capabilities(
    holds={
        "projects": ("source", "extra"),
        "runs": (
            *("name", "status", "started", "ended", "user", "parent_run_id", "group", "notes"),
            *(
                "job_type",
                "deleted",
                "host",
                "program",
                "git_remote",
                "git_commit",
                "source",
                "extra",
            ),
        ),
        "models": ("created", "updated", "description", "extra"),
        "model_versions": (
            *("run_id", "stage", "status", "user", "created", "updated", "description", "extra"),
        ),
        "params": ("key", "path", "value", "type"),
        "tags": ("key", "value"),
        "metrics": ("key", "step", "time", "value", "system"),
        "series": ("key", "step", "time", "kind", "value", "path"),
        "logs": ("stream", "line", "time", "text"),
        "files": ("owner", "path", "size", "media_type"),
    },
    time_unit_us=1000,
    nan=True,
    largest=None,
    signed_zero=True,
    nul=True,
    gaps=True,
    repeated_points=True,
    parallel_files=True,
)


class Export:
    """What neptune-exporter wrote."""

    capabilities = CAPABILITIES

    def __init__(self, location: str) -> None:
        self.address = f"{KIND}:{location}"
        self._location = Path(location)
        self._store: Store | None = None

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        store = self._look()
        for refs in store.together():
            meant = [ref for ref in refs if _is_meant(ref, query)]
            with native_errors(self.address):
                infos = _infos(store, meant)
            for info in infos:
                if info.deleted and not query.include_deleted:
                    continue
                if not query.since or (info.started and info.started >= query.since):
                    yield info

    def read_runs(
        self, refs: Sequence[RunRef], tables: Collection[str] | None = None
    ) -> Iterator[Batch]:
        wanted = set(TABLES if tables is None else tables)
        store = self._found(refs)
        with native_errors(self.address):
            yield from Reading(store, refs).batches(wanted)

    def read_points(self, refs: Sequence[RunRef], excerpt: Excerpt) -> Iterator[Batch]:
        store = self._found(refs)
        with native_errors(self.address):
            yield from Reading(store, refs).metrics(excerpt)

    def read_shared(self, query: Query) -> Iterator[Batch]:
        store = self._look()
        meant = {
            name: counts
            for name, counts in store.not_read.items()
            if not query.projects or name in query.projects
        }
        known = [
            (ref, found)
            for ref, found in facts.scan(store.parts_of(store.models()), store.models()).items()
            if not query.projects or ref.project in query.projects
        ]
        yield from batches("models", registry.model_rows(known))
        yield from batches("model_versions", registry.version_rows(known))
        yield from batches("projects", tables.project_rows(meant, store.layout.data))

    def open_file(self, file: FileRef) -> BinaryIO:
        missing = NotFoundError(
            f"{self.address}: run {file.run.run_id} has no file"
            f" {'/'.join(filter(None, file[1:]))!r}"
        )
        store = self._store or self._look()
        if file.owner or file.run not in store.runs:
            raise missing
        with native_errors(self.address):
            path = store.contents(file.run).places.get(file.path)
            if path is None or not path.is_file():
                raise missing
            return path.open("rb")

    def _look(self) -> Store:
        """The store as it is now."""
        with native_errors(self.address):
            if self._store is None:
                self._store = Store(open_export(self._location, self.address))
            self._store.look()
        return self._store

    def _found(self, refs: Sequence[RunRef]) -> Store:
        store = self._look()
        for ref in refs:
            if ref not in store.runs:
                raise NotFoundError(
                    f"{self.address}: no run {ref.run_id!r} in project {ref.project!r}"
                )
        return store


def _is_meant(ref: RunRef, query: Query) -> bool:
    return (not query.projects or ref.project in query.projects) and (
        not query.run_ids or ref.run_id in query.run_ids
    )


def _infos(store: Store, refs: Sequence[RunRef]) -> list[RunInfo]:
    found = facts.scan(store.parts_of(refs), refs)
    return [_info(store, ref, found[ref]) for ref in refs]


def _info(store: Store, ref: RunRef, known: Facts) -> RunInfo:
    files = store.contents(ref, known)
    name = known.value("sys/id", "string")
    return RunInfo(
        ref=ref,
        key=RunKey(KIND, "", ref.project, ref.run_id),
        fingerprint=_fingerprint(store, ref, known),
        name=tables.name_of(ref, known),
        status=tables.status(known),
        started=tables.time_of(known, "sys/creation_time"),
        points=known.metrics + known.series,
        files=len(files.rows),
        size=files.size,
        deleted=tables.is_deleted(known),
        native_id=name if name != ref.run_id else None,
    )


def _fingerprint(store: Store, ref: RunRef, known: Facts) -> str:
    files = [(row["path"], row["size"]) for row in store.contents(ref, known).rows]
    copies = store.copies.get(ref, {}).values()
    every = [*known.parts.items(), *((p.path, p.state) for own in copies for p in own)]
    parts = sorted((path.name, state) for path, state in every)
    said = store.damage.get(ref), store.failures.get(ref)
    return hashlib.sha256(repr((parts, files, said)).encode()).hexdigest()[:32]
