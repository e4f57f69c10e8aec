"""What a W&B server can hold of runs."""

from __future__ import annotations

from dataclasses import replace

from trackbridge.adapter import Capabilities
from trackbridge_adapters.wandb.points import TIMES
from trackbridge_adapters.wandb.service.shared import HOLDS

CONSOLE = "original/output.log"
"""Console output as the run had it: what the client makes of it is its own."""

WRITTEN = Capabilities(
    holds={
        "projects": ("project_id", "notes", "source"),
        "runs": (
            *("name", "status", "started", "ended", "user", "group", "job_type"),
            *("notes", "host", "program", "git_remote", "git_commit", "python", "source"),
        ),
        "params": ("key", "path", "value", "type"),
        "tags": ("key",),
        "metrics": ("key", "step", "time", "row", "value", "system"),
        "series": ("key", "step", "time", "row", "kind", "value", "path"),
        "metric_defs": ("key", "glob", "x_axis", "summary", "goal", "hidden"),
        "summary": ("key", "path", "value", "type"),
        "artifacts": (
            *("collection", "kind", "version", "aliases", "direction"),
            *("description", "metadata", "extra"),
        ),
        "files": ("owner", "path", "size", "sha256", "reference", "extra"),
    },
    nan=True,
    largest=None,
    nul=True,
    rows=True,
    times=TIMES,
    console=CONSOLE,
    parallel_writers=True,
    parallel_files=True,
    files_at_hand=False,  # each is a request
)


CAPABILITIES = replace(
    WRITTEN,
    holds={
        **WRITTEN.holds,
        **HOLDS,
        "runs": (*WRITTEN.holds["runs"], "sweep_id", "extra"),
        "metric_defs": (*WRITTEN.holds["metric_defs"], "extra"),
        "logs": ("stream", "line", "time", "text"),
        "inputs": ("name", "kind", "digest", "source", "extra"),
        "artifacts": (*WRITTEN.holds["artifacts"], "digest"),
        "files": (*WRITTEN.holds["files"], "media_type"),
    },
)
"""What is read of runs that were born on a server; `WRITTEN` is what others keep there."""
