"""Adds to runs on a server while they go on, a round in one or two requests (decision 0030)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import BinaryIO

from trackbridge.adapter import STORE, Batch, FileRef, Row, RunKey, RunRef
from trackbridge.errors import BridgeError, IntegrityError, NotFoundError
from trackbridge.schema import TABLES
from trackbridge_adapters.mlflow import chunk
from trackbridge_adapters.mlflow.entities import KEY_TAG, PARENT, RUN_NAME
from trackbridge_adapters.mlflow.rest_away import put_away
from trackbridge_adapters.mlflow.rest_files import Place
from trackbridge_adapters.mlflow.rest_ids import ID_TAG, Experiments, Run, counting, reference
from trackbridge_adapters.mlflow.rest_log import Log, pairs
from trackbridge_adapters.mlflow.rest_registry import Registry
from trackbridge_adapters.mlflow.rest_resume import RUNNING
from trackbridge_adapters.mlflow.rest_runs import create, done, send
from trackbridge_adapters.mlflow.rest_server import Json
from trackbridge_adapters.mlflow.rest_spool import Spool
from trackbridge_adapters.mlflow.rest_write import Old, RestWriter

ADDED = ("runs", "params", "tags", "metrics")
GONE = (NotFoundError, IntegrityError)
"""What a server says of a run that is not there any more, or deleted."""


class Live:
    """A run that goes on, as the server is known to have it."""

    def __init__(self, run: Run) -> None:
        self.native_id = run.native_id
        self.uri: str | None = run.info.get("artifact_uri")
        self.name: str | None = run.info.get("run_name")
        self.params, self.tags = set(run.params), dict(run.tags)


class RestExtension:
    """What was logged since, kept aside until `commit`.

    Over REST a param keeps its first value, and a run the start and user that it began with:
    where these are others in the end, `open` makes it anew. Datasets, logged models with their
    files, and what belongs to no run come with `open`, as do the state and the end of a run: one
    that was not written whole has not ended.
    """

    def __init__(self, writer: RestWriter, keys: Mapping[RunRef, RunKey]) -> None:
        self._writer, self._keys, self._server = writer, keys, writer.server
        chunk.check_distinct(self._server.name, keys)
        self._experiments: Experiments | None = None
        self._found: Old = {}
        self._look_up(ref for ref in keys if ref not in writer.live)
        self._spool = Spool()

    def __enter__(self) -> RestExtension:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._spool.close()

    def write(self, batch: Batch) -> None:
        if batch.table in ADDED:
            self._spool.add(batch)

    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        if file.run != STORE and not file.owner:
            chunk.check_meant(self._server.name, file.run, self._keys)
            self._spool.put(file, data)

    def commit(self) -> Mapping[RunKey, RunRef]:
        live, found = self._writer.live, self._found
        self._look_up(ref for ref in self._keys if ref not in live and ref not in found)
        known = [ref for ref in self._keys if ref not in found]
        try:
            self._send()
        except GONE:
            if not known:
                raise
            self._look_up(known)  # somebody has put them away, or replaced them
            self._send()
        return {key: ref for ref, key in self._keys.items()}

    def _look_up(self, refs: Iterable[RunRef]) -> None:
        meant = {ref: self._keys[ref] for ref in refs}
        if meant:
            self._experiments = self._writer.experiments()
            self._found.update(self._writer.there(self._experiments, meant))
            for ref in meant:
                self._writer.live.pop(ref, None)

    def _send(self) -> None:
        rows = {RunRef(row["project"], row["run_id"]): row for row in self._spool.rows["runs"]}
        for ref in self._keys:
            if ref not in self._writer.live:
                self._writer.live[ref] = Live(self._begin(ref, rows.get(ref) or _nothing()))
        for _ in done(lambda ref: self._tell(ref, rows.get(ref)), self._keys):
            pass
        natives = {ref: self._writer.live[ref].native_id for ref in self._keys}
        Log(self._server, natives).send(self._spool.points())
        for ref in self._keys:
            live = self._writer.live[ref]
            waiting = {one.file: one for one in self._spool.files if one.file.run == ref}
            place = Place(self._server, live.uri, live.native_id).repository()
            names = {ref.run_id: live.native_id}
            for _ in done(lambda one: send(place, one, names), waiting.values()):  # noqa: B023
                pass

    def _begin(self, ref: RunRef, row: Row) -> Run:
        """The run that counts, made if there is none, as one that is running."""
        for run in counting(self._found[ref]):
            if run.info.get("status") != RUNNING:
                body = {"run_id": run.native_id, "status": RUNNING}
                self._server.post("mlflow/runs/update", body)
            return run
        assert self._experiments is not None
        registry = Registry(self._server, self._writer.ids, self._experiments)
        tags = {KEY_TAG: str(self._keys[ref]), ID_TAG: ref.run_id}
        run = create(self._server, registry.experiment(ref.project), row, tags)
        first, *_ = counting(self._writer.ids.every(ref.run_id, self._experiments))
        if first.native_id != run.native_id:  # another process has begun it too
            with suppress(BridgeError):  # `open` does it too
                put_away(self._server, run)
        return self._writer.ids.learn(first)

    def _tell(self, ref: RunRef, row: Row | None) -> None:
        """Name, params and tags, as far as they are not there."""
        live = self._writer.live[ref]
        if row is not None and row["name"] and row["name"] != live.name:
            body: Json = {"run_id": live.native_id, "run_name": row["name"]}
            self._server.post("mlflow/runs/update", body)
            live.name = row["name"]
        params, tags = self._pairs("params", ref), self._pairs("tags", ref)
        params = {name: value for name, value in params.items() if name not in live.params}
        tags = {n: self._told(ref, n, v) for n, v in tags.items() if n != RUN_NAME}
        tags = {name: value for name, value in tags.items() if live.tags.get(name) != value}
        try:
            pairs(self._server, live.native_id, params, tags)
        except IntegrityError:
            there = self._writer.ids.get(live.native_id)
            if there is None or params.keys().isdisjoint(there.params):
                raise
            left = {name: value for name, value in params.items() if name not in there.params}
            pairs(self._server, live.native_id, left, tags)
        live.params |= params.keys()
        live.tags.update(tags)

    def _pairs(self, table: str, ref: RunRef) -> dict[str, str]:
        rows = self._spool.rows[table]
        return {
            row["key"]: row["value"] or ""
            for row in rows
            if RunRef(row["project"], row["run_id"]) == ref
        }

    def _told(self, ref: RunRef, name: str, value: str) -> str:
        """The value of a tag with the server's ids of runs in the place of ours."""
        if name == PARENT and value:
            experiments = self._experiments or self._writer.experiments()
            (parent,) = self._writer.ids.find([value], experiments)
            return value if parent is None else parent.native_id
        return (
            value.replace(ref.run_id, self._writer.live[ref].native_id)
            if reference(name)
            else value
        )


def _nothing() -> Row:
    """The row of a run of which nothing is known yet."""
    return dict.fromkeys(TABLES["runs"].names)
