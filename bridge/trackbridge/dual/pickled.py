"""Runs that are sent to other processes: there they log to the same run, and do not end it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackbridge.dual.journal import GUEST, Journal

if TYPE_CHECKING:
    from trackbridge.dual.run import Run


def reduced(run: Run) -> tuple[Callable[..., Run], tuple[Any, ...]]:
    """What pickle keeps of a run; a copy within a process is one that was sent too."""
    journal = run._journal
    kept = None if journal is None else (journal.folder, journal.header)
    told = {"row": run.row, "step": run.step}
    return _opened, (type(run), kept, run.project, run.id, told, dict(run.config))


def _opened(
    kind: type[Run],
    kept: tuple[Path, dict[str, Any]] | None,
    project: str,
    run_id: str,
    told: Mapping[str, Any],
    config: Mapping[str, Any],
) -> Run:
    journal = Journal(kept[0], {**kept[1], **GUEST}) if kept else None
    run = kind(journal, project, run_id, **told)
    run.config._take(config)  # they are in the journal already
    run._pid = 0  # that of nobody: whoever began it ends it
    return run
