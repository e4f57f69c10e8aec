"""The whole history of metrics over REST, page by page, as record batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from trackbridge.adapter import RunRef
from trackbridge.schema import BATCH_ROWS, TABLES, TIME
from trackbridge_adapters.mlflow.entities import SYSTEM
from trackbridge_adapters.mlflow.rest_ids import Run
from trackbridge_adapters.mlflow.rest_server import Json, Server, each

PAGE = 25_000
"""Most points that a server gives at once (handlers.py, `get_metric_history`, 3.17)."""
LONGEST_MS = (2**63 - 1) // 1000
"""Times further away from 1970 do not fit into microseconds."""


class Series(NamedTuple):
    """One metric of a run."""

    ref: RunRef
    native_id: str
    key: str


class Page(NamedTuple):
    """Some points of a metric."""

    series: Series
    step: list[int]
    time: list[int]
    value: list[float]


def points(server: Server, runs: Sequence[tuple[RunRef, Run]]) -> Iterator[pa.RecordBatch]:
    """All points of some runs; several metrics are asked for at a time.

    Of a metric that needs many pages, the first is read with others, the rest one by one: a page
    is found by its offset, so the pages of one metric are no work for several threads.
    """
    series = [Series(ref, run.native_id, m["key"]) for ref, run in runs for m in run.metrics]
    waiting: list[Page] = []
    count = 0
    for first, token in each(lambda one: _page(server, one, None), series):
        for page in _all_pages(server, first, token):
            if count + len(page.step) > BATCH_ROWS:
                yield from _batch(waiting)
                waiting, count = [], 0
            waiting.append(page)
            count += len(page.step)
    yield from _batch(waiting)


def _all_pages(server: Server, first: Page, token: str | None) -> Iterator[Page]:
    yield first
    while token:
        page, token = _page(server, first.series, token)
        yield page


def _page(server: Server, series: Series, token: str | None) -> tuple[Page, str | None]:
    params = {"run_id": series.native_id, "metric_key": series.key, "max_results": PAGE}
    if token:
        params["page_token"] = token
    answer = server.get("mlflow/metrics/get-history", **params)
    return _parsed(series, answer.get("metrics") or []), answer.get("next_page_token") or None


def _parsed(series: Series, listed: list[Json]) -> Page:
    """Columns of a page; NaN and infinities are text in it, and of some servers all integers."""
    return Page(
        series,
        [int(point.get("step") or 0) for point in listed],
        [int(point.get("timestamp") or 0) for point in listed],
        [float(point.get("value", 0.0)) for point in listed],
    )


def _batch(pages: Sequence[Page]) -> Iterator[pa.RecordBatch]:
    """Pages as batches of the size that is allowed; a server may give more than was asked for."""
    if not sum(len(page.step) for page in pages):
        return
    lengths = [len(page.step) for page in pages]
    step = np.concatenate([np.array(page.step, np.int64) for page in pages])
    time = np.concatenate([np.array(page.time, np.int64) for page in pages])
    value = np.concatenate([np.array(page.value, np.float64) for page in pages])
    names = [page.series.key for page in pages]
    system = [name.startswith(SYSTEM) for name in names]
    keys = [name.removeprefix(SYSTEM) if own else name for name, own in zip(names, system)]
    count = len(step)
    columns = [
        _codes([page.series.ref.project for page in pages], lengths),
        _codes([page.series.ref.run_id for page in pages], lengths),
        _codes(keys, lengths),
        pa.array(step),
        pa.array(np.clip(time, -LONGEST_MS, LONGEST_MS) * 1000).cast(TIME),
        pa.nulls(count, pa.int64()),
        pa.array(value),
        pa.array(np.repeat(system, lengths)),
    ]
    whole = pa.RecordBatch.from_arrays(columns, schema=TABLES["metrics"])
    for start in range(0, count, BATCH_ROWS):
        yield whole.slice(start, BATCH_ROWS)


def _codes(texts: list[str], lengths: list[int]) -> Any:
    """One text for each page as a column of the pages' lengths."""
    coded = pa.array(texts, pa.string()).dictionary_encode()
    return pa.DictionaryArray.from_arrays(
        pa.array(np.repeat(coded.indices.to_numpy(), lengths)), coded.dictionary
    )
