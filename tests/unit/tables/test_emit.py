"""Rows become bytes and rows again, whatever is in them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackbridge.schema import EVERY_TABLE
from trackbridge.testing.base import tries
from trackbridge.testing.strategies import numbers, steps, texts
from trackbridge_adapters.tables.emit import emit, parse

micros = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-(10**15), 4 * 10**15))
points = st.fixed_dictionaries(
    {
        "project": texts,
        "run_id": texts,
        "key": texts,
        "step": st.none() | steps,
        "time": st.none() | micros,
        "row": st.none() | steps,
        "value": numbers,
        "system": st.booleans(),
    }
)


@tries
@given(rows=st.lists(points, min_size=1, max_size=5))
@pytest.mark.parametrize("scheme", ["csv", "jsonl"])
def test_points_of_any_kind_come_back(scheme: str, rows: list[dict[str, Any]]) -> None:
    schema = EVERY_TABLE["metrics"]
    times = pa.array([row["time"] for row in rows], pa.int64()).cast(schema.field("time").type)
    data = pa.RecordBatch.from_pylist([{**row, "time": None} for row in rows], schema=schema)
    data = data.set_column(schema.get_field_index("time"), schema.field("time"), times)
    (back,) = parse(emit(data, scheme), "metrics", scheme, "here")
    for name in schema.names:
        if name == "value":
            assert repr(back.column(name).to_pylist()) == repr(data.column(name).to_pylist())
        elif name == "time":
            assert back.column(name).cast(pa.int64()).equals(times.cast(pa.int64()))
        else:
            assert back.column(name).to_pylist() == data.column(name).to_pylist()


def test_a_slice_of_a_batch_is_written_as_that_slice() -> None:
    schema = EVERY_TABLE["tags"]
    rows = [{"project": "p", "run_id": "r", "key": k, "value": v} for k, v in zip("abc", "xyz")]
    data = pa.RecordBatch.from_pylist(rows, schema=schema).slice(1, 1)
    assert emit(data, "csv") == b'"p","r","b","y"\n'
    assert emit(data, "jsonl") == (b'{"project": "p", "run_id": "r", "key": "b", "value": "y"}\n')
