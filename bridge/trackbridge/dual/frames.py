"""The framing of journal files; `scanning` reads them back.

A file is a sequence of frames: marker, length and CRC-32 of the payload (little-endian), payload.
A payload is either JSON (it begins with `{`) or points (it begins with `P`): which list of keys
they belong to, their row, step and time, and a double for each key. Points of one list of keys
have one length, so many of them are read as an array. A frame is written by one system call, so
only a full disk or a machine that fails leaves half of one. Reading goes on at the next frame that
is whole and says something that can be understood.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Any
from zlib import crc32

NONE = -(2**63)
"""Stands for a row, step or time that there is not."""
SYSTEM = 1
"""Flag of points that were measured, and not logged by the run."""
CLOSED = 2
"""Flag of points after which no others come to their row."""

MARK = b"\x9ctb\n"
HEAD = Struct("<4sII")
_FIELDS = "<cBHIqqq"
BARE = Struct(_FIELDS).size
"""Bytes of the payload of points before the values."""


@lru_cache(maxsize=1 << 12)
def packer(count: int) -> Callable[..., bytes]:
    """Packs the payload of points with that many values.

    It takes b"P", flags, 0, number of the list of keys, row, step, time (us), and the values.
    """
    return Struct(f"{_FIELDS}{count}d").pack


def frame(payload: bytes, _pack: Callable[..., bytes] = HEAD.pack) -> bytes:
    """A payload as it stands in a file."""
    return _pack(MARK, len(payload), crc32(payload)) + payload


def record(content: dict[str, Any]) -> bytes:
    """A frame of JSON, in which NaN and infinities stand bare; a lone surrogate becomes `?`."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return frame(text.encode("utf-8", "replace"))
