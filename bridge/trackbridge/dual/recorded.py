"""The configuration and summary of a run: mappings whose changes are recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from trackbridge.dual.values import plain

Change = dict[str, Any]


class Recorded(MutableMapping[str, Any]):
    """A mapping that tells of what is set and dropped, key by key; attributes are keys too."""

    _told: Callable[[Change], None]
    _values: dict[str, Any]

    def __init__(self, told: Callable[[Change], None]) -> None:
        object.__setattr__(self, "_told", told)
        object.__setattr__(self, "_values", {})

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        del self._values[key]
        self._told({"drop": [key]})

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, key: str) -> Any:
        try:
            return self._values[key]
        except KeyError:
            raise AttributeError(key) from None

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def __repr__(self) -> str:
        return repr(self._values)

    def update(self, *others: Any, **named: Any) -> None:
        """Set several keys, in one record."""
        changed: dict[str, Any] = {}
        for other in (*others, named):
            is_namespace = hasattr(other, "__dict__") and not isinstance(other, Mapping)
            changed |= vars(other) if is_namespace else dict(other)
        changed = {str(key): value for key, value in changed.items()}
        self._values.update(changed)
        if changed:
            self._told({"set": plain(changed)})
