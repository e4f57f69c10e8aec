"""Nothing that is wrong in a target passes for right, and what is wrong is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pytest
from unit.core.samples import POOR, points, sample
from unit.core.stores import NOTHING_CHANGES, edit, native, seed, stores

import trackbridge
from trackbridge.adapter import FileRef, Row, RunRef
from trackbridge.errors import UnsupportedError
from trackbridge.proof import MOST_NAMED, Comparison, Difference
from trackbridge.schema import TABLES
from trackbridge_adapters import memory

SIDECAR = "trackbridge/sidecar.zip"


@pytest.fixture(params=["everything", "poor"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Two runs and their copies in a store that is rich or poor."""
    claims = NOTHING_CHANGES if request.param == "everything" else POOR
    with stores(NOTHING_CHANGES, claims) as (home, away):
        seed(home, [sample("run1"), sample("run2")])
        assert trackbridge.migrate(f"memory:{home}", f"memory:{away}").verified
        yield home, away


def verify(home: str, away: str) -> Comparison:
    return trackbridge.verify(f"memory:{home}", f"memory:{away}")


def copy_of(away: str, run_id: str = "run1") -> RunRef:
    return next(r for r, run in memory.STORES[away].runs.items() if run.key.run_id == run_id)


def change(away: str, table: str, alter: Callable[[list[Row]], list[Row]]) -> None:
    """Alter the rows of a table of the first run, as they lie in a store."""
    run = memory.STORES[away].runs[copy_of(away)]
    edit(away, table, alter(run.tables[table].to_pylist()), run.key)


def changed(column: str, value: Any, **where: Any) -> Callable[[list[Row]], list[Row]]:
    def alter(rows: list[Row]) -> list[Row]:
        hit = [all(row[name] == wanted for name, wanted in where.items()) for row in rows]
        assert any(hit)
        return [{**row, column: value} if here else row for row, here in zip(rows, hit)]

    return alter


def test_an_untouched_copy_is_equal(pair: tuple[str, str]) -> None:
    found = verify(*pair)
    assert found.holds
    assert (found.total, found.equal, found.different, found.missing) == (2, 2, 0, 0)
    assert found.series == found.series_equal == 2 * 3


@pytest.mark.parametrize(
    ("table", "where", "column", "value", "key", "what"),
    [
        ("metrics", {"key": "loss", "step": 2}, "value", 9.5, "loss at step 2", "0.25 -> 9.5"),
        ("metrics", {"key": "loss", "step": 2}, "value", float("nan"), "loss at step 2", "-> nan"),
        ("metrics", {"key": "loss", "step": 4}, "step", 40, "loss at step 4", "step=4"),
        ("params", {"key": "lr"}, "value", "0.2", "lr", "0.2"),
        ("tags", {"key": "team"}, "value", "red", "team", "'blue' -> 'red'"),
        ("runs", {}, "name", "another", "name of run1", "'name of run1' -> 'another'"),
        ("files", {"path": "a/b.txt"}, "path", "a/c.txt", "a/b.txt", "missing"),
    ],
)
def test_a_changed_value_is_named(
    pair: tuple[str, str],
    table: str,
    where: Row,
    column: str,
    value: object,
    key: str,
    what: str,
) -> None:
    home, away = pair
    change(away, table, changed(column, value, **where))
    found = verify(home, away)
    assert not found.holds
    assert (found.equal, found.different) == (1, 1)
    assert {d.run.rpartition("/")[2] for d in found.differences} == {"run1"}
    assert {d.table for d in found.differences} == {table}
    assert any(d.key == key and what in d.what for d in found.differences), found.differences


def test_a_dropped_point_is_named(pair: tuple[str, str]) -> None:
    home, away = pair
    change(away, "metrics", lambda rows: [r for r in rows if (r["key"], r["step"]) != ("loss", 3)])
    found = verify(home, away)
    assert not found.holds
    assert found.series_equal == found.series - 1
    assert any(
        (d.table, d.key) == ("metrics", "loss at step 3") and d.what.startswith("missing: ")
        for d in found.differences
    )


