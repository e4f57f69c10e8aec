"""Mirrors MLflow's client: what a program logs with it goes into journals too (decision 0033)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trackbridge_adapters.mlflow.mirror import importing
from trackbridge_adapters.mlflow.mirror.calls import Calls

if TYPE_CHECKING:
    from trackbridge.dual.mirroring import Mirror

CLIENT = "mlflow.tracking._tracking_service.client"
"""The module of the class through which all of MLflow's Python code writes to tracking stores."""
_installed: list[Calls] = []


def install(mirror: Mirror) -> None:
    """Have all calls of MLflow's client told to journals from now on; once in a process."""
    if _installed:
        return
    calls = Calls(mirror)
    _installed.append(calls)
    importing.when_imported(CLIENT, lambda module: calls.patch(module.TrackingServiceClient))
