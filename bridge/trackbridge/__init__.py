"""Moves experiment-tracking data between stores: lossless, proven, restartable."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trackbridge.adapter import Query
    from trackbridge.comparison import verify
    from trackbridge.dual.mirroring import mirror
    from trackbridge.dual.run import Run
    from trackbridge.dual.starting import start
    from trackbridge.dual.values import File, Histogram, Image, Table
    from trackbridge.engine import Report, migrate
    from trackbridge.errors import BridgeError
    from trackbridge.filing import FileChoice
    from trackbridge.framed import from_frame
    from trackbridge.store import Store, compare, open  # noqa: A004

__version__ = "0.1.0"

_HOMES = {
    "BridgeError": "trackbridge.errors",
    "File": "trackbridge.dual.values",
    "FileChoice": "trackbridge.filing",
    "Histogram": "trackbridge.dual.values",
    "Image": "trackbridge.dual.values",
    "Query": "trackbridge.adapter",
    "Report": "trackbridge.engine",
    "Run": "trackbridge.dual.run",
    "Store": "trackbridge.store",
    "Table": "trackbridge.dual.values",
    "compare": "trackbridge.store",
    "from_frame": "trackbridge.framed",
    "migrate": "trackbridge.engine",
    "mirror": "trackbridge.dual.mirroring",
    "open": "trackbridge.store",
    "start": "trackbridge.dual.starting",
    "verify": "trackbridge.comparison",
}

__all__ = [
    "BridgeError",
    "File",
    "FileChoice",
    "Histogram",
    "Image",
    "Query",
    "Report",
    "Run",
    "Store",
    "Table",
    "__version__",
    "compare",
    "from_frame",
    "migrate",
    "mirror",
    "open",
    "start",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are used: training jobs import this package too."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
