"""Pieces of a text file that end where a row does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

BLOCK_BYTES = 4 << 20
LONGEST = 64 << 20
"""A row that is longer than this is cut, which its parser will call damage."""
CACHED = 1 << 18
"""Bytes that are looked at at a time, so that a processor has them at hand."""


class Block(NamedTuple):
    """Whole rows: `line` is the number of the first one in the file, from 1."""

    offset: int
    size: int
    line: int
    is_open: bool = False
    """Whether a quote in it may be one that is never closed."""


def threads(file: BinaryIO) -> int:
    """How many blocks of a file are parsed at a time: more would wait for who looks at the rows."""
    return min(4, pa.cpu_count()) if file.seek(0, os.SEEK_END) > BLOCK_BYTES else 1


def cut(
    file: BinaryIO, start: int, line: int, *, quoted: bool, stop: int | None = None
) -> Iterator[tuple[Block, bytes]]:
    """A file from a position on, in blocks with their bytes; `quoted`: quotes may hide line ends.

    A blank block is left out; the last row may lack its line end.
    """
    size = file.seek(0, os.SEEK_END)
    stop = size if stop is None else min(stop, size)
    while start < stop:
        data, is_open = _rows(file, start, stop, quoted=quoted)
        if not data:  # the file was cut meanwhile
            return
        if not data.isspace():
            yield Block(start, len(data), line, is_open), data
        start, line = start + len(data), line + count(data, b"\n")


def _rows(file: BinaryIO, start: int, stop: int, *, quoted: bool) -> tuple[bytes, bool]:
    """Whole rows from a position on, and whether a quote in them may be open."""
    for reach in range(start + BLOCK_BYTES, start + LONGEST + 1, BLOCK_BYTES):
        if reach >= stop:
            data = _read(file, start, stop)
            return data, quoted and _is_open(data)
        data = _read(file, start, _line_end(file, start, reach))
        if quoted and _is_open(data):
            data = data[: _row_end(data)]
        if data:
            return data, False
    data = _read(file, start, start + LONGEST)
    return data[: data.rfind(b"\n") + 1] or data, quoted


def _read(file: BinaryIO, start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(stop - start)


def count(data: bytes, sign: bytes) -> int:
    """How often a sign is there; faster than `bytes.count` where it is frequent."""
    found = np.frombuffer(data, np.uint8)
    parts = (found[at : at + CACHED] for at in range(0, len(found), CACHED))
    return sum(int(np.count_nonzero(part == sign[0])) for part in parts)


def _is_open(data: bytes) -> bool:
    return b'"' in data and count(data, b'"') % 2 == 1


def _line_end(file: BinaryIO, start: int, reach: int) -> int:
    """Where the last line ends that ends between two positions; the first of them if none does."""
    while reach > start:
        begin = max(start, reach - CACHED)
        found = _read(file, begin, reach).rfind(b"\n") + 1
        if found:
            return begin + found
        reach = begin
    return start


def _row_end(data: bytes) -> int:
    """Where the last row ends in lines with an odd number of quotes; 0 where none does."""
    quotes, end = 1, len(data)
    while end and quotes % 2:
        before = data.rfind(b"\n", 0, end - 1) + 1
        quotes -= data.count(b'"', before, end)
        end = before
    return end
