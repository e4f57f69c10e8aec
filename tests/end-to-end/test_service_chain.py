"""Runs go through a W&B server on their way over all kinds of stores, and come out as they were.

Histories are read live first; then they are exported, as a server does with finished runs, and
nothing may have changed by that.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import rich_project
import wandb_asked
from wandb_server import Server, started
from wandb_server.client import script

import trackbridge
from trackbridge.adapter import Query
from trackbridge.proof import Comparison
from trackbridge.registry import open_reader
from trackbridge_adapters.mlflow import empty

pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).parents[2] / "fixtures"
OLDEST, *BETWEEN, NEWEST = sorted(
    path.relative_to(FIXTURES).as_posix() for path in FIXTURES.glob("wandb-*/wandb")
)
STORES = [
    *(OLDEST, NEWEST, "mlflow-3.17/mlflow.db"),
    *(pytest.param(each, marks=pytest.mark.nightly) for each in (*BETWEEN, "mlflow-3.17/mlruns")),
]
BORN = "runs that were logged to the server"
STEPS = ["service", "archive", "MLflow", "service again"]
"""The way of run folders and MLflow's stores; what is on a server already begins behind it."""
LACKING = {"traces"}
"""What no W&B server holds: where the origin has them, the report of the first step says so."""
CLIENTS = ("config.yaml", "output.log", "wandb-summary.json")
"""Files that the client writes anew; the run's own are in a folder."""
UNLIKE = "odd"
"""A run of which Api shows some values in another way, as the manual says."""


@dataclass
class Step:
    """One migration on the way, and what was found out about it."""

    report: trackbridge.Report
    again: trackbridge.Report
    neighbours: Comparison
    whole: Comparison
    """With the store where it all began."""


@dataclass
class Chain:
    origin: str
    server: Server
    stores: dict[str, str]
    steps: dict[str, Step]


@contextmanager
def place(folder: Path, create: Callable[[Path, str], None]) -> Iterator[Server]:
    """A server, receipts and folders of a client, all of one chain."""
    with pytest.MonkeyPatch.context() as patch, started(folder / "server") as server:
        patch.setattr(empty, "create", create)
        patch.setenv("TRACKBRIDGE_STATE", str(folder / "state"))
        patch.setenv("HOME", str(folder / "home"))
        patch.setenv("WANDB_BASE_URL", server.address)
        patch.setenv("WANDB_API_KEY", server.user.key)
        for name in ("second", "third"):
            server.add_entity(name)
        yield server


def moved(stores: dict[str, str]) -> dict[str, Step]:
    """From the first store to all others in turn."""
    origin, *names = stores
    return {
        name: _step(stores[origin], stores[before], stores[name])
        for before, name in zip([origin, *names], names)
    }


def _step(origin: str, source: str, target: str) -> Step:
    report, again = (trackbridge.migrate(source, target) for _ in range(2))
    neighbours = trackbridge.verify(source, target)
    return Step(report, again, neighbours, trackbridge.verify(origin, target))


@pytest.fixture(scope="module", params=[*STORES, BORN])
def chain(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Callable[[Path, str], None],
) -> Iterator[Chain]:
    """Everything is moved once; the server goes on to run for the tests."""
    folder = tmp_path_factory.mktemp("chain")
    with place(folder, empty_database) as server:
        origin = str(FIXTURES / request.param)
        if request.param == BORN:
            origin = "wandb:team"
            log(server, folder)
        stores = {
            "origin": origin,
            "service": "wandb:third" if request.param == BORN else "wandb:team",
            "archive": f"archive:{folder}/archive",
            "MLflow": f"mlflow:sqlite:///{folder}/mlflow/mlflow.db",
            "service again": "wandb:second",
        }
        yield Chain(request.param, server, stores, moved(stores))


