"""Finds what a run that goes on, on a server, lacks of what it is to become (decision 0030)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from trackbridge.adapter import Row, RunRef
from trackbridge.digest import point_hashes
from trackbridge_adapters.mlflow.entities import milliseconds
from trackbridge_adapters.mlflow.rest_files import Place
from trackbridge_adapters.mlflow.rest_ids import Run
from trackbridge_adapters.mlflow.rest_list import made
from trackbridge_adapters.mlflow.rest_points import Damage, points
from trackbridge_adapters.mlflow.rest_server import Server
from trackbridge_adapters.mlflow.rest_spool import Hashes

RUNNING = "RUNNING"


class Rest(NamedTuple):
    """A run that is gone on with; `points` are hashes of those that it has, sorted."""

    run: Run
    points: Hashes

    def missing(self, data: pa.RecordBatch) -> pa.RecordBatch:
        """Those of some points that the run does not have."""
        if not len(self.points):
            return data
        hashes = point_hashes(data)
        at = np.minimum(np.searchsorted(self.points, hashes), len(self.points) - 1)
        return data.filter(pa.array(self.points[at] != hashes))


class Wanted(NamedTuple):
    """What a run is to become."""

    row: Row
    number: str
    """Its experiment's id."""
    params: Mapping[str, str]
    paths: Collection[str]
    """Its files, those of its models apart."""
    points: Hashes


def goes_on(old: Sequence[Run], gone_on: Collection[str]) -> Run | None:
    """The one of the runs of an id that counts, if it is alone and running, or was till now."""
    shown = [run for run in old if not run.is_hidden]
    if len(shown) != 1 or shown[0].is_deleted or not shown[0].carried:
        return None
    [run] = shown
    return run if run.info.get("status") == RUNNING or run.native_id in gone_on else None


def rest(server: Server, ref: RunRef, run: Run, wanted: Wanted) -> Rest | None:
    """What is there of a run; None where not all of that can stay as it is."""
    info, row = run.info, wanted.row
    if (
        info["experiment_id"] != wanted.number
        or int(info.get("start_time") or 0) != (milliseconds(row["started"]) or 0)
        or (info.get("user_id") or "") != (row["user"] or "")
        or any(wanted.params.get(name) != value for name, value in run.params.items())
        or _has_edges(server, run)
    ):
        return None
    damage: list[str] = []
    place = Place(server, info.get("artifact_uri"), run.native_id)
    if any(entry.path not in wanted.paths for entry in place.walk(damage)) or damage:
        return None
    there = _hashes(server, ref, run)
    if there is None or not np.isin(there, wanted.points).all():
        return None
    return Rest(run, there)


def _has_edges(server: Server, run: Run) -> bool:
    """Whether it has datasets or models, which can only be added to."""
    native, number = run.native, run.info["experiment_id"]
    edges = [(native.get(name) or {}).values() for name in ("inputs", "outputs")]
    if any(listed for kinds in edges for listed in kinds):
        return True
    return bool(made(server, [number], f"source_run_id = '{run.native_id}'")[run.native_id])


def _hashes(server: Server, ref: RunRef, run: Run) -> Hashes | None:
    """Those of its points, sorted; None where one is there twice, or cannot be read."""
    damage = Damage()
    read = [point_hashes(data) for data in points(server, [(ref, run)], damage)]
    every = np.concatenate([np.empty(0, np.uint64), *read])
    found = np.unique(every)
    return None if damage.lines(ref) or len(found) < len(every) else found
