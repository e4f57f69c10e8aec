"""Programs that log with MLflow, as processes of their own, and what stores have of them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trackbridge.adapter import FileRef, Query, RunKey
from trackbridge.registry import open_reader

ROOTS = [str(Path(__file__).parents[3] / name) for name in ("bridge", "adapters")]
MIRROR = "import trackbridge; trackbridge.mirror('mlflow')\n"
LOGS = "mlflow.set_tracking_uri(sys.argv[1]); mlflow.set_experiment(sys.argv[2])\n"
BEGIN = f"import os, sys, time\n{MIRROR}import mlflow\nfrom mlflow import MlflowClient\n{LOGS}"
Tables = dict[str, list[str]]
Result = subprocess.CompletedProcess[str]


def run(
    program: str,
    store: str,
    folder: Path,
    *arguments: str,
    begin: str = BEGIN,
    environment: Mapping[str, str] | None = None,
) -> Result:
    """What a program says and ends with that logs to an experiment called after its folder."""
    process = begun(program, store, folder, *arguments, begin=begin, environment=environment)
    with process:
        out, err = process.communicate(timeout=300)
    return Result(process.args, process.returncode, out, err)


def begun(
    program: str,
    store: str,
    folder: Path,
    *arguments: str,
    begin: str = BEGIN,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start a program, see `run`."""
    quiet = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "GIT_PYTHON_REFRESH": "quiet"}
    path = {"PYTHONPATH": os.pathsep.join(ROOTS)}
    return subprocess.Popen(
        [sys.executable, "-c", begin + textwrap.dedent(program), store, folder.name, *arguments],
        cwd=folder,
        env={**os.environ, **quiet, **path, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(*arguments: Any, **options: Any) -> str:
    """Output of a program that ends well."""
    result = run(*arguments, **options)
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout


def tables(address: str, project: str) -> dict[RunKey, Tables]:
    """All rows of the runs of a project, and the digests of their files."""
    reader, found = open_reader(address), {}
    for info in reader.list_runs(Query(projects=[project])):
        rows: Tables = defaultdict(list)
        for batch in reader.read_runs([info.ref]):
            for row in batch.data.to_pylist():
                if batch.table == "files":
                    row["sha256"] = _digest(reader.open_file(_file(info.ref, row)))
                if batch.table == "runs":
                    row["extra"] = _without_times(row["extra"])
                shown = {name: value for name, value in row.items() if value is not None}
                rows[batch.table].append(json.dumps(shown, sort_keys=True, default=str))
        found[info.key] = {table: sorted(some) for table, some in rows.items()}
    return found


def mirrored(folder: Path) -> dict[RunKey, Tables]:
    return tables(f"journal:{folder / 'trackbridge'}", folder.name)


def logged(store: str, folder: Path) -> dict[RunKey, Tables]:
    return tables(f"mlflow:{store}", folder.name)


def differences(store: str, folder: Path) -> list[str]:
    """Rows that only MLflow (-) or only the journals (+) have of the runs of a program."""
    one, other = (Counter(_lines(found)) for found in (logged(store, folder), mirrored(folder)))
    assert one
    lost = [f"- {line}" for line in (one - other).elements()]
    return lost + [f"+ {line}" for line in (other - one).elements()]


def _lines(found: dict[RunKey, Tables]) -> Iterator[str]:
    for key, some in found.items():
        yield str(key)
        yield from (f"{table} {row}" for table, listed in some.items() for row in listed)


def rows(found: dict[RunKey, Tables], table: str) -> list[dict[str, Any]]:
    """Rows of all runs."""
    return [json.loads(row) for run in found.values() for row in run.get(table, ())]


def _file(ref: Any, row: dict[str, Any]) -> FileRef:
    return FileRef(ref, row["owner"] or "", row["path"])


def _digest(data: Any) -> str:
    with data:
        return hashlib.sha256(data.read()).hexdigest()


def _without_times(extra: str | None) -> str | None:
    """When a run was deleted, only a database knows."""
    kept: dict[str, Any] = json.loads(extra or "{}")
    kept.pop("deleted_time", None)
    return json.dumps(kept) if kept else None
