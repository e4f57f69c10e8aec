"""The framing of `.wandb` files: round trips, and what is left of damaged ones."""

from __future__ import annotations

import io

from hypothesis import given, settings
from hypothesis import strategies as st

from trackbridge_adapters.wandb.framing import (
    BLOCK,
    CHUNK,
    HEADER,
    Damage,
    RecordWriter,
    read_records,
)

sizes = st.one_of(st.integers(0, 200), st.integers(BLOCK - 30, BLOCK + 30), st.just(3 * BLOCK))
records = st.lists(sizes, max_size=12).map(
    lambda found: [bytes([n % 251 + 1]) * size for n, size in enumerate(found)]
)
LARGE = [bytes([n + 1]) * 900 for n in range(120)]  # more than three blocks of short records


def framed(given_records: list[bytes]) -> bytes:
    stream = io.BytesIO()
    writer = RecordWriter(stream)
    for record in given_records:
        writer.write(record)
    return stream.getvalue()


def unframed(data: bytes) -> tuple[list[bytes], list[Damage]]:
    damage: list[Damage] = []
    return [record for _, record in read_records(io.BytesIO(data), damage)], damage


@given(records)
def test_records_are_read_as_they_were_written(given_records: list[bytes]) -> None:
    assert unframed(framed(given_records)) == (given_records, [])


@given(records)
def test_no_chunk_crosses_a_block(given_records: list[bytes]) -> None:
    data = framed(given_records)
    at = len(HEADER)
    while at < len(data):
        left = BLOCK - at % BLOCK
        if left < CHUNK.size:
            assert not any(data[at : at + left])
            at += left
            continue
        _, size, _ = CHUNK.unpack_from(data, at)
        assert CHUNK.size + size <= left
        at += CHUNK.size + size
    assert at == len(data)


@given(records, st.data())
def test_a_cut_file_gives_the_records_before_the_cut(
    given_records: list[bytes], data: st.DataObject
) -> None:
    whole = framed(given_records)
    cut = data.draw(st.integers(0, len(whole)))
    found, damage = unframed(whole[:cut])
    assert found == given_records[: len(found)]
    at_an_end = cut == len(framed(given_records[: len(found)]))
    assert bool(damage) == (not at_an_end)


@given(st.integers(len(HEADER), len(framed(LARGE)) - 1), st.integers(1, 255))
def test_a_changed_byte_costs_no_record_of_another_block(place: int, change: int) -> None:
    data = bytearray(framed(LARGE))
    data[place] ^= change
    found, damage = unframed(bytes(data))
    lost = [n for n, record in enumerate(LARGE) if record not in found]
    assert set(found) <= set(LARGE)
    assert found == [record for record in LARGE if record in found]
    assert len(lost) <= 1
    assert damage or not lost


@given(st.integers(0, 3), st.integers(7, BLOCK - 1), st.integers(1, 5000))
def test_zeros_in_a_block_leave_the_other_blocks(block: int, start: int, length: int) -> None:
    data = bytearray(framed(LARGE))
    begin = min(block * BLOCK + start, len(data))
    end = min(begin + length, (block + 1) * BLOCK, len(data))
    data[begin:end] = bytes(end - begin)
    found, _ = unframed(bytes(data))
    touched = set(unframed(bytes(data[: block * BLOCK]))[0])
    assert touched <= set(found)
    behind = [r for n, r in enumerate(LARGE) if len(framed(LARGE[:n])) >= (block + 1) * BLOCK]
    assert set(behind) <= set(found)


@settings(max_examples=300)
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_at_all_are_read_without_an_error(data: bytes, headed: bool) -> None:
    unframed(HEADER + data if headed else data)


def test_reading_may_begin_at_any_block() -> None:
    data = framed(LARGE)
    stream = io.BytesIO(data)
    stream.seek(2 * BLOCK)
    tail = [record for _, record in read_records(stream, [], 2 * BLOCK)]
    assert tail == LARGE[-len(tail) :]
    assert len(tail) > 30


def test_damage_says_where_and_why() -> None:
    assert unframed(b"")[1] == [Damage(0, "the file is empty")]
    assert unframed(b"hello world, this is no run")[1][0] == Damage(0, "no W&B file header")
    data = framed([b"first", b"second"])
    assert unframed(data[:-2])[1] == [Damage(len(HEADER) + 12, "the file ends within a chunk")]
    torn = data[:16] + b"X" + data[17:]
    assert unframed(torn) == ([b"second"], [Damage(len(HEADER), "wrong checksum")])