@pytest.mark.parametrize(
    ("table", "row"),
    [("tags", {"key": "new", "value": "x"}), ("metrics", points("new", 1, row=None)[0])],
)
def test_an_added_row_is_named(pair: tuple[str, str], table: str, row: Row) -> None:
    home, away = pair
    change(away, table, lambda rows: [*rows, row])
    found = verify(home, away)
    assert not found.holds
    assert any(
        d.table == table
        and str(d.key).startswith("new")
        and d.what.startswith("only in the target")
        for d in found.differences
    )


def test_a_point_that_was_written_twice_is_named(pair: tuple[str, str]) -> None:
    home, away = pair
    change(away, "metrics", lambda rows: [*rows, rows[0]])
    found = verify(home, away)
    assert not found.holds
    whats = [d.what for d in found.differences]
    assert any(what.startswith("more times in the target: key='loss', step=0") for what in whats)


def test_a_tag_that_is_there_once_instead_of_twice_is_named() -> None:
    with stores(NOTHING_CHANGES, NOTHING_CHANGES) as (home, away):
        seed(home, [sample(tags=[{"key": "label"}] * 2)])
        assert trackbridge.migrate(f"memory:{home}", f"memory:{away}").verified
        change(away, "tags", lambda rows: rows[1:])
        whats = [d.what for d in verify(home, away).differences]
        assert whats[0] == "fewer times in the target: key='label'"


@pytest.mark.parametrize("place", [("", "a/b.txt"), ("model:v0", "weights.bin")])
def test_a_changed_byte_of_a_file_is_named(pair: tuple[str, str], place: tuple[str, str]) -> None:
    home, away = pair
    file = FileRef(copy_of(away), *place)
    content = bytearray(memory.STORES[away].files[file])
    content[-1] ^= 1
    memory.STORES[away].files[file] = bytes(content)
    found = verify(home, away)
    assert not found.holds
    assert any((d.table, d.key) == ("files", place[1]) for d in found.differences)
    assert any("sha256: " in d.what for d in found.differences)


def test_a_file_whose_bytes_are_gone_is_named(pair: tuple[str, str]) -> None:
    home, away = pair
    del memory.STORES[away].files[FileRef(copy_of(away), "", "a/b.txt")]
    found = verify(home, away)
    assert not found.holds
    assert any((d.table, d.key) == ("files", "a/b.txt") for d in found.differences)


def test_a_run_that_is_not_there_is_missing(pair: tuple[str, str]) -> None:
    home, away = pair
    del memory.STORES[away].runs[copy_of(away)]
    found = verify(home, away)
    assert (found.total, found.equal, found.different, found.missing) == (2, 1, 0, 1)
    assert [d.what for d in found.differences] == ["not in the target"]
    assert "run1" in found.differences[0].run


def test_runs_that_only_the_target_has_are_no_difference(pair: tuple[str, str]) -> None:
    home, away = pair
    seed(away, [sample("run3")])
    assert verify(home, away).holds


@pytest.fixture
def poor() -> Iterator[tuple[str, str]]:
    """A run with infinities, and its copy in a store that cannot hold them."""
    metrics = [*points("loss", 3), *points("inf", 2, value=float("inf"))]
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, [sample("run1", metrics=metrics), sample("run2")])
        assert trackbridge.migrate(f"memory:{home}", f"memory:{away}").verified
        yield home, away


def test_an_empty_target_is_not_saved_by_its_sidecar(poor: tuple[str, str]) -> None:
    home, away = poor
    run = memory.STORES[away].runs[copy_of(away)]
    run.tables = {"runs": run.tables["runs"]}
    found = verify(home, away)
    assert not found.holds
    assert {d.table for d in found.differences} >= {"params", "tags", "metrics", "files"}
    assert {d.key for d in found.differences if d.what.startswith("missing")} >= {"lr", "team"}


