"""Runs that were mirrored while W&B logged them are the runs that a migration from W&B finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.mirror_wandb import programs
from wandb_server import Server, started

import trackbridge
from trackbridge.adapter import Query
from trackbridge.registry import open_reader

pytest.importorskip("wandb")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_databases")]

CODE = """
    import numpy as np
    run = wandb.init(entity="team", project="p", name="n", config={"lr": 0.1}, tags=["a"])
    run.define_metric("a", summary="max")
    for i in range(5):
        run.log({"loss": 1 / (i + 1)})
    run.log({"a": 1}, step=7)
    run.log({"b": 2}, step=7)
    run.log({"img": wandb.Image(np.zeros((4, 4, 3), np.uint8))})
    open("f.txt", "w").write("hi")
    made = wandb.Artifact("ds", "dataset", metadata={"m": 1})
    made.add_file("f.txt")
    run.log_artifact(made, aliases=["best"]).wait()
    wandb.save("f.txt")
    wandb.summary["final"] = 3
    run.alert("T", "text")
    run.finish()
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with started(tmp_path / "server") as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.address)
        monkeypatch.setenv("WANDB_API_KEY", server.user.key)
        yield server


@pytest.fixture
def online(server: Server, tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    done = programs.run(folder, CODE, **{**server.environment(), "WANDB_DIR": str(folder)})
    assert done.returncode == 0, done.stderr
    return folder


def test_an_online_run_has_the_key_that_the_server_and_the_folder_give_it(online: Path) -> None:
    ours = programs.keys(f"journal:{online / 'trackbridge'}")
    assert ours == programs.keys("wandb:team/p") == programs.keys(f"wandb-files:{online / 'wandb'}")


def test_a_run_whose_entity_the_server_says_has_the_key_that_the_server_gives_it(
    server: Server, tmp_path: Path
) -> None:
    code = "with wandb.init(project='q') as run:\n    run.log({'a': 1})\n"
    programs.run(tmp_path / "work", code, **server.environment())
    ours = programs.keys(f"journal:{tmp_path / 'work' / 'trackbridge'}")
    assert ours == programs.keys("wandb:team/q")


def test_an_online_run_is_mirrored_as_its_folder_has_it(online: Path) -> None:
    programs.assert_same(online, ("metrics", "series", "params", "summary", "tags", "metric_defs"))


def test_an_online_run_is_mirrored_as_the_server_has_it(online: Path) -> None:
    theirs, ours = programs.rows("wandb:team/p"), programs.rows(f"journal:{online / 'trackbridge'}")
    assert ours["params"] == theirs["params"]
    assert ours["tags"] == theirs["tags"]
    assert {(row["key"], row["value"], row["step"]) for row in ours["metrics"]} == {
        (row["key"], row["value"], row["step"]) for row in theirs["metrics"]
    }
    own = {(row["path"], row["size"]) for row in theirs["files"] if row["owner"] == "ds:v0"}
    assert own == {(row["path"], row["size"]) for row in ours["files"] if row["owner"] == "ds:v0"}


@pytest.mark.parametrize("source", ["wandb:team/p", "wandb-files:{online}/wandb"])
def test_a_later_migration_finds_the_run_that_was_mirrored(
    online: Path, tmp_path: Path, source: str
) -> None:
    target = f"mlflow:sqlite:///{tmp_path / 'target.db'}"
    trackbridge.migrate(f"journal:{online / 'trackbridge'}", target)
    [before] = open_reader(target).list_runs(Query())
    report = trackbridge.migrate(source.format(online=online), target)
    assert not report.failures
    [after] = open_reader(target).list_runs(Query())
    assert (after.ref, after.key) == (before.ref, before.key)


def test_an_artifact_that_is_used_is_an_input(online: Path, server: Server, tmp_path: Path) -> None:
    code = """
    with wandb.init(entity="team", project="p") as run:
        run.use_artifact("ds:best")
    """
    folder = tmp_path / "using"
    done = programs.run(folder, code, **{**server.environment(), "WANDB_DIR": str(folder)})
    assert done.returncode == 0, done.stderr
    theirs, ours = programs.both(folder)
    assert [row["name"] for row in ours["inputs"]] == ["ds:best"]
    assert ours["inputs"] == theirs["inputs"]


def test_an_offline_run_is_found_again_by_a_migration_of_its_folder(tmp_path: Path) -> None:
    code = "with wandb.init(project='p') as run:\n    run.log({'a': 1})\n"
    programs.run(tmp_path / "work", code)
    target = f"mlflow:sqlite:///{tmp_path / 'target.db'}"
    trackbridge.migrate(f"journal:{tmp_path / 'work' / 'trackbridge'}", target)
    [before] = open_reader(target).list_runs(Query())
    trackbridge.migrate(f"wandb-files:{tmp_path / 'work' / 'wandb'}", target)
    [after] = open_reader(target).list_runs(Query())
    assert (after.ref, after.key) == (before.ref, before.key)
