"""A run says what it was told, ends as its program ends, and never gets in its way."""

from __future__ import annotations

import argparse
import copy
import getpass
import json
import os
import pickle
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from unit.dual.looking import extra, leaves, points, read, read_all, series, status

from trackbridge.dual import ending, place, sinks, spawn
from trackbridge.dual.git import repository
from trackbridge.dual.mirroring import Mirror, mirror
from trackbridge.dual.run import Run
from trackbridge.dual.starting import start
from trackbridge.errors import ConfigError


def begin(root: Path, **given: Any) -> Run:
    return start("p", run_id="r", folder=root, **given)


def test_calls_without_a_step_are_a_row_each(tmp_path: Path) -> None:
    with begin(tmp_path) as run:
        for n in range(3):
            assert run.step == n
            run.log({"loss": float(n)})
    assert points(read(tmp_path)) == [(0, 0, 0.0), (1, 1, 1.0), (2, 2, 2.0)]


def test_calls_of_one_step_are_one_row_until_a_key_repeats(tmp_path: Path) -> None:
    with begin(tmp_path) as run:
        run.log({"a": 1.0}, step=5)
        run.log({"b": 2.0}, step=5)
        run.log({"a": 3.0}, step=5)
        run.log({"a": 4.0}, step=7)
        run.log({"b": 5.0})
        run.log({"b": 6.0})
    tables = read(tmp_path)
    assert points(tables, "a") == [(0, 5, 1.0), (1, 5, 3.0), (2, 7, 4.0)]
    assert points(tables, "b") == [(0, 5, 2.0), (2, 7, 5.0), (3, 8, 6.0)]


def test_a_call_that_is_not_committed_is_a_row_with_the_next_one(tmp_path: Path) -> None:
    with begin(tmp_path) as run:
        run.log({"a": 1.0}, commit=False)
        run.log({"b": 2.0})
        run.log({"a": 3.0}, commit=False)
        run.log({"a": 4.0}, commit=False)
        run.log({"b": 5.0}, step=9, commit=True)
        run.log({"b": 6.0}, step=9)
    tables = read(tmp_path)
    assert points(tables, "a") == [(0, 0, 1.0), (1, 1, 3.0), (2, 1, 4.0)]
    assert points(tables, "b") == [(0, 0, 2.0), (3, 9, 5.0), (4, 9, 6.0)]


def test_a_lower_step_is_a_row_of_its_own_and_changes_no_other(tmp_path: Path) -> None:
    with begin(tmp_path) as run:
        run.log({"loss": 0.0}, step=10)
        run.log({"loss": 1.0}, step=3)
        run.log({"loss": 2.0}, step=-4)
        run.log({"loss": 3.0})
    assert points(read(tmp_path)) == [(0, 10, 0.0), (1, 3, 1.0), (2, -4, 2.0), (3, 10, 3.0)]


def test_a_step_that_is_none_costs_its_call_alone(tmp_path: Path) -> None:
    with begin(tmp_path) as run:
        run.log({"loss": 0.0}, step=2**63)
        run.log({"loss": 1.0}, step=2**62 - 1)
        run.log({"loss": 2.0})
        run.log({"loss": 3.0})
    last = 2**62 - 1
    assert points(read(tmp_path)) == [(0, last, 1.0), (1, last, 2.0), (2, last + 1, 3.0)]


class Size(Enum):
    SMALL = 1


@dataclass
class Inner:
    layers: list[int] = field(default_factory=lambda: [1, 2])


@dataclass(frozen=True)
class Settings:
    __slots__ = ("inner", "lr")
    lr: float
    inner: Inner


def test_the_configuration_is_set_in_every_way(tmp_path: Path) -> None:
    with begin(tmp_path, config={"lr": 0.1, "nested": {"a": {"b": 1}}, "none": None}) as run:
        run.config["batch"] = 32
        run.config.epochs = 3
        run.config.update(argparse.Namespace(seed=7), flag=True)
        run.config.update(Settings(0.5, Inner()))
        run.config.update([("pair", (1, 2))])
        run.config.odd = {3: Size.SMALL, "path": Path("a"), "set": {2, 1}, "range": range(2)}
        run.config.gone = 1
        del run.config["gone"]
        assert run.config.lr == 0.5
        assert copy.copy(run.config).batch == 32
        with pytest.raises(AttributeError):
            _ = run.config.absent
    assert leaves(read(tmp_path)) == {
        "lr": 0.5,
        "nested.a.b": 1,
        "none": None,
        "batch": 32,
        "epochs": 3,
        "seed": 7,
        "flag": True,
        "inner.layers": [1, 2],
        "pair": [1, 2],
        "odd.3": "Size.SMALL",
        "odd.path": "a",
        "odd.set": [1, 2],
        "odd.range": [0, 1],
    }


