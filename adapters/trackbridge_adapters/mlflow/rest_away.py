"""Puts runs away on a server: those that were replaced, and those that were not finished."""

from __future__ import annotations

from contextlib import suppress

from trackbridge.errors import BridgeError, IntegrityError
from trackbridge_adapters.mlflow.entities import ABANDONED_TAG, KEY_TAG, PENDING_TAG, TWINS_TAG
from trackbridge_adapters.mlflow.rest_files import Place
from trackbridge_adapters.mlflow.rest_ids import ID_TAG, REPLACES_TAG, Run
from trackbridge_adapters.mlflow.rest_list import made
from trackbridge_adapters.mlflow.rest_server import Server


def put_away(server: Server, run: Run) -> None:
    """Strip a run of what makes it ours, and delete it and its files: nothing can purge it."""
    native_id = run.native_id
    if run.is_deleted:
        server.post("mlflow/runs/restore", {"run_id": native_id})
    tag = {"run_id": native_id, "key": ABANDONED_TAG, "value": run.id}
    server.post("mlflow/runs/set-tag", tag)
    for name in (KEY_TAG, ID_TAG, REPLACES_TAG, PENDING_TAG, TWINS_TAG):
        if name in run.tags:
            with suppress(IntegrityError):  # it was gone before
                server.post("mlflow/runs/delete-tag", {"run_id": native_id, "key": name})
    number = run.info["experiment_id"]
    found = made(server, [number], f"source_run_id = '{native_id}'")[native_id]
    for model in found:
        _delete_files(Place(server, model["info"].get("artifact_uri"), native_id))
        name = model["info"]["model_id"]
        server.post(f"mlflow/logged-models/{name}", {}, "DELETE")
    server.post("mlflow/runs/delete", {"run_id": native_id})
    _delete_files(Place(server, run.info.get("artifact_uri"), native_id))


def _delete_files(place: Place) -> None:
    with suppress(BridgeError):  # they are nobody's, and only take space
        place.repository().delete()
