"""Tables that other tools have written are understood without a word: see `fixtures/tables`."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from unit.tables.read import assumed, points, rows

from trackbridge.adapter import Query, RunRef
from trackbridge.errors import ConfigError
from trackbridge.registry import open_reader
from trackbridge_adapters.tables import blocks

FIXTURES = Path(__file__).parents[3] / "fixtures" / "tables"
LOSSES = [0.9, 0.45, 0.3]


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A copy of the fixtures: nothing may be written there."""
    shutil.copytree(FIXTURES, tmp_path / "tables")
    return tmp_path / "tables"


def values(address: str) -> dict[str, list[tuple[int | None, float]]]:
    found: dict[str, list[tuple[int | None, float]]] = {}
    for point in points(address):
        found.setdefault(point["key"], []).append((point["step"], point["value"]))
    return found


def test_the_logger_of_keras(tables: Path) -> None:
    found = values(f"csv:{tables}/keras/training.log.csv")
    assert set(found) == {"loss", "mae", "val_loss", "val_mae"}
    assert [step for step, _ in found["loss"]] == [0, 1, 2, 3]
    assert found["val_mae"][3] == (3, 2.1326589584350586)


def test_the_logger_of_lightning_with_its_hyperparameters(tables: Path) -> None:
    for address, run in (
        (f"csv:{tables}/lightning/lightning_logs", ("lightning_logs", "version_0")),
        (
            f"csv:{tables}/lightning/lightning_logs/version_0/metrics.csv",
            ("lightning_logs", "version_0"),
        ),
    ):
        found = values(address)
        assert found["train_loss"] == list(zip((9, 19, 29), LOSSES))
        assert found["val_acc"] == [(9, 0.1), (19, 0.35), (29, 1 / 3)]
        assert [value for _, value in found["epoch"]] == [0, 0, 1, 1, 2, 2]
        (shown,) = rows(address, "runs")
        assert (shown["project"], shown["run_id"]) == run
        params = {row["key"]: (row["value"], row["type"]) for row in rows(address, "params")}
        assert params == {
            "amp": ("true", "boolean"),
            "lr": ("0.02", "float"),
            "model.layers": ("3", "integer"),
            "model.act": ("relu", "string"),
        }


def test_the_frame_of_search_runs(tables: Path) -> None:
    address = f"csv:{tables}/mlflow/runs.csv"
    shown = {row["name"]: row for row in rows(address, "runs")}
    assert set(shown) == {"run 0", "run 1", "run 2"}
    one = shown["run 0"]
    assert (one["project"], one["status"], one["user"]) == ("1", "finished", "alice")
    assert (one["notes"], one["program"]) == ("one of three", "train.py")
    assert one["started"] is not None
    assert one["ended"] > one["started"]
    assert one["extra"].startswith('{"artifact_uri": "s3://example/artifacts/')
    ids = {name: row["run_id"] for name, row in shown.items()}
    final = {(row["run_id"], row["key"]): row["value"] for row in rows(address, "summary")}
    assert [final[ids[f"run {n}"], "loss"] for n in range(3)] == list(map(str, LOSSES))
    assert (ids["run 0"], "accuracy") not in final, "it never had one"
    params = {(row["run_id"], row["key"]): row["value"] for row in rows(address, "params")}
    assert params[ids["run 1"], "lr"] == "0.05"
    assert params[ids["run 1"], "optimizer"] == "adam"
    tags = {(row["run_id"], row["key"]): row["value"] for row in rows(address, "tags")}
    assert tags[ids["run 0"], "team"] == "nlp, vision"
    assert not points(address)


def test_a_download_of_tensorboards_page(tables: Path) -> None:
    address = f"csv:{tables}/tensorboard"
    found = points(address)
    assert {(p["run_id"], p["key"]) for p in found} == {("train", "epoch_loss")}
    assert [p["time"].timestamp() for p in found] == [1.7e9, 1.7e9 + 1.5, 1.7e9 + 3]
    assert [p["value"] for p in found] == pytest.approx(LOSSES)


def test_a_chart_of_wandbs_pages(tmp_path: Path) -> None:
    header = '"Step","calm-sun-1 - loss","calm-sun-1 - loss__MIN","calm-sun-1 - loss__MAX",'
    header += '"red-moon-2 - loss","red-moon-2 - loss__MIN","red-moon-2 - loss__MAX"\n'
    body = '"0","0.5","0.5","0.5","","",""\n"1","0.25","0.25","0.25","0.75","0.75","0.75"\n'
    (tmp_path / "chart.csv").write_text(header + body)
    address = f"csv:{tmp_path}/chart.csv"
    found = {(p["run_id"], p["key"], p["step"]): p["value"] for p in points(address)}
    assert found == {
        ("calm-sun-1", "loss", 0): 0.5,
        ("calm-sun-1", "loss", 1): 0.25,
        ("red-moon-2", "loss", 1): 0.75,
    }
    said = assumed(address)
    assert said["calm-sun-1 - loss"] == "metric loss of run calm-sun-1"
    assert said["red-moon-2 - loss__MIN"].startswith("left out (the range of points")


def test_runs_of_a_chart_are_read_one_by_one_as_all_together(tmp_path: Path) -> None:
    header = ",".join(f"r{n} - loss,r{n} - loss__MIN,r{n} - loss__MAX" for n in range(3))
    (tmp_path / "chart.csv").write_text(f"Step,{header}\n0,1,1,1,2,2,2,,,\n1,3,3,3,4,4,4,5,5,5\n")
    assert_each_run_is_whole(f"csv:{tmp_path}/chart.csv")


