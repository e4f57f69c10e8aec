"""Runs that were logged and delivered without a forwarder, so that tests need not wait for one."""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trackbridge
from trackbridge.dual.delivery import Delivery
from trackbridge.dual.parity import Parity, parity
from trackbridge.dual.replay import folders
from trackbridge.dual.run import Run
from trackbridge.registry import open_writer


def begin(folder: Path, name: str = "resnet", **options: Any) -> Run:
    """A run that goes on and names no stores."""
    return trackbridge.start("vision", name, {"lr": 0.1}, folder=folder / "journals", **options)


def log(run: Run, steps: int = 40) -> None:
    """Values of every kind that some store has trouble with."""
    run.config["long"] = "x" * 9000
    for step in range(steps):
        odd = {3: math.inf, 4: -math.inf, 5: math.nan}.get(step, 0.5)
        run.log({"loss": 1 / (step + 1), "acc": step / steps, "odd": odd})
    run.log({"note": "a text", "flag": True})


def finished(folder: Path, name: str = "resnet", **options: Any) -> Path:
    """The journal of a run that has ended."""
    run = begin(folder, name, **options)
    log(run)
    journal = run.folder
    run.finish()
    assert journal is not None
    return journal


def database(folder: Path) -> str:
    return f"mlflow:sqlite:///{folder / 'mlflow.db'}"


def deliver(journals: Sequence[Path], store: str) -> None:
    """Write runs whole that have ended, as a forwarder does."""
    for folder in folders(journals):
        Delivery(folder, store).close()


def round_of(run: Run, store: str) -> None:
    """Deliver what was logged so far, as a forwarder does while a run goes on."""
    assert run.folder is not None
    delivery = Delivery(run.folder, store)
    delivery.round(open_writer(store))
    assert delivery.standing.points


def alter(folder: Path, *statements: str) -> None:
    """Change the database behind everybody's back; each statement has to change something."""
    with sqlite3.connect(folder / "mlflow.db") as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount, statement
    connection.close()


def look(journal: Path, store: str) -> Parity:
    [found] = parity([journal], [store])
    return found


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Root reads all, so be a user who does not; others are ones already.

    What lies above the folder may be entered by everybody then.
    """
    for above in (folder, *folder.parents[:3]):
        above.chmod(above.stat().st_mode | 0o755)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
