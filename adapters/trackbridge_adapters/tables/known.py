"""Columns as other tools write them: what their names mean."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

FIELDS = (
    "name",
    "status",
    "started",
    "ended",
    "user",
    "parent_run_id",
    "group",
    "job_type",
    "sweep_id",
    "notes",
    "host",
    "program",
    "git_remote",
    "git_commit",
    "python",
)
"""Columns of the table runs that a column can be."""

PREFIXES = {
    "params": "param",
    "param": "param",
    "config": "param",
    "hparams": "param",
    "metrics": "metric",
    "tags": "tag",
    "summary": "summary",
}
"""Before the first dot of a name, as `mlflow.search_runs` and flattened JSON have it."""

_NAMES = {
    "tags.mlflow.runName": "name",
    "tags.mlflow.user": "user",
    "tags.mlflow.parentRunId": "parent_run_id",
    "tags.mlflow.note.content": "notes",
    "tags.mlflow.source.name": "program",
    "tags.mlflow.source.git.commit": "git_commit",
    "tags.mlflow.source.git.repoURL": "git_remote",
    "run_name": "name",
    "display_name": "name",
    "status": "status",
    "State": "status",
    "state": "status",
    "start_time": "started",
    "started": "started",
    "Created": "started",
    "end_time": "ended",
    "ended": "ended",
    "User": "user",
    "user": "user",
    "Notes": "notes",
    "notes": "notes",
    "Sweep": "sweep_id",
    "artifact_uri": "extra",
}
"""Whole names: of `mlflow.search_runs` (3.x) and of the table of runs that W&B's pages export."""

_CHART = re.compile(r"(?P<run>.+?) - (?P<key>.+?)(?P<bound>__MIN|__MAX)?")
"""A line of a chart in the CSV that W&B's pages export: the run's name, the metric's."""
_AXES = ("Step", "Relative Time (Process)", "Relative Time (Wall)", "Wall Time")
"""What such a file begins with, where no axis of the user's own was chosen."""

TABLE_OF_RUNS = "the table of runs that W&B's pages export"
NAME, CREATED = "Name", "Created"
_ITS_OWN = {CREATED, "Runtime", "Sweep", "Notes", "User", "Tags"}


def is_table_of_runs(names: Collection[str]) -> bool:
    """Whether these columns are beside others in the CSV of the runs that W&B's pages export."""
    return {NAME, "State"} <= set(names) and not _ITS_OWN.isdisjoint(names)


STATES = {
    "finished": "finished",
    "success": "finished",
    "completed": "finished",
    "complete": "finished",
    "terminated": "finished",
    "done": "finished",
    "running": "running",
    "scheduled": "scheduled",
    "pending": "scheduled",
    "queued": "scheduled",
    "failed": "failed",
    "error": "failed",
    "errored": "failed",
    "killed": "killed",
    "stopped": "killed",
    "cancelled": "killed",
    "canceled": "killed",
    "crashed": "crashed",
}
"""States of runs, in lower case, in the words of the run model."""


class Known(NamedTuple):
    """What a name means; see `mapping.Use`."""

    role: str
    key: str = ""
    run: str = ""
    why: str = ""


def lines_of_chart(names: Sequence[str]) -> Iterator[tuple[str, Known]]:
    """The columns of a chart that are lines or their ranges: ranges or the axis tell a chart."""
    there = set(names)
    found = {name: _CHART.fullmatch(name) for name in names}
    sure = bool(names) and names[0] in _AXES and all(found[name] for name in names[1:])
    for name, chart in found.items():
        if chart is None or not (sure or f"{chart['run']} - {chart['key']}__MIN" in there):
            continue
        why = "the range of points that the export has merged into one"
        line = Known("metric", chart["key"], chart["run"])
        yield name, Known("skip", why=why) if chart["bound"] else line


def known(name: str) -> Known | None:
    """What a column's name means by itself; None where it says nothing."""
    if name in _NAMES:
        role = _NAMES[name]
        return Known(role, name if role == "extra" else "")
    prefix, dot, rest = name.partition(".")
    role = PREFIXES.get(prefix, "") if dot and rest else ""
    if role:
        return Known("numbers" if role == "metric" else role, rest)
    return None


_TENSORBOARD = re.compile(r"run-(?P<run>.*)-tag-(?P<key>.+)")
"""The name that TensorBoard's pages give a file of points, without its suffix."""


def of_download(stem: str, header: list[str]) -> tuple[str, str] | None:
    """Run and key of a file that TensorBoard's pages have made; None where it is none."""
    if header != ["Wall time", "Step", "Value"]:
        return None
    named = _TENSORBOARD.fullmatch(stem)
    return (named["run"] or ".", named["key"]) if named else (stem, "value")
