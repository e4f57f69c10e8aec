"""A run as the server tells of it, and the small tables that are made of that."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

from trackbridge.adapter import ORIGIN, SIDECAR, Row, RunInfo, RunKey, RunRef
from trackbridge.errors import IntegrityError
from trackbridge_adapters.wandb import jsontext, names, tables
from trackbridge_adapters.wandb.artifacts import Version, is_inside
from trackbridge_adapters.wandb.facts import INTERNAL
from trackbridge_adapters.wandb.jsontext import Node as Json
from trackbridge_adapters.wandb.jsontext import Tree
from trackbridge_adapters.wandb.records import CLASSES
from trackbridge_adapters.wandb.service.canonical import canonical_tree
from trackbridge_adapters.wandb.service.pages import Node, Place, generations
from trackbridge_adapters.wandb.service.versions import (
    identity,
    input_row,
    told_version,
    version_of,
)

STATES = {
    "finished": "finished",
    "failed": "failed",
    "crashed": "crashed",
    "killed": "killed",
    "running": "running",
    "preempting": "running",
    "preempted": "crashed",
    "pending": "scheduled",
}
"""State of a run (wandb 0.31, `Run.state`) -> status."""
ENDED = ("finished", "failed")
"""States of a run that was uploaded to its end (measured, `wandb sync` of 0.31)."""
TIMES = ("started", "ended")
TEXTS = ("user", "program", "host", "git_remote", "git_commit", "python")
UNPLACED = TIMES + TEXTS
"""Columns of `runs` for which a server has no place that we could write to: our entry has them."""
UNCOUNTED = {"eventsLineCount": "system metrics", "logLineCount": "console lines"}
"""Fields that old servers lack, and what can then not be read whole."""
REWRITTEN = ("config.yaml", "output.log", "wandb-summary.json")
"""Files that the client writes itself, over those of the run (measured, `wandb sync` of 0.31)."""


class RunNode:
    """One run: what a page tells of it, taken apart."""

    def __init__(self, place: Place, node: Node) -> None:
        self.place, self.node = place, node
        self.name: str = node["name"]
        """Its id on the server, which is another one than in `ref` once the run was replaced."""
        self.damage: list[str] = []
        self.config = {k: _value_of(v) for k, v in self._tree("config").items()}
        self.summary = self._tree("summaryMetrics")
        self.origin = _origin(_plain(self.config.get(ORIGIN)), self.name)
        if self.carried:  # and compared with what was promised
            self.config, self.summary = map(canonical_tree, (self.config, self.summary))
        for field, what in UNCOUNTED.items():
            if field not in node and not self.origin:
                self.damage.append(f"{what}: this server does not count them; they are left out")
        if self.unfinished:
            self.damage.append(
                "its upload was broken off, or it is being logged to: the migration that brought "
                "it here completes it when it is called again"
            )
        self.ref = RunRef(str(place), str(self.origin.get("id", self.name)))

    @property
    def carried(self) -> bool:
        return bool(self.origin)

    @property
    def unfinished(self) -> bool:
        """Whether a run that was brought there is not there as a whole, or goes on there."""
        ended = self.node["state"] in ENDED and self.lines >= int(self.origin.get("rows", 0))
        return self.carried and not ended

    @property
    def key(self) -> RunKey:
        if self.carried:
            return RunKey.parse(self.origin["run_key"])
        return RunKey("wandb", "", *self.ref)

    @property
    def given(self) -> names.Given | None:
        """Names of its keys; None where they are names already."""
        if self.origin.get("keys") == "flat":
            return None
        try:
            return names.Given(names.checked(self.origin.get("special_names", {})))
        except ValueError:
            return names.Given({})

    @property
    def lines(self) -> int:
        """Rows of its history."""
        return int(self.node["historyLineCount"] or 0)

    @property
    def samples(self) -> int:
        """Rows of its system metrics."""
        return int(self.node.get("eventsLineCount") or 0)

    @property
    def console_lines(self) -> int:
        return int(self.node.get("logLineCount") or 0)

    @property
    def exported(self) -> list[str]:
        """Addresses of its history in Parquet files."""
        return list((self.node.get("parquetHistory") or {}).get("parquetUrls") or ())

    @property
    def live(self) -> int:
        """Rows of its history that are in no Parquet file, or may be in none."""
        if not self.exported:
            return self.lines
        return len((self.node.get("parquetHistory") or {}).get("liveData") or ())

    @property
    def first(self) -> int:
        """A step that none of its live rows is before."""
        if not self.exported:
            return 0
        live = (self.node.get("parquetHistory") or {}).get("liveData") or ()
        steps = [row.get("_step") for row in live if isinstance(row, dict)]
        return min((step for step in steps if isinstance(step, int)), default=0)

    @property
    def beyond(self) -> int:
        """A step that all of its own are below."""
        last = (self.node["historyKeys"] or {}).get("lastStep")
        if last is None:
            told = self.summary.get("_step")
            last = int(told) if isinstance(told, str) and told.isdigit() else None
        return max(self.lines, 1 if last is None else int(last) + 1)

    @property
    def kinds(self) -> dict[str, dict[str, int]]:
        """Of each key, how many values of which type its history has."""
        keys = (self.node["historyKeys"] or {}).get("keys") or {}
        return {
            key: {count["type"]: int(count["count"]) for count in told.get("typeCounts") or ()}
            for key, told in keys.items()
        }

    def info(self) -> RunInfo:
        files = self.files()
        of_artifacts = sum(int(node["size"] or 0) for node in self.node["outputArtifacts"])
        kinds = self.kinds
        of_tracker = {"_step", "_timestamp"}
        points = sum(sum(kinds[key].values()) for key in kinds.keys() - of_tracker)
        row = self.run_row("")
        return RunInfo(
            ref=self.ref,
            key=self.key,
            fingerprint=self._fingerprint(),
            name=row["name"],
            status=row["status"],
            started=row["started"],
            points=points or self.lines,
            estimated=True,
            files=len(files),
            size=sum(file["size"] or 0 for file in files) + of_artifacts,
            carried=self.carried,
        )

    def _fingerprint(self) -> str:
        """Of all that a page tells but addresses, which are signed anew each time."""
        node = {
            **self.node,
            "parquetHistory": None,
            "files": [{**file, "directUrl": None} for file in self.node["files"]],
        }
        for name in ("outputArtifacts", "inputArtifacts"):
            node[name] = [{**each, "currentManifest": None} for each in self.node[name]]
        return hashlib.sha256(json.dumps(node, sort_keys=True).encode()).hexdigest()

    def run_row(self, source: str) -> Row:
        """The row of `runs`, but for its `extra`."""
        node, own = self.node, self._environment()
        told = {name: own.get(name) for name in TEXTS}
        started, ended = moment(node["createdAt"]), None
        status = STATES.get(node["state"] or "", node["state"])
        if status not in ("running", "scheduled"):
            ended = moment(node["heartbeatAt"])
        if self.carried:
            started, ended = (moment(self.origin.get(name)) for name in TIMES)
            told = {name: self.origin.get(name) for name in TEXTS}
        return {
            "name": node["displayName"] or None,
            "status": status,
            "started": started,
            "ended": ended,
            "group": node["group"] or None,
            "job_type": node["jobType"] or None,
            "sweep_id": node["sweepName"] or None,
            "notes": node["notes"] or None,
            "source": source,
            "deleted": False,
            **told,
        }

    def _environment(self) -> Row:
        """What the tracker's own entries say of machine and program."""
        node, internal = self.node, _plain(self.config.get(INTERNAL, {}))
        entries = internal.get("e")
        told: dict[str, Any] = {}
        for entry in entries.values() if isinstance(entries, dict) else ():
            told |= entry if isinstance(entry, dict) else {}
        git = told.get("git") or {}
        user = node["user"] or {}
        return {
            "user": user.get("username") or user.get("name"),
            "program": told.get("program"),
            "host": told.get("host"),
            "git_remote": git.get("remote"),
            "git_commit": git.get("commit") or node["commit"],
            "python": told.get("python") or internal.get("python_version"),
        }

    def extra(self) -> dict[str, Any]:
        """Native fields that have no column; none of a run that was brought there."""
        if self.carried:
            return {}
        return {
            "id": self.node["id"],
            "created": self.node["createdAt"],
            "heartbeat": self.node["heartbeatAt"],
            "state": None if self.node["state"] in ("finished", "failed") else self.node["state"],
            "_wandb": _plain(self.config.get(INTERNAL)),
            "summary_wandb": _plain(self.summary.get(INTERNAL)),
        }

    def small_tables(self) -> dict[str, list[Row]]:
        """Tables that need no further request: `runs` without extra, no files of artifacts."""
        return {
            "params": list(self._params()),
            "summary": list(self._summary_rows()),
            "tags": [{"key": tag} for tag in dict.fromkeys(self.node["tags"] or ())],
            "metric_defs": list(tables.metric_rows(self._metrics())),
            "inputs": [input_row(node) for node in self.node["inputArtifacts"]],
        }

    def _params(self) -> Iterator[Row]:
        hidden = {INTERNAL, ORIGIN} if self.carried else {INTERNAL}
        for row in tables.leaf_rows({k: v for k, v in self.config.items() if k not in hidden}):
            if not self.carried or row["type"] != "object":  # which the client drops
                yield row

    def _summary_rows(self) -> Iterator[Row]:
        """What the client has derived from the history of a run that we wrote is not its own."""
        own = self.origin.get("summary")
        for row in tables.leaf_rows({k: v for k, v in self.summary.items() if k != INTERNAL}):
            path = json.loads(row["path"]) if row["path"] else [row["key"]]
            if path != ["_step"] if own is None and self.carried else own is None or path in own:
                yield row

    def _metrics(self) -> Iterator[Any]:
        """Records as the client has packed them: dicts by field number (wandb 0.31, `_wandb.m`)."""
        packed = list(_plain(self.config.get(INTERNAL, {})).get("m") or ())
        for entry in packed:
            record = CLASSES["MetricRecord"]()
            record.name, record.glob_name = entry.get("1", ""), entry.get("2", "")
            record.step_metric = entry.get("4", "")
            index = entry.get("5")
            if index and 0 < index <= len(packed):
                record.step_metric = packed[index - 1].get("1", "")
            for name, field in (("6", record.options), ("7", record.summary)):
                numbers = {f.number: f.name for f in field.DESCRIPTOR.fields}
                for number in entry.get(name) or ():
                    if number in numbers:
                        setattr(field, numbers[number], True)
            record.goal = entry.get("8", 0)
            if record.glob_name or record.options.defined:  # others are axes, added for their sake
                yield record

    def files(self) -> list[Row]:
        """Files of the run itself, by their places."""
        found = []
        for file in sorted(self.node["files"], key=lambda file: str(file["name"])):
            path = file["name"]
            if self.carried and path in (SIDECAR, *REWRITTEN):
                continue
            if not is_inside(path):
                self.damage.append(f"the file {path!r} leads out of the run")
                continue
            found.append({"owner": "", "path": path, "size": file["sizeBytes"]})
        return found

    @cached_property
    def _by_path(self) -> dict[str, Node]:
        return {file["name"]: file for file in reversed(self.node["files"])}

    def file(self, path: str) -> Node | None:
        return self._by_path.get(path)

    def versions(self) -> list[tuple[Version, Node]]:
        """Artifacts that the run logged, without their entries, each with its node.

        A run that we wrote says itself which it has: what others logged before it has one version
        on the server, made by another run.
        """
        nodes = self.node["outputArtifacts"]
        if not self.carried:
            there = (node for node in nodes if node["state"] == "COMMITTED")
            return [(version_of(node, node["versionIndex"] or 0), node) for node in there]
        known = {identity(node): node for node in [*nodes, *self.node["inputArtifacts"]]}
        found, counts = [], dict[str, int]()
        for told in self.origin.get("artifacts", ()):
            collection = told["collection"]
            number = counts.get(collection, 0)
            counts[collection] = number + 1
            node = known.get((collection, told["digest"]))
            if node is not None:
                found.append((told_version(node, number, told), node))
        return found

    def config_with(self, told: Mapping[str, Any]) -> str:
        """The config as JSON, with further fields in our own entry."""
        config: dict[str, Any] = json.loads(self.node["config"])
        config[ORIGIN]["value"] = {**config[ORIGIN]["value"], **told}
        return json.dumps(config)

    def _tree(self, field: str) -> Tree:
        try:
            node = jsontext.parse(self.node[field] or "{}")
        except ValueError:
            node = ""
        if not isinstance(node, dict):
            self.damage.append(f"{field}: is no JSON object")
            return {}
        return node


