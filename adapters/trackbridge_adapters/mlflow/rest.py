"""Reads MLflow servers over REST, for those whose database is out of reach."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from trackbridge.adapter import STORE, FileRef, Query, RunInfo, RunRef
from trackbridge.errors import NotFoundError
from trackbridge.optional import Excerpt
from trackbridge_adapters.mlflow import models
from trackbridge_adapters.mlflow.capabilities import REST_READ
from trackbridge_adapters.mlflow.rest_server import Server

if TYPE_CHECKING:
    from trackbridge.adapter import Batch
    from trackbridge_adapters.mlflow.rest_files import Place

REMEMBERED = 1000
"""Runs whose places are kept: files are asked for in great numbers."""


class RestReader:
    """A tracking server; MLflow itself is imported with the first request."""

    capabilities = REST_READ

    def __init__(self, location: str) -> None:
        from trackbridge_adapters.mlflow.rest_ids import Ids

        self.server = Server(location)
        self.address = f"mlflow:{self.server.name}"
        self.ids = Ids(self.server)
        self._places: dict[RunRef, tuple[dict[str, Place], dict[str, str]]] = {}

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        from trackbridge_adapters.mlflow import rest_list

        yield from rest_list.runs(self.server, self.ids, query)

    def read_runs(
        self, refs: Sequence[RunRef], tables: Collection[str] | None = None
    ) -> Iterator[Batch]:
        from trackbridge_adapters.mlflow import rest_read

        yield from rest_read.runs(self.server, self.ids, refs, tables)

    def read_points(self, refs: Sequence[RunRef], excerpt: Excerpt) -> Iterator[Batch]:
        from trackbridge_adapters.mlflow import rest_read

        yield from rest_read.some_points(self.server, self.ids, refs, excerpt)

    def read_shared(self, query: Query) -> Iterator[Batch]:
        from trackbridge_adapters.mlflow import rest_shared

        yield from rest_shared.read(self.server, self.ids, query)

    def open_file(self, file: FileRef) -> BinaryIO:
        data = self._opened(file)
        if data is None:
            raise NotFoundError(f"{self.address}: run {file.run.run_id}: no file {file.path!r}")
        return data

    def forget(self) -> None:
        """Runs were written: what is known of their places may be wrong."""
        self._places.clear()

    def _opened(self, file: FileRef) -> BinaryIO | None:
        from trackbridge_adapters.mlflow import rest_files, rest_store

        if file.run == STORE:
            place = rest_store.place(self.server)
            return None if place is None else place.opened(file.path)
        places, names = self._known(file.run)
        here = places.get(file.owner)
        data = None if here is None else here.opened(file.path)
        if data is None or not names or not rest_files.is_model_file(file.path):
            return data
        with data:
            content = rest_files.whole(data, f"{self.address}: {file.path}")
        return BytesIO(rest_files.renamed(content, names))

    def _known(self, ref: RunRef) -> tuple[dict[str, Place], dict[str, str]]:
        """Where the files of a run lie, by their owner, and ids on the server -> ours in them."""
        from trackbridge_adapters.mlflow.rest_files import Place
        from trackbridge_adapters.mlflow.rest_ids import Experiments, check, model_id
        from trackbridge_adapters.mlflow.rest_list import made

        if ref in self._places:
            return self._places[ref]
        experiments = Experiments(self.server)
        (found,) = self.ids.find([ref.run_id], experiments)
        run = check(found, ref, experiments, self.address)
        places = {"": Place(self.server, run.info.get("artifact_uri"), run.native_id)}
        names = {run.native_id: run.id}
        number = run.info["experiment_id"]
        condition = f"source_run_id = '{run.native_id}'"
        for model in made(self.server, [number], condition)[run.native_id]:
            info = model["info"]
            owner = models.owner(info.get("name") or "", model_id(model))
            uri = info.get("artifact_uri")
            places[owner] = Place(self.server, uri, run.native_id, info["model_id"])
            names[info["model_id"]] = model_id(model)
        if len(self._places) >= REMEMBERED:
            self._places.clear()
        names = {native: ours for native, ours in names.items() if native != ours}
        self._places[ref] = (places, names if run.carried else {})
        return self._places[ref]
