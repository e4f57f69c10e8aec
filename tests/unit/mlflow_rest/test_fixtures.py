"""Real stores over a real server and home again; MLflow's own client sees what was brought."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlflow_servers
import pytest
from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

import trackbridge
from trackbridge.proof import Comparison

FIXTURES = Path(__file__).parents[3] / "fixtures"
SOURCE = f"mlflow:sqlite:///{FIXTURES / 'mlflow-3.17' / 'mlflow.db'}"


@pytest.fixture(scope="module", params=["proxied", "direct"])
def brought(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A server of its own, to which the store of 3.17 was brought."""
    folder = tmp_path_factory.mktemp("brought")
    options = getattr(mlflow_servers, request.param)(folder)
    with mlflow_servers.server(folder, *options) as address:
        report = trackbridge.migrate(SOURCE, f"mlflow:{address}")
        assert report.verified, report.failures
        yield address


def runs(address: str, condition: str = "") -> dict[str, Run]:
    """Runs by the id that they were born with."""
    client = MlflowClient(address)
    numbers = [e.experiment_id for e in client.search_experiments(ViewType.ALL)]
    found = client.search_runs(numbers, condition, ViewType.ALL)
    return {
        run.data.tags["trackbridge.run_key"].rpartition("/")[2]: run
        for run in found
        if "trackbridge.run_key" in run.data.tags
    }


def test_every_run_is_equal_on_the_server_and_from_there_in_an_archive(
    brought: str, tmp_path: Path
) -> None:
    check(trackbridge.verify(SOURCE, f"mlflow:{brought}"))
    archive = f"archive:{tmp_path / 'archive'}"
    assert trackbridge.migrate(f"mlflow:{brought}", archive).verified
    check(trackbridge.verify(SOURCE, archive))


def check(result: Comparison) -> None:
    """All runs are equal, and nothing is missing but the trace, which REST does not move."""
    assert result.equal == result.total == 17
    assert {difference.table for difference in result.differences} <= {"traces"}


def test_a_second_call_finds_all_runs_by_their_key_even_without_receipts(
    brought: str, state: Path
) -> None:
    before = {run.info.run_id for run in runs(brought).values()}
    assert not state.exists(), "each test has receipts of its own"
    report = trackbridge.migrate(SOURCE, f"mlflow:{brought}")
    assert (report.copied, report.updated, report.skipped) == (0, 0, report.total)
    assert {run.info.run_id for run in runs(brought).values()} == before


def test_the_client_finds_runs_by_metrics_params_and_tags(brought: str) -> None:
    every = runs(brought)
    for run in every.values():
        for kind, values in (("params", run.data.params), ("tags", run.data.tags)):
            for key, value in list(values.items())[:2]:
                if value.isascii() and not set(value) & set("'\"\\%\n\r") and len(value) < 100:
                    found = runs(brought, f"{kind}.`{key}` = '{value}'")
                    assert run.info.run_id in {r.info.run_id for r in found.values()}
    measured = [run for run in every.values() if run.data.metrics]
    assert measured
    for run in measured:
        key, value = next(iter(run.data.metrics.items()))
        if value == value and abs(value) < 1e300:
            found = runs(brought, f"metrics.`{key}` >= {value!r}")
            assert run.info.run_id in {r.info.run_id for r in found.values()}


def test_a_model_that_was_brought_is_loaded_and_names_its_new_run(brought: str) -> None:
    client = MlflowClient(brought)
    for version in client.search_model_versions("name = 'doubler'"):
        run = client.get_run(version.run_id)
        assert run.data.tags["trackbridge.run_key"]
        if version.source.startswith("models:/"):
            model = client.get_logged_model(version.source.removeprefix("models:/"))
            assert model.source_run_id == version.run_id
    (registered,) = client.search_registered_models("name = 'doubler'")
    assert registered.aliases


def test_wandb_folders_go_to_a_server_and_are_equal(proxied: str) -> None:
    source = f"wandb-files:{FIXTURES / 'wandb-0.31'}"
    report = trackbridge.migrate(source, f"mlflow:{proxied}")
    assert report.verified, report.failures
    result = trackbridge.verify(source, f"mlflow:{proxied}")
    assert result.holds, result.differences
