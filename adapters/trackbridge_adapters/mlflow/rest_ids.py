"""Runs on a server under the ids that Trackbridge gives them, though the server chooses its own.

A run that was brought carries its id among us, and what else is known of it, in tags (decision
0010); everything that reads or writes over REST translates here, at the edge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from trackbridge.adapter import ORIGIN, RunRef
from trackbridge.errors import ConfigError, NotFoundError
from trackbridge_adapters.mlflow.entities import (
    ABANDONED_TAG,
    KEY_TAG,
    PARENT,
    PENDING_TAG,
    STORE_TAG,
    TWINS_TAG,
    labels,
    unpacked,
)
from trackbridge_adapters.mlflow.rest_server import Json, LackingError, Server, each

ID_TAG = f"{KEY_TAG}.id"
"""Tag of a run that was brought: the id that it has among us."""
REPLACES_TAG = f"{KEY_TAG}.replaces"
"""Tag of a run that stands for others: their ids on the server."""
OWN_TAGS = frozenset({KEY_TAG, ID_TAG, REPLACES_TAG, TWINS_TAG})
"""Tags of runs that were brought and are shown which are no tags of the run's."""
ROW_TAG = f"{ORIGIN}.row"
"""Tag of experiments and models: a JSON object of what the server would set by itself."""

_ID = re.compile(r"[A-Za-z0-9][\w-]{0,255}")
"""What MLflow takes as the id of a run (mlflow/utils/validation.py, 3.17): no quotes in it."""
PAGE = 1000
HISTORY = "mlflow.log-model.history"
"""Tag that names the run it belongs to (mlflow/utils/mlflow_tags.py, 3.17)."""


class Run:
    """A run as the server gives it."""

    def __init__(self, native: Json) -> None:
        self.native = native
        self.info: Json = native["info"]
        data = native.get("data") or {}
        self.tags = pairs(data.get("tags"))
        self.params = pairs(data.get("params"))
        self.metrics: list[Json] = data.get("metrics") or []
        self.native_id: str = self.info.get("run_id") or self.info["run_uuid"]
        self.id: str = self.tags.get(ID_TAG) or self.native_id
        self.carried = KEY_TAG in self.tags
        self.is_hidden = not self.tags.keys().isdisjoint({PENDING_TAG, ABANDONED_TAG, STORE_TAG})
        self.is_deleted = self.info.get("lifecycle_stage") == "deleted"

    @property
    def replaced(self) -> frozenset[str]:
        """The runs that this one stands for, by their ids on the server."""
        return frozenset(self.tags.get(REPLACES_TAG, "").split())


