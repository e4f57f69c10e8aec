"""Pieces of a text file that end where a row does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

BLOCK_BYTES = 8 << 20
LONGEST = 64 << 20
"""A row that is longer than this is cut, which its parser will call damage."""


class Block(NamedTuple):
    """Whole rows: `line` is the number of the first one in the file, from 1."""

    offset: int
    size: int
    line: int


def cut(
    file: BinaryIO, start: int, line: int, *, quoted: bool, stop: int | None = None
) -> Iterator[tuple[Block, bytes]]:
    """A file from a position on, in blocks with their bytes; `quoted`: quotes may hide line ends.

    A blank block is left out; the last row may lack its line end.
    """
    left = b""
    while True:
        file.seek(start + len(left))
        rest = BLOCK_BYTES if stop is None else stop - start - len(left)
        more = file.read(min(BLOCK_BYTES, rest))
        data = left + more
        if not data:
            return
        end = len(data) if not more else _end(data, quoted=quoted)
        if not end and len(data) < LONGEST:
            left = data
            continue
        end = end or data.rfind(b"\n") + 1 or len(data)
        block = data[:end]
        if not block.isspace():
            yield Block(start, end, line), block
        start, line, left = start + end, line + _count(block, b"\n"), data[end:]


def _count(data: bytes, sign: bytes) -> int:
    """How often a sign is there; faster than `bytes.count` where it is frequent."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == sign[0]))


def _end(data: bytes, *, quoted: bool) -> int:
    """Where the last whole row of the data ends; 0 where none does."""
    end = data.rfind(b"\n") + 1
    if not quoted:
        return end
    quotes = _count(data[:end], b'"')
    while end and quotes % 2:
        before = data.rfind(b"\n", 0, end - 1) + 1
        quotes -= data.count(b'"', before, end)
        end = before
    return end
