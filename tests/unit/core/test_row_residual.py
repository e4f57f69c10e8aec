"""Rows of small tables come back as they were, in whatever order the store gives its own."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trackbridge.adapter import Row
from trackbridge.digest import row_digest
from trackbridge.row_residual import RowRestoration, keep

LABELS = {"project": "p", "run_id": "r"}


def native(table: str, row: Row) -> Row:
    """The row in a store that holds no paths, types or extra fields."""
    return {**row, "path": None if table == "params" else row["path"], "extra": None}


def restored(table: str, before: list[Row], after: list[Row]) -> list[str]:
    kept, hide = keep(table, before, [native(table, r) for r in before], lambda _, r: _name(r))
    restoration = RowRestoration({table: kept}, {table: hide})
    rows = [*restoration.apply(table, [{**row, **LABELS} for row in after])]
    return sorted(row_digest(table, row) for row in [*rows, *restoration.rest(table)])


def _name(row: Row) -> Any:
    return row["key"] if "key" in row else (row["owner"], row["path"])


@st.composite
def params(draw: st.DrawFn) -> tuple[list[Row], list[Row]]:
    rows = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "key": st.sampled_from(["a.b", "c"]),
                    "path": st.sampled_from([None, '["a", "b"]', '["a.b"]']),
                    "value": st.sampled_from(["1", "2", None]),
                    "type": st.just("string"),
                }
            ),
            max_size=5,
        )
    )
    return rows, draw(st.permutations(rows))


@given(params())
def test_rows_of_one_key_are_told_apart_in_any_order(rows: tuple[list[Row], list[Row]]) -> None:
    before, shuffled = rows
    after = [native("params", row) for row in shuffled]
    assert restored("params", before, after) == sorted(row_digest("params", r) for r in before)


def test_files_of_one_path_are_told_apart_in_any_order() -> None:
    plain: Row = {"owner": "", "path": "x", "size": 1, "sha256": "a", "extra": None}
    marked: Row = {**plain, "size": 2, "sha256": "b", "extra": '{"k": 1}'}
    for before in ([plain, marked], [marked, plain]):
        for after in ([plain, marked], [marked, plain]):
            rows = [native("files", row) for row in after]
            expected = sorted(row_digest("files", row) for row in before)
            assert restored("files", before, rows) == expected


def run(extra: str | None, **columns: Any) -> Row:
    return {"name": "n", "notes": None, "source": "there", "extra": extra, **columns}


def come_back(before: Row, shown: Row, read: Row) -> Row:
    kept, hide = keep("runs", [before], [shown], lambda *_: ())
    restoration = RowRestoration({"runs": kept}, {"runs": hide})
    [row] = restoration.apply("runs", [{**read, **LABELS}])
    return row


def test_damage_in_the_store_is_added_to_what_the_run_had() -> None:
    before, shown = run('{"kind": 7}', notes="mine"), run(None)
    found = come_back(before, shown, run('{"damage": ["x"]}'))
    assert json.loads(found["extra"]) == {"kind": 7, "damage": ["x"]}
    assert found["notes"] == "mine"


def test_an_edited_extra_stays_edited_though_the_store_is_damaged() -> None:
    before, shown = run('{"kind": 7}'), run('{"kind": 8}')
    read = run('{"kind": 9, "damage": ["x"]}')
    assert come_back(before, shown, read)["extra"] == read["extra"]


def test_an_extra_field_that_was_added_or_removed_changes_no_other() -> None:
    before, shown = run('{"kind": 7, "os": "Linux", "old": 1}'), run('{"kind": 8, "old": 1}')
    found = come_back(before, shown, run('{"kind": 8, "new": 2}'))
    assert json.loads(found["extra"]) == {"kind": 7, "os": "Linux", "new": 2}


def test_where_a_run_lies_is_what_its_store_says() -> None:
    before, shown = run(None, notes="mine", source="home"), run(None, source=None)
    assert come_back(before, shown, run(None, source="away"))["source"] == "away"


def test_values_that_are_equal_but_of_another_type_are_told_apart() -> None:
    before: list[Row] = [{"owner": "", "path": "x", "size": 1}]
    assert keep("files", before, [{**before[0], **LABELS}], lambda _, r: _name(r)) == ([], set())
    kept, _ = keep("files", before, [{**before[0], "size": True}], lambda _, r: _name(r))
    assert [item.row for item in kept] == before
