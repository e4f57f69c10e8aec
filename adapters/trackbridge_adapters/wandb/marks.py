"""Names of what Trackbridge itself puts into a folder of run folders, beside the runs."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from trackbridge.adapter import ORIGIN, RunRef

HIDDEN = f".{ORIGIN}-"
"""Begins the names of what is not complete."""
STAGING = "artifacts/staging"
_LEFT = re.compile(
    rf"({STAGING}/)?\.{ORIGIN}-[0-9a-f]{{8}}-[0-9a-f]{{8}}(-old|-\d+)?"
    rf"|artifacts|{STAGING}|{STAGING}/{ORIGIN}-[0-9a-f]{{8}}"
    rf"|{ORIGIN}|{ORIGIN}/(\.{ORIGIN}-)?shared\.json"
)
"""MLflow's writer has folders of such names too, with one number in them."""


def mark(ref: RunRef) -> str:
    """What tells a run's folders from those of others."""
    return hashlib.sha256(f"{ref.project}\n{ref.run_id}".encode()).hexdigest()[:8]


def staging_of(out: Path, ref: RunRef) -> Path:
    """Where the bytes lie of the artifacts of a run that we wrote."""
    return out / STAGING / f"{ORIGIN}-{mark(ref)}"


def only_left_behind(folder: Path) -> bool:
    """Whether all that is there is what a writer leaves that is stopped before its first run."""
    places = (folder, folder / "artifacts", folder / STAGING, folder / ORIGIN)
    found = {
        path.relative_to(folder).as_posix()
        for place in places
        if place.is_dir()
        for path in place.iterdir()
    }
    return bool(found - {"artifacts"}) and all(map(_LEFT.fullmatch, found))
