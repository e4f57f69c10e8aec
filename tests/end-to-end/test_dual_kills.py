"""Killed anywhere, trainings and forwarders lose nothing that a call returned from."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from dual_logging import Training
from wandb_server import Server

from trackbridge.dual import spawn
from trackbridge.dual.replay import replay

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
KILLS = 30
TRAIN = """
import sys, time, trackbridge
run = trackbridge.start("kills", sys.argv[1], {"seed": int(sys.argv[1])}, to=sys.argv[3:])
for i in range(int(sys.argv[2])):
    run.log({"loss": 1.0 / (i + 1), "acc": i / 7, "text": f"call {i}" if i % 50 == 0 else float(i)})
    sys.stdout.write(f"{i}\\n")
    sys.stdout.flush()
    time.sleep(0.001)
run.finish(wait=0)
"""


def stores(mlflow: str, wandb: Server) -> list[str]:
    return [f"mlflow:{mlflow}", f"wandb:{wandb.user.name}/kills"]


def killed(trained: Training, seed: int, to: list[str]) -> int:
    """How many calls of a training had returned when it was killed."""
    process = trained.begin(TRAIN, str(seed), "1000000", *to)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(random.Random(seed).uniform(0, 0.3))
    process.kill()
    out, _ = process.communicate()
    return len(out.splitlines()[:-1]) + 1


def test_what_calls_of_killed_trainings_have_returned_from_is_delivered(
    trained: Training, mlflow: str, wandb: Server
) -> None:
    to = stores(mlflow, wandb)
    returned = {str(seed): killed(trained, seed, to) for seed in range(KILLS)}
    found = trained.wait("done")
    assert {each.status for each in found} == {"crashed"}
    assert len(found) == 2 * KILLS
    for each in found:
        assert each.logged >= 3 * returned[each.name]
    check_all(trained, to, KILLS)


def test_a_training_begins_another_forwarder_where_one_was_killed(
    trained: Training, mlflow: str, wandb: Server
) -> None:
    to = stores(mlflow, wandb)
    chance = random.Random(5)
    for seed in range(5):
        process = trained.begin(TRAIN, str(seed), "2000", *to)
        assert process.stdout is not None
        calls = chance.randrange(200, 1500)  # not seconds: it has to be at work
        lines = [process.stdout.readline() for _ in range(calls)]
        while len(trained.forwarders()) == seed:
            lines.append(process.stdout.readline())
        os.kill(trained.forwarders()[-1], signal.SIGKILL)
        assert process.poll() is None
        out, err = process.communicate()
        assert (process.returncode, len(lines) + len(out.splitlines())) == (0, 2000), err
    found = trained.wait("done")
    assert {(each.status, each.logged) for each in found} == {("finished", 6000)}
    check_all(trained, to, 5)


def test_what_both_left_that_were_killed_is_delivered_by_replay(
    trained: Training, mlflow: str, wandb: Server
) -> None:
    to = stores(mlflow, wandb)
    returned = {str(seed): killed(trained, seed, to) for seed in range(5)}
    end = time.monotonic() + 2 * spawn.HELD
    while time.monotonic() < end:  # others may have waited for the lock of the first
        trained.end_forwarders()
        time.sleep(0.1)
    assert "stopped" in {each.state for each in trained.status()}
    done = [each.what for each in replay([trained.journals])]
    assert set(done) <= {"delivered", "skipped"}
    check_all(trained, to, 5)
    assert {each.what for each in replay([trained.journals])} == {"skipped"}
    for each in trained.status():
        assert each.status == "crashed"
        assert each.logged >= 3 * returned[each.name]


def check_all(trained: Training, to: list[str], runs: int) -> None:
    """Everything in the journals is in each store, as it was logged and once."""
    for store in to:
        trained.check(store, runs)
