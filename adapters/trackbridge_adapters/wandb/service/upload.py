"""Uploads run folders with the real client: `wandb sync`, which takes several at a time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path

from trackbridge.errors import ConfigError, TransientError
from trackbridge_adapters.wandb.service.answers import RefusedError, no_entity, shown
from trackbridge_adapters.wandb.service.login import Login, settings
from trackbridge_adapters.wandb.service.synclog import CANCELLED, SyncLog
from trackbridge_adapters.wandb.service.wire import Wire

ENVIRONMENT = {
    "WANDB_SILENT": "false",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_PROGRAM": "",  # else the client's own is shown as the run's (measured, 0.31)
    "WANDB_DISABLE_GIT": "true",
    **{
        f"WANDB_X_{what}_RETRY_{limit}": value
        for what in ("GRAPHQL", "FILE_STREAM", "FILE_TRANSFER")
        for limit, value in (("MAX", "20"), ("WAIT_MIN_SECONDS", "1"), ("WAIT_MAX_SECONDS", "20"))
    },
}
"""Whole chunks are tried again by ourselves, so the client need not do it for twenty minutes."""
PLACES = ("CACHE", "DATA", "ARTIFACT", "CONFIG")
KEPT = re.compile(r"WANDB_(INSECURE_.*|X_EXTRA_HTTP_HEADERS|X_PROXIES|HTTPS?_PROXY)")
"""Settings that are the user's, by variables or in files; others would change what is uploaded."""


CALLS_OF_A_RUN = 4
"""Two to make and change it, one for its files, one for what it logs besides (measured, 0.31)."""
CALLS_OF_A_VERSION = 5
"""To make it, its manifest and its files, and to commit it (measured, 0.31)."""
CLIENT = """
import os, threading
threading.Thread(target=lambda: os.read(0, 1) or os._exit(1), daemon=True).start()
from wandb.cli.cli import cli
cli(prog_name="wandb")
"""
"""The client, which ends when we do: else one whose parent was killed would go on and upload runs
that the next call has uploaded meanwhile."""
NO_ENTITY = re.compile(r"entity (\S+) not found")
"""What a server says of an entity in which nothing can be made, and the client after it."""
LOOK_SECONDS = 2.0
"""How often it is looked at what the client does."""
STUCK = 5
"""Runs that are given up one after the other, which is as many as the client uploads at a time.

Each of a thousand would wait for minutes in vain, and a migration for a day.
"""
BURST_SECONDS = 10
"""Under a limit, so many runs are uploaded at a time as have their calls in these seconds."""


def upload(lanes: Iterable[Sequence[tuple[Path, int]]], wire: Wire) -> set[Path]:
    """Uploads folders: those of a lane one after the other, lanes side by side.

    Gives folders whose runs need other ids, as such runs were deleted on the server. The rest may
    be lacking too then, or be there by half: with new ids, and what is there left out, the same
    call goes on.

    Beside each folder stands how many versions of artifacts its run has. The client knows no limit
    but a server's refusal: under one of ours, what it will send is waited for beforehand.

    The client's exit code tells nothing (measured, 0.31): a run was read to its end if there is a
    mark beside its file. For those that were not it raises `TransientError`, or `RefusedError`
    where others were. What became of the rest on the server is found out by reading it.
    """
    for folders in zip_longest(*lanes):
        waiting = [folder for folder in folders if folder and not is_read(folder[0])]
        while waiting:
            part, calls = _part(waiting, wire.per_second)
            waiting = waiting[len(part) :]
            if wire.per_second is not None:
                wire.expect(calls)
            deleted = _sync(part, wire.login)
            if deleted:
                return deleted
    return set()


def is_read(folder: Path) -> bool:
    """Whether the client read a folder's run to its end."""
    return any(folder.glob("*.synced"))


def _part(waiting: Sequence[tuple[Path, int]], limit: float | None) -> tuple[list[Path], int]:
    """The folders that may be uploaded at once under a limit, at least one, and their calls."""
    part: list[Path] = []
    calls = 0
    for folder, versions in waiting:
        more = CALLS_OF_A_RUN + CALLS_OF_A_VERSION * versions
        if part and limit is not None and calls + more > limit * BURST_SECONDS:
            break
        part.append(folder)
        calls += more
    return part, calls


def _sync(folders: Sequence[Path], login: Login) -> set[Path]:
    log = SyncLog(folders[0].parent)
    said = _run(folders, login, log).replace(login.key, "***")
    if "No module named 'wandb'" in said:
        raise ConfigError("uploading needs the package wandb; pip install 'trackbridge[wandb]'")
    left = [folder for folder in folders if not is_read(folder)]
    deleted = {folder for folder in left if folder.name in log.deleted}
    if left and not deleted:
        names = [folder.name for folder in left]
        told = [log.reasons[name] for name in names if name in log.reasons]
        told.sort(key=lambda reason: CANCELLED in reason)
        told += [line.strip() for line in said.splitlines() if "ERROR" in line]
        reason = told[0] if told else said.strip().rpartition("\n")[2] or "it says nothing"
        if entity := NO_ENTITY.search(reason):
            raise no_entity(login, entity[1])
        kind = TransientError if len(left) == len(folders) else RefusedError
        raise kind(
            f"{login.base_url}: `wandb sync` did not upload {names[0]}"
            f"{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {shown(reason, login)}"
        )
    return deleted


def _run(folders: Sequence[Path], login: Login, log: SyncLog) -> str:
    """What the client says; it ends with us (see `CLIENT`)."""
    alive, ours = os.pipe()
    with os.fdopen(ours, "wb"), os.fdopen(alive) as stdin:
        process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, "sync", *map(str, folders)],
            env=_environment(login, folders[0].parent),
            cwd=folders[0].parent,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        return _watched(process, folders, log)


def _watched(process: subprocess.Popen[str], folders: Sequence[Path], log: SyncLog) -> str:
    """What the client says; it is stopped when it only gives up run after run."""
    with process:
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    said: str = process.communicate(timeout=LOOK_SECONDS)[0]
                    log.read()
                    return said
                log.read()
                waiting = {folder.name for folder in folders if not is_read(folder)}
                vain = log.stuck | log.deleted
                if waiting and (waiting <= log.deleted or len(vain) >= min(STUCK, len(waiting))):
                    process.kill()
        except BaseException:
            process.kill()
            raise


def _environment(login: Login, out: Path) -> dict[str, str]:
    """With all that the client writes, copies of artifacts and logs, in the folder of the runs."""
    told = {f"WANDB_{name.upper()}": value for name, value in settings().items()} | os.environ
    kept = {n: v for n, v in told.items() if not n.startswith("WANDB_") or KEPT.fullmatch(n)}
    places = {f"WANDB_{what}_DIR": str(out / f"client-{what.lower()}") for what in PLACES}
    server = {"WANDB_BASE_URL": login.base_url, "WANDB_API_KEY": login.key}
    return {**kept, **ENVIRONMENT, **places, **server}
