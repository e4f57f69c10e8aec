"""Writes runs into a database of MLflow's, a chunk in one transaction."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import pyarrow as pa

from trackbridge.adapter import (
    STORE,
    Batch,
    FileRef,
    ItemRef,
    Presentation,
    Query,
    Row,
    RunInfo,
    RunKey,
    RunRef,
)
from trackbridge.errors import NotFoundError
from trackbridge.optional import ItemInfo, Twin
from trackbridge.schema import ITEM_TABLES
from trackbridge_adapters.mlflow import (
    artifacts,
    chunk,
    head,
    roots,
    sql_items,
    sql_link,
    sql_models,
    sql_registry,
    sql_rows,
    storage,
    store_files,
    translate,
)
from trackbridge_adapters.mlflow.entities import (
    KEY_TAG,
    key_text,
)
from trackbridge_adapters.mlflow.experiments import Experiments
from trackbridge_adapters.mlflow.session import IN, Store
from trackbridge_adapters.mlflow.sql import SqlReader
from trackbridge_adapters.mlflow.sql_items import Items
from trackbridge_adapters.mlflow.sql_points_write import Points
from trackbridge_adapters.mlflow.staging import Files, Name, Staging
from trackbridge_adapters.mlflow.upload import Upload

FOLDER = re.compile(r"artifacts(\.\d+)?")
"""Name of a folder that was claimed for files."""

RUN_TABLES = ("metrics", "latest_metrics", "params", "tags")


class SqlWriter(SqlReader):
    """A database of MLflow's that may not exist yet."""

    def __init__(self, database: Store, artifact_root: str | None = None) -> None:
        super().__init__(database, artifact_root)
        if artifact_root is not None:
            _check_root(artifact_root, database)
        if not head.has_models():
            tables = self.capabilities.holds.items()
            holds = {table: columns for table, columns in tables if table != "artifacts"}
            self.capabilities = replace(self.capabilities, holds=holds)
        held = (k for k in self.capabilities.items if head.has_tables(sql_items.NEEDS[k]))
        self.capabilities = replace(self.capabilities, items=tuple(held))

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        return super().list_runs(query) if self.database.exists() else iter(())

    def read_shared(self, query: Query) -> Iterator[Batch]:
        return super().read_shared(query) if self.database.exists() else iter(())

    def list_items(
        self, kind: str, query: Query, ids: Collection[str] | None = None
    ) -> Iterator[ItemInfo]:
        return super().list_items(kind, query, ids) if self.database.exists() else iter(())

    def read_items(self, refs: Sequence[ItemRef]) -> Iterator[Batch]:
        return super().read_items(refs) if self.database.exists() else iter(())

    @property
    def advice(self) -> str:
        if not self.database.exists():
            return ""
        with self.database.session() as session:
            root = self.artifact_root(session)
        return f"the files are in {root}, to which the database refers by absolute paths"

    def target(self, key: RunKey) -> RunRef:
        return translate.target(key)

    def present(self, key: RunKey, tables: Mapping[str, list[Row]]) -> Presentation:
        parent = translate.parent_of(key, tables)
        return translate.present(key, tables, parent, has_models=head.has_models())

    def place(self, key: RunKey) -> Twin:
        ref = self.target(key)
        if not self.database.exists():
            raise NotFoundError(f"{self.database.name}: no such database")
        with self.database.session() as session:
            sql_link.check(session, ref, key)
        return Twin(self.address, ref.project, ref.run_id)

    def link(self, key: RunKey, twins: Sequence[Twin]) -> None:
        sql_link.link(self.database, self.target(key), key, twins)

    def open(self, keys: Sequence[RunKey]) -> SqlSink:
        return self._sink(SqlSink, keys)

    def extend(self, keys: Sequence[RunKey]) -> SqlSink:
        from trackbridge_adapters.mlflow.sql_extend import SqlExtension

        return self._sink(SqlExtension, keys)

    def _sink(self, kind: type[SqlSink], keys: Sequence[RunKey]) -> SqlSink:
        database = self.database
        if not database.exists():
            root = self._artifact_root or str(database.new_root())
            _check_root(root, database)
            database.create(root)
        with database.session() as session:
            found = [row[0] for row in session.select("alembic_version", ["version_num"])]
            root = self.artifact_root(session)
            of_store = self.store_folder(session) if database.has_folder else None
        head.check(database, found[0] if found else None)
        _check_root(root, database)
        sink = kind(database, root, of_store, {self.target(key): key for key in keys})
        sink.on_commit = self._places.clear
        return sink


