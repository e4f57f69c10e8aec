"""Points of scalars as records of an event file, many at a time.

TensorBoard shows single precision: its data server drops scalars of any other type (tensorboard
2.21, `tensor_proto_to_scalar` in data_compat.rs), its Python loader takes both. So each point is a
`simple_value`, which every program reads. Where that is not the whole number, the exact one stands
beside it in a field (`EXACT`) that the others skip: decision 0040.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trackbridge_adapters.tensorboard.checksums import LONGEST, checksum, differences, plain

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

EXACT = 1000
"""Number of the field of a `Summary.Value` that holds a scalar in double precision (fixed64)."""
_MASK = np.uint32(0xA282EAD8)
_LONGEST_STEP = 10


class Points(NamedTuple):
    """Points of one run: for each its tag's number, its step, its time in seconds, its value."""

    tag: Ints
    step: Ints
    seconds: Floats
    value: Floats

    def take(self, rows: Any) -> Points:
        return Points(*(column[rows] for column in self))


class _Layout(NamedTuple):
    """Where what differs stands in records of one form and length; `size` is that of the data."""

    size: int
    time: int
    step: int
    width: int
    tag: int
    value: int
    exact: int

    @property
    def varying(self) -> list[int]:
        spans = [(self.time, 8), (self.step, self.width), (self.value, 4)]
        spans += [(self.exact, 8)] if self.exact else []
        return [start + n for start, count in spans for n in range(count)]


def encoded(tags: Sequence[bytes], points: Points) -> bytes:
    """The records of some points, those of each tag by ascending step.

    Otherwise the data server takes a step that is not greater than the one before it for a run that
    was begun again, and shows nothing of what came after (reservoir.rs, `preempt`). Equal steps
    keep their order.
    """
    narrow = _narrow(points.value)
    form = _forms(tags, points, narrow)
    in_order = _is_ascending(form, points.tag, points.step)
    if not in_order:
        order = np.lexsort((points.step, points.tag, form))
        form, points, narrow = form[order], points.take(order), narrow[order]
    edges = [0, *(np.flatnonzero(np.diff(form)) + 1).tolist(), len(form)]
    parts = []
    for start, stop in itertools.pairwise(edges):
        if start < stop:
            rows = slice(start, stop)
            parts.append(_records(tags, points.take(rows), narrow[rows], int(form[start]) & 1))
    return b"".join(parts)


def _narrow(values: Floats) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)


def _forms(tags: Sequence[bytes], points: Points, narrow: npt.NDArray[np.float32]) -> Ints:
    """A number for each point: equal where the records are of one length and layout.

    It ascends with the steps of a tag, and its last bit says that exact values are written.
    """
    differs = (narrow.astype(np.float64) != points.value) & ~np.isnan(points.value)
    exact = np.bincount(points.tag, differs, len(tags)) > 0
    sizes = np.array([len(tag) for tag in tags], np.int64)
    kind = sizes[points.tag] * (_LONGEST_STEP + 1) * 2
    widths = _widths(points.step)
    rank = np.where(points.step < 0, 0, widths + 1)
    return np.asarray(kind + rank * 2 + exact[points.tag])


def _widths(steps: Ints) -> Ints:
    """Bytes that each step takes as a varint; none where it is 0, which is left out."""
    widths = np.zeros(len(steps), np.int64)
    for count in range(9):
        widths += steps >= (1 << 7 * count)
    return np.where(steps < 0, _LONGEST_STEP, widths)


def _is_ascending(*keys: Ints) -> bool:
    """Whether rows are in order by the first key, then the second, ..."""
    undecided = np.ones(max(0, len(keys[0]) - 1), np.bool_)
    for key in keys:
        change = np.diff(key) if key.dtype != np.int64 else _signs(key)
        if np.any((change < 0) & undecided):
            return False
        undecided &= change == 0
    return True


def _signs(key: Ints) -> Ints:
    """The sign of each difference, which may itself be too large for the type."""
    return (key[1:] > key[:-1]).astype(np.int64) - (key[1:] < key[:-1])


def _records(
    tags: Sequence[bytes], points: Points, narrow: npt.NDArray[np.float32], exact: int
) -> bytes:
    """Records of one layout."""
    used, number = np.unique(points.tag, return_inverse=True)
    number = number.reshape(-1)
    width = int(_widths(points.step[:1])[0])
    templates = [_template(tags[tag], width, exact) for tag in used.tolist()]
    layout = templates[0][1]
    heads = np.frombuffer(b"".join(data for data, _ in templates), np.uint8)
    heads = heads.reshape(len(templates), layout.size)
    header = len(heads[0]).to_bytes(8, "little")
    header += checksum(header).to_bytes(4, "little")
    out = np.empty((len(points.tag), len(header) + layout.size + 4), np.uint8)
    out[:, : len(header)] = np.frombuffer(header, np.uint8)
    data = out[:, len(header) : -4]
    data[:] = heads[number] if len(heads) > 1 else heads[0]
    _fill(data, layout, points, narrow)
    plain_of = np.array([plain(head.tobytes()) for head in heads], np.uint32)
    crc = _checks(data, layout) ^ plain_of[number] if layout.size <= LONGEST else _one_by_one(data)
    masked = ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + _MASK
    out[:, -4:] = masked.astype("<u4").view(np.uint8).reshape(-1, 4)
    return out.tobytes()


def _checks(data: Bytes, layout: _Layout) -> npt.NDArray[np.uint32]:
    """What the varying bytes add to the checksums of the templates, where they are 0."""
    return differences(data, layout.varying, np.zeros(layout.size, np.uint8))


def _one_by_one(data: Bytes) -> npt.NDArray[np.uint32]:
    return np.array([plain(row.tobytes()) for row in data], np.uint32)


def _template(tag: bytes, width: int, exact: int) -> tuple[bytes, _Layout]:
    """The data of a record with 0 for all that varies, and where that is (event.proto)."""
    value = b"\x0a" + varint(len(tag)) + tag
    number = len(value) + 1
    value += b"\x15" + bytes(4)
    double = 0
    if exact:
        value += varint(EXACT << 3 | 1)
        double = len(value)
        value += bytes(8)
    summary = b"\x0a" + varint(len(value)) + value
    head = b"\x09" + bytes(8) + (b"\x10" + bytes(width) if width else b"")
    head += b"\x2a" + varint(len(summary)) + summary[: -len(value)]
    base = len(head)
    data = head + value
    layout = _Layout(len(data), 1, 10, width, base, base + number, double and base + double)
    return data, layout


def _fill(data: Bytes, layout: _Layout, points: Points, narrow: npt.NDArray[np.float32]) -> None:
    _put(data, layout.time, points.seconds.astype("<f8"))
    _put(data, layout.value, narrow.astype("<f4"))
    if layout.exact:
        _put(data, layout.exact, points.value.astype("<f8"))
    step = points.step.view(np.uint64)
    for place in range(layout.width):
        more = 0x80 if place < layout.width - 1 else 0
        digit = (step >> np.uint64(7 * place)) & np.uint64(0x7F)
        data[:, layout.step + place] = digit.astype(np.uint8) | more


def _put(data: Bytes, start: int, numbers: npt.NDArray[Any]) -> None:
    raw = np.ascontiguousarray(numbers).view(np.uint8).reshape(len(numbers), -1)
    data[:, start : start + raw.shape[1]] = raw


def varint(number: int) -> bytes:
    """A number, not negative, as protobuf writes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def message(field: int, content: bytes) -> bytes:
    """A field of bytes, or of a message within a message."""
    return varint(field << 3 | 2) + varint(len(content)) + content
