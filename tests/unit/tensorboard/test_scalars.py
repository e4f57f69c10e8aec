"""Points that are taken out of bytes in columns are those that protocol buffers say."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from trackbridge.adapter import RunRef
from trackbridge.columns import batches
from trackbridge_adapters.tensorboard import framing, gathered, scalars, scan
from trackbridge_adapters.tensorboard.encode_points import Points, encoded
from trackbridge_adapters.tensorboard.framing import frame

RUN = RunRef("logs", "run")
Point = tuple[str, int, float, bytes]
"""Tag, step, time in seconds, and the value's bytes: NaN is equal to itself then."""

numbers = st.floats(width=32)
steps = st.one_of(st.integers(0, 300), st.integers(-(2**63), 2**63 - 1))
tags = st.sampled_from(["a", "b", "loss", "loss/é", "acc1", "accuracy"])
FORMS = ("simple", "tensor", "content", "double", "bare", "both", "unordered")


def event(form: str, tag: str, step: int, time: float, value: float) -> Event:
    made = Event(wall_time=time, step=step)
    if form in ("simple", "both", "unordered"):
        made.summary.value.add(tag=tag, simple_value=value)
    if form == "both":
        made.summary.value.add(tag=f"{tag}2", simple_value=-value)
    if form in ("tensor", "content", "double", "bare"):
        made.summary.CopyFrom(scalar_pb(tag, 0.0, "about"))
        tensor = made.summary.value[0].tensor
        tensor.ClearField("float_val")
        if form == "content":
            tensor.tensor_content = struct.pack("<f", value)
        elif form == "double":
            tensor.dtype = 2
            tensor.double_val.append(value)
        else:
            tensor.float_val.append(value)
        if form == "bare":
            made.summary.value[0].ClearField("metadata")
    return made


def framed(form: str, made: Event) -> bytes:
    data = made.SerializeToString()
    if form == "unordered":  # the summary first: any order of fields is allowed
        head = Event(wall_time=made.wall_time, step=made.step).SerializeToString()
        data = data[len(head) :] + head
    return frame(data)


def expected(form: str, tag: str, step: int, time: float, value: float) -> Iterator[Point]:
    yield tag, step, time, struct.pack("<d", value)
    if form == "both":
        yield f"{tag}2", step, time, struct.pack("<d", -value)


def points_of(data: bytes, tmp_path: Path) -> tuple[list[Point], list[framing.Damage]]:
    file = tmp_path / "events.out.tfevents.1"
    file.write_bytes(data)
    reading = scan.Scan(RUN, [file], {file: len(data)}, {"metrics"})
    rows = [row for batch in reading.batches() for row in batch.data.to_pylist()]
    found = [
        (row["key"], row["step"], row["time"].timestamp(), struct.pack("<d", row["value"]))
        for row in rows
    ]
    return found, reading.damage[file]


examples = st.lists(
    st.tuples(st.sampled_from(FORMS), tags, steps, st.integers(0, 2**32), numbers), max_size=25
)


@given(examples, st.integers(1, 40), st.sampled_from([1, scalars.FEW]), st.data())
def test_scalars_of_any_form_are_read(
    tmp_path_factory: pytest.TempPathFactory,
    found: list[tuple[str, str, int, int, float]],
    times: int,
    few: int,
    data: st.DataObject,
) -> None:
    """A tag's plugin is known from its first event on."""
    told = {tag for form, tag, *_ in found if form in ("tensor", "content", "double")}
    first = {tag: next(form for form, other, *_ in found if other == tag) for tag in told}
    events = [each for each in found if each[0] != "bare" or first.get(each[1], "bare") != "bare"]
    events = events * times
    parts = [framed(each[0], event(*each)) for each in events]
    with mock.patch.object(scalars, "FEW", few):
        points, damage = points_of(b"".join(parts), tmp_path_factory.mktemp("run"))
        assert points == [point for each in events for point in expected(*each)]
        assert damage == []
        if not parts:
            return
        hit = data.draw(st.integers(0, len(parts) - 1))
        place = data.draw(st.integers(0, len(parts[hit]) - 1))
        changed = bytearray(parts[hit])
        changed[place] ^= data.draw(st.integers(1, 255))
        told = b"".join([*parts[:hit], bytes(changed), *parts[hit + 1 :]])
        points, damage = points_of(told, tmp_path_factory.mktemp("damaged"))
    rest = [*events[:hit], *events[hit + 1 :]]
    if events[hit][0] in ("simple", "both", "unordered"):  # others may be what tells a plugin
        assert points == [point for each in rest for point in expected(*each)]
    assert [each.offset for each in damage] == [sum(map(len, parts[:hit]))]


