"""The configuration and summary of a run: mappings whose changes are recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any

from trackbridge.dual import values


class Recorded(MutableMapping[str, Any]):
    """A mapping that tells of what is set and dropped, key by key; attributes are keys too.

    Dicts in it are copies of those that it was given, and what changes in one is told with all that
    its key has.
    """

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

    def __ior__(self, other: Any) -> Recorded:
        self.update(other)
        return self

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self._values[str(key)]

    def update(self, *others: Any, **named: Any) -> None:
        """Set several keys, in one record."""
        try:
            changed: dict[str, Any] = {}
            for other in (*others, named):
                if other is not self:  # as `run.config |= {...}` assigns it
                    own = values.members(other)
                    changed |= dict(other) if own is None else own
            changed = {str(key): value for key, value in changed.items()}
            self._take(changed)
            if changed:
                self._told(set=values.plain(changed))
        except Exception as error:
            self._lost(error)

    def _take(self, changed: Mapping[str, Any]) -> None:
        """Have values without telling of them."""
        self._values.update(changed)
        with suppress(RecursionError):  # one that has itself within: it cannot be told either
            self._values.update({key: _inner(self, key, changed[key]) for key in changed})

    def _tell_again(self, key: str) -> None:
        """Something within a key has changed, if that has not been dropped meanwhile."""
        try:
            if key in self._values:
                self._told(set={key: values.plain(self._values[key])})
        except Exception as error:
            self._lost(error)


class Inner(dict[Any, Any]):
    """A dict within a recorded mapping; a copy of it is a plain one."""

    __slots__ = ("_key", "_owner")

    def __init__(self, owner: Recorded, key: str, content: Mapping[Any, Any]) -> None:
        """`key` is the one of `owner` that it lies under, however deep."""
        super().__init__({name: _inner(owner, key, value) for name, value in content.items()})
        self._owner, self._key = owner, key

    def __setitem__(self, key: Any, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        self._tell()

    def __ior__(self, other: Any) -> Inner:  # type: ignore[misc]
        self.update(other)
        return self

    def __reduce__(self) -> tuple[type, tuple[dict[Any, Any]]]:
        return dict, (dict(self),)

    def clear(self) -> None:
        super().clear()
        self._tell()

    def pop(self, key: Any, *default: Any) -> Any:
        found = super().pop(key, *default)
        self._tell()
        return found

    def popitem(self) -> tuple[Any, Any]:
        found = super().popitem()
        self._tell()
        return found

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *others: Any, **named: Any) -> None:
        changed = dict(*others, **named)
        super().update(changed)
        with suppress(RecursionError):  # see `Recorded._take`
            inner = partial(_inner, self._owner, self._key)
            super().update({name: inner(value) for name, value in changed.items()})
        self._tell()

    def _tell(self) -> None:
        self._owner._tell_again(self._key)


def _inner(owner: Recorded, key: str, value: Any) -> Any:
    """A value as it lies under a key: a dict of there already is itself, as after `|=`."""
    if isinstance(value, Inner):
        is_there = value._owner is owner and value._key == key
        return value if is_there else Inner(owner, key, value)
    return Inner(owner, key, value) if type(value) is dict else value
