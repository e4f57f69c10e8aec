"""Projects, registered models, sweeps and reports arrive too, and come home as they were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from unit.core.samples import POOR, moment, sample
from unit.core.stores import NOTHING_CHANGES, Sample, native, seed, stores

import trackbridge
from trackbridge.adapter import STORE, Capabilities, FileRef, Query, Row
from trackbridge.errors import IntegrityError
from trackbridge.forecast import forecast
from trackbridge.schema import LOCAL, SHARED
from trackbridge_adapters import memory

KEPT = FileRef(STORE, "", "trackbridge/shared.json")
SHARED_ROWS: dict[str, list[Row]] = {
    "projects": [
        {"project": "p", "notes": "about p", "tags": '{"a": "b"}', "created": moment(1)},
        {"project": "empty", "notes": "no runs", "deleted": True},
    ],
    "models": [{"name": "m", "description": "a model", "aliases": '{"best": "2"}'}],
    "model_versions": [
        {"name": "m", "version": "1", "run_id": "x//p/run1", "stage": "Production"},
        {"name": "m", "version": "2", "run_id": "x//p/run2", "created": moment(2)},
        {"name": "m", "version": "3", "run_id": None},
    ],
    "sweeps": [{"project": "p", "sweep_id": "s", "name": "grid", "definition": "{}"}],
    "reports": [{"project": "p", "report_id": "r", "title": "why", "definition": "{}"}],
}


def shared(name: str) -> dict[str, list[Row]]:
    """Every shared row of a store, without what is true of one store only."""
    return {
        table: sorted(
            (
                {n: v for n, v in row.items() if (table, n) not in LOCAL and v not in (None, False)}
                for row in native(name, table)
            ),
            key=str,
        )
        for table in SHARED
    }


def home_store() -> list[Sample]:
    return [sample("run1"), sample("run2"), sample("run3", project="q")]


@pytest.fixture(params=["everything", "poor", "next to nothing"])
def trio(request: pytest.FixtureRequest) -> Iterator[tuple[str, str, str]]:
    nothing = Capabilities(holds={"runs": (), "files": ("owner", "path", "size", "sha256")})
    claims = {"everything": NOTHING_CHANGES, "poor": POOR, "next to nothing": nothing}
    with stores(NOTHING_CHANGES, claims[request.param], NOTHING_CHANGES) as (home, away, back):
        seed(home, home_store(), SHARED_ROWS)
        yield home, away, back


def test_shared_rows_come_home_through_any_store(trio: tuple[str, str, str]) -> None:
    home, away, back = trio
    report = trackbridge.migrate(f"memory:{home}", f"memory:{away}")
    assert report.failures == []
    assert trackbridge.verify(f"memory:{home}", f"memory:{away}").holds
    assert trackbridge.migrate(f"memory:{away}", f"memory:{back}").failures == []
    assert trackbridge.verify(f"memory:{home}", f"memory:{back}").holds
    assert shared(back) == shared(home)


def test_what_the_target_holds_is_shown_there(trio: tuple[str, str, str]) -> None:
    home, away, _ = trio
    trackbridge.migrate(f"memory:{home}", f"memory:{away}")
    held = memory.STORES[away].capabilities.holds
    assert len(native(away, "projects")) == (2 if "projects" in held else 0)
    assert len(native(away, "model_versions")) == (3 if "model_versions" in held else 0)
    if "models" in held:
        assert native(away, "models")[0]["description"] == "a model"


def test_a_second_call_writes_nothing_again(trio: tuple[str, str, str]) -> None:
    home, away, _ = trio
    trackbridge.migrate(f"memory:{home}", f"memory:{away}")
    before = dict(memory.STORES[away].files)
    contents = memory.STORES[away]
    contents.shared = {t: dict(rows) for t, rows in contents.shared.items()}
    snapshot = {t: {n: dict(r) for n, r in rows.items()} for t, rows in contents.shared.items()}
    assert trackbridge.migrate(f"memory:{home}", f"memory:{away}").verified
    assert contents.files == before
    assert contents.shared == snapshot


def test_what_changed_in_the_source_is_brought_up_to_date(trio: tuple[str, str, str]) -> None:
    home, away, back = trio
    trackbridge.migrate(f"memory:{home}", f"memory:{away}")
    seed(home, [], {"models": [{"name": "m", "description": "a better model"}]})
    assert not trackbridge.verify(f"memory:{home}", f"memory:{away}").holds
    assert trackbridge.migrate(f"memory:{home}", f"memory:{away}").verified
    assert trackbridge.verify(f"memory:{home}", f"memory:{away}").holds
    trackbridge.migrate(f"memory:{away}", f"memory:{back}")
    assert shared(back) == shared(home)


def test_shared_rows_of_the_target_itself_are_left_alone(trio: tuple[str, str, str]) -> None:
    home, away, _ = trio
    seed(away, [], {"models": [{"name": "theirs", "description": "not ours"}]})
    there = [row for row in native(away, "models") if row["name"] == "theirs"]
    trackbridge.migrate(f"memory:{home}", f"memory:{away}")
    assert [row for row in native(away, "models") if row["name"] == "theirs"] == there


@pytest.mark.parametrize("claims", [NOTHING_CHANGES, POOR], ids=["everything", "poor"])
def test_a_shared_row_that_was_changed_in_the_target_is_named(claims: Capabilities) -> None:
    with stores(NOTHING_CHANGES, claims) as (home, away):
        seed(home, home_store(), SHARED_ROWS)
        trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        memory.STORES[away].shared["models"]["m",]["description"] = "vandalised"
        found = trackbridge.verify(f"memory:{home}", f"memory:{away}")
        assert not found.holds
        assert [(d.run, d.table, d.key) for d in found.differences] == [("", "models", "m")]


def test_a_shared_row_that_is_gone_from_the_target_is_named() -> None:
    with stores(NOTHING_CHANGES, NOTHING_CHANGES) as (home, away):
        seed(home, home_store(), SHARED_ROWS)
        trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        del memory.STORES[away].shared["sweeps"]
        found = trackbridge.verify(f"memory:{home}", f"memory:{away}")
        assert [(d.table, d.key) for d in found.differences] == [("sweeps", "p s")]


@pytest.mark.parametrize("run_id", ["x//p/run1", "x//q/run3"])
def test_a_selection_of_runs_compares_equal_after_everything_was_moved(
    trio: tuple[str, str, str], run_id: str
) -> None:
    """Model versions name runs; which runs are meant must not change what they are compared to."""
    home, away, _ = trio
    trackbridge.migrate(f"memory:{home}", f"memory:{away}")
    found = trackbridge.verify(f"memory:{home}", f"memory:{away}", Query(run_ids=[run_id]))
    assert found.differences == []


def test_a_selection_of_runs_is_moved_with_the_shared_rows(trio: tuple[str, str, str]) -> None:
    home, away, _ = trio
    query = Query(run_ids=["x//p/run1"])
    assert trackbridge.migrate(f"memory:{home}", f"memory:{away}", query).failures == []
    assert trackbridge.verify(f"memory:{home}", f"memory:{away}", query).holds
    assert trackbridge.migrate(f"memory:{home}", f"memory:{away}").failures == []
    assert trackbridge.verify(f"memory:{home}", f"memory:{away}").holds


def test_a_project_that_is_not_meant_is_not_moved() -> None:
    with stores(NOTHING_CHANGES, NOTHING_CHANGES) as (home, away):
        seed(home, home_store(), SHARED_ROWS)
        trackbridge.migrate(f"memory:{home}", f"memory:{away}", Query(projects=["p"]))
        assert [row["project"] for row in native(away, "projects")] == ["p"]


def test_two_sources_share_a_target_without_harm(trio: tuple[str, str, str]) -> None:
    home, away, _ = trio
    with stores(NOTHING_CHANGES) as (other,):
        more = {"models": [{"name": "n", "description": "another", "aliases": "{}"}]}
        seed(other, [sample("run7", project="z")], more)
        for source in (home, other):
            assert trackbridge.migrate(f"memory:{source}", f"memory:{away}").failures == []
        for source in (home, other):
            assert trackbridge.verify(f"memory:{source}", f"memory:{away}").holds


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format": 1, "rows": {"models": [5]}}', b"5"])
def test_a_damaged_file_of_shared_rows_is_named(content: bytes) -> None:
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, home_store(), SHARED_ROWS)
        trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        memory.STORES[away].files[KEPT] = content
        with pytest.raises(IntegrityError, match=r"trackbridge/shared\.json is damaged"):
            trackbridge.verify(f"memory:{home}", f"memory:{away}")


def test_a_newer_file_of_shared_rows_is_refused() -> None:
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, home_store(), SHARED_ROWS)
        trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        memory.STORES[away].files[KEPT] = json.dumps({"format": 99}).encode()
        with pytest.raises(IntegrityError, match="newer Trackbridge"):
            trackbridge.verify(f"memory:{home}", f"memory:{away}")


def test_losses_of_shared_rows_are_reported(trio: tuple[str, str, str]) -> None:
    home, away, _ = trio
    kinds = {loss.kind for loss in trackbridge.migrate(f"memory:{home}", f"memory:{away}").losses}
    held = memory.STORES[away].capabilities.holds
    for table in SHARED:
        assert (f"{table} not shown" in kinds) == (table not in held)


NATIVE_ROWS: dict[str, list[Row]] = {
    "projects": [{"project": "p", "notes": "their own p", "deleted": False}],
    "models": [{"name": "m", "description": "their own model"}],
}


def test_rows_of_others_are_left_as_they_are_and_named() -> None:
    with stores(NOTHING_CHANGES, POOR, NOTHING_CHANGES) as (home, away, back):
        seed(home, home_store(), SHARED_ROWS)
        seed(away, [], NATIVE_ROWS)
        report = trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        assert report.verified
        kinds = {loss.kind: loss.example for loss in report.losses}
        assert kinds["projects left as they are in the target"] == "p"
        assert kinds["models left as they are in the target"] == "m"
        shown = {row["project"]: row["notes"] for row in native(away, "projects")}
        assert (shown["p"], shown["empty"]) == ("their own p", "no runs")
        assert [row["description"] for row in native(away, "models")] == ["their own model"]
        assert trackbridge.verify(f"memory:{home}", f"memory:{away}").holds
        assert trackbridge.migrate(f"memory:{away}", f"memory:{back}").verified
        assert shared(back) == shared(home)


def test_projects_of_others_alone_are_named_too() -> None:
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, [sample()], {"projects": SHARED_ROWS["projects"]})
        seed(away, [], {"projects": NATIVE_ROWS["projects"]})
        report = trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        [loss] = [loss for loss in report.losses if loss.kind.startswith("projects left")]
        assert (loss.count, loss.example) == (1, "p")


def test_our_own_rows_are_brought_up_to_date_again() -> None:
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        for notes in ("first", "second"):
            seed(home, [sample()], {"projects": [{"project": "p", "notes": notes}]})
            assert trackbridge.migrate(f"memory:{home}", f"memory:{away}").verified
            assert [row["notes"] for row in native(away, "projects")] == [notes]


def test_a_second_source_that_has_a_project_of_the_same_name_is_named() -> None:
    with stores(NOTHING_CHANGES, NOTHING_CHANGES, POOR) as (one, two, away):
        for home, notes in ((one, "of one"), (two, "of two")):
            seed(home, [sample()], {"projects": [{"project": "p", "notes": notes}]})
        assert trackbridge.migrate(f"memory:{one}", f"memory:{away}").verified
        losses = trackbridge.migrate(f"memory:{two}", f"memory:{away}").losses
        found = [(loss.kind, loss.example) for loss in losses if "before" in loss.kind]
        assert found == [("projects brought before, now as in this source", "p")]


def test_an_edit_in_the_target_that_the_source_overwrites_is_named() -> None:
    with stores(NOTHING_CHANGES, POOR) as (home, away):

        def undone() -> list[tuple[str, str]]:
            report = trackbridge.migrate(f"memory:{home}", f"memory:{away}")
            edits = [loss for loss in report.losses if loss.kind.startswith("edits of")]
            return [(loss.kind, loss.example) for loss in edits]

        seed(home, home_store(), SHARED_ROWS)
        assert undone() == []
        seed(home, [], {"models": [{"name": "m", "description": "a better model"}]})
        assert undone() == []
        memory.STORES[away].shared["models"]["m",]["description"] = "edited"
        assert undone() == [("edits of models in the target undone", "m")]
        assert [row["description"] for row in native(away, "models")] == ["a better model"]
        assert undone() == []


def test_a_row_that_was_renamed_in_the_target_is_not_made_again() -> None:
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, [sample()], {"models": [{"name": "m", "description": "a model"}]})
        assert trackbridge.migrate(f"memory:{home}", f"memory:{away}").verified
        named = memory.STORES[away].shared["models"]
        named["renamed",] = {**named.pop(("m",)), "name": "renamed"}
        seed(home, [], {"models": [{"name": "m", "description": "another model"}]})
        report = trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        assert {"models removed or renamed in the target"} <= {loss.kind for loss in report.losses}
        assert list(named) == [("renamed",)]


def test_a_new_version_of_a_model_that_was_removed_in_the_target_is_not_made_there() -> None:
    with_versions = replace(POOR, holds={**POOR.holds, "model_versions": ("name", "version")})
    with stores(NOTHING_CHANGES, with_versions) as (home, away):
        seed(home, [sample()], {"models": [{"name": "m"}, {"name": "n"}]})
        assert trackbridge.migrate(f"memory:{home}", f"memory:{away}").verified
        del memory.STORES[away].shared["models"]["m",]
        new = [{"name": name, "version": "1"} for name in "mn"]
        seed(home, [], {"model_versions": new})
        report = trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        assert ("model_versions removed or renamed in the target", 1, "m 1") in {
            (loss.kind, loss.count, loss.example) for loss in report.losses
        }
        assert [row["name"] for row in native(away, "model_versions")] == ["n"]


def test_what_an_adapter_does_not_read_is_named_and_nothing_is_claimed_of_it() -> None:
    extra = json.dumps({"kept": 1, "not_read": {"traces": 3}})
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, [sample()], {"projects": [{"project": "p", "extra": extra}]})
        report = trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        assert report.verified
        [loss] = [loss for loss in report.losses if not loss.kept]
        assert (loss.kind, loss.count, loss.example) == ("traces not moved", 3, "p")
        assert b"traces" not in memory.STORES[away].files[KEPT]


@pytest.mark.parametrize("extra", ["not_read", '["not_read"]', '{"not_read": 3}', "{not_read"])
def test_text_that_only_looks_like_such_a_count_is_moved_as_it_is(extra: str) -> None:
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, [sample()], {"projects": [{"project": "p", "extra": extra}]})
        assert trackbridge.migrate(f"memory:{home}", f"memory:{away}").verified


NOTED = replace(POOR, holds={**POOR.holds, "projects": ("notes",)})
PROJECTS: list[Row] = [
    {"project": "empty", "notes": "no runs", "created": moment(1)},
    {"project": "p", "notes": "about p", "created": moment(2)},
    {"project": "q", "notes": "about q", "created": moment(3)},
]


@pytest.fixture
def noted() -> Iterator[tuple[str, str, str]]:
    """A store with projects, one that shows no more than their notes, and another one."""
    with stores(NOTHING_CHANGES, NOTED, NOTHING_CHANGES) as (home, away, back):
        seed(home, home_store(), {"projects": PROJECTS})
        yield home, away, back


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("team", {"team/empty": "no runs", "team/p": "about p", "team/q": "about q"}),
        ("one", {"team/all": "about p"}),
    ],
)
def test_projects_come_home_from_a_store_that_calls_them_otherwise(
    noted: tuple[str, str, str], kind: str, shown: dict[str, str]
) -> None:
    home, away, back = noted
    for _ in range(2):
        report = trackbridge.migrate(f"memory:{home}", f"{kind}:{away}")
        assert report.failures == []
        assert {row["project"]: row["notes"] for row in native(away, "projects")} == shown
    assert (report.copied, report.losses) == (0, [])
    assert trackbridge.verify(f"memory:{home}", f"{kind}:{away}").holds
    assert trackbridge.migrate(f"{kind}:{away}", f"memory:{back}").failures == []
    assert shared(back) == shared(home)


@pytest.mark.parametrize("kind", ["team", "one"])
def test_a_forecast_tells_of_projects_what_a_migration_tells(
    noted: tuple[str, str, str], kind: str
) -> None:
    home, away, _ = noted
    seed(away, [], {"projects": [{"project": "team/q", "notes": "theirs", "deleted": False}]})
    for _ in range(2):
        pair = f"memory:{home}", f"{kind}:{away}"
        foreseen = forecast(*pair).losses
        met = trackbridge.migrate(*pair).losses
        assert [(loss.kind, loss.count) for loss in foreseen] == [(m.kind, m.count) for m in met]


def test_a_project_of_others_is_left_alone_by_all_that_would_lie_in_it(
    noted: tuple[str, str, str],
) -> None:
    home, away, back = noted
    seed(away, [], {"projects": [{"project": "team/all", "notes": "theirs", "deleted": False}]})
    for _ in range(2):
        assert trackbridge.migrate(f"memory:{home}", f"one:{away}").failures == []
        assert [row["notes"] for row in native(away, "projects")] == ["theirs"]
    assert trackbridge.migrate(f"one:{away}", f"memory:{back}").failures == []
    assert shared(back) == shared(home)


def test_a_renamed_project_comes_home_from_a_store_that_calls_it_otherwise(
    noted: tuple[str, str, str],
) -> None:
    home, away, back = noted
    renames = {"p": "team/new"}
    assert trackbridge.migrate(f"memory:{home}", f"team:{away}", renames=renames).failures == []
    assert {row["project"] for row in native(away, "projects")} == {
        *("team/empty", "team/new", "team/q")
    }
    assert trackbridge.migrate(f"team:{away}", f"memory:{back}").failures == []
    assert shared(back) == shared(home)


def test_a_project_without_runs_is_called_as_those_that_have_some(
    noted: tuple[str, str, str],
) -> None:
    home, away, _ = noted
    seed(home, [], {"projects": [{"project": "x/bare", "notes": "no runs either"}]})
    assert trackbridge.migrate(f"memory:{home}", f"team:{away}").failures == []
    assert "team/bare" in {row["project"] for row in native(away, "projects")}