@pytest.mark.parametrize("path", sorted(FIXTURES.rglob("*.csv")), ids=lambda path: path.name)
def test_runs_are_read_one_by_one_as_all_together(path: Path) -> None:
    assert_each_run_is_whole(f"csv:{path}")


def assert_each_run_is_whole(address: str) -> None:
    """Of each run as many points are read as the listing says, with others or alone."""
    reader = open_reader(address)
    infos = list(reader.list_runs(Query()))
    for some in (infos, *([info] for info in infos)):
        found: Counter[RunRef] = Counter()
        for batch in reader.read_runs([info.ref for info in some], ["metrics", "series"]):
            rows = batch.data.select(["project", "run_id"]).to_pylist()
            found.update(RunRef(**row) for row in rows)
        assert found == Counter({info.ref: info.points for info in some if info.points})


def test_a_chart_of_wandbs_pages_over_another_axis(tmp_path: Path) -> None:
    (tmp_path / "chart.csv").write_text(
        '"Relative Time (Process)","sun - loss","sun - loss__MIN","sun - loss__MAX","sea - loss"\n'
        '"0.5","1","1","1",""\n"1.5","0.5","0.5","0.5","2"\n'
    )
    address = f"csv:{tmp_path}/chart.csv"
    time = "Relative Time (Process)"
    assert [(p["run_id"], p["key"], p["step"], p["value"]) for p in points(address)] == [
        ("sun", time, 0, 0.5),
        ("sun", time, 1, 1.5),
        ("sea", time, 1, 1.5),
        ("sun", "loss", 0, 1),
        ("sun", "loss", 1, 0.5),
        ("sea", "loss", 1, 2),
    ]
    assert_each_run_is_whole(address)
    assert assumed(address)[time] == "metric (the axis of all runs, where they have a point)"
    with pytest.raises(ConfigError, match="cannot be the metric"):
        points(address, columns="metric=Relative*")


def test_the_table_of_runs_of_wandbs_pages(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(
        '"Name","State","Notes","User","Created","Runtime","lr","model","loss"\n'
        '"calm-sun-1","finished","-","alice","2024-05-01T12:00:00.000Z","61","0.1","cnn","0.5"\n'
        '"red-moon-2","crashed","-","bob","2024-05-02T12:00:00.000Z","7","0.2","mlp","0.75"\n'
    )
    address = f"csv:{tmp_path}/runs.csv"
    shown = {row["run_id"]: row for row in rows(address, "runs")}
    assert [shown[name]["status"] for name in sorted(shown)] == ["finished", "crashed"]
    assert shown["red-moon-2"]["user"] == "bob"
    final = {(row["run_id"], row["key"]): row["value"] for row in rows(address, "summary")}
    assert final["red-moon-2", "loss"] == "0.75"
    assert [row["value"] for row in rows(address, "params")] == ["cnn", "mlp"]


@pytest.mark.parametrize("small", [64, 1 << 20])
def test_each_row_of_that_table_is_a_run_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", small)
    (tmp_path / "runs.csv").write_text(
        'Name,State,Created,Tags,trial,epoch,loss\nbase,finished,2024-05-02,"a, b",1,9,0.5\n'
        "base,crashed,2024-05-01,a,1,8,0.4\nother,finished,2024-05-03,a,1,7,0.3\n"
        "base,failed,2024-05-02,,2,6,0.2\n"
    )
    address = f"csv:{tmp_path}/runs.csv"
    shown = {row["run_id"]: (row["name"], row["status"]) for row in rows(address, "runs")}
    assert shown == {
        "base": ("base", "crashed"),
        "base 2024-05-02": ("base", "finished"),
        "other": ("other", "finished"),
        "base 2024-05-02 (2)": ("base", "failed"),
    }
    final = {(row["run_id"], row["key"]): row["value"] for row in rows(address, "summary")}
    losses = {run: final[run, "loss"] for run in sorted(shown)}
    assert [*losses.values()] == ["0.4", "0.5", "0.2", "0.3"]
    assert final["base", "epoch"] == "8.0"
    said = assumed(address)["runs"]
    assert said.startswith("2 of 4 called like an older one, with the time in the id: base 2024")


def test_the_history_of_wandb_as_json_lines(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text(
        '{"_step": 0, "_timestamp": 1700000000.25, "train": {"loss": 0.5}, "ok": true}\n'
        '{"_step": 1, "_timestamp": 1700000001.25, "train": {"loss": "NaN"}, "note": "5"}\n'
        '{"_step": 2, "_timestamp": 1700000002.25, "big": 9007199254740993, "l": [1, 2]}\n'
    )
    address = f"jsonl:{tmp_path}/history.jsonl"
    found = [(p["key"], p["step"], str(p["value"])) for p in points(address)]
    assert found == [("train.loss", 0, "0.5"), ("train.loss", 1, "nan")]
    others = {(s["key"], s["step"]): (s["kind"], s["value"]) for s in rows(address, "series")}
    assert others == {("big", 2): ("integer", "9007199254740993"), ("l", 2): ("json", "[1, 2]")}
    params = {row["key"]: (row["value"], row["type"]) for row in rows(address, "params")}
    assert params == {"ok": ("true", "boolean"), "note": ("5", "string")}
