"""The small tables of a run, made from its facts."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf import json_format

from trackbridge.adapter import ORIGIN, Row
from trackbridge.times import moment
from trackbridge_adapters.wandb import jsontext
from trackbridge_adapters.wandb.artifacts import Version
from trackbridge_adapters.wandb.facts import INTERNAL, Facts
from trackbridge_adapters.wandb.jsontext import Tree
from trackbridge_adapters.wandb.records import CLASSES

AGGREGATES = ("min", "max", "mean", "best", "last", "none", "copy", "first")
GOALS = (None, "minimize", "maximize")

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
ARTIFACT_EXTRA = (
    "user_created",
    "distributed_id",
    "client_id",
    "sequence_client_id",
    "base_id",
    "ttl_duration_seconds",
    "digest_algorithm",
    "incremental_beta1",
)
"""Fields of the artifact record that are kept in `extra`."""
POLICY: dict[str, Any] = {
    "storage_policy": "wandb-storage-policy-v1",
    "config": {"storageLayout": "V2"},
}
"""What a manifest says of its storage unless it is special (wandb 0.10 to 0.31)."""


SMALL = (
    "runs",
    "params",
    "summary",
    "tags",
    "metric_defs",
    "alerts",
    "inputs",
    "artifacts",
    "files",
)
"""Tables of a run that are no streams."""


def small_tables(facts: Facts, found: list[Version]) -> dict[str, list[Row]]:
    """Every small table but `files`."""
    return {
        "runs": [run_row(facts)],
        "params": list(leaf_rows(own_entries(facts, facts.config))),
        "summary": list(leaf_rows(own_entries(facts, facts.summary))),
        "tags": [{"key": tag} for tag in dict.fromkeys(facts.run.tags)],
        "metric_defs": list(metric_rows(facts.metrics.values())),
        "alerts": list(alert_rows(facts.alerts)),
        "inputs": list(input_rows(facts.used)),
        "artifacts": list(artifact_rows(found)),
    }


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
        started=moment(facts.started),
        ended=moment(ended),
        user=origin.get("user") or environment.username or None,
        program=origin.get("program") or environment.program or None,
        git_remote=run.git.remote_url or environment.git.remote_url or None,
        git_commit=run.git.commit or environment.git.commit or None,
        python=facts.telemetry.python_version or None,
        deleted=False,
    )
    row["host"] = row["host"] or environment.host or None
    row["extra"] = compact(run_extra(facts))
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
    special = facts.special_names or facts.told_names()
    extra["special_names"] = {name: list(path) for name, path in special.items()}
    extra["unknown_records"] = facts.unknown
    for name, tree in (("_wandb", facts.config), ("summary_wandb", facts.summary)):
        internal = tree.get(INTERNAL)
        extra[name] = None if internal is None else jsontext.load(jsontext.dump(internal))
    return {name: value for name, value in extra.items() if value not in (None, "", [], {}, False)}


def _fields(message: Any) -> dict[str, Any]:
    return dict(json_format.MessageToDict(message, preserving_proto_field_name=True))


def artifact_rows(found: list[Version]) -> Iterator[Row]:
    for version in found:
        record = version.record
        yield {
            "collection": record.name,
            "kind": record.type or None,
            "version": f"v{version.number}",
            "aliases": json.dumps(sorted(record.aliases), ensure_ascii=False),
            "digest": record.digest or None,
            "direction": "used" if record.use_after_commit else "logged",
            "description": record.description or None,
            "metadata": record.metadata or None,
            "extra": _extra(record),
        }


def _extra(record: Any) -> str | None:
    extra = {field: getattr(record, field) or None for field in ARTIFACT_EXTRA}
    for field in ("client_id", "sequence_client_id"):
        if str(extra[field]).startswith(ORIGIN):  # made up, since the run had none
            extra[field] = None
    extra["tags"] = list(record.tags)
    manifest = record.manifest
    config = {item.key: jsontext.load(item.value_json) for item in manifest.storage_policy_config}
    policy = {"storage_policy": manifest.storage_policy, "config": config}
    if policy != POLICY:
        extra["manifest"] = policy
    return compact(extra)


def file_rows(found: list[Version]) -> Iterator[Row]:
    """Rows of `files` of all versions."""
    for version in found:
        for entry in version.entries:
            extra = {item.key: jsontext.load(item.value_json) for item in entry.extra}
            extra["birth_artifact_id"] = entry.birth_artifact_id
            if entry.ref:
                extra["digest"] = entry.digest
            yield {
                "owner": version.owner,
                "path": entry.path,
                "size": entry.size if entry.size or not entry.ref else None,
                "media_type": entry.mimetype or None,
                "reference": entry.ref or None,
                "extra": compact(extra),
            }


def input_rows(records: list[Any]) -> Iterator[Row]:
    for record in records:
        yield {
            "name": record.name,
            "kind": record.type or None,
            "extra": compact({"id": record.id}),
        }