@pytest.mark.parametrize("count", [3, 40])
def test_an_exact_value_counts_only_where_it_is_what_is_shown(tmp_path: Path, count: int) -> None:
    """NaN, numbers too large for single precision and zeros with a sign are shown as such."""
    values = np.resize([0.1, math.nan, 1e300, -0.0, 1 / 3], count)
    steps = np.arange(1, count + 1)
    made = Points(np.zeros(count, np.int64), steps, steps / 1.0, values)
    data = encoded([b"loss"], made)
    points, damage = points_of(data, tmp_path)
    assert ([point[3] for point in points], damage) == ([struct.pack("<d", v) for v in values], [])
    changed = {1: 12345.0, 2: 0.0, 3: math.nan}
    parts = []
    for _, record in framing.records(io.BytesIO(data), []):
        told = Event.FromString(record)
        told.summary.value[0].simple_value = changed.get(
            told.step, told.summary.value[0].simple_value
        )
        parts.append(frame(told.SerializeToString()))
    points, damage = points_of(b"".join(parts), tmp_path)
    found = [struct.unpack("<d", point[3])[0] for point in points]
    assert [struct.pack("<d", v) for v in found[3:]] == [struct.pack("<d", v) for v in values[3:]]
    assert found[:2] == [12345.0, 0.0] and math.isnan(found[2])
    assert [each.reason for each in damage] == ["'loss' is shown as something else than it is"] * 3
    assert len({each.offset for each in damage}) == 3


def test_rows_that_one_sum_stands_for_are_told_apart(tmp_path: Path) -> None:
    """The sums by which templates are told apart may be equal by chance."""
    events = [("simple", f"tag{n % 7}", n, 1.0, float(n)) for n in range(100)]
    data = b"".join(framed(each[0], event(*each)) for each in events)

    class Zeros:
        def integers(self, low: int, high: int, count: int, kind: Any) -> Any:
            return scalars.np.full(count, 1, kind)

    with mock.patch.object(scalars.np.random, "default_rng", lambda seed: Zeros()):
        points, _ = points_of(data, tmp_path)
    assert points == [point for each in events for point in expected(*each)]


@pytest.mark.parametrize("time", [math.nan, math.inf, -1e300, 1e18])
def test_a_time_that_is_none_is_null(tmp_path: Path, time: float) -> None:
    file = tmp_path / "events.out.tfevents.1"
    file.write_bytes(framed("simple", event("simple", "a", 1, time, 0.5)) * 40)
    reading = scan.Scan(RUN, [file], {file: file.stat().st_size}, {"metrics"})
    rows = [row for batch in reading.batches() for row in batch.data.to_pylist()]
    assert [row["time"] for row in rows] == [None] * 40


def test_microseconds_come_back_as_they_were() -> None:
    times = [1_700_000_000_123_456, 1_999_999_999_999_999, 1, 0, -5_000_001]
    assert [round(gathered.when(us / 1e6).timestamp() * 1e6) for us in times] == times  # type: ignore[union-attr]


def test_batches_are_no_longer_than_stores_take(tmp_path: Path) -> None:
    record = framed("simple", event("simple", "a", 1, 1.0, 0.5))
    file = tmp_path / "events.out.tfevents.1"
    file.write_bytes(record * 70_000)
    reading = scan.Scan(RUN, [file], {file: file.stat().st_size}, {"metrics"})
    assert [batch.data.num_rows for batch in reading.batches()] == [65_536, 70_000 - 65_536]
    assert list(batches("metrics", [])) == []
    assert io.BytesIO(record).read(12) == record[:12]
