"""Protocol buffers as they stand in bytes: which fields a message has, and where.

Numbers of fields: tensorflow/core/util/event.proto, framework/summary.proto, framework/tensor.proto
(2.19); they are the same in all versions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
LONGEST_VARINT = 10
"""Bytes that the longest number takes."""
WALL_TIME, STEP, FILE_VERSION, GRAPH, SUMMARY = 1, 2, 3, 4, 5
LOG_MESSAGE, SESSION_LOG, RUN_METADATA, META_GRAPH, SOURCE = 6, 7, 8, 9, 10
VALUE = 1
"""Of a `Summary`."""
TAG, SIMPLE_VALUE, IMAGE, HISTO, AUDIO, NODE_NAME, TENSOR, METADATA = 1, 2, 4, 5, 6, 7, 8, 9
"""Of a `Summary.Value`."""
EXACT = 1000
"""Of a `Summary.Value` that we wrote: its `simple_value` in double precision (decision 0040)."""


class WireError(ValueError):
    """Bytes that are no message."""


class Field(NamedTuple):
    """A field of a message; its content is between two offsets."""

    number: int
    wire: int
    start: int
    stop: int


class Event(NamedTuple):
    """An event: its time in seconds, its step, and what else it has."""

    time: float
    step: int
    fields: list[Field]


def fields(data: bytes, at: int, end: int) -> Iterator[Field]:
    """The fields of the message between two offsets, in order."""
    while at < end:
        tag = data[at]
        at += 1
        if tag >= 128:
            tag, at = varint(data, at - 1, end)
        wire = tag & 7
        if wire == BYTES:
            size, at = varint(data, at, end)
            stop = at + size
        elif wire == VARINT:
            _, stop = varint(data, at, end)
        elif wire == FIXED64:
            stop = at + 8
        elif wire == FIXED32:
            stop = at + 4
        else:
            raise WireError(f"no field begins with {tag}")
        if stop > end or not tag >> 3:
            raise WireError("a field is longer than its message")
        yield Field(tag >> 3, wire, at, stop)
        at = stop


def once(data: bytes, at: int, end: int) -> dict[int, Field] | None:
    """The fields of a message by their numbers; None where one is there twice."""
    found: dict[int, Field] = {}
    for field in fields(data, at, end):
        if field.number in found:
            return None
        found[field.number] = field
    return found


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number without sign, and where it ends."""
    if at < end and data[at] < 128:
        return data[at], at + 1
    value = shift = 0
    while at < end and shift < 7 * LONGEST_VARINT:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise WireError("a number does not end")


def signed(value: int) -> int:
    """A number with sign, as of an int64 field."""
    return value - (1 << 64) if value >> 63 else value


def event(data: bytes) -> Event:
    """An event out of the data of a record; `WireError` if it is none."""
    time, step, others = 0.0, 0, []
    for field in fields(data, 0, len(data)):
        if field.number == WALL_TIME and field.wire == FIXED64:
            [time] = struct.unpack_from("<d", data, field.start)
        elif field.number == STEP and field.wire == VARINT:
            step = signed(varint(data, field.start, field.stop)[0])
        else:
            others.append(field)
    return Event(time, step, others)


def tags(data: bytes) -> Iterator[tuple[str, bytes | None]]:
    """Tag and metadata of each value of an event's summary."""
    for field in event(data).fields:
        if field.number == SUMMARY:
            for value in fields(data, field.start, field.stop):
                if value.number == VALUE and value.wire == BYTES:
                    yield named(data, fields(data, value.start, value.stop))


def named(data: bytes, parts: Iterable[Field]) -> tuple[str, bytes | None]:
    """The tag of a value with these fields, and its metadata."""
    tag, metadata = "", None
    for field in parts:
        if field.wire == BYTES and field.number == TAG:
            tag = data[field.start : field.stop].decode()
        elif field.wire == BYTES and field.number == METADATA:
            metadata = data[field.start : field.stop]
    return tag, metadata
