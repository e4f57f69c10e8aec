"""What a log call costs the training: ours beside the bare write, W&B's client and MLflow's.

Each way of logging has a process of its own; all log the same dictionaries of ten floats.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

CALLS, SLOW_CALLS = 100_000, 2_000
"""Calls that are timed of ways that take microseconds, and of those that take longer."""
STARTS = 7
BATCHES = 300
SETTLED = 5.0
"""Seconds after which a forwarder has loaded its libraries; that is once a run."""
Log = Callable[[dict[str, float]], object]


def data() -> list[dict[str, float]]:
    chance = random.Random(7)
    return [{f"metric_{key}": chance.random() for key in range(10)} for _ in range(997)]


def timed(log: Log, calls: int) -> dict[str, float]:
    """Microseconds of the median call, of the 99th of a hundred, and at most."""
    rows, costs = data(), []
    for number in range(calls):
        row = rows[number % len(rows)]
        begun = time.perf_counter_ns()
        log(row)
        costs.append(time.perf_counter_ns() - begun)
    costs.sort()
    at = (costs[calls // 2], costs[calls * 99 // 100], costs[-1])
    return dict(zip(("p50", "p99", "max"), (cost / 1000 for cost in at)))


def bare_write(work: Path) -> dict[str, float]:
    """A write of as many bytes as ours."""
    file = os.open(work / "bare", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    content = b"x" * 124
    return timed(lambda _: os.write(file, content), CALLS)


def shim(work: Path, *to: str) -> dict[str, float]:
    import trackbridge

    run = trackbridge.start("bench", to=to, folder=work / "journals")
    found = timed(run.log, CALLS)
    os._exit(_say(found))  # what is delivered afterwards is not measured


def shim_with_hanging_servers(work: Path) -> dict[str, float]:
    """Both back ends take the connection and never answer."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    os.environ.update(WANDB_BASE_URL=address, WANDB_API_KEY="k" * 40, TRACKBRIDGE_PATIENCE="5")
    return shim(work, f"mlflow:{address}", "wandb:team/bench")


def wandb_offline(work: Path) -> dict[str, float]:
    import wandb

    os.environ["WANDB_MODE"] = "offline"
    run = wandb.init(dir=work, project="bench")
    found = timed(run.log, CALLS // 10)
    os._exit(_say(found))


def mlflow_sqlite(work: Path) -> dict[str, float]:
    return timed(_mlflow(work), SLOW_CALLS // 4)


def mlflow_asynchronous(work: Path) -> dict[str, float]:
    import mlflow

    log = _mlflow(work)
    mlflow.config.enable_async_logging()
    found = timed(log, SLOW_CALLS)
    os._exit(_say(found))


def _mlflow(work: Path) -> Log:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{work}/calls.db")
    mlflow.start_run()
    steps = iter(range(10**9))
    return lambda row: mlflow.log_metrics(row, step=next(steps))


def start(work: Path) -> dict[str, float]:
    """Milliseconds of `import trackbridge` and `start()` in a new process, forwarder included."""
    program = (
        "import time; begun = time.perf_counter(); import trackbridge, sys, os;"
        "trackbridge.start('bench', to=['archive:' + sys.argv[1] + '/a'], folder=sys.argv[1]);"
        "print((time.perf_counter() - begun) * 1000, flush=True); os._exit(0)"
    )
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(work / "compiled")}
    times = []
    for _ in range(STARTS + 1):
        command = [sys.executable, "-c", program, str(work / "starts")]
        told = subprocess.check_output(command, env={**os.environ, **compiled})
        times.append(float(told))
        time.sleep(SETTLED)  # else the next one shares the cores with the forwarder's own start
    times = sorted(times[1:])  # the first one has compiled what is imported
    return {"p50": times[STARTS // 2], "p99": times[-1], "max": times[-1]}


def training(work: Path, *to: str) -> dict[str, float]:
    """Seconds of a training that fills a core, with ten floats after each batch."""
    import numpy as np
    from sklearn.neural_network import MLPClassifier

    chance = np.random.default_rng(3)
    points, labels = chance.normal(size=(2000, 64)), chance.integers(0, 4, 2000)
    model = MLPClassifier((128, 64), random_state=1)
    model.partial_fit(points, labels, classes=range(4))
    run = None
    if to:
        import trackbridge

        run = trackbridge.start("bench", to=to, folder=work / "journals")
        time.sleep(SETTLED)
    begun = time.perf_counter()
    for _ in range(BATCHES):
        model.partial_fit(points, labels)
        if run is not None:
            run.log({f"metric_{key}": model.loss_ + key for key in range(10)})
    os._exit(_say({"seconds": time.perf_counter() - begun}))


def _say(found: dict[str, float]) -> int:
    print(json.dumps(found), flush=True)
    return 0


WAYS: dict[str, Callable[..., dict[str, float]]] = {
    way.__name__: way
    for way in (
        bare_write,
        shim,
        shim_with_hanging_servers,
        wandb_offline,
        mlflow_sqlite,
        mlflow_asynchronous,
        start,
        training,
    )
}


def measure(way: str, work: Path, *arguments: str) -> dict[str, float]:
    """One way in a process of its own, with one thread for arithmetic."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, way, str(work), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def rows(work: Path) -> Iterator[tuple[str, str, str, str]]:
    """The table: what, median, 99th of a hundred, and times the bare write."""
    folder = work / "calls"
    folder.mkdir(parents=True, exist_ok=True)
    bare = measure("bare_write", folder)
    for way in WAYS:
        if way not in ("start", "training"):
            found = bare if way == "bare_write" else measure(way, folder)
            ratio = f"{found['p50'] / bare['p50']:.2f} x bare_write"
            yield way, f"{found['p50']:.1f} us", f"99 %: {found['p99']:.1f} us", ratio
    found = measure("start", folder)
    yield "import and start", f"{found['p50']:.0f} ms", f"most: {found['max']:.0f} ms", ""
    with servers(folder) as stores:
        pairs = [
            (measure("training", folder), measure("training", folder, *stores)) for _ in "abcde"
        ]
    alone, logged = (sorted(each["seconds"] for each in side) for side in zip(*pairs))
    ratio = f"{logged[2] / alone[2]:.3f} x one without"
    yield "training, two back ends", f"{logged[2]:.2f} s", f"without: {alone[2]:.2f} s", ratio


@contextmanager
def servers(work: Path) -> Iterator[list[str]]:
    """Both back ends, as stores to deliver to."""
    from mlflow_servers import direct, server
    from wandb_server import started

    (work / "mlflow").mkdir()
    with started(work / "wandb") as wandb, server(work / "mlflow", *direct(work / "mlflow")) as uri:
        os.environ.update(WANDB_BASE_URL=wandb.address, WANDB_API_KEY=wandb.user.key)
        yield [f"mlflow:{uri}", f"wandb:{wandb.user.name}/bench"]


if __name__ == "__main__":
    print(json.dumps(WAYS[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])))
