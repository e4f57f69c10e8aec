"""Names of metrics and series for the nested keys of log calls, so that two keys stay two names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

Path = tuple[str, ...]
RESERVED = ("_step", "_timestamp")
"""Keys of a log call that are its step and its time."""
_NESTED = "\0"


class Given:
    """The names of one run: the parts of a key joined by dots, as W&B's pages show them.

    Where another key of the run has that name already (`a.b` and `b` within `a`), a short hash is
    appended. `special` are names whose key is not what is between their dots.
    """

    def __init__(self, special: Mapping[str, Sequence[str]]) -> None:
        self.special = {name: tuple(path) for name, path in special.items()}
        self._names = {path: name for name, path in self.special.items()}
        self._taken = set(self.special)

    def of(self, path: Path) -> str:
        if path not in self._names:
            name, tries = ".".join(path), 0
            while name in self._taken:
                tries += 1
                name = _marked(path, tries)
            self._names[path] = name
            self._taken.add(name)
            if path != parts(name):
                self.special[name] = path
        return self._names[path]


def parts(name: str) -> Path:
    """The nested key that a name stands for if it is not special."""
    return tuple(name.split("."))


def checked(special: object) -> dict[str, Path]:
    """Special names out of a run's extra fields; `ValueError` unless `Given` can have made them."""
    if not isinstance(special, Mapping):
        raise ValueError(f"not names of keys: {special!r}")
    paths = {name: tuple(path) for name, path in special.items()}
    for name, path in paths.items():
        if not all(isinstance(part, str) for part in path):
            raise ValueError(f"not a key: {path!r}")
        plain = ".".join(path)
        named = name == plain or name.startswith(f"{plain}_")
        needed = path != parts(name) and (path != parts(plain) or plain in paths)
        if not (named and needed):
            raise ValueError(f"{name!r} is not what {path!r} is called")
    if len(set(paths.values())) < len(paths):
        raise ValueError("two names of one key")
    return paths


def _marked(path: Path, tries: int) -> str:
    raw = json.dumps([path, tries]).encode()
    return f"{'.'.join(path)}_{hashlib.sha256(raw).hexdigest()[:8]}"


def reserve(name: str) -> str:
    """A metric's name as a plain key that is not taken for the step or time of its row."""
    return name + "." if name.rstrip(".") in RESERVED else name


def unreserve(key: str) -> str:
    """The inverse of `reserve`."""
    return key[:-1] if key not in RESERVED and key.rstrip(".") in RESERVED else key


def pack(path: Sequence[str]) -> str:
    """A nested key as one string while it is gathered; a plain key is itself."""
    if len(path) < 2:
        return path[0] if path else ""
    return _NESTED + json.dumps(list(path))


def unpack(packed: str) -> Path:
    """The inverse of `pack`."""
    if packed.startswith(_NESTED):
        try:
            return tuple(json.loads(packed[1:]))
        except ValueError:  # a plain key that begins like that
            pass
    return (packed,)
