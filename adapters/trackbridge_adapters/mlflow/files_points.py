"""Metrics of MLflow's file stores as record batches: a text file per metric, a line per point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

from trackbridge.adapter import RunRef
from trackbridge.schema import BATCH_ROWS, TABLES, TIME
from trackbridge_adapters.mlflow import folders
from trackbridge_adapters.mlflow.entities import SYSTEM

BLOCK = 1 << 22
"""Bytes that are parsed at a time."""

SMALL = 2048
"""Bytes up to which a loop over lines is faster than Arrow's parser (measured)."""

MOST_NAMED = 5
"""Unreadable lines named per file."""

LONGEST_MS = (2**63 - 1) // 1000
"""Times further away from 1970 do not fit into microseconds."""

_READ = csv.ReadOptions(column_names=["time", "value", "step"], use_threads=False)
_PARSE = csv.ParseOptions(delimiter=" ", quote_char=False, ignore_empty_lines=False)
_CONVERT = csv.ConvertOptions(
    column_types={"time": pa.int64(), "value": pa.float64(), "step": pa.int64()},
    null_values=[],
    check_utf8=False,
)


class Columns(NamedTuple):
    """Points of one file; times in milliseconds."""

    time: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    step: npt.NDArray[np.int64]


class MetricFile:
    """The lines of one file: `time value step`, without the step before MLflow 1.0.

    A line about a dataset has the dataset's name and digest behind that (file_store.py,
    `_log_run_metric`, 3.17). `damage` names the lines that are no points.
    """

    def __init__(self, path: str, where: str) -> None:
        self._path, self._where = path, where
        self._line = 0
        self._stepped = False
        self._bad = 0
        self.damage: list[str] = []

    def __iter__(self) -> Iterator[Columns]:
        try:
            rest = b""
            for block in folders.blocks(self._path, BLOCK):
                lines, end, rest = (rest + block).rpartition(b"\n")
                if end:
                    yield self._parse(lines + end)
            if rest:
                yield self._parse(rest)
        except OSError as error:
            self.damage.append(f"{self._where}: {error.strerror}")
        if self._bad > MOST_NAMED:
            self.damage.append(f"{self._where}: and {self._bad - MOST_NAMED} more such lines")

    def _parse(self, data: bytes) -> Columns:
        if len(data) > SMALL and data.endswith(b"\n"):
            try:
                table = csv.read_csv(pa.BufferReader(data), _READ, _PARSE, _CONVERT)
                columns = Columns(*(column.to_numpy() for column in table.columns))
                if len(columns.time) and np.abs(columns.time).max() <= LONGEST_MS:
                    self._line += len(columns.time)
                    self._stepped = True
                    return columns
            except pa.ArrowInvalid:
                pass  # a line is special: look at each one
        return self._parse_lines(data)

    def _parse_lines(self, data: bytes) -> Columns:
        times: list[int] = []
        values: list[float] = []
        steps: list[int] = []
        *lines, rest = data.split(b"\n")
        whole = len(lines)
        for index, line in enumerate([*lines, rest] if rest else lines):
            self._line += 1
            is_cut = index == whole
            point = self._point(line.split(), is_cut=is_cut)
            if point is None:
                self._report(line, "cut off" if is_cut else "no point")
                continue
            if is_cut:
                self._report(line, "no line end, so it may be cut off")
            times.append(point[0])
            values.append(point[1])
            steps.append(point[2])
        return Columns(
            np.array(times, np.int64), np.array(values, np.float64), np.array(steps, np.int64)
        )

    def _point(self, fields: list[bytes], *, is_cut: bool) -> tuple[int, float, int] | None:
        has_step = len(fields) > 2
        if not has_step and (self._stepped or is_cut):
            return None
        try:
            time, value = int(fields[0]), float(fields[1])
            step = int(fields[2]) if has_step else 0
        except (ValueError, IndexError):
            return None
        if abs(time) > LONGEST_MS or not -(2**63) <= step < 2**63:
            return None
        self._stepped |= has_step
        return time, value, step

    def _report(self, line: bytes, what: str) -> None:
        self._bad += 1
        if self._bad <= MOST_NAMED:
            shown = line[:40].decode("utf-8", "backslashreplace")
            self.damage.append(f"{self._where}: line {self._line}: {what}: {shown!r}")


class Series(NamedTuple):
    """Points of one metric of one run."""

    run: RunRef
    key: str
    points: Columns


def packed(series: Iterable[Series]) -> Iterator[pa.RecordBatch]:
    """Series in batches of the run model, as few as there can be."""
    waiting: list[Series] = []
    rows = 0
    for part in series:
        waiting.append(part)
        rows += len(part.points.time)
        if rows >= BATCH_ROWS:
            yield from _sliced(waiting)
            waiting, rows = [], 0
    if rows:
        yield from _sliced(waiting)


def _sliced(series: list[Series]) -> Iterator[pa.RecordBatch]:
    counts = np.array([len(part.points.time) for part in series])
    time, value, step = (np.concatenate(parts) for parts in zip(*(s.points for s in series)))
    keys = [part.key.removeprefix(SYSTEM) for part in series]
    system = np.array([part.key.startswith(SYSTEM) for part in series], np.bool_)
    columns = [
        _repeated([part.run.project for part in series], counts),
        _repeated([part.run.run_id for part in series], counts),
        _repeated(keys, counts),
        pa.array(step),
        pa.array(time * 1000).cast(TIME),
        pa.nulls(len(time), pa.int64()),
        pa.array(value),
        pa.array(np.repeat(system, counts)),
    ]
    whole = pa.RecordBatch.from_arrays(columns, schema=TABLES["metrics"])
    for start in range(0, whole.num_rows, BATCH_ROWS):
        yield whole.slice(start, BATCH_ROWS)


def _repeated(texts: list[str], counts: npt.NDArray[np.int64]) -> pa.DictionaryArray:
    encoded = pa.array(texts, pa.string()).dictionary_encode()
    indices = np.repeat(encoded.indices.to_numpy(), counts)
    return pa.DictionaryArray.from_arrays(pa.array(indices), encoded.dictionary)
