"""Reads MLflow's databases, of any revision since 2019."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from trackbridge.adapter import STORE, FileRef, ItemRef, Query, RunInfo, RunRef
from trackbridge.errors import NotFoundError
from trackbridge.optional import Excerpt, ItemInfo
from trackbridge_adapters.mlflow import artifacts, models, sql_list, storage, store_files
from trackbridge_adapters.mlflow.session import Session, Store

if TYPE_CHECKING:
    from trackbridge.adapter import Batch


DEFAULT = "WHERE experiment_id = 0"
"""Condition on the experiment that every database of MLflow's has."""


class SqlReader:
    """A database of MLflow's; Arrow is imported when runs are read, not to list them."""

    def __init__(self, database: Store, artifact_root: str | None = None) -> None:
        self.address = f"mlflow:{database.address}"
        self.database = database
        self.capabilities = database.capabilities
        self.home = database.home
        self._artifact_root = artifact_root
        self._places: dict[tuple[str, str], str] = {}

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        with self.database.session() as session:
            infos = list(sql_list.runs(session, query, self.home))
        yield from infos

    def read_runs(
        self, refs: Sequence[RunRef], tables: Collection[str] | None = None
    ) -> Iterator[Batch]:
        from trackbridge_adapters.mlflow import sql_read

        with self.database.session() as session:
            yield from sql_read.runs(session, refs, tables, self.home)

    def read_points(self, refs: Sequence[RunRef], excerpt: Excerpt) -> Iterator[Batch]:
        from trackbridge_adapters.mlflow import sql_read

        with self.database.session() as session:
            yield from sql_read.points(session, refs, excerpt)

    def split(self, info: RunInfo, points: int) -> Sequence[str]:
        with self.database.session() as session:
            return session.pieces(info, points)

    def read_piece(self, ref: RunRef, piece: str) -> Iterator[Batch]:
        from trackbridge_adapters.mlflow import sql_read

        with self.database.session() as session:
            yield from sql_read.piece(session, ref, piece)

    def read_rest(self, ref: RunRef, *, sound: bool) -> Iterator[Batch]:
        from trackbridge_adapters.mlflow import sql_read

        with self.database.session() as session:
            yield from sql_read.rest(session, ref, self.home, sound=sound)

    def read_shared(self, query: Query) -> Iterator[Batch]:
        from trackbridge_adapters.mlflow import sql_shared

        with self.database.session() as session:
            yield from sql_shared.read(session, query)

    def list_items(
        self, kind: str, query: Query, ids: Collection[str] | None = None
    ) -> Iterator[ItemInfo]:
        from trackbridge_adapters.mlflow import sql_items

        with self.database.session() as session:
            infos = list(sql_items.listed(session, kind, query, ids, self.home))
        yield from infos

    def read_items(self, refs: Sequence[ItemRef]) -> Iterator[Batch]:
        from trackbridge_adapters.mlflow import sql_items

        with self.database.session() as session:
            yield from sql_items.read(session, refs, self.home)

    def not_read(self, query: Query) -> Mapping[str, int]:
        from trackbridge_adapters.mlflow import sql_left

        with self.database.session() as session:
            return sql_left.counted(session, query, self.home)

    def open_file(self, file: FileRef) -> BinaryIO:
        if file.run == STORE and not self.database.has_folder:
            return self._open_own(file)
        there = self._storage(file)
        data = None if there is None else there.opened(file.path)
        if data is None and self._places and not (there and there.exists()):
            self._places.clear()  # the run was written anew meanwhile
            there = self._storage(file)
            data = None if there is None else there.opened(file.path)
        if data is None:
            owner = file.owner if ItemRef.of(file) else f"run {file.run.run_id}"
            raise NotFoundError(f"{self.address}: {owner}: no file {file.path!r}")
        return data

    def artifact_root(self, session: Session) -> str:
        """Where new experiments get their folders: a path of this machine or a URI."""
        if self._artifact_root is not None:
            return self._artifact_root
        for (location,) in session.select("experiments", ["artifact_location"], DEFAULT):
            root, _, number = (location or "").rpartition("/")
            if number == "0" and isinstance(storage.find(location, self.home), storage.Elsewhere):
                return str(root)
        return str(self.store_folder(session))

    def store_folder(self, session: Session) -> Path:
        """Where the files of experiments lie: beside the default experiment's folder.

        Where that is not on this machine, what the database itself stands for.
        """
        from trackbridge_adapters.mlflow import roots

        places = [self.home / roots.PLAIN] if self.database.has_folder else []
        for (location,) in session.select("experiments", ["artifact_location"], DEFAULT):
            folder = artifacts.local(location, self.home)
            if folder and folder.name == "0" and folder.parent.parent.is_dir():
                places.insert(0, folder.parent)
        free = (place for place in places if not roots.is_in_store(place))
        return next(free, None) or self.database.own_root()

    def _open_own(self, file: FileRef) -> BinaryIO:
        with self.database.session() as session:
            content = store_files.read(session, file.path)
        if content is None:
            raise NotFoundError(f"{self.address}: no file {file.path!r}")
        return io.BytesIO(content)

    def _storage(self, file: FileRef) -> storage.Storage | None:
        """Where the files of the store, of an item, of a run or of its model lie."""
        item = ItemRef.of(file)
        if item is not None:
            from trackbridge_adapters.mlflow import sql_items

            with self.database.session() as session:
                return storage.find(sql_items.location(session, item), self.home)
        if file.run == STORE:
            with self.database.session() as session:
                return storage.Folder(self.store_folder(session))
        name = (file.run.run_id, file.owner)
        if name not in self._places:
            self._places = self._read_places()
        return storage.find(self._places.get(name), self.home)

    def _read_places(self) -> dict[tuple[str, str], str]:
        """Artifact URIs by run and owner, all at once: files are asked for in great numbers."""
        columns = ("source_run_id", "name", "model_id", "artifact_location")
        with self.database.session() as session:
            runs = session.select("runs", ["run_uuid", "artifact_uri"])
            made = session.select("logged_models", columns)
        places = {(run_id, ""): uri for run_id, uri in runs}
        places.update({(run, models.owner(name, id_)): uri for run, name, id_, uri in made})
        return places
