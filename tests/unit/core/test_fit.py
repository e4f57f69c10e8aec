"""Values fitted into a store: exactly within its limits, two names still two."""

from __future__ import annotations

import json
import math
import posixpath
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from unit.core.stores import batch
from unit.core.strategies import KEYS, loose_points

from trackbridge.adapter import Capabilities, Names, Row
from trackbridge.digest import point_hashes
from trackbridge.fit import (
    FittedPoints,
    fit_points,
    fit_rows,
    holds_everything,
)
from trackbridge.fit_text import apart, fit_name, fit_value
from trackbridge.losses import Losses
from trackbridge.schema import TABLES

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
ALPHABETS = ["", r"\w.", r"/\w.\- :", "a-z_0-9"]
LIMITS = st.builds(Names, st.none() | st.integers(10, 40), st.sampled_from(ALPHABETS))
LABELLED = {"key": "k", "step": 1, "time": EPOCH, "value": 1.0, "system": False}


def claims(**changes: Any) -> Capabilities:
    """Everything is held, but for the changes."""
    return Capabilities.everything(**changes)


def fitted(points: list[Row], caps: Capabilities) -> FittedPoints:
    return fit_points(batch("metrics", points).data, caps, Losses())


def one(caps: Capabilities, **point: Any) -> tuple[Row, bool, bool]:
    """A point as it is fitted, and whether it is kept whole and not shown at all."""
    found = fitted([{**LABELLED, **point}], caps)
    return found.data.to_pylist()[0], bool(found.whole[0]), bool(found.dropped[0])


@given(name=KEYS, limits=LIMITS)
@example(name="", limits=Names(None, r"\w"))
def test_fitted_names_are_within_the_limits(name: str, limits: Names) -> None:
    found = fit_name(name, limits)
    assert limits.length is None or len(found) <= limits.length
    assert not limits.alphabet or re.fullmatch(f"[{limits.alphabet}]+", found)


@given(name=KEYS, limits=LIMITS)
def test_fitting_a_fitted_name_changes_nothing(name: str, limits: Names) -> None:
    found = fit_name(name, limits)
    assert fit_name(found, limits) == found


@given(name=KEYS, limits=LIMITS)
def test_names_that_are_allowed_stay(name: str, limits: Names) -> None:
    assume(limits.length is None or len(name) <= limits.length)
    assume(not limits.alphabet or re.fullmatch(f"[{limits.alphabet}]+", name))
    assert fit_name(name, limits) == name


def test_a_name_that_begins_with_a_reserved_prefix_is_marked() -> None:
    limits = Names(reserved=("system/",))
    assert fit_name("system/cpu", limits).startswith("_system/cpu_")
    assert fit_name("my system/cpu", limits) == "my system/cpu"


@given(names=st.sets(KEYS, min_size=2), limits=LIMITS)
@example(names={"a/b", "a_b", "a:b", "a b"}, limits=Names(10, r"\w"))
@example(names={"x" * 99 + "1", "x" * 99 + "2", "x" * 10}, limits=Names(10))
def test_two_names_stay_two(names: set[str], limits: Names) -> None:
    assert len({fit_name(name, limits) for name in names}) == len(names)


def test_a_name_that_was_cleaned_can_still_be_recognised() -> None:
    assert re.fullmatch(r"val_loss_[0-9a-f]{8}", fit_name("val/loss", Names(40, r"\w")))
    assert fit_name("x" * 300, Names(250)).startswith("x" * 241 + "_")
    assert len(fit_name("x" * 300, Names(250))) == 250


@given(value=st.text(max_size=90), length=st.none() | st.integers(0, 60))
@example(value="x" * 60, length=60)
@example(value="x" * 61, length=60)
@example(value="x" * 100, length=20)
def test_values_are_cut_exactly_and_visibly(value: str, length: int | None) -> None:
    found = fit_value(value, length)
    if length is None or len(value) <= length:
        assert found == value
        return
    assert len(found) == length
    mark = f" ... [cut: {len(value)} characters]"
    if length >= len(mark):
        assert found == value[: length - len(mark)] + mark


@given(micros=st.integers(-(2**50), 2**50), unit=st.sampled_from([1, 1_000, 1_000_000]))
@example(micros=-1, unit=1000)
@example(micros=-1000, unit=1000)
@example(micros=999, unit=1000)
def test_times_are_rounded_down_before_and_after_1970(micros: int, unit: int) -> None:
    point, whole, dropped = one(
        claims(time_unit_us=unit), time=EPOCH + timedelta(microseconds=micros)
    )
    ticks = (point["time"] - EPOCH) // timedelta(microseconds=1)
    assert ticks % unit == 0
    assert 0 <= micros - ticks < unit
    assert not (whole or dropped)


