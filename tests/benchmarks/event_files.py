"""Prints how fast event files are read, beside tbparse and TensorBoard's own EventAccumulator.

All read the same files in one run, each in a process of its own after its imports, into what it
gives people: rows of Arrow here, a DataFrame there, lists of events. Seconds are those of the
processor. `--points N` scales the data (default 200,000 scalars, fewer of what is larger);
`--kind K` measures files of one kind alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
from tensorboardX import SummaryWriter

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


def write_texts(folder: Path, points: int) -> None:
    with SummaryWriter(str(folder)) as writer:
        for number in range(points):
            text = f"step {number}: the *quick* brown fox " * (1 + number % 5)
            writer.add_text(f"samples/{number % 5}", text, number)


def write_images(folder: Path, points: int) -> None:
    random = np.random.default_rng(0)
    with SummaryWriter(str(folder)) as writer:
        for number in range(points):
            image = random.integers(0, 255, (3, 32, 32), np.uint8)
            writer.add_image(f"samples/{number % 3}", image, number)


def write_histograms(folder: Path, points: int) -> None:
    random = np.random.default_rng(0)
    with SummaryWriter(str(folder)) as writer:
        for number in range(points):
            writer.add_histogram(f"weights/{number % 9}", random.normal(size=1000), number)


def ours(folder: Path) -> float:
    import pandas  # noqa: F401  Arrow does, when it is first given an array

    from trackbridge.adapter import Query
    from trackbridge.registry import open_reader

    open_reader(f"tensorboard:{folder}")
    begun = time.process_time()
    reader = open_reader(f"tensorboard:{folder}")
    refs = [info.ref for info in reader.list_runs(Query())]
    points = (batch for batch in reader.read_runs(refs) if batch.table in ("metrics", "series"))
    print(sum(batch.data.num_rows for batch in points))
    return time.process_time() - begun


def accumulator(folder: Path) -> float:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    begun = time.process_time()
    found = EventAccumulator(str(folder), ALL).Reload()
    tags = found.Tags()
    points = {
        "scalars": found.Scalars,
        "tensors": found.Tensors,
        "images": found.Images,
        "histograms": found.Histograms,
    }
    print(sum(len(of(tag)) for kind, of in points.items() for tag in tags[kind]))
    return time.process_time() - begun


def tbparse(folder: Path) -> float:
    from tbparse import SummaryReader

    begun = time.process_time()
    found = SummaryReader(str(folder))
    print(len(found.scalars) + len(found.tensors))
    return time.process_time() - begun


WORKS = {work.__name__: work for work in (ours, accumulator, tbparse)}
OFFICIAL = ("ours", "accumulator")
KINDS = {
    "scalars of TensorFlow 1": (partial(write, form="1"), 1, WORKS),
    "scalars of TensorFlow 2": (partial(write, form="2"), 1, WORKS),
    "texts": (write_texts, 10, OFFICIAL),
    "images": (write_images, 50, OFFICIAL),
    "histograms": (write_histograms, 50, OFFICIAL),
}
"""Of each kind of files: how they are written, one point of how many, and who reads them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--work", choices=WORKS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--kind", choices=KINDS)
    given = parser.parse_args()
    if given.work:
        print(WORKS[given.work](given.folder))
        return
    for kind, (fill, share, works) in KINDS.items():
        if given.kind in (None, kind):
            count = given.points // share
            with tempfile.TemporaryDirectory() as work:
                fill(Path(work) / "run", count)
                compare(kind, count, Path(work) / "run", works)


def compare(kind: str, count: int, folder: Path, works: Iterable[str]) -> None:
    """Print how many points a second are read of a run, and how many times slower others are."""
    seconds = {}
    for name in works:
        command = [sys.executable, __file__, "--work", name, "--folder", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows, spent = done.stdout.split()[-2:]
        assert int(rows) == count, (name, rows)
        seconds[name] = float(spent)
    ratios = {name: round(spent / seconds["ours"], 1) for name, spent in seconds.items()}
    print(f"{kind}: {count / seconds['ours']:,.0f} points/s; times slower: {json.dumps(ratios)}")


if __name__ == "__main__":
    main()
