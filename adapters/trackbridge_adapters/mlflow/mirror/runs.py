"""The runs that a program logs to, each with its journal."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from trackbridge.adapter import Row, RunRef
from trackbridge.dual.frames import NONE
from trackbridge.dual.frames import SYSTEM as SYSTEM_FLAG
from trackbridge_adapters.mlflow.entities import (
    CONTEXT,
    DERIVED,
    KEY_TAG,
    RUN_NAME,
    SYSTEM,
    derive,
    is_hidden,
    label_in,
    packed,
    run_key,
)
from trackbridge_adapters.mlflow.rest_ids import ID_TAG, OWN_TAGS

if TYPE_CHECKING:
    from trackbridge.dual.followed import Followed
    from trackbridge.dual.mirroring import Mirror

TRIES = 3
"""So often the store is asked for a run that nothing is known of."""
REMEMBERED = 256
"""Runs that have ended and are known without asking the store, should more be logged to them."""
_DERIVING = frozenset(DERIVED.values())


class MirroredRun:
    """A run of MLflow's, and what of it has to be known to tell its journal of changes."""

    def __init__(self, run: Followed, info: Any, tags: Mapping[str, str]) -> None:
        self.run = run
        self._native = {"name": info.run_name, "user": info.user_id}
        self._tags = {name: value for name, value in tags.items() if name in _DERIVING}
        self._params: dict[str, str] = {}
        self._inputs: set[tuple[str, str]] = set()

    def describe(self, info: Any, tags: Mapping[str, str], params: Mapping[str, str]) -> None:
        """Tell all that a store says of the run, but for its points and files."""
        fields = {"status": info.status.lower(), "started": _us(info.start_time)}
        fields |= {"source": info.artifact_uri, "ended": _us(info.end_time)}
        fields["deleted"] = info.lifecycle_stage == "deleted"
        self.run.set(**fields, **derive(self._native, self._tags))
        self._put_tags(tags)
        self.params(params)

    def metrics(self, metrics: Iterable[tuple[str, Any, int, int]]) -> None:
        """Tell of points: key, value, time in milliseconds, step.

        Points of one step and time are one record. A point that is there once for each of several
        models is one point, as stores have it.
        """
        found: dict[str, float] = {}
        of: tuple[int, int, int] | None = None
        for key, given, at, step in metrics:
            value = given if type(given) is float else _number(given)
            here = (step, at, SYSTEM_FLAG if key.startswith(SYSTEM) else 0)
            if here != of or (key in found and not _same(found[key], value)):
                self._append(found, of)
                found, of = {}, here
            found[key] = value
        self._append(found, of)

    def _append(self, found: Mapping[str, float], of: tuple[int, int, int] | None) -> None:
        if of is not None:
            step, at, flags = of
            values = tuple(found.values())
            self.run.append(tuple(found), values, (), NONE, step, at * 1000, flags=flags)

    def params(self, params: Mapping[str, Any]) -> None:
        """Tell of params; one that has a value keeps it, as MLflow has them."""
        new = {key: str(value) for key, value in params.items() if key not in self._params}
        self._params |= new
        if new:
            self.run.tell("config", set=new)

    def tags(self, tags: Mapping[str, Any]) -> None:
        """Tell of tags, and of the columns that they stand for."""
        texts = {key: str(value) for key, value in tags.items()}
        self._put_tags(texts)
        changed = {key: text for key, text in texts.items() if key in _DERIVING}
        if changed:
            if RUN_NAME in changed:
                self._native["name"] = changed[RUN_NAME]
            self._tags |= changed
            self.run.set(**derive(self._native, self._tags))

    def drop_tag(self, key: str) -> None:
        self.run.tell("drop", table="tags", keys=[key])
        if self._tags.pop(key, None) is not None:
            self.run.set(**derive(self._native, self._tags))

    def inputs(self, datasets: Iterable[Any]) -> None:
        """Tell of datasets; one that the run has already stays as it is, as MLflow has them."""
        rows: list[Row] = []
        for each in datasets:
            dataset, tags = each.dataset, {tag.key: tag.value for tag in each.tags or ()}
            name = (dataset.name, dataset.digest)
            if name in self._inputs:
                continue
            self._inputs.add(name)
            context = tags.pop(CONTEXT, None)
            row = {"name": dataset.name, "digest": dataset.digest, "kind": dataset.source_type}
            row |= {"source": dataset.source, "schema": dataset.schema, "context": context}
            rows.append({**row, "profile": dataset.profile, "extra": packed(tags)})
        if rows:
            self.run.tell("put", table="inputs", rows=rows)

    def update(self, status: str | None, ended: int | None, name: str | None = None) -> None:
        """Tell of another state; `ended` is in milliseconds, and kept where there is none."""
        fields = {"status": status and status.lower(), "ended": _us(ended)}
        self.run.set(**{key: value for key, value in fields.items() if value is not None})
        if name:
            self.tags({RUN_NAME: name})

    def _put_tags(self, tags: Mapping[str, str]) -> None:
        shown = {key: value for key, value in tags.items() if key not in OWN_TAGS}
        if shown:
            self.run.set_tags(shown)


