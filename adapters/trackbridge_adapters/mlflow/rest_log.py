"""Points, params and tags of runs as `log-batch` takes them, several requests at a time."""

from __future__ import annotations

import json
import threading
import zlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from operator import itemgetter

import pyarrow as pa

from trackbridge.adapter import RunRef
from trackbridge_adapters.mlflow.entities import SYSTEM
from trackbridge_adapters.mlflow.rest_server import WRITING, Json, Server

METRICS, PAIRS, BYTES = 1000, 100, 900_000
"""Limits of a request: metrics, params or tags, and a little less than the bytes (MAX_METRICS_PER_
BATCH, MAX_PARAMS_TAGS_PER_BATCH, MAX_BATCH_LOG_REQUEST_SIZE in mlflow/utils/validation.py, 3.17).
"""
NUMBERS = 110
"""Most bytes of a metric in a request beside its key."""
SPREAD = 8
"""Parts of a large run that are sent at a time; a metric is always in the same one."""
WAITING = 48
"""Requests that wait to be sent."""
TOGETHER = 20_000
"""Points of a large run that are sorted by metric: a server finds and writes the latest point of
each metric of a request (sqlalchemy_store.py, `_update_latest_metrics_if_necessary`, 3.17).
"""
BUFFERED = 100_000
"""Points that may wait for others of their run."""

Action = Callable[[], object]


class Lanes:
    """Threads that do what they are given: of each lane in order, of all of them `WRITING`.

    The latest values of a run depend on the order.
    """

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._lanes: dict[object, deque[Action]] = {}
        self._free: deque[object] = deque()
        self._count = 0
        self._closed = False
        self._error: BaseException | None = None
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(WRITING)]
        for thread in self._threads:
            thread.start()

    def put(self, lane: object, action: Action) -> None:
        """Have something done after what the same lane was given before; waits while many wait."""
        with self._change:
            self._change.wait_for(lambda: self._count < WAITING)
            self._count += 1
            if lane in self._lanes:
                self._lanes[lane].append(action)
            else:
                self._lanes[lane] = deque([action])
                self._free.append(lane)
            self._change.notify_all()

    def close(self) -> None:
        """Wait for everything; raises the first error, after which nothing more was done."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (lane := self._taken()) is not None:
            try:
                if self._error is None:
                    self._lanes[lane][0]()
            except BaseException as error:  # noqa: BLE001 - raised by `close`
                self._error = error
            self._done(lane)

    def _taken(self) -> object | None:
        """A lane in which nothing is under way; None when there will be no more."""
        with self._change:
            self._change.wait_for(lambda: self._free or (self._closed and not self._lanes))
            return self._free.popleft() if self._free else None

    def _done(self, lane: object) -> None:
        with self._change:
            self._count -= 1
            self._lanes[lane].popleft()
            if self._lanes[lane]:
                self._free.append(lane)
            else:
                del self._lanes[lane]
            self._change.notify_all()


class Log:
    """Sends points of runs, whose ids on the server `natives` gives."""

    def __init__(self, server: Server, natives: Mapping[RunRef, str]) -> None:
        self._server, self._natives = server, natives
        self._waiting: dict[str, list[Json]] = defaultdict(list)
        self._count = 0
        self._large: set[str] = set()
        self._lanes = Lanes()

    def send(self, points: Iterable[tuple[RunRef, pa.RecordBatch]]) -> None:
        """Send all points; returns when the server has them."""
        try:
            for ref, data in points:
                run = self._natives[ref]
                self._waiting[run] += _metrics(data)
                self._count += data.num_rows
                if len(self._waiting[run]) >= TOGETHER:
                    self._flush(run)
                elif self._count >= BUFFERED:
                    self._flush_all()
            self._flush_all()
        finally:
            self._lanes.close()

    def _flush_all(self) -> None:
        for run in list(self._waiting):
            self._flush(run)

    def _flush(self, run: str) -> None:
        metrics = sorted(self._waiting.pop(run), key=itemgetter("key"))  # stable
        self._count -= len(metrics)
        if len(metrics) <= METRICS and run not in self._large:
            parts = {0: metrics}
        else:
            self._large.add(run)
            parts = defaultdict(list)
            for metric in metrics:
                parts[zlib.crc32(metric["key"].encode()) % SPREAD].append(metric)
        for number, part in parts.items():
            for some in packed(part, METRICS, _bytes):
                body = {"run_id": run, "metrics": some}
                self._lanes.put((run, number), lambda body=body: log_batch(self._server, body))  # type: ignore[misc]


def log_batch(server: Server, body: Json) -> None:
    """One request; sending it again changes nothing."""
    server.post("mlflow/runs/log-batch", body)


def pairs(server: Server, run: str, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
    """Give a run its params and tags."""
    some_params, some_tags = (
        packed([{"key": k, "value": v} for k, v in each.items()], PAIRS, _text_bytes, BYTES // 2)
        for each in (params, tags)
    )
    nothing: list[Json] = []
    for few_params, few_tags in zip_longest(some_params, some_tags, fillvalue=nothing):
        log_batch(server, {"run_id": run, "params": few_params, "tags": few_tags})


def packed(
    items: Sequence[Json], most: int, size: Callable[[Json], int], limit: int = BYTES
) -> Iterator[list[Json]]:
    """Items in lists of at most `most`, and `limit` bytes as JSON."""
    some: list[Json] = []
    total = 0
    for item in items:
        length = size(item)
        if some and (len(some) == most or total + length > limit):
            yield some
            some, total = [], 0
        some.append(item)
        total += length
    if some:
        yield some


def _metrics(data: pa.RecordBatch) -> list[Json]:
    """Points of one run as JSON has them: NaN is text there."""
    keys = data.column("key").to_pylist()
    system = data.column("system").to_pylist()
    times = data.column("time").cast(pa.int64()).to_pylist()
    return [
        {
            "key": SYSTEM + key if own else key,
            "value": value if value == value else "NaN",
            "timestamp": time // 1000,
            "step": step,
        }
        for key, own, value, time, step in zip(
            keys, system, data.column("value").to_pylist(), times, data.column("step").to_pylist()
        )
    ]


def _bytes(metric: Json) -> int:
    key: str = metric["key"]
    return NUMBERS + (len(key) if key.isascii() else len(json.dumps(key)))


def _text_bytes(pair: Json) -> int:
    return len(json.dumps(pair))
