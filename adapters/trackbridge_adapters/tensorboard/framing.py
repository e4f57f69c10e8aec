"""Framing of TFRecord files: a record is its length and its data, each with a checksum after it.

Little-endian: length as uint64, its checksum as uint32, data, its checksum as uint32
(tensorflow/core/lib/io/record_writer.h, 2.19).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from trackbridge_adapters.tensorboard.checksums import (
    Checks,
    checksum,
    differences,
    plain,
    unmasked,
)

HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")
OVERHEAD = HEADER.size + FOOTER.size
BLOCK = 8 * 1024**2
"""Bytes that are read at a time; of a longer record, as many as it has."""
LENGTHS = 1 << 16
"""Lengths whose checksums are remembered."""
WALKED = 256
"""Records that are looked at one by one before it is worth to look for all of them at once."""
WORTH = 1 << 12
"""Bytes that have to be left for that to be worth it."""
DENSE = 1024
"""Bytes that a record has on average, at most, for that to be worth it."""
SEARCHED = 1 << 16
"""Bytes that are searched for a header at a time."""

Ints = npt.NDArray[np.int64]


class Damage(NamedTuple):
    """What is not readable of a file, and where."""

    offset: int
    reason: str
    at_end: bool = False
    """The file ends within a record, which may be one that is being written."""


class Frames(NamedTuple):
    """Records of a part of a file; the checksums of their data are still to be looked at."""

    data: bytes
    base: int
    """Where the part begins in the file."""
    starts: Ints
    """Where the data of each record begins in `data`."""
    sizes: Ints


def frame(data: bytes) -> bytes:
    """A record as it stands in a file."""
    length = len(data).to_bytes(8, "little")
    return b"".join((length, FOOTER.pack(checksum(length)), data, FOOTER.pack(checksum(data))))


def records(stream: BinaryIO, damage: list[Damage]) -> Iterator[tuple[int, bytes]]:
    """Offset and data of each sound record of a file, in order."""
    for part in frames(stream, damage):
        for start, size in zip(part.starts.tolist(), part.sizes.tolist()):
            if is_sound(part.data, start, size):
                yield part.base + start - HEADER.size, part.data[start : start + size]
            else:
                damage.append(unsound(part, start))


def is_sound(data: bytes, start: int, size: int) -> bool:
    """Whether the checksum after the data of a record is right."""
    return bool(FOOTER.unpack_from(data, start + size)[0] == checksum(data[start : start + size]))


def are_sound(data: bytes, starts: Ints, sizes: Ints) -> npt.NDArray[np.bool_]:
    """The same of many records."""
    spans = zip(starts.tolist(), (starts + sizes).tolist())
    crcs = np.array([plain(data[start:stop]) for start, stop in spans], np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, np.uint8), FOOTER.size)
    found = windows[starts + sizes].view("<u4")[:, 0]
    return np.asarray(unmasked(found) == crcs)


def unsound(part: Frames, start: int) -> Damage:
    return Damage(part.base + start - HEADER.size, "a record with a wrong checksum")


def frames(stream: BinaryIO, damage: list[Damage], end: int | None = None) -> Iterator[Frames]:
    """The records of a file, or of what is before an offset, some MB at a time.

    Where the checksum of a length is wrong, or that of a record behind which no other one begins,
    it goes on at the next record both of whose checksums are right.
    """
    window = _Window(stream, stream.seek(0, os.SEEK_END) if end is None else end)
    lengths: dict[int, int] = {}
    while window.fill_record() or window.data:
        starts, sizes, stop = _scan(window.data, lengths)
        if len(starts) and not is_sound(window.data, int(starts[-1]), int(sizes[-1])):
            stop = int(starts[-1]) - HEADER.size  # its length may be that of a record cut short
            starts, sizes = starts[:-1], sizes[:-1]
        if len(starts):
            yield Frames(window.data, window.base, starts, sizes)
            window.drop(stop)
            continue
        lost, is_cut = window.base, window.is_cut()
        is_found = _find_record(window)
        reason = "ends within a record" if is_cut and not is_found else "wrong checksum"
        size = window.base - lost
        damage.append(Damage(lost, f"{reason}, {size} bytes", is_cut and not is_found))


class _Window:
    """A part of a file that moves towards its end."""

    def __init__(self, stream: BinaryIO, end: int) -> None:
        self.data, self.base, self._end = b"", 0, end
        self._stream = stream
        stream.seek(0)

    def fill(self, size: int) -> bool:
        """Have that many bytes at least; false where the file ends before."""
        missing = min(max(size, BLOCK), self._end - self.base) - len(self.data)
        if len(self.data) < size and missing > 0:
            self.data += self._stream.read(missing)
        return len(self.data) >= size

    def fill_record(self) -> bool:
        """Have the record that begins here whole; false where the file ends before."""
        if not self.fill(HEADER.size):
            return False
        size = HEADER.unpack_from(self.data)[0] + OVERHEAD
        return bool(self.base + size <= self._end and self.fill(size))

    def is_cut(self) -> bool:
        """Whether a record begins here that the file ends within."""
        if len(self.data) < HEADER.size:
            return True
        size, crc = HEADER.unpack_from(self.data)
        is_beyond = self.base + size + OVERHEAD > self._end
        return bool(is_beyond and crc == checksum(self.data[:8]))

    def drop(self, size: int) -> None:
        self.data, self.base = self.data[size:], self.base + size


def _scan(data: bytes, lengths: dict[int, int]) -> tuple[Ints, Ints, int]:
    """Where the data of whole records begins, their sizes, and the offset behind the last one."""
    found: list[tuple[Any, Any]] = []
    known: _Headers | None = None
    at, count = 0, WALKED
    while count == WALKED:
        begun = at
        starts, sizes, at = _walk(data, at, lengths)
        count = len(starts)
        found.append((starts, sizes))
        if at - begun < WALKED * DENSE and count == WALKED and len(data) - at >= WORTH:
            known = known or _Headers(data, at)
            for places, longs in known.chain(at):
                found.append((places + HEADER.size, longs))
                at = int(places[-1] + longs[-1]) + OVERHEAD
    columns = (np.concatenate([np.asarray(each, np.int64) for each in c]) for c in zip(*found))
    return next(columns), next(columns), at


def _walk(data: bytes, at: int, lengths: dict[int, int]) -> tuple[list[int], list[int], int]:
    """The same of a few records, one by one; `lengths` are those whose checksums are known."""
    starts, sizes, unpack = list[int](), list[int](), HEADER.unpack_from
    end = len(data)
    last = end - HEADER.size
    while at <= last and len(starts) < WALKED:
        size, crc = unpack(data, at)
        if lengths.get(size) != crc:
            if checksum(data[at : at + 8]) != crc:
                break
            if len(lengths) >= LENGTHS:
                lengths.clear()
            lengths[size] = crc
        following = at + OVERHEAD + size
        if following > end:
            break
        starts.append(at + HEADER.size)
        sizes.append(size)
        at = following
    return starts, sizes, at


class _Headers:
    """All places of some bytes where a short length with a right checksum stands, but 0."""

    def __init__(self, data: bytes, at: int) -> None:
        whole = np.frombuffer(data, np.uint8)[at:]
        zero = whole[2 : len(whole) - HEADER.size + 8] == 0
        count = max(len(whole) - HEADER.size + 1, 0)
        small = (whole[:count] | whole[1 : count + 1]) != 0
        for place in range(6):
            small &= zero[place : place + count]
        places = np.flatnonzero(small)
        rows = np.lib.stride_tricks.sliding_window_view(whole, HEADER.size)[places]
        sizes = np.ascontiguousarray(rows[:, :2]).view("<u2")[:, 0]
        crc = unmasked(np.ascontiguousarray(rows[:, 8:]).view("<u4")[:, 0])
        self._sizes = sizes.astype(np.int64)
        self._places = places + at
        self._next = self._places + self._sizes + OVERHEAD
        right = (crc == _short_lengths()[sizes]) & (self._next <= len(data))
        self._places, self._sizes, self._next = (
            column[right] for column in (self._places, self._sizes, self._next)
        )
        self._leaps = np.flatnonzero(self._next[:-1] != self._places[1:])

    def chain(self, at: int) -> Iterator[tuple[Ints, Ints]]:
        """Places and sizes of the records that follow each other from an offset on."""
        while True:
            first = int(np.searchsorted(self._places, at))
            if first == len(self._places) or self._places[first] != at:
                return
            leap = int(np.searchsorted(self._leaps, first))
            last = int(self._leaps[leap]) if leap < len(self._leaps) else len(self._places) - 1
            yield self._places[first : last + 1], self._sizes[first : last + 1]
            at = int(self._next[last])


@lru_cache(maxsize=1)
def _short_lengths() -> Checks:
    """The checksum of each length that has two bytes."""
    rows = np.zeros((1 << 16, 8), np.uint8)
    rows[:, :2] = np.arange(1 << 16, dtype="<u2").view(np.uint8).reshape(-1, 2)
    return np.asarray(differences(rows, (0, 1), rows[0]) ^ np.uint32(plain(bytes(8))))


def _find_record(window: _Window) -> bool:
    """Move to the next sound record behind the beginning; to the end where there is none."""
    at = 1
    while window.fill(at + HEADER.size):
        for found in _headers(window.data, at):
            size = HEADER.unpack_from(window.data, found)[0]
            if found + OVERHEAD + size > len(window.data):
                window.drop(found)
                if window.fill_record() and is_sound(window.data, HEADER.size, size):
                    return True
                at = 1
                break
            if is_sound(window.data, found + HEADER.size, size):
                window.drop(found)
                return True
        else:
            window.drop(len(window.data) - HEADER.size + 1)
            at = 0
    window.drop(len(window.data))
    return False


def _headers(data: bytes, at: int) -> Iterator[int]:
    """Where lengths with right checksums are."""
    whole, zero = np.frombuffer(data, np.uint8), np.zeros(8, np.uint8)
    for start in range(at, len(data) - HEADER.size + 1, SEARCHED):
        part = whole[start : start + SEARCHED + HEADER.size - 1]
        rows = np.lib.stride_tricks.sliding_window_view(part, HEADER.size)
        small = np.flatnonzero((rows[:, 5] | rows[:, 6] | rows[:, 7]) == 0)
        found = rows[small]
        crc = np.uint32(plain(zero.tobytes())) ^ differences(found[:, :8], range(5), zero)
        right = unmasked(found[:, 8:].copy().view("<u4")[:, 0]) == crc
        yield from (start + small[right]).tolist()
