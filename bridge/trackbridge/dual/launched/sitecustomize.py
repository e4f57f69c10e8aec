"""Runs in every Python that `trackbridge run` starts: mirrors first, then what is there otherwise.

This folder is the first of `PYTHONPATH` there, and takes itself out of the program's own path.
"""

from __future__ import annotations

import importlib
import os
import sys


def _mirror() -> None:
    try:
        from trackbridge.dual.launch import mirror_here
    except ImportError as error:  # a Python that does not know us, started by one that does
        print(f"trackbridge: {sys.executable} is not mirrored: {error}", file=sys.stderr)
    else:
        mirror_here()


def _go_on() -> None:
    """The `sitecustomize` that this one hides."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH120, PTH100 - as early as can be
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]  # noqa: PTH100
    ours = sys.modules.pop("sitecustomize", None)
    try:
        importlib.import_module("sitecustomize")
    except ImportError:
        if ours is not None:
            sys.modules["sitecustomize"] = ours


_mirror()
_go_on()
