"""What is foretold of a migration to a server, and what comes of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from wandb_server import Server, runs, started

import trackbridge
from trackbridge.adapter import Row, RunKey
from trackbridge.columns import batches
from trackbridge.forecast import forecast
from trackbridge.registry import open_writer
from trackbridge.testing import samples
from trackbridge.testing.made import MadeRun, deliver

pytest.importorskip("wandb")
NUMBERS = itertools.count()
STORAGE = {"upload", "download", "file"}
"""Requests that no server counts."""


@pytest.fixture
def target(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    return f"wandb:{server.address}/team/p"


def store(runs: Sequence[MadeRun]) -> str:
    """A new store with some runs."""
    address = f"memory:forecast-{next(NUMBERS)}"
    writer = open_writer(address)
    with writer.open([run.key for run in runs]) as sink:
        deliver(writer, sink, runs)
        sink.commit()
    return address


def logging(run_id: str, versions: int) -> MadeRun:
    """A run of W&B's with a file of its own, which logged so many versions of an artifact."""
    run = samples.long(run_id, 2)
    run.key = RunKey("wandb", "", "team/p", run_id)
    common = {"collection": f"model-{run_id}", "kind": "model", "direction": "logged"}
    run.tables["artifacts"] = [{**common, "version": f"v{n}"} for n in range(versions)]
    for number in range(versions):
        run.add_file(f"model-{run_id}:v{number}", "weights.bin", f"{run_id} {number}".encode())
    return run


@pytest.mark.parametrize("versions", [0, 6])
def test_about_as_many_calls_are_foretold_as_are_sent(
    server: Server, target: str, versions: int
) -> None:
    source = store([logging(f"run{number}", versions) for number in range(4)])
    foretold = forecast(source, target).api_calls
    server.faults.forget()
    assert trackbridge.migrate(source, target).verified
    counts = server.faults.counts()
    sent = sum(count for what, count in counts.items() if what not in STORAGE)
    assert 0.75 * sent < foretold < 1.25 * sent, counts


BIG, ROUNDED = str(2**53 + 1), str(2**53)
MOMENT = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


def leaf(*path: str, value: str, kind: str) -> Row:
    return {"key": ".".join(path), "path": json.dumps(path), "value": value, "type": kind}


def point(key: str, kind: str, value: str) -> Row:
    return {"key": key, "step": 0, "row": 0, "time": MOMENT, "kind": kind, "value": value}


def losses(found: Any) -> dict[str, tuple[int, str]]:
    return {loss.kind: (loss.count, loss.example) for loss in found.losses}


def test_the_run_that_is_ours_is_announced_when_it_is_written(target: str) -> None:
    source = store([logging("run0", 0)])
    assert trackbridge.migrate(source, target).advice == ""
    other = store([logging("run1", 0)])
    models = [{"name": "m", "description": "something"}]
    with open_writer(other).open([]) as sink:
        for batch in batches("models", models):
            sink.write(batch)
        sink.commit()
    report = trackbridge.migrate(other, target)
    assert "the run trackbridge-store in the table of team/p keeps" in report.advice


def test_of_what_others_have_logged_nothing_is_named_that_is_shown(target: str) -> None:
    run = samples.simple("0" * 32)
    run.key = RunKey("mlflow", "", "vision", "0" * 32)
    long = "x" * 65
    run.tables["tags"] = [{"key": long}, {"key": "label"}, {"key": "team", "value": "blue"}]
    run.tables["params"] = [{"key": "a.b", "value": "True", "type": "string"}]
    report = trackbridge.migrate(store([run]), target)
    named = {kind for kind in losses(report) if not kind.startswith(("files", "steps"))}
    assert named == {"tags not shown"}


def test_a_run_of_the_same_names_on_another_server_is_not_taken_for_the_first(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    away = f"archive:{tmp_path}/archive"
    with started(tmp_path / "other") as other:
        for place, created in ((server, "2026-01-01T00:00:00Z"), (other, "2026-02-01T00:00:00Z")):
            given = {"name": "abc", "modelName": "p", "entityName": "team"}
            run, _ = runs.upsert(place.state, place.user, given)
            run.created_at, run.state = created, "finished"
        assert trackbridge.migrate(f"wandb:{server.address}/team/p", away).verified
        home = f"wandb:{other.address}/team/p"
        foreseen = forecast(home, away)
        assert (foreseen.runs, foreseen.skipped) == (0, 0)
        assert foreseen.failures == trackbridge.migrate(home, away).failures
        assert "take a target of its own for this one" in foreseen.failures[0].error


def test_what_the_server_does_not_show_is_named(target: str) -> None:
    run = logging("abc", 0)
    own = {"status": "killed", "ended": MOMENT + timedelta(hours=1), "user": "alice"}
    run.tables["runs"] = [
        {"name": "n", "started": MOMENT, "sweep_id": "s", "deleted": False, **own}
    ]
    run.tables["params"] = [
        leaf("big", value=BIG, kind="integer"),
        leaf("dots.in.it", value="1.0", kind="float"),
        leaf("dots", "in", "it", value="2", kind="integer"),
        leaf("with null", value="[1, null]", kind="list"),
        leaf("empty", value="{}", kind="object"),
    ]
    run.tables["summary"] = [leaf("big", value=f"[{BIG}]", kind="list")]
    run.tables["series"] = [
        point("nothing", "null", "null"),
        point("big", "integer", BIG),
        point("list", "json", "[1, null]"),
    ]
    source = store([run])
    foreseen, report = forecast(source, target), trackbridge.migrate(source, target)
    assert report.verified
    upload = "start, end and user shown as those of the upload"
    assert losses(foreseen) == losses(report)
    assert losses(report) == {
        "params not shown": (1, "abc: empty"),
        "params.value shown otherwise": (1, f"abc: big: {BIG} -> {ROUNDED}"),
        "runs.sweep_id not shown": (1, "n"),
        "series not shown": (2, "abc: nothing"),
        "status shown as failed": (1, "abc: killed"),
        "summary.value shown otherwise": (1, f"abc: big: [{BIG}] -> [{ROUNDED}]"),
        upload: (1, f"abc: started {MOMENT}"),
    }
