"""Frames: whatever is whole is read, whatever happens to the bytes around it."""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from trackbridge.dual import frames, records, scanning


class Point(NamedTuple):
    number: int
    row: int
    step: int
    at: int
    values: tuple[float, ...]


NUMBERS = st.integers(-(2**63), 2**63 - 1)
LISTS = [["loss"], ["loss", "accuracy", "é"], [f"k{n}" for n in range(9)]]
KEYS: list[dict[str, Any]] = [{"t": "keys", "id": n, "keys": keys} for n, keys in enumerate(LISTS)]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
RECORDS = st.builds(lambda text, at: {"t": "new kind", "text": text, "at": at}, TEXTS, NUMBERS)
POINTS = st.integers(0, 2).flatmap(
    lambda n: st.builds(
        Point,
        st.just(n),
        *(NUMBERS, NUMBERS, NUMBERS),
        st.tuples(*[st.floats(width=64)] * len(LISTS[n])),
    )
)
Said = list["dict[str, Any] | Point"]
SAID: st.SearchStrategy[Said] = st.lists(RECORDS | POINTS, max_size=12)


def packed(said: dict[str, Any] | Point) -> bytes:
    if isinstance(said, dict):
        return frames.record(said)
    pack = frames.packer(len(said.values))
    return frames.frame(pack(b"P", 0, 0, said.number, said.row, said.step, said.at, *said.values))


def read(data: bytes, start: int = 0, most: int = 20) -> tuple[list[bytes], list[tuple[int, int]]]:
    """The frames that are found, as bytes in order, and the gaps between them."""
    found: list[tuple[int, int]] = []
    gaps: list[tuple[int, int]] = []
    edge = start
    for window in scanning.scan(data, start, most=most):
        assert window.start == edge
        edge = window.stop
        for values, starts in window.points.items():
            found += [(at, at + scanning.size(values)) for at in starts]
        for record, at in zip(window.records, window.places):
            assert records.parse(payload(data, at)) == record
            found.append((at, at + 12 + len(payload(data, at))))
        gaps += window.gaps
    covered = sorted(found + gaps)
    assert [begin for begin, _ in covered] == [start, *(end for _, end in covered)][: len(covered)]
    return [data[begin:end] for begin, end in sorted(found)], gaps


def payload(data: bytes, at: int) -> bytes:
    [length] = struct.unpack_from("<I", data, at + 4)
    return data[at + 12 : at + 12 + length]


@given(SAID)
def test_whatever_was_said_is_read_bit_for_bit(said: Said) -> None:
    whole = [packed(each) for each in (*KEYS, *said)]
    assert read(b"".join(whole)) == (whole, [])


@given(SAID, st.data())
def test_a_file_that_grows_reads_the_same_in_pieces(said: Said, data: st.DataObject) -> None:
    whole = [packed(each) for each in (*KEYS, *said)]
    content = b"".join(whole)
    keys: dict[int, list[str]] = {}
    found: list[bytes] = []
    stop = 0
    for end in [*sorted(data.draw(st.lists(st.integers(0, len(content))))), len(content)]:
        for window in scanning.scan(content[:end], stop, keys, most=7):
            found.append(content[window.start : window.stop])
            assert not window.gaps
            stop = window.stop
    assert b"".join(found) == content


@given(SAID, st.data())
def test_all_frames_outside_of_the_damage_are_read(said: Said, data: st.DataObject) -> None:
    whole = [packed(each) for each in (*KEYS, *said, {"t": "last", "at": 1})]
    first = len(KEYS)
    hit = data.draw(st.integers(first, len(whole) - 2) if said else st.just(first))
    harmed = bytearray(whole[hit])
    at = data.draw(st.integers(0, len(harmed) - 1))
    how = data.draw(st.sampled_from(["flip", "insert", "remove", "cut", "double"]))
    if how == "flip":
        harmed[at] ^= data.draw(st.integers(1, 255))
    elif how == "insert":
        harmed[at:at] = data.draw(st.binary(min_size=1, max_size=40))
    elif how == "remove":
        del harmed[at : at + data.draw(st.integers(1, 40))]
    elif how == "cut":
        del harmed[at:]
    else:
        harmed = bytearray(bytes(harmed[: at + 1]) + whole[hit])
    content = b"".join([*whole[:hit], bytes(harmed), *whole[hit + 1 :]])
    found, gaps = read(content)
    others = [*whole[:hit], *whole[hit + 1 :]]
    begin = sum(map(len, whole[:hit]))
    assert [each for each in found if each in others] == others or whole[hit] in others
    if how != "double" and bytes(harmed) and hit < len(whole) - 1:
        assert whole[hit] in found or (gaps and begin <= gaps[0][0] <= begin + len(harmed))


@given(st.binary(max_size=400))
def test_noise_has_no_frames(noise: bytes) -> None:
    assert read(noise) == ([], [])


