"""Programs that log with wandb, run in processes of their own, and what two stores say of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

from trackbridge.adapter import Query, RunKey
from trackbridge.registry import open_reader

BEFORE = "import trackbridge\ntrackbridge.mirror('wandb')\nimport wandb\n"
AFTER = "import wandb\nimport trackbridge\ntrackbridge.mirror('wandb')\n"
MINE = ("_runtime",)
"""Keys that W&B measures itself."""
RUN = (
    *("name", "group", "job_type", "notes", "sweep_id", "status", "started", "host"),
    *("python", "git_remote", "git_commit"),
)
"""Columns of a run that are the same in both; what else is there is the environment."""
TABLES = ("metrics", "series", "params", "summary", "tags", "metric_defs", "artifacts", "files")
Rows = dict[str, list[dict[str, Any]]]


def run(
    folder: Path, code: str, head: str = BEFORE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder, after `head` has been imported."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("WANDB_")}
    offline = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
    home = {"HOME": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "program.py"
    program.write_text(head + textwrap.dedent(code))
    return subprocess.run(
        [sys.executable, str(program)],
        cwd=folder,
        env={**kept, **offline, **home, **environment},
        capture_output=True,
        text=True,
        timeout=180,
    )


def keys(address: str) -> list[RunKey]:
    return [info.key for info in open_reader(address).list_runs(Query())]


def rows(address: str) -> Rows:
    """What a store says of all its runs, but for what is left out, as both stores spell it."""
    reader = open_reader(address)
    refs = [info.ref for info in reader.list_runs(Query())]
    found: Rows = defaultdict(list)
    for batch in reader.read_runs(refs):
        found[batch.table] += batch.data.to_pylist()
    for table in found:
        shown = [_canonical(table, row) for row in found[table] if not _is_left_out(table, row)]
        found[table] = sorted(shown, key=lambda row: json.dumps(row, default=str, sort_keys=True))
    return found


def both(folder: Path) -> tuple[Rows, Rows]:
    """Of W&B's own folder, and of the journals."""
    return rows(f"wandb-files:{folder / 'wandb'}"), rows(f"journal:{folder / 'trackbridge'}")


def assert_same(folder: Path, tables: Collection[str] = TABLES) -> None:
    theirs, ours = both(folder)
    for table in (*tables, "runs", "alerts", "inputs"):
        assert ours[table] == theirs[table], table


def points(found: Rows) -> set[tuple[Any, ...]]:
    """Metrics without the calls that they came in."""
    return {(row["key"], row["value"]) for row in found["metrics"]}


def _is_left_out(table: str, row: dict[str, Any]) -> bool:
    if table in ("metrics", "summary"):
        return row["key"] in MINE or bool(row.get("system"))
    return table == "files" and row["path"] == "output.log"


def _canonical(table: str, row: dict[str, Any]) -> dict[str, Any]:
    if table == "runs":
        return {name: row[name] for name in (*RUN, "project", "run_id")}
    kept = {name: value for name, value in row.items() if value is not None and name != "sha256"}
    if table == "alerts":
        kept.pop("time", None)
    for name in ("value", "extra", "metadata", "definition"):
        if isinstance(kept.get(name), str):
            kept[name] = _spelled(kept[name])
    if table == "metrics":
        kept["value"] = repr(kept["value"])
    if kept.get("type") in ("integer", "float"):
        kept["type"] = "number"
    return kept


def _spelled(text: str) -> Any:
    try:
        return repr(json.loads(text, parse_int=float))
    except ValueError:
        return text
