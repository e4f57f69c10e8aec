"""Runs something as soon as modules are imported, without importing them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Then = Callable[[ModuleType], None]


def when_imported(names: Collection[str], then: Then) -> None:
    """At once for modules that are there already, else when the program imports them.

    `then` raises nothing: an import is not to fail for it.
    """
    later = set()
    for name in names:
        module = sys.modules.get(name)
        if module is not None and not getattr(module.__spec__, "_initializing", False):
            then(module)
        else:
            later.add(name)
    if later:
        sys.meta_path.insert(0, _Finder(later, then))


class _Finder(MetaPathFinder):
    """Lets the other finders find modules, and looks on while they are loaded."""

    def __init__(self, names: Collection[str], then: Then) -> None:
        self._names, self._then = names, then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._names:
            return None
        others = [f for f in sys.meta_path if f is not self and hasattr(f, "find_spec")]
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def executing(module: ModuleType) -> None:
                execute(module)
                self._then(module)

            spec.loader.exec_module = executing  # type: ignore[method-assign]
        return spec
