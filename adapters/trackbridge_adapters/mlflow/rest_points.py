"""The whole history of metrics over REST, page by page, as record batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trackbridge.adapter import RunRef
from trackbridge.errors import ConfigError, IntegrityError, NotFoundError
from trackbridge.schema import BATCH_ROWS, TABLES, TIME
from trackbridge_adapters.mlflow.entities import SYSTEM
from trackbridge_adapters.mlflow.rest_ids import Run
from trackbridge_adapters.mlflow.rest_server import Json, LackingError, Server, each

PAGE = 25_000
"""Most points that a server gives at once (handlers.py, `get_metric_history`, 3.17)."""
BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
"""One metric of several runs in one answer, at two thirds of the server's work for a point.

It has no pages and ends at `PAGE` points without a word (handlers.py, `get_metric_history_bulk_
handler`, 3.17). Points come run by run, so an answer shows that it has everything of the runs
before the last one that it names, wherever it was cut; the last is read in pages (decision 0021).
"""
RUNS = 100
"""Most runs that it takes."""
ASKED = 20_000
"""Points that an answer should have."""
LONG = 10_000_000
"""A greater step says nothing of how many points there are."""
LONGEST_MS = (2**63 - 1) // 1000
"""Times further away from 1970 do not fit into microseconds."""
NO_BULK = (LackingError, NotFoundError, ConfigError, IntegrityError)
"""What an answer may be of a server, or of a proxy before it, that has no such call."""


class Series(NamedTuple):
    """One metric of a run; `latest` are step and time of its latest point."""

    ref: RunRef
    native_id: str
    key: str
    latest: tuple[int, int]
    length: int


class Page(NamedTuple):
    """Some points of a metric."""

    series: Series
    step: list[int]
    time: list[int]
    value: list[float]


class Answer(NamedTuple):
    """Points, the token of the page after them, and metrics that have to be asked for anew."""

    pages: list[Page]
    token: str | None = None
    again: Sequence[Series] = ()


class Damage:
    """Times of points that are none, by run: those are read as null."""

    def __init__(self) -> None:
        self._found: dict[RunRef, tuple[int, int]] = {}

    def add(self, ref: RunRef, times: npt.NDArray[np.int64]) -> None:
        count, least = self._found.get(ref, (0, int(times[0])))
        self._found[ref] = (count + len(times), min(least, int(times.min())))

    def lines(self, ref: RunRef) -> list[str]:
        """What is said of it, as of points in a database."""
        if ref not in self._found:
            return []
        count, least = self._found[ref]
        return [f"metrics.timestamp: {count} values cannot be read, e.g. '{least}'"]


def points(
    server: Server,
    runs: Sequence[tuple[RunRef, Run]],
    damage: Damage,
    keys: Collection[str] | None = None,
) -> Iterator[pa.RecordBatch]:
    """All points of some runs, or those of some keys; several metrics are asked for at a time.

    Of a metric that needs many pages, the first is read with others, the rest one by one: a page
    is found by its offset, so the pages of one metric are no work for several threads.
    """
    waiting: list[Page] = []
    count = 0
    series = [one for one in _series(runs) if keys is None or one.key.removeprefix(SYSTEM) in keys]
    for page in _Reading(server).pages(series):
        if count + len(page.step) > BATCH_ROWS:
            yield from _batch(waiting, damage)
            waiting, count = [], 0
        waiting.append(page)
        count += len(page.step)
    yield from _batch(waiting, damage)


def length(latest: Json) -> int:
    """How many points a metric may have whose latest one is this: one in each step."""
    step = int(latest.get("step") or 0)
    return step + 1 if 0 <= step < LONG else 1


class _Reading:
    """Metrics on their way from a server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._has_bulk = True

    def pages(self, series: Sequence[Series]) -> Iterator[Page]:
        """Every point of every metric, once."""
        alone = [one for one in series if one.length >= PAGE]
        for answer in each(self._bulk, _grouped(one for one in series if one.length < PAGE)):
            yield from answer.pages
            alone += answer.again
        for answer in each(self._first, alone):
            (page,), token = answer.pages, answer.token
            yield page
            while token:
                (page,), token, _ = self._page(page.series, token)
                yield page

    def _bulk(self, series: Sequence[Series]) -> Answer:
        """A metric of several runs in one answer; what may have been cut is to be read anew."""
        if not self._has_bulk or len(series) == 1:
            return Answer([], again=series)
        named = {
            "run_id": [one.native_id for one in series],
            "metric_key": series[0].key,
            "max_results": PAGE,
        }
        try:
            listed = self._server.get(BULK, **named).get("metrics") or []
        except NO_BULK:
            self._has_bulk = False
            return Answer([], again=series)
        parts = [(run, list(some)) for run, some in groupby(listed, itemgetter("run_id"))]
        by_run = dict(parts[:-1])
        if len(by_run) != len(parts) - 1:  # its runs are mixed
            return Answer([], again=series)
        pages = [_parsed(one, by_run.get(one.native_id, [])) for one in series]
        good = [page for page in pages if _is_whole(page)]
        known = {page.series.ref for page in good}
        return Answer(good, again=[one for one in series if one.ref not in known])

    def _first(self, series: Series) -> Answer:
        return self._page(series, None)

    def _page(self, series: Series, token: str | None) -> Answer:
        named = {"run_id": series.native_id, "metric_key": series.key, "max_results": PAGE}
        if token:
            named["page_token"] = token
        answer = self._server.get("mlflow/metrics/get-history", **named)
        page = _parsed(series, answer.get("metrics") or [])
        return Answer([page], answer.get("next_page_token") or None)


