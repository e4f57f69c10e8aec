"""Prints how fast event files are read, beside tbparse and TensorBoard's own EventAccumulator.

All read the same files in one run, each in a process of its own after its imports, into what it
gives people: rows of Arrow here, a DataFrame there, lists of events. EventAccumulator keeps all
(it would sample) and leaves tensors as messages, which nobody can use as such: `decoded` is it with
`make_ndarray` of each tensor, as its users call it. Seconds are those of the processor, the
median of three.
`--points N` scales the data (default 200,000 scalars, fewer of what is larger); `--kind K` measures
files of one kind alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.image.metadata import create_summary_metadata
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util.tensor_util import make_ndarray, make_tensor_proto
from tensorboardX import SummaryWriter

TAGS = ("loss", "accuracy", "lr", "epoch", "train/loss_total", "train/grad_norm", "val/top5_error")
ALL = {
    **dict.fromkeys(("scalars", "tensors", "histograms", "images", "audio"), 0),
    "compressedHistograms": 1,
}
PIXEL = b"\x89PNG\r\n\x1a\n" + bytes(60)
TIMES = 3
Make = Callable[[int], Any]


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


def write_values(folder: Path, points: int, make: Make, merged: int = 1) -> None:
    """One run of values that `make` makes of their number; `merged` of them are in one event."""
    from tensorboard.compat.proto.event_pb2 import Event

    from trackbridge_adapters.tensorboard.framing import frame

    began = 1_700_000_000.0
    folder.mkdir()
    told: set[str] = set()
    with (folder / "events.out.tfevents.1700000000.host.1.0").open("wb") as file:
        file.write(frame(Event(wall_time=began, file_version="brain.Event:2").SerializeToString()))
        for first in range(0, points, merged):
            event = Event(wall_time=began + first / 100, step=first // merged)
            for number in range(first, min(first + merged, points)):
                value = make(number)
                if value.tag in told:  # as TensorFlow's writers do: the first one tells
                    value.ClearField("metadata")
                told.add(value.tag)
                event.summary.value.append(value)
            file.write(frame(event.SerializeToString()))


def text(number: int) -> Any:
    words = f"step {number}: the *quick* brown fox " * (1 + number % 5)
    return text_pb(f"samples/{number % 50}", words).value[0]


def text_or_scalar(number: int) -> Any:
    if number % 2:
        return text(number)
    return Summary.Value(tag=f"loss/{number % 50}", simple_value=1 / (number + 1))


def table(number: int) -> Any:
    cells = [f"cell {number} {place}" for place in range(9)]
    return text_pb(f"tables/{number % 5}", np.array(cells).reshape(3, 3)).value[0]


def integers(number: int) -> Any:
    values = np.arange(number, number + 8, dtype=np.int32).reshape(2, 4)
    return Summary.Value(tag=f"counts/{number % 5}", tensor=make_tensor_proto(values))


def packed_integers(number: int) -> Any:
    """As PyTorch's `add_tensor` and `make_tensor_proto` of few values have them."""
    value = integers(number)
    value.tensor.ClearField("tensor_content")
    value.tensor.int_val[:] = range(number, number + 8)
    return value


def histogram(number: int) -> Any:
    random = np.random.default_rng(number)
    return histogram_pb(f"weights/{number % 9}", random.normal(size=100)).value[0]


def old_histogram(number: int) -> Any:
    random = np.random.default_rng(number)
    counts, edges = np.histogram(random.normal(size=100), 30)
    histo = HistogramProto(min=edges[0], max=edges[-1], num=100, sum=edges.sum(), sum_squares=1.5)
    histo.bucket_limit[:], histo.bucket[:] = edges[1:], counts
    return Summary.Value(tag=f"weights/{number % 9}", histo=histo)


def image(number: int) -> Any:
    value = Summary.Value(tag=f"samples/{number % 3}")
    value.image.height = value.image.width = 1
    value.image.colorspace = 3
    value.image.encoded_image_string = PIXEL + number.to_bytes(4, "big")
    return value


def new_image(number: int) -> Any:
    old = image(number)
    parts = make_tensor_proto([b"1", b"1", old.image.encoded_image_string])
    about = create_summary_metadata(display_name="", description="")
    return Summary.Value(tag=old.tag, tensor=parts, metadata=about)


