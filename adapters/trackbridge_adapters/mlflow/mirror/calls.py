"""The methods of MLflow's client, each with what its calls tell the journals.

Calls of runs that are known are told before they are carried out: what a store refuses, or never
answers to, is kept. For others the store is asked once, after a call that it has answered.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from trackbridge_adapters.mlflow.mirror import files
from trackbridge_adapters.mlflow.mirror.logged import Models
from trackbridge_adapters.mlflow.mirror.runs import MirroredRun, Runs

if TYPE_CHECKING:
    from trackbridge.dual.mirroring import Mirror

LOGGER = logging.getLogger("trackbridge")
Given = dict[str, Any]
Tell = Callable[[Any, MirroredRun, Given], None]
After = Callable[[Any, Given, Any], None]
HISTORY = "mlflow.log-model.history"
"""Tag that the store itself writes (mlflow/utils/mlflow_tags.py, 2.9 to 3.17)."""
OVER = ("FINISHED", "FAILED", "KILLED")


class Calls:
    """What is told of each call; a method that a version of MLflow lacks is left out."""

    def __init__(self, mirror: Mirror) -> None:
        self._runs = Runs(mirror)
        self._models = Models(self._runs)
        self._inside = threading.local()
        self._warned: set[str] = set()

    def patch(self, client: Any) -> None:
        """Replace methods of the class by those that tell and then do the same."""
        before: dict[str, Tell] = {
            "log_metric": self._metric,
            "log_batch": self._batch,
            "log_param": lambda _, run, given: run.params({given["key"]: given["value"]}),
            "set_tag": lambda _, run, given: run.tags({given["key"]: given["value"]}),
            "delete_tag": lambda _, run, given: run.drop_tag(given["key"]),
            "update_run": lambda _, run, given: run.update(
                given.get("status"), None, given.get("name")
            ),
            "set_terminated": lambda _, run, given: run.update(given["status"], given["end_time"]),
            "delete_run": lambda _, run, given: run.run.set(deleted=True),
            "restore_run": lambda _, run, given: run.run.set(deleted=False),
            "log_inputs": self._inputs,
        }
        after: dict[str, After] = {
            "create_run": lambda client, _, run: self._begin(client, run),
            "update_run": self._over,
            "set_terminated": self._over,
            "log_outputs": self._outputs,
            "_record_logged_model": self._history,
            "create_logged_model": lambda client, _, model: self._models.saw(client, model),
            "finalize_logged_model": lambda client, _, model: self._models.saw(client, model),
            "delete_logged_model": self._model_deleted,
            **dict.fromkeys(
                ("set_logged_model_tags", "delete_logged_model_tag", "log_model_params"),
                lambda client, given, _: self._models.changed(client, given["model_id"]),
            ),
            "rename_experiment": lambda _, __, ___: self._runs.forget_labels(),
            "_get_artifact_repo": self._repository,
        }
        for name in {**before, **after}:
            method = client.__dict__.get(name)
            if method is not None:
                setattr(client, name, self._telling(method, before.get(name), after.get(name)))

    def _telling(self, method: Any, before: Tell | None, after: After | None) -> Any:
        names = list(inspect.signature(method).parameters)[1:]
        complete = _COMPLETE.get(method.__name__)
        inside = self._inside

        @wraps(method)
        def calling(client: Any, *args: Any, **options: Any) -> Any:
            if getattr(inside, "depth", 0):  # told by the call that this one is part of
                return method(client, *args, **options)
            given: Given = {}
            run: MirroredRun | None = None
            try:
                given = {**dict(zip(names, args)), **options}
                if complete is not None and len(args) <= len(names):
                    complete(given)
                    args, options = (), given
                if before is not None:
                    run = self._runs.known(client, given["run_id"])
                    if run is not None:
                        before(client, run, given)
            except Exception as error:
                self._lose(method.__name__, error, run)
            inside.depth = 1
            try:
                result = method(client, *args, **options)
            finally:
                inside.depth = 0
            if after is None and run is not None:
                return result
            try:
                if before is not None and run is None:
                    run = self._runs.found(client, given["run_id"])
                    if run is not None:
                        before(client, run, given)
                if after is not None:
                    after(client, given, result)
            except Exception as error:
                self._lose(method.__name__, error, run)
            return result

        return calling

    def _begin(self, client: Any, run: Any) -> None:
        self._runs.begin(client, run)

    def _metric(self, client: Any, run: MirroredRun, given: Given) -> None:
        run.metrics([(given["key"], given["value"], given["timestamp"], given["step"])])
        if given.get("model_id"):
            self._models.touch(given["model_id"])

    def _batch(self, client: Any, run: MirroredRun, given: Given) -> None:
        metrics = given.get("metrics") or ()
        if not self._models.are_told(given["run_id"], metrics):
            run.metrics((m.key, m.value, m.timestamp, m.step) for m in metrics)
        for model in {getattr(metric, "model_id", None) or "" for metric in metrics} - {""}:
            self._models.touch(model)
        if params := given.get("params"):
            run.params({param.key: param.value for param in params})
        if tags := given.get("tags"):
            run.tags({tag.key: tag.value for tag in tags})

    def _inputs(self, client: Any, run: MirroredRun, given: Given) -> None:
        run.inputs(given.get("datasets") or ())
        self._models.inputs(run, given.get("models") or ())

    def _outputs(self, client: Any, given: Given, _: Any) -> None:
        run = self._runs.found(client, given["run_id"])
        if run is not None:
            self._models.outputs(client, given["run_id"], run, given["models"])

    def _history(self, client: Any, given: Given, _: Any) -> None:
        run = self._runs.found(client, given["run_id"])
        tags = client.store.get_run(given["run_id"]).data.tags
        if run is not None and HISTORY in tags:
            run.tags({HISTORY: tags[HISTORY]})

    def _over(self, client: Any, given: Given, _: Any) -> None:
        if given.get("status") in OVER:
            try:
                self._models.refresh(client, given["run_id"])
            finally:
                self._runs.leave(client, given["run_id"])

    def _model_deleted(self, client: Any, given: Given, _: Any) -> None:
        model = self._models.known(given["model_id"])
        if model is not None:
            self._models.saw(client, model, deleted=True)

    def _repository(self, client: Any, given: Given, repository: Any) -> None:
        resource = given.get("resource_id") or given.get("run_id") or ""
        if given.get("resource", "run") == "run":
            files.follow(repository, lambda: (self._runs.found(client, resource), ""), self._lose)
        else:
            files.follow(repository, lambda: self._models.owner(client, resource), self._lose)

    def _lose(self, what: str, error: Exception, run: MirroredRun | None = None) -> None:
        """Count what could not be told, in the run's journal where there is one; never raises."""
        if run is not None:
            run.run.lose(what, error)
        elif what not in self._warned:
            self._warned.add(what)
            reason = f"{type(error).__name__}: {error}"
            LOGGER.warning("trackbridge: %s: %s; it is not mirrored", what, reason)


def _complete_metric(given: Given) -> None:
    """Say what the method would fill in, so that the journal has the same."""
    if given.get("timestamp") is None:
        given["timestamp"] = time.time_ns() // 1_000_000
    if given.get("step") is None:
        given["step"] = 0


def _complete_end(given: Given) -> None:
    given["end_time"] = given.get("end_time") or time.time_ns() // 1_000_000
    given["status"] = given.get("status") or "FINISHED"


_COMPLETE: dict[str, Callable[[Given], None]] = {
    "log_metric": _complete_metric,
    "set_terminated": _complete_end,
}
