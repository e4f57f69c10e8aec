"""Logged models of MLflow 3: rows of the runs that made them, and of those that name them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from trackbridge.adapter import Row
from trackbridge_adapters.mlflow import models
from trackbridge_adapters.mlflow.mirror.runs import MirroredRun, Runs

STATES = {"PENDING": 1, "READY": 2, "FAILED": 3}
"""`LoggedModelStatus` as numbers in databases (mlflow/entities/logged_model_status.py, 3.17)."""


class Models:
    """Models by their ids, as the store last gave them."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._known: dict[str, Any] = {}
        self._steps: dict[tuple[str, str], int] = {}
        self._touched: dict[str, str] = {}
        """Models of which the store may know more than was told -> their run, if it is known."""
        self._last = threading.local()

    def saw(self, client: Any, model: Any, *, deleted: bool = False) -> None:
        """Tell the run that made a model of it; models without a run are told nobody."""
        run_id, model_id = model.source_run_id, model.model_id
        self._known[model_id] = model
        run = self._runs.found(client, run_id) if run_id else None
        if run is not None:
            self._touched[model_id] = run_id
            row = _row(model, self._steps.get((run_id, model_id)), deleted=deleted)
            run.run.tell("artifact", row=row, files=[])

    def known(self, model_id: str) -> Any:
        """A model as the store last gave it, if it has."""
        return self._known.get(model_id)

    def changed(self, client: Any, model_id: str) -> None:
        """A call that gives nothing back has changed a model."""
        self.saw(client, client.store.get_logged_model(model_id))

    def touch(self, model_id: str) -> None:
        """A point was logged that belongs to a model too."""
        self._touched.setdefault(model_id, "")

    def owner(self, client: Any, model_id: str) -> tuple[MirroredRun | None, str]:
        """The run that made a model, and what the model's files belong to."""
        model = self._get(client, model_id)
        run_id = model.source_run_id
        run = self._runs.found(client, run_id) if run_id else None
        return run, models.owner(model.name or "", model_id)

    def outputs(self, client: Any, run_id: str, run: MirroredRun, told: Iterable[Any]) -> None:
        for each in told:
            self._last.output = run_id, each.model_id, int(each.step or 0), time.time_ns()
            model = self._get(client, each.model_id)
            if model.source_run_id == run_id:
                self._steps[run_id, each.model_id] = int(each.step or 0)
                self.saw(client, model)
            else:
                row = models.mentioned({}, each.model_id, "logged", int(each.step or 0))
                run.run.tell("artifact", row=row, files=[])

    def are_told(self, run_id: str, metrics: Sequence[Any]) -> bool:
        """Whether these are a run's own points, read back and logged again for its new output.

        `Model.log` does that right after it has logged the output (models/model.py, 3.0 to 3.17);
        to the stores they are the same points.
        """
        output, self._last.output = getattr(self._last, "output", None), None
        if output is None or output[0] != run_id:
            return False
        return all(
            (metric.model_id, metric.step) == output[1:3]
            and metric.timestamp * 1_000_000 <= output[3]
            for metric in metrics
        )

    def inputs(self, run: MirroredRun, told: Iterable[Any]) -> None:
        for each in told:
            run.run.tell("artifact", row=models.mentioned({}, each.model_id, "used"), files=[])

    def refresh(self, client: Any, run_id: str) -> None:
        """A run ends: what the store has added to its models, and to others it logged points of."""
        for model_id in [m for m, run in list(self._touched.items()) if run in (run_id, "")]:
            self._touched.pop(model_id, None)
            self.changed(client, model_id)
            self._touched.pop(model_id, None)

    def _get(self, client: Any, model_id: str) -> Any:
        if model_id not in self._known:
            self._known[model_id] = client.store.get_logged_model(model_id)
        return self._known[model_id]


def _row(model: Any, step: int | None, *, deleted: bool) -> Row:
    fields = {
        "status": STATES.get(str(model.status), 0),
        "status_message": model.status_message or None,
        "model_type": model.model_type or None,
        "last_updated": model.last_updated_timestamp,
        "lifecycle_stage": "deleted" if deleted else "active",
    }
    points = [
        {name: getattr(point, name, None) for name in models.POINT} for point in model.metrics or ()
    ]
    return models.made(
        {},
        model.name or "",
        model.model_id,
        model.creation_timestamp * 1000,
        fields,
        params=dict(model.params or {}),
        tags=dict(model.tags or {}),
        points=points,
        step=step,
    )
