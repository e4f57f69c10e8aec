"""Starts a program with mirrors in it, without a change to its code: `trackbridge run`."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from trackbridge.dual import place
from trackbridge.dual.mirroring import mirror
from trackbridge.errors import BridgeError, ConfigError, NotFoundError

MIRRORED = "TRACKBRIDGE_MIRROR"
"""In the environment of a program that was started so: what its Pythons have to mirror, as JSON."""
HERE = Path(__file__).with_name("launched")
LOGGER = logging.getLogger("trackbridge")


def environment(libraries: Sequence[str], to: Sequence[str], ranks: str) -> dict[str, str]:
    """What the program's environment has beside that of this process."""
    told: dict[str, Any] = {"libraries": list(libraries), "to": list(to), "ranks": ranks}
    told["cwd"] = str(place.here())  # where relative paths begin, wherever the program goes
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {MIRRORED: json.dumps(told), "PYTHONPATH": os.pathsep.join(paths)}


def launch(
    command: Sequence[str], libraries: Sequence[str], to: Sequence[str], ranks: str
) -> NoReturn:
    """Become the program: signals, output and exit code are its own."""
    told = {**os.environ, **environment(libraries, to, ranks)}
    sys.stdout.flush()
    try:
        if sys.platform == "win32":  # there a process cannot become another one
            sys.exit(subprocess.run(command, env=told, check=False).returncode)
        _restore_signals()
        os.execvpe(command[0], list(command), told)
    except FileNotFoundError as error:
        raise NotFoundError(f"{command[0]}: no such program") from error
    except OSError as error:
        raise ConfigError(f"{command[0]}: cannot be started: {error.strerror}") from error


def _restore_signals() -> None:
    """Python ignores these itself, and the program would inherit that."""
    for name in ("SIGPIPE", "SIGXFZ", "SIGXFSZ"):
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, signal.SIG_DFL)


def mirror_here() -> None:
    """Begin the mirrors of this process, which a program was started with."""
    told = json.loads(os.environ.get(MIRRORED) or "{}")
    for library in told.pop("libraries", ()):
        try:
            mirror(library, **told)
        except BridgeError as error:  # the training is not to fail for it
            LOGGER.error("trackbridge: %s is not mirrored: %s", library, error)
