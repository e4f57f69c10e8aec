"""Tables of points are read, and what their columns are taken for is said."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from unit.tables.read import assumed, damage, points, rows, series

from trackbridge.adapter import Query
from trackbridge.cli import main
from trackbridge.errors import ConfigError
from trackbridge.registry import open_reader
from trackbridge_adapters.tables import blocks

LONG = (
    "run,key,step,time,value\na,loss,0,1700000000.5,0.25\na,loss,1,1700000001,nan\nb,acc,0,,1e3\n"
)


def test_a_long_table_is_read(tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text(LONG)
    found = points(f"csv:{tmp_path}/points.csv")
    assert [(p["project"], p["run_id"], p["key"], p["step"]) for p in found] == [
        ("points", "a", "loss", 0),
        ("points", "a", "loss", 1),
        ("points", "b", "acc", 0),
    ]
    assert [str(p["value"]) for p in found] == ["0.25", "nan", "1000.0"]
    assert [p["time"] and p["time"].timestamp() for p in found] == [1700000000.5, 1700000001, None]


def test_plan_says_what_columns_are_taken_for(tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text(LONG)
    source, target = f"csv:{tmp_path}/points.csv", f"archive:{tmp_path}/out"
    said = CliRunner().invoke(main, ["plan", source, target])
    assert said.exit_code == 0, said.output
    assert f"{tmp_path}/points.csv is read as:" in said.output
    assert "column key    name of the metric" in said.output
    said = CliRunner().invoke(main, ["plan", source, target, "--json"])
    shown = json.loads(said.stdout)["assumed"]
    assert {"where": f"{tmp_path}/points.csv", "what": "column step", "meaning": "step"} in shown
    assert not (tmp_path / "out").exists()


def test_columns_are_declared_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("trial,i,lr,model,loss\nx,0,0.1,cnn,1.5\nx,1,0.1,cnn,1.25\n")
    columns = "run=trial,step=i,param=lr,param=model,metric=*"
    out = f"archive:{tmp_path}/out"
    done = CliRunner().invoke(
        main, ["migrate", f"csv:{tmp_path}/t.csv", out, "--columns", columns, "--json"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["points"] == 2
    found = {row["key"]: (row["value"], row["type"]) for row in rows(out, "params")}
    assert found == {"lr": ("0.1", "float"), "model": ("cnn", "string")}
    again = CliRunner().invoke(main, ["verify", f"csv:{tmp_path}/t.csv", out, "--columns", columns])
    assert again.exit_code == 0, again.output


def test_a_mapping_that_cannot_be_is_one_line_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\nx,y\n")
    for columns, said in (
        ("run=c", "no column 'c' to be the run"),
        ("ran=a", "write ROLE=COLUMN"),
        ("metric=a,metric=eval/*", "no column is like 'eval/*' to be the metric"),
        ("run=*", "means 2 columns"),
        ("run=a,run=b", "said twice"),
        ("key=a", "value=COLUMN"),
        ("skip=*", "no column holds values"),
    ):
        with pytest.raises(ConfigError, match="--columns") as found:
            points(f"csv:{tmp_path}/t.csv", columns=columns)
        assert said in str(found.value)
        assert "\n" not in str(found.value)


def test_columns_are_refused_for_stores_that_say_what_theirs_mean(tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text(LONG)
    out = f"archive:{tmp_path}/out"
    assert CliRunner().invoke(main, ["export", f"csv:{tmp_path}/points.csv", out]).exit_code == 0
    said = CliRunner().invoke(main, ["ls", out, "--columns", "run=a"])
    assert said.exit_code == 2
    assert "--columns: of no use" in said.output


def test_what_is_no_number_is_a_series(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "run,key,step,value\n"
        'a,x,0,true\na,x,1,some text\na,x,2,"say ""so"""\na,x,3,9007199254740993\na,x,4,5\na,x,5,\n'
    )
    address = f"csv:{tmp_path}/t.csv"
    assert [(p["step"], p["value"]) for p in points(address)] == [(4, 5.0)]
    assert [(s["step"], s["kind"], s["value"]) for s in series(address)] == [
        (0, "boolean", "true"),
        (1, "text", '"some text"'),
        (2, "text", '"say \\"so\\""'),
        (3, "integer", "9007199254740993"),
    ]


def test_columns_that_mean_one_thing_are_kept_apart(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "run,step,metrics.loss,loss,params.lr,config.lr,run_name,display_name\n"
        "r,0,1,2,0.1,0.2,one,two\nr,1,3,4,0.1,0.2,one,two\n"
    )
    address = f"csv:{tmp_path}/t.csv"
    assert {(p["key"], p["step"], p["value"]) for p in points(address)} == {
        ("metrics.loss", 0, 1.0),
        ("metrics.loss", 1, 3.0),
        ("loss", 0, 2.0),
        ("loss", 1, 4.0),
    }
    found = {row["key"]: row["value"] for row in rows(address, "params")}
    assert found == {"lr": "0.1", "config.lr": "0.2"}
    (run,) = rows(address, "runs")
    assert (run["name"], json.loads(run["extra"])) == ("one", {"display_name": "two"})
    said = assumed(address)
    assert said["config.lr"] == "param (lr is the column params.lr)"
    assert "(name of the run is run_name; name=display_name takes" in said["display_name"]
    (run,) = rows(address, "runs", columns="name=display_name")
    assert (run["name"], json.loads(run["extra"])) == ("two", {"run_name": "one"})


