"""Where a run is on a server, and what it says of the same run in other stores."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from trackbridge.adapter import RunKey, RunRef
from trackbridge.errors import NotFoundError
from trackbridge.optional import Twin
from trackbridge_adapters.mlflow.entities import KEY_TAG, TWINS_TAG, key_text, twins_text
from trackbridge_adapters.mlflow.rest_ids import Experiments, Ids, Run
from trackbridge_adapters.mlflow.rest_server import Server


def place(server: Server, ids: Ids, ref: RunRef, key: RunKey) -> Twin:
    """With the id that the server gave the run, and the page that MLflow's client prints."""
    experiments = Experiments(server)
    run = _find(server, ids, experiments, ref, key)
    project = experiments.label(run.info["experiment_id"])
    return Twin(f"mlflow:{server.name}", project, run.native_id, _page(server, run))


def link(server: Server, ids: Ids, ref: RunRef, key: RunKey, twins: Sequence[Twin]) -> None:
    run = _find(server, ids, Experiments(server), ref, key)
    told = twins_text(twins)
    if told and told != run.tags.get(TWINS_TAG):
        tag = {"run_id": run.native_id, "key": TWINS_TAG, "value": told}
        server.post("mlflow/runs/set-tag", tag)
    elif not told and TWINS_TAG in run.tags:
        server.post("mlflow/runs/delete-tag", {"run_id": run.native_id, "key": TWINS_TAG})


def _find(server: Server, ids: Ids, experiments: Experiments, ref: RunRef, key: RunKey) -> Run:
    (run,) = ids.find([ref.run_id], experiments)
    if run is None or run.tags.get(KEY_TAG) not in (str(key), key_text(key)):
        raise NotFoundError(f"{server.name}: no run {ref.run_id} that was brought there")
    return run


def _page(server: Server, run: Run) -> str | None:
    """As MLflow prints it when a run ends (tracking/_tracking_service/client.py, 3.17)."""
    host = server.name.partition("?")[0].rstrip("/")
    if not host.startswith(("http://", "https://")):
        return None
    page = f"{host}/#/experiments/{run.info['experiment_id']}/runs/{run.native_id}"
    workspace = server.workspace
    return f"{page}?workspace={quote(workspace, safe='')}" if workspace else page
