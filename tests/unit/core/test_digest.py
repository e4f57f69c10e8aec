"""Digests tell every change of a value, and nothing but that."""

from __future__ import annotations

import random
import struct
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.core.stores import batch
from unit.core.strategies import log_calls, loose_points, small_rows

from trackbridge.adapter import Batch, Row, RunRef
from trackbridge.digest import ZERO, Digest, Digests, Place, point_hashes
from trackbridge.schema import LOCAL, SHARED, TABLES

RUN = RunRef("p", "r")
PER_RUN = sorted(set(TABLES) - SHARED)
MOMENT = datetime(2024, 5, 1, tzinfo=timezone.utc)
FULL: dict[pa.DataType, object] = {
    pa.string(): "text",
    pa.int64(): 7,
    pa.float64(): 1.5,
    pa.bool_(): True,
    pa.timestamp("us", "UTC"): MOMENT,
    TABLES["metrics"].field("key").type: "loss",
}
OTHER: dict[pa.DataType, list[object]] = {
    pa.string(): ["text ", "Text", "", None],
    pa.int64(): [8, 0, -7, 2**62, None],
    pa.float64(): [1.5000000000000002, 0.0, -1.5, float("nan"), float("inf"), float("-inf")],
    pa.bool_(): [False],
    pa.timestamp("us", "UTC"): [MOMENT + timedelta(microseconds=1), None],
    TABLES["metrics"].field("key").type: ["Loss", "los", ""],
}


def _digests(*batches: Batch) -> Digests:
    digests = Digests()
    for part in batches:
        digests.add(part)
    return digests


def _full(table: str) -> Row:
    return {
        column.name: FULL[column.type]
        for column in TABLES[table]
        if column.name not in ("project", "run_id")
    }


CHANGES = [
    pytest.param(table, column.name, value, id=f"{table}.{column.name}={value!r}"[:60])
    for table in PER_RUN
    for column in TABLES[table]
    if column.name not in ("project", "run_id") and (table, column.name) not in LOCAL
    for value in OTHER[column.type]
]


@pytest.mark.parametrize(("table", "column", "value"), CHANGES)
def test_changing_any_one_value_changes_the_digest(table: str, column: str, value: object) -> None:
    before = _digests(batch(table, [_full(table), _full(table)], RUN))
    after = _digests(batch(table, [_full(table), {**_full(table), column: value}], RUN))
    assert before.totals(RUN) != after.totals(RUN)


@pytest.mark.parametrize(("table", "column"), sorted(c for c in LOCAL if c[0] in PER_RUN))
def test_columns_that_are_true_only_of_one_store_do_not_count(table: str, column: str) -> None:
    before = _digests(batch(table, [_full(table)], RUN))
    after = _digests(batch(table, [{**_full(table), column: "elsewhere"}], RUN))
    assert before[RUN] == after[RUN]


def test_null_is_not_zero_in_any_column_of_points() -> None:
    zero = {"key": "k", "step": 0, "time": datetime.fromtimestamp(0, timezone.utc), "row": 0}
    point = {**zero, "value": 0.0, "system": False}
    seen = {
        int(point_hashes(batch("metrics", [{**point, **nulls}]).data)[0])
        for nulls in ({}, {"step": None}, {"time": None}, {"row": None})
    }
    assert len(seen) == 4


def test_values_in_other_columns_do_not_stand_in_for_each_other() -> None:
    point = {"key": "k", "value": 1.0, "system": False}
    places = [{"step": 5}, {"row": 5}, {"step": 5, "row": 5}, {}]
    seen = {int(point_hashes(batch("metrics", [{**point, **p}]).data)[0]) for p in places}
    assert len(seen) == len(places)


def test_nan_is_nan_whatever_its_payload() -> None:
    payloads = [0x7FF8000000000000, 0x7FF8000000000001, 0xFFF8000000000000, 0x7FF0000000000001]
    values = [struct.unpack("<d", struct.pack("<Q", bits))[0] for bits in payloads]
    data = batch("metrics", [{"key": "k", "value": 0.0, "system": False}] * len(values)).data
    column = pa.Array.from_buffers(
        pa.float64(), len(values), [None, pa.py_buffer(np.array(payloads, np.uint64))]
    )
    data = data.set_column(data.schema.get_field_index("value"), "value", column)
    assert all(value != value for value in values)
    assert len(set(point_hashes(data).tolist())) == 1


def test_minus_zero_is_not_zero() -> None:
    points = [{"key": "k", "value": value, "system": False} for value in (0.0, -0.0)]
    first, second = point_hashes(batch("metrics", points).data)
    assert first != second