def test_the_configuration_and_summary_are_added_to_with_an_operator(tmp_path: Path) -> None:
    with begin(tmp_path, config={"lr": 0.1}) as run:
        run.config |= {"batch": 3}
        run.config |= Inner([1])
        run.summary |= {"best": 0.5}
        config = run.config
        config |= [("pair", (1, 2))]
        config |= 5
    tables = read(tmp_path)
    assert leaves(tables) == {"lr": 0.1, "batch": 3, "layers": [1], "pair": [1, 2]}
    assert leaves(tables, "summary") == {"best": 0.5}
    assert extra(tables)["damage"] == [
        "1 calls could not be kept: config: TypeError: 'int' object is not iterable"
    ]


def test_what_changes_in_nested_dicts_is_kept(tmp_path: Path) -> None:
    given = {"set": 1, "deep": {"er": {"x": 1}}, "gone": 1, "popped": 2, 3: 3}
    with begin(tmp_path, config={"a": given, "b": {"old": 1}, "c": {"old": 1}}) as run:
        a = run.config["a"]
        a["set"] = 2
        a["deep"]["er"]["x"] = 2
        run.config.a["deep"] |= {"y": 3}
        run.config["a"] |= {"z": 4}
        a["new"] = {"n": {}}
        a["new"]["n"]["m"] = 5
        a.update({"w": 6}, v=7)
        a.setdefault("default", {})["d"] = 8
        a.setdefault("set", 9)
        run.config.setdefault("top", {})["t"] = 9
        run.config.setdefault(4, {})["f"] = 4  # type: ignore[call-overload]
        del a["gone"]
        assert (a.pop("popped"), a.pop("none", 0)) == (2, 0)
        a.popitem()
        run.config["b"].clear()
        run.config["c"].update(run.config["b"], copied=1)
        run.config["d"] = run.config["c"]
        run.config["d"]["e"] = 1
        run.summary["n"] = {"k": 1}
        run.summary["n"]["k"] = 2
        sent = pickle.loads(pickle.dumps(run))
        sent.config["sent"] = {"s": 1}
        sent.config["d"]["f"] = 1
        kept = dict(run.config)
    given["set"] = 7
    tables = read(tmp_path)
    assert leaves(tables) == {
        "a.set": 2,
        "a.deep.er.x": 2,
        "a.deep.y": 3,
        "a.z": 4,
        "a.new.n.m": 5,
        "a.3": 3,
        "a.w": 6,
        "a.v": 7,
        "top.t": 9,
        "b": {},
        "4.f": 4,
        "c.old": 1,
        "c.copied": 1,
        "d.old": 1,
        "d.copied": 1,
        "d.e": 1,
        "d.f": 1,
        "sent.s": 1,
    }
    assert leaves(tables, "summary") == {"n.k": 2}
    assert kept["a"]["set"] == 2


def test_nested_dicts_are_dicts_and_those_that_were_replaced_are_nobodys(tmp_path: Path) -> None:
    with begin(tmp_path, config={"a": {"b": {"c": 1}}, "x": {"y": 1}}) as run:
        a, x = run.config["a"], run.config["x"]
        assert json.dumps(a) == '{"b": {"c": 1}}'
        for copied in (copy.copy(a), copy.deepcopy(a), pickle.loads(pickle.dumps(a)), a.copy()):
            assert (type(copied), copied) == (dict, a)
            copied["b"] = 2
        with pytest.raises(AttributeError):
            a.b = 2
        with pytest.raises(KeyError):
            del a["none"]
        run.config["a"] = {"new": 1}
        del run.config["x"]
        a["b"], x["y"] = 2, 2
    tables = read(tmp_path)
    assert leaves(tables) == {"a.new": 1}
    assert "damage" not in extra(tables)


def test_a_change_in_a_nested_dict_that_cannot_be_kept_is_counted(tmp_path: Path) -> None:
    circular: dict[str, Any] = {}
    circular["self"] = circular["again"] = circular
    with begin(tmp_path, config={"a": {"b": 1}}) as run:
        run.config["a"]["self"] = run.config["a"]
        run.config["a"]["circle"] = circular
        run.config["b"] = {"digits": 10**5000}
        run.config["b"]["digits"] = 1
    tables = read(tmp_path)
    assert leaves(tables) == {"a.b": 1, "b.digits": 1}
    assert len(extra(tables)["damage"]) == 1
    assert "3 calls" in extra(tables)["damage"][0]


