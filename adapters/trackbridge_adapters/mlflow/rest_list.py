"""Lists the runs of a server: fingerprints and counts, no points."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence

from trackbridge.adapter import Query, RunInfo, RunRef
from trackbridge_adapters.mlflow.entities import (
    KEY_TAG,
    RUN_NAME,
    moment,
    run_key,
    status,
    without_twins,
)
from trackbridge_adapters.mlflow.rest_files import Place, is_own, sizes
from trackbridge_adapters.mlflow.rest_ids import Experiments, Ids, Run, counting
from trackbridge_adapters.mlflow.rest_points import length
from trackbridge_adapters.mlflow.rest_server import Json, LackingError, Server, each

MODELS_PAGE = 100


def runs(server: Server, ids: Ids, query: Query) -> Iterator[RunInfo]:
    """Every run that the query means, by experiment and start."""
    experiments = Experiments(server)
    if query.run_ids:
        asked = ids.find(sorted(set(query.run_ids)), experiments)
        found = [run for run in asked if run is not None]
    else:
        found = _search(ids, experiments, query)
    meant = [run for run in found if _is_meant(run, query, experiments)]
    meant.sort(key=lambda run: (run.info["experiment_id"], _start(run) or 0, run.id))
    models = made(server, sorted({run.info["experiment_id"] for run in meant}))
    yield from each(lambda run: _info(server, run, experiments, models[run.native_id]), meant)


def made(server: Server, numbers: Sequence[str], condition: str = "") -> dict[str, list[Json]]:
    """The logged models of some experiments, by the run that made them."""
    found: dict[str, list[Json]] = defaultdict(list)
    body = {"experiment_ids": list(numbers), "filter": condition, "max_results": MODELS_PAGE}
    try:
        for page in server.pages("mlflow/logged-models/search", body, "models") if numbers else ():
            for model in page:
                found[model["info"].get("source_run_id") or ""].append(model)
    except LackingError:  # before 3.0
        pass
    return found


def _search(ids: Ids, experiments: Experiments, query: Query) -> list[Run]:
    numbers = [
        number
        for number, label in experiments.labels.items()
        if not query.projects or label in query.projects
    ]
    found: list[Run] = []
    if numbers:
        for page in ids.search(numbers):
            found += page
    return [ids.learn(run) for run in counting(found)]


def _is_meant(run: Run, query: Query, experiments: Experiments) -> bool:
    number = run.info["experiment_id"]
    if query.projects and experiments.label(number) not in query.projects:
        return False
    if not query.include_deleted and (run.is_deleted or number in experiments.deleted):
        return False
    started = moment(_start(run))
    return query.since is None or (started is not None and started >= query.since)


def _start(run: Run) -> int | None:
    start = run.info.get("start_time")
    return None if start is None else int(start)


def _info(server: Server, run: Run, experiments: Experiments, models: Sequence[Json]) -> RunInfo:
    ref = RunRef(experiments.label(run.info["experiment_id"]), run.id)
    files = Place(server, run.info.get("artifact_uri"), run.native_id).walk([])
    own = [entry for entry in files if not is_own(entry.path, carried=run.carried)]
    for model in models:
        info = model["info"]
        place = Place(server, info.get("artifact_uri"), run.native_id, info["model_id"])
        own += place.walk([])
    state = [
        _without_twins(run),
        sorted(models, key=lambda m: str(m["info"]["model_id"])),
        files,
        own,
    ]
    return RunInfo(
        ref,
        run_key(run.tags.get(KEY_TAG), ref),
        hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16],
        run.info.get("run_name") or run.tags.get(RUN_NAME) or None,
        status(run.info.get("status")),
        moment(_start(run)),
        sum(map(length, run.metrics)),
        len(own),
        sizes(own),
        carried=run.carried,
        estimated=bool(run.metrics),
        deleted=run.is_deleted or run.info["experiment_id"] in experiments.deleted,
        native_id=None if run.native_id == run.id else run.native_id,
    )


def _without_twins(run: Run) -> Json:
    """What the server tells of a run, but for what we tell of its twins."""
    if not run.carried:
        return run.native
    tags = without_twins(run.tags)
    return {**run.native, "data": {**run.native["data"], "tags": sorted(tags.items())}}
