"""The files that belong to a server and not to one of its runs (decision 0011)."""

from __future__ import annotations

import time
from contextlib import suppress

from trackbridge.adapter import ORIGIN
from trackbridge.errors import IntegrityError
from trackbridge_adapters.mlflow.entities import STORE_TAG
from trackbridge_adapters.mlflow.rest_files import Place
from trackbridge_adapters.mlflow.rest_ids import Experiments, Run
from trackbridge_adapters.mlflow.rest_server import Json, Server

NAME = f"{ORIGIN}-store"
"""The experiment that holds the one run whose artifacts these files are."""
NOTE = "Kept by Trackbridge: what this server does not show of the experiments brought to it."


def place(server: Server) -> Place | None:
    """Where the files of the store lie; None where there are none yet."""
    found = _run(server, Experiments(server).of_store)
    return None if found is None else _place(server, found)


def make(server: Server) -> Place:
    """The same, made where it is not there."""
    there = Experiments(server).of_store
    if not there:
        tags = [{"key": STORE_TAG, "value": "1"}, {"key": "mlflow.note.content", "value": NOTE}]
        with suppress(IntegrityError):  # another process has just made it, or a user before us
            server.post("mlflow/experiments/create", {"name": NAME, "tags": tags})
        there = Experiments(server).of_store
    if not there:
        raise IntegrityError(
            f"{server.name}: an experiment of somebody else's is called {NAME!r}; rename it"
        )
    found = _run(server, there)
    if found is None:
        body = {
            "experiment_id": there[0]["experiment_id"],
            "run_name": NAME,
            "start_time": int(time.time() * 1000),
            "tags": [{"key": STORE_TAG, "value": "1"}],
        }
        found = Run(server.create("mlflow/runs/create", body)["run"])
    if found.info.get("status") != "FINISHED":  # nothing runs, as people are shown of a new one
        ended = {"status": "FINISHED", "end_time": int(time.time() * 1000)}
        server.post("mlflow/runs/update", {"run_id": found.native_id, **ended})
    return _place(server, found)


def _run(server: Server, there: list[Json]) -> Run | None:
    """The oldest of the runs that may hold them: two processes may have made one each."""
    if not there:
        return None
    body = {
        "experiment_ids": [row["experiment_id"] for row in there],
        "filter": f"tags.`{STORE_TAG}` = '1'",
        "run_view_type": "ALL",
    }
    found = [Run(r) for page in server.pages("mlflow/runs/search", body, "runs") for r in page]
    found.sort(key=lambda run: (int(run.info.get("start_time") or 0), run.native_id))
    return found[0] if found else None


def _place(server: Server, run: Run) -> Place:
    return Place(server, run.info.get("artifact_uri"), run.native_id)