def test_a_configuration_may_be_a_namespace_or_a_data_class(tmp_path: Path) -> None:
    for number, given in enumerate((argparse.Namespace(lr=0.5), Inner([3]), None, {})):
        with start("p", config=given, folder=tmp_path / str(number)):
            pass
    assert leaves(read(tmp_path / "0")) == {"lr": 0.5}
    assert leaves(read(tmp_path / "1")) == {"layers": [3]}


def test_a_run_begins_with_whatever_says_its_configuration_and_tags(tmp_path: Path) -> None:
    with begin(tmp_path, config=pd.Series({"lr": 0.5}), tags=np.array(["a", "b"]), to=None) as run:
        run.config = {"batch": 3}
        run.config = Inner([3])
        run.config.epochs = 1
        run.summary = {"best": 0.5}
    tables = read(tmp_path)
    assert leaves(tables) == {"lr": 0.5, "batch": 3, "layers": [3], "epochs": 1}
    assert leaves(tables, "summary") == {"best": 0.5}
    assert [row["key"] for row in tables["tags"]] == ["a", "b"]
    with begin(tmp_path / "none", config=argparse.Namespace(), tags=None):
        pass
    assert "damage" not in extra(read(tmp_path / "none"))


def test_a_store_may_be_a_path_and_nothing_else_is_one(tmp_path: Path) -> None:
    with begin(tmp_path / "root", to=Path(f"archive:{tmp_path / 'out'}")) as run:
        folder = run.folder
    assert folder is not None
    assert place.latest_header(folder)["to"] == [f"archive:{tmp_path / 'out'}"]
    for odd in (5, [5], [None], "nonsense:x", b"archive:x"):
        with pytest.raises(ConfigError):
            begin(tmp_path / "odd", to=odd)
        with pytest.raises(ConfigError):
            Mirror(odd, tmp_path / "odd")  # type: ignore[arg-type]
    assert not (tmp_path / "odd").exists()


@pytest.mark.parametrize(
    ("store", "way_out"),
    [
        ("wandb:team/project/run", "names a run; write wandb:team/project"),
        ("wandb:https://w.org/team/project/runs/r", "names a run; write wandb:https://w.org/team"),
        ("journal:./trackbridge", "take an archive"),
    ],
)
def test_a_store_that_can_be_no_target_is_one_line_and_stops_nothing(
    store: str,
    way_out: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spawn, "forwarder", lambda *_: None)
    with begin(tmp_path, to=["wandb:team/project", store]) as run:
        run.log({"loss": 1.0})
        run.finish(wait=0)
    [told] = caplog.messages
    assert told.startswith(f"trackbridge: to {store}: ") and way_out in told
    assert "\n" not in told and told.endswith("; what is logged is kept, but not brought there")
    assert points(read(tmp_path)) == [(0, 0, 1.0)]


def test_that_nothing_can_be_written_is_told_at_once_and_nothing_else_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    begin(tmp_path / "root", config=5)
    assert "cannot be written" not in caplog.text
    begin(tmp_path / "file")
    assert "cannot be written" in caplog.text


def test_a_configuration_that_is_none_is_counted_and_not_raised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    circular: dict[str, Any] = {}
    circular["self"] = circular
    with begin(tmp_path) as run:
        run.config.update(5)
        run.config.circle = circular
        run.config.digits = 10**5000
        run.summary.best = 0.5
    assert leaves(read(tmp_path), "summary") == {"best": 0.5}
    assert "3 calls could not be kept" in capsys.readouterr().err


def test_definitions_tags_alerts_and_fields_are_rows(tmp_path: Path) -> None:
    with begin(tmp_path, tags="first", notes="words", group="g", job_type="j") as run:
        run.define_metric("loss", "epoch", summary="min", goal="minimize")
        run.define_metric("val/*", hidden=True)
        run.define_metric("loss", "epoch", summary="max")
        run.set_tags(["a", "b"])
        run.set_tags({"kind": 3, "a": None})
        run.alert("title", "text \ud800", "WARN")
        run.set(name="renamed", started=datetime(2024, 1, 2, tzinfo=timezone.utc), colour="red")
    tables = read(tmp_path)
    defs = {row["key"]: row for row in tables["metric_defs"]}
    assert (defs["loss"]["summary"], defs["loss"]["goal"], defs["loss"]["glob"]) == (
        *("max", None),
        False,
    )
    assert (defs["val/*"]["hidden"], defs["val/*"]["glob"]) == (True, True)
    tags = {(row["key"], row["value"]) for row in tables["tags"]}
    assert tags == {("first", None), ("a", None), ("b", None), ("kind", "3")}
    assert (tables["alerts"][0]["title"], tables["alerts"][0]["level"]) == ("title", "WARN")
    [row] = tables["runs"]
    assert (row["name"], row["notes"], row["group"], row["job_type"]) == (
        *("renamed", "words"),
        *("g", "j"),
    )
    assert row["started"] == datetime(2024, 1, 2, tzinfo=timezone.utc)
    assert extra(tables)["colour"] == "red"


