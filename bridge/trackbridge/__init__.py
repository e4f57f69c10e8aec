"""Moves experiment-tracking data between stores: lossless, proven, restartable."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trackbridge.adapter import Query
    from trackbridge.compare import verify
    from trackbridge.engine import Report, migrate
    from trackbridge.errors import BridgeError
    from trackbridge.filing import FileChoice

__version__ = "0.1.0"

_HOMES = {
    "BridgeError": "trackbridge.errors",
    "FileChoice": "trackbridge.filing",
    "Query": "trackbridge.adapter",
    "Report": "trackbridge.engine",
    "migrate": "trackbridge.engine",
    "verify": "trackbridge.compare",
}

__all__ = ["BridgeError", "FileChoice", "Query", "Report", "__version__", "migrate", "verify"]


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are used: training jobs import this package too."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
