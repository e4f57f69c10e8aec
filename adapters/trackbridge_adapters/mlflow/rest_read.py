"""Rows of the run model out of what a server says of its runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from trackbridge.adapter import Batch, Row, RunRef
from trackbridge.columns import batches, within
from trackbridge.optional import Excerpt
from trackbridge_adapters.mlflow import models
from trackbridge_adapters.mlflow.entities import (
    CONTEXT,
    PARENT,
    TWINS_TAG,
    derive,
    extra,
    micros,
    packed,
    status,
    text,
)
from trackbridge_adapters.mlflow.rest_files import Place, is_model_file, is_own
from trackbridge_adapters.mlflow.rest_ids import (
    OWN_TAGS,
    Experiments,
    Ids,
    Run,
    check,
    hidden_row,
    model_id,
    pairs,
    reference,
)
from trackbridge_adapters.mlflow.rest_list import made
from trackbridge_adapters.mlflow.rest_points import Damage, points
from trackbridge_adapters.mlflow.rest_server import Json, Server, each

GROUP = 200
"""Runs whose small tables are in memory at a time."""
SMALL = ("params", "tags", "inputs", "artifacts", "files", "runs")
INPUT = ("name", "digest", "source", "schema", "profile")
STATES = {"LOGGED_MODEL_PENDING": 1, "LOGGED_MODEL_READY": 2, "LOGGED_MODEL_UPLOAD_FAILED": 3}
"""`LoggedModelStatus` by its name in JSON, as numbers in the databases (service.proto, 3.17)."""

Tables = dict[str, list[Row]]


def runs(
    server: Server, ids: Ids, refs: Sequence[RunRef], tables: Collection[str] | None
) -> Iterator[Batch]:
    """The rows of some runs, `runs` last of each group."""
    wanted = {"metrics", *SMALL} if tables is None else set(tables)
    for there in _groups(server, ids, refs):
        damage = Damage()
        if "metrics" in wanted:
            for data in points(server, there, damage):
                yield Batch("metrics", data)
        if wanted & set(SMALL):
            rows: Tables = defaultdict(list)
            readings = [_Reading(server, ids, *one, damage.lines(one[0])) for one in there]
            for part in each(lambda reading: reading.tables(wanted), readings):
                for table, some in part.items():
                    rows[table] += some
            for table in SMALL:
                if table in wanted:
                    yield from batches(table, rows[table])


def some_points(
    server: Server, ids: Ids, refs: Sequence[RunRef], excerpt: Excerpt
) -> Iterator[Batch]:
    """Some of the points of some runs: only metrics of the keys that are asked for are read."""
    for there in _groups(server, ids, refs):
        for data in points(server, there, Damage(), excerpt.keys):
            rows = within(data, excerpt)
            if rows.num_rows:
                yield Batch("metrics", rows)


def _groups(server: Server, ids: Ids, refs: Sequence[RunRef]) -> Iterator[list[tuple[RunRef, Run]]]:
    """The runs, some at a time, as the server has them."""
    experiments = Experiments(server)
    for start in range(0, len(refs), GROUP):
        group = refs[start : start + GROUP]
        found = ids.find([ref.run_id for ref in group], experiments)
        yield [(ref, check(run, ref, experiments, server.name)) for ref, run in zip(group, found)]


class _Reading:
    """The small tables of one run."""

    def __init__(self, server: Server, ids: Ids, ref: RunRef, run: Run, damage: list[str]) -> None:
        self._server, self._ids, self._run = server, ids, run
        self._label: Row = ref._asdict()
        self._damage = damage
        self._models: list[Json] = []

    def tables(self, wanted: Collection[str]) -> Tables:
        """Those that are wanted, and `runs` with what was found to be damaged on the way."""
        run = self._run
        tags = {name: self._told(name, value) for name, value in run.tags.items()}
        found: Tables = {}
        if {"artifacts", "files", "runs"} & set(wanted):
            condition = f"source_run_id = '{run.native_id}'"
            number = run.info["experiment_id"]
            self._models = made(self._server, [number], condition)[run.native_id]
        if {"files", "runs"} & set(wanted):
            found["files"] = list(self._files())
        found["params"] = [
            self._pair("params", *pair, type="string") for pair in run.params.items()
        ]
        found["tags"] = [
            self._pair("tags", name, value)
            for name, value in tags.items()
            if name not in OWN_TAGS or (name == TWINS_TAG and not run.carried)
        ]
        found["inputs"] = list(self._inputs())
        found["artifacts"] = list(self._artifacts())
        found["runs"] = [self._row(tags)]
        return found

    def _row(self, tags: dict[str, str]) -> Row:
        info, damage = self._run.info, self._damage
        words = {
            "name": text(info.get("run_name"), "runs.name", damage),
            "user": text(info.get("user_id"), "runs.user_id", damage),
        }
        return {
            **self._label,
            **derive(words, tags),
            "status": status(info.get("status")),
            "started": micros(info.get("start_time"), "runs.start_time", damage),
            "ended": micros(info.get("end_time"), "runs.end_time", damage),
            "deleted": self._run.is_deleted,
            "source": info.get("artifact_uri"),
            "extra": extra({}, damage),
        }

    def _told(self, name: str, value: str) -> str:
        """The value of a tag, with our ids of runs in the place of the server's."""
        if name == PARENT:
            return self._ids.ours(value) if value else value
        return value.replace(self._run.native_id, self._run.id) if reference(name) else value

    def _pair(self, table: str, key: str, value: str, **constant: str) -> Row:
        name = text(key, f"{table}.key", self._damage) or ""
        content = text(value, f"{table}/{name}", self._damage)
        return {**self._label, "key": name, "value": content, **constant}

    def _inputs(self) -> Iterator[Row]:
        for native in (self._run.native.get("inputs") or {}).get("dataset_inputs") or ():
            dataset, tags = native.get("dataset") or {}, pairs(native.get("tags"))
            context = tags.pop(CONTEXT, None)
            yield {
                **self._label,
                **{name: dataset.get(name) for name in INPUT},
                "kind": dataset.get("source_type"),
                "context": context,
                "extra": packed(tags),
            }

    def _artifacts(self) -> Iterator[Row]:
        native = self._run.native
        listed = (native.get("outputs") or {}).get("model_outputs") or ()
        outputs = {row["model_id"]: int(row.get("step") or 0) for row in listed}
        for model in sorted(self._models, key=lambda m: str(m["info"]["model_id"])):
            step = outputs.pop(model["info"]["model_id"], None)
            yield model_row(self._label, model, step, self._ids.ours)
        for name, step in outputs.items():
            yield models.mentioned(self._label, self._ids.model(name), "logged", step)
        for row in (native.get("inputs") or {}).get("model_inputs") or ():
            yield models.mentioned(self._label, self._ids.model(row["model_id"]), "used")

    def _files(self) -> Iterator[Row]:
        run = self._run
        places = [("", Place(self._server, run.info.get("artifact_uri"), run.native_id))]
        for model in self._models:
            info = model["info"]
            place = Place(self._server, info.get("artifact_uri"), run.native_id, info["model_id"])
            places.append((models.owner(info.get("name") or "", model_id(model)), place))
        for owner, place in places:
            for entry in place.walk(self._damage):
                if not (owner == "" and is_own(entry.path, carried=run.carried)):
                    # ids in it may be of another length than those that are shown
                    size = None if run.carried and is_model_file(entry.path) else entry.size
                    yield {**self._label, "owner": owner, "path": entry.path, "size": size}


