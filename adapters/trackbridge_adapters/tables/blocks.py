"""Pieces of a text file that end where a row does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

BLOCK_BYTES = 8 << 20
LONGEST = 64 << 20
"""A row that is longer than this is cut, which its parser will call damage."""
CACHED = 1 << 18
"""Bytes that are looked at at a time, so that a processor has them at hand."""


class Block(NamedTuple):
    """Whole rows: `line` is the number of the first one in the file, from 1."""

    offset: int
    size: int
    line: int


def threads(file: BinaryIO) -> int:
    """How many blocks of a file are parsed at a time: more would wait for who looks at the rows."""
    return min(4, pa.cpu_count()) if file.seek(0, os.SEEK_END) > BLOCK_BYTES else 1


def cut(
    file: BinaryIO, start: int, line: int, *, quoted: bool, stop: int | None = None
) -> Iterator[tuple[Block, bytes]]:
    """A file from a position on, in blocks with their bytes; `quoted`: quotes may hide line ends.

    A blank block is left out; the last row may lack its line end.
    """
    reach = start
    while True:
        file.seek(start)
        ahead = reach + BLOCK_BYTES if stop is None else min(reach + BLOCK_BYTES, stop)
        data = file.read(ahead - start)
        if not data:
            return
        ends = start + len(data) <= reach
        end = len(data) if ends else _end(data, quoted=quoted)
        reach = start + len(data)
        if not end and len(data) < LONGEST:
            continue
        end = end or data.rfind(b"\n") + 1 or len(data)
        block = data[:end]
        if not block.isspace():
            yield Block(start, end, line), block
        start, line = start + end, line + count(block, b"\n", end)


def count(data: bytes, sign: bytes, end: int) -> int:
    """How often a sign is there; faster than `bytes.count` where it is frequent."""
    found = np.frombuffer(data, np.uint8)
    parts = (found[at : min(at + CACHED, end)] for at in range(0, end, CACHED))
    return sum(int(np.count_nonzero(part == sign[0])) for part in parts)


def _end(data: bytes, *, quoted: bool) -> int:
    """Where the last whole row of the data ends; 0 where none does."""
    end = data.rfind(b"\n") + 1
    if not quoted:
        return end
    quotes = count(data, b'"', end) if b'"' in data else 0
    while end and quotes % 2:
        before = data.rfind(b"\n", 0, end - 1) + 1
        quotes -= data.count(b'"', before, end)
        end = before
    return end