@pytest.mark.parametrize("sign", [1, -1])
def test_infinity_becomes_the_largest_value_and_is_kept_whole(sign: int) -> None:
    point, whole, dropped = one(claims(largest=1.5e308), value=sign * math.inf)
    assert (point["value"], whole, dropped) == (sign * 1.5e308, True, False)


def test_infinity_stays_where_it_is_held() -> None:
    point, whole, dropped = one(claims(), value=-math.inf)
    assert (point["value"], whole, dropped) == (-math.inf, False, False)


def test_minus_zero_is_shown_as_zero_and_kept_whole_where_it_is_not_held() -> None:
    point, whole, dropped = one(claims(signed_zero=False), value=-0.0)
    assert (math.copysign(1, point["value"]), whole, dropped) == (1.0, True, False)
    point, whole, _ = one(claims(), value=-0.0)
    assert (math.copysign(1, point["value"]), whole) == (-1.0, False)
    assert one(claims(signed_zero=False), value=0.0)[1] is False


def test_a_largest_value_of_zero_has_no_sign_either() -> None:
    point, whole, _ = one(claims(largest=0.0, signed_zero=False), value=-math.inf)
    assert (math.copysign(1, point["value"]), whole) == (1.0, True)


@pytest.mark.parametrize(("micros", "shown"), [(-5, 0), (0, 0), (7, 7), (10, 10), (11, 10)])
def test_times_out_of_range_are_shown_as_the_nearest_one(micros: int, shown: int) -> None:
    point, _, _ = one(claims(times=(0, 10)), time=EPOCH + timedelta(microseconds=micros))
    assert point["time"] == EPOCH + timedelta(microseconds=shown)


def test_nan_is_not_shown_where_it_is_not_held() -> None:
    assert one(claims(nan=False), value=math.nan)[1:] == (True, True)
    point, whole, dropped = one(claims(), value=math.nan)
    assert math.isnan(point["value"])
    assert not (whole or dropped)


def test_points_without_step_or_time_are_shown_at_zero_and_kept_whole() -> None:
    for step, time in ((None, EPOCH), (3, None), (None, None)):
        point, whole, dropped = one(claims(gaps=False), step=step, time=time)
        assert (point["step"], point["time"]) == (step or 0, EPOCH)
        assert (whole, dropped) == (True, False)


def test_gaps_stay_where_they_are_held() -> None:
    point, whole, _ = one(claims(), step=None, time=None)
    assert (point["step"], point["time"], whole) == (None, None, False)


def test_a_store_of_log_calls_has_no_gaps_whatever_it_claims() -> None:
    point, whole, _ = one(claims(rows=True), step=None)
    assert (point["step"], whole) == (0, True)


def test_points_of_a_store_without_metrics_are_all_kept_whole() -> None:
    found = fitted([LABELLED, LABELLED], Capabilities())
    assert found.whole.all()
    assert found.dropped.all()


@pytest.mark.parametrize(
    ("column", "value"),
    [("row", 3), ("system", True), ("step", 4), ("time", EPOCH + timedelta(days=1))],
)
def test_a_column_that_is_not_held_reads_as_its_default(column: str, value: object) -> None:
    held = [name for name in TABLES["metrics"].names if name != column]
    caps = claims(holds={"metrics": held})
    point, whole, dropped = one(caps, **{column: value})
    assert point[column] == {"system": False}.get(column)
    assert not dropped
    assert whole == (column != "row")  # rows come back with the moves of log calls


@given(points=loose_points())
def test_points_that_fit_stay_as_they_are(points: list[Row]) -> None:
    data = batch("metrics", points).data
    found = fit_points(data, claims(), Losses())
    assert point_hashes(found.data).tolist() == point_hashes(data).tolist()
    assert not found.whole.any()
    assert not found.dropped.any()


@given(points=loose_points())
def test_fitting_twice_is_fitting_once(points: list[Row]) -> None:
    caps = claims(
        time_unit_us=1000, nan=True, largest=1e300, gaps=False, names={"metrics": Names(20, r"\w")}
    )
    once = fitted(points, caps)
    again = fit_points(once.data, caps, Losses())
    assert point_hashes(again.data).tolist() == point_hashes(once.data).tolist()
    assert not again.whole.any()


def test_rows_of_a_table_that_is_not_held_are_not_shown_and_named() -> None:
    losses = Losses()
    assert fit_rows("alerts", [{"title": "a"}, {"title": "b"}], claims(holds={}), losses) == []
    assert [(loss.kind, loss.count) for loss in losses.list()] == [("alerts not shown", 2)]


def test_columns_that_are_not_held_read_as_null_or_as_their_default() -> None:
    losses = Losses()
    rows = [{"key": "lr", "path": None, "value": "0.1", "type": "float"}]
    found = fit_rows("params", rows, claims(holds={"params": ("key",)}), losses)
    assert found == [{"key": "lr", "path": None, "value": None, "type": "string"}]
    kinds = {loss.kind for loss in losses.list()}
    assert kinds == {"params.value not shown", "params.type not shown"}