class Experiments:
    """The experiments of a server: labels by id, and which are deleted."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.reload()

    def reload(self) -> None:
        """Ask the server anew."""
        every = list(_experiments(self._server))
        self.rows = [row for row in every if STORE_TAG not in pairs(row.get("tags"))]
        self.of_store = [row for row in every if STORE_TAG in pairs(row.get("tags"))]
        self.labels = labels(
            [(r["experiment_id"], r["name"], int(r.get("creation_time") or 0)) for r in self.rows]
        )
        self.deleted = {
            row["experiment_id"] for row in self.rows if row.get("lifecycle_stage") == "deleted"
        }

    def label(self, number: str) -> str:
        return self.labels.get(number, number)


class Ids:
    """Ids among us and on the server, each for the other."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._native: dict[str, str] = {}
        self._ours: dict[str, str] = {}
        self._models: dict[str, str] = {}
        self.gone_on: set[str] = set()
        """Ids on the server of runs that were gone on with: they may be once more, for whoever
        finds that what was written is not yet what was meant."""

    def learn(self, run: Run) -> Run:
        """Remember the ids of a run that counts."""
        if not run.is_hidden:
            self._native[run.id], self._ours[run.native_id] = run.native_id, run.id
        return run

    def forget(self, ids: Iterable[str]) -> None:
        """Runs are about to be written anew, under other ids on the server."""
        for name in ids:
            self._ours.pop(self._native.pop(name, ""), None)

    def note(self, name: str, native_id: str) -> None:
        """A run has this id on the server now."""
        self.forget([name])
        self._native[name], self._ours[native_id] = native_id, name

    def ours(self, native_id: str) -> str:
        """The id among us of a run that the server knows; others as they are."""
        if native_id not in self._ours:
            found = self.get(native_id)
            self._ours[native_id] = native_id if found is None else found.id
        return self._ours[native_id]

    def get(self, native_id: str) -> Run | None:
        """A run by its id on the server."""
        if not is_id(native_id):
            return None
        try:
            return self.learn(Run(self._server.get("mlflow/runs/get", run_id=native_id)["run"]))
        except NotFoundError:
            return None

    def find(self, ids: Sequence[str], experiments: Experiments) -> Iterator[Run | None]:
        """The run of each id among us, in order; None where there is none that counts."""
        return each(lambda name: self._find(name, experiments), ids)

    def every(self, name: str, experiments: Experiments) -> list[Run]:
        """All runs of an id, also those that are unfinished; but not what is left of old ones."""
        numbers = [row["experiment_id"] for row in experiments.rows] if is_id(name) else []
        found = self.search(numbers, f"tags.`{ID_TAG}` = '{name}'") if numbers else []
        return [run for page in found for run in page if ABANDONED_TAG not in run.tags]

    def search(self, numbers: Sequence[str], condition: str = "") -> Iterator[list[Run]]:
        """Pages of runs of some experiments, deleted ones too, by their start."""
        body = {
            "experiment_ids": list(numbers),
            "filter": condition,
            "run_view_type": "ALL",
            "max_results": PAGE,
            "order_by": ["attribute.start_time ASC"],
        }
        for page in self._server.pages("mlflow/runs/search", body, "runs"):
            yield [Run(native) for native in page]

    def _find(self, name: str, experiments: Experiments) -> Run | None:
        for native_id in {self._native.get(name, name): 0, name: 0}:
            run = self.get(native_id)
            if run is not None and run.id == name and not run.is_hidden:
                return run
        found = counting(self.every(name, experiments))
        return self.learn(found[0]) if found else None

    def model(self, native_id: str) -> str:
        """The id among us of a logged model that the server knows; others as they are."""
        if native_id not in self._models:
            self._models[native_id] = native_id
            try:
                found = self._server.get(f"mlflow/logged-models/{native_id}", allow_deleted="true")
                self._models[native_id] = model_id(found["model"])
            except (NotFoundError, LackingError):
                pass
        return self._models[native_id]


def is_id(text: str) -> bool:
    """Whether a run may have it as its id; users write what they like where ids belong."""
    return _ID.fullmatch(text) is not None


def counting(runs: Iterable[Run]) -> list[Run]:
    """Those that count: finished, and not replaced by another one that is."""
    shown = [run for run in runs if not run.is_hidden]
    gone = frozenset[str]().union(*(run.replaced for run in shown))
    left: dict[str, Run] = {}
    for run in sorted(shown, key=lambda run: run.native_id):
        if run.native_id not in gone:
            left.setdefault(run.id, run)
    return list(left.values())


def model_id(model: Json) -> str:
    """The id among us of a logged model."""
    return hidden_row(pairs(model["info"].get("tags"))).get("id") or str(model["info"]["model_id"])


def hidden_row(tags: dict[str, str]) -> Json:
    """What the tag ROW_TAG says; it is taken out of the tags."""
    return unpacked(tags.pop(ROW_TAG, None))


def pairs(listed: Any) -> dict[str, str]:
    """A list of keys and values as MLflow gives it."""
    return {row["key"]: row.get("value") or "" for row in listed or ()}


def reference(name: str) -> bool:
    """Whether the value of a tag of that name has ids of runs in it."""
    return name in (PARENT, HISTORY)


def check(run: Run | None, ref: RunRef, experiments: Experiments, where: str) -> Run:
    """The run that was asked for; `NotFoundError` where it is not, or in another project."""
    if run is None or experiments.label(run.info["experiment_id"]) != ref.project:
        raise NotFoundError(f"{where}: no run {ref.run_id} in experiment {ref.project!r}")
    return run


def _experiments(server: Server) -> Iterator[Json]:
    body = {"max_results": PAGE, "view_type": "ALL"}
    try:
        for page in server.pages("mlflow/experiments/search", body, "experiments"):
            yield from page
    except LackingError as unknown:
        try:  # before 1.28
            answer = server.get("mlflow/experiments/list", view_type="ALL")
        except LackingError:
            raise ConfigError(str(unknown)) from unknown
        yield from answer.get("experiments") or []
