"""Rows of the run model out of the folders of a file store."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trackbridge.adapter import Batch, Row
from trackbridge.columns import batches, within
from trackbridge.optional import Excerpt
from trackbridge_adapters.mlflow import artifacts, files_models, folders
from trackbridge_adapters.mlflow.entities import (
    CONTEXT,
    EXTRA,
    KEY_TAG,
    SOURCES,
    SYSTEM,
    derive,
    extra,
    is_own_tag,
    micros,
    packed,
    status,
    text,
)
from trackbridge_adapters.mlflow.files_models import Models
from trackbridge_adapters.mlflow.files_points import MetricFile, Series
from trackbridge_adapters.mlflow.files_points import packed as packed_points
from trackbridge_adapters.mlflow.folders import META, RunFolder

SMALL = ("params", "tags", "inputs", "artifacts", "files", "runs")
GROUP = 1000
"""Runs whose small tables share batches."""


def runs(
    folders_of_runs: Sequence[RunFolder], tables: Collection[str] | None, home: Path
) -> Iterator[Batch]:
    """The rows of some runs, `runs` last: only then is known what of them is damaged."""
    wanted = {"metrics", *SMALL} if tables is None else set(tables)
    for start in range(0, len(folders_of_runs), GROUP):
        known: dict[Path, Models] = {}
        group = []
        for folder in folders_of_runs[start : start + GROUP]:
            path = folder.experiment.path
            known[path] = known.get(path) or Models(folder.experiment)
            group.append(Reading(folder, known[path], home))
        if wanted & {"metrics", "runs"}:
            for data in packed_points(part for run in group for part in run.points()):
                if "metrics" in wanted:
                    yield Batch("metrics", data)
        rows: dict[str, list[Row]] = {table: [] for table in SMALL}
        for run in group:
            for table, found in run.small().items():
                rows[table] += found
        for table in SMALL:
            if table in wanted:
                yield from batches(table, rows[table])


def points(folders_of_runs: Sequence[RunFolder], excerpt: Excerpt) -> Iterator[Batch]:
    """Some of the points of some runs, out of the files of the keys that are asked for."""
    found = (
        Series(run.ref, key, columns)
        for run in folders_of_runs
        for key, path in _metrics(run, [])
        if excerpt.keys is None or key.removeprefix(SYSTEM) in excerpt.keys
        for columns in MetricFile(path, key)
    )
    for data in packed_points(found):
        rows = within(data, excerpt)
        if rows.num_rows:
            yield Batch("metrics", rows)


def _metrics(run: RunFolder, damage: list[str]) -> Iterator[tuple[str, str]]:
    """Key and file of each metric of a run."""
    for name, path in folders.files(f"{run.path}/metrics", "metrics", damage):
        yield text(name, "metrics", damage) or "", path


class Reading:
    """One run as it is read; `damage` grows with each table."""

    def __init__(self, run: RunFolder, models: Models, home: Path) -> None:
        self.run, self.models, self.home = run, models, home
        self.damage = list(run.damage)
        self.label = {"project": run.ref.project, "run_id": run.ref.run_id}

    def points(self) -> Iterator[Series]:
        for key, path in _metrics(self.run, self.damage):
            file = MetricFile(path, f"metrics/{key}")
            for columns in file:
                yield Series(self.run.ref, key, columns)
            self.damage += file.damage

    def small(self) -> dict[str, list[Row]]:
        """Rows of the small tables, `runs` last."""
        tags = self._pairs("tags")
        values = {row["key"]: row["value"] for row in tags}
        rows = {
            "params": [{**row, "type": "string"} for row in self._pairs("params")],
            "tags": [row for row in tags if not is_own_tag(row["key"], carried=KEY_TAG in values)],
            "inputs": list(self._inputs()),
            "artifacts": list(files_models.rows(self.run, self.models, self.label, self.damage)),
            "files": [*self._files(carried=KEY_TAG in values), *self._model_files()],
        }
        return {**rows, "runs": [self._row(values)]}

    def _pairs(self, part: str) -> list[Row]:
        found = folders.values(f"{self.run.path}/{part}", part, self.damage)
        return [{**self.label, "key": key, "value": value} for key, value in found]

    def _row(self, tags: Mapping[str, str | None]) -> Row:
        meta = self.run.meta
        words = {
            name: text(value, META, self.damage)
            for name, value in (
                ("name", meta.get("run_name") or meta.get("name")),
                ("user", meta.get("user_id")),
                ("program", meta.get("source_name")),
                ("source", meta.get("artifact_uri")),
            )
        }
        native = {name: meta.get(name) for name in EXTRA}
        native["source_type"] = SOURCES.get(meta.get("source_type", 1000), "UNKNOWN")
        started, ended = (
            micros(meta.get(name), f"{META}: {name}", self.damage)
            for name in ("start_time", "end_time")
        )
        return {
            **self.label,
            **derive(words, tags),
            "status": status(meta.get("status")),
            "started": started,
            "ended": ended,
            "deleted": meta.get("lifecycle_stage") == "deleted",
            "source": words["source"],
            "extra": extra(native, self.damage),
        }

    def _inputs(self) -> Iterator[Row]:
        """Datasets: a folder for each edge, which names a folder of the experiment."""
        for name, path in folders.files(f"{self.run.path}/inputs", "inputs", self.damage):
            if not name.endswith(META):
                continue
            edge = folders.read_yaml(path, f"inputs/{name}", self.damage)
            if edge.get("source_type") != "DATASET":
                continue
            where = f"datasets/{edge.get('source_id')}/{META}"
            data = folders.read_yaml(self.run.experiment.path / where, where, self.damage)
            tags = edge.get("tags")
            tags = dict(tags) if isinstance(tags, dict) else {}
            names = ("name", "digest", "source", "schema", "profile")
            words: dict[str, Any] = {n: text(data.get(n), where, self.damage) for n in names}
            yield {
                **self.label,
                **words,
                "kind": text(data.get("source_type"), where, self.damage),
                "context": tags.pop(CONTEXT, None),
                "extra": packed(tags),
            }

    def _files(self, *, carried: bool) -> Iterator[Row]:
        folder = self.run.artifacts(self.home)
        if folder is None:
            uri = self.run.meta.get("artifact_uri")
            self.damage.append(f"artifacts: {uri} cannot be listed from here")
            return
        for entry in artifacts.walk(folder, self.damage, carried=carried):
            yield {**self.label, "owner": "", "path": entry.path, "size": entry.size}

    def _model_files(self) -> Iterator[Row]:
        for path in self.models.made_by(self.run.path.name):
            owner = files_models.owner_of(path)
            for entry in artifacts.walk(path / "artifacts", self.damage):
                yield {**self.label, "owner": owner, "path": entry.path, "size": entry.size}