def old_sound(number: int) -> Any:
    value = Summary.Value(tag=f"sounds/{number % 3}")
    value.audio.sample_rate, value.audio.num_channels, value.audio.length_frames = 8000.0, 1, 50
    value.audio.content_type = "audio/wav"
    value.audio.encoded_audio_string = b"RIFF" + number.to_bytes(4, "big") * 25
    return value


def write_images(folder: Path, points: int) -> None:
    random = np.random.default_rng(0)
    with SummaryWriter(str(folder)) as writer:
        for number in range(points):
            pixels = random.integers(0, 255, (3, 32, 32), np.uint8)
            writer.add_image(f"samples/{number % 3}", pixels, number)


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


def accumulator(folder: Path, *, decode: bool = False) -> float:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    begun = time.process_time()
    found = EventAccumulator(str(folder), ALL).Reload()
    tags = found.Tags()
    points = {
        "scalars": found.Scalars,
        "tensors": found.Tensors,
        "images": found.Images,
        "audio": found.Audio,
        "histograms": found.Histograms,
    }
    events = {kind: [of(tag) for tag in tags[kind]] for kind, of in points.items()}
    if decode:
        decoded = [
            [make_ndarray(event.tensor_proto) for event in each] for each in events["tensors"]
        ]
        assert len(decoded) == len(tags["tensors"])
    print(sum(len(each) for kind in events.values() for each in kind))
    return time.process_time() - begun


def decoded(folder: Path) -> float:
    return accumulator(folder, decode=True)


def tbparse(folder: Path) -> float:
    from tbparse import SummaryReader

    begun = time.process_time()
    found = SummaryReader(str(folder), event_types=PARSED)
    print(sum(len(getattr(found, kind)) for kind in PARSED))
    return time.process_time() - begun


PARSED = {"scalars", "tensors", "text", "histograms"}
"""What tbparse reads without TensorFlow."""
WORKS = {work.__name__: work for work in (ours, accumulator, decoded, tbparse)}
READ = ("ours", "accumulator", "tbparse")
DECODED = ("ours", "accumulator", "decoded", "tbparse")
OFFICIAL = ("ours", "accumulator")
KINDS = {
    "scalars of TensorFlow 1": (partial(write, form="1"), 1, READ),
    "scalars of TensorFlow 2": (partial(write, form="2"), 1, DECODED),
    "texts": (partial(write_values, make=text), 10, DECODED),
    "texts, 50 in an event": (partial(write_values, make=text, merged=50), 10, DECODED),
    "texts and scalars, 50 in an event": (
        partial(write_values, make=text_or_scalar, merged=50), 10, DECODED,
    ),
    "tables of texts": (partial(write_values, make=table), 10, DECODED[:3]),
    "integers as bytes": (partial(write_values, make=integers), 10, DECODED),
    "integers as numbers": (partial(write_values, make=packed_integers), 10, DECODED[:3]),
    "histograms of TensorFlow 2": (partial(write_values, make=histogram), 10, DECODED),
    "histograms of TensorFlow 1": (partial(write_values, make=old_histogram), 10, READ),
    "histograms of tensorboardX": (write_histograms, 50, READ),
    "images of TensorFlow 1": (partial(write_values, make=image), 10, OFFICIAL),
    "images of TensorFlow 2": (partial(write_values, make=new_image), 10, (*OFFICIAL, "decoded")),
    "images of tensorboardX": (write_images, 50, OFFICIAL),
    "sounds of TensorFlow 1": (partial(write_values, make=old_sound), 10, OFFICIAL),
}  # fmt: skip
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
        spent = []
        for _ in range(TIMES):
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows, each = done.stdout.split()[-2:]
            assert int(rows) == count, (name, rows)
            spent.append(float(each))
        seconds[name] = median(spent)
    ratios = {name: round(spent / seconds["ours"], 1) for name, spent in seconds.items()}
    print(f"{kind}: {count / seconds['ours']:,.0f} points/s; times slower: {json.dumps(ratios)}")


if __name__ == "__main__":
    main()
