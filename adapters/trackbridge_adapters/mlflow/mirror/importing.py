"""Runs something as soon as a module is imported, without importing it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

LOGGER = logging.getLogger("trackbridge")
Then = Callable[[ModuleType], None]


def when_imported(name: str, then: Then) -> None:
    """At once where the module is there already, else when the program imports it.

    What fails in `then` fails no import.
    """
    module = sys.modules.get(name)
    if module is not None and not getattr(module.__spec__, "_initializing", False):
        _try(then, module)
    else:
        sys.meta_path.insert(0, _Finder(name, then))


class _Finder(MetaPathFinder):
    """Lets the other finders find a module, and looks on while it is loaded."""

    def __init__(self, name: str, then: Then) -> None:
        self._name, self._then = name, then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def executing(module: ModuleType) -> None:
                execute(module)
                _try(self._then, module)

            spec.loader.exec_module = executing  # type: ignore[method-assign]
        return spec


def _try(then: Then, module: ModuleType) -> None:
    try:
        then(module)
    except Exception as error:
        LOGGER.warning("trackbridge: %s is not mirrored: %s", module.__name__, error)
