"""An export of Neptune goes to every kind of store, and its users find there what they had."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from browser import PROGRAM, Page, browser
from click.testing import CliRunner
from mlflow_servers import started as mlflow_started

import trackbridge
from trackbridge.cli import main

Copied = Callable[[str], Path]
RUNS = 9
SCREEN = {"width": 1400, "height": 1600, "deviceScaleFactor": 1, "mobile": False}
"""Tall enough for all charts: those that are out of sight are not drawn."""


@pytest.fixture
def export(copied: Copied) -> Path:
    return copied("neptune-export/exports")


def said(*arguments: object) -> dict[str, Any]:
    """What a command says as JSON."""
    done = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "target", ["archive:{}/out", "mlflow:sqlite:///{}/m.db", "wandb-files:{}/w"]
)
def test_all_of_it_is_moved_and_proven(export: Path, tmp_path: Path, target: str) -> None:
    address = target.format(tmp_path)
    report = said("migrate", export, address, "--include-deleted")
    assert report["runs"]["copied"] == RUNS
    assert report["verified"] is True
    assert report["failures"] == []
    compared = said("verify", export, address, "--include-deleted")
    assert (compared["runs"]["equal"], compared["differences"]) == (RUNS, [])
    again = said("migrate", export, address, "--include-deleted")
    assert (again["runs"]["copied"], again["runs"]["skipped"]) == (0, RUNS)


def test_what_is_known_before_anything_is_written(export: Path, tmp_path: Path) -> None:
    listed = said("ls", export, "--include-deleted")
    assert len(listed["runs"]) == RUNS
    planned = said("plan", export, f"mlflow:sqlite:///{tmp_path / 'm.db'}")
    assert (planned["runs"], planned["damage"]) == (RUNS - 2, [])
    assert {loss["kind"] for loss in planned["losses"]} == {
        "series not shown",
        "status shown as finished",
        "console shown as a file",
        "deleted runs left out",
    }
    shown = json.dumps(said("show", export, "brave-owl"), ensure_ascii=False)
    for part in ("config.optimizer.lr", "train/loss", "files/config.yaml", "a warning"):
        assert part in shown
    assert not list(tmp_path.glob("*.db"))


def test_an_archive_of_it_comes_to_any_store_later(export: Path, tmp_path: Path) -> None:
    archive, target = f"archive:{tmp_path / 'out'}", f"mlflow:sqlite:///{tmp_path / 'm.db'}"
    assert said("export", export, archive)["verified"] is True
    assert said("import", archive, target)["verified"] is True
    assert said("verify", export, target)["differences"] == []


def test_mlflows_own_client_finds_what_was_in_neptune(export: Path, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path / 'm.db'}"
    assert trackbridge.migrate(str(export), f"mlflow:{target}").verified
    client = mlflow.MlflowClient(target)
    names = {e.experiment_id: e.name for e in client.search_experiments()}
    runs = {run.data.tags["neptune.run_id"]: run for run in client.search_runs([*names], "")}
    whole, fork = runs["brave-owl"], runs["brave-owl-2"]
    assert names[whole.info.experiment_id] == "lab/segmentation"
    assert whole.data.params["config.optimizer.lr"] == "0.0003"
    assert whole.data.params["sys.id"] == "SEG-1"
    assert whole.data.tags["neptune.tag.baseline"] == "true"
    assert fork.data.tags["mlflow.parentRunId"] == whole.info.run_id
    curve = client.get_metric_history(whole.info.run_id, "val/epoch")
    assert [(point.step, point.value) for point in curve[:3]] == [
        (0, 0.0),
        (250_000, 1.5),
        (500_000, 3.0),
    ]
    version = client.get_model_version("TAB-GBM", "2")
    assert version.run_id == runs["TAB-GBM-2"].info.run_id
    assert version.current_stage == "Production"


@pytest.fixture
def shown(export: Path, tmp_path: Path) -> Iterator[tuple[str, str, str]]:
    """An MLflow server with what was in Neptune: its address, an experiment's and a run's id."""
    address = f"sqlite:///{tmp_path / 'm.db'}"
    assert trackbridge.migrate(str(export), f"mlflow:{address}").verified
    client = mlflow.MlflowClient(address)
    experiment = client.get_experiment_by_name("lab/segmentation").experiment_id
    [run] = client.search_runs([experiment], "params.`sys.id` = 'SEG-1'")
    with mlflow_started(tmp_path, "--workers", "1", "--backend-store-uri", address) as (url, _):
        yield url, experiment, run.info.run_id


def until_shown(page: Page, url: str, *words: str) -> None:
    """Goes to a page of MLflow's, and waits until it says these words."""
    page.call("Page.navigate", url=url)
    for _ in range(240):
        text = page.value("document.body ? document.body.innerText : ''") or ""
        if all(word in text for word in words):
            return
        time.sleep(0.25)
    pytest.fail(f"{url}: nothing of {[word for word in words if word not in text]} in {text!r}")


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="needs Chromium")
def test_mlflows_pages_show_what_was_in_neptune(
    shown: tuple[str, str, str], tmp_path: Path
) -> None:
    url, experiment, run = shown
    pages = f"{url}/#/experiments/{experiment}/runs/{run}"
    with browser(tmp_path / "profile") as page:
        page.call("Emulation.setDeviceMetricsOverride", **SCREEN)
        until_shown(
            page,
            pages,
            *("first try", "alice", "neptune.tag.baseline", "unet-small"),
            *("Child runs", "brave-owl-2"),
            *("config.optimizer.lr", "0.0003", "val/accuracy", "0.85"),
        )
        until_shown(page, f"{pages}/model-metrics", "train", "loss", "samples/masks")
        for _ in range(80):
            drawn = page.value("document.querySelectorAll('.scatterlayer .trace').length")
            if drawn:
                break
            time.sleep(0.25)
        assert drawn, "no curve was drawn"
        until_shown(page, f"{pages}/artifacts", "files", "images", "output.log")