def test_nothing_is_called_a_loss_that_already_is_the_default() -> None:
    losses = Losses()
    rows = [{"key": "lr", "path": None, "value": "x", "type": "string"}]
    fit_rows("params", rows, claims(holds={"params": ("key", "value")}), losses)
    assert losses.list() == []


def test_names_of_shared_rows_are_held_wherever_the_rows_are() -> None:
    rows = [{"name": "m", "version": "1", "run_id": "r", "stage": "None"}]
    found = fit_rows("model_versions", rows, claims(holds={"model_versions": ()}), Losses())
    assert found[0]["name"] == "m"
    assert found[0]["version"] == "1"
    assert found[0]["run_id"] is None


def test_a_store_holds_everything_only_if_it_claims_all_of_it() -> None:
    assert holds_everything(claims())
    assert holds_everything(claims(parallel_writers=True))
    assert not holds_everything(claims(nan=False))
    assert not holds_everything(claims(time_unit_us=1000))
    assert not holds_everything(Capabilities())


ALIKE = ("Loss", "loss", "LOSS ", "löss", "lo\u0308ss", "straße", "strasse", "🚀", "🎉")


@given(names=st.lists(st.sampled_from(ALIKE) | KEYS, unique=True), limits=LIMITS)
def test_names_that_a_store_folds_are_set_apart_in_any_order(
    names: list[str], limits: Names
) -> None:
    changed = apart(names, limits)
    assert apart(reversed(names), limits) == changed
    shown = [changed.get(name, name) for name in names]
    assert len(set(shown)) == len(names)
    assert not apart(shown, limits)


def test_the_first_of_two_names_that_are_one_to_the_store_stays() -> None:
    assert apart(["loss", "Loss", "lr"], Names()).keys() == {"loss"}
    assert apart(["loss", "lr"], Names()) == {}


def test_nul_is_shown_where_a_store_cannot_hold_it() -> None:
    losses = Losses()
    row = {"key": "k", "value": "a\0b", "type": "string"}
    assert fit_rows("params", [row], claims(nul=False), losses)[0]["value"] == "a\u2400b"
    assert [loss.kind for loss in losses.list()] == ["NUL shown as \u2400"]
    assert fit_rows("params", [row], claims(), Losses())[0]["value"] == "a\0b"


def test_nul_in_an_object_is_found_in_its_escape_and_a_backslash_stays_one() -> None:
    row = {"project": "p", "tags": json.dumps({"a": "\0", "b": "\\u0000"})}
    (found,) = fit_rows("projects", [row], claims(nul=False), Losses())
    assert json.loads(found["tags"]) == {"a": "\u2400", "b": "\\u0000"}


def test_texts_in_an_object_are_cut_by_name() -> None:
    limits = {"projects": {"tags.*": 30, "tags.long": 50, "notes": 40}}
    row = {"project": "p", "tags": json.dumps({"a": "x" * 60, "long": "y" * 60, "n": 1})}
    (found,) = fit_rows("projects", [row], claims(lengths=limits), losses := Losses())
    tags = json.loads(found["tags"])
    assert [len(tags["a"]), len(tags["long"]), tags["n"]] == [30, 50, 1]
    assert [loss.kind for loss in losses.list()] == ["projects.tags cut"] * len(losses.list())
    assert losses.list()


@pytest.mark.parametrize("name", ["/a", "a/", "a//b", "..", "../a", "a/../b", ".", "..a", "a/./b"])
def test_a_name_that_is_no_shortest_path_becomes_one(name: str) -> None:
    found = fit_name(name, Names(shortest=True))
    assert found != name and posixpath.normpath(found) == found and not found.startswith("..")
    assert fit_name(found, Names(shortest=True)) == found


@pytest.mark.parametrize("name", ["a", "a/b", "a.b/c..d", ".a", "a/.b"])
def test_a_name_that_is_a_shortest_path_stays(name: str) -> None:
    assert fit_name(name, Names(shortest=True)) == name


def test_a_system_metric_leaves_room_for_what_stands_before_it_and_others_need_not() -> None:
    limits = claims(names={"metrics": Names(20, before_system=7)})
    losses = Losses()
    points = [{**LABELLED, "key": "k" * 20, "system": system} for system in (False, True)]
    keys = fit_points(batch("metrics", points).data, limits, losses).data.column("key").to_pylist()
    assert keys[0] == "k" * 20
    assert keys[1] == fit_name("k" * 20, Names(13))
    assert [(loss.kind, loss.count) for loss in losses.list()] == [("metrics renamed", 1)]


def test_names_set_apart_leave_that_room_too() -> None:
    limits = Names(20, folded=True, before_system=7)
    changed = apart(["k" * 13, "K" * 13], limits)
    assert all(len(name) <= 13 for name in changed.values())
    assert len(changed) == 1
