"""Real clients in processes of their own: they keep state that would leak between tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from wandb_server.server import Server
from wandb_server.state import User


def _environment(server: Server, user: User | None, more: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return {**kept, **server.environment(user), **more}


def script(server: Server, code: str, user: User | None = None, **more: str) -> Any:
    """Runs Python in which `wandb` is imported, and gives what it has put into `result`.

    `more` are further environment variables.
    """
    lines = ["import json, wandb", "result = None", textwrap.dedent(code)]
    lines.append("print('RESULT' + json.dumps(result, default=str))")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env=_environment(server, user, more),
        cwd=server.folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.rpartition("RESULT")[2])


def sync(server: Server, folder: Path, *options: str) -> str:
    """`wandb sync` of a run folder; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", *options, str(folder)],
        env=_environment(server, None, {"WANDB_SILENT": "false"}),
        cwd=server.folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
