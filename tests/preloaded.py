"""Makes of a worker one without Trackbridge, or with another version, as a variable says."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec


class Lacking:
    """Finds no Trackbridge."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: object = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] == "trackbridge":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


if os.environ["WORKER_HAS"] == "nothing":
    sys.meta_path.insert(0, Lacking())
else:
    import trackbridge

    trackbridge.__version__ = os.environ["WORKER_HAS"]
