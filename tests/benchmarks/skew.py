"""One very long run beside very many short ones: how well workers share the work.

    python tests/benchmarks/skew.py [--long 50000000] [--runs 10000] [--keep FOLDER]

Moves an MLflow database into an archive, proofs included, with 1, 2 and 4 workers on as many cores,
and prints each time and the share of linear speed-up that was reached, by wall time and by how long
the steps of one worker would take if shared out: with fewer cores than workers, only the latter
says something of the sharing. The database is read once before, so that each finds it in memory.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import stores

WORKERS = (1, 2, 4)


def moved(source: str, target: str, workers: int) -> tuple[float, list[list[float]]]:
    """Seconds that a migration takes, and those of its steps, stage by stage (one worker only)."""
    import trackbridge
    from trackbridge import workers as at_work
    from trackbridge.splitting import Step

    if hasattr(os, "sched_setaffinity"):  # the threads of one worker would take two cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:workers])
    stages: dict[str, list[float]] = {name: [] for name in ("Write", "Finish", "Prove", "whole")}
    taken, move = at_work.taken, at_work.move

    def timed_step(step: Step, *stores: Any) -> object:
        begun = time.perf_counter()
        result = taken(step, *stores)
        stages[type(step).__name__].append(time.perf_counter() - begun)
        return result

    def timed_chunk(*given: Any) -> Any:
        begun = time.perf_counter()
        result = move(*given)
        stages["whole"].append(time.perf_counter() - begun)
        return result

    if workers == 1:
        at_work.taken, at_work.move = timed_step, timed_chunk  # type: ignore[assignment]
    begun = time.perf_counter()
    report = trackbridge.migrate(source, target, workers=workers)
    seconds = time.perf_counter() - begun
    assert report.verified, report.failures[:3]
    return seconds, [stages["Write"], stages["Finish"], stages["Prove"], stages["whole"]]


def shared_out(seconds: float, stages: list[list[float]], workers: int) -> float:
    """How long the same takes with so many workers: each takes the next step when it is free.

    Chunks fill the gaps that the stages of the long run leave; what is no step is not shared.
    """
    write, finish, prove, whole = stages
    rest = seconds - sum(map(sum, stages))
    free = [0.0] * workers
    for number, stage in enumerate((write, finish, prove)):
        begin = max(free) if number else 0.0  # a stage begins when the one before has ended
        while number and whole and min(free) < begin:
            heapq.heapreplace(free, free[0] + whole.pop(0))
        free = [max(begin, each) for each in free]
        heapq.heapify(free)
        for step in stage:
            heapq.heapreplace(free, free[0] + step)
    for step in whole:
        heapq.heapreplace(free, free[0] + step)
    return rest + max(free)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--long", type=int, default=50_000_000)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=100, help="of each short run")
    parser.add_argument("--keep", type=Path, help="folder in which the database is kept")
    parser.add_argument("--one", nargs=3, metavar=("SOURCE", "TARGET", "WORKERS"))
    options = parser.parse_args()
    if options.one:
        source, target, workers = options.one
        print(json.dumps(moved(source, target, int(workers))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        database = folder / f"skew-{options.long}-{options.runs}.db"
        if not database.exists():
            stores.mlflow_database(database, options.runs, options.points, long=options.long)
        print(f"{os.cpu_count()} cores; 1 run of {options.long:,} points, {options.runs:,} of 100")
        with database.open("rb") as file:
            while file.read(2**24):
                pass
        alone: tuple[float, list[list[float]]] | None = None
        for workers in WORKERS:
            found = apart(f"mlflow:sqlite:///{database}", Path(scratch), workers)
            alone = alone or found
            planned = shared_out(alone[0], [list(stage) for stage in alone[1]], workers)
            print(
                f"{workers} workers: {found[0]:7.1f} s, {alone[0] / found[0] / workers:.2f} of"
                f" linear; its steps shared out: {planned:7.1f} s,"
                f" {alone[0] / planned / workers:.2f} of linear",
                flush=True,
            )


def apart(source: str, scratch: Path, workers: int) -> tuple[float, list[list[float]]]:
    """A migration in a process of its own."""
    target, state = scratch / "out", scratch / "state"
    for folder in (target, state):
        shutil.rmtree(folder, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, __file__, "--one", source, f"archive:{target}", str(workers)],
        env={**os.environ, "TRACKBRIDGE_STATE": str(state)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    seconds, stages = json.loads(done.stdout)
    return seconds, stages


if __name__ == "__main__":
    main()
