"""Programs that are started by commands, beside those that `dual_logging` starts."""

from __future__ import annotations

import os

from dual_logging import ROOT, Training


def told(trained: Training) -> dict[str, str]:
    """The environment of a program of a training."""
    paths = os.pathsep.join([str(ROOT / "bridge"), str(ROOT / "adapters")])
    return {
        **os.environ,
        "PYTHONPATH": paths,
        "TRACKBRIDGE_PATIENCE": "300",
        **trained.environment,
    }
