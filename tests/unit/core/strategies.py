"""Runs and capabilities of every shape, for property tests."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta, timezone

import pyarrow as pa
from hypothesis import strategies as st
from unit.core.stores import Sample

from trackbridge.adapter import Capabilities, Names, Row, RunKey
from trackbridge.schema import SHARED, TABLES

START = datetime(2024, 5, 1, tzinfo=timezone.utc)
TEXTS = st.text(max_size=8)
KEYS = st.sampled_from(["loss", "a/b", "a_b", "a.b", "bad key!", "é" * 30, "x" * 300]) | TEXTS
VALUES = st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf"), float("-inf")]) | st.floats()
MOMENTS = st.integers(-5_000, 5_000) | st.integers(-(10**15), 10**15)
TIMES = MOMENTS.map(lambda micros: START + timedelta(microseconds=micros))
STEPS = st.integers(-2, 5) | st.integers(-(2**62), 2**62)

_OF_TYPE = {
    pa.string(): TEXTS,
    pa.int64(): STEPS,
    pa.bool_(): st.booleans(),
    pa.timestamp("us", "UTC"): TIMES,
}
_OF_COLUMN = {
    "key": KEYS,
    "type": st.sampled_from(["string", "integer", "float", "list"]),
    "kind": st.sampled_from(["text", "image", "histogram"]),
}
_NEVER_NULL = {"key", "type", "kind", "line"}
_SMALL = sorted(set(TABLES) - SHARED - {"runs", "metrics", "files"})


def small_rows(table: str) -> st.SearchStrategy[Row]:
    """A row of any table but `metrics`, without its labels."""
    columns = {}
    for column in TABLES[table]:
        if column.name not in ("project", "run_id"):
            values = _OF_COLUMN.get(column.name, _OF_TYPE[column.type])
            columns[column.name] = values if column.name in _NEVER_NULL else st.none() | values
    return st.fixed_dictionaries(columns)


def loose_points() -> st.SearchStrategy[list[Row]]:
    """Points in no order: steps repeated, going back or missing, rows that say nothing."""
    point = st.fixed_dictionaries(
        {
            "key": KEYS,
            "step": st.none() | STEPS,
            "time": st.none() | TIMES,
            "row": st.none() | st.integers(0, 5),
            "value": VALUES,
            "system": st.booleans(),
        }
    )
    return st.lists(point, max_size=12)


@st.composite
def log_calls(draw: st.DrawFn) -> list[Row]:
    """Points as log calls make them: one step and time for several keys, steps ascending."""
    points: list[Row] = []
    step = draw(st.integers(0, 3))
    for row in range(draw(st.integers(0, 5))):
        call = {"step": step, "time": draw(TIMES), "row": row, "system": False}
        for key in draw(st.lists(KEYS, max_size=4, unique=True)):
            points.append({**call, "key": key, "value": draw(VALUES)})
        step += draw(st.integers(1, 1000))
    return points


@st.composite
def files(draw: st.DrawFn) -> tuple[list[Row], dict[tuple[str, str], bytes]]:
    """Rows of `files`: with bytes, without them, or living elsewhere."""
    places = st.tuples(
        st.sampled_from(["", "model:v0"]), st.sampled_from(["a.txt", "a/b.bin", "ü ü.txt", "c"])
    )
    rows, contents = [], {}
    for owner, path in draw(st.lists(places, max_size=4, unique=True)):
        row: Row = {"owner": owner, "path": path, "media_type": draw(st.none() | TEXTS)}
        fate = draw(st.sampled_from(["bytes", "missing", "elsewhere"]))
        if fate == "bytes":
            contents[owner, path] = draw(st.binary(max_size=20))
        elif fate == "elsewhere":
            row |= {"reference": "s3://bucket/" + path, "size": draw(st.none() | st.just(7))}
        rows.append(row)
    return rows, contents


@st.composite
def samples(draw: st.DrawFn, number: int = 0) -> Sample:
    """A run with rows in any of the tables."""
    rows, contents = draw(files())
    tables = {
        "runs": [draw(small_rows("runs"))],
        "metrics": draw(loose_points() | log_calls()),
        "files": rows,
    }
    for table in draw(st.lists(st.sampled_from(_SMALL), max_size=4, unique=True)):
        tables[table] = draw(st.lists(small_rows(table), max_size=3))
    project = draw(st.sampled_from(["p", "p/é ü"]))
    key = RunKey("x", draw(st.sampled_from(["", "host"])), project, f"run{number}")
    return Sample(key, tables, contents)


@st.composite
def some_samples(draw: st.DrawFn) -> list[Sample]:
    """One to three runs."""
    return [draw(samples(number)) for number in range(draw(st.integers(1, 3)))]


@st.composite
def _columns(draw: st.DrawFn, table: str, always: Collection[str]) -> tuple[str, ...]:
    others = [n for n in TABLES[table].names if n not in {*always, "project", "run_id"}]
    if not others:
        return tuple(always)
    return (*always, *draw(st.lists(st.sampled_from(others), unique=True)))


@st.composite
def capabilities(draw: st.DrawFn) -> Capabilities:
    """What a store might claim, from next to nothing to everything."""
    rows = draw(st.booleans())
    point = ("key", "value", *(["step", "time", "row"] if rows else []))
    holds: dict[str, Collection[str]] = {
        "runs": draw(_columns("runs", ())),
        "files": draw(_columns("files", ("owner", "path", "size", "sha256"))),
    }
    if rows or draw(st.booleans()):
        holds["metrics"] = draw(_columns("metrics", point))
    for table in draw(st.lists(st.sampled_from(_SMALL), unique=True)):
        always = [n for n in TABLES[table].names if n in _NEVER_NULL - {"type"}]
        holds[table] = draw(_columns(table, always))
    keyed = ["metrics", "params", "tags", "summary", "series", "metric_defs"]
    names = st.builds(
        Names,
        st.none() | st.integers(12, 40),
        st.sampled_from(["", r"\w.", r"/\w.\- :", "a-z_0-9"]),
        folded=st.booleans(),
    )
    return Capabilities(
        holds=holds,
        time_unit_us=draw(st.sampled_from([1, 1_000, 1_000_000])),
        nan=draw(st.booleans()),
        largest=draw(st.sampled_from([None, 1.7976931348623157e308, 0.0])),
        gaps=draw(st.booleans()),
        repeated_points=draw(st.booleans()),
        rows=rows,
        names=draw(st.dictionaries(st.sampled_from(keyed), names)),
        lengths=draw(
            st.dictionaries(
                st.sampled_from(["params", "tags", "summary"]),
                st.fixed_dictionaries({"value": st.integers(40, 60)}),
            )
        ),
        nul=draw(st.booleans()),
    )
