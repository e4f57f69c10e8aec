"""The framing of `.wandb` files: records in checksummed chunks in blocks of 32 KiB.

It is LevelDB's log format with a header of 7 bytes before the first chunk and `zlib.crc32` in
place of the masked crc32c (wandb 0.10 to 0.31).
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import BinaryIO, NamedTuple
from zlib import crc32

BLOCK = 32 * 1024
HEADER = b":W&B" + Struct("<HB").pack(0xBEE1, 0)
CHUNK = Struct("<IHB")  # crc of kind and data, length of data, kind
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
SEEDS = [crc32(bytes([kind])) for kind in range(256)]


class Damage(NamedTuple):
    """What could not be read, and where in the file."""

    offset: int
    reason: str


class Chunk(NamedTuple):
    offset: int
    kind: int
    data: bytes


def read_records(
    stream: BinaryIO, damage: list[Damage], base: int = 0
) -> Iterator[tuple[int, bytes]]:
    """The records that are whole, with the offsets they begin at; the rest goes to `damage`.

    Everything with a right checksum is found again, also behind damage within a block. `base` is
    where the stream stands in its file: at its beginning, or at that of any block.
    """
    parts: list[bytes] = []  # of the record that began at `start`
    start = 0
    named = 0  # damages so far
    excused = False  # that chunks of a record are missing is known
    for offset, kind, data in _chunks(stream, damage, base):
        if len(damage) > named:
            parts, named, excused = [], len(damage), True
        if kind in (FULL, FIRST):
            excused = False
        if kind in (MIDDLE, LAST):
            if parts:
                parts.append(data)
            elif not excused:
                damage.append(Damage(offset, "a record lacks its beginning"))
            if parts and kind == LAST:
                yield start, b"".join(parts)
                parts = []
        else:
            if parts:
                damage.append(Damage(start, "a record lacks its end"))
                parts, named = [], len(damage)
            if kind == FULL:
                yield offset, data
            else:
                start, parts = offset, [data]
    if parts and len(damage) == named:
        damage.append(Damage(start, "the file ends within a record"))


def _chunks(stream: BinaryIO, damage: list[Damage], base: int) -> Iterator[Chunk]:
    block = stream.read(BLOCK)
    at = 0 if base else len(HEADER)
    if block[:at] != HEADER[:at]:
        damage.append(Damage(0, "the file is empty" if not block else "no W&B file header"))
    while block:
        following = stream.read(BLOCK) if len(block) == BLOCK else b""
        yield from _chunks_of(block, at, base, damage)
        base += len(block)
        block, at = following, 0


def _chunks_of(block: bytes, at: int, base: int, damage: list[Damage]) -> Iterator[Chunk]:
    """The chunks of a block; less than a chunk header at the end of a whole block is padding."""
    unpack, head, size = CHUNK.unpack_from, CHUNK.size, len(block)
    while size - at >= head:
        crc, length, kind = unpack(block, at)
        data = block[at + head : at + head + length]
        if crc32(data, SEEDS[kind]) == crc and len(data) == length and FULL <= kind <= LAST:
            yield Chunk(base + at, kind, data)
            at += head + length
            continue
        found = _resume(block, at + 1)
        cut = found is None and size < BLOCK and at + head + length > size
        reason = "the file ends within a chunk" if cut else "wrong checksum"
        damage.append(Damage(base + at, reason))
        if found is None:
            return
        at = found
    if at < size < BLOCK:
        damage.append(Damage(base + at, "the file ends within a chunk"))


def _resume(block: bytes, at: int) -> int | None:
    """Where the next chunk with a right checksum begins in a damaged block."""
    head, size = CHUNK.size, len(block)
    while size - at >= head:
        crc, length, kind = CHUNK.unpack_from(block, at)
        end = at + head + length
        if (
            FULL <= kind <= LAST
            and end <= size
            and crc32(block[at + head : end], SEEDS[kind]) == crc
        ):
            return at
        at += 1
    return None


class RecordWriter:
    """Writes the file header, then records, to a stream that is at its beginning."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._at = stream.write(HEADER)

    def write(self, record: bytes) -> None:
        kind, rest = FIRST, memoryview(record)
        while True:
            room = BLOCK - self._at % BLOCK - CHUNK.size
            if room < 0:
                self._at += self._stream.write(bytes(room + CHUNK.size))
                room = BLOCK - CHUNK.size
            data, rest = rest[:room], rest[room:]
            if not rest:
                kind = FULL if kind == FIRST else LAST
            header = CHUNK.pack(crc32(data, SEEDS[kind]), len(data), kind)
            self._at += self._stream.write(header) + self._stream.write(data)
            if not rest:
                return
            kind = MIDDLE