def test_words_that_say_nothing_are_told_once_and_counted_and_the_rest_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    odd: Any = 5
    with begin(tmp_path) as run:
        run.define_metric("loss", "epoch", summary="mn, Max,", goal="up", hidden=True)
        run.define_metric("acc", summary="men", goal=odd)
        run.define_metric("f1", summary=["min"], goal="Maximize")  # type: ignore[arg-type]
        run.alert("first", "text", "BAD")
        run.alert("second", level=odd)
        for level in (*sinks.LEVELS, "INFO", "warn", "Error"):
            run.alert(level, level=level)
    told = [record.message for record in caplog.records]
    assert len(told) == 3
    for word, known in (("'mn'", "min, max"), ("'up'", "minimize, maximize"), ("'BAD'", "info")):
        assert [message for message in told if f"{word} is none of {known}" in message], word
    assert "7 calls could not be kept" in capsys.readouterr().err
    tables = read(tmp_path)
    defs = {row["key"]: row for row in tables["metric_defs"]}
    loss, acc = defs["loss"], defs["acc"]
    assert (loss["x_axis"], loss["summary"], loss["goal"], loss["hidden"]) == (
        *("epoch", "max"),
        *(None, True),
    )
    assert (acc["summary"], acc["goal"], defs["f1"]["goal"]) == (None, None, "maximize")
    levels = {row["title"]: row["level"] for row in tables["alerts"]}
    assert (levels.pop("first"), levels.pop("second")) == ("INFO", "INFO")
    assert all(title == level for title, level in levels.items())


def test_files_and_artifacts_are_kept_with_their_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "model.v1"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "weights.bin").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    with begin(tmp_path / "root") as run:
        run.log_artifact(folder, kind="model", aliases="best", metadata={"n": 1})
        run.log_artifact(folder / "config.json", "named")
        run.log_artifact(folder / "config.json", 7)  # type: ignore[arg-type]
        run.log_artifact(folder)
        run.save(folder / "config.json")
        run.save(folder / "config.json", "other/name.json")
    tables = read(tmp_path / "root")
    versions = [(row["collection"], row["version"], row["aliases"]) for row in tables["artifacts"]]
    assert versions == [
        ("model.v1", "v0", '["best"]'),
        ("named", "v0", '["latest"]'),
        ("7", "v0", '["latest"]'),
        ("model.v1", "v1", '["latest"]'),
    ]
    files = {(row["owner"], row["path"]) for row in tables["files"]}
    assert files == {
        *(("model.v1:v0", "sub/weights.bin"), ("model.v1:v0", "config.json")),
        *(("model.v1:v1", "sub/weights.bin"), ("model.v1:v1", "config.json")),
        *(
            ("named:v0", "config.json"),
            ("7:v0", "config.json"),
            ("", "config.json"),
            ("", "other/name.json"),
        ),
    }


def test_what_no_reader_would_understand_is_not_written(tmp_path: Path) -> None:
    odd: list[tuple[str, dict[str, Any]]] = [
        ("artifact", {"row": {"collection": 7}, "files": []}),
        ("end", {"status": None, "exit_code": True}),
        ("config", {"set": {}, "drop": [1]}),
        ("lost", {"calls": 1}),
    ]
    with begin(tmp_path) as run:
        for kind, content in odd:
            with pytest.raises(ValueError, match="could not be read"):
                run.tell(kind, **content)
        run.tell("whole", row=0, step=0, again=1, keys=("loss",), values=(1.0,), items=())
    tables = read(tmp_path)
    assert "damage" not in extra(tables)
    assert points(tables) == [(0, 0, 1.0)]


def test_files_that_cannot_be_kept_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("content")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
    with begin(tmp_path / "root") as run:
        run.log_artifact(tmp_path / "gone")
        run.save(tmp_path / "gone")
        run.save(tmp_path / "pipe")
        run.save(tmp_path / "file", "../outside")
        run.save(tmp_path / "file", "/outside")
        run.log_artifact(tmp_path, metadata=5)  # type: ignore[arg-type]
        run.log({"loss": 1.0})
    tables = read(tmp_path / "root")
    assert points(tables) == [(0, 0, 1.0)]
    assert not (tmp_path / "root" / "outside").exists()
    assert "5 calls could not be kept" in capsys.readouterr().err


