"""Blocks of a file: all of it, in order, cut where rows end."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackbridge_adapters.tables import blocks

TEXTS = st.lists(st.sampled_from([b"a", b"bc", b'"', b"\n", b",", b" "]), max_size=60).map(b"".join)


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", 8)
        patch.setattr(blocks, "LONGEST", 24)
        patch.setattr(blocks, "CACHED", 3)
        yield


@given(TEXTS, st.booleans(), st.integers(0, 5), st.none() | st.integers(0, 70))
def test_blocks_are_the_file_cut_where_rows_end(
    data: bytes, quoted: bool, start: int, stop: int | None
) -> None:
    found = list(blocks.cut(io.BytesIO(data), start, 1, quoted=quoted, stop=stop))
    end, line = len(data) if stop is None else min(stop, len(data)), 1
    for block, piece in found:
        assert not data[start : block.offset].strip()  # blank blocks are left out
        line += data.count(b"\n", start, block.offset)
        assert (block.line, block.size) == (line, len(piece))
        assert piece == data[block.offset : block.offset + block.size]
        assert block.is_open <= quoted
        start, line = block.offset + block.size, line + piece.count(b"\n")
        whole = piece.endswith(b"\n") and (not quoted or piece.count(b'"') % 2 == 0)
        assert whole or block.is_open or start == end or len(piece) == blocks.LONGEST
    assert not data[start:end].strip()


def test_a_row_is_whole_though_it_is_longer_than_a_block() -> None:
    row = b'1,"a\nb\nc d e f",2\n'
    found = [piece for _, piece in blocks.cut(io.BytesIO(row * 3), 0, 1, quoted=True)]
    assert b"".join(found) == row * 3
    assert all(len(piece) % len(row) == 0 for piece in found)


def test_a_quote_that_is_never_closed_is_told_and_hides_no_more_than_the_longest_row() -> None:
    data = b'1,"a\n' + b"2,bb\n" * 20
    found = list(blocks.cut(io.BytesIO(data), 0, 1, quoted=True))
    assert found[0][0].is_open
    assert len(found[0][1]) <= blocks.LONGEST
    assert not any(block.is_open for block, _ in found[1:])
    assert b"".join(piece for _, piece in found) == data


def test_a_file_that_is_cut_meanwhile_ends() -> None:
    file = io.BytesIO(b"a,b\n" * 10)
    found = blocks.cut(file, 0, 1, quoted=True)
    assert next(found)[1] == b"a,b\na,b\n"
    file.truncate(10)
    assert b"".join(piece for _, piece in found) == b"a,"
