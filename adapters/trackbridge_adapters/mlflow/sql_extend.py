"""Adds to runs in a database of MLflow's while they go on, a round in one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import BinaryIO

import pyarrow as pa

from trackbridge.adapter import STORE, Batch, FileRef, ItemRef, Row, RunKey, RunRef
from trackbridge.schema import TABLES
from trackbridge_adapters.mlflow import sql_rows
from trackbridge_adapters.mlflow.session import IN
from trackbridge_adapters.mlflow.sql_points_write import COLUMNS
from trackbridge_adapters.mlflow.sql_write import SqlSink

ADDED = ("runs", "params", "tags", "metrics")
GOES_ON: Row = {"status": "running", "ended": None}


class SqlExtension(SqlSink):
    """What was logged since, on its way into runs that are shown as running until `open` ends.

    Datasets, logged models with their files, and what belongs to no run come with `open`, as do
    the state and the end of a run: one that was not written whole has not ended.
    """

    def write(self, batch: Batch) -> None:
        if batch.table in ADDED:
            super().write(batch)

    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        if file.run != STORE and not file.owner and ItemRef.of(file) is None:
            super().put_file(file, data)

    def commit(self) -> Mapping[RunKey, RunRef]:
        rows = {RunRef(row["project"], row["run_id"]): row for row in self._rows["runs"]}
        new = {ref: key for ref, key in self._keys.items() if ref.run_id not in self._there}
        begun = [{**_nothing(ref), **rows.get(ref, {}), **GOES_ON} for ref in new]
        sql_rows.write_runs(
            self._transaction, self._experiments, new, {"runs": begun}, self._staging
        )
        known = {ref.run_id: row for ref, row in rows.items() if ref not in new}
        sql_rows.extend_runs(self._transaction, known)
        for table in ("params", "tags"):
            sql_rows.put_pairs(self._transaction, table, self._rows[table])
        self._insert("metrics", self._points.rest())
        self._insert("latest_metrics", self._points.latest())
        for run_id, folder in self._there.items():
            self._staging.keep((run_id, ""), folder)
        self._staging.place()
        self._transaction.commit()
        self.on_commit()
        return {key: ref for ref, key in self._keys.items()}

    def _begin(self) -> None:
        runs = [ref.run_id for ref in self._keys]
        meant, where = [json.dumps(runs)], f"WHERE run_uuid {IN}"
        there = self._transaction.select("runs", ["run_uuid", "artifact_uri"], where, meant)
        self._there = {run_id: str(folder) for run_id, folder in there}
        self._points.know(self._transaction.select("latest_metrics", COLUMNS, where, meant))
        self._transaction.reserve([run_id for run_id in runs if run_id not in self._there])

    def _insert(self, table: str, rows: pa.Table | None) -> None:
        if rows is None:
            return
        if table == "metrics":
            self._transaction.add(table, _plain(rows))
            return
        runs = [ref.run_id for ref in self._keys]
        self._transaction.delete(table, "run_uuid", runs)
        self._transaction.ingest(table, rows)


def _nothing(ref: RunRef) -> Row:
    """The row of a run of which nothing is known yet."""
    return {**dict.fromkeys(TABLES["runs"].names), **ref._asdict(), "deleted": False}


def _plain(rows: pa.Table) -> pa.Table:
    """Points with texts and truth values as a statement takes them."""
    texts = {"run_uuid": pa.string(), "key": pa.string(), "is_nan": pa.bool_()}
    fields = [(f.name, texts.get(f.name, f.type)) for f in rows.schema]
    return rows.cast(pa.schema(fields))