ENDS: list[tuple[str, tuple[str, int | None]]] = [
    ("pass", ("finished", 0)),
    ("raise ValueError", ("failed", 1)),
    ("raise SystemExit", ("finished", 0)),
    ("raise SystemExit(0)", ("finished", 0)),
    ("raise SystemExit(3)", ("failed", 3)),
    ("raise SystemExit('words')", ("failed", 1)),
    ("raise KeyboardInterrupt", ("killed", 130)),
]


@pytest.mark.parametrize(("how", "expected"), ENDS)
def test_a_run_ends_as_its_block_ends(
    tmp_path: Path, how: str, expected: tuple[str, int | None]
) -> None:
    with suppress(BaseException), begin(tmp_path):
        exec(how)
    assert status(read(tmp_path)) == expected


TOLD: list[tuple[dict[str, Any], tuple[str, int | None]]] = [
    ({}, ("finished", None)),
    ({"exit_code": 0}, ("finished", 0)),
    ({"exit_code": 2}, ("failed", 2)),
    ({"status": "crashed"}, ("crashed", None)),
    ({"status": "KILLED", "exit_code": 9}, ("killed", 9)),
    ({"status": "no status"}, ("finished", None)),
    ({"status": 5, "exit_code": 1}, ("failed", 1)),
    ({"exit_code": True}, ("failed", 1)),
    ({"exit_code": False}, ("finished", 0)),
    ({"exit_code": np.int64(3)}, ("failed", 3)),
    ({"exit_code": "words"}, ("failed", 1)),
    ({"exit_code": 2**70}, ("failed", 1)),
    ({"status": np.zeros(2)}, ("finished", None)),
]


@pytest.mark.parametrize(("told", "expected"), TOLD)
def test_a_run_ends_as_it_is_told(
    tmp_path: Path, told: dict[str, Any], expected: tuple[str, int | None]
) -> None:
    begin(tmp_path).finish(**told)
    assert status(read(tmp_path)) == expected


PROGRAM = """
import sys
from trackbridge.dual.starting import start
run = start("p", run_id="r", folder=sys.argv[1])
run.log({"loss": 1.0})
"""


@pytest.mark.parametrize(
    ("line", "code", "expected"),
    [
        ("", 0, ("finished", 0)),
        ("raise ValueError", 1, ("failed", 1)),
        ("raise KeyboardInterrupt", 130, ("killed", 130)),
        ("run.finish(); run.log({'loss': 2.0}); run.finish('failed')", 0, ("finished", None)),
        ("sys.stderr = None; run.log({'x': object}); run.log(5)", 0, ("finished", 0)),
        ("sys.stderr.close(); run.log(5)", 0, ("finished", 0)),
    ],
)
def test_a_program_that_says_nothing_ends_its_run_and_keeps_its_exit_code(
    tmp_path: Path, line: str, code: int, expected: tuple[str, int | None]
) -> None:
    told = subprocess.run(
        [sys.executable, "-c", f"{PROGRAM}{line}", str(tmp_path)], capture_output=True, check=False
    )
    assert told.returncode in (code, code - 132)  # -2: by a signal
    tables = read(tmp_path)
    assert (status(tables), points(tables)) == (expected, [(0, 0, 1.0)])


def test_what_comes_after_the_end_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = begin(tmp_path)
    run.finish()
    run.log({"loss": 1.0})
    run.log({"loss": 2.0})
    run.alert("title")
    run.config["lr"] = 0.1
    run.finish("failed")
    assert [record.getMessage().count("has ended") for record in caplog.records] == [1, 1]
    assert status(read(tmp_path)) == ("finished", None)


def test_threads_may_end_a_run_at_once(tmp_path: Path) -> None:
    run = begin(tmp_path)
    folder = run.folder
    assert folder is not None
    with ThreadPoolExecutor(8) as pool:
        for end in [pool.submit(run.finish, exit_code=0) for _ in range(8)]:
            end.result()
    assert status(read(tmp_path)) == ("finished", 0)
    [path] = place.files(folder)
    assert path.read_bytes().count(b'"t":"end"') == 1