class SqlSink:
    """A chunk being written: the database is locked for our other writers until it ends."""

    def __init__(
        self,
        database: Store,
        root: str,
        of_store: Path | None,
        keys: Mapping[RunRef, RunKey],
    ) -> None:
        """`of_store`: the folder of files that belong to no run, where they lie in one."""
        self._name, self._root, self._of_store = database.name, root, of_store
        self._keys = keys
        self._points = Points()
        self._rows: dict[str, list[Row]] = defaultdict(list)
        self._own_files: dict[str, bytes] = {}
        elsewhere = storage.is_elsewhere(root)
        self._staging: Files = Upload(database) if elsewhere else Staging(Path(root), database)
        self._items: Items | None = None
        self.on_commit: Callable[[], None] = lambda: None
        self._transaction = database.transaction()
        try:
            self._check()
            self._staging.sweep(self._transaction)
            self._begin()
        except BaseException:
            self._transaction.close()
            raise

    def __enter__(self) -> SqlSink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._transaction.close()
        finally:
            self._staging.finish()

    def write(self, batch: Batch) -> None:
        if batch.table == "metrics":
            self._insert("metrics", self._points.add(batch.data))
        elif batch.table in ITEM_TABLES:
            self._of_items().write(batch)
        else:
            self._rows[batch.table] += batch.data.to_pylist()

    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        if ItemRef.of(file) is not None:
            self._staging.put(self._of_items().name(file), file.path, data)
            return
        if file.run == STORE:
            artifacts.inside(Path(), file.path)
            self._own_files[file.path] = data.read()
            return
        chunk.check_meant(self._name, file.run, self._keys)
        name = (file.run.run_id, file.owner)
        self._staging.put(name, file.path, data)
        link = None if file.owner else artifacts.thumbnail(file.path)
        if link is not None:
            self._staging.link(name, file.path, link)

    def commit(self) -> Mapping[RunKey, RunRef]:
        self._experiments.write(self._rows["projects"])
        sql_registry.write(self._transaction, self._rows["models"], self._rows["model_versions"])
        folders = sql_rows.write_runs(
            self._transaction, self._experiments, self._keys, self._rows, self._staging
        )
        self._transaction.insert("tags", self._twins)
        self._insert("metrics", self._points.rest())
        self._insert("latest_metrics", self._points.latest())
        if self._items is not None:
            self._items.place()
            self._staging.replaces(_own(self._items.old))
        moved = {uri: folders[name] for name, uri in self._old.items() if name in folders}
        sql_registry.follow(self._transaction, moved)
        self._staging.replaces(_own(self._old.values()))
        self._staging.place()
        for path, content in self._own_files.items():
            if self._of_store is None:
                store_files.write(self._transaction, path, content)
            else:
                store_files.write_beside(self._of_store, path, content)
        self._transaction.commit()
        self.on_commit()
        return {key: ref for ref, key in self._keys.items()}

    @cached_property
    def _experiments(self) -> Experiments:
        return Experiments(self._transaction, self._root)

    def _of_items(self) -> Items:
        if self._items is None:
            self._items = Items(self._transaction, self._experiments, self._staging)
        return self._items

    def _insert(self, table: str, rows: pa.Table | None) -> None:
        if rows is not None:
            self._transaction.ingest(table, rows)

    def _check(self) -> None:
        """`IntegrityError` where one of the ids belongs to another run."""
        chunk.check_distinct(self._name, self._keys)
        keys = {ref.run_id: key_text(key) for ref, key in self._keys.items()}
        there = self._transaction.fetch(
            "SELECT r.run_uuid, t.value FROM runs r"
            f" LEFT JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = '{KEY_TAG}'"
            f" WHERE r.run_uuid {IN}",
            [json.dumps(list(keys))],
        )
        for run_id, key in there:
            chunk.check_origin(self._name, run_id, key, keys[run_id])

    def _begin(self) -> None:
        self._twins = sql_link.kept(
            self._transaction, json.dumps([ref.run_id for ref in self._keys])
        )
        self._old = self._clear()
        self._transaction.reserve([ref.run_id for ref in self._keys])

    def _clear(self) -> dict[Name, str]:
        """Removes what is there of the runs; gives where the files of runs and models lie."""
        transaction, runs = self._transaction, [ref.run_id for ref in self._keys]
        rest = f"WHERE run_uuid {IN} AND artifact_uri IS NOT NULL"
        old = transaction.select("runs", ["run_uuid", "artifact_uri"], rest, [json.dumps(runs)])
        places = {(run_id, ""): uri for run_id, uri in old}
        places.update(sql_models.delete(transaction, runs))
        sql_rows.delete_inputs(transaction, runs)
        for table in RUN_TABLES:
            transaction.delete(table, "run_uuid", runs)
        return places


def _check_root(root: str, database: Store) -> None:
    if not storage.is_elsewhere(root):
        head.check_place(Path(root))
        roots.check(Path(root), database.name)


def _own(uris: Iterable[str]) -> Iterator[str]:
    """Those of the folders to which rows of ours point that may be deleted.

    Not those of a file store: a version before this one has put files there.
    """
    harmless: dict[Path, bool] = {}
    for uri in uris:
        folder = Path(uri)
        if storage.is_elsewhere(uri) and FOLDER.fullmatch(uri.rpartition("/")[2]):
            yield uri
        elif folder.is_absolute() and FOLDER.fullmatch(folder.name):
            place = folder.parent.parent
            if place not in harmless:
                harmless[place] = not roots.is_in_store(place)
            if harmless[place]:
                yield uri
