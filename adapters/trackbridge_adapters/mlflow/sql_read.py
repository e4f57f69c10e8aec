"""Rows of the run model out of a database of MLflow's, in any revision."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from trackbridge.adapter import Batch, Row, RunRef
from trackbridge.columns import batches
from trackbridge.errors import NotFoundError
from trackbridge.optional import Excerpt
from trackbridge_adapters.mlflow import models, sql_models, sql_points, storage
from trackbridge_adapters.mlflow.entities import (
    CONTEXT,
    EXTRA,
    KEY_TAG,
    derive,
    extra,
    is_own_tag,
    micros,
    packed,
    status,
    text,
)
from trackbridge_adapters.mlflow.session import IN, Session
from trackbridge_adapters.mlflow.sql_list import experiments

RUN_COLUMNS = (
    "run_uuid",
    "experiment_id",
    "name",
    "status",
    "start_time",
    "end_time",
    "user_id",
    "source_name",
    "lifecycle_stage",
    "artifact_uri",
    *EXTRA,
)
GROUP = 1000
"""Runs whose small tables are in memory at a time."""

LOGGED = frozenset({"mlflow.log-model.history", "mlflow.loggedArtifacts", "mlflow.loggedImages"})
"""Tags of runs that have logged files (mlflow/utils/mlflow_tags.py, 3.17)."""

SMALL = ("params", "tags", "inputs", "artifacts", "files", "runs")


class Chunk:
    """The small tables of some runs; what is damaged is added to `damage`, by run."""

    def __init__(
        self,
        session: Session,
        refs: Sequence[RunRef],
        home: Path,
        damage: dict[str, list[str]],
    ) -> None:
        self.session = session
        self.home = home
        self.projects = {ref.run_id: ref.project for ref in refs}
        self.ids = json.dumps(list(self.projects))
        self.damage = damage
        self.runs = {
            row[0]: dict(zip(RUN_COLUMNS, row))
            for row in session.select("runs", RUN_COLUMNS, f"WHERE run_uuid {IN}", [self.ids])
        }
        self.tags = list(self._pairs("tags"))

    def rows(self, table: str) -> list[Row]:
        """The rows of one of the small tables."""
        make = {
            "params": lambda: self._pairs("params", type="string"),
            "tags": self._own_tags,
            "inputs": self._inputs,
            "artifacts": lambda: sql_models.read(self.session, self.ids, self._label),
            "files": self._files,
            "runs": self._runs,
        }
        return [*make[table]()]

    def _runs(self) -> Iterator[Row]:
        tags: dict[str, dict[str, str | None]] = defaultdict(dict)
        for row in self.tags:
            tags[row["run_id"]][row["key"]] = row["value"]
        for run_id, native in self.runs.items():
            damage = self.damage[run_id]
            words = {
                name: text(native[column], f"runs.{column}", damage)
                for name, column in (
                    ("name", "name"),
                    ("user", "user_id"),
                    ("program", "source_name"),
                    ("source", "artifact_uri"),
                )
            }
            started = micros(native["start_time"], "runs.start_time", damage)
            ended = micros(native["end_time"], "runs.end_time", damage)
            yield {
                **self._label(run_id),
                **derive(words, tags[run_id]),
                "status": status(native["status"]),
                "started": started,
                "ended": ended,
                "deleted": native["lifecycle_stage"] == "deleted",
                "source": words["source"],
                "extra": extra(native, damage),
            }

    def _own_tags(self) -> Iterator[Row]:
        carried = self._carried()
        for row in self.tags:
            if not is_own_tag(row["key"], carried=row["run_id"] in carried):
                yield row

    def _carried(self) -> set[str]:
        """Runs that were brought here."""
        return {row["run_id"] for row in self.tags if row["key"] == KEY_TAG}

    def _pairs(self, table: str, **constant: str) -> Iterator[Row]:
        columns = ("run_uuid", "key", "value")
        order = f'WHERE run_uuid {IN} ORDER BY run_uuid, "key"'
        for run_id, key, value in self.session.select(table, columns, order, [self.ids]):
            damage = self.damage[run_id]
            name = text(key, f"{table}.key", damage) or ""
            yield {
                **self._label(run_id),
                "key": name,
                "value": text(value, f"{table}/{name}", damage),
                **constant,
            }

    def _inputs(self) -> Iterator[Row]:
        if not self.session.tables >= {"inputs", "input_tags", "datasets"}:
            return
        tags: dict[str, dict[str, str | None]] = defaultdict(dict)
        edges = f"SELECT input_uuid FROM inputs WHERE destination_id {IN}"
        columns = ("input_uuid", "name", "value")
        query = f"WHERE input_uuid IN ({edges})"
        for edge, name, value in self.session.select("input_tags", columns, query, [self.ids]):
            tags[edge][name] = value
        found = self.session.fetch(
            "SELECT i.input_uuid, i.destination_id, d.name, d.digest, d.dataset_source_type,"
            " d.dataset_source, d.dataset_schema, d.dataset_profile FROM inputs i"
            " JOIN datasets d ON d.dataset_uuid = i.source_id"
            " WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN'"
            f" AND i.destination_id {IN} ORDER BY i.destination_id, d.name, d.digest",
            [self.ids],
        )
        names = ("name", "digest", "kind", "source", "schema", "profile")
        for edge, run_id, *values in found:
            damage = self.damage[run_id]
            yield {
                **self._label(run_id),
                **{n: text(v, f"datasets.{n}", damage) for n, v in zip(names, values)},
                "context": tags[edge].get(CONTEXT),
                "extra": packed({n: v for n, v in tags[edge].items() if n != CONTEXT}),
            }

    def _files(self) -> Iterator[Row]:
        carried = self._carried()
        made = list(sql_models.made_by(self.session, self.ids))
        logged = {row["run_id"] for row in self.tags if row["key"] in LOGGED}
        logged -= {model["run_id"] for model in made}
        places = []
        for run_id, native in self.runs.items():
            damage = self.damage[run_id]
            found = storage.find(native["artifact_uri"], self.home)
            if found is None:
                damage.append(f"artifacts: {native['artifact_uri']} cannot be listed from here")
                continue
            if run_id in logged and not found.exists():
                where = native["artifact_uri"]
                damage.append(f"artifacts: {where} is missing, and the files that were logged")
            places.append((run_id, "", storage.Wanted(found, damage, run_id in carried)))
        for model in made:
            found = storage.find(model["location"], self.home)
            owner = models.owner(model["name"], model["model_id"])
            if found is not None:
                places.append((model["run_id"], owner, storage.Wanted(found, [], False)))
        listed = storage.listed([wanted] for _, _, wanted in places)
        for (run_id, owner, _), (listing,) in zip(places, listed):
            for path, size, _ in listing.entries:
                yield {**self._label(run_id), "owner": owner, "path": path, "size": size}

    def _label(self, run_id: str) -> Row:
        return {"project": self.projects[run_id], "run_id": run_id}


def runs(
    session: Session, refs: Sequence[RunRef], tables: Collection[str] | None, home: Path
) -> Iterator[Batch]:
    """The rows of some runs, `runs` last: only then is known what of them is damaged."""
    wanted = {"metrics", *SMALL} if tables is None else set(tables)
    _check(session, refs)
    doubtful = True
    if "metrics" in wanted:
        points = sql_points.Points(session, {ref.run_id: ref.project for ref in refs})
        for data in points:
            yield Batch("metrics", data)
        doubtful = points.irregular
    wanted &= set(SMALL)
    if wanted:
        ids = [ref.run_id for ref in refs]
        bad = session.bad_points(ids) if doubtful and "runs" in wanted else ()
        yield from _small(session, refs, wanted, home, bad)


def rest(session: Session, ref: RunRef, home: Path, *, sound: bool) -> Iterator[Batch]:
    """The rows of a run but its points."""
    _check(session, [ref])
    yield from _small(session, [ref], SMALL, home, session.bad_points([ref.run_id], sound=sound))


def _small(
    session: Session,
    refs: Sequence[RunRef],
    wanted: Collection[str],
    home: Path,
    bad_points: Iterable[tuple[str, str]],
) -> Iterator[Batch]:
    """The rows of small tables."""
    damage: dict[str, list[str]] = defaultdict(list)
    for run_id, line in bad_points:
        damage[run_id].append(line)
    for start in range(0, len(refs), GROUP):
        chunk = Chunk(session, refs[start : start + GROUP], home, damage)
        for table in SMALL:
            if table in wanted or "runs" in wanted:
                rows = chunk.rows(table)
                if table in wanted:
                    yield from batches(table, rows)


def points(session: Session, refs: Sequence[RunRef], excerpt: Excerpt) -> Iterator[Batch]:
    """Some of the points of some runs."""
    _check(session, refs)
    for data in sql_points.Points(session, {ref.run_id: ref.project for ref in refs}, excerpt):
        yield Batch("metrics", data)


def piece(session: Session, ref: RunRef, piece: str) -> Iterator[Batch]:
    """The points of a run that are in a piece."""
    _check(session, [ref])
    for data in sql_points.Points(session, {ref.run_id: ref.project}, piece=piece):
        yield Batch("metrics", data)


def _check(session: Session, refs: Sequence[RunRef]) -> None:
    """`NotFoundError` for the first run that is not there."""
    labels, _ = experiments(session)
    ids = json.dumps([ref.run_id for ref in refs])
    columns = ("run_uuid", "experiment_id")
    found: dict[str, int] = dict(session.select("runs", columns, f"WHERE run_uuid {IN}", [ids]))
    for ref in refs:
        number = str(found.get(ref.run_id))
        if ref.run_id not in found or labels.get(number, number) != ref.project:
            raise NotFoundError(
                f"{session.name}: no run {ref.run_id} in experiment {ref.project!r}"
            )
