"""TensorBoard's event files come whole into archives and MLflow, whose own pages show them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import PROGRAM, Page, browser
from mlflow_servers import started

import trackbridge

FIXTURES = Path(__file__).parents[2] / "fixtures"
STORES = sorted(f"{path.parent.name}/runs" for path in FIXTURES.glob("tensorboard-*/runs"))
TORCH = "tensorboard-torch-2.13/runs"
Copied = Callable[[str], Path]


def command(*arguments: str) -> dict[str, Any]:
    """What a command prints as JSON."""
    line = [sys.executable, "-m", "trackbridge", *arguments, "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("store", STORES)
def test_log_folders_go_to_an_archive_and_to_mlflow_and_stay_equal(
    store: str, copied: Copied, tmp_path: Path, quick_databases: None
) -> None:
    source = str(copied(store))
    archive = f"archive:{tmp_path / 'archive'}"
    database = f"mlflow:sqlite:///{tmp_path / 'mlflow.db'}"
    for origin, target in ((source, archive), (archive, database)):
        report = trackbridge.migrate(origin, target)
        assert report.failures == []
        assert report.verified
        assert report.copied == report.total > 0
        found = trackbridge.verify(source, target)
        assert found.differences == []
        assert found.equal == found.total == report.total
    again = trackbridge.migrate(source, archive)
    assert (again.copied, again.skipped) == (0, again.total)


def test_commands_tell_what_is_in_a_log_folder(copied: Copied, tmp_path: Path) -> None:
    source = str(copied(TORCH))
    assert [run["run_id"] for run in command("ls", source)["runs"]] == [
        "run",
        "run/both_a",
        "run/both_b",
        "search",
        "search/0",
    ]
    shown = command("show", source, "search/0")
    assert dict(shown["run"])["status"] == "finished"
    assert {row[0] for row in shown["params"]} == {"lr", "units", "optimizer", "amp", "note"}
    planned = command("plan", source, f"archive:{tmp_path / 'archive'}")
    exported = command("export", source, f"archive:{tmp_path / 'archive'}")
    assert planned["points"] == exported["points"] > 0
    assert planned["files"] == exported["files"] > 0


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str], Page]]:
    """MLflow's server over a database that came from TensorBoard, its runs by name, and a page."""
    if PROGRAM is None:
        pytest.skip("no Chromium is installed")
    folder = tmp_path_factory.mktemp("shown")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    assert trackbridge.migrate(f"tensorboard:{FIXTURES / TORCH}", f"mlflow:{uri}").verified
    from mlflow import MlflowClient

    with (
        started(folder, "--workers", "1", "--backend-store-uri", uri) as (address, _),
        browser(folder / "profile") as page,
    ):
        client = MlflowClient(address)
        [experiment] = [e for e in client.search_experiments() if e.name == "runs"]
        home = f"{address}/#/experiments/{experiment.experiment_id}/runs"
        runs = client.search_runs([experiment.experiment_id])
        yield home, {run.info.run_name: run.info.run_id for run in runs}, page


def awaited(page: Page, url: str, expression: str) -> Any:
    """What an expression of JavaScript comes to, once it does, on a page."""
    page.call("Page.navigate", url=url)
    found, end = None, time.monotonic() + 60
    while not found and time.monotonic() < end:
        time.sleep(0.2)
        found = page.value(expression)
    assert found, page.value("document.body.innerText")
    return found


def test_mlflow_shows_params_metrics_and_status(
    shown: tuple[str, dict[str, str], Page],
) -> None:
    home, runs, page = shown
    ready = "document.body.innerText.includes('optimizer') && document.body.innerText"
    lines = awaited(page, f"{home}/{runs['search/0']}", ready).split("\n")
    assert lines[lines.index("hparam/loss") + 1] == "0.25"
    for name, value in {"lr": "0.1", "optimizer": "adam", "note": "ü 🚀"}.items():
        assert lines[lines.index(name) + 1] == value
    assert lines[lines.index("Status") + 1] == "Finished"


def test_mlflow_shows_images(shown: tuple[str, dict[str, str], Page]) -> None:
    home, runs, page = shown
    sizes = """
        [...document.images].filter(image => image.naturalWidth && /get-artifact/.test(image.src))
            .map(image => [image.naturalWidth, image.naturalHeight])
    """
    ready = f"(found => found.length == 2 && found)({sizes.strip()})"
    assert awaited(page, f"{home}/{runs['run']}/model-metrics", ready) == [[5, 4], [10, 4]]
