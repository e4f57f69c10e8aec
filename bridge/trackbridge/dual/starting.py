"""Begins runs: ids, folder, what is known of the process, and the forwarder beside it."""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections.abc import Iterable, Mapping
from getpass import getuser
from pathlib import Path
from typing import Any

from trackbridge.dual import place, spawn
from trackbridge.dual.git import repository
from trackbridge.dual.journal import Journal, now
from trackbridge.dual.run import Run
from trackbridge.errors import without_secrets

RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
"""Where launchers say which process of a group this is."""


def start(
    project: str = "default",
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    to: str | Iterable[str] = (),
    *,
    run_id: str | None = None,
    resume: bool = False,
    group: str | None = None,
    job_type: str | None = None,
    tags: Iterable[str] | Mapping[str, Any] = (),
    notes: str | None = None,
    ranks: str = "first",
    folder: str | Path | None = None,
) -> Run:
    """Begin a run that is logged to a local journal, and from there to the stores `to`.

    Of the processes of a distributed training the first alone logs, or `all`: then each has a run
    of its own, in one group. With `resume`, a run of that `run_id` goes on after its last step.
    Nothing that fails here stops the training; `TRACKBRIDGE_DISABLED=1` switches everything off.
    """
    rank = _rank()
    run_id = run_id or (place.new_id() if rank is None or ranks == "first" else _common_id())
    if spawn.is_disabled() or (rank and ranks == "first"):
        return Run(None, project, run_id)
    if rank is not None and ranks == "all":
        group, run_id = group or run_id, f"{run_id}-{rank}"
    root = place.root() if folder is None else Path(folder).absolute()
    place.make_root(root)
    stores = [to] if isinstance(to, str) else list(to)
    found = place.find(root, project, run_id)
    header = {"run": [project, run_id], "host": socket.gethostname(), "by": spawn.key(root, stores)}
    header["to"] = [without_secrets(store) for store in stores]
    journal = Journal(found or place.folder_of(root, run_id), header)
    row, step = place.next_call(found) if found else (0, 0)
    run = Run(journal, project, run_id, row=row, step=step)
    run.set(**_fields(name, group, job_type, notes, resumed=found is not None))
    run.config.update(config or {})
    if tags:
        run.set_tags(tags)
    if stores:
        spawn.forwarder(root, stores)
    return run


def _rank() -> int | None:
    """Which process of a group this is, if it is one of a group."""
    told = (os.environ.get(name, "") for name in RANKS)
    return next((int(rank) for rank in told if rank.isdigit()), None)


def _common_id() -> str:
    """An id that all processes of a group come to."""
    told = (os.environ.get(name) for name in ("TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", "MASTER_PORT"))
    return place.safe(next((text for text in told if text and text != "none"), place.new_id()))


def _fields(
    name: str | None, group: str | None, job_type: str | None, notes: str | None, *, resumed: bool
) -> dict[str, Any]:
    """The row of the run, as far as it is known when it begins."""
    given = {"name": name, "group": group, "job_type": job_type, "notes": notes}
    fields: dict[str, Any] = {key: text for key, text in given.items() if text is not None}
    if not resumed:
        fields["started"] = now()
    remote, commit = repository(Path.cwd())
    told = {"git_remote": remote, "git_commit": commit, "program": sys.argv[0] or None}
    told |= {"user": getuser(), "host": socket.gethostname(), "python": platform.python_version()}
    return fields | {"status": "running"} | told