@given(points=loose_points() | log_calls(), seed=st.integers(), cuts=st.lists(st.integers(0, 12)))
def test_order_and_borders_of_batches_do_not_matter(
    points: list[Row], seed: int, cuts: list[int]
) -> None:
    shuffled = random.Random(seed).sample(points, len(points))
    edges = sorted({0, len(points), *(cut for cut in cuts if cut < len(points))})
    parts = [batch("metrics", shuffled[a:b], RUN) for a, b in pairwise(edges)]
    assert _digests(*parts)[RUN] == _digests(batch("metrics", points, RUN))[RUN]


@pytest.mark.parametrize("table", sorted(set(PER_RUN) - {"metrics"}))
@settings(max_examples=15)
@given(data=st.data())
def test_order_of_rows_does_not_matter_in_any_table(table: str, data: st.DataObject) -> None:
    rows = data.draw(st.lists(small_rows(table), max_size=5))
    mixed = data.draw(st.permutations(rows))
    parts = [batch(table, [row], RUN) for row in mixed]
    assert _digests(*parts)[RUN] == _digests(batch(table, rows, RUN))[RUN]


@given(points=loose_points())
def test_a_point_more_or_less_is_told(points: list[Row]) -> None:
    whole = _digests(batch("metrics", points, RUN))[RUN]
    assert _digests(batch("metrics", [*points, *points[:1]], RUN))[RUN] != whole or not points
    assert _digests(batch("metrics", points[1:], RUN))[RUN] != whole or not points


@given(points=loose_points())
def test_each_series_has_a_digest_of_its_own(points: list[Row]) -> None:
    by_key: dict[str, list[Row]] = {}
    for point in points:
        by_key.setdefault(point["key"], []).append(point)
    found = _digests(batch("metrics", points, RUN))[RUN]
    assert set(found) == {Place("metrics", key) for key in by_key}
    for key, own in by_key.items():
        place = Place("metrics", key)
        assert found[place] == _digests(batch("metrics", own, RUN))[RUN][place]
        assert found[place].rows == len(own)


def test_rows_of_several_runs_in_one_batch_are_kept_apart() -> None:
    refs = [RunRef("p", "r"), RunRef("p", "s"), RunRef("q", "r"), RunRef("pr", "")]
    for table in ("metrics", "tags"):
        parts = {ref: batch(table, [_full(table)] * (n + 1), ref) for n, ref in enumerate(refs)}
        data = pa.concat_tables(
            pa.Table.from_batches([part.data]) for part in parts.values()
        ).unify_dictionaries()
        joined = Batch(table, data.combine_chunks().to_batches()[0])
        together = _digests(joined)
        for ref, part in parts.items():
            assert together[ref] == _digests(part)[ref]
            assert sum(digest.rows for digest in together[ref].values()) == part.data.num_rows


def test_labels_are_not_part_of_a_digest() -> None:
    for table in PER_RUN:
        here = _digests(batch(table, [_full(table)], RunRef("p", "r")))
        there = _digests(batch(table, [_full(table)], RunRef("q", "s")))
        assert here[RunRef("p", "r")] == there[RunRef("q", "s")] != {}


@given(st.lists(st.tuples(*[st.integers(0, 2**64 - 1)] * 3)))
def test_parts_add_up_in_any_order(parts: list[tuple[int, int, int]]) -> None:
    digests = [Digest(*part) for part in parts]
    assert sum(digests, ZERO) == sum(reversed(digests), ZERO)
    assert all(lane < 2**64 for lane in sum(digests, ZERO)[1:])


def test_a_long_batch_sums_exactly() -> None:
    """Sums of 64-bit hashes in floating point must not lose a bit, however many there are."""
    data = batch("metrics", [{"key": "k", "value": float(i), "system": False} for i in range(9)])
    many = pa.Table.from_batches([data.data] * 7000).combine_chunks().to_batches()[0]
    hashes = [int(value) for value in point_hashes(many)]
    found = _digests(Batch("metrics", many))[RunRef("p", "r")][Place("metrics", "k")]
    assert (found.rows, found.first) == (len(hashes), sum(hashes) % 2**64)


def test_totals_are_text_that_names_rows_and_lanes() -> None:
    found = _digests(batch("tags", [{"key": "a"}], RUN), batch("metrics", [_full("metrics")], RUN))
    assert list(found.totals(RUN)) == ["metrics", "tags"]
    rows, _, lanes = found.totals(RUN)["tags"].partition(":")
    assert (rows, len(lanes)) == ("1", 32)


def test_a_run_that_was_never_fed_has_no_digests() -> None:
    assert Digests()[RUN] == {}
    assert Digests().totals(RUN) == {}
