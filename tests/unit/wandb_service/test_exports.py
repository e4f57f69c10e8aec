"""Exported histories in the forms that a server may give them."""

from __future__ import annotations

import io
from collections import defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trackbridge.adapter import RunRef
from trackbridge.errors import IntegrityError
from trackbridge_adapters.wandb import names
from trackbridge_adapters.wandb.service.exports import Export

REF = RunRef("team/p", "a")
COUNT = 4


def read(mixed: set[str] | None = None, **columns: Any) -> dict[str, dict[int, Any]]:
    """Values by key and row of an export with these columns."""
    steps = {
        "_step": pa.array([10 * n for n in range(COUNT)]),
        "_timestamp": [1.5 + n for n in range(COUNT)],
    }
    file = io.BytesIO()
    pq.write_table(pa.table({**steps, **columns}), file)
    export = Export(REF, names.Given({}), mixed or set(), exact=True)
    found: dict[str, dict[int, Any]] = defaultdict(dict)
    for batch in export.read(pa.BufferReader(file.getvalue())):
        for row in batch.data.to_pylist():
            assert row["step"] == 10 * row["row"]
            assert row["time"].timestamp() == 1.5 + row["row"]
            found[row["key"]][row["row"]] = row["value"]
    assert export.rows == COUNT
    assert export.last_step == 10 * (COUNT - 1)
    return dict(found)


def test_numbers_are_points_and_nulls_are_none() -> None:
    assert read(a=[1.5, None, float("inf"), -2.0]) == {"a": {0: 1.5, 2: float("inf"), 3: -2.0}}
    assert read(a=pa.array([1, 2, None, 3])) == {"a": {0: 1.0, 1: 2.0, 3: 3.0}}
    assert read(a=pa.nulls(COUNT)) == {}


def test_integers_that_no_double_is_stay_exact() -> None:
    large = 2**53 + 1
    assert read(a=pa.array([1, large, None, 2**60])) == {"a": {0: 1.0, 1: str(large), 3: 2.0**60}}


def test_texts_truths_and_lists_are_series() -> None:
    found = read(
        text=["x", None, "NaN", "3"], truth=[True, False, None, None], list=[[1], [], [2.0], None]
    )
    assert found["text"] == {0: '"x"', 2: found["text"][2], 3: '"3"'}
    assert found["text"][2] != found["text"][2]  # not a number, as a server without NaN spells it
    assert found["truth"] == {0: "true", 1: "false"}
    assert found["list"] == {0: "[1]", 1: "[]", 2: "[2]"}


def test_texts_of_a_key_with_several_types_are_json() -> None:
    columns = {"a": ["1.5", '"x"', "{not", '{"b": 2}']}
    assert read({"a"}, **columns) == {"a": {0: 1.5, 1: '"x"', 2: '"{not"'}, "a.b": {3: 2.0}}


def test_texts_of_a_file_that_has_only_texts_are_texts() -> None:
    """Though the key has numbers in another file."""
    columns = {"a": ["2", "true", "x", None]}
    assert read({"a"}, **columns) == {"a": {0: '"2"', 1: '"true"', 2: '"x"'}}


def test_files_that_overlap_or_come_in_another_order_are_no_history() -> None:
    def file(*steps: int) -> pa.BufferReader:
        data = io.BytesIO()
        pq.write_table(pa.table({"_step": steps, "a": [1.0] * len(steps)}), data)
        return pa.BufferReader(data.getvalue())

    for first, second in (((0, 1, 2), (2, 3)), ((4, 5), (0, 1)), ((0, 1), (3, 2))):
        export = Export(REF, names.Given({}), set(), exact=True)
        list(export.read(file(*first)))
        with pytest.raises(IntegrityError, match="repeat or go back"):
            list(export.read(file(*second)))


@pytest.mark.parametrize("flat", [False, True], ids=["structs", "dots"])
def test_objects_may_be_structs_or_have_dots(flat: bool) -> None:
    """With a type they are one point, without it several."""
    bins = [[0.0, 1.0], None, [2.0], None]
    kinds = ["histogram", None, "histogram", None]
    losses = [0.5, 0.25, None, None]
    if flat:
        columns: dict[str, Any] = {"hist._type": kinds, "hist.bins": bins, "train.loss": losses}
    else:
        pairs = zip(kinds, bins)
        objects = [{"_type": kind, "bins": at} if kind else None for kind, at in pairs]
        columns = {"hist": objects, "train": [{"loss": loss} for loss in losses]}
    assert read(**columns) == {
        "hist": {
            0: '{"_type": "histogram", "bins": [0, 1]}',
            2: '{"_type": "histogram", "bins": [2]}',
        },
        "train.loss": {0: 0.5, 1: 0.25},
    }
