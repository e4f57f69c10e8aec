"""Versions that a run used are linked in the target, as far as they are there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from unit.wandb_service.conftest import Migrate, killed_before_settling
from wandb_server import Server, runs
from wandb_server.client import script

import trackbridge
from trackbridge.adapter import RunKey
from trackbridge.registry import open_writer
from trackbridge.testing import samples
from trackbridge.testing.made import MadeRun, store
from trackbridge_adapters.wandb.service.claims import Claims, Told
from trackbridge_adapters.wandb.service.identity import Version

pytest.importorskip("wandb")
SOURCE = """
import pathlib
pathlib.Path("data.txt").write_text("data")
with wandb.init(project="raw", id="maker") as run:
    artifact = wandb.Artifact("data", "dataset")
    artifact.add_file("data.txt")
    artifact.add_reference("https://example.com/more", "more", checksum=False)
    run.log_artifact(artifact).wait()
for project, name in (("raw", "at-home"), ("trained", "elsewhere")):
    with wandb.init(project=project, id=name) as run:
        run.use_artifact("team/raw/data:latest")
        run.log({"loss": 1})
"""


DATA = "3020e921b90c44ba0a3dae6139ed87fa"
"""Digest of a version with a file `data.txt` in which stands `data`."""
MORE = "7bd10e7b710190a607d0e4e4b9a9e1aa"
"""Of one in which stands `more`."""


def logs(run_id: str, content: str = "data", calls: int = 3) -> MadeRun:
    """A run that logged a version of the collection `data`."""
    run = samples.long(run_id, calls)
    run.key = RunKey("wandb", "", "team/p", run_id)
    run.tables["artifacts"] = [
        {"collection": "data", "version": "v0", "kind": "dataset", "direction": "logged"}
    ]
    run.add_file("data:v0", "data.txt", content.encode())
    return run


def uses(run_id: str, digest: str, project: str = "team/p") -> MadeRun:
    run = samples.long(run_id, 3)
    run.key = RunKey("wandb", "", project, run_id)
    run.tables["inputs"] = [
        {"name": "data:v7", "digest": digest, "kind": "dataset", "source": "team/p/data:v7"},
        {"name": "gone:v0", "digest": "abc", "kind": "dataset", "source": "team/p/gone:v0"},
        {"name": "none", "source": "somewhere"},
    ]
    return run


def used(server: Server, run: str) -> list[str]:
    return [f"{each.sequence.name}:v{each.version}" for each in server.run(run).used]


def test_a_version_that_came_before_is_linked(server: Server, migrate: Migrate) -> None:
    migrate(logs("maker"))
    [version] = server.state.projects["team", "p"].collections["data"].members
    assert version.artifact.digest == DATA
    migrate(uses("user", DATA))
    assert used(server, "team/p/user") == ["data:v0"]
    origin = server.run("team/p/user").config["trackbridge"]["value"]
    assert origin["inputs"] == [
        {"collection": "data", "digest": DATA},
        {"collection": "gone", "digest": "abc"},
    ]
    server.faults.forget()
    migrate(uses("user", DATA))
    assert server.faults.counts()["TrackbridgeUseArtifact"] == 0


def test_inputs_that_can_be_linked_are_told_from_those_that_cannot(migrate: Migrate) -> None:
    migrate(logs("maker"))
    losses = {loss.kind: loss for loss in migrate(uses("user", DATA)).losses}
    linked = losses["inputs shown only where their version is in the target"]
    assert (linked.count, linked.example) == (2, "user: data:v7")
    hidden = losses["inputs not shown"]
    assert (hidden.count, hidden.example) == (1, "none")


def test_a_version_that_comes_later_is_linked(server: Server, migrate: Migrate) -> None:
    migrate(uses("user", DATA), uses("other", DATA))
    server.faults.forget()
    migrate(logs("maker"))
    assert used(server, "team/p/user") == used(server, "team/p/other") == ["data:v0"]
    assert server.faults.counts()["TrackbridgeUseArtifact"] == 2
    migrate(logs("maker", calls=5))
    assert server.faults.counts()["TrackbridgeUseArtifact"] == 2


def test_a_run_that_was_deleted_meanwhile_stops_no_other(
    server: Server, migrate: Migrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(uses("user", DATA), uses("other", DATA))
    usual = Claims.users

    def deleted(*given: Any) -> Iterator[tuple[Told, Version]]:
        runs.delete(server.state, server.user, server.run("team/p/user").id)
        return usual(*given)

    monkeypatch.setattr(Claims, "users", deleted)
    store(open_writer("memory:makers"), [logs("maker")])
    assert trackbridge.migrate("memory:makers", f"wandb:{server.address}/team/p").verified
    assert used(server, "team/p/other") == ["data:v0"]


def test_what_was_used_is_linked_by_the_call_after_one_that_was_killed(
    server: Server, migrate: Migrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(logs("maker"), uses("early", MORE))
    brought = uses("user", DATA), logs("other", "more")
    killed_before_settling(monkeypatch, lambda: migrate(*brought))
    assert used(server, "team/p/user") == used(server, "team/p/early") == []
    migrate(*brought)
    assert used(server, "team/p/user") == ["data:v0"]
    assert used(server, "team/p/early") == ["data:v1"]


def test_what_a_run_has_logged_itself_is_not_linked(server: Server, migrate: Migrate) -> None:
    migrate(logs("maker"))
    run = logs("maker", calls=5)
    run.tables["inputs"] = uses("user", DATA).tables["inputs"]
    migrate(run)
    assert used(server, "team/p/maker") == []


def test_a_run_that_is_replaced_uses_what_it_has_logged(server: Server, migrate: Migrate) -> None:
    """A version belongs to the run that made it, for which there is no request to change it."""
    migrate(logs("maker", calls=5))
    migrate(logs("maker"))
    assert used(server, "team/p/maker-r2") == ["data:v0"]


@pytest.mark.parametrize("together", [True, False])
def test_a_version_of_a_project_with_another_name_is_linked(
    server: Server, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    server.add_entity("copy")
    source, target = f"memory:renamed-{together}", f"wandb:{server.address}/copy"
    runs = [logs("maker"), uses("user", DATA, "team/trained")]
    store(open_writer(source), runs if together else runs[:1])
    renames = {"team/p": "copy/other"}
    assert trackbridge.migrate(source, target, renames=renames).verified
    if not together:
        store(open_writer(f"{source}-more"), runs[1:])
        assert trackbridge.migrate(f"{source}-more", target).verified
    [artifact] = server.run("copy/trained/user").used
    assert artifact.sequence.project is server.state.projects["copy", "other"]


def test_lineage_of_a_server_is_that_of_its_copy(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    script(server, SOURCE)
    server.add_entity("copy")
    for _ in range(2):
        report = trackbridge.migrate(f"wandb:{server.address}/team", f"wandb:{server.address}/copy")
        assert report.verified
        assert trackbridge.verify(
            f"wandb:{server.address}/team", f"wandb:{server.address}/copy"
        ).holds
    for run in ("raw/at-home", "trained/elsewhere"):
        [artifact] = server.run(f"copy/{run}").used
        assert artifact.sequence.project is server.state.projects["copy", "raw"]
