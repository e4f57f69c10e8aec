"""Logged models of a file store, as rows of `artifacts`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trackbridge.adapter import Row
from trackbridge_adapters.mlflow import folders, models
from trackbridge_adapters.mlflow.entities import micros
from trackbridge_adapters.mlflow.folders import META, MODELS, Experiment, RunFolder

FIELDS = {
    "last_updated_timestamp": "last_updated",
    "status": "status",
    "status_message": "status_message",
    "model_type": "model_type",
    "lifecycle_stage": "lifecycle_stage",
}
"""Name in meta.yaml -> name in the metadata."""


class Models:
    """The models of an experiment by the run that made them."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._by_run: dict[str, list[Path]] = defaultdict(list)
        for path in folders.subfolders(experiment.path / MODELS):
            run = folders.read_yaml(path / META, META, []).get("source_run_id")
            self._by_run[str(run)].append(path)

    def made_by(self, run_id: str) -> list[Path]:
        """Folders of models."""
        return self._by_run.get(run_id, [])

    def stray(self) -> int:
        """How many models no run has made."""
        runs = {run.path.name for run in folders.runs(self._experiment)}
        return sum(len(paths) for run, paths in self._by_run.items() if run not in runs)


def owner_of(model: Path) -> str:
    """What the files of a model belong to."""
    meta = folders.read_yaml(model / META, META, [])
    return models.owner(str(meta.get("name") or model.name), model.name)


def rows(run: RunFolder, known: Models, label: Row, damage: list[str]) -> Iterator[Row]:
    """Rows of `artifacts` of a run."""
    outputs = dict(_outputs(run, damage))
    for path in known.made_by(run.path.name):
        where = f"{MODELS}/{path.name}"
        meta = folders.read_yaml(path / META, f"{where}/{META}", damage)
        yield models.made(
            label,
            str(meta.get("name") or path.name),
            path.name,
            micros(meta.get("creation_timestamp"), where, damage),
            {ours: meta.get(theirs) for theirs, ours in FIELDS.items()},
            params=dict(folders.values(path / "params", f"{where}/params", damage)),
            tags=dict(folders.values(path / "tags", f"{where}/tags", damage)),
            points=list(_points(path, where, damage)),
            step=outputs.pop(path.name, None),
        )
    for model_id, step in outputs.items():
        yield models.mentioned(label, model_id, "logged", step)
    for model_id in _inputs(run, damage):
        yield models.mentioned(label, model_id, "used")


def _outputs(run: RunFolder, damage: list[str]) -> Iterator[tuple[str, int]]:
    for path in folders.subfolders(run.path / "outputs", "outputs", damage):
        edge = folders.read_yaml(path / META, f"outputs/{path.name}/{META}", damage)
        step = edge.get("step")
        yield path.name, step if isinstance(step, int) else 0


def _inputs(run: RunFolder, damage: list[str]) -> Iterator[str]:
    for path in folders.subfolders(run.path / "inputs"):
        edge = folders.read_yaml(path / META, f"inputs/{path.name}/{META}", damage)
        if edge.get("source_type") in ("MODEL", "RUN_INPUT"):
            yield str(edge.get("source_id"))


def _points(model: Path, where: str, damage: list[str]) -> Iterator[dict[str, Any]]:
    """Lines `time value step run`, with the dataset's name and digest behind (3.17)."""
    for key, text in folders.values(model / "metrics", f"{where}/metrics", damage):
        for number, line in enumerate(text.splitlines(), 1):
            fields = line.split()
            try:
                point = {"key": key, "timestamp": int(fields[0]), "value": float(fields[1])}
                point.update(step=int(fields[2]), run_id=fields[3])
            except (ValueError, IndexError):
                damage.append(f"{where}/metrics/{key}: line {number}: no point: {line[:40]!r}")
                continue
            if len(fields) > 5:
                point.update(dataset_name=" ".join(fields[4:-1]), dataset_digest=fields[-1])
            yield point