def _value_of(entry: Json) -> Json:
    """Entries of a config are objects with a value and a description."""
    return entry["value"] if isinstance(entry, dict) and "value" in entry else entry


def origin_of(config: str | None, name: str) -> dict[str, Any]:
    """Our own entry in the config of a run of which nothing else is known."""
    try:
        entries = json.loads(config or "{}")
    except ValueError:
        return {}
    entry = entries.get(ORIGIN) if isinstance(entries, dict) else None
    return _origin(entry.get("value") if isinstance(entry, dict) else None, name)


def _origin(entry: Any, name: str) -> dict[str, Any]:
    """Our own entry; empty for a run that was not brought there.

    Other entries may look like ours, and people copy configs of runs that were brought there.
    """
    try:
        if isinstance(entry, dict) and RunKey.parse(str(entry.get("run_key"))):
            return entry if name in generations(str(entry.get("id", name))) else {}
    except IntegrityError:
        pass
    return {}


def _plain(node: Json | None) -> Any:
    return {} if node is None else jsontext.load(jsontext.dump(node))


def moment(text: Any) -> datetime | None:
    """Times as the service and our entries write them: ISO 8601, UTC where they do not say."""
    if not isinstance(text, str) or not text:
        return None
    text = re.sub(r"(\.\d{6})\d+", r"\1", text.removesuffix("Z"))
    text = re.sub(r"\.(\d{1,5})(?!\d)", lambda m: "." + m[1].ljust(6, "0"), text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