class Runs:
    """Runs by the address of their store and their id."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._known: dict[tuple[str, str], MirroredRun] = {}
        self._ended: deque[tuple[str, str]] = deque()
        self._tries: dict[tuple[str, str], int] = {}
        self._labels: dict[tuple[str, str], str] = {}
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def known(self, client: Any, run_id: str) -> MirroredRun | None:
        return self._known.get((client.tracking_uri, run_id))

    def found(self, client: Any, run_id: str) -> MirroredRun | None:
        """A run that the store is asked for where nothing is known of it."""
        place = (client.tracking_uri, run_id)
        known = self._known.get(place)
        if known is None and self._tries.setdefault(place, 0) < TRIES:
            self._tries[place] += 1
            known = self.begin(client, client.store.get_run(run_id))
        return known

    def begin(self, client: Any, entity: Any) -> MirroredRun | None:
        """Begin the journal of a run; none where it is one that Trackbridge is writing."""
        info, tags = entity.info, dict(entity.data.tags)
        place = (client.tracking_uri, info.run_id)
        label = self._label(client, str(info.experiment_id))
        with self._lock:
            if place in self._known or is_hidden(tags):
                return self._known.get(place)
            ref = RunRef(label, tags.get(ID_TAG) or info.run_id)
            run = self._mirror.follow(*ref, run_key(tags.get(KEY_TAG), ref))
            begun = MirroredRun(run, info, tags)
            begun.describe(info, tags, entity.data.params)
            self._known[place] = begun
            self._tries.pop(place, None)
        return begun

    def leave(self, client: Any, run_id: str) -> None:
        """A run has ended; the journals of those that ended last are kept in mind."""
        place = (client.tracking_uri, run_id)
        run = self._known.get(place)
        if run is None:
            return
        run.run.leave()
        with self._lock:
            self._ended.append(place)
            is_full = len(self._ended) > REMEMBERED
            forgotten = self._known.pop(self._ended.popleft(), None) if is_full else None
        if forgotten is not None:
            forgotten.run.leave()  # more may have been logged to it
            forgotten.run.outlast()

    def forget_labels(self) -> None:
        """An experiment has another name now: runs that begin have it too."""
        self._labels.clear()

    def _label(self, client: Any, number: str) -> str:
        place = (client.tracking_uri, number)
        if place not in self._labels:
            experiment = client.store.get_experiment(number)
            workspace = getattr(experiment, "workspace", None)
            self._labels[place] = label_in(workspace, experiment.name)
        return self._labels[place]


def _us(milliseconds: int | None) -> int | None:
    return None if milliseconds is None else int(milliseconds) * 1000


def _same(one: float, other: float) -> bool:
    return one == other or (one != one and other != other)


def _number(value: Any) -> float:
    """A value as MLflow takes it for a metric."""
    from mlflow.tracking.metric_value_conversion_utils import (
        convert_metric_value_to_float_if_possible,
    )

    return float(convert_metric_value_to_float_if_possible(value))
