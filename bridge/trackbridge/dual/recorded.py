"""The configuration and summary of a run: mappings whose changes are recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from trackbridge.dual import values


class Recorded(MutableMapping[str, Any]):
    """A mapping that tells of what is set and dropped, key by key; attributes are keys too."""

    _told: Callable[..., None]
    _lost: Callable[[Exception], None]
    _values: dict[str, Any]

    def __init__(self, told: Callable[..., None], lost: Callable[[Exception], None]) -> None:
        """`told` is given what was `set` and what to `drop`; `lost` why that could not be."""
        object.__setattr__(self, "_told", told)
        object.__setattr__(self, "_lost", lost)
        object.__setattr__(self, "_values", {})

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        del self._values[key]
        self._told(drop=[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, key: str) -> Any:
        if key == "_values" or key not in self._values:  # the former while it is copied
            raise AttributeError(key)
        return self._values[key]

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def __repr__(self) -> str:
        return repr(self._values)

    def update(self, *others: Any, **named: Any) -> None:
        """Set several keys, in one record."""
        try:
            changed: dict[str, Any] = {}
            for other in (*others, named):
                own = values.members(other)
                changed |= dict(other) if own is None else own
            changed = {str(key): value for key, value in changed.items()}
            self._values.update(changed)
            if changed:
                self._told(set=values.plain(changed))
        except Exception as error:
            self._lost(error)
