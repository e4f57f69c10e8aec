"""Names of metrics and series: the parts of nested keys joined by dots, so that they stay apart."""

from __future__ import annotations

import json
from collections.abc import Sequence

RESERVED = ("_step", "_timestamp")
"""Keys of a log call that are its step and its time."""
_NESTED = "\0"


def escape(key: str) -> str:
    """One part of a nested key; a dot or backslash of its own is marked, as W&B marks them."""
    return key.replace("\\", "\\\\").replace(".", "\\.")


def join(path: Sequence[str]) -> str:
    return ".".join(map(escape, path))


def split(name: str) -> list[str]:
    """The inverse of `join`."""
    parts, part, characters = [], "", iter(name)
    for character in characters:
        if character == "\\":
            part += next(characters, "\\")
        elif character == ".":
            parts.append(part)
            part = ""
        else:
            part += character
    return [*parts, part]


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


def unpack(packed: str) -> tuple[str, ...]:
    """The inverse of `pack`."""
    if packed.startswith(_NESTED):
        try:
            return tuple(json.loads(packed[1:]))
        except ValueError:  # a plain key that begins like that
            pass
    return (packed,)