def test_words_for_nothing_are_nothing_among_numbers_and_texts_among_texts(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "step,loss,note\n0,NA,NA\n1,None,x\n2,-,-\n3,0.5,y\n4,#N/A,z\n5,0.25,z\n"
    )
    address = f"csv:{tmp_path}/t.csv"
    assert [(p["step"], p["value"]) for p in points(address)] == [(3, 0.5), (5, 0.25)]
    assert [s["value"] for s in series(address)][:3] == ['"NA"', '"x"', '"-"']


def test_cells_of_a_metric_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('step,loss\n0,0.5\n1,0.25\n2,"1,5"\n3,"1,25"\n4,1\n')
    address = f"csv:{tmp_path}/t.csv"
    said = "2 of 5 cells are no numbers, such as '1,5' in line 4: kept as texts"
    assert assumed(address)["loss"] == f"metric; {said}"
    (tmp_path / "t.csv").write_text('step,loss\n0,"1,5"\n')
    said = "1 of 1 cells are no numbers, such as '1,5' in line 2: kept as texts"
    assert assumed(address, columns="metric=loss")["loss"] == f"metric; {said}"


def test_params_of_which_a_run_has_two_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("run,step,loss,params.lr\nr,0,1,0.1\nr,1,1,0.2\n")
    (tmp_path / "b.csv").write_text("run,step,acc,params.lr\nr,0,1,0.3\n")
    address = f"csv:{tmp_path}"
    assert [(row["key"], row["value"]) for row in rows(address, "params")] == [("lr", "0.1")]
    assert damage(address) == [
        f"{tmp_path}/a.csv: params.lr changes within runs; as a param it keeps its first value",
        f"{tmp_path}/b.csv: params.lr is 0.3, but 0.1 in a file before it, which is kept",
    ]


def test_what_is_left_out_is_said_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(",step,loss\n0,0,1\n1,1,2\n")
    assert "left out (numbers of lines)" in assumed(f"csv:{tmp_path}/t.csv").values()


@pytest.mark.parametrize("small", [8, 1 << 20])
def test_without_steps_and_times_the_order_of_rows_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", small)
    wide, long = f"csv:{tmp_path}/wide.csv", f"csv:{tmp_path}/long.csv"
    (tmp_path / "wide.csv").write_text("run,loss\na,.5\nb,7\na,.75\nb,6\na,.25\n")
    assert [(p["step"], p["value"]) for p in points(wide) if p["run_id"] == "a"] == [
        (0, 0.5),
        (1, 0.75),
        (2, 0.25),
    ]
    assert assumed(wide)["step"] == "number of the row among its run's, since no column says it"
    (tmp_path / "long.csv").write_text("run,key,value\na,x,3\na,y,2\na,y,1\nb,x,0\n")
    assert [(p["run_id"], p["key"], p["step"]) for p in points(long)] == [
        ("a", "x", 0),
        ("a", "y", 0),
        ("a", "y", 1),
        ("b", "x", 0),
    ]
    reader = open_reader(wide)
    last = [info.ref for info in reader.list_runs(Query())][1:]
    found = [row for b in reader.read_runs(last, ["metrics"]) for row in b.data.to_pylist()]
    assert [(p["step"], p["value"]) for p in found] == [(0, 7), (1, 6)]


def test_the_index_of_a_frame_is_the_step_where_it_increases(tmp_path: Path) -> None:
    address = f"csv:{tmp_path}/t.csv"
    frame = pd.DataFrame({"loss": [0.5, 0.4, 0.3]}, index=[10, 20, 30])
    frame.to_csv(tmp_path / "t.csv")
    assert [(p["step"], p["value"]) for p in points(address)] == [(10, 0.5), (20, 0.4), (30, 0.3)]
    frame.iloc[::-1].to_csv(tmp_path / "t.csv")
    assert "left out (numbers of a frame)" in assumed(address).values()
    frame.assign(run=["a", "b", "c"]).to_csv(tmp_path / "t.csv")
    assert not points(address), "rows of a table of runs that somebody has chosen"


@pytest.mark.parametrize("scheme", ["csv", "jsonl"])
def test_why_a_column_is_no_step_is_said(tmp_path: Path, scheme: str) -> None:
    frame = pd.DataFrame({"step": [1.0, 1.5, 2.0], "epoch": [0.0, 0.0, 1.0], "loss": [3, 2, 1]})
    address = f"{scheme}:{tmp_path}/t.{scheme}"
    if scheme == "csv":
        frame.to_csv(tmp_path / "t.csv", index=False)
    else:
        frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    assert assumed(address)["step"] == "metric (no step: 1.5 in row 2 is no whole number)"
    assert assumed(address)["epoch"] == "step"
