"""What a target shows of a run, and what of it comes home after the target was changed."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import pyarrow as pa
import pytest
from unit.core.samples import POOR, moment, points, sample
from unit.core.stores import NOTHING_CHANGES, batch, edit, native, peek, seed, stores

import trackbridge
from trackbridge.adapter import Batch, Capabilities, FileRef, Presentation, Row, RunKey
from trackbridge.columns import batches
from trackbridge.fit_text import fit_name
from trackbridge.registry import open_writer
from trackbridge.translate import Translation
from trackbridge_adapters import memory


def home_again(away: str, back: str, kind: str = "memory") -> list[Row]:
    """Bring what a store has now to another one; gives the metrics as they arrive."""
    report = trackbridge.migrate(f"{kind}:{away}", f"memory:{back}")
    assert report.failures == []
    assert trackbridge.verify(f"{kind}:{away}", f"memory:{back}").holds
    return native(back, "metrics")


def key_value(rows: list[Row]) -> dict[str, str | None]:
    return {row["key"]: row["value"] for row in rows}


@pytest.fixture
def moved() -> object:
    """A run that lies in a poor store, and an empty store for its way home."""
    with stores(NOTHING_CHANGES, POOR, NOTHING_CHANGES) as (home, away, back):
        grouped = {**sample().tables["runs"][0], "group": "not held there"}
        seed(home, [sample(runs=[grouped])])
        assert trackbridge.migrate(f"memory:{home}", f"memory:{away}").verified
        yield home, away, back


def test_what_the_target_shows_is_what_it_can_hold(moved: tuple[str, str, str]) -> None:
    _, away, _ = moved
    shown = key_value(native(away, "params"))
    assert shown["lr"] == "0.1"
    assert shown["text"] == "é" * 14 + " ... [cut: 100 characters]"
    assert {row["key"] for row in native(away, "metrics")} >= {"loss", "gpu"}
    assert all(p["time"].microsecond % 1000 == 0 for p in native(away, "metrics"))
    assert native(away, "logs") == []


def test_a_tag_that_was_added_in_the_target_comes_along(moved: tuple[str, str, str]) -> None:
    _, away, back = moved
    edit(away, "tags", [*native(away, "tags"), {"key": "seen", "value": "yes"}])
    home_again(away, back)
    assert key_value(native(back, "tags")) == {"label": None, "team": "blue", "seen": "yes"}


def test_a_run_that_was_renamed_in_the_target_is_still_one_run(
    moved: tuple[str, str, str],
) -> None:
    _, away, back = moved
    edit(away, "runs", [{**native(away, "runs")[0], "name": "better name"}])
    home_again(away, back)
    assert [row["name"] for row in native(back, "runs")] == ["better name"]


def test_a_param_that_was_edited_in_the_target_is_seen_as_it_is(
    moved: tuple[str, str, str],
) -> None:
    _, away, back = moved
    rows = [
        {**row, "value": "0.2"} if row["key"] == "lr" else row for row in native(away, "params")
    ]
    edit(away, "params", rows)
    home_again(away, back)
    assert [row["value"] for row in native(back, "params") if row["key"] == "lr"] == ["0.2"]


def test_a_param_that_was_deleted_in_the_target_stays_deleted(
    moved: tuple[str, str, str],
) -> None:
    _, away, back = moved
    edit(away, "params", [row for row in native(away, "params") if row["key"] != "text"])
    home_again(away, back)
    assert key_value(native(back, "params")) == {"lr": "0.1"}


def test_points_that_were_logged_in_the_target_come_along(moved: tuple[str, str, str]) -> None:
    home, away, back = moved
    later = [
        {**row, "time": moment(9_000_000), "step": 99, "row": None} for row in points("loss", 1)
    ]
    edit(away, "metrics", [*native(away, "metrics"), *later, *points("new", 2, row=None)])
    arrived = home_again(away, back)
    assert sum(point["step"] == 99 for point in arrived) == 1
    assert sum(point["key"] == "new" for point in arrived) == 2
    assert len(arrived) == len(native(home, "metrics")) + 3


def test_other_points_stay_exact_when_the_target_was_changed(
    moved: tuple[str, str, str],
) -> None:
    home, away, back = moved
    edit(away, "metrics", [*native(away, "metrics"), *points("new", 2, row=None)])
    home_again(away, back)
    own = {cell for cell in peek(back) if cell[0] == "metrics" and ("key", "new") not in cell}
    assert own == {cell for cell in peek(home) if cell[0] == "metrics"}


def test_points_that_were_deleted_in_the_target_stay_deleted(
    moved: tuple[str, str, str],
) -> None:
    _, away, back = moved
    edit(away, "metrics", [p for p in native(away, "metrics") if p["key"] != "loss"])
    assert not [p for p in home_again(away, back) if p["key"] == "loss"]


def test_verify_tells_what_was_changed_in_the_target(moved: tuple[str, str, str]) -> None:
    home, away, _ = moved
    edit(away, "tags", [*native(away, "tags"), {"key": "seen", "value": "yes"}])
    found = trackbridge.verify(f"memory:{home}", f"memory:{away}")
    assert not found.holds
    assert "only in the target: key='seen', value='yes'" in [d.what for d in found.differences]


def test_keys_that_look_alike_in_the_target_stay_two() -> None:
    with stores(NOTHING_CHANGES, POOR, NOTHING_CHANGES) as (home, away, back):
        metrics = [*points("a/b"), *points("a_b"), *points("a b")]
        seed(home, [sample(metrics=metrics)])
        assert trackbridge.migrate(f"memory:{home}", f"memory:{away}").verified
        assert len({p["key"] for p in native(away, "metrics")}) == 3
        assert {p["key"] for p in home_again(away, back)} == {"a/b", "a_b", "a b"}


def test_a_key_that_pretends_to_be_another_ones_new_name_is_never_taken_for_it() -> None:
    pretended = "a_b_" + hashlib.sha256(b"a/b").hexdigest()[:8]
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, [sample(metrics=[*points("a/b"), *points(pretended, value=7.0)])])
        report = trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        assert not report.verified
        assert [failure.run for failure in report.failures] == ["p/x//p/run1"]
        assert not trackbridge.verify(f"memory:{home}", f"memory:{away}").holds


def test_points_that_become_equal_in_the_target_are_all_brought_home() -> None:
    twins = [
        *points("loss", 3),
        *[{**point, "time": moment(1_001 * n + 1)} for n, point in enumerate(points("loss", 3))],
    ]
    with stores(NOTHING_CHANGES, POOR, NOTHING_CHANGES) as (home, away, back):
        seed(home, [sample(metrics=twins), sample("run2")])
        assert trackbridge.migrate(f"memory:{home}", f"memory:{away}").verified
        assert trackbridge.verify(f"memory:{home}", f"memory:{away}").holds
        assert len(native(away, "metrics")) == 3 + 15
        home_again(away, back)
        assert peek(back) == peek(home)


def test_exact_repetitions_of_a_point_are_all_brought_home() -> None:
    with stores(NOTHING_CHANGES, POOR, NOTHING_CHANGES) as (home, away, back):
        seed(home, [sample(metrics=points("loss", 2) * 3)])
        assert trackbridge.migrate(f"memory:{home}", f"memory:{away}").verified
        home_again(away, back)
        assert peek(back) == peek(home)
        assert len(native(back, "metrics")) == 6


def test_points_of_one_call_spread_over_batches_are_brought_home() -> None:
    """Two batches may each take the same native moment for another original one."""
    a = points("a", 1, time=moment(1_100))
    b = points("b", 1, time=moment(1_900))
    with stores(NOTHING_CHANGES, POOR, NOTHING_CHANGES) as (home, away, back):
        seed(home, [sample(metrics=a)])
        contents = memory.STORES[home]
        (run,) = contents.runs.values()
        (ref,) = contents.runs
        parts = [batch("metrics", rows, ref).data for rows in (a, b, points("c", 1))]
        run.tables["metrics"] = pa.Table.from_batches(parts)
        assert trackbridge.migrate(f"memory:{home}", f"memory:{away}").verified
        home_again(away, back)
        assert peek(back) == peek(home)


def test_the_name_of_an_axis_is_free_when_only_a_dictionary_knows_it() -> None:
    """Batches of what came home still know the names of points that are gone."""
    label = {"project": "p", "run_id": "r", "time": moment(0), "system": False, "value": 1.0}
    rows: list[Row] = [{**label, "key": "loss", "step": 0}] * 2 + [
        {**label, "key": "toy.step", "step": 0}
    ]
    (whole,) = batches("metrics", rows)
    with stores(replace(POOR, rows=True)) as (away,):
        moving = Translation(open_writer(f"memory:{away}"), [RunKey("toy", "", "p", "r")])
        list(moving.feed(Batch("metrics", whole.data.slice(0, 2))))
        moving.present()
        written = [part.data for part in moving.finish() if part.table == "metrics"]
    keys = {key for part in written for key in part.column("key").to_pylist()}
    assert keys == {"loss", fit_name("toy.step", POOR.names["metrics"])}


@pytest.mark.parametrize("claims", [NOTHING_CHANGES, POOR], ids=["everything", "poor"])
@pytest.mark.parametrize("recorded", [None, "0" * 64], ids=["no hash", "hash recorded"])
def test_a_file_without_bytes_is_named_and_stops_nothing(
    claims: Capabilities, recorded: str | None
) -> None:
    lost = {"owner": "", "path": "lost.bin", "size": 3, "sha256": recorded}
    with stores(NOTHING_CHANGES, claims, NOTHING_CHANGES) as (home, away, back):
        seed(home, [sample(files=[lost])])
        report = trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        assert report.failures == []
        assert {"files without bytes"} <= {loss.kind for loss in report.losses}
        assert len(native(away, "files")) == (1 if claims is NOTHING_CHANGES else 0)
        assert trackbridge.verify(f"memory:{home}", f"memory:{away}").holds
        home_again(away, back)
        (row,) = native(back, "files")
        assert (row["path"], row["size"], row["sha256"]) == ("lost.bin", 3, None)


def test_a_file_that_lives_elsewhere_is_not_fetched_but_named() -> None:
    with stores(NOTHING_CHANGES, POOR, NOTHING_CHANGES) as (home, away, back):
        seed(home, [sample()])
        trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        assert not [f for f in memory.STORES[away].files if f.path == "far.bin"]
        home_again(away, back)
        (far,) = (row for row in native(back, "files") if row["path"] == "far.bin")
        assert (far["reference"], far["size"]) == ("s3://bucket/far.bin", 9)


def test_files_that_the_target_keeps_elsewhere_come_back_to_their_place() -> None:
    with stores(NOTHING_CHANGES, POOR, NOTHING_CHANGES) as (home, away, back):
        seed(home, [sample()])
        assert trackbridge.migrate(f"memory:{home}", f"shelf:{away}").verified
        paths = {(file.owner, file.path) for file in memory.STORES[away].files}
        assert {("", "artifacts/run/a/b.txt"), ("", "artifacts/model:v0/weights.bin")} <= paths
        assert ("", "README.md") in paths
        home_again(away, back, "shelf")
        assert peek(back) == peek(home)
        assert {(f.owner, f.path) for f in memory.STORES[back].files} == {
            ("", "a/b.txt"),
            ("model:v0", "weights.bin"),
        }


def test_bytes_that_are_not_what_the_source_recorded_fail_the_run() -> None:
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        wrong = {"owner": "", "path": "a/b.txt", "sha256": "0" * 64}
        seed(home, [sample(files=[wrong]), sample("run2")])
        report = trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        assert report.copied == 1
        assert "a/b.txt: its bytes are not those that were recorded" in report.failures[0].error


@pytest.mark.parametrize(
    "held", [("stream", "line", "time", "text"), ("line", "text"), None], ids=["all", "some", "no"]
)
def test_the_console_comes_home(held: tuple[str, ...] | None) -> None:
    holds = {**POOR.holds, **({"logs": held} if held else {})}
    with stores(NOTHING_CHANGES, Capabilities(holds=holds), NOTHING_CHANGES) as (home, away, back):
        seed(home, [sample()])
        report = trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        assert report.failures == []
        assert [row["text"] for row in native(away, "logs")] == (
            ["0%\r", "1%\r", "2%\r"] if held else []
        )
        home_again(away, back)
        assert peek(back) == peek(home)


def test_console_lines_that_were_printed_in_the_target_follow_those_that_were_there(
    moved: tuple[str, str, str],
) -> None:
    _, away, back = moved
    edit(away, "logs", [{"stream": "stdout", "line": 0, "text": "later\n"}])
    home_again(away, back)
    lines = [(row["line"], row["text"]) for row in native(back, "logs")]
    assert lines == [(0, "0%\r"), (1, "1%\r"), (2, "2%\r"), (3, "later\n")]


def test_nothing_of_ours_is_left_in_a_store_that_holds_everything() -> None:
    with stores(NOTHING_CHANGES, NOTHING_CHANGES) as (home, away):
        seed(home, [sample()])
        trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        assert not [f for f in memory.STORES[away].files if f.path.startswith("trackbridge")]
        assert peek(away) == peek(home)


def test_a_run_is_written_once_even_where_it_needs_care() -> None:
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, [sample(metrics=points("loss") * 2)])
        trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        assert len(memory.STORES[away].runs) == 1
        (ref,) = memory.STORES[away].runs
        assert FileRef(ref, "", "trackbridge/sidecar.zip") in memory.STORES[away].files


def test_every_loss_is_counted_with_an_example(moved: tuple[str, str, str]) -> None:
    home, _, _ = moved
    with stores(POOR) as (again,):
        losses = trackbridge.migrate(f"memory:{home}", f"memory:{again}").losses
    found = {loss.kind: (loss.count, loss.example) for loss in losses}
    assert found["logs not shown"][0] == 3
    assert found["metrics renamed"][0] == 1
    assert found["metrics renamed"][1].startswith("'val/loss' -> 'val_loss_")
    assert found["params cut"] == (1, "text: 100 characters")
    assert found["params.type not shown"][0] == 1
    assert found["summary not shown"] == (1, "best")
    assert found["time of a point rounded down"][0] == 12


def test_the_last_point_of_a_metric_does_not_depend_on_the_order_of_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sidecar gives the points that it holds after all others."""
    label = {"project": "p", "run_id": "r", "key": "loss", "time": moment(0)}
    places = ((0, 0, 1.0), (9, 1, float("nan")), (5, 2, 3.0), (5, 2, 2.0))
    rows: list[Row] = [
        {**label, "step": step, "row": row, "value": value, "system": False}
        for step, row, value in places
    ]
    rows.append({**label, "step": 99, "value": 7.0, "system": True})
    with stores(POOR) as (away,):
        writer = open_writer(f"memory:{away}")
        for order in itertools.permutations(rows):
            seen: list[Row] = []
            monkeypatch.setattr(writer, "present", partial(_noted, seen))
            moving = Translation(writer, [RunKey("toy", "", "p", "r")])
            for part in (order[:2], order[2:]):
                for each in batches("metrics", part):
                    list(moving.feed(each))
            moving.present()
            assert [row["value"] for row in seen] == [3.0]


def _noted(seen: list[Row], key: RunKey, tables: Mapping[str, list[Row]]) -> Presentation:
    seen += tables["metrics"]
    return Presentation(dict(tables))
