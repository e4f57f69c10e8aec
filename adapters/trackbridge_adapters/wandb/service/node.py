"""A run as the server tells of it, and the small tables that are made of that."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from trackbridge.adapter import ORIGIN, SIDECAR, Row, RunInfo, RunKey, RunRef
from trackbridge_adapters.wandb import jsontext, names, tables
from trackbridge_adapters.wandb.artifacts import Version, is_inside
from trackbridge_adapters.wandb.facts import INTERNAL
from trackbridge_adapters.wandb.jsontext import Tree
from trackbridge_adapters.wandb.service import identity
from trackbridge_adapters.wandb.service.canonical import canonical_tree
from trackbridge_adapters.wandb.service.definitions import definitions
from trackbridge_adapters.wandb.service.entries import moment, own_entry, plain, value_of
from trackbridge_adapters.wandb.service.pages import Node, Place
from trackbridge_adapters.wandb.service.versions import (
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
BROKEN_OFF = ("crashed", "killed", "preempted")
"""States of a run whose program did not get to its end."""
SETTLING = "settling"
"""In our entry of a run whose artifacts are not settled yet: what it had of them before."""
TWINS = "twins"
"""In our entry of a run: the same run in other stores, for people (decision 0034)."""
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
        self.config = {k: value_of(v) for k, v in self._tree("config").items()}
        self.summary = self._tree("summaryMetrics")
        self.origin = own_entry(plain(self.config.get(ORIGIN)), self.name)
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
        states = {*ENDED, *BROKEN_OFF} if self.went_on else ENDED
        ended = self.node["state"] in states and self.lines >= int(self.origin.get("rows", 0))
        return self.carried and (SETTLING in self.origin or not ended)

    @property
    def went_on(self) -> bool:
        """Whether somebody's program has logged to it since it was brought there.

        What machine and program that was is told by such alone, and not by `wandb sync` of our run
        folders (measured, 0.31).
        """
        return self.carried and "e" in self._internal

    @property
    def key(self) -> RunKey:
        if self.carried:
            return RunKey.parse(self.origin["run_key"])
        return RunKey("wandb", "", *self.ref)

    @property
    def is_flat(self) -> bool:
        """Whether its keys are names already."""
        return self.origin.get("keys") == "flat"

    @property
    def given(self) -> names.Given | None:
        """Names of its keys; None where they are names already."""
        if self.is_flat:
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
    def lines_of_ours(self) -> int:
        """Console lines that were brought here, as `console.count` counts them."""
        return int(self.origin.get("console", 0))

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
        """Of all that a page tells but addresses, which are signed anew each time.

        And but for what we tell of a run's twins, which may count as a sign of life to the server.
        """
        node = {
            **self.node,
            "parquetHistory": None,
            "files": [{**file, "directUrl": None} for file in self.node["files"]],
        }
        for name in ("outputArtifacts", "inputArtifacts"):
            node[name] = [{**each, "currentManifest": None} for each in self.node[name]]
        if self.carried:
            entries = {name: entry for name, entry in self.config.items() if name != ORIGIN}
            told = {name: entry for name, entry in self.origin.items() if name != TWINS}
            node["config"] = [jsontext.dump(entries), told]
            node["heartbeatAt"] = node["heartbeatAt"] if self.went_on else None
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
            started, before = (moment(self.origin.get(name)) for name in TIMES)
            ended = ended if self.went_on else before
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

    @cached_property
    def _internal(self) -> dict[str, Any]:
        """The tracker's own entry in the config."""
        found: dict[str, Any] = plain(self.config.get(INTERNAL))
        return found

    def _environment(self) -> Row:
        """What the tracker's own entries say of machine and program."""
        node, internal = self.node, self._internal
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
        """Native fields without a column; of a run that was brought, what programs came later."""
        if self.carried:
            return {"later_programs": self._internal.get("e")}
        return {
            "id": self.node["id"],
            "created": self.node["createdAt"],
            "heartbeat": self.node["heartbeatAt"],
            "state": None if self.node["state"] in ("finished", "failed") else self.node["state"],
            "_wandb": self._internal,
            "summary_wandb": plain(self.summary.get(INTERNAL)),
        }

    def small_tables(self) -> dict[str, list[Row]]:
        """Tables that need no further request: `runs` without extra, no files of artifacts."""
        return {
            "params": list(self._params()),
            "summary": list(self._summary_rows()),
            "tags": [{"key": tag} for tag in dict.fromkeys(self.node["tags"] or ())],
            "metric_defs": list(self._definitions()),
            "inputs": [input_row(node) for node in self.inputs()],
        }

    def _params(self) -> Iterator[Row]:
        hidden = {INTERNAL, ORIGIN} if self.carried else {INTERNAL}
        yield from tables.leaf_rows({k: v for k, v in self.config.items() if k not in hidden})

    def _summary_rows(self) -> Iterator[Row]:
        """What the client has derived from the history of a run that we wrote is not its own."""
        own, derived = self.origin.get("summary"), set(self.origin.get("last", ()))
        for row in tables.leaf_rows({k: v for k, v in self.summary.items() if k != INTERNAL}):
            path = json.loads(row["path"]) if row["path"] else [row["key"]]
            if own is None:
                is_own = not self.carried or path != ["_step"]
            else:
                is_own = path in own or not (path[0] in derived or path[0].startswith("_"))
            if is_own:
                yield row

    def _definitions(self) -> Iterator[Row]:
        for row in tables.metric_rows(definitions(self._internal)):
            yield {**row, "extra": None} if self.carried else row

    def _told(self, *names: str) -> list[identity.Version]:
        """Versions that our entry tells of, under some of its names."""
        entries = (entry for name in names for entry in self.origin.get(name, ()))
        return [identity.Version.told(self.place, entry) for entry in entries]

    def inputs(self) -> list[Node]:
        """What it used, but for versions that are there as its inputs by our own doing."""
        return list(identity.others(self.node["inputArtifacts"], self._told("artifacts", "inputs")))

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
        """Artifacts that the run logged, without their entries, each with its node."""
        if not self.carried:
            return [(version_of(node, node["versionIndex"] or 0), node) for node in self.outputs]
        counts = Counter(entry["collection"] for entry in self.origin.get("artifacts", ()))
        found = self.brought()
        for node in identity.others(self.outputs, self._told("artifacts")):
            collection = node["artifactSequence"]["name"]
            found.append((version_of(node, counts[collection]), node))
            counts[collection] += 1
        return found

    def brought(self) -> list[tuple[Version, Node]]:
        """The versions that a run which we wrote says that it had.

        What others logged before it has one version on the server, made by another run.
        """
        known = {
            identity.Version.of(node): node
            for node in [*self.node["inputArtifacts"], *self.outputs]
        }
        found, counts = [], Counter[str]()
        for entry, place in zip(self.origin.get("artifacts", ()), self._told("artifacts")):
            number = counts[entry["collection"]]
            counts[entry["collection"]] += 1
            if place in known:
                found.append((told_version(known[place], number, entry), known[place]))
        return found

    @property
    def outputs(self) -> list[Node]:
        """Versions that it logged and that are whole, in the order of their numbers."""
        nodes = (node for node in self.node["outputArtifacts"] if node["state"] == "COMMITTED")
        return sorted(nodes, key=lambda node: node["versionIndex"] or 0)

    def config_with(self, told: Mapping[str, Any]) -> str:
        """The config as JSON, with other fields in our own entry; those with None are left out."""
        config: dict[str, Any] = json.loads(self.node["config"])
        entry = {**config[ORIGIN]["value"], **told}
        config[ORIGIN]["value"] = {k: v for k, v in entry.items() if v is not None}
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