def log(server: Server, folder: Path) -> None:
    """Runs of every kind; one of them is still running."""
    (folder / "inputs").mkdir()
    done = subprocess.run(
        [sys.executable, rich_project.__file__, str(folder / "inputs")],
        env=wandb_asked.environment(server.environment()),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    running = server.run(f"team/{rich_project.PROJECT}/resumed")
    running.state, running.exit_code = "running", None


@pytest.mark.parametrize("name", STEPS)
def test_every_run_arrives_and_is_equal_to_the_origin(chain: Chain, name: str) -> None:
    step = chain.steps[name]
    assert step.report.failures == []
    assert step.report.verified
    assert step.report.copied == step.report.total >= 11
    assert step.neighbours.differences == []
    assert step.neighbours.equal == step.neighbours.total == step.report.total
    assert {d for d in step.whole.differences if d.table not in LACKING} == set()
    assert step.whole.series == step.whole.series_equal > 20


@pytest.mark.parametrize("name", STEPS)
def test_what_is_not_held_was_named_at_the_first_step(chain: Chain, name: str) -> None:
    lost = [loss for loss in chain.steps[name].report.losses if not loss.kept]
    named = {loss.kind for loss in lost}
    assert named <= ({"traces not moved"} if name == "service" else set())


@pytest.mark.parametrize("name", STEPS)
def test_a_second_migration_skips_everything(chain: Chain, name: str) -> None:
    again = chain.steps[name].again
    assert (again.copied, again.updated, again.skipped) == (0, 0, again.total)
    assert again.failures == []


def test_an_export_of_the_histories_changes_nothing(chain: Chain, tmp_path: Path) -> None:
    server, stores = chain.server, chain.stores
    before = trackbridge.migrate(stores["service"], f"archive:{tmp_path}/live")
    for project in server.state.projects.values():
        for run in project.runs.values():
            run.exported = len(run.history)
    exported = f"archive:{tmp_path}/exported"
    after = trackbridge.migrate(stores["service"], exported)
    assert after.verified
    assert (after.points, after.files, after.damage) == (before.points, before.files, before.damage)
    assert trackbridge.verify(stores["origin"], exported).series_equal == (
        chain.steps["service"].whole.series_equal
    )
    for source, target in (("service", "archive"), ("MLflow", "service again")):
        assert trackbridge.verify(stores[source], stores[target]).holds
        assert trackbridge.migrate(stores[source], stores[target]).skipped == after.total
    assert trackbridge.verify(f"archive:{tmp_path}/live", exported).holds


@pytest.mark.parametrize("chain", [BORN], indirect=True)
@pytest.mark.parametrize("entity", ["third", "second"])
def test_the_client_shows_in_the_target_what_it_showed_at_the_origin(
    chain: Chain, entity: str
) -> None:
    there = chain.server.environment()
    origin, target = (wandb_asked.answers(name, there) for name in ("team", entity))
    target.pop("trackbridge/trackbridge-store", None)
    assert target.keys() == origin.keys()
    for name in origin:
        assert files_of(target[name]) == files_of(origin[name]), name
        assert target[name]["used"] == origin[name]["used"]
        assert target[name].pop("state") in ("failed", origin[name].pop("state"))
        if not name.endswith(UNLIKE):
            assert shown(target[name]) == shown(origin[name])


def files_of(run: dict[str, Any]) -> dict[str, str]:
    """Digests of a run's own files, and of its artifacts', by their paths."""
    own = {path: digest for path, digest in run["files"].items() if path not in CLIENTS}
    if "trackbridge" in run["config"]:
        own.pop("trackbridge/sidecar.zip", None)
        own = {path.removeprefix("original/"): digest for path, digest in own.items()}
    else:
        own |= {path: run["files"][path] for path in CLIENTS if path in run["files"]}
    of_artifacts = {
        f"{artifact}: {path}": digest
        for artifact, told in run["logged"].items()
        for path, digest in told["files"].items()
    }
    return own | of_artifacts


def shown(run: dict[str, Any]) -> dict[str, Any]:
    """What Api says of a run, without what is the client's or ours."""
    config = {key: value for key, value in run["config"].items() if key != "trackbridge"}
    summary = {key: value for key, value in run["summary"].items() if key != "_wandb"}
    samples = [json.loads(text) for text in run["samples"]]
    rows, samples = ([in_micros(row) for row in stream] for stream in (run["rows"], samples))
    for row in samples:
        del row["_runtime"]  # it is reckoned anew, to the microsecond of the start
    kept = {key: value for key, value in run.items() if key not in ("files", "used", "state")}
    return {**kept, "config": config, "summary": summary, "rows": rows, "samples": samples}


def in_micros(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "_timestamp": round(float(row["_timestamp"]) * 1e6)}


@pytest.mark.parametrize("chain", [BORN], indirect=True)
def test_integers_that_no_double_stands_for_are_read_as_they_are(chain: Chain) -> None:
    reader = open_reader(chain.stores["origin"])
    ref = next(i.ref for i in reader.list_runs(Query()) if i.ref.run_id == "odd")
    found: dict[str, str] = {}
    for batch in reader.read_runs([ref], {"params", "summary", "series"}):
        found |= {f"{batch.table} {row['key']}": row["value"] for row in batch.data.to_pylist()}
    large = str(rich_project.LARGE)
    assert found["params seed"] == found["summary seed"] == found["series large"] == large
    assert found["series list"].startswith(f"[{large}, ")


@pytest.mark.parametrize("chain", [BORN], indirect=True)
def test_a_run_that_went_on_is_brought_up_to_date(chain: Chain) -> None:
    server, stores = chain.server, chain.stores
    code = """
with wandb.init(project="rich", id="resumed", resume="must") as run:
    run.log({"loss": 0.01, "more": 1})
"""
    script(server, code)
    for source, target in pairwise(stores):
        report = trackbridge.migrate(stores[source], stores[target])
        assert (report.copied, report.updated, report.failures) == (0, 1, [])
        assert report.verified
        assert trackbridge.verify(stores["origin"], stores[target]).holds
    for entity in ("third", "second"):
        assert len(server.run(f"{entity}/rich/resumed").history) == 7
