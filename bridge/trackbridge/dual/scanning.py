"""Reads the frames of journal files: those that are whole, and where there are none."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import mmap
from struct import Struct
from typing import Any
from zlib import crc32

from trackbridge.dual.frames import BARE, HEAD, MARK
from trackbridge.dual.records import Record, parse

WINDOW = 1 << 16
_FRAME = Struct("<4sIIcBHI")
"""What a frame of points begins with; no frame is shorter."""
_CALL = Struct("<qq")
_END = ord("}")
_RECORD = re.compile(re.escape(MARK) + rb".{8}\{", re.DOTALL)
"""What a frame of JSON begins with."""
_LONGEST = 1 << 30
"""No payload has more bytes."""


@dataclass
class Window:
    """Frames of a file that follow each other."""

    start: int
    stop: int
    points: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    """How many values points have -> where frames of such points begin."""
    records: list[dict[str, Any]] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    """Where the frame of each record begins."""
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """Bytes that are no frame, before one that is whole: from, to."""

    def __len__(self) -> int:
        """How many values and records there are."""
        return sum(n * len(at) for n, at in self.points.items()) + len(self.records)

    def until(self, stop: int) -> Window:
        """The frames that begin before a place."""
        if stop >= self.stop:
            return self
        points = {n: [at for at in starts if at < stop] for n, starts in self.points.items()}
        told = [(record, at) for record, at in zip(self.records, self.places) if at < stop]
        return Window(
            self.start,
            stop,
            {n: starts for n, starts in points.items() if starts},
            [record for record, _ in told],
            [at for _, at in told],
            [gap for gap in self.gaps if gap[0] < stop],
        )


def scan(
    data: bytes | mmap,
    start: int = 0,
    keys: dict[int, list[str]] | None = None,
    most: int = WINDOW,
) -> Iterator[Window]:
    """What is in a file from the beginning of a frame to the end of the last one that is whole.

    A window has about `most` values. `keys` are the lists of keys that the file has before, by
    their numbers; those that are found are added. Points whose list is not known are no frame.
    """
    known = {} if keys is None else keys
    window, at, count = Window(start, start), start, 0
    while True:
        found = _read(data, at, known)
        if found is None:
            after = _next(data, at, known)
            if after is None:
                break
            window.gaps.append((at, after))
            at = after
            continue
        stop, record = found
        if record is None:
            values = (stop - at - BARE - HEAD.size) >> 3
            window.points[values].append(at)
            count += values
        else:
            if record["t"] == "keys":
                known[record["id"]] = record["keys"]
            window.records.append(record)
            window.places.append(at)
            count += 1
        window.stop = at = stop
        if count >= most:
            yield window
            window, count = Window(at, at), 0
    if window.stop > window.start:
        yield window


def record_at(data: bytes | mmap, at: int) -> Record | None:
    """The record whose frame begins at a place; none where no whole one does, or one of points."""
    found = _read(data, at, {}) if at >= 0 else None
    return found[1] if found else None


def latest(data: bytes | mmap) -> int:
    """The latest time of a record; points are passed over, however many there are."""
    found = (record_at(data, match.start()) for match in _RECORD.finditer(data))
    return max((record["at"] for record in found if record and "at" in record), default=0)


def dtype(values: int) -> list[Any]:
    """Of a frame of points, for numpy."""
    return [
        *(("head", "V12"), ("kind", "u1"), ("flags", "u1"), ("zero", "<u2"), ("keys", "<u4")),
        *(("row", "<i8"), ("step", "<i8"), ("time", "<i8"), ("values", "<f8", (values,))),
    ]


def size(values: int) -> int:
    """Bytes of a frame of points."""
    return HEAD.size + BARE + 8 * values


def call_of(data: bytes | mmap, start: int) -> tuple[int, int]:
    """Row and step of a frame of points."""
    row, step = _CALL.unpack_from(data, start + HEAD.size + 8)
    return row, step


def _read(
    data: bytes | mmap, at: int, keys: dict[int, list[str]]
) -> tuple[int, Record | None] | None:
    """Where the frame that begins here ends, and its record unless it has points.

    None where there is no whole one, or one that cannot be understood.
    """
    if at + _FRAME.size > len(data):
        return None
    mark, length, crc, kind, _, _, number = _FRAME.unpack_from(data, at)
    begin = at + HEAD.size
    stop: int = begin + length
    if mark != MARK or not 0 < length <= _LONGEST or stop > len(data):
        return None
    if kind == b"P":
        known = keys.get(number)
        if known is None or length != BARE + 8 * len(known):
            return None
        return (stop, None) if crc32(data[begin:stop]) == crc else None
    payload = data[begin:stop] if kind == b"{" and data[stop - 1] == _END else b""
    record = parse(payload) if payload and crc32(payload) == crc else None
    return None if record is None or _contradicts(record, keys) else (stop, record)


def _contradicts(record: Record, keys: dict[int, list[str]]) -> bool:
    """Whether it gives a number to a list of keys that another one has."""
    return record["t"] == "keys" and keys.get(record["id"]) not in (None, record["keys"])


def _next(data: bytes | mmap, at: int, keys: dict[int, list[str]]) -> int | None:
    """Where the next whole frame begins."""
    while (at := data.find(MARK, at + 1)) >= 0:
        if _read(data, at, keys) is not None:
            return at
    return None