def _series(runs: Sequence[tuple[RunRef, Run]]) -> list[Series]:
    return [
        Series(ref, run.native_id, latest["key"], _moment(latest), length(latest))
        for ref, run in runs
        for latest in run.metrics
    ]


def _grouped(series: Iterable[Series]) -> Iterator[list[Series]]:
    """Metrics of the same name, as many as an answer is thought to hold."""
    by_key: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        by_key[one.key].append(one)
    for some in by_key.values():
        group: list[Series] = []
        for one in some:
            if group and (
                len(group) == RUNS or sum(other.length for other in (*group, one)) > ASKED
            ):
                yield group
                group = []
            group.append(one)
        yield group


def _is_whole(page: Page) -> bool:
    """Whether the latest point is there: a server may give less than is known of this one."""
    return page.series.latest in zip(page.step, page.time)


def _moment(latest: Json) -> tuple[int, int]:
    return int(latest.get("step") or 0), int(latest.get("timestamp") or 0)


def _parsed(series: Series, listed: list[Json]) -> Page:
    """Columns of a page; NaN and infinities are text in it, and of some servers all integers."""
    return Page(
        series,
        [int(point.get("step") or 0) for point in listed],
        [int(point.get("timestamp") or 0) for point in listed],
        [float(point.get("value", 0.0)) for point in listed],
    )


def _batch(pages: Sequence[Page], damage: Damage) -> Iterator[pa.RecordBatch]:
    """Pages as batches of the size that is allowed; a server may give more than was asked for."""
    if not sum(len(page.step) for page in pages):
        return
    lengths = [len(page.step) for page in pages]
    step = np.concatenate([np.array(page.step, np.int64) for page in pages])
    time = np.concatenate([np.array(page.time, np.int64) for page in pages])
    value = np.concatenate([np.array(page.value, np.float64) for page in pages])
    good = (time >= -LONGEST_MS) & (time <= LONGEST_MS)
    if not good.all():
        ends = np.cumsum(lengths)[:-1]
        for page, bad in zip(pages, map(np.flatnonzero, np.split(~good, ends))):
            if len(bad):
                damage.add(page.series.ref, np.array(page.time, np.int64)[bad])
    names = [page.series.key for page in pages]
    system = [name.startswith(SYSTEM) for name in names]
    keys = [name.removeprefix(SYSTEM) if own else name for name, own in zip(names, system)]
    count = len(step)
    columns = [
        _codes([page.series.ref.project for page in pages], lengths),
        _codes([page.series.ref.run_id for page in pages], lengths),
        _codes(keys, lengths),
        pa.array(step),
        pa.array(np.where(good, time, 0) * 1000, mask=~good).cast(TIME),
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
