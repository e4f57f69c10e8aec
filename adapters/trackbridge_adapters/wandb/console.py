"""Console output of a run as rows of `logs`, gathered in columns."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from trackbridge.adapter import ORIGIN, Batch, RunRef
from trackbridge.schema import BATCH_ROWS, TABLES, TIME

STREAMS = ("stderr", "stdout", None)
"""Names by the number of `OutputType`; any other number is ours for a stream that is not known."""
NO_STREAM = 2
LINE = f"{ORIGIN}:line:"
FLUSH_BYTES = 16 * 1024**2


class LogDecoder:
    """Gathers the records `output` and `output_raw` of one run; gives batches."""

    def __init__(self, ref: RunRef) -> None:
        self._ref = ref
        self._next = 0
        self._clear()

    def _clear(self) -> None:
        self._streams: list[str | None] = []
        self._lines: list[int] = []
        self._times: list[int | None] = []
        self._texts: list[str] = []
        self._bytes = 0

    def add(self, stream: int, time: int | None, text: str, uuid: str) -> bool:
        """One record; true when it is time to flush.

        Where lines are missing, our own files give the ordinal of the next one as its uuid.
        """
        if uuid.startswith(LINE) and uuid[len(LINE) :].isdigit():
            self._next = int(uuid[len(LINE) :])
        self._streams.append(STREAMS[min(stream, NO_STREAM)])
        self._lines.append(self._next)
        self._times.append(time)
        self._texts.append(text)
        self._next += 1
        self._bytes += len(text)
        return len(self._texts) >= BATCH_ROWS or self._bytes >= FLUSH_BYTES

    def flush(self) -> Iterator[Batch]:
        """Batches of what has been gathered."""
        count = len(self._texts)
        if not count:
            return
        columns = [
            *(pa.array([text] * count, pa.string()) for text in self._ref),
            pa.array(self._streams, pa.string()),
            pa.array(self._lines, pa.int64()),
            pa.array(self._times, pa.int64()).cast(TIME),
            pa.array(self._texts, pa.string()),
        ]
        self._clear()
        yield Batch("logs", pa.RecordBatch.from_arrays(columns, schema=TABLES["logs"]))
