"""Makes the records of a run from its small tables: what `facts` and `tables` undo."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from google.protobuf import json_format

from trackbridge.adapter import ORIGIN, Row, RunKey, RunRef
from trackbridge.times import micros
from trackbridge_adapters.wandb import jsontext, names
from trackbridge_adapters.wandb.facts import INTERNAL, OUR_DIGEST
from trackbridge_adapters.wandb.jsontext import Tree
from trackbridge_adapters.wandb.records import CLASSES, Record
from trackbridge_adapters.wandb.tables import (
    AGGREGATES,
    ARTIFACT_EXTRA,
    GOALS,
    POLICY,
    RUN_COLUMNS,
    RUN_EXTRA,
)

Tables = Mapping[str, list[Row]]
SLOT = "trackbridge"
"""Mailbox slot of the records that must have one: `wandb sync` 0.28 hangs without."""
MOST_SECONDS = 2**31 - 1


def opening(
    key: RunKey,
    ref: RunRef,
    tables: Tables,
    *,
    flat: bool,
    told: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Any]:
    """The records that come before the points; `flat`: keys of points are no nested keys.

    `told` is what is to stand in our entry in the config besides.
    """
    [row] = tables["runs"]
    extra = extra_of(row)
    if "version" in extra:
        yield _filled("header", {"version_info": extra["version"]})
    yield _run(key, ref, row, extra, tables, {**_entry(key, row, extra, flat=flat), **told})
    if "environment" in extra:
        yield _filled("environment", extra["environment"])
    if "saved" in extra:
        record = Record()
        for path, (policy, kind) in extra["saved"].items():
            record.files.files.add(path=path, policy=policy, type=kind)
        yield record
    yield from map(_metric, tables.get("metric_defs", ()))


def closing(tables: Tables, artifacts: Iterable[Any]) -> Iterator[Any]:
    """The records that come after the points, those of `artifacts` among them."""
    [row] = tables["runs"]
    extra = extra_of(row)
    tree = tree_of(tables.get("summary", ()))
    if "summary_wandb" in extra:
        tree[INTERNAL] = jsontext.parse(json.dumps(extra["summary_wandb"]))
    if tree:
        record = Record()
        for name, node in tree.items():
            record.summary.update.add(key=name, value_json=jsontext.dump(node))
        yield record
    yield from map(_alert, tables.get("alerts", ()))
    yield from artifacts
    yield from map(_input, tables.get("inputs", ()))
    if extra.get("preempted"):
        yield Record(preempting=CLASSES["Empty"]())
    if row.get("status") != "crashed":
        record = Record()
        record.control.mailbox_slot = SLOT
        record.exit.exit_code = exit_code(row["status"], extra)
        record.exit.runtime = runtime(row) or 0
        yield record


def extra_of(row: Row) -> dict[str, Any]:
    """The extra fields of a row; none where its text is no JSON object."""
    try:
        extra = json.loads(row.get("extra") or "{}")
    except ValueError:
        return {}
    return extra if isinstance(extra, dict) else {}


def exit_code(status: str | None, extra: Mapping[str, Any]) -> int:
    if status == "finished":
        return 0
    told = extra.get("exit_code")
    return told if isinstance(told, int) and told else 1


def runtime(row: Row) -> int | None:
    """Whole seconds from start to end, as an exit record can hold them."""
    started, ended = row.get("started"), row.get("ended")
    if started is None or ended is None:
        return None
    seconds = (ended - started) // timedelta(seconds=1)
    return max(0, min(int(seconds), MOST_SECONDS))


def tree_of(rows: Iterable[Row]) -> Tree:
    """The nested entries that rows of `params` or `summary` describe."""
    tree: Tree = {}
    for row in rows:
        path = json.loads(row["path"]) if row.get("path") else [row["key"]]
        jsontext.put(tree, path, node_of(row))
    return tree


def node_of(row: Row) -> jsontext.Node:
    value = row.get("value")
    if value is None:
        return "null"
    try:
        return jsontext.parse(jsontext.raw(row.get("type"), value))
    except ValueError:
        return jsontext.quote(value)


def set_time(message: Any, field: str, since_1970: int | None) -> None:
    if since_1970 is not None:
        time = getattr(message, field)
        time.seconds, rest = divmod(since_1970, 1_000_000)
        time.nanos = rest * 1000
        time.SetInParent()


def _filled(kind: str, fields: dict[str, Any]) -> Any:
    record = Record()
    json_format.ParseDict(fields, getattr(record, kind), ignore_unknown_fields=True)
    getattr(record, kind).SetInParent()
    return record


def _run(
    key: RunKey,
    ref: RunRef,
    row: Row,
    extra: dict[str, Any],
    tables: Tables,
    entry: Mapping[str, Any],
) -> Any:
    record = Record()
    record.control.mailbox_slot = SLOT
    run = record.run
    head, slash, tail = ref.project.partition("/")
    run.entity, run.project = (head, tail) if slash else ("", head)
    run.run_id = ref.run_id
    for field, column in RUN_COLUMNS.items():
        setattr(run, field, row.get(column) or "")
    for field in RUN_EXTRA:
        if field in extra:
            setattr(run, field, extra[field])
    for name, text in extra.get("settings", {}).items():
        run.settings.item.add(key=name, value_json=text)
    if "branch_point" in extra:
        json_format.ParseDict(extra["branch_point"], run.branch_point)
    run.tags.extend(tag["key"] for tag in tables.get("tags", ()))
    run.git.remote_url = row.get("git_remote") or ""
    run.git.commit = row.get("git_commit") or ""
    run.telemetry.ParseFromString(base64.b64decode(extra.get("telemetry", "")))
    run.telemetry.python_version = row.get("python") or ""
    if row.get("started") is not None:
        set_time(run, "start_time", micros(row["started"]))
    tree = tree_of(tables.get("params", ()))
    if INTERNAL in extra:
        tree[INTERNAL] = jsontext.parse(json.dumps(extra[INTERNAL]))
    tree[ORIGIN] = jsontext.parse(json.dumps(entry))
    for name, node in tree.items():
        run.config.update.add(key=name, value_json=jsontext.dump(node))
    return record


def _entry(key: RunKey, row: Row, extra: dict[str, Any], *, flat: bool) -> dict[str, Any]:
    """Our own entry in the config: the run's key, and what has no place in a run record."""
    entry: dict[str, Any] = {"run_key": str(key)}
    entry |= {name: row[name] for name in ("user", "program") if row.get(name)}
    if "special_names" in extra:
        entry["special_names"] = names.checked(extra["special_names"])
    return entry | ({"keys": "flat"} if flat else {})


