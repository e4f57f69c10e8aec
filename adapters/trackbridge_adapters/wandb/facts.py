"""What the records of a run say of it as a whole: one state, changed by each record in order."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from google.protobuf import json_format

from trackbridge.adapter import ORIGIN, Row, RunKey
from trackbridge.errors import IntegrityError
from trackbridge_adapters.wandb import jsontext
from trackbridge_adapters.wandb.jsontext import Tree
from trackbridge_adapters.wandb.records import CLASSES

INTERNAL = "_wandb"
"""Entry of config and summary that belongs to the tracker."""
AGGREGATES = ("min", "max", "mean", "best", "last", "none", "copy", "first")
GOALS = (None, "minimize", "maximize")
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

RUN_COLUMNS = {
    "display_name": "name",
    "run_group": "group",
    "job_type": "job_type",
    "sweep_id": "sweep_id",
    "notes": "notes",
    "host": "host",
}
"""Fields of the run record with a column of their own in `runs`."""
RUN_EXTRA = ("starting_step", "storage_id", "resumed", "forked", "resume", "runtime")
"""Fields of the run record that are kept in `extra`."""


class Facts:
    """A run's state after the records so far; `origin` is our own entry in its config."""

    def __init__(self) -> None:
        self.run = CLASSES["RunRecord"]()
        self.telemetry = CLASSES["TelemetryRecord"]()
        self.environment = CLASSES["EnvironmentRecord"]()
        self.version = CLASSES["VersionInfo"]()
        self.exit: Any = None
        self.started: int | None = None  # us; of the first process, if the run was resumed
        self.resumed: int | None = None  # us; of the last one
        self.config: Tree = {}
        self.summary: Tree = {}
        self.removed: set[str] = set()  # from the summary, by name
        self.metrics: dict[tuple[str, str], Any] = {}
        self.alerts: list[Any] = []
        self.artifacts: list[Any] = []
        self.used: list[Any] = []
        self.saved: dict[str, tuple[int, int]] = {}
        self.boards: list[Any] = []
        self.preempted = False
        self.unknown = 0

    def apply(self, kind: str | None, record: Any) -> None:
        """Takes a record that is neither history nor stats nor output.

        Records that Trackbridge has added for W&B's own use are no facts of the run.
        """
        if record.uuid == ORIGIN:
            return
        if kind is None:
            self.unknown += 1
            return
        change = getattr(self, f"_{kind}", None)
        if change is not None:
            change(getattr(record, kind))

    def _header(self, record: Any) -> None:
        self.version.MergeFrom(record.version_info)

    def _run(self, record: Any) -> None:
        tags = list(record.tags) or list(self.run.tags)
        self._config(record.config)
        self._summary(record.summary)
        self._telemetry(record.telemetry)
        for field in ("config", "summary", "telemetry", "tags"):
            record.ClearField(field)
        self.run.MergeFrom(record)
        self.resumed = timestamp_us(self.run, "start_time")
        if self.started is None:
            self.started = self.resumed
        self.run.ClearField("tags")
        self.run.tags.extend(tags)

    def _config(self, record: Any) -> None:
        _update(self.config, record)

    def _summary(self, record: Any) -> None:
        _update(self.summary, record)
        self.removed |= {_path(item)[0] for item in record.remove if len(_path(item)) == 1}

    def _telemetry(self, record: Any) -> None:
        self.telemetry.MergeFrom(record)

    def _environment(self, record: Any) -> None:
        self.environment.MergeFrom(record)

    def _exit(self, record: Any) -> None:
        self.exit = record

    def _metric(self, record: Any) -> None:
        name = (record.name, record.glob_name)
        known = self.metrics.get(name)
        if known is None or record._control.overwrite:
            self.metrics[name] = record
        else:
            known.MergeFrom(record)

    def _alert(self, record: Any) -> None:
        self.alerts.append(record)

    def _artifact(self, record: Any) -> None:
        self.artifacts.append(record)

    def _use_artifact(self, record: Any) -> None:
        self.used.append(record)

    def _files(self, record: Any) -> None:
        self.saved.update((item.path, (item.policy, item.type)) for item in record.files)

    def _tbrecord(self, record: Any) -> None:
        self.boards.append(record)

    def _preempting(self, record: Any) -> None:
        self.preempted = True

    def begin(self) -> None:
        """A further folder of the run begins: whether it ended is open again."""
        self.exit = None

    @property
    def project(self) -> str:
        """The label in the `project` column."""
        return project_label(self.run.entity, self.run.project)

    def origin(self) -> dict[str, Any]:
        """Our own entry in the config; empty for runs that Trackbridge has not written."""
        entry = self.config.get(ORIGIN)
        if not isinstance(entry, dict) or not isinstance(entry.get("run_key"), str):
            return {}
        return dict(jsontext.load(jsontext.dump(entry)))


def project_label(entity: str, project: str) -> str:
    return f"{entity}/{project}" if entity else project


def origin_key(facts: Facts) -> RunKey | None:
    """The key of a run that Trackbridge has written; None for any other."""
    text = facts.origin().get("run_key")
    try:
        return RunKey.parse(text) if isinstance(text, str) else None
    except IntegrityError:  # an entry of the run's own that only looks like ours
        return None


def timestamp_us(message: Any, field: str) -> int | None:
    """A message's timestamp in microseconds, rounded; None where it is not set."""
    if not message.HasField(field):
        return None
    time = getattr(message, field)
    return int(time.seconds) * 1_000_000 + (int(time.nanos) + 500) // 1000