def test_a_time_that_no_calendar_has_is_named_too() -> None:
    late = 2**62
    with stores(NOTHING_CHANGES, NOTHING_CHANGES) as (home, away):
        for name, time in ((home, late), (away, late + 1)):
            seed(name, [sample(metrics=[{"key": "k", "step": 1, "system": False, "value": 1.0}])])
            ref = next(iter(memory.STORES[name].runs))
            table = memory.STORES[name].runs[ref].tables["metrics"]
            times = pa.array([time]).cast(table.schema.field("time").type)
            memory.STORES[name].runs[ref].tables["metrics"] = table.set_column(
                table.schema.get_field_index("time"), table.schema.field("time"), times
            )
        found = verify(home, away)
    assert [str(d) for d in found.differences if d.table == "metrics"] == [
        f"run p/x//p/run1: metrics k at step 1: time: {late} -> {late + 1}"
    ]


def test_a_point_that_only_stands_in_for_another_is_held_to_account_too(
    poor: tuple[str, str],
) -> None:
    """With its sidecar the run is whole even without it: only the native proof can tell."""
    home, away = poor
    change(away, "metrics", lambda rows: [r for r in rows if (r["key"], r["step"]) != ("inf", 1)])
    found = verify(home, away)
    assert [(d.table, d.key, d.what) for d in found.differences] == [
        ("metrics", "inf", "not shown in the target as it should be")
    ]
    assert (found.equal, found.different) == (1, 1)


def test_a_lost_sidecar_is_told(poor: tuple[str, str]) -> None:
    home, away = poor
    del memory.STORES[away].files[FileRef(copy_of(away), "", SIDECAR)]
    found = verify(home, away)
    assert not found.holds
    assert {"logs", "summary", "params"} <= {d.table for d in found.differences}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_damaged_sidecar_is_told_and_other_runs_are_compared(
    poor: tuple[str, str], share: float
) -> None:
    home, away = poor
    file = FileRef(copy_of(away), "", SIDECAR)
    content = bytearray(memory.STORES[away].files[file])
    content[int(len(content) * share)] ^= 0xFF
    memory.STORES[away].files[file] = bytes(content)
    found = verify(home, away)
    assert (found.total, found.equal) == (2, 1)
    assert not found.holds
    assert all("run1" in d.run for d in found.differences)
    assert any("damaged sidecar" in d.what for d in found.differences)


def test_many_differences_are_counted_rather_than_listed(pair: tuple[str, str]) -> None:
    home, away = pair
    more = [{"key": f"new{n}", "value": "x"} for n in range(MOST_NAMED + 7)]
    change(away, "tags", lambda rows: [*rows, *more])
    named = [d for d in verify(home, away).differences if "not shown" not in d.what]
    assert len(named) == MOST_NAMED + 1
    assert named[-1].what == "and 7 more values"


def test_a_table_that_only_the_target_has_is_named(pair: tuple[str, str]) -> None:
    home, away = pair
    run = memory.STORES[away].runs[copy_of(away)]
    row = {**run.key._asdict(), "title": "fire", "project": "p", "run_id": "r"}
    row.update(zip(("project", "run_id"), copy_of(away)))
    run.tables["alerts"] = pa.Table.from_pylist([row], TABLES["alerts"])
    found = verify(home, away)
    assert any((d.table, d.key) == ("alerts", "fire") for d in found.differences)


def test_differences_read_as_lines() -> None:
    line = str(Difference("run1", "metrics", "loss at step 2", "value: 0.25 -> 9.5"))
    assert line == "run run1: metrics loss at step 2: value: 0.25 -> 9.5"
    assert str(Difference("", "models", "m", "missing")) == "models m: missing"


def test_a_store_that_can_only_be_read_is_compared_as_it_reads(
    pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(location: str, options: Mapping[str, str]) -> memory.MemoryStore:
        raise UnsupportedError("read only")

    home, away = pair
    store = memory.ADAPTER.writer(away, {})
    monkeypatch.setattr(
        memory.ADAPTER,
        "reader",
        lambda name, options: (
            store if name == away else memory.MemoryAdapter().writer(name, options)
        ),
    )
    monkeypatch.setattr(memory.ADAPTER, "writer", refuse)
    assert verify(home, away).holds
    change_rows = native(away, "tags")
    edit(away, "tags", [*change_rows[:2], {"key": "new", "value": "x"}], store_key(away))
    assert not verify(home, away).holds


def store_key(away: str) -> Any:
    return memory.STORES[away].runs[copy_of(away)].key
