"""What a run says of its metrics, and what W&B adds to rows because of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from trackbridge.dual.run import Run
from trackbridge_adapters.wandb.records import CLASSES
from trackbridge_adapters.wandb.tables import metric_rows

INTERNAL = "_"
"""Keys that begin so are W&B's own, and no pattern means them."""
TRACKED = ("min", "max", "mean", "last", "first")
"""Aggregates that W&B knows (wandb-core 0.31: `metricSummary`)."""


class Definitions:
    """Follows wandb-core (0.31: `runmetric`): patterns become definitions of the metrics that they
    mean, and a metric with an x-axis of its own brings the last value of that into its row."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._metrics: dict[str, Any] = {}
        self._globs: dict[str, Any] = {}
        self._axes: dict[str, float] = {}
        """Metrics that are x-axes -> their last values."""
        self._seen: set[str] = set()
        self._tracked: dict[str, frozenset[str] | None] = {}

    @property
    def has_any(self) -> bool:
        return bool(self._metrics or self._globs)

    def tracked(self, key: str) -> frozenset[str] | None:
        """Aggregates that the summary has of a metric; None where it has the last value."""
        if key not in self._tracked:
            record = self._metrics.get(key)
            wanted = None if record is None else record.summary
            found = frozenset(name for name in TRACKED if wanted and getattr(wanted, name))
            if wanted is not None and wanted.none:
                self._tracked[key] = frozenset()
            else:
                self._tracked[key] = found or None
        return self._tracked[key]

    def set_plain(self, key: str) -> None:
        """The program has set the summary of a metric: from now on it is the last value."""
        self._tracked[key] = None

    def add(self, record: Any) -> None:
        """Take a `MetricRecord` of ours."""
        if record.step_metric:
            self._axes.setdefault(record.step_metric, 0.0)
        known = self._metrics if record.name else self._globs
        name = record.name or record.glob_name
        if not name:
            return
        if name in known and not record._control.overwrite:
            known[name].MergeFrom(record)
        else:
            known[name] = record
        self._seen.clear()
        self._tracked.clear()
        self._run.tell("put", table="metric_defs", rows=list(metric_rows([known[name]])))

    def complete(self, numbers: Mapping[str, float], others: Collection[str]) -> dict[str, float]:
        """What a row of these values has besides."""
        for axis in self._axes:
            if axis in numbers:
                self._axes[axis] = numbers[axis]
        added: dict[str, float] = {}
        for key in (*numbers, *others):
            if key not in self._seen:
                self._seen.add(key)
                self._define(key)
            record = self._metrics.get(key)
            if record is None or not record.options.step_sync or not record.step_metric:
                continue
            axis = record.step_metric
            if axis not in numbers and axis not in others:
                added[axis] = self._axes[axis]
        return added

    def _define(self, key: str) -> None:
        """What a pattern says holds for a metric from the first row on that has it."""
        if key in self._metrics or key.startswith(INTERNAL):
            return
        for glob, meant in self._globs.items():
            if key.startswith(glob.removesuffix("*")):
                record = CLASSES["MetricRecord"]()
                record.CopyFrom(meant)
                self._metrics[key] = record
                self._tracked.pop(key, None)
                return