def _path(item: Any) -> tuple[str, ...]:
    return (item.key,) if item.key or not item.nested_key else tuple(item.nested_key)


def _update(tree: Tree, record: Any) -> None:
    for item in record.update:
        try:
            node = jsontext.parse(item.value_json)
        except ValueError:
            node = jsontext.quote(item.value_json)
        jsontext.put(tree, _path(item), node)
    for item in record.remove:
        jsontext.drop(tree, _path(item))


def own_entries(facts: Facts, tree: Tree) -> Tree:
    """The entries of config or summary that are neither the tracker's nor ours."""
    hidden = {INTERNAL, ORIGIN} if facts.origin() else {INTERNAL}
    return {key: node for key, node in tree.items() if key not in hidden}


def leaf_rows(tree: Tree) -> Iterator[Row]:
    """Rows of `params` or `summary`, without those that belong to a tracker."""
    for path, text in jsontext.leaves(tree):
        kind, value = jsontext.leaf(text)
        parts = [jsontext.storable(part) for part in path]
        nested = json.dumps(parts, ensure_ascii=False) if len(parts) > 1 else None
        yield {"key": ".".join(parts), "path": nested, "value": value, "type": kind}


def metric_rows(records: Iterable[Any]) -> Iterator[Row]:
    for record in records:
        extra = json_format.MessageToDict(record, preserving_proto_field_name=True)
        for field in ("name", "glob_name", "step_metric", "goal", "summary", "_control"):
            extra.pop(field, None)
        extra.get("options", {}).pop("hidden", None)
        aggregates = [name for name in AGGREGATES if getattr(record.summary, name)]
        yield {
            "key": record.name or record.glob_name,
            "glob": not record.name,
            "x_axis": record.step_metric or None,
            "summary": ",".join(aggregates) or None,
            "goal": GOALS[record.goal] if record.goal < len(GOALS) else None,
            "hidden": record.options.hidden,
            "extra": compact(extra),
        }


def alert_rows(records: Iterable[Any]) -> Iterator[Row]:
    for record in records:
        whole = {"title": record.title, "text": record.text, "level": record.level}
        whole["wait_duration"] = record.wait_duration
        yield {
            "title": record.title,
            "level": record.level or None,
            "definition": json.dumps(whole, sort_keys=True, ensure_ascii=False),
        }


def compact(extra: dict[str, Any]) -> str | None:
    """Extra fields as JSON, without empty ones; null where none is left."""
    some = {name: value for name, value in extra.items() if value not in (None, "", [], {})}
    return json.dumps(some, sort_keys=True, ensure_ascii=False) if some else None


def run_row(facts: Facts) -> Row:
    """The row of `runs`, but for what only files say."""
    run, exit_record = facts.run, facts.exit
    runtime, resumed = _runtime(facts), facts.resumed
    ended = None if resumed is None or runtime is None else resumed + runtime * 1_000_000
    origin, environment = facts.origin(), facts.environment
    status = "crashed"
    if exit_record is not None:
        status = "failed" if exit_record.exit_code else "finished"
    row: Row = {column: getattr(run, field) or None for field, column in RUN_COLUMNS.items()}
    row.update(
        status=status,
        started=_datetime(facts.started),
        ended=_datetime(ended),
        user=origin.get("user") or environment.username or None,
        program=origin.get("program") or environment.program or None,
        git_remote=run.git.remote_url or environment.git.remote_url or None,
        git_commit=run.git.commit or environment.git.commit or None,
        python=facts.telemetry.python_version or None,
        deleted=False,
    )
    row["host"] = row["host"] or environment.host or None
    return row


def _runtime(facts: Facts) -> int | None:
    """Seconds that the run took; wandb 0.18 and later write them into the summary alone."""
    if facts.exit is None:
        return None
    internal = facts.summary.get(INTERNAL)
    told = internal.get("runtime") if isinstance(internal, dict) else None
    if facts.exit.runtime or facts.origin() or not isinstance(told, str) or not told.isdigit():
        return int(facts.exit.runtime)
    return int(told)


def _datetime(micros: int | None) -> datetime | None:
    return None if micros is None else EPOCH + timedelta(microseconds=micros)


def run_extra(facts: Facts) -> dict[str, Any]:
    """Native fields that have no column, as `runs.extra` shows them."""
    run = facts.run
    telemetry = CLASSES["TelemetryRecord"]()
    telemetry.CopyFrom(facts.telemetry)
    telemetry.ClearField("python_version")
    extra: dict[str, Any] = {field: getattr(run, field) for field in RUN_EXTRA}
    extra["settings"] = {item.key: item.value_json for item in run.settings.item}
    extra["branch_point"] = _fields(run.branch_point)
    extra["environment"] = _fields(facts.environment)
    extra["version"] = _fields(facts.version)
    extra["telemetry"] = base64.b64encode(telemetry.SerializeToString()).decode()
    extra["exit_code"] = None if facts.exit is None else facts.exit.exit_code
    extra["saved"] = {path: list(how) for path, how in facts.saved.items()}
    extra["tensorboard"] = [_fields(record) for record in facts.boards]
    extra["preempted"] = facts.preempted
    extra["unknown_records"] = facts.unknown
    for name, tree in (("_wandb", facts.config), ("summary_wandb", facts.summary)):
        internal = tree.get(INTERNAL)
        extra[name] = None if internal is None else jsontext.load(jsontext.dump(internal))
    return {name: value for name, value in extra.items() if value not in (None, "", [], {}, False)}


def _fields(message: Any) -> dict[str, Any]:
    return dict(json_format.MessageToDict(message, preserving_proto_field_name=True))
