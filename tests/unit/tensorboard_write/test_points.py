"""Points that are encoded in columns are the events that protocol buffers make of them."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from unit.tensorboard import logs

from trackbridge.adapter import RunKey, RunRef
from trackbridge.schema import BATCH_ROWS, TABLES
from trackbridge.testing.strategies import numbers, steps
from trackbridge_adapters.tensorboard.draft import Draft
from trackbridge_adapters.tensorboard.encode_points import EXACT, Points, encoded
from trackbridge_adapters.tensorboard.framing import records

Point = tuple[str, int, float, float]
"""Tag, step, time in seconds, value."""
TAGS = ("loss", "", "a/b", "größe 漢字 🚀", "nul \0", "t" * 130, "long" * 700)
points = st.lists(
    st.tuples(st.sampled_from(TAGS), steps, st.floats(-1e10, 1e10), numbers), max_size=40
)


def in_columns(given_points: list[Point]) -> bytes:
    tags = sorted({tag for tag, *_ in given_points})
    columns = list(zip(*given_points)) or [()] * 4
    tag = np.array([tags.index(name) for name in columns[0]], np.int64)
    numeric = [
        np.array(c, kind) for c, kind in zip(columns[1:], (np.int64, np.float64, np.float64))
    ]
    return encoded([name.encode() for name in tags], Points(tag, *numeric))


def events(data: bytes) -> list[Point]:
    """Points as protobuf's own decoder reads them; the exact value where there is one beside."""
    found = []
    damage: list[object] = []
    for _, record in records(io.BytesIO(data), damage):  # type: ignore[arg-type]
        event = Event.FromString(record)
        [value] = event.summary.value
        shown = exact = value.simple_value
        for field in UnknownFieldSet(value):
            assert field.field_number == EXACT
            [exact] = struct.unpack("<d", field.data.to_bytes(8, "little"))
        with np.errstate(over="ignore"):
            assert str(float(np.float32(exact))) == str(shown)
        found.append((value.tag, event.step, event.wall_time, exact))
    assert not damage
    return found


def plain(point: Point) -> tuple[str, ...]:
    return point[0], str(point[1]), point[2].hex(), str(point[3])


@given(given_points=points)
def test_every_point_is_an_event_of_its_own_with_its_exact_value(given_points: list[Point]) -> None:
    found = events(in_columns(given_points))
    assert sorted(map(plain, found)) == sorted(map(plain, given_points))


@given(given_points=points)
def test_points_of_a_tag_ascend_by_step_and_keep_their_order_within_one(
    given_points: list[Point],
) -> None:
    found = events(in_columns(given_points))
    for tag in TAGS:
        own = [point for point in given_points if point[0] == tag]
        ordered = sorted(own, key=lambda point: point[1])
        assert [plain(p) for p in found if p[0] == tag] == [plain(p) for p in ordered]


def test_what_is_whole_in_single_precision_is_what_other_writers_write() -> None:
    data = in_columns([("loss", step, 1.5, step / 4) for step in range(300)])
    for step, (_, record) in enumerate(records(io.BytesIO(data), [])):
        event = Event(step=step, wall_time=1.5)
        event.summary.value.add(tag="loss", simple_value=step / 4)
        assert record == event.SerializeToString(deterministic=True)


def drafted(tmp_path: Path, *batches: list[tuple[str, int, float]]) -> Path:
    """A draft that was given batches of points (key, step, value), as a run of TensorBoard's."""
    ref = RunRef("p", "r")
    draft = Draft(tmp_path / "draft", RunKey("some-kind", "", *ref), ref)
    for batch in batches:
        rows = [
            {**ref._asdict(), "key": key, "step": step, "time": 1, "value": value, "system": False}
            for key, step, value in batch
        ]
        draft.write("metrics", pa.RecordBatch.from_pylist(rows, schema=TABLES["metrics"]))
    row = [{**ref._asdict(), "deleted": False}]
    draft.write("runs", pa.RecordBatch.from_pylist(row, schema=TABLES["runs"]))
    draft.complete("events.out.tfevents.1.trackbridge.1.0")
    folder = tmp_path / "run"
    folder.mkdir()
    return draft.events.rename(folder / "events.out.tfevents.1.trackbridge.1.0").parent


def test_batches_whose_steps_go_back_are_sorted_in_the_end(tmp_path: Path) -> None:
    later = [("loss", step, step / 3) for step in range(50, 100)]
    sooner = [("loss", step, step / 3) for step in range(50)] + [("acc", -(2**40), 0.1)]
    found = logs.points_of(drafted(tmp_path, later, sooner, [("acc", -(2**41), 0.2)]))
    assert [p[1] for p in found if p.key == "loss"] == list(range(100))
    assert [p.value for p in found if p.key == "loss"] == [step / 3 for step in range(100)]
    assert [(p.step, p.value) for p in found if p.key == "acc"] == [
        (-(2**41), 0.2),
        (-(2**40), 0.1),
    ]


@pytest.mark.parametrize("count", [BATCH_ROWS])
def test_thousands_of_tags_are_no_burden(tmp_path: Path, count: int) -> None:
    batch = [(f"layer_{n % 3000}/norm", n // 3000, n / 7) for n in range(count)]
    found = logs.points_of(drafted(tmp_path, batch))
    assert len(found) == count
    assert {point.key for point in found} == {key for key, _, _ in batch}
