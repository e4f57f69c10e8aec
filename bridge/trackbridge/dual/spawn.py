"""Has a forwarder run: a process of its own, which outlives the one that starts it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from trackbridge.dual import place
from trackbridge.locks import try_lock

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

STORES = "TRACKBRIDGE_STORES"
"""In the environment of a forwarder: addresses with their secrets, which no file has."""
DISABLED = "TRACKBRIDGE_DISABLED"
"""Switches all logging off where it is set, in a forwarder too."""
LOG = "forwarder.log"
HELD = 2.0
"""Seconds for which a forwarder tries to get its lock."""
_CREDENTIAL = re.compile(
    r"KEY|TOKEN|SECRET|PASS|CRED|USER|PROFILE|UR[IL]$|ENTITY|PROXY|CERT|TRACKBRIDGE_(ALERTS|SMTP)"
)


def key(root: Path, stores: Sequence[str], cwd: Path) -> str:
    """What tells forwarders apart: the folder of journals, and where, from where and with whose
    rights it delivers."""
    rights = sorted((name, text) for name, text in os.environ.items() if _CREDENTIAL.search(name))
    here = [place.host(), str(root), str(cwd), sys.executable]
    told = json.dumps([*here, sorted(set(stores)), rights])
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def is_disabled() -> bool:
    """Whether a person has switched logging off."""
    return os.environ.get(DISABLED, "") not in ("", "0")


def lock_path(name: str) -> Path:
    """The file that a forwarder holds locked while it runs, on a disk of this machine."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    return place.temporary() / f"trackbridge-{user}" / f"{name}.lock"


def forwarder(root: Path, name: str, stores: Sequence[str], cwd: Path) -> None:
    """Start a forwarder for the folder of journals, unless one runs; nothing is waited for.

    `cwd` is where stores lie that are named by a relative path: the program may go elsewhere.
    """
    if not is_running(name):
        start(root, name, stores, cwd)


def is_running(name: str) -> bool:
    """Whether a forwarder of that name holds its lock."""
    path = lock_path(name)
    if not path.exists():
        return False
    with path.open("rb+") as file:
        if not try_lock(file.fileno()):
            return True
        _unlock(file.fileno())  # closing does not, if a child has been forked meanwhile
    return False


def is_tended(told: Mapping[str, Any]) -> bool:
    """Whether a forwarder is at work with a run whose latest header this is."""
    return bool(told.get("by")) and is_running(told["by"])


def _unlock(file: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_UN)


def start(root: Path, name: str, stores: Sequence[str], cwd: Path) -> None:
    """Start a forwarder; it is no child of ours, so nobody who waits for children meets it."""
    command = [sys.executable, "-m", "trackbridge.dual.forwarder", str(root), name]
    told = {STORES: json.dumps(list(stores)), DISABLED: "1"}
    with (root / LOG).open("ab") as log:
        options: dict[str, Any] = {"stdout": log, "stderr": log, "stdin": subprocess.DEVNULL}
        options |= {"env": {**os.environ, **told}, "cwd": cwd}
        if sys.platform == "win32":
            flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
            subprocess.Popen(command, creationflags=flags, **options)
            return
        shell = ["/bin/sh", "-c", '"$@" &', "sh", *command]
        subprocess.run(shell, start_new_session=True, check=False, **options)


def hold(name: str, seconds: float = HELD) -> IO[bytes] | None:
    """The lock of a forwarder, held until it is closed; none where another process keeps it.

    Those who only look hold it for a moment, so it is tried for a while.
    """
    path = lock_path(name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = path.open("ab")
    end = time.monotonic() + seconds
    while not try_lock(file.fileno()):
        if time.monotonic() > end:
            file.close()
            return None
        time.sleep(0.05)
    file.truncate(0)
    file.write(str(os.getpid()).encode())
    file.flush()
    return file


def stop(name: str, seconds: float = 10.0) -> bool:
    """End the forwarder of that name, which leaves nothing that could not be gone on with."""
    with suppress(OSError, ValueError):
        os.kill(int(lock_path(name).read_text()), signal.SIGTERM)
    end = time.monotonic() + seconds
    while is_running(name):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