@given(SAID, st.data())
def test_a_torn_tail_waits_for_its_rest(said: Said, data: st.DataObject) -> None:
    whole = [packed(each) for each in (*KEYS, *said)]
    cut = data.draw(st.integers(1, len(whole[-1])))
    assert read(b"".join(whole)[:-cut]) == (whole[:-1], [])


HOSTILE = [
    b"{",
    b"[1]",
    b"{}",
    b'{"t":5,"at":1}',
    b'{"t":["keys"],"at":1}',
    b'{"t":"keys","id":9,"keys":[5]}',
    b'{"t":"keys","id":"9","keys":["a"]}',
    b'{"t":"keys","id":0,"keys":["other"]}',
    b'{"t":"keys"}',
    b'{"t":"new","at":"now"}',
    b'{"t":"new","at":1e400}',
    b'{"t":"new","at":99999999999999999999}',
    b'{"t":"new","at":1,"text":"\\ud800"}',
    b'{"t":"new","at":1,"text":"\xff"}',
    b'{"t":"new","at":' + b"9" * 5000 + b"}",
    b'{"t":"new","at":1,"deep":' + b"[" * 10**5 + b"]" * 10**5 + b"}",
    b'{"t":"file","at":1,"file":{"path":"../x","size":1,"sha256":"' + b"a" * 64 + b'"}}',
    b'{"t":"file","at":1,"file":{"path":"/x","size":1,"sha256":"' + b"a" * 64 + b'"}}',
    b'{"t":"file","at":1,"file":{"path":"x","size":1,"sha256":"../../../etc/passwd"}}',
    b'{"t":"file","at":1,"file":{"path":"x","size":-1,"sha256":"' + b"a" * 64 + b'"}}',
    b'{"t":"file","at":1,"file":["path"]}',
    b'{"t":"artifact","at":1,"row":{"collection":"c"},"files":[{"path":"a/../../x"}]}',
    b'{"t":"artifact","at":1,"row":[],"files":[]}',
    b'{"t":"series","at":1,"row":1,"step":1,"items":[["k","text","1"]]}',
    b'{"t":"series","at":1,"row":1,"step":1,"items":[["k","image","1","../x"]]}',
    b'{"t":"series","at":1,"row":null,"step":1,"items":[]}',
    b'{"t":"begin","at":1,"version":1,"run":["only one"]}',
    b'{"t":"begin","at":1}',
    b'{"t":"set","at":1,"row":5}',
    b'{"t":"config","at":1,"set":[1]}',
    b'{"t":"put","at":1,"table":"tags","rows":[1]}',
    b'{"t":"drop","at":1,"table":"tags","keys":{}}',
    b'{"t":"logs","at":1,"rows":[[1,2]]}',
    b'{"t":"lost","at":1,"calls":"many","why":"?"}',
    b'{"t":"end","at":1,"status":3}',
    frames.packer(1)(b"P", 0, 0, 77, 1, 1, 1, 1.0),
    frames.packer(2)(b"P", 0, 0, 0, 1, 1, 1, 1.0, 2.0),
    frames.packer(1)(b"P", 0, 0, 0, 1, 1, 1, 1.0)[:-1],
    b"P",
    b"Q" * 40,
]


def test_what_cannot_be_understood_is_named_and_everything_else_read() -> None:
    whole = [packed(each) for each in (*KEYS, {"t": "last", "at": 1})]
    for hostile in HOSTILE:
        content = b"".join([*whole[:-1], frames.frame(hostile), whole[-1]])
        begin = sum(map(len, whole[:-1]))
        assert read(content) == (whole, [(begin, begin + 12 + len(hostile))]), hostile


def test_a_length_beyond_the_file_is_no_frame() -> None:
    whole = [packed(each) for each in (*KEYS, {"t": "last", "at": 1})]
    for length in (2**32 - 1, 2**31, 2**30, 10**6):
        liar = struct.pack("<4sII", b"\x9ctb\n", length, 0)
        assert read(b"".join([liar, *whole])) == (whole, [(0, 12)])


def test_points_whose_list_of_keys_is_damaged_are_named() -> None:
    point = packed(Point(0, 1, 1, 1, (0.5,)))
    keys = bytearray(packed(KEYS[0]))
    keys[20] ^= 1
    last = packed({"t": "last", "at": 1})
    assert read(bytes(keys) + point * 3 + last) == ([last], [(0, len(keys) + 3 * len(point))])


def test_records_are_json_that_any_reader_knows() -> None:
    told = {"t": "x", "at": 1, "text": 'é"\n\U0001f600', "half": "\ud800!"}
    data = frames.record(told)
    mark, length, crc = struct.unpack_from("<4sII", data)
    assert (mark, length, crc) == (b"\x9ctb\n", len(data) - 12, crc32(data[12:]))
    assert json.loads(data[12:].decode()) == {**told, "half": "?!"}
