"""Runs in every Python that `trackbridge run` starts: mirrors first, then what is there otherwise.

This folder is the first of `PYTHONPATH` there, and takes itself out of the program's own path.
"""

import importlib
import os
import sys


def _mirror() -> None:
    if os.environ.get("TRACKBRIDGE_DISABLED", "") not in ("", "0"):
        return
    try:
        from trackbridge.dual.launch import mirror_here

        mirror_here()
    except Exception as error:  # as in a Python that does not know us, started by one that does
        print(f"trackbridge: {sys.executable} is not mirrored: {error}", file=sys.stderr)


def _go_on() -> None:
    """Import the `sitecustomize` that this one hides; where there is none, Python expects so."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH120, PTH100 - as early as can be
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]  # noqa: PTH100
    sys.modules.pop("sitecustomize", None)
    importlib.import_module("sitecustomize")


_mirror()
_go_on()
