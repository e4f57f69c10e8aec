"""What the page on pandas shows is run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import trackbridge
from trackbridge.testing import MadeRun, samples
from trackbridge.testing.made import store
from trackbridge_adapters.archive import ADAPTER

PAGE = Path(__file__).parents[3] / "docs" / "pandas.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)

README = re.findall(
    r"^```python\n(store = .*?)^```",
    (PAGE.parents[1] / "README.md").read_text("utf-8"),
    re.M | re.S,
)[0]


def run(name: str, model: str, loss: float) -> MadeRun:
    made = samples.simple(name, loss=loss)
    made.tables["runs"][0]["started"] = samples.everything().tables["runs"][0]["started"]
    made.tables["params"].append({"key": "model", "value": model, "type": "string"})
    made.tables["metrics"] += [{**point, "key": "val/loss"} for point in made.tables["metrics"]]
    return made


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page's examples have made, one after the other."""
    folder = tmp_path_factory.mktemp("page")
    runs = [run("a", "cnn", 0.5), run("b", "cnn", 1.0), run("c", "mlp", 0.1)]
    store(ADAPTER.writer(str(folder / "out"), {}), runs)
    report = trackbridge.migrate(str(folder / "out"), str(folder / "mlflow.db"))
    assert report.verified
    made: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for example in EXAMPLES:
            exec(example, made)
        readme: dict[str, Any] = {"trackbridge": trackbridge}
        exec(README, readme)
    return {**made, "readme": readme}


def test_frames_have_the_rows_that_the_page_says(names: dict[str, Any]) -> None:
    assert len(names["runs"]) == len(names["params"]) == 3
    assert len(names["losses"]) == len(names["curves"]) == 15
    assert [*names["curves"].columns] == ["loss", "val/loss"]


def test_runs_are_chosen_as_the_page_says(names: dict[str, Any]) -> None:
    assert [run_id for _, run_id in names["good"].index] == ["a"], "b ends at 0.2"
    assert len(names["points"]) == 5
    assert names["one"].index.tolist() == [("vision", "a")]


def test_metrics_are_as_the_page_says(names: dict[str, Any]) -> None:
    columns = ["project", "run_id", "name", "key", "step", "time", "row", "value"]
    assert [*names["every"].columns] == columns
    assert set(names["patterns"]["key"]) == {"loss", "val/loss"}
    assert len(names["early"]) == 15 and names["hardware"].empty
    assert names["by_run"].shape == (5, 3)
    assert names["last"]["loss"].tolist() == [0.1, 0.2, 0.02]
    assert {"name", "model", "loss"} <= {*names["table"].columns} and len(names["table"]) == 3


def test_files_and_other_tables_are_as_the_page_says(names: dict[str, Any]) -> None:
    assert names["content"] == b"a"
    assert {"owner", "path", "size", "sha256"} <= {*names["files"].columns}
    assert names["console"].empty and names["texts"].empty


def test_duckdb_takes_the_reader(names: dict[str, Any]) -> None:
    assert names["best"]["best"].tolist() == [0.02, 0.1, 0.2]


def test_differences_are_as_the_page_says(names: dict[str, Any]) -> None:
    assert names["differences"].empty and names["some"].empty
    assert {*names["changed"]["table"]} == {"params", "metrics"}


def test_the_readme_shows_runs_and_their_curves(names: dict[str, Any]) -> None:
    assert [run_id for _, run_id in names["readme"]["best"].index] == ["c"]
    assert [*names["readme"]["curves"].columns] == ["loss"]