def test_a_thread_that_logs_while_the_run_ends_does_not_begin_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It had looked whether the run goes on just before."""
    run = begin(tmp_path)
    run.log({"loss": 0.0})
    folder, journal = run.folder, run._journal
    assert folder is not None
    run.finish()
    monkeypatch.setattr(run, "_journal", journal)
    run.log({"loss": 1.0})
    run.config["lr"] = 0.1
    run.alert("title")
    assert [record.getMessage() for record in caplog.records] == [
        f"trackbridge: {what}: the run has ended; it is not kept"
        for what in ("log", "config", "alert")
    ]
    assert len(place.files(folder)) == 1
    assert status(read(tmp_path))[0] == "finished"


def test_an_end_that_cannot_be_told_of_raises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OSError("stale file handle")

    for name in ("wait", "_report"):
        run = start("p", run_id=name, folder=tmp_path)
        monkeypatch.setattr(ending if name == "wait" else run, name, fails)
        run.finish()
    assert {status(tables) for tables in read_all(tmp_path).values()} == {("finished", None)}


def test_a_forwarder_that_cannot_be_begun_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Python does not know where it lies itself if another program has it inside."""
    monkeypatch.setattr(sys, "executable", None)
    monkeypatch.setattr("trackbridge.dual.run.TENDED", 0)
    with begin(tmp_path / "root", to=f"archive:{tmp_path / 'out'}") as run:
        run.log({"loss": 1.0})
    assert [record.getMessage()[:38] for record in caplog.records] == [
        "trackbridge: no forwarder can be begun"
    ]
    assert points(read(tmp_path / "root")) == [(0, 0, 1.0)]


def test_a_run_that_is_resumed_goes_on_after_its_last_row_and_step(tmp_path: Path) -> None:
    with begin(tmp_path, config={"lr": 0.1}) as run:
        run.log({"loss": 0.0}, step=10)
        run.log({"text": "words"}, step=20)
        run.log({"loss": 1.0}, step=3)
    with begin(tmp_path, resume=True, config={"more": 1}) as run:
        assert (run.row, run.step) == (3, 21)
        run.log({"loss": 2.0})
    tables = read(tmp_path)
    assert points(tables) == [(0, 10, 0.0), (2, 3, 1.0), (3, 21, 2.0)]
    assert leaves(tables) == {"lr": 0.1, "more": 1}
    assert status(tables) == ("finished", 0)


def test_a_run_that_is_there_goes_on_with_a_warning(tmp_path: Path) -> None:
    begin(tmp_path).finish()
    with pytest.warns(UserWarning, match="is there already, and goes on"):
        begin(tmp_path).finish()


def test_a_run_goes_on_where_warnings_are_errors(tmp_path: Path) -> None:
    begin(tmp_path).finish()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        begin(tmp_path).finish()


def test_a_run_that_goes_on_is_running_again(tmp_path: Path) -> None:
    begin(tmp_path).finish("failed")
    run = begin(tmp_path, resume=True)
    assert status(read(tmp_path))[0] == "running"
    run.finish()
    assert status(read(tmp_path))[0] == "finished"


def test_two_runs_at_once_do_not_mix(tmp_path: Path) -> None:
    one, two = (start("p", run_id=name, folder=tmp_path) for name in ("one", "two"))
    for n in range(5):
        one.log({"loss": float(n)})
        two.log({"loss": -float(n)})
    one.finish()
    two.finish()
    found = {ref.run_id: points(tables) for ref, tables in read_all(tmp_path).items()}
    assert found["one"] == [(n, n, float(n)) for n in range(5)]
    assert found["two"] == [(n, n, -float(n)) for n in range(5)]


def test_processes_that_begin_one_run_at_once_have_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither sees the other's, as on network file systems."""
    monkeypatch.setattr(place, "find", lambda *_: None)
    runs = [begin(tmp_path)]
    time.sleep(1.1 - time.time() % 1)  # the next one begins in another second
    runs.append(begin(tmp_path))
    for number, run in enumerate(runs):
        run.log({"loss": float(number)})
        run.finish()
    assert len(list(tmp_path.glob("run-*"))) == 1
    assert sorted(value for *_, value in points(read(tmp_path))) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("run_id", "stamped"),
    [("r-1", "run-20240101_000000-r-1.148d"), ("A/b", "run-20240101_000000-A_b-3646f7.148d")],
)
def test_a_run_whose_folder_has_a_stamp_is_found_and_gone_on_with(
    tmp_path: Path, run_id: str, stamped: str
) -> None:
    with start("p", run_id=run_id, folder=tmp_path) as run:
        run.log({"loss": 0.0})
        folder = run.folder
    assert folder is not None
    folder.rename(tmp_path / stamped)
    with start("p", run_id=run_id, folder=tmp_path, resume=True) as run:
        run.log({"loss": 1.0})
    assert [path.name for path in tmp_path.iterdir()] == [stamped]


