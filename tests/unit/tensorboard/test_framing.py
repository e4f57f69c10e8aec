"""The framing of event files: round trips, and what is left of damaged ones."""

from __future__ import annotations

import io
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboardX.record_writer import RecordWriter

from trackbridge_adapters.tensorboard import framing
from trackbridge_adapters.tensorboard.checksums import checksum, differences, plain, unmasked
from trackbridge_adapters.tensorboard.framing import OVERHEAD, Damage, frame, records

many = st.lists(st.binary(max_size=60), max_size=30)


def read(data: bytes) -> tuple[list[bytes], list[Damage]]:
    damage: list[Damage] = []
    return [record for _, record in records(io.BytesIO(data), damage)], damage


@given(many, st.sampled_from([1, 13, 64, framing.BLOCK]))
def test_records_are_read_as_they_were_framed(contents: list[bytes], block: int) -> None:
    with mock.patch.object(framing, "BLOCK", block):
        assert read(b"".join(map(frame, contents))) == (contents, [])


@given(st.lists(st.integers(0, 400), min_size=1, max_size=8), st.data())
def test_many_records_are_read_as_they_were_framed(sizes: list[int], data: st.DataObject) -> None:
    """Among them long ones, some that have records in them, and one that is damaged."""
    contents = [bytes([size % 256]) * size for size in sizes] * 200
    places = st.integers(0, len(contents) - 1)
    contents[data.draw(places)] = bytes(1 << 16)
    contents[data.draw(places)] = frame(b"inner") * 3
    whole = bytearray(b"".join(map(frame, contents)))
    assert read(bytes(whole)) == (contents, [])
    hit = data.draw(places)
    at = sum(len(content) + OVERHEAD for content in contents[:hit])
    whole[at + data.draw(st.integers(0, 15))] ^= 1
    found, damage = read(bytes(whole))
    inner = [b"inner"] * 3 if contents[hit] == frame(b"inner") * 3 else []
    assert found in (contents[:hit] + rest + contents[hit + 1 :] for rest in (inner, []))
    assert damage[0].offset == at


def test_frames_are_those_of_another_writer(tmp_path: Path) -> None:
    contents = [b"", b"x", bytes(range(256)) * 5]
    writer = RecordWriter(str(tmp_path / "records"))
    for content in contents:
        writer.write(content)
    writer.close()
    assert (tmp_path / "records").read_bytes() == b"".join(map(frame, contents))


@given(many, st.data())
def test_of_a_file_cut_short_every_whole_record_is_left(
    contents: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(map(frame, contents))
    cut = data.draw(st.integers(0, len(whole)))
    ends = np.cumsum([0, *(len(content) + OVERHEAD for content in contents)])
    count = int(np.searchsorted(ends, cut, "right")) - 1
    found, damage = read(whole[:cut])
    assert found == contents[:count]
    if cut == ends[count]:
        assert damage == []
    else:
        size = cut - int(ends[count])
        assert damage == [Damage(int(ends[count]), f"ends within a record, {size} bytes", True)]


@given(many.filter(bool), st.data(), st.sampled_from([16, framing.BLOCK]))
def test_a_changed_byte_costs_one_record_and_is_named(
    contents: list[bytes], data: st.DataObject, block: int
) -> None:
    whole = bytearray(b"".join(map(frame, contents)))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    ends = np.cumsum([len(content) + OVERHEAD for content in contents])
    hit = int(np.searchsorted(ends, place, "right"))
    with mock.patch.object(framing, "BLOCK", block):
        found, damage = read(bytes(whole))
    assert found == contents[:hit] + contents[hit + 1 :]
    assert [each.offset for each in damage] == [int(ends[hit]) - len(contents[hit]) - OVERHEAD]


@given(many, many, st.binary(min_size=1, max_size=40))
def test_what_was_written_behind_a_record_that_is_cut_short_is_found(
    before: list[bytes], after: list[bytes], lost: bytes
) -> None:
    cut = frame(lost)[:-3]
    whole = b"".join([*map(frame, before), cut, *map(frame, after)])
    found, damage = read(whole)
    assert found == before + after
    assert [each.offset for each in damage] == [sum(len(frame(each)) for each in before)]


@given(st.binary(max_size=300))
def test_any_bytes_give_records_or_damage(data: bytes) -> None:
    found, damage = read(data)
    assert damage or b"".join(map(frame, found)) == data


def test_a_hole_of_zeros_is_named_and_passed_over() -> None:
    found, damage = read(frame(b"a") + bytes(3 * framing.SEARCHED) + frame(b"b"))
    assert found == [b"a", b"b"]
    size = 3 * framing.SEARCHED
    assert damage == [Damage(OVERHEAD + 1, f"wrong checksum, {size} bytes")]


@given(st.lists(st.binary(min_size=9, max_size=9), min_size=1, max_size=8))
def test_checksums_of_many_strings_are_those_of_each(strings: list[bytes]) -> None:
    rows = np.frombuffer(b"".join(strings), np.uint8).reshape(-1, 9)
    crc = np.uint32(plain(strings[0])) ^ differences(rows, range(9), rows[0])
    assert crc.tolist() == [plain(string) for string in strings]
    masked = np.array([checksum(string) for string in strings], np.uint32)
    assert unmasked(masked).tolist() == crc.tolist()


@pytest.mark.parametrize(("data", "crc"), [(bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)])
def test_checksums_are_those_of_rfc_3720(data: bytes, crc: int) -> None:
    assert plain(data) == crc
