"""Batches are split, labelled and sliced without losing or mixing a row."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.core.stores import batch

from trackbridge.adapter import RunRef
from trackbridge.columns import batches, compacted, groups, relabel, sliced, split
from trackbridge.schema import BATCH_ROWS, TABLES

REFS = [RunRef("p", "r"), RunRef("p", "s"), RunRef("q", "r"), RunRef("", ""), RunRef("pr", "")]
LABELS = st.lists(st.sampled_from(REFS), max_size=20)
TABLE = pytest.mark.parametrize("table", ["metrics", "tags"])


def mixed(table: str, refs: list[RunRef]) -> pa.RecordBatch:
    """A batch in which the rows of several runs stand in any order, numbered by their key."""
    rows = [{**ref._asdict(), "key": str(number)} for number, ref in enumerate(refs)]
    return pa.RecordBatch.from_pylist(rows, TABLES[table])


def label(row: dict[str, str]) -> RunRef:
    return RunRef(row["project"], row["run_id"])


@TABLE
@given(refs=LABELS)
def test_splitting_keeps_every_row_with_its_run_and_in_order(
    table: str, refs: list[RunRef]
) -> None:
    found = {ref: part.to_pylist() for ref, part in split(mixed(table, refs))}
    for ref, rows in found.items():
        assert {label(row) for row in rows} == {ref}
        assert [row["key"] for row in rows] == [str(n) for n, r in enumerate(refs) if r == ref]
    assert set(found) == set(refs)


@TABLE
@given(refs=LABELS)
def test_relabelling_changes_labels_alone(table: str, refs: list[RunRef]) -> None:
    data = mixed(table, refs)
    labels = {REFS[0]: RunRef("new", "one"), REFS[2]: REFS[1]}
    found = relabel(data, labels)
    assert found.schema.equals(TABLES[table])
    assert [label(row) for row in found.to_pylist()] == [labels.get(ref, ref) for ref in refs]
    assert found.column("key").to_pylist() == data.column("key").to_pylist()


@given(refs=LABELS, each=st.sampled_from([1, 3, 20]))
def test_groups_tell_apart_what_differs_and_nothing_else(refs: list[RunRef], each: int) -> None:
    refs = [ref for ref in refs for _ in range(each)]
    group, first = groups(mixed("metrics", refs), "project", "run_id")
    assert len(group) == len(refs)
    assert len(first) == len(set(refs))
    assert [refs[first[number]] for number in group.tolist()] == refs


@given(st.lists(st.sampled_from(["a", "b", None]), max_size=20), st.sampled_from([1, 20]))
def test_what_is_missing_is_a_group_of_its_own(texts: list[str | None], each: int) -> None:
    texts = [text for text in texts for _ in range(each)]
    column = pa.array(texts, pa.string())
    data = pa.RecordBatch.from_arrays([column.dictionary_encode(), column], ["one", "two"])
    group, first = groups(data, "one", "two")
    assert [texts[first[number]] for number in group.tolist()] == texts
    assert len(first) == len(set(texts))


def test_groups_of_dictionaries_larger_than_the_batch_are_right_too() -> None:
    names = [f"name {number}" for number in range(70_000)]
    column = pa.DictionaryArray.from_arrays(pa.array([69_999, 3, 69_999], pa.int32()), names)
    data = pa.RecordBatch.from_arrays([column, column], ["one", "two"])
    group, first = groups(data, "one", "two")
    assert [first[number] for number in group.tolist()] == [0, 1, 0]


@given(count=st.sampled_from([0, 1, BATCH_ROWS, BATCH_ROWS + 1, 2 * BATCH_ROWS + 5]))
def test_long_lists_of_rows_become_batches_of_bounded_size(count: int) -> None:
    rows = [{"project": "p", "run_id": "r", "line": number} for number in range(count)]
    found = list(batches("logs", rows))
    assert all(0 < part.data.num_rows <= BATCH_ROWS for part in found)
    assert [n for part in found for n in part.data.column("line").to_pylist()] == [*range(count)]


def test_a_long_batch_is_cut_into_batches_of_bounded_size() -> None:
    data = batch("metrics", [{"key": "k", "value": 1.0, "system": False}]).data
    long = pa.Table.from_batches([data] * (BATCH_ROWS + 3)).combine_chunks().to_batches()[0]
    assert [part.data.num_rows for part in sliced("metrics", long)] == [BATCH_ROWS, 3]


@given(st.lists(st.sampled_from("abca")), st.data())
def test_a_compacted_column_has_each_value_once_as_they_come(
    dictionary: list[str], data: st.DataObject
) -> None:
    codes = st.none() if not dictionary else st.none() | st.integers(0, len(dictionary) - 1)
    indices = pa.array(data.draw(st.lists(codes)), pa.int32())
    column = pa.DictionaryArray.from_arrays(indices, pa.array(dictionary, pa.string()))
    found = compacted(column)
    assert found.to_pylist() == column.to_pylist() and found.type == column.type
    present = [text for text in column.to_pylist() if text is not None]
    assert found.dictionary.to_pylist() == list(dict.fromkeys(present))