def _metric(row: Row) -> Any:
    record = Record()
    extra = extra_of(row)
    json_format.ParseDict(extra, record.metric, ignore_unknown_fields=True)
    metric = record.metric
    if row.get("glob"):
        metric.glob_name = row["key"] or ""
    else:
        metric.name = row["key"] or ""
    metric.step_metric = row.get("x_axis") or ""
    metric.options.hidden = bool(row.get("hidden"))
    for name in (row.get("summary") or "").split(","):
        if name in AGGREGATES:
            setattr(metric.summary, name, True)
    goal = row.get("goal")
    metric.goal = GOALS.index(goal) if goal in GOALS else 0
    return record


def _alert(row: Row) -> Any:
    try:
        whole = json.loads(row.get("definition") or "{}")
    except ValueError:
        whole = {}
    if not isinstance(whole, dict):
        whole = {}
    wait = whole.get("wait_duration")
    record = Record()
    record.alert.title = row.get("title") or ""
    record.alert.level = row.get("level") or ""
    record.alert.text = str(whole.get("text") or "")
    record.alert.wait_duration = wait if isinstance(wait, int) and abs(wait) < 2**63 else 0
    return record


def _input(row: Row) -> Any:
    record = Record()
    record.use_artifact.id = str(extra_of(row).get("id") or "")
    record.use_artifact.type = row.get("kind") or ""
    record.use_artifact.name = row.get("name") or ""
    record.use_artifact.SetInParent()
    return record


def artifact(key: RunKey, ref: RunRef, row: Row, entries: Iterable[Any], digest: str) -> Any:
    """An artifact record; `digest` stands in, and is marked, where the row has none."""
    extra = extra_of(row)
    whole = Record(uuid="" if row.get("digest") else OUR_DIGEST)
    record = whole.artifact
    fields = CLASSES["ArtifactRecord"](
        run_id=ref.run_id,
        type=row.get("kind") or "",
        name=row["collection"],
        digest=row.get("digest") or digest,
        description=row.get("description") or "",
        metadata=row.get("metadata") or "",
        aliases=aliases_of(row),
        finalize=True,
        use_after_commit=row.get("direction") == "used",
    )
    record.CopyFrom(fields)
    head, slash, tail = ref.project.partition("/")
    record.entity, record.project = (head, tail) if slash else ("", head)
    for field in ARTIFACT_EXTRA:
        if field in extra:
            setattr(record, field, extra[field])
    record.tags.extend(extra.get("tags", ()))
    # The server wants ids that no other client has made: these are the same for the same run.
    name = f"{key}\n{row['collection']}"
    record.client_id = record.client_id or _client_id(f"{name}\n{row['version']}")
    record.sequence_client_id = record.sequence_client_id or _client_id(name)
    policy: dict[str, Any] = extra.get("manifest") or POLICY
    record.manifest.version = 1
    record.manifest.storage_policy = policy["storage_policy"]
    for name, value in policy["config"].items():
        record.manifest.storage_policy_config.add(key=name, value_json=json.dumps(value))
    record.manifest.contents.extend(sorted(entries, key=lambda entry: str(entry.path)))
    return whole


def aliases_of(row: Row) -> list[str]:
    try:
        aliases = json.loads(row.get("aliases") or "[]")
    except ValueError:
        return []
    return sorted({str(alias) for alias in aliases}) if isinstance(aliases, list) else []


def entry_of(row: Row) -> Any:
    """The manifest entry of a row of `files`, without what its bytes tell."""
    extra = extra_of(row)
    entry = CLASSES["ArtifactManifestEntry"](
        path=row["path"],
        size=row.get("size") or 0,
        mimetype=row.get("media_type") or "",
        ref=row.get("reference") or "",
    )
    entry.birth_artifact_id = str(extra.pop("birth_artifact_id", ""))
    if entry.ref:
        entry.digest = str(extra.pop("digest", entry.ref))
    for name, value in extra.items():
        entry.extra.add(key=name, value_json=json.dumps(value))
    return entry


def manifest_digest(entries: Iterable[Any]) -> str:
    """The digest of an artifact, as wandb 0.31 computes it (`MANIFEST_MD5`)."""
    state = hashlib.md5(b"wandb-artifact-manifest-v1\n", usedforsecurity=False)
    for entry in sorted(entries, key=lambda entry: str(entry.path)):
        state.update(f"{entry.path}:{entry.digest}\n".encode())
    return state.hexdigest()


def _client_id(text: str) -> str:
    """128 characters of the alphabet that wandb takes for such ids."""
    return (ORIGIN + hashlib.sha512(text.encode()).hexdigest())[:128]
