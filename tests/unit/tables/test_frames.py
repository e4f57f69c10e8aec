"""Frames are sources, for any number of workers and calls."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from unit.tables.read import assumed, points, rows, series

import trackbridge
from trackbridge.errors import ConfigError

FRAME = pd.DataFrame(
    {
        "run": ["a", "a", "b"],
        "step": [0, 1, 0],
        "time": pd.to_datetime(["2024-05-01T12:00", "2024-05-01T12:01", None]),
        "loss": [0.1, float("nan"), 1 / 3],
        "note": ["5", "5", "x"],
        "model": pd.Categorical(["cnn", "cnn", "mlp"]),
    }
)


def test_a_frame_is_read_with_its_types(tmp_path: Path) -> None:
    address = trackbridge.from_frame(FRAME, "sweep", tmp_path)
    found = [(p["project"], p["run_id"], p["step"], p["value"]) for p in points(address)]
    assert found == [("sweep", "a", 0, 0.1), ("sweep", "b", 0, 1 / 3)]
    assert str(points(address)[0]["time"]) == "2024-05-01 12:00:00+00:00"
    params = {(r["run_id"], r["key"]): (r["value"], r["type"]) for r in rows(address, "params")}
    assert params["a", "note"] == ("5", "string")
    assert params["b", "model"] == ("mlp", "string")


def test_names_of_an_index_are_columns(tmp_path: Path) -> None:
    frame = FRAME.set_index(["run", "step"])
    found = points(trackbridge.from_frame(frame, "sweep", tmp_path))
    assert [(p["run_id"], p["step"]) for p in found] == [("a", 0), ("b", 0)]


def test_tables_of_arrow_and_polars_are_frames_too(tmp_path: Path) -> None:
    table = pa.table({"run": ["a", "a"], "step": [0, 2**53 + 1], "loss": [math.nan, -0.0]})
    for name, frame in (("arrow", table), ("polars", pl.from_arrow(table))):
        found = points(trackbridge.from_frame(frame, name, tmp_path))  # type: ignore[arg-type]
        assert [(p["step"], str(p["value"])) for p in found] == [(0, "nan"), (2**53 + 1, "-0.0")]


def test_values_that_are_no_scalars_stay(tmp_path: Path) -> None:
    frame = pd.DataFrame({"step": [0, 1], "x": [[1, 2], [3]], "ok": [True, False]})
    address = trackbridge.from_frame(frame, "odd", tmp_path)
    assert {(s["key"], s["value"]) for s in series(address)} == {
        ("x", '"[1, 2]"'),
        ("x", '"[3]"'),
        ("ok", "true"),
        ("ok", "false"),
    }


def test_numbers_of_other_widths_are_the_same_numbers(tmp_path: Path) -> None:
    digits = [Decimal("123456789012345678.5"), Decimal("0.10")]
    whole = [Decimal("9007199254740993.00"), Decimal("2.00")]
    single, half = (pa.array([0.1, None], kind) for kind in (pa.float32(), pa.float16()))
    table = pa.table({"step": [0, 1], "f": single, "h": half, "d": digits, "w": whole})
    address = trackbridge.from_frame(table, "widths", tmp_path)
    assert {(p["key"], p["step"], p["value"]) for p in points(address)} == {
        ("f", 0, float(np.float32(0.1))),
        ("h", 0, float(np.float16(0.1))),
        ("d", 0, float(digits[0])),
        ("d", 1, 0.1),
        ("w", 1, 2.0),
    }
    assert [(s["key"], s["value"]) for s in series(address)] == [("w", "9007199254740993")]


def test_periods_and_nanoseconds_are_texts_that_say_them(tmp_path: Path) -> None:
    first = pd.Timestamp("2024-05-01T12:00:00.123456789", tz="Europe/Berlin")
    frame = pd.DataFrame(
        {
            "month": pd.PeriodIndex(["2024-01", None], freq="M"),
            "at": [first, pd.Timestamp("1969-05-01T12:00:00", tz="Europe/Berlin")],
            "timestamp": [first, first],
            "loss": [1.0, 2.0],
        }
    )
    address = trackbridge.from_frame(frame, "texts", tmp_path)
    assert [(s["key"], s["value"]) for s in series(address)] == [
        ("at", '"2024-05-01T10:00:00.123456789Z"'),
        ("at", '"1969-05-01T11:00:00.000000000Z"'),
    ]
    assert [(r["key"], r["value"]) for r in rows(address, "params")] == [("month", "2024-01")]
    assert {p["time"].isoformat() for p in points(address)} == {"2024-05-01T10:00:00.123456+00:00"}


def test_an_index_without_a_name_is_what_it_can_be(tmp_path: Path) -> None:
    def of(frame: pd.DataFrame) -> str:
        return trackbridge.from_frame(frame, "index", tmp_path)

    name = "__index_level_0__"
    frame = pd.DataFrame({"loss": [1.0, 2.0]}, index=[10, 20])
    assert [p["step"] for p in points(of(frame))] == [10, 20]
    days = frame.set_index(pd.to_datetime(["2024-05-01", "2024-05-02"]))
    assert [p["time"].day for p in points(of(days))] == [1, 2]
    for other in (
        frame.assign(step=[0, 1]),
        frame.assign(run=["a", "b"]),
        frame.set_axis(["a", "b"]),
    ):
        assert assumed(of(other))[name].startswith("left out (an index without a name")


def test_a_second_call_resumes_and_a_changed_frame_is_brought_up_to_date(tmp_path: Path) -> None:
    target = f"mlflow:sqlite:///{tmp_path}/mlflow.db"
    first = trackbridge.migrate(trackbridge.from_frame(FRAME, "sweep", tmp_path), target)
    assert (first.copied, first.verified) == (2, True)
    again = trackbridge.migrate(trackbridge.from_frame(FRAME, "sweep", tmp_path), target)
    assert (again.copied, again.skipped) == (0, 2)
    changed = FRAME.assign(loss=[0.2, 0.3, 0.4])
    later = trackbridge.migrate(trackbridge.from_frame(changed, "sweep", tmp_path), target)
    assert (later.updated, later.verified) == (2, True)


def test_a_frame_is_moved_by_several_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackbridge.plan.CHUNK_RUNS", 5)
    steps = np.tile(np.arange(100), 20)
    runs = [f"run {number}" for number in range(20) for _ in range(100)]
    frame = pd.DataFrame({"run": runs, "step": steps, "loss": np.sqrt(np.arange(2000))})
    address = trackbridge.from_frame(frame, "many", tmp_path)
    out = f"archive:{tmp_path}/out"
    report = trackbridge.migrate(address, out, workers=2)
    assert (report.copied, report.points, report.verified) == (20, 2000, True)
    assert trackbridge.verify(address, out).holds


def test_what_is_no_table_is_one_clear_line(tmp_path: Path) -> None:
    for frame, said in (
        (pd.DataFrame({"a": [object()]}), "not a table that Arrow takes"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "not a table|each its own"),
        (pd.DataFrame({"a": [1j]}), "from_frame"),
        (pd.DataFrame(), "columns need names"),
        ("text", "not a table"),
    ):
        with pytest.raises(ConfigError, match=said) as found:
            trackbridge.from_frame(frame, "bad", tmp_path)  # type: ignore[arg-type]
        assert "\n" not in str(found.value)
    with pytest.raises(ConfigError, match="no name of a file"):
        trackbridge.from_frame(FRAME, "../x", tmp_path)
    assert not list(tmp_path.iterdir())
