"""Back ends that fail in any way change nothing of a training, and get everything later."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from dual_logging import Training, training
from mlflow_servers import direct, free_port
from mlflow_servers import started as mlflow_started
from wandb_server import started as wandb_started

from trackbridge.dual.replay import replay

CALLS = 200
TRAIN = """
import sys, time, trackbridge
begun = time.perf_counter()
run = trackbridge.start("faults", "a run", {"lr": 0.1}, to=sys.argv[1:])
for i in range(200):
    run.log({"loss": 1.0 / (i + 1), "acc": i / 7})
    time.sleep(0.005)
run.finish()
print("trained")
print(time.perf_counter() - begun, file=sys.stderr)
sys.exit(7)
"""
"""A training of a second, with an exit code of its own."""


def train(found: Training, to: list[str]) -> tuple[int, str, str, float]:
    """Exit code, output, messages and seconds of a training."""
    process = found.begin(TRAIN, *to)
    out, err = process.communicate(timeout=60)
    *said, seconds = err.splitlines()
    return process.returncode, out, "\n".join(said), float(seconds)


@contextmanager
def hanging(port: int = 0) -> Iterator[int]:
    """A port that takes connections, and never answers."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        yield listener.getsockname()[1]


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server that answers every request with a status."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            """Nothing is to be seen of it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@contextmanager
def refusing() -> Iterator[int]:
    yield free_port()


FAULTS = {
    "refusing": refusing,
    "hanging": hanging,
    "failing": lambda: answering(500),
    "busy": lambda: answering(429),
    "forbidding": lambda: answering(401),
}


@pytest.fixture
def trained(tmp_path: Path) -> Iterator[Training]:
    with training(tmp_path / "work", WANDB_API_KEY="k" * 40) as found:
        yield found


def await_replay(found: Training) -> None:
    """Deliver what is left, once nobody else is at work with it."""
    end = time.monotonic() + 60
    while any(each.what == "waiting" for each in replay([found.journals])):
        assert time.monotonic() < end
        found.end_forwarders()
        time.sleep(0.2)


@pytest.mark.parametrize("fault", FAULTS)
def test_back_ends_that_fail_change_nothing_of_a_training(trained: Training, fault: str) -> None:
    nothing = train(trained, [])
    assert nothing[:3] == (7, "trained\n", "")
    with FAULTS[fault]() as port:
        address = f"http://127.0.0.1:{port}"
        trained.environment["WANDB_BASE_URL"] = address
        for _ in range(2):  # the second one while the forwarder has met the fault
            code, out, said, seconds = train(trained, [f"mlflow:{address}", "wandb:team/faults"])
            assert (code, out) == (7, "trained\n")
            assert "Traceback" not in said
            assert seconds < nothing[3] + 1, "a training waits for a back end"
        for each in trained.status():
            assert (each.status, each.logged) == ("finished", 2 * CALLS)
            assert each.state in (("new", "live", "closing") if each.store else ("local",))


def test_names_that_nobody_knows_change_nothing_of_a_training(trained: Training) -> None:
    code, out, said, _ = train(trained, ["mlflow:http://no-such-host.invalid:5000"])
    assert (code, out) == (7, "trained\n")
    assert "Traceback" not in said


def test_what_back_ends_refused_arrives_by_replay_with_its_own_times_and_once(
    trained: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    train(trained, [f"mlflow:http://127.0.0.1:{port}"])
    trained.end_forwarders()
    begun = time.time()
    (tmp_path / "server").mkdir()
    options = ["--workers", "1", "--backend-store-uri", f"sqlite:///{tmp_path}/server/server.db"]
    with mlflow_started(tmp_path / "server", *options, *direct(tmp_path / "server"), port=port) as (
        address,
        _,
    ):
        await_replay(trained)
        assert [each.what for each in replay([trained.journals])] == ["skipped"]
        trained.check(f"mlflow:{address}")
        from mlflow import MlflowClient

        client = MlflowClient(address)
        number = client.get_experiment_by_name("faults").experiment_id  # type: ignore[union-attr]
        [run] = client.search_runs([number])
        history = client.get_metric_history(run.info.run_id, "loss")
        assert len(history) == CALLS
        assert all(point.timestamp / 1000 < begun for point in history)


def test_a_server_that_failed_at_everything_gets_everything_by_replay(
    trained: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wandb_started(tmp_path / "server") as server:
        for name, value in (("BASE_URL", server.address), ("API_KEY", server.user.key)):
            monkeypatch.setenv(f"WANDB_{name}", value)
            trained.environment[f"WANDB_{name}"] = value
        server.faults.fail("*", status=500, times=None)
        store = f"wandb:{server.user.name}/faults"
        assert train(trained, [store])[:2] == (7, "trained\n")
        trained.end_forwarders()
        server.faults.heal()
        await_replay(trained)
        trained.check(store)
