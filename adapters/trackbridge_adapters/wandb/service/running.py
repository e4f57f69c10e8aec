"""A run that goes on: what a server has of it, and what it is to be told besides."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from trackbridge.adapter import SIDECAR, Row, RunKey, RunRef
from trackbridge.times import EPOCH
from trackbridge_adapters.wandb import encode, jsontext
from trackbridge_adapters.wandb.facts import INTERNAL
from trackbridge_adapters.wandb.jsontext import Tree
from trackbridge_adapters.wandb.service import lines
from trackbridge_adapters.wandb.service.definitions import packed
from trackbridge_adapters.wandb.service.draft import fields, own_and_last, path_of, told_of
from trackbridge_adapters.wandb.service.entries import plain
from trackbridge_adapters.wandb.service.live import micros
from trackbridge_adapters.wandb.service.node import TWINS, UNPLACED, RunNode
from trackbridge_adapters.wandb.service.pages import generations

TABLES = ("runs", "params", "tags", "metric_defs", "summary")
"""What is told of a run beside its points."""


@dataclass
class Running:
    """One run, as its server has it unless something went wrong since it was asked."""

    key: RunKey
    ref: RunRef
    names: list[str]
    """Ids on the server that it may have, the first one not refused is its own."""
    lines: int = 0
    """Rows of its history."""
    samples: int | None = 0
    """Samples of the system; None where the server does not count them."""
    sampled: int | None = None
    """When the last of them was taken (us)."""
    step: int | None = None
    """The last one that its summary tells of."""
    flat: bool = False
    """Whether its keys are names."""
    last: Tree = field(default_factory=dict)
    """Last values of its metrics, where those are not told by the run itself."""
    stale: bool = False
    """Whether it has a sidecar, which is that of the run as it was brought there once."""
    told: dict[str, Any] = field(default_factory=dict)
    """Its fields as they were set last, but for a config that another process has set."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Digests of those that this process has put, by their paths."""
    summary: str = ""
    """The line that was sent last, by this process."""
    _entry: dict[str, Any] = field(default_factory=dict)
    _internal: dict[str, Any] = field(default_factory=dict)
    _rows: dict[str, dict[Any, Row]] = field(
        default_factory=lambda: {table: {} for table in TABLES}
    )

    @classmethod
    def new(cls, key: RunKey, ref: RunRef, taken: Collection[str]) -> Running:
        """A run that is not there yet; `taken` are ids that others have."""
        new = cls(key, ref, [name for name in generations(ref.run_id) if name not in taken])
        new.merge("runs", [{"name": ref.run_id}])
        return new

    @classmethod
    def of(cls, key: RunKey, run: RunNode, last_event: str | None) -> Running:
        """A run that is there, with the last sample of the system as JSON, if there is one."""
        found = cls(key, run.ref, [run.name], run.lines, run.samples, flat=run.is_flat)
        if "eventsLineCount" not in run.node:
            found.samples = None
        elif last_event is not None:
            time = jsontext.load(last_event).get("_timestamp")
            found.sampled = None if time is None else micros(str(time))
        step = run.summary.get("_step")
        found.step = int(step) if isinstance(step, str) and step.isdigit() else None
        sidecar = run.file(SIDECAR)
        found.stale = bool(sidecar and sidecar["sizeBytes"])
        found._entry = {n: told for n, told in run.origin.items() if n not in UNPLACED}
        found._internal = plain(run.config.get(INTERNAL))
        found.merge("runs", [run.run_row("")])
        for table, rows in run.small_tables().items():
            if table in TABLES:
                found.merge(table, rows)
        own = {path_of(row)[0] for row in found._rows["summary"].values()}
        last = (name for name in run.origin.get("last", ()) if name not in own)
        found.last = {name: run.summary[name] for name in last if name in run.summary}
        found.told = {name: told for name, told in found.fields().items() if name != "config"}
        return found

    @property
    def name(self) -> str:
        """Its id on the server."""
        return self.names[0]

    def merge(self, table: str, rows: Iterable[Row]) -> None:
        """Rows replace those of the same key."""
        known = self._rows[table]
        for row in rows:
            name = _name(table, row)
            known.pop(name, None)  # the latest one comes last
            known[name] = row

    def tell_twins(self, twins: list[Any]) -> None:
        """Have our entry name the same run in other stores."""
        self._entry.pop(TWINS, None)
        if twins:
            self._entry[TWINS] = twins

    def passed(self, step: int | None, last: Iterable[tuple[str, str]]) -> None:
        """Notes last values of metrics, by names, and the step that they are of."""
        self.step = step
        if self._derives:
            self.last |= {name: lines.number(text) for name, text in last}

    @property
    def _derives(self) -> bool:
        """Whether its summary gets last values, which the run has not told by itself."""
        return self.key.kind != "wandb"

    @property
    def started(self) -> float:
        """When it was, in seconds; 0 where nobody knows, as the client has it."""
        time = self._rows["runs"][None].get("started")
        return 0.0 if time is None else (time - EPOCH).total_seconds()

    def fields(self) -> dict[str, Any]:
        """Its config, ours included, and what its users see beside it."""
        tables = {table: list(rows.values()) for table, rows in self._rows.items()}
        [row] = tables["runs"]
        told = {**self._entry, **told_of(row), "id": self.ref.run_id}
        if self._derives:
            known = {*self._entry.get("last", ()), *self.last}
            told |= own_and_last(tables["summary"], known)
        opening = encode.opening(self.key, self.ref, tables, flat=self.flat, told=told)
        return {**fields(row, tables["tags"]), "config": self._config(opening)}

    def _config(self, opening: Iterable[Any]) -> str:
        """The entries that the first records of a run say, as the client sends them."""
        tree: Tree = {}
        metrics = []
        for record in opening:
            for item in record.run.config.update:
                tree[item.key] = {"value": jsontext.parse(item.value_json)}
            if record.HasField("metric"):
                metrics.append(record.metric)
        internal = {**self._internal, "m": packed(metrics)}
        tree[INTERNAL] = {"value": jsontext.parse(json.dumps(internal))}
        return lines.dump(tree)

    def summary_line(self) -> str:
        """Its summary; empty where there is nothing to be told."""
        own = encode.tree_of(self._rows["summary"].values())
        tree = self.last | own
        if self.step is not None:
            tree["_step"] = str(self.step)
        return lines.dump(tree) if tree else ""


def _name(table: str, row: Row) -> Any:
    """By what a row is known within its table."""
    if table == "runs":
        return None
    if table == "metric_defs":
        return row["key"], bool(row.get("glob"))
    return tuple(path_of(row)) if table in ("params", "summary") else row["key"]
