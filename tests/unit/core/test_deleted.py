"""What is marked as deleted is left out by every command alike, and never silently."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from unit.core.samples import POOR, sample
from unit.core.stores import NOTHING_CHANGES, native, peek, seed, stores

import trackbridge
from trackbridge.adapter import Query
from trackbridge.cli import main
from trackbridge_adapters import memory

GONE = [{"name": "gone", "status": "finished", "deleted": True}]
PROJECTS = [{"project": "p", "notes": "here"}, {"project": "old", "notes": "gone", "deleted": True}]


@pytest.fixture(params=["everything", "poor"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A store with a living run, a deleted one and a deleted project, and an empty one."""
    claims = {"everything": NOTHING_CHANGES, "poor": POOR}[request.param]
    with stores(NOTHING_CHANGES, claims) as (home, away):
        seed(home, [sample("here"), sample("gone", runs=GONE)], {"projects": PROJECTS})
        yield f"memory:{home}", f"memory:{away}"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def document(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def born(address: str) -> set[str]:
    """The ids at birth of the runs of a store."""
    return {run.key.run_id for run in memory.STORES[address.removeprefix("memory:")].runs.values()}


LOSS = {
    "kind": "deleted runs left out",
    "count": 1,
    "example": "--include-deleted moves them",
}


def test_deleted_runs_and_projects_are_left_out_and_named(pair: tuple[str, str]) -> None:
    assert LOSS in document("plan", *pair)["losses"]
    report = document("migrate", *pair)
    assert report["runs"]["total"] == 1
    assert LOSS in report["losses"]
    assert born(pair[1]) == {"here"}
    assert {row["project"] for row in native(pair[1].removeprefix("memory:"), "projects")} == {"p"}
    found = document("verify", *pair)
    assert found["runs"] == {"total": 1, "equal": 1, "different": 0, "missing": 0}
    assert LOSS in found["losses"]


def test_they_are_moved_with_their_mark_where_that_is_asked_for(pair: tuple[str, str]) -> None:
    assert LOSS not in document("plan", *pair, "--include-deleted")["losses"]
    report = document("migrate", *pair, "--include-deleted")
    assert (report["runs"]["total"], report["verified"]) == (2, True)
    assert LOSS not in report["losses"]
    assert run("verify", *pair, "--include-deleted").exit_code == 0
    assert born(pair[1]) == {"here", "gone"}
    with stores(NOTHING_CHANGES) as [back]:
        assert run("migrate", pair[1], f"memory:{back}", "--include-deleted").exit_code == 0
        assert peek(back) == peek(pair[0].removeprefix("memory:"))


def test_a_deleted_run_that_was_not_moved_is_missing_to_who_asks_for_it(
    pair: tuple[str, str],
) -> None:
    run("migrate", *pair)
    result = run("verify", *pair, "--include-deleted")
    assert result.exit_code == 1
    assert "gone: runs: not in the target" in result.stdout


def test_a_listing_says_how_many_it_does_not_show(pair: tuple[str, str]) -> None:
    result = run("ls", pair[0])
    assert "gone" not in result.stdout
    assert result.stderr == "1 run; not shown: 1 deleted (--include-deleted)\n"
    result = run("ls", pair[0], "--include-deleted")
    assert "finished (deleted)" in result.stdout
    assert result.stderr == "2 runs\n"
    marks = [item["deleted"] for item in document("ls", pair[0], "--include-deleted")["runs"]]
    assert sorted(marks) == [False, True]


@pytest.mark.parametrize("command", ["ls", "migrate", "plan", "verify"])
def test_a_deleted_run_that_is_named_is_an_error_with_the_way_out(
    pair: tuple[str, str], command: str
) -> None:
    stores_of = pair[:1] if command == "ls" else pair
    result = run(command, *stores_of, "--run", "gone")
    assert result.exit_code == 2
    assert "is deleted; --include-deleted means it too" in result.stderr


def test_a_deleted_run_counts_as_left_out_only_if_it_meets_the_expression(
    pair: tuple[str, str],
) -> None:
    assert LOSS in document("plan", *pair, "--where", "run_name = 'gone'")["losses"]
    assert LOSS not in document("plan", *pair, "--where", "run_name != 'gone'")["losses"]


def test_in_python_a_query_means_every_run_unless_it_says_otherwise(pair: tuple[str, str]) -> None:
    assert trackbridge.migrate(*pair, Query(include_deleted=False)).total == 1
    assert trackbridge.migrate(*pair).total == 2
