"""What `wandb.Api()` says of all that an entity has, in a process of its own.

Usage: python wandb_asked.py ENTITY    (the server is in the environment; JSON to stdout)
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

EVERY_STEP = 10**9
"""The client asks for so many steps at a time, however few rows have one of them."""


def environment(server: Mapping[str, str]) -> dict[str, str]:
    """For a process that is to know this server and no other one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return {**kept, **server}


def answers(entity: str, server: Mapping[str, str]) -> dict[str, Any]:
    """By project and run; of projects that hold runs."""
    done = subprocess.run(
        [sys.executable, __file__, entity],
        env=environment(server),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.rpartition("RESULT")[2])
    return found


def main(entity: str) -> None:
    import wandb

    api, found = wandb.Api(), {}
    for project in api.projects(entity):
        for listed in api.runs(f"{entity}/{project.name}"):
            run = api.run(f"{entity}/{project.name}/{listed.id}")
            found[f"{project.name}/{run.id}"] = _run(run)
    print("RESULT" + json.dumps(found))


def _run(run: Any) -> dict[str, Any]:
    shown = {name: getattr(run, name) for name in ("name", "state", "notes", "group", "job_type")}
    return {
        **shown,
        "tags": sorted(run.tags),
        "config": _plain(run.config),
        "summary": _plain(dict(run.summary)),
        "rows": [_plain(row) for row in run.scan_history(use_cache=False, page_size=EVERY_STEP)],
        "samples": sorted(json.dumps(_plain(row)) for row in _samples(run)),
        "files": dict(_file(file) for file in run.files()),
        "logged": {artifact.name: _artifact(artifact) for artifact in run.logged_artifacts()},
        "used": sorted(artifact.name for artifact in run.used_artifacts()),
    }


def _samples(run: Any) -> list[dict[str, Any]]:
    return list(run.history(stream="events", pandas=False, samples=100_000))


def _file(file: Any) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        return file.name, _digest(file.download(root=folder, replace=True).name)


def _artifact(artifact: Any) -> dict[str, Any]:
    files, references = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for path, entry in artifact.manifest.entries.items():
            if entry.ref:
                references[path] = entry.ref
            else:
                files[path] = _digest(
                    artifact.get_entry(path).download(root=folder, skip_cache=True)
                )
    shown = {name: getattr(artifact, name) for name in ("type", "description", "version")}
    return {
        **shown,
        "aliases": sorted(artifact.aliases),
        "tags": sorted(artifact.tags),
        "metadata": _plain(artifact.metadata),
        "files": files,
        "references": references,
    }


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _plain(value: Any) -> Any:
    """Values as JSON has them, floats by their text: NaN is equal to NaN, and 1.0 to 1."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else repr(value)
    if hasattr(value, "keys"):
        return {key: _plain(value[key]) for key in sorted(value.keys())}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value


if __name__ == "__main__":
    main(sys.argv[1])
