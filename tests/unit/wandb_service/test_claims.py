"""Aliases of artifacts go to the run that began last, whatever comes when."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest
from unit.wandb_service.conftest import Migrate, killed_before_settling
from wandb_server import Server

from trackbridge.adapter import RunKey, RunRef
from trackbridge.registry import open_reader
from trackbridge.testing import samples
from trackbridge.testing.made import MadeRun

pytest.importorskip("wandb")
BEGUN = {"old": 1, "middle": 2, "young": 3}


def run_of(name: str, *aliases: str, content: str = "", calls: int = 3) -> MadeRun:
    """A run that logged a version of the collection `model`."""
    run = samples.long(name, calls)
    run.key = RunKey("wandb", "", "team/p", name)
    run.tables["runs"][0]["started"] = datetime(2026, 1, BEGUN[name], tzinfo=timezone.utc)
    version = {"collection": "model", "version": "v0", "kind": "model", "direction": "logged"}
    run.tables["artifacts"] = [{**version, "aliases": json.dumps(sorted(aliases))}]
    run.add_file("model:v0", "weights.txt", (content or name).encode())
    return run


def aliases(server: Server, collection: str = "model") -> dict[str, str]:
    """Aliases of a collection, and the run that made the version that has them."""
    members = server.state.projects["team", "p"].collections[collection].members
    found = {alias: each.artifact.created_by.name for each in members for alias in each.aliases}
    return dict(sorted(found.items()))


def by_hand(server: Server, run: str, *names: str) -> None:
    """Somebody gives aliases to the version that a run made."""
    for each in server.state.projects["team", "p"].collections["model"].members:
        if each.artifact.created_by.name == run:
            each.give(list(names))


def given(server: Server) -> Iterator[str]:
    """Aliases that the client has given with versions."""
    for request in server.faults.requests:
        if request.operation == "CreateArtifact":
            for alias in request.variables["input"].get("aliases") or ():
                yield alias["alias"]


def test_an_older_run_that_comes_later_takes_no_alias(server: Server, migrate: Migrate) -> None:
    migrate(run_of("young", "best", "latest"))
    server.faults.forget()
    migrate(run_of("old", "best", "first"))
    assert aliases(server) == {"best": "young", "first": "old", "latest": "young"}
    assert list(given(server)) == ["first"]


def test_an_older_run_that_comes_again_takes_no_alias(server: Server, migrate: Migrate) -> None:
    migrate(run_of("old", "best"), run_of("young", "best"))
    migrate(run_of("old", "best", calls=5))
    assert aliases(server) == {"best": "young", "latest": "young"}


def test_a_younger_run_that_comes_later_takes_its_aliases(server: Server, migrate: Migrate) -> None:
    migrate(run_of("old", "best"))
    migrate(run_of("young", "best"))
    assert aliases(server) == {"best": "young", "latest": "young"}


def test_an_alias_that_its_run_gives_up_goes_to_who_claims_it(
    server: Server, migrate: Migrate
) -> None:
    migrate(run_of("young", "best"), run_of("old"), run_of("middle", "best"))
    migrate(run_of("young", calls=5))
    assert aliases(server)["best"] == "middle"


def test_an_alias_that_nobody_claims_any_more_is_taken_away(
    server: Server, migrate: Migrate
) -> None:
    migrate(run_of("old", "best"), run_of("young"))
    migrate(run_of("old", "good", calls=5))
    assert aliases(server) == {"good": "old", "latest": "young"}


def test_an_alias_that_was_moved_by_hand_stays_though_its_run_gives_it_up(
    server: Server, migrate: Migrate
) -> None:
    migrate(run_of("old"), run_of("middle", "best"), run_of("young", "best", "good"))
    by_hand(server, "old", "best", "good")
    migrate(run_of("young", calls=5))
    assert aliases(server) == {"best": "old", "good": "old", "latest": "young"}


def test_an_alias_that_was_moved_by_hand_stays_where_it_is(
    server: Server, migrate: Migrate
) -> None:
    migrate(run_of("old"), run_of("young", "best"))
    by_hand(server, "old", "best")
    migrate(run_of("young", "best", calls=5))
    migrate(run_of("middle", "best"))
    assert aliases(server)["best"] == "old"


def test_a_run_that_is_replaced_keeps_its_aliases(server: Server, migrate: Migrate) -> None:
    migrate(run_of("young", "best", calls=5))
    migrate(run_of("young", "best", "again"))
    assert set(aliases(server)) == {"again", "best", "latest"}


def test_a_run_that_begins_anew_on_the_way_tells_of_its_versions_once(
    server: Server, migrate: Migrate
) -> None:
    migrate(run_of("old"))
    server.state.projects["team", "p"].deleted.add("young")
    server.faults.forget()
    migrate(run_of("young", "best"))
    assert server.faults.counts()["CreateArtifact"] == 1
    told = server.run("team/p/young-r2").config["trackbridge"]["value"]["artifacts"]
    assert [each["aliases"] for each in told] == [["best"]]
    assert aliases(server) == {"best": "young-r2", "latest": "young-r2"}


def test_aliases_are_settled_by_the_call_after_one_that_was_killed(
    server: Server, migrate: Migrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(run_of("young", "best", "latest"), run_of("middle", "good"))
    runs = (run_of("old", "best", "first"), run_of("young", "latest", calls=5))
    killed_before_settling(monkeypatch, lambda: migrate(*runs))
    assert aliases(server) != {"best": "old", "first": "old", "good": "middle", "latest": "young"}
    migrate(*runs)
    assert aliases(server) == {"best": "old", "first": "old", "good": "middle", "latest": "young"}


def test_a_run_that_is_not_settled_is_not_there_as_a_whole(
    server: Server, migrate: Migrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_before_settling(monkeypatch, lambda: migrate(run_of("old", "best")))
    found = open_reader(f"wandb:{server.address}/team/p").read_runs([RunRef("team/p", "old")])
    [row] = [row for batch in found if batch.table == "runs" for row in batch.data.to_pylist()]
    assert "its upload was broken off" in row["extra"]
    migrate(run_of("old", "best"))
    assert "settling" not in server.run("team/p/old").config["trackbridge"]["value"]


def test_what_others_claim_costs_no_request_for_each_run(server: Server, migrate: Migrate) -> None:
    migrate(*(run_of(name, "best") for name in BEGUN))
    requests = []
    for names, calls in ((["middle"], 5), (list(BEGUN), 6)):
        server.faults.forget()
        migrate(*(run_of(name, "best", calls=calls) for name in names))
        requests.append(server.faults.counts())
    one, every = requests
    assert one["TrackbridgeShared"] == every["TrackbridgeShared"] > 0
    assert every["TrackbridgeVersions"] == every["TrackbridgeAddAliases"] == 0
