"""Runs that were brought to a server and are gone on with there: what came later is read too."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from wandb_server import Server
from wandb_server.client import script
from wandb_server.state import Run

import trackbridge
from trackbridge.adapter import FileRef, Query, Row, RunInfo, RunKey
from trackbridge.engine import Report
from trackbridge.registry import open_reader, open_writer
from trackbridge.sidecar import Overlay
from trackbridge.testing import samples
from trackbridge.testing.made import MadeRun, deliver

pytest.importorskip("wandb")
NUMBERS = itertools.count()
CONSOLE = ["loading\n", "\n", "\x1b[32m10%\x1b[0m\r\x1b[32m20%\x1b[0m\n", "done\n", "\n"]
LATER = """
with wandb.init(project="p", id="{run}", resume="must") as run:
    print("\\n  going on")
    print("done")
    run.log({{"loss": 0.25, "more": 1}})
    late = wandb.Artifact("late", "model", description="of theirs", metadata={{"x": 1}})
    with late.new_file("sub/b.txt") as file:
        file.write("later")
    run.log_artifact(late, aliases=["best"])
    again = wandb.Artifact("data", "dataset")
    with again.new_file("a.txt") as file:
        file.write("other content")
    run.log_artifact(again)
    run.use_artifact("team/other/given:v0")
    run.use_artifact("team/p/data:v0")
"""
"""A program of somebody's, which logs to a run that is there."""
OTHER = """
with wandb.init(project="other") as run:
    given = wandb.Artifact("given", "dataset")
    with given.new_file("g.txt") as file:
        file.write("given")
    run.log_artifact(given)
"""


class Moved(NamedTuple):
    """A store, the server that its one run was brought to, and the run there."""

    source: str
    target: str
    server: Server
    report: Report

    @property
    def info(self) -> RunInfo:
        [info] = open_reader(self.target).list_runs(Query())
        return info

    @property
    def run(self) -> Run:
        """As the server has it."""
        return self.server.run(f"team/p/{self.info.ref.run_id}")

    def rows(self, table: str, store: str = "") -> list[Row]:
        """Of the run as it is where it was born, with what came later."""
        reader = open_reader(store or self.target)
        found = Overlay(reader, list(reader.list_runs(Query()))).read([table])
        return [row for batch in found for row in batch.data.to_pylist()]

    def go_on(self, code: str) -> None:
        """Somebody's code is carried out, who knows the run's id."""
        script(self.server, code.format(run=self.info.ref.run_id))


def run_of(kind: str, console: list[str] = CONSOLE, *, artifacts: bool = True) -> MadeRun:
    """A run that logged an artifact, used another one and printed lines."""
    run = samples.long("abc", 5)
    run.key = RunKey(kind, "", "team/p", "abc")
    run.tables["runs"][0] |= {"started": samples._START, "ended": samples._START, "host": "there"}
    run.tables["runs"][0]["extra"] = '{"os": "Linux"}'
    run.tables["logs"] = [
        {"stream": "stdout", "line": line, "time": None, "text": text}
        for line, text in enumerate(console)
    ]
    run.tables["summary"] = [{"key": "best", "value": "1", "type": "integer"}]
    run.tables["inputs"] = [{"name": "given:v3", "kind": "dataset"}]
    if artifacts:
        data = {"collection": "data", "kind": "dataset", "version": "v0", "direction": "logged"}
        run.tables["artifacts"] = [data]
        run.add_file("data:v0", "a.txt", b"content")
    return run


Bring = Callable[[MadeRun], Moved]


