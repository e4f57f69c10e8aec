"""What belongs to no run: projects, sweeps, reports, registered versions."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from unit.wandb_server.test_pages import ask
from wandb_server import Server, operations, registries, reports, started, sweeps
from wandb_server.client import script
from wandb_server.faults import How
from wandb_server.graphql import Refused

import trackbridge
from trackbridge.adapter import Query, Row
from trackbridge.testing.base import rows_of
from trackbridge_adapters.wandb.service import ADAPTER

SEED = """
import pathlib
wandb.Api().create_project("p", "team")
sweep = wandb.sweep({"name": "lr", "method": "grid", "parameters": {"lr": {"values": [1, 2]}}},
                    project="p")
def train():
    with wandb.init() as run:
        run.log({"loss": run.config.lr})
wandb.agent(sweep, train, project="p")
with wandb.init(project="q", id="q1") as run:
    run.log({"x": 1})
for number in range(2):
    pathlib.Path("m.bin").write_text(f"m{number}")
    with wandb.init(project="p", id=f"r{number}") as run:
        artifact = wandb.Artifact("m", "model", description="d", metadata={"acc": number})
        artifact.add_file("m.bin")
        run.log_artifact(artifact).wait()
        artifact.tags = ["checked"]
        artifact.save()
        run.link_artifact(artifact, "wandb-registry-model/Best", aliases=[f"try{number}", "prod"])
        run.link_artifact(artifact, "team/model-registry/Old")
result = sweep
"""
SAVE = """
mutation upsertView($type: String!, $name: String!, $spec: String!) {
  upsertView(input: {entityName: "team", projectName: "p", type: $type, name: $name,
                     displayName: $name, spec: $spec}) { view { id } inserted }
}"""
DESCRIBE = """
mutation UpsertModel($input: UpsertModelInput!) { upsertModel(input: $input) { inserted } }"""
SPEC = '{"blocks": [{"type": "heading"}], "width": 1.50}'


EVERYTHING = Query()


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server with something of everything, and the id of its sweep."""
    pytest.importorskip("wandb")
    with started(tmp_path_factory.mktemp("server")) as server:
        sweep = script(server, SEED)
        ask(server, DESCRIBE, input={"entityName": "team", "name": "p", "description": "about p"})
        for kind, name in (
            ("runs", "why"),
            ("runs/draft", "why not"),
            ("project-view", "mine"),
            ("project-view", "yours"),
        ):
            ask(server, SAVE, type=kind, name=name, spec=SPEC)
        server.state.projects["team", "p"].automations.append("a1")
        yield server, sweep


