"""How the streams of many runs are fetched in few requests: history, system metrics, console."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from trackbridge_adapters.wandb.service.answers import TooMuchError
from trackbridge_adapters.wandb.service.node import RunNode
from trackbridge_adapters.wandb.service.pages import PAGE, Node, Pages, Place

LINES = 10_000
"""Rows, samples and console lines in one answer, about."""


@dataclass
class Streams:
    """What was fetched of a run: JSON texts of rows and samples, lines of the console."""

    run: RunNode
    history: Iterable[str] = ()
    events: list[str] = field(default_factory=list)
    console: list[Node] = field(default_factory=list)


@dataclass
class _Size:
    """How many lines of each stream a run has that are to be fetched."""

    history: int
    events: int
    console: int

    @property
    def total(self) -> int:
        return self.history + self.events + self.console


def fetched(
    pages: Pages, place: Place, runs: Iterable[RunNode], wanted: Collection[str]
) -> Iterator[Streams]:
    """The streams of some runs, as far as they are `wanted`, in any order, each run once.

    What is in Parquet files is no part of the history here. Small runs share a request; what a
    run lacks of what was counted before is asked for again, alone.
    """
    group: list[tuple[RunNode, _Size]] = []
    for run in runs:
        size = _size(run, wanted)
        if not size.total:
            yield Streams(run)
        elif size.total > LINES:
            yield _alone(pages, run, size)
        else:
            if group and not _fits(group, size):
                yield from _together(pages, place, group)
                group = []
            group.append((run, size))
    yield from _together(pages, place, group)


def _size(run: RunNode, wanted: Collection[str]) -> _Size:
    return _Size(
        run.live if "history" in wanted else 0,
        run.samples if "events" in wanted else 0,
        run.console_lines if "console" in wanted and run.console_lines > run.lines_of_ours else 0,
    )


def _fits(group: Sequence[tuple[RunNode, _Size]], size: _Size) -> bool:
    lines = sum(other.total for _, other in group) + size.total
    alike = bool(group[0][1].history) == bool(size.history)
    return alike and lines <= LINES and len(group) < PAGE


def _together(
    pages: Pages, place: Place, group: Sequence[tuple[RunNode, _Size]]
) -> Iterator[Streams]:
    if not group:
        return
    sizes = [size for _, size in group]
    names = ("history", "events", "console")
    wanted = [name for name in names if any(getattr(size, name) for size in sizes)]
    most = {"events": max(s.events for s in sizes), "lines": max(s.console for s in sizes)}
    most["beyond"] = max(run.beyond for run, _ in group)
    most["begin"] = min(run.first for run, _ in group)
    try:
        nodes = pages.streams(place, [run.name for run, _ in group], wanted, **most)
        found = {node["name"]: node for node in nodes}
    except TooMuchError:
        if len(group) > 1:
            half = len(group) // 2
            yield from _together(pages, place, group[:half])
            yield from _together(pages, place, group[half:])
            return
        found = {}
    for run, size in group:
        node = found.get(run.name, {})
        history = list(node.get("history") or ())
        streams = Streams(run, history, list(node.get("events") or ()))
        streams.console = [edge["node"] for edge in (node.get("console") or {}).get("edges") or ()]
        lacks = _Size(
            size.history if len(history) < size.history else 0,
            size.events if len(streams.events) < size.events else 0,
            size.console if len(streams.console) < size.console else 0,
        )
        yield _alone(pages, run, lacks, streams) if lacks.total else streams


def _alone(pages: Pages, run: RunNode, size: _Size, streams: Streams | None = None) -> Streams:
    """Streams of one run, those that have a size."""
    streams = streams or Streams(run)
    name = run.name
    if size.history:
        streams.history = _scanned(pages, run, size.history)
    if size.events:
        streams.events = pages.events(run.place, name, size.events)
        given = len(streams.events)
        if given < size.events:
            run.damage.append(
                f"system metrics: the server gives a sample of {given} out of {size.events}"
            )
    if size.console:
        streams.console = list(pages.console(run.place, name))
    return streams


def _scanned(pages: Pages, run: RunNode, rows: int) -> Iterator[str]:
    """Rows of the history, some thousands at a time, in order of their steps."""
    step, beyond = run.first, run.beyond
    width = most = max(1, (beyond - step) * LINES // max(rows, 1))
    while step < beyond:
        end = min(step + width, beyond)
        try:
            found = pages.history(run.place, run.name, step, end)
        except TooMuchError:
            if width == 1:
                raise
            width = max(1, width // 2)
            continue
        yield from found
        step = end
        if len(found) < LINES // 2:  # rows may be dense in one part of the steps alone
            width = min(2 * width, most)