def model_row(label: Row, model: Json, step: int | None, ours: Any) -> Row:
    """The row of `artifacts` for a logged model in the run that made it."""
    info, data = model["info"], model.get("data") or {}
    tags = pairs(info.get("tags"))
    hidden = hidden_row(tags)
    fields = {
        "status": STATES.get(info.get("status") or "", 0),
        "status_message": info.get("status_message") or None,
        "model_type": info.get("model_type") or None,
        "last_updated": _whole(info.get("last_updated_timestamp_ms")),
        "lifecycle_stage": "active",
        **hidden.get("fields", {}),
    }
    points = [
        {
            "key": point["key"],
            "value": float(point.get("value", 0.0)),
            "timestamp": int(point.get("timestamp") or 0),
            "step": int(point.get("step") or 0),
            "run_id": ours(point["run_id"]) if point.get("run_id") else None,
            "dataset_name": point.get("dataset_name"),
            "dataset_digest": point.get("dataset_digest"),
        }
        for point in data.get("metrics") or ()
    ]
    created = hidden["created"] if "created" in hidden else _whole(info["creation_timestamp_ms"])
    return models.made(
        label,
        info.get("name") or "",
        hidden.get("id") or info["model_id"],
        None if created is None else created * 1000,
        fields,
        params=pairs(data.get("params")),
        tags=dict(tags),
        points=points,
        step=step,
    )


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
