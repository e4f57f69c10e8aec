"""Takes the values of the summaries of many records apart at once.

What a record has besides one summary, and values that no writer makes so, are left to be read one
by one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trackbridge_adapters.tensorboard import wire
from trackbridge_adapters.tensorboard.framing import Damage, Frames, Ints, are_sound, unsound
from trackbridge_adapters.tensorboard.messages import Messages
from trackbridge_adapters.tensorboard.scalars import Floats

WORTH = 1 << 11
"""Bytes of records that are worth being looked at together."""
EVENT = {wire.WALL_TIME: wire.FIXED64, wire.STEP: wire.VARINT, wire.SUMMARY: wire.BYTES}
ABOUT = {wire.TAG: wire.BYTES, wire.METADATA: wire.BYTES}
CONTENTS = {
    wire.SIMPLE_VALUE: wire.FIXED32,
    wire.IMAGE: wire.BYTES,
    wire.HISTO: wire.BYTES,
    wire.AUDIO: wire.BYTES,
    wire.TENSOR: wire.BYTES,
}
HEAD = {1: wire.VARINT, 2: wire.BYTES, 3: wire.VARINT}
"""What a tensor says of its elements: their type, their shape, and the version of the form."""
ODD = -1
"""Stands for the kind of a value that has to be read by itself."""
_VALUE = wire.VALUE << 3 | wire.BYTES


class Kind(NamedTuple):
    """What is the same of many values: `head` is that of a tensor, with the tag of its elements."""

    tag: str
    metadata: bytes
    content: int
    """Number of the field."""
    head: bytes


class Values(NamedTuple):
    """Values in the file's order: where each is, what came with it, and where its content is."""

    starts: Ints
    stops: Ints
    times: Floats
    steps: Ints
    kind: Ints
    kinds: list[Kind]
    at: Ints
    """Of a tensor's content the elements."""
    ends: Ints

    def tags(self, rows: Ints) -> set[str]:
        """The tags of some of the values."""
        return {self.kinds[kind].tag for kind in np.unique(self.kind[rows]).tolist()}


def summaries(part: Frames, numbers: list[int], damage: list[Damage]) -> tuple[Values, list[int]]:
    """The values of some records, and the records that are to be read by themselves."""
    records = np.array(numbers, np.int64)
    starts, sizes = part.starts[records], part.sizes[records]
    if sizes.sum() < WORTH:
        none = np.zeros(0, np.int64)
        return Values(none, none, np.zeros(0), none, none, [], none, none), numbers
    array = np.frombuffer(part.data, np.uint8)
    events = Messages(array, starts, starts + sizes, EVENT)
    fits = (events.at == starts + sizes) & events.has(wire.SUMMARY)
    [whole] = np.nonzero(fits)
    sound = are_sound(part.data, starts[whole], sizes[whole])
    damage += [unsound(part, start) for start in starts[whole[~sound]].tolist()]
    whole = whole[sound]
    begun, ended = (side[whole] for side in events.span(wire.SUMMARY))
    first = Messages(array, begun, ended, {wire.VALUE: wire.BYTES})
    alone = (first.at == ended) & first.has(wire.VALUE)
    left, chosen, spans = records[~fits].tolist(), list[int](), list[int]()
    columns = (column[~alone].tolist() for column in (whole, begun, ended))
    for place, at, end in zip(*columns):
        found = _values(part.data, at, end)
        left += [] if found else [numbers[place]]
        spans += found
        chosen += [place] * (len(found) // 2)
    inside = np.concatenate(
        [np.stack(first.span(wire.VALUE), axis=1)[alone], np.array(spans, np.int64).reshape(-1, 2)]
    )
    order = np.argsort(inside[:, 0])
    of = np.concatenate([whole[alone], np.array(chosen, np.int64)])[order]
    times = events.floats(wire.WALL_TIME)[of]
    steps = events.numbers(wire.STEP).view(np.int64)[of]
    inside = inside[order]
    return _taken(part.data, inside[:, 0], inside[:, 1], times, steps), sorted(left)


def _values(data: bytes, at: int, end: int) -> list[int]:
    """Where the values of a summary begin and end, in turns; none where it has anything else.

    No pairs: Python's garbage collector would go through all that there is because of them.
    """
    found: list[int] = []
    while at < end - 1:
        if data[at] != _VALUE:
            return []
        size, at = data[at + 1], at + 2
        if size >= 128:
            try:
                size, at = wire.varint(data, at - 1, end)
            except wire.WireError:
                return []
        found += (at, at + size)
        at += size
    return found if at == end else []


def _taken(data: bytes, starts: Ints, stops: Ints, times: Floats, steps: Ints) -> Values:
    array = np.frombuffer(data, np.uint8)
    values = Messages(array, starts, stops, ABOUT | CONTENTS)
    content, at, ends = np.zeros((3, len(starts)), np.int64)
    several = np.zeros(len(starts), np.int64)
    for number in CONTENTS:
        there = values.has(number)
        begun, ended = values.span(number)
        content[there], at[there], ends[there] = number, begun[there], ended[there]
        several += there
    fits = (values.at == stops) & values.has(wire.TAG) & (several == 1)
    heads = at.copy()
    [tensors] = np.nonzero(fits & (content == wire.TENSOR))
    at[tensors] = Messages(array, at[tensors], ends[tensors], HEAD).at
    told = at + (content == wire.TENSOR)
    columns = (*values.span(wire.TAG), *values.span(wire.METADATA), content, heads, told)
    codes: dict[tuple[bytes, bytes, int, bytes], int] = {}
    kind = [
        codes.setdefault((data[a:b], data[c:d], number, data[e:f]), len(codes))
        for a, b, c, d, number, e, f in zip(*(column.tolist() for column in columns))
    ]
    kinds = [_kind(*each) for each in codes]
    readable = np.array([each is not None for each in kinds], np.bool_)
    found = np.array(kind, np.int64)
    found[~(fits & readable[found])] = ODD
    named = [each or Kind("", b"", 0, b"") for each in kinds]
    return Values(starts, stops, times, steps, found, named, at, ends)


def _kind(tag: bytes, metadata: bytes, content: int, head: bytes) -> Kind | None:
    try:
        return Kind(tag.decode(), metadata, content, head)
    except UnicodeDecodeError:
        return None
