"""What was deleted at the source since it was moved is named, and left alone in the target."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from unit.core.samples import POOR, sample
from unit.core.stores import NOTHING_CHANGES, native, seed, stores

from trackbridge.cli import main
from trackbridge_adapters import memory

WHOLE = [{"owner": "", "path": "a/b.txt"}]
"""No files but one that has its bytes: of others a strict call would say so."""
MODELS = {
    "models": [{"name": "m", "description": "a model"}, {"name": "n", "description": "another"}]
}


@pytest.fixture(params=["everything", "poor"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A store with three runs and two models, and another one that they were moved to."""
    claims = {"everything": NOTHING_CHANGES, "poor": POOR}[request.param]
    with stores(NOTHING_CHANGES, claims) as (home, away):
        runs = [("a", "p"), ("b", "p"), ("c", "q")]
        seed(home, [sample(name, project=place, files=WHOLE) for name, place in runs], MODELS)
        assert run("migrate", f"memory:{home}", f"memory:{away}").exit_code == 0
        yield f"memory:{home}", f"memory:{away}"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def gone(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["gone"]


def delete(address: str, *run_ids: str) -> None:
    contents = memory.STORES[address.removeprefix("memory:")]
    for ref in [ref for ref, made in contents.runs.items() if made.key.run_id in run_ids]:
        del contents.runs[ref]


def mark(address: str, run_id: str) -> None:
    row = {"name": f"name of {run_id}", "status": "finished", "deleted": True}
    seed(address.removeprefix("memory:"), [sample(run_id, runs=[row])])


def names(*runs: str) -> dict[str, Any]:
    called = {name: f"name of {name[-1]}" for name in runs}
    return {"kind": "runs", "names": list(runs), "marked": False, "called": called}


@pytest.mark.parametrize("command", ["migrate", "verify"])
def test_runs_that_are_not_at_the_source_any_more_are_named(
    pair: tuple[str, str], command: str
) -> None:
    assert gone(command, *pair) == []
    delete(pair[0], "a", "c")
    assert gone(command, *pair) == [names("p/x//p/a", "q/x//q/c")]
    assert (
        f"not found at the source any more: 2 runs in {pair[1]} that came from this source: "
        "p/x//p/a (name of a), q/x//q/c (name of c); left alone: remove yourself what is not "
        "wanted in the target either\n"
    ) in run(command, *pair).stdout
    assert len(native(pair[1].removeprefix("memory:"), "runs")) == 3
    delete(pair[1], "a", "c")
    assert gone(command, *pair) == []


@pytest.mark.parametrize("command", ["migrate", "verify"])
def test_only_a_strict_call_fails_for_them(pair: tuple[str, str], command: str) -> None:
    assert run(command, *pair, "--strict").exit_code == 0
    delete(pair[0], "a")
    assert run(command, *pair).exit_code == 0
    result = run(command, *pair, "--strict")
    assert result.exit_code == 1
    assert "strict: what is gone in the source makes the exit code 1" in result.stderr


@pytest.mark.parametrize("command", ["migrate", "verify"])
def test_nothing_is_claimed_of_what_was_not_asked_for(pair: tuple[str, str], command: str) -> None:
    delete(pair[0], "a")
    assert gone(command, *pair, "--project", "q") == []
    assert gone(command, *pair, "--run", "b") == []
    assert gone(command, *pair, "--since", "2020-01-01") == []
    assert gone(command, *pair, "--where", "run_name = 'name of b'") == []
    assert gone(command, *pair, "--project", "p") == [names("p/x//p/a")]
    assert gone(command, *pair, "--include-deleted") == [names("p/x//p/a")]


@pytest.mark.parametrize("command", ["migrate", "verify"])
def test_nothing_is_claimed_of_what_came_from_elsewhere(
    pair: tuple[str, str], command: str
) -> None:
    with stores(NOTHING_CHANGES) as [other]:
        seed(other, [sample("d")], {"models": [{"name": "o", "description": "theirs"}]})
        assert gone("migrate", f"memory:{other}", pair[1]) == []
        assert gone(command, f"memory:{other}", pair[1]) == []
        assert gone(command, *pair) == []


@pytest.mark.parametrize("command", ["migrate", "verify"])
def test_runs_that_were_marked_as_deleted_since_are_told_from_those(
    pair: tuple[str, str], command: str
) -> None:
    mark(pair[0], "a")
    marked = {**names("p/x//p/a"), "marked": True}
    assert gone(command, *pair) == [marked]
    assert (
        f"marked as deleted at the source: 1 run in {pair[1]} that came from this source: "
        "p/x//p/a (name of a);"
    ) in run(command, *pair).stdout
    assert gone(command, *pair, "--where", "run_name = 'name of a'") == [marked]
    assert gone(command, *pair, "--where", "run_name = 'name of b'") == []
    assert gone("migrate", *pair, "--include-deleted") == []
    if "deleted" in memory.STORES[pair[1].removeprefix("memory:")].capabilities.holds["runs"]:
        assert gone(command, *pair) == []


@pytest.mark.parametrize("command", ["migrate", "verify"])
def test_models_that_are_not_at_the_source_any_more_are_named(
    pair: tuple[str, str], command: str
) -> None:
    del memory.STORES[pair[0].removeprefix("memory:")].shared["models"]["m",]
    expected = [{"kind": "models", "names": ["m"], "marked": False, "called": {}}]
    assert gone(command, *pair) == expected
    assert gone(command, *pair) == expected
    assert gone(command, *pair, "--project", "p") == []
    del memory.STORES[pair[1].removeprefix("memory:")].shared["models"]["m",]
    assert gone(command, *pair) == []


@pytest.mark.parametrize("command", ["migrate", "verify"])
def test_models_that_others_made_in_the_target_are_not(command: str) -> None:
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, [sample()], MODELS)
        seed(away, [], {"models": [{"name": "m", "description": "theirs"}]})
        gone("migrate", f"memory:{home}", f"memory:{away}")
        memory.STORES[home].shared["models"].clear()
        expected = [{"kind": "models", "names": ["n"], "marked": False, "called": {}}]
        assert gone(command, f"memory:{home}", f"memory:{away}") == expected