def test_runs_are_listed_in_the_order_in_which_they_were_begun(tmp_path: Path) -> None:
    (tmp_path / "run-0").mkdir()
    for name in "bac":
        start("p", run_id=name, folder=tmp_path).finish()
    assert [path.name[:5] for path in place.runs(tmp_path)] == ["run-b", "run-a", "run-c", "run-0"]


HOSTILE = [
    *("../../outside", "/etc/passwd", "a/b", "a_b", "A_B", "", "é" * 100, "𠀀" * 64, "x" * 300),
    *("*", "[a]", "a\0b", "a\nb", ".", "..", "half \ud800", "CON", 5),
]


def test_ids_of_every_shape_have_folders_of_their_own(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for number, name in enumerate(HOSTILE):
        with start("p", run_id=name, folder=root) as run:  # type: ignore[arg-type]
            run.log({"loss": float(number)})
    found = {ref.run_id: points(tables)[0][2] for ref, tables in read_all(root).items()}
    assert sorted(found.values()) == [float(n) for n in range(len(HOSTILE))]
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    assert found["../../outside"] == 0.0
    for name in HOSTILE:
        if name and name != "half \ud800":
            with start("p", run_id=name, resume=True, folder=root) as run:  # type: ignore[arg-type]
                assert run.row == 1, name


def test_the_first_process_of_a_group_alone_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        with start("p", folder=tmp_path) as run:
            run.log({"loss": float(rank)})
            run.config["rank"] = rank
            assert (run.folder is None) == bool(rank)
    assert points(read(tmp_path)) == [(0, 0, 0.0)]


@pytest.mark.parametrize("variable", ["RANK", "SLURM_PROCID"])
def test_every_process_of_a_group_may_log_a_run_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    for rank in range(3):
        monkeypatch.setenv(variable, str(rank))
        with start("p", ranks="all", folder=tmp_path) as run:
            run.log({"loss": float(rank)})
    found = read_all(tmp_path)
    logged = {ref.run_id: points(tables)[0][2] for ref, tables in found.items()}
    assert logged == {f"77-{rank}": float(rank) for rank in range(3)}
    assert {tables["runs"][0]["group"] for tables in found.values()} == {"77"}


@pytest.mark.parametrize("ranks", ["All", "", "1", None])
@pytest.mark.parametrize("rank", ["", "0", "1"])
def test_other_ranks_are_an_error_in_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: str, ranks: Any
) -> None:
    monkeypatch.setenv("RANK", rank)
    with pytest.raises(ConfigError, match="is neither 'first' nor 'all'"):
        start("p", ranks=ranks, folder=tmp_path / "none")
    with pytest.raises(ConfigError, match="is neither 'first' nor 'all'"):
        mirror("wandb", ranks=ranks, folder=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_run_that_is_sent_to_another_process_is_the_same_and_goes_on(tmp_path: Path) -> None:
    with begin(tmp_path, config={"lr": 0.1}) as run:
        run.log({"loss": 0.0})
        late = pickle.loads(pickle.dumps(run))
        for sent in (pickle.loads(pickle.dumps(run)), copy.deepcopy(run)):
            assert (sent.id, sent.step, sent.config.lr) == ("r", 1, 0.1)
            sent.log({"loss": 1.0})
            sent.finish("failed")
        run.log({"loss": 2.0})
    tables = read(tmp_path)
    assert sorted(value for *_, value in points(tables)) == [0.0, 1.0, 1.0, 2.0]
    assert (leaves(tables), status(tables)) == ({"lr": 0.1}, ("finished", 0))
    late.log({"loss": 3.0})
    tables = read(tmp_path)
    assert (len(points(tables)), status(tables)) == (5, ("finished", 0))
    assert pickle.loads(pickle.dumps(run)).folder is None


def test_a_group_of_torchrun_is_not_the_one_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have the same id and port unless they are told others."""
    told = {"TORCHELASTIC_RUN_ID": "none", "MASTER_PORT": "29500", "GROUP_WORLD_SIZE": "1"}
    for name, text in told.items():
        monkeypatch.setenv(name, text)
    for group in ("none_abc", "none_def"):
        for rank in range(2):
            logs = tmp_path / "logs" / group / "attempt_0" / str(rank) / "error.json"
            monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(logs))
            monkeypatch.setenv("RANK", str(rank))
            start("p", ranks="all", folder=tmp_path / "root").finish()
    found = {
        ref.run_id: run["runs"][0]["group"] for ref, run in read_all(tmp_path / "root").items()
    }
    assert found == {"abc-0": "abc", "abc-1": "abc", "def-0": "def", "def-1": "def"}


@pytest.mark.parametrize(("node", "local"), [("0", "1"), ("1", "0"), ("", "3")])
def test_processes_that_know_their_place_in_a_node_alone_do_not_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: str, local: str
) -> None:
    monkeypatch.setenv("NODE_RANK", node)
    monkeypatch.setenv("LOCAL_RANK", local)
    assert start("p", folder=tmp_path).folder is None
    monkeypatch.setenv("RANK", "0")
    assert begin(tmp_path).folder is not None


def test_a_program_may_go_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its forwarder is the same one, in the place where it was begun."""
    asked = []
    monkeypatch.setattr(spawn, "is_running", lambda name: asked.append(name) or True)
    monkeypatch.chdir(tmp_path)
    with begin(tmp_path / "root", to="archive:./out") as run:
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        monkeypatch.setenv("SOME_TOKEN", "new")
        folder = run.folder
    assert folder is not None
    told = place.header(place.files(folder)[0])
    assert (told["cwd"], {told["by"]}) == (str(tmp_path), set(asked))
    assert len(asked) == 2


def test_logging_is_switched_off_by_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKBRIDGE_DISABLED", "1")
    with start("p", folder=tmp_path / "root", config={"a": 1}) as run:
        run.log({"loss": 1.0})
        run.config["lr"] = 0.1
        assert run.config.lr == 0.1
        run.save("no file")
        run.alert("title")
    assert run.folder is None
    assert list(tmp_path.iterdir()) == []


def test_a_variable_says_where_journals_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKBRIDGE_DIR", str(tmp_path / "there"))
    with start("p") as run:
        run.log({"loss": 1.0})
    assert points(read(tmp_path / "there")) == [(0, 0, 1.0)]
    assert (tmp_path / "there" / ".gitignore").read_text() == "*\n"


def test_a_folder_that_was_there_is_not_hidden_from_version_control(tmp_path: Path) -> None:
    begin(tmp_path).finish()
    assert not (tmp_path / ".gitignore").exists()


def test_a_user_without_a_name_and_a_folder_that_is_gone_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 1000")

    monkeypatch.setattr(getpass, "getuser", unknown)
    monkeypatch.setattr("trackbridge.dual.starting.getuser", unknown)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with start("p", folder=tmp_path / "root") as run:
        run.log({"loss": 1.0})
    monkeypatch.chdir(tmp_path)
    tables = read(tmp_path / "root")
    assert points(tables) == [(0, 0, 1.0)]
    assert tables["runs"][0]["user"] is None


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "deep" / "er").mkdir(parents=True)
    git(folder, "init", "-q")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    git(folder, "remote", "add", "origin", "https://user:token@example.org/a/b.git")
    return folder


