"""Prints how fast event files are read, beside tbparse and TensorBoard's own EventAccumulator.

All read the same files in one run, each in a process of its own after its imports, into what it
gives people: rows of Arrow here, a DataFrame there, lists of events. Seconds are those of the
processor. `--points N` scales the data (default 200,000).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TAGS = ("loss", "accuracy", "lr", "epoch", "train/loss_total", "train/grad_norm", "val/top5_error")
ALL = {"scalars": 0, "tensors": 0, "histograms": 0, "images": 0, "compressedHistograms": 1}


def write(folder: Path, points: int, form: str) -> None:
    """One run of scalars; `form` is that of TensorFlow 1 or 2."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    from trackbridge_adapters.tensorboard.framing import frame

    began = 1_700_000_000.0
    folder.mkdir()
    with (folder / "events.out.tfevents.1700000000.host.1.0").open("wb") as file:
        file.write(frame(Event(wall_time=began, file_version="brain.Event:2").SerializeToString()))
        summaries = {tag: scalar_pb(tag, 0.0) for tag in TAGS}
        for number in range(points):
            tag = TAGS[number % len(TAGS)]
            step = number // len(TAGS)
            event = Event(wall_time=began + number / 100, step=step)
            if form == "1":
                event.summary.value.add(tag=tag, simple_value=1 / (number + 1))
            else:
                event.summary.CopyFrom(summaries[tag])
                event.summary.value[0].tensor.float_val[:] = [1 / (number + 1)]
            file.write(frame(event.SerializeToString()))


def ours(folder: Path) -> float:
    import pandas  # noqa: F401  Arrow does, when it is first given an array

    from trackbridge.adapter import Query
    from trackbridge.registry import open_reader

    open_reader(f"tensorboard:{folder}")
    begun = time.process_time()
    reader = open_reader(f"tensorboard:{folder}")
    refs = [info.ref for info in reader.list_runs(Query())]
    rows = sum(batch.data.num_rows for batch in reader.read_runs(refs) if batch.table == "metrics")
    print(rows)
    return time.process_time() - begun


def accumulator(folder: Path) -> float:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    begun = time.process_time()
    found = EventAccumulator(str(folder), ALL).Reload()
    tags = found.Tags()
    rows = sum(len(found.Scalars(tag)) for tag in tags["scalars"])
    print(rows + sum(len(found.Tensors(tag)) for tag in tags["tensors"]))
    return time.process_time() - begun


def tbparse(folder: Path) -> float:
    from tbparse import SummaryReader

    begun = time.process_time()
    found = SummaryReader(str(folder))
    print(len(found.scalars) + len(found.tensors))
    return time.process_time() - begun


WORKS = {work.__name__: work for work in (ours, accumulator, tbparse)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--work", choices=WORKS)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.work:
        print(WORKS[given.work](given.folder))
        return
    with tempfile.TemporaryDirectory() as work:
        for form in "12":
            folder = Path(work) / f"tf{form}"
            write(folder, given.points, form)
            seconds = {}
            for name in WORKS:
                command = [sys.executable, __file__, "--work", name, "--folder", str(folder)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                rows, spent = done.stdout.split()[-2:]
                assert int(rows) == given.points, (name, rows)
                seconds[name] = float(spent)
            mine = seconds["ours"]
            ratios = {name: round(spent / mine, 1) for name, spent in seconds.items()}
            rate = given.points / mine
            print(f"scalars as TensorFlow {form} writes them: {rate:,.0f} points/s; times slower:")
            print(json.dumps(ratios))


if __name__ == "__main__":
    main()
