"""Writes runs to MLflow servers over REST, where the server chooses the ids (decision 0010)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

from trackbridge.adapter import (
    STORE,
    Batch,
    FileRef,
    Presentation,
    Query,
    Row,
    RunInfo,
    RunKey,
    RunRef,
)
from trackbridge.errors import BridgeError, TransientError
from trackbridge.optional import Twin
from trackbridge_adapters.mlflow import chunk, rest_present, rest_store, translate
from trackbridge_adapters.mlflow.capabilities import REST
from trackbridge_adapters.mlflow.entities import (
    KEY_TAG,
)
from trackbridge_adapters.mlflow.rest import RestReader
from trackbridge_adapters.mlflow.rest_ids import Experiments, Run
from trackbridge_adapters.mlflow.rest_lock import Lock
from trackbridge_adapters.mlflow.rest_registry import Registry
from trackbridge_adapters.mlflow.rest_runs import TAKEN, Writing
from trackbridge_adapters.mlflow.rest_server import WORKSPACES, NoWorkspaceError, each
from trackbridge_adapters.mlflow.rest_spool import Spool

if TYPE_CHECKING:
    from trackbridge_adapters.mlflow.rest_extend import Live, RestExtension

Old = dict[RunRef, list[Run]]


class RestWriter(RestReader):
    """A server, whose workspace may not exist yet."""

    capabilities = REST

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        try:
            yield from super().list_runs(query)
        except NoWorkspaceError:
            return

    def read_shared(self, query: Query) -> Iterator[Batch]:
        try:
            yield from super().read_shared(query)
        except NoWorkspaceError:
            return

    @property
    def advice(self) -> str:
        return (
            f"the server gave the runs ids of its own; their tag {KEY_TAG} says where each is from"
        )

    def target(self, key: RunKey) -> RunRef:
        return translate.target(key)

    def present(self, key: RunKey, tables: Mapping[str, list[Row]]) -> Presentation:
        parent = translate.parent_of(key, tables)
        return rest_present.present(key, tables, parent)

    def open(self, keys: Sequence[RunKey]) -> RestSink:
        return RestSink(self, {self.target(key): key for key in keys})

    def extend(self, keys: Sequence[RunKey]) -> RestExtension:
        from trackbridge_adapters.mlflow.rest_extend import RestExtension

        return RestExtension(self, {self.target(key): key for key in keys})

    def place(self, key: RunKey) -> Twin:
        from trackbridge_adapters.mlflow import rest_link

        return rest_link.place(self.server, self.ids, self.target(key), key)

    def link(self, key: RunKey, twins: Sequence[Twin]) -> None:
        from trackbridge_adapters.mlflow import rest_link

        rest_link.link(self.server, self.ids, self.target(key), key, twins)

    @cached_property
    def live(self) -> dict[RunRef, Live]:
        """Runs that this writer has begun or found to extend, as it left them."""
        return {}

    def there(self, experiments: Experiments, keys: Mapping[RunRef, RunKey]) -> Old:
        """The runs of these ids; `IntegrityError` where one belongs to somebody else."""
        chunk.check_distinct(self.server.name, keys)
        return dict(each(lambda pair: self._there(experiments, *pair), keys.items()))

    def _there(
        self, experiments: Experiments, ref: RunRef, key: RunKey
    ) -> tuple[RunRef, list[Run]]:
        found = self.ids.every(ref.run_id, experiments)
        native = self.ids.get(ref.run_id)
        if native is not None and all(run.native_id != native.native_id for run in found):
            found.append(native)
        for run in found:
            chunk.check_origin(self.server.name, ref.run_id, run.tags.get(KEY_TAG), str(key))
        return ref, found

    def experiments(self) -> Experiments:
        """The experiments of the server; the workspace is made if it is not there."""
        try:
            return Experiments(self.server)
        except NoWorkspaceError:
            body = {"name": self.server.workspace}
            self.server.post(WORKSPACES, body)
            return Experiments(self.server)


class RestSink:
    """A chunk being written: kept aside until `commit`, which alone talks to the server."""

    def __init__(self, writer: RestWriter, keys: Mapping[RunRef, RunKey]) -> None:
        self._writer, self._keys = writer, keys
        self._server = writer.server
        self._experiments = writer.experiments()
        with ExitStack() as held:
            if not keys:  # what is of no run is read, changed and written as a whole
                lock = Lock(self._server)
                lock.acquire()
                held.callback(lock.release)
                self._experiments.reload()  # another one may have made some while we waited
            self._old = writer.there(self._experiments, keys)
            self._spool = Spool()
            held.callback(self._spool.close)
            self._held = held.pop_all()

    def __enter__(self) -> RestSink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.close()

    def write(self, batch: Batch) -> None:
        self._spool.add(batch)

    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        if file.run != STORE:
            chunk.check_meant(self._server.name, file.run, self._keys)
        self._spool.put(file, data)

    def commit(self) -> Mapping[RunKey, RunRef]:
        self._spool.check_points()
        writer, server, rows = self._writer, self._server, self._spool.rows
        registry = Registry(server, writer.ids, self._experiments)
        numbers = {name: registry.experiment(name) for name in {r.project for r in self._keys}}
        writing = Writing(server, writer.ids, self._keys, self._spool, self._experiments)
        try:
            writing.write(numbers, self._old)
            self._put_files_of_store()
            registry.write(rows)
        except BaseException as error:
            taken = isinstance(error, BridgeError) and writing.are_taken()
            writing.give_up()
            if taken:
                raise TransientError(f"{server.name}: {TAKEN}") from error
            raise
        writing.show(self._old)
        writing.adopt(self._old)
        for ref in self._keys:
            writer.live.pop(ref, None)
        writer.forget()
        return {key: ref for ref, key in self._keys.items()}

    def _put_files_of_store(self) -> None:
        waiting = [each for each in self._spool.files if each.file.run == STORE]
        if waiting:
            place = rest_store.make(self._server).repository()
            for one in waiting:
                with one.copy.open("rb") as data:
                    place.put(one.file.path, data)