def test_a_run_whose_project_was_renamed_at_the_source_is_there_still(
    pair: tuple[str, str],
) -> None:
    delete(pair[0], "c")
    seed(pair[0].removeprefix("memory:"), [sample("c", project="new")])
    assert json.loads(run("verify", *pair, "--json").stdout)["gone"] == []


@pytest.mark.parametrize("command", ["migrate", "verify"])
def test_a_project_that_is_to_have_another_name_than_it_got_is_there_still(command: str) -> None:
    projects = [{"project": name, "notes": "n"} for name in ("p", "q")]
    sweeps = [{"project": "p", "sweep_id": "s", "name": "a sweep"}]
    with stores(NOTHING_CHANGES, NOTHING_CHANGES) as (home, away):
        tables = {"projects": projects, "sweeps": sweeps}
        seed(home, [sample("a"), sample("b", project="q")], tables)
        pair = f"memory:{home}", f"memory:{away}"
        assert gone("migrate", *pair, "--rename-project", "p=x") == []
        result = run(command, *pair, "--rename-project", "p=y", "--json")
        assert json.loads(result.stdout)["gone"] == []
        shared = memory.STORES[home].shared
        assert shared["sweeps"].pop(("p", "s"))
        result = run(command, *pair, "--rename-project", "p=y", "--json")
        [found] = json.loads(result.stdout)["gone"]
        assert found["names"] == (["x s", "y s"] if command == "migrate" else ["x s"])


def test_examples_end_where_a_line_gets_long(pair: tuple[str, str]) -> None:
    home = pair[0].removeprefix("memory:")
    seed(home, [sample(name) for name in "efgh"])
    assert gone("migrate", *pair) == []
    delete(pair[0], *"efgh")
    assert "4 runs in " in (shown := run("verify", *pair).stdout)
    assert "p/x//p/e (name of e), p/x//p/f (name of f), p/x//p/g (name of g), ...; left" in shown