@pytest.fixture
def bring(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bring:
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    monkeypatch.setenv("TRACKBRIDGE_STATE", str(tmp_path / "state"))
    source = f"memory:gone-on-{next(NUMBERS)}"

    def move(run: MadeRun) -> Moved:
        writer = open_writer(source)
        with writer.open([run.key]) as sink:
            deliver(writer, sink, [run])
            sink.commit()
        target = f"wandb:{server.address}/team/p"
        report = trackbridge.migrate(source, target)
        assert report.verified, report.failures
        assert trackbridge.verify(source, target).holds
        return Moved(source, target, server, report)

    return move


@pytest.fixture(params=["wandb", "mlflow"])
def moved(request: pytest.FixtureRequest, bring: Bring) -> Moved:
    """A run as it was brought, born in either kind of store."""
    return bring(run_of(request.param))


@pytest.fixture
def later(bring: Bring) -> Moved:
    """A run that somebody's program has logged to since it was brought."""
    moved = bring(run_of("wandb"))
    script(moved.server, OTHER)
    moved.go_on(LATER)
    return moved


def texts(rows: list[Row], *names: str) -> list[tuple[object, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


def test_artifacts_that_were_logged_later_are_read_with_their_files(later: Moved) -> None:
    rows = later.rows("artifacts")
    names = ("collection", "version", "aliases", "direction", "description")
    assert sorted(texts(rows, *names), key=str) == [
        ("data", "v0", None, "logged", None),
        ("data", "v1", '["latest"]', "logged", None),
        ("late", "v0", '["best", "latest"]', "logged", "of theirs"),
    ]
    files = {(row["owner"], row["path"]) for row in later.rows("files")}
    assert {("data:v0", "a.txt"), ("data:v1", "a.txt"), ("late:v0", "sub/b.txt")} <= files
    reader = open_reader(later.target)
    for owner, path, content in (
        ("data:v0", "a.txt", b"content"),
        ("data:v1", "a.txt", b"other content"),
        ("late:v0", "sub/b.txt", b"later"),
    ):
        with reader.open_file(FileRef(later.info.ref, owner, path)) as data:
            assert data.read() == content


def test_artifacts_that_were_used_later_are_inputs(later: Moved) -> None:
    rows = sorted(later.rows("inputs"), key=lambda row: str(row["name"]))
    assert texts(rows, "name", "source") == [
        ("given:v0", "team/other/given:v0"),
        ("given:v3", None),
    ]
    assert rows[0]["digest"]


def test_console_lines_that_were_printed_later_follow_those_that_were_brought(
    moved: Moved,
) -> None:
    before = moved.rows("logs")
    assert [row["text"] for row in before] == CONSOLE
    moved.go_on(LATER.partition("    late =")[0])
    rows = moved.rows("logs")
    assert rows[: len(before)] == before
    assert texts(rows[len(before) :], "line", "stream", "text") == [
        (5, "stdout", "\n"),
        (6, "stdout", "  going on\n"),
        (7, "stdout", "done\n"),
    ]


def test_lines_of_a_run_that_printed_none_are_read(bring: Bring) -> None:
    moved = bring(run_of("wandb", []))
    moved.go_on(LATER.partition("    late =")[0])
    assert [row["text"] for row in moved.rows("logs")] == ["\n", "  going on\n", "done\n"]


def test_values_that_were_set_later_are_read(moved: Moved) -> None:
    moved.go_on("""
run = wandb.Api().run("team/p/{run}")
run.config["added"] = {{"empty": {{}}, "deep": 2}}
run.summary["verdict"] = "good"
run.summary["best"] = 2
run.tags = ["seen"]
run.notes, run.name, run.group = "looked at", "better name", "these"
run.update()
""")
    moved.run.values["jobType"] = "eval"
    moved.run.sweep = "swept"
    [row] = moved.rows("runs")
    assert (row["notes"], row["name"], row["group"]) == ("looked at", "better name", "these")
    assert (row["job_type"], row["sweep_id"]) == ("eval", "swept")
    params = texts(moved.rows("params"), "key", "value")
    assert {("added.empty", "{}"), ("added.deep", "2")} <= set(params)
    assert texts(moved.rows("summary"), "key", "value") == [("best", "2"), ("verdict", "good")]
    assert texts(moved.rows("tags"), "key") == [("seen",)]


def test_a_run_that_went_on_ends_when_it_ended_there(later: Moved) -> None:
    [row] = later.rows("runs")
    assert row["started"] == samples._START
    assert row["ended"] > samples._START
    assert row["status"] == "finished"
    assert row["host"] == "there"
    extra = json.loads(row["extra"])
    assert "damage" not in extra
    assert extra["os"] == "Linux"
    [program] = extra["later_programs"].values()
    assert program["host"] != "there"


def test_a_run_that_crashed_while_it_went_on_is_there_as_a_whole(later: Moved) -> None:
    later.run.state = "crashed"
    [row] = later.rows("runs")
    assert row["status"] == "crashed"
    assert "damage" not in (row["extra"] or "")


def test_what_came_later_is_told_by_the_next_migration_and_stays(later: Moved) -> None:
    report = trackbridge.migrate(later.source, later.target)
    [failure] = report.failures
    assert "changed in the target" in failure.error
    found = trackbridge.verify(later.source, later.target)
    assert {d.table for d in found.differences} >= {"artifacts", "files", "inputs", "logs"}
    assert len(later.rows("artifacts")) == 3


def test_what_came_later_goes_along_to_other_stores(later: Moved, tmp_path: Path) -> None:
    (tmp_path / "mlruns").mkdir()
    stores = [f"archive:{tmp_path}/archive", f"mlflow:{tmp_path}/mlruns"]
    for store in [*stores, f"wandb:{later.server.address}/team/again"]:
        report = trackbridge.migrate(later.target, store)
        assert report.verified, report.failures
        assert trackbridge.verify(later.target, store).holds
        for table in ("artifacts", "inputs", "logs"):
            assert len(later.rows(table, store)) == len(later.rows(table))


def test_a_source_that_changed_too_replaces_what_came_later_and_says_so(
    later: Moved, bring: Bring
) -> None:
    run = run_of("wandb")
    run.tables["runs"][0]["notes"] = "changed"
    undone = [loss for loss in bring(run).report.losses if "undone" in loss.kind]
    assert [loss.example for loss in undone] == ["team/p/abc"]
    assert later.info.ref.run_id == "abc"
    assert list(later.server.state.projects["team", "p"].runs) == ["abc-r2"]
    assert texts(later.rows("artifacts"), "collection") == [("data",)]
    assert len(later.rows("logs")) == len(CONSOLE)


def test_a_console_that_became_shorter_leaves_no_line_behind(bring: Bring) -> None:
    bring(run_of("wandb"))
    moved = bring(run_of("wandb", CONSOLE[:1]))
    assert [row["text"] for row in moved.rows("logs")] == CONSOLE[:1]


def test_an_artifact_that_is_gone_from_the_source_is_gone(bring: Bring) -> None:
    bring(run_of("wandb"))
    moved = bring(run_of("wandb", artifacts=False))
    assert moved.rows("artifacts") == []
