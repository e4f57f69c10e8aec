"""Console output of a run as rows of `logs`, gathered in columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from trackbridge.adapter import Batch, RunRef
from trackbridge.schema import BATCH_ROWS, TABLES, TIME

STREAMS = ("stderr", "stdout")
"""Names by the number of `OutputType`."""
FLUSH_BYTES = 16 * 1024**2


class LogDecoder:
    """Gathers the records `output` and `output_raw` of one run; gives batches."""

    def __init__(self, ref: RunRef) -> None:
        self._ref = ref
        self._first = 0
        self._clear()

    def _clear(self) -> None:
        self._streams: list[int] = []
        self._times: list[int | None] = []
        self._texts: list[str] = []
        self._bytes = 0

    def add(self, output: Any, time: int | None) -> bool:
        """One record; true when it is time to flush."""
        self._streams.append(output.output_type)
        self._times.append(time)
        self._texts.append(output.line)
        self._bytes += len(output.line)
        return len(self._texts) >= BATCH_ROWS or self._bytes >= FLUSH_BYTES

    def flush(self) -> Iterator[Batch]:
        """Batches of what has been gathered."""
        count = len(self._texts)
        if not count:
            return
        streams = pa.array([STREAMS[min(number, 1)] for number in self._streams], pa.string())
        columns = [
            *(pa.array([text] * count, pa.string()) for text in self._ref),
            streams,
            pa.array(range(self._first, self._first + count), pa.int64()),
            pa.array(self._times, pa.int64()).cast(TIME),
            pa.array(self._texts, pa.string()),
        ]
        self._first += count
        self._clear()
        yield Batch("logs", pa.RecordBatch.from_arrays(columns, schema=TABLES["logs"]))
