"""Mirrors MLflow's client: what a program logs with it goes into journals too (decision 0033)."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import TYPE_CHECKING

from trackbridge.dual.importing import when_imported
from trackbridge_adapters.mlflow.mirror.calls import Calls

if TYPE_CHECKING:
    from trackbridge.dual.mirroring import Mirror

CLIENT = "mlflow.tracking._tracking_service.client"
"""The module of the class through which all of MLflow's Python code writes to tracking stores."""
LOGGER = logging.getLogger("trackbridge")
_installed: list[Calls] = []


def install(mirror: Mirror) -> None:
    """Have all calls of MLflow's client told to journals from now on; once in a process."""
    if _installed:
        return
    calls = Calls(mirror)
    _installed.append(calls)

    def patch(module: ModuleType) -> None:
        try:
            calls.patch(module.TrackingServiceClient)
        except Exception as error:
            LOGGER.warning("trackbridge: %s is not mirrored: %s", module.__name__, error)

    when_imported([CLIENT], patch)
