"""One run on its way into a log folder: its event file and what lies beside it, as they come."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from trackbridge import disk
from trackbridge.adapter import ORIGIN, FileRef, Row, RunKey, RunRef
from trackbridge.columns import codes, numpy_of
from trackbridge.disk import system_errors
from trackbridge.errors import IntegrityError
from trackbridge_adapters.tensorboard import carried, encode, encode_series
from trackbridge_adapters.tensorboard.carried import Metric, Origin
from trackbridge_adapters.tensorboard.encode_points import Points, encoded
from trackbridge_adapters.tensorboard.folders import KIND
from trackbridge_adapters.tensorboard.restored import Said
from trackbridge_adapters.tensorboard.scan import Scan

SMALL = ("runs", "params", "series")
"""Tables whose rows are kept until the run is complete."""
SYSTEM = "system/"
"""Stands before system metrics, as MLflow names them."""
STEPS = range(-(2**31), 2**31)
"""Steps at which the plugin hparams can show the last value of a metric (api.proto, 2.21)."""


class Draft:
    """A run that is being written, in a folder of its own that TensorBoard does not know.

    Points go to disk as they come. Those of a tag have to stand there by ascending step; where a
    batch goes back, all of them are sorted in the end.
    """

    def __init__(self, folder: Path, key: RunKey, ref: RunRef) -> None:
        self.key, self.ref = key, ref
        self.home, self.events = folder / ORIGIN, folder / "events"
        self.rows: dict[str, list[Row]] = defaultdict(list)
        self._tags: dict[str, int] = {}
        self._numbers: dict[Metric, int] = {}
        """That of each metric's tag."""
        self._last: list[int] = []
        self._is_ascending = True
        head = encode.opening(0.0)
        self._head = len(head)
        with system_errors(folder):
            self.home.mkdir(parents=True)
            self.events.write_bytes(head)

    def write(self, table: str, data: pa.RecordBatch) -> None:
        if table == "metrics":
            self._add(data)
        elif table in SMALL:
            self.rows[table] += data.to_pylist()

    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        place = carried.place(self.home, file.owner, file.path)
        with system_errors(place):
            place.parent.mkdir(parents=True, exist_ok=True)
        disk.write(place, data)

    @property
    def row(self) -> Row:
        """The run's own row."""
        if len(self.rows["runs"]) != 1:
            raise IntegrityError(f"run {self.ref.run_id}: it has no row in runs")
        return self.rows["runs"][0]

    def complete(self, name: str) -> None:
        """Write what can be written only now; the event file is to have that name."""
        with system_errors(self.events):
            if not self._is_ascending:
                self._sort()
            with self.events.open("r+b") as file:
                file.write(encode.opening(encode.seconds(self.row.get("started"))))
                file.seek(0, 2)
                for part in self._rest():
                    file.write(part)
            made = Origin(self.key, self.ref, name, self.row, self._renamed)
            (self.home / carried.ABOUT).write_bytes(carried.about(made))

    def _rest(self) -> Iterator[bytes]:
        """Records of all but points."""
        row, params = self.row, self.rows["params"]
        said = Said(row if self.key.kind == KIND else {})
        content = said.experiment()
        if content is not None:
            yield encode.experiment(content)
        born_here = self.key.kind == KIND and not said.has_session
        if params or row.get("status") or (row.get("started") and not born_here):
            hidden = any(step not in STEPS for step in self._last)
            yield encode.session(row, params, hidden=hidden)
        shown = encode_series.Series(self.home, self._tags, self.rows["series"], said)
        yield from shown.records()

    def _add(self, data: pa.RecordBatch) -> None:
        points = self._points(data)
        self._note(points)
        with system_errors(self.events), self.events.open("ab") as file:
            file.write(encoded(self._names, points))

    def _points(self, data: pa.RecordBatch) -> Points:
        keys = data.column("key")
        texts = keys.dictionary.to_pylist()
        count = len(texts)
        code = codes(keys) + count * np.array(data.column("system"), np.int64)
        used = np.unique(code)
        tag_of = np.zeros(2 * count, np.int64)
        tag_of[used] = [
            self._number(Metric(texts[each % count], each >= count)) for each in used.tolist()
        ]
        steps = numpy_of(data.column("step").fill_null(0), np.int64)
        times = numpy_of(data.column("time").cast(pa.int64()).fill_null(0), np.int64)
        values = numpy_of(data.column("value"), np.float64)
        return Points(tag_of[code], steps, times / 1e6, values)

    def _number(self, metric: Metric) -> int:
        """The number of a metric's tag, which it has alone."""
        if metric not in self._numbers:
            tag = SYSTEM + metric.key if metric.system else metric.key
            while tag in self._tags:
                tag += "_"
            self._numbers[metric] = self._tags[tag] = len(self._tags)
            self._last.append(-(2**63))
        return self._numbers[metric]

    @property
    def _renamed(self) -> dict[str, Metric]:
        """Tags that do not say by themselves which metric they are."""
        both = zip(self._tags, self._numbers)
        return {tag: metric for tag, metric in both if metric != (tag, False)}

    @property
    def _names(self) -> list[bytes]:
        return [tag.encode() for tag in self._tags]

    def _note(self, points: Points) -> None:
        """Whether the steps of each tag go on from those before."""
        count = len(self._tags)
        first = np.full(count, 2**63 - 1)
        np.minimum.at(first, points.tag, points.step)
        last = np.array(self._last)
        self._is_ascending &= bool((first >= last).all())
        np.maximum.at(last, points.tag, points.step)
        self._last = last.tolist()

    def _sort(self) -> None:
        """Write the points again, by ascending step."""
        size = self.events.stat().st_size
        scan = Scan(self.ref, [self.events], {self.events: size}, ["metrics"], tags=self._renamed)
        columns = zip(*(self._points(batch.data) for batch in scan.batches()))
        points = Points(*map(np.concatenate, columns))
        with self.events.open("r+b") as file:
            file.truncate(self._head)
            file.seek(self._head)
            file.write(encoded(self._names, points))


def event_file(number: int, after: str = "") -> str:
    """The name of an event file: one that sorts behind those that were there before.

    TensorBoard's Python loader goes on only to files that sort behind the one that it has read.
    """
    moment = max(time.time_ns(), 0)
    name = f"events.out.tfevents.{moment // 10**9:010d}.{ORIGIN}.{moment % 10**9:09d}.{number}"
    return name if name > after else f"{after}.{number}"
