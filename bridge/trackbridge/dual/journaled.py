"""A run as its journal has it, read by the adapter of journals."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from trackbridge.adapter import Query, Reader, RunInfo
from trackbridge.errors import NotFoundError
from trackbridge.optional import Growing
from trackbridge.registry import open_reader


def unreadable(error: Exception) -> str:
    """Why a journal cannot be read, and what a person can do."""
    if not isinstance(error, OSError) or not error.filename:
        return str(error)
    told = f"{error.filename}: cannot be read ({error.strerror})"
    if isinstance(error, PermissionError):
        told += "; call this as the user who trained, or have yourself allowed to read it"
    return told


def opened(folder: Path) -> Growing:
    """The journal in a run's folder."""
    return cast(Growing, open_reader(f"journal:{folder}"))


def run_of(journal: Reader) -> RunInfo:
    """The one run of a journal, as it is now; `NotFoundError` where no record can be read."""
    for info in journal.list_runs(Query()):
        return info
    raise NotFoundError(f"{journal.address}: no record of a run can be read there")