ORIGIN = "https://example.org/a/b.git"


def test_the_commit_and_the_remote_without_its_login_are_known(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    assert repository(checkout / "deep" / "er") == (ORIGIN, head)
    git(checkout, "pack-refs", "--all")
    assert repository(checkout) == (ORIGIN, head)
    git(checkout, "checkout", "-q", "--detach")
    assert repository(checkout) == (ORIGIN, head)
    git(checkout, "remote", "set-url", "origin", "git@example.org:a/b.git")
    assert repository(checkout) == ("git@example.org:a/b.git", head)


def test_worktrees_know_their_own_commit(checkout: Path) -> None:
    tree = checkout.parent / "tree"
    git(checkout, "worktree", "add", "-q", "-b", "other", str(tree))
    git(tree, "commit", "-q", "--allow-empty", "-m", "second")
    assert repository(tree) == (ORIGIN, git(tree, "rev-parse", "HEAD"))
    git(tree, "pack-refs", "--all")
    assert repository(tree) == (ORIGIN, git(tree, "rev-parse", "HEAD"))


def test_repositories_without_a_commit_or_that_are_none_say_nothing(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert repository(tmp_path) == (None, None)
    odd = tmp_path / "odd"
    odd.mkdir()
    for content in (b"", b"gitdir: /nowhere\n", b"\xff\xfe", b"gitdir: a\0b\n"):
        (odd / ".git").write_bytes(content)
        assert repository(odd) == (None, None)


def test_a_text_is_logged_with_pictures_and_tables_of_its_row(tmp_path: Path) -> None:
    with begin(tmp_path) as run:
        run.log({"loss": 1.0, "text": "words", "flag": True}, step=4)
        run.log_table("table", ["a"], [[1]], step=4)
    tables = read(tmp_path)
    assert points(tables) == [(0, 4, 1.0)]
    assert {(row["key"], row["row"], row["step"]) for row in tables["series"]} == {
        (key, 0, 4) for key in ("text", "flag", "table")
    }
    assert series(tables)["text"] == ("text", "words")
