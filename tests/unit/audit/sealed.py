"""Sealed archives for tests, and the ways to check them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bagit
from unit.archive.archives import files_of

from trackbridge.audit.check import check
from trackbridge.audit.keys import Key, make
from trackbridge.audit.seal import Sealed, seal


def made(folder: Path, name: str = "key") -> Key:
    return make(folder / name, None)


def sealed(place: Path, key: Key) -> Sealed:
    return seal(f"archive:{place}", key)


def problems(place: Path, *public_keys: Path) -> dict[str, str]:
    """What `audit check` says of each path."""
    found = check(f"archive:{place}", public_keys).report.problems
    told: dict[str, list[str]] = {}
    for problem in found:
        told.setdefault(problem.path, []).append(problem.what)
    return {path: "; ".join(whats) for path, whats in told.items()}


def said_by_the_copy(place: Path, *options: str, python: str = sys.executable) -> tuple[int, str]:
    """Exit code and output of the verify.py that lies in an archive."""
    done = subprocess.run(
        [python, "-I", str(place / "verify.py"), *options], capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def is_bag(place: Path) -> bool:
    """Whether the reference library takes it for a whole and valid bag."""
    try:
        return bool(bagit.Bag(str(place)).validate())
    except bagit.BagError:
        return False


def snapshot(place: Path) -> dict[str, bytes]:
    return {path: (place / path).read_bytes() for path in files_of(place)}
