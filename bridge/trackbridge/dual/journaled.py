"""A run as its journal has it, read by the adapter of journals."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from trackbridge.adapter import Growing, Query, Reader, RunInfo
from trackbridge.errors import NotFoundError
from trackbridge.registry import open_reader


def opened(folder: Path) -> Growing:
    """The journal in a run's folder."""
    return cast(Growing, open_reader(f"journal:{folder}"))


def run_of(journal: Reader) -> RunInfo:
    """The one run of a journal, as it is now; `NotFoundError` where no record can be read."""
    for info in journal.list_runs(Query()):
        return info
    raise NotFoundError(f"{journal.address}: no record of a run can be read there")