@pytest.fixture(autouse=True)
def _logged_in(seeded: tuple[Server, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", seeded[0].user.key)


def read(server: Server, place: str, query: Query = EVERYTHING) -> Mapping[str, list[Row]]:
    reader = ADAPTER.reader(f"{server.address}/{place}", {})
    return rows_of(reader.read_shared(query))


def test_a_project_is_read_with_its_description(seeded: tuple[Server, str]) -> None:
    server, _ = seeded
    [row] = read(server, "team/p")["projects"]
    project = server.state.projects["team", "p"]
    assert (row["project"], row["notes"]) == ("team/p", "about p")
    assert row["project_id"] == project.id
    assert row["created"].isoformat().startswith(project.created_at[:19])
    assert row["source"] == f"{server.address}/team/p"
    assert json.loads(row["extra"]) == {
        "access": "PRIVATE",
        "not_read": {"automations": 1, "drafts of reports": 1, "saved workspaces": 2},
    }


def test_a_sweep_is_read_whole(seeded: tuple[Server, str]) -> None:
    server, sweep = seeded
    [row] = read(server, "team/p")["sweeps"]
    assert (row["project"], row["sweep_id"], row["name"]) == ("team/p", sweep, "lr")
    definition = json.loads(row["definition"])
    assert definition["config"] == server.state.projects["team", "p"].sweeps[sweep].config
    assert (definition["state"], definition["method"]) == ("FINISHED", "grid")
    assert definition["runCount"] == 2


def test_reports_are_read_with_their_specs(seeded: tuple[Server, str]) -> None:
    [row] = read(seeded[0], "team/p")["reports"]
    definition = json.loads(row["definition"])
    assert (row["project"], row["title"]) == ("team/p", "why")
    assert row["report_id"] == definition["id"]
    assert (definition["spec"], definition["user"]["username"]) == (SPEC, "tester")


def test_what_is_linked_to_registries_is_read_by_the_runs_that_made_it(
    seeded: tuple[Server, str],
) -> None:
    found = read(seeded[0], "team/p")
    models = {row["name"]: row for row in found["models"]}
    assert models.keys() == {"wandb-registry-model.Best", "model-registry.Old"}
    best = models["wandb-registry-model.Best"]
    assert json.loads(best["aliases"]) == {"try0": "v0", "try1": "v1", "prod": "v1"}
    assert json.loads(best["extra"]) == {
        "kind": "model",
        "collection": "organization-org/wandb-registry-model/Best",
    }
    assert models["model-registry.Old"]["aliases"] is None
    versions = [row for row in found["model_versions"] if row["name"] == best["name"]]
    assert [(row["version"], row["run_id"]) for row in versions] == [("v0", "r0"), ("v1", "r1")]
    last = versions[-1]
    assert (last["source"], last["status"], last["description"]) == ("team/p/m:v1", "READY", "d")
    assert json.loads(last["tags"]) == {"checked": ""}
    extra = json.loads(last["extra"])
    assert (extra["artifact"], extra["aliases"]) == ("team/p/m:v1", ["latest", "prod", "try1"])
    assert "metadata" not in extra


def test_only_what_is_meant_is_read(seeded: tuple[Server, str]) -> None:
    server, _ = seeded
    every = read(server, "team")
    assert [row["project"] for row in every["projects"]] == [
        "team/p",
        "team/q",
        "team/model-registry",
    ]
    for query in (Query(projects=["team/q"]), Query(run_ids=["q1"])):
        found = read(server, "team", query)
        assert {table for table, rows in found.items() if rows} == {"projects"}
        assert [row["project"] for row in found["projects"]] == ["team/q"]
    found = read(server, "team", Query(run_ids=["r1"]))
    assert [row["project"] for row in found["projects"]] == ["team/p"]
    assert found["model_versions"] == every["model_versions"]


@pytest.mark.parametrize("place", ["team", "team/p"])
def test_all_projects_cost_a_handful_of_requests(seeded: tuple[Server, str], place: str) -> None:
    server, _ = seeded
    reader = ADAPTER.reader(f"{server.address}/{place}", {})
    for requests in (5, 2):  # what is registered is asked for once
        server.faults.forget()
        rows_of(reader.read_shared(EVERYTHING))
        assert server.faults.counts() == {"TrackbridgeShared": requests}


def test_pages_of_everything_are_followed(
    seeded: tuple[Server, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from trackbridge_adapters.wandb.service import shared_pages

    whole = read(seeded[0], "team")
    for size in ("NESTED", "AT_ONCE"):
        monkeypatch.setattr(shared_pages, size, 1)
    assert read(seeded[0], "team") == whole


def without(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, field: str) -> None:
    """Makes a server whose nodes of a kind have no such field."""
    known = getattr(module, name)

    def node(*given: Any) -> dict[str, Any]:
        return {key: value for key, value in known(*given).items() if key != field}

    monkeypatch.setattr(module, name, node)


@pytest.mark.parametrize("place", ["team", "team/p"])
@pytest.mark.parametrize(
    ("field", "table", "lost"),
    [
        ("sweeps", "sweeps", "sweeps that this server does not list"),
        ("allViews", "reports", "reports that this server does not list"),
        ("triggers", None, None),
        ("access", None, None),
    ],
)
def test_what_a_server_does_not_know_is_named_and_the_rest_is_read(
    seeded: tuple[Server, str],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    field: str,
    table: str | None,
    lost: str | None,
) -> None:
    whole = dict(read(seeded[0], place))
    without(monkeypatch, operations, "_project", field)
    found = dict(read(seeded[0], place))
    rows, known = found.pop("projects"), whole.pop("projects")
    whole.pop(table or "", None)
    assert found == whole
    for row in rows:
        left = json.loads(row["extra"] or "{}").get("not_read", {})
        assert left.get(lost) == (1 if lost else None)
    assert [{**row, "extra": None} for row in rows] == [{**row, "extra": None} for row in known]


@pytest.mark.parametrize("field", ["artifactCollections", "artifactMemberships"])
def test_a_server_that_knows_no_portfolios_of_teams_tells_of_registries(
    seeded: tuple[Server, str], monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    without(monkeypatch, operations, "_entity", field)
    found = read(seeded[0], "team/p")
    assert [row["name"] for row in found["models"]] == ["wandb-registry-model.Best"]
    left = json.loads(found["projects"][0]["extra"])["not_read"]
    assert left["registered versions that this server does not list"] == 1


def test_a_server_that_gives_less_at_once_is_asked_for_less(
    seeded: tuple[Server, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read(seeded[0], "team")
    known = operations.connection

    def limited(items: Any, show: Any, after: Any = None, first: Any = None) -> Any:
        if (first or 0) > 2:
            raise Refused("at most 2 at once")
        return known(items, show, after, first)

    monkeypatch.setattr(operations, "connection", limited)
    assert read(seeded[0], "team") == whole


def test_what_a_key_may_not_see_is_named(
    seeded: tuple[Server, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(**_: Any) -> None:
        raise Refused("permission denied", 403)

    known = operations._project
    monkeypatch.setattr(operations, "_project", lambda *given: known(*given) | {"triggers": denied})
    monkeypatch.setattr(registries, "organization", lambda state, name: {"orgEntity": denied})
    found = read(seeded[0], "team")
    assert [row["name"] for row in found["models"]] == ["model-registry.Old"]
    for row in found["projects"]:
        left = json.loads(row["extra"])["not_read"]
        assert left["automations that this API key may not see"] == 1
        assert left["registered versions that this API key may not see"] == 1


def test_a_server_that_says_no_to_what_is_not_there_is_understood(
    seeded: tuple[Server, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read(seeded[0], "team")
    known = operations._queries

    def root(*given: Any) -> dict[str, Any]:
        found = known(*given)

        def project(**names: Any) -> Any:
            node = found["project"](**names)
            if node is None:
                raise Refused("project not found", 404)
            return node

        return found | {"project": project}

    monkeypatch.setattr(operations, "_queries", root)
    assert read(seeded[0], "team") == whole
    assert read(seeded[0], "team/nowhere") == {}


@pytest.mark.parametrize(
    ("module", "field"), [(sweeps, "runCountExpected"), (reports, "createdAt")]
)
def test_older_servers_are_asked_for_what_they_know(
    seeded: tuple[Server, str], monkeypatch: pytest.MonkeyPatch, module: ModuleType, field: str
) -> None:
    without(monkeypatch, module, "node", field)
    found = read(seeded[0], "team/p")
    assert len(found["sweeps"]) == len(found["reports"]) == 1


@pytest.mark.parametrize(
    "between", ["archive:{}/archive", "mlflow:sqlite:///{}/m.db", "mlflow:{}/mlruns"]
)
def test_everything_goes_through_other_stores_into_another_team(
    seeded: tuple[Server, str], tmp_path: Path, between: str
) -> None:
    if between.startswith("mlflow"):
        pytest.importorskip("mlflow")
    server, _ = seeded
    server.add_entity(tmp_path.name)
    way = [
        f"wandb:{server.address}/team",
        between.format(tmp_path),
        f"wandb:{server.address}/{tmp_path.name}",
    ]
    for source, target in itertools.pairwise(way):
        assert trackbridge.migrate(source, target).failures == []
        again = trackbridge.migrate(source, target)
        assert (again.failures, again.copied, again.updated) == ([], 0, 0)
    for source, target in itertools.combinations(way, 2):
        found = trackbridge.verify(source, target)
        assert found.holds, found.differences
    project = server.state.projects[tmp_path.name, "p"]
    assert (project.description, len(project.runs)) == ("about p", 4)


def test_a_description_that_was_there_stays(seeded: tuple[Server, str], tmp_path: Path) -> None:
    server, _ = seeded
    name = tmp_path.name
    server.add_entity(name)
    ask(server, DESCRIBE, input={"entityName": name, "name": "p", "description": "theirs"})
    source, target = f"wandb:{server.address}/team/p", f"wandb:{server.address}/{name}/p"
    for _ in range(2):
        report = trackbridge.migrate(source, target)
        assert report.failures == []
    assert server.state.projects[name, "p"].description == "theirs"
    assert trackbridge.verify(source, target).holds


def test_notes_are_brought_up_to_date_and_taken_back(
    seeded: tuple[Server, str], tmp_path: Path
) -> None:
    server, _ = seeded
    server.add_entity(tmp_path.name)
    target = f"wandb:{server.address}/{tmp_path.name}"
    home = f"wandb:{server.address}/team/q"
    for notes in ("one", "", "two", ""):
        ask(server, DESCRIBE, input={"entityName": "team", "name": "q", "description": notes})
        assert trackbridge.migrate(home, target).failures == []
        assert server.state.projects[tmp_path.name, "q"].description == notes
        assert trackbridge.verify(home, target).holds


@pytest.mark.parametrize("operation", ["TrackbridgeDescribe", "TrackbridgeChangeRun"])
@pytest.mark.parametrize("how", ["drop", "lose"])
def test_a_request_that_is_lost_leaves_nothing_half_written(
    seeded: tuple[Server, str], tmp_path: Path, operation: str, how: How
) -> None:
    server, _ = seeded
    server.add_entity(tmp_path.name)
    source, target = f"wandb:{server.address}/team/p", f"wandb:{server.address}/{tmp_path.name}"
    server.faults.fail(operation, how, skip=1 if operation == "TrackbridgeChangeRun" else 0)
    assert trackbridge.migrate(source, target, Query(run_ids=["r0"])).failures == []
    assert server.state.projects[tmp_path.name, "p"].description == "about p"
    assert trackbridge.verify(source, target, Query(run_ids=["r0"])).holds
