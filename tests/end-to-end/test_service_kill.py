"""Killed anywhere on its way to or from a W&B server, the same command finishes the job."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb_server import Server, started

import trackbridge

ROOT = Path(__file__).parents[2]
FIXTURE = f"mlflow:{ROOT / 'fixtures' / 'mlflow-3.17' / 'mlflow.db'}"
RUNS = 17
KILLS = 10
STORE = "trackbridge-store"
IN_SMALL_CHUNKS = """
from trackbridge import cli, plan
plan.CHUNK_RUNS = 6
cli.main(prog_name="trackbridge")
"""
"""The command line, with more to be killed between one chunk and the next."""
SLOW_START = 0.4
"""Seconds in which the interpreter does nothing that a kill could harm."""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with started(tmp_path / "server") as found:
        monkeypatch.setenv("WANDB_BASE_URL", found.address)
        monkeypatch.setenv("WANDB_API_KEY", found.user.key)
        yield found


def command(*arguments: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(ROOT / "bridge"), str(ROOT / "adapters")])
    return subprocess.Popen(
        [sys.executable, "-c", IN_SMALL_CHUNKS, *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def migrate(source: str, target: str) -> dict[str, Any]:
    """The command that ends well, whatever was before it."""
    process = command("migrate", source, target, "--include-deleted", "--json")
    out, err = process.communicate()
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def kill_group(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def kill_alone(process: subprocess.Popen[str]) -> None:
    """What it has started is left alone, as when memory is short."""
    os.kill(process.pid, signal.SIGKILL)


Kill = Callable[["subprocess.Popen[str]"], None]


def killed_after(seconds: float, kill: Kill, source: str, target: str) -> None:
    process = command("migrate", source, target, "--include-deleted")
    time.sleep(seconds)  # the moment of the kill is what this is about
    if process.poll() is None:
        kill(process)
    process.wait()
    for stream in (process.stdout, process.stderr):
        assert stream
        stream.close()


def is_whole(server: Server, source: str, target: str) -> None:
    found = trackbridge.verify(source, target)
    assert [each for each in found.differences if each.table != "traces"] == []
    assert (found.total, found.equal) == (RUNS, RUNS)
    if target.startswith("wandb:"):
        assert lines(server, target.removeprefix("wandb:")) == lines(server, "clean")


def lines(server: Server, entity: str) -> dict[str, tuple[int, int, int]]:
    """How many of each run there are, by its key, which must be there once."""
    found: dict[str, tuple[int, int, int]] = {}
    for (owner, _), project in server.state.projects.items():
        for run in project.runs.values() if owner == entity else ():
            if run.name != STORE:
                key = run.config["trackbridge"]["value"]["run_key"]
                assert key not in found
                found[key] = len(run.history), len(run.events), len(run.console)
    return found


def survives(server: Server, folder: Path, kill: Kill, moments: list[float]) -> None:
    """Both directions, each killed at some shares of the time that it takes."""
    for entity in ("clean", *(f"killed{number}" for number in range(len(moments)))):
        server.add_entity(entity)
    ways = [(FIXTURE, "wandb:{}"), ("wandb:clean", f"archive:{folder}/{{}}")]
    for source, target in ways:
        begun = time.monotonic()
        migrate(source, target.format("clean"))
        length = time.monotonic() - begun
        for number, share in enumerate(moments):
            place = target.format(f"killed{number}")
            killed_after(SLOW_START + share * (length - SLOW_START), kill, source, place)
            report = migrate(source, place)
            assert report["verified"] is True, f"killed after {share:.4f} of {length:.1f} s"
            assert report["runs"]["failed"] == 0
            is_whole(server, source, place)
            assert migrate(source, place)["runs"]["skipped"] == RUNS


@pytest.mark.slow
@pytest.mark.parametrize("kill", [kill_group, kill_alone])
def test_a_killed_migration_is_finished_by_the_same_command(
    kill: Kill, server: Server, tmp_path: Path
) -> None:
    survives(server, tmp_path, kill, [random.Random().random()])


@pytest.mark.nightly
@pytest.mark.parametrize("kill", [kill_group, kill_alone])
def test_ten_killed_migrations_are_finished_by_the_same_command(
    kill: Kill, server: Server, tmp_path: Path
) -> None:
    chance = random.Random()
    survives(server, tmp_path, kill, [chance.random() for _ in range(KILLS)])


@pytest.mark.slow
def test_a_migration_that_is_killed_again_and_again_comes_to_its_end(
    server: Server, tmp_path: Path
) -> None:
    for entity in ("clean", "killed"):
        server.add_entity(entity)
    migrate(FIXTURE, "wandb:clean")
    chance = random.Random()
    for _ in range(KILLS):
        killed_after(chance.uniform(SLOW_START, 4), kill_group, FIXTURE, "wandb:killed")
    migrate(FIXTURE, "wandb:killed")
    is_whole(server, FIXTURE, "wandb:killed")


FORWARDER = """
import itertools, sys
from trackbridge.adapter import RunKey
from trackbridge.columns import batches
from trackbridge.registry import open_writer
writer, key = open_writer(sys.argv[1]), RunKey("mlflow", "", "p", "abc")
ref, sent = writer.target(key), int(sys.argv[2])
while True:
    point = {**ref._asdict(), "key": "loss", "system": False}
    rows = [{**point, "row": row, "step": row, "value": row / 7} for row in range(sent, sent + 5)]
    with writer.extend([key]) as sink:
        for batch in batches("metrics", rows):
            sink.write(batch)
        sink.commit()
    sent += 5
    print(sent, flush=True)
"""
"""Whoever shows a run while it goes on, five rows at a time; it prints what it knows was taken."""


@pytest.mark.slow
def test_a_run_that_goes_on_has_each_row_once_whenever_its_forwarder_is_killed(
    server: Server,
) -> None:
    paths = os.pathsep.join([str(ROOT / "bridge"), str(ROOT / "adapters")])
    chance, sent = random.Random(), 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", FORWARDER, "wandb:team/p", str(sent)],
            env={**os.environ, "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        told = process.stdout.readline()
        time.sleep(chance.uniform(0, 0.1))  # the moment of the kill is what this is about
        process.kill()
        told += process.stdout.read()
        process.stdout.close()
        process.wait()
        sent = int(told.split()[-1])
    [run] = server.state.projects["team", "p"].runs.values()
    rows = [json.loads(line) for line in run.history]
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    assert [row["loss"] for row in rows] == [step / 7 for step in range(len(rows))]
    assert 0 <= len(rows) - sent <= 5
    assert run.state == "running"
