"""Compares a run that is on its way with what a back end shows of it so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from trackbridge.adapter import Batch, RunInfo, Writer
from trackbridge.columns import codes, relabel
from trackbridge.digest import point_hashes
from trackbridge.dual.sent import Counts, after, counted
from trackbridge.losses import Loss
from trackbridge.optional import Growing
from trackbridge.schema import POINTS
from trackbridge.translate import translation
from trackbridge.unequal import Unequal, Unlike

PROMISED = ("runs", "params", "tags", "metric_defs", "summary", "files", "artifacts", *POINTS)
"""Tables that say what a store is to show of metrics, and what it is to show otherwise."""


@dataclass
class Halfway:
    """How a run stands; `counts` are values in the journal, `waiting` those that are to come."""

    counts: Counts = field(default_factory=Counter)
    waiting: Counts = field(default_factory=Counter)
    unequal: list[Unequal] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)


def halfway(
    reader: Growing,
    writer: Writer,
    info: RunInfo,
    there: RunInfo | None,
    position: str,
    held_back: Iterable[Batch] = (),
    *,
    in_order: bool,
    in_place: bool = True,
) -> Halfway:
    """What is wrong with what a back end has shown up to a position in the journal.

    Nothing of it has a sidecar before the run is written whole, so metrics are compared natively,
    with what translating them gives; of other values only how many are to come is told. What was
    `held_back` lies before the position and is to come as well. `in_order`: one process after the
    other has written, so that what comes last has come last. Where what is shown is not `in_place`,
    as values between it are left to the end, each has to be one that was sent, wherever it is.
    """
    shown = _Points(in_place=in_place)
    if there is not None:
        shown.add_all(writer.read_runs([there.ref], ["metrics"]))  # first: both may grow
    promised, result = _promised(reader, writer, info, in_place=in_place)
    added = counted(held_back) + counted(after(reader, info.ref, position))
    result.waiting = Counter({k: min(n, result.counts[k]) for k, n in added.items()})
    exact, run = writer.capabilities.repeated_points, "/".join(info.ref)
    if in_place:
        _compare(result, run, promised, shown, exact=exact, in_order=in_order)
    else:
        result.waiting |= promised.counts()  # any of them may be to come, and an axis of steps too
        _compare(result, run, promised, shown, exact=True, in_order=False)
        result.waiting &= result.counts
    return result


def foreseen(reader: Growing, writer: Writer, info: RunInfo) -> list[Loss]:
    """What a back end is to show otherwise, or not at all."""
    return _promised(reader, writer, info)[1].losses


class _Points:
    """Points of a run, and a hash of each; rows are made of those alone that are asked for."""

    def __init__(self, *, in_place: bool) -> None:
        self._parts: list[pa.RecordBatch] = []
        self._hashed = point_hashes if in_place else _value_hashes

    def add_all(self, batches: Iterator[Batch]) -> None:
        self._parts += [b.data for b in batches if b.table == "metrics" and b.data.num_rows]

    def hashes(self) -> Any:
        return np.concatenate([np.zeros(0, np.uint64), *map(self._hashed, self._parts)])

    def counts(self) -> Counts:
        return counted(Batch("metrics", part) for part in self._parts)

    def after(self, chosen: Any, keys: set[str]) -> Any:
        """Of each row of a mask, how many rows of its key come after it; keys: those of them."""
        numbers = {key: number for number, key in enumerate(sorted(keys))}
        every = np.concatenate(
            [
                np.zeros(0, np.int64),
                *(_numbers(part.column("key"), numbers) for part in self._parts),
            ]
        )
        found = np.zeros(len(every), np.int64)
        for number in numbers.values():
            places = np.flatnonzero(every == number)
            found[places] = np.arange(len(places))[::-1]
        return found[chosen]

    def rows(self, chosen: Any) -> list[dict[str, Any]]:
        """The rows of a mask over all."""
        found, at = list[dict[str, Any]](), 0
        for part in self._parts:
            mask = chosen[at : at + part.num_rows]
            at += part.num_rows
            if mask.any():
                bare = part.filter(pa.array(mask)).select(["key", "step", "value", "time"])
                bare = bare.set_column(3, "time", bare.column("time").cast(pa.int64()))
                found += bare.to_pylist()
        return found


def _numbers(keys: pa.DictionaryArray, numbers: Mapping[str, int]) -> Any:
    """The number of each key; -1 for those without."""
    return np.array([numbers.get(key, -1) for key in keys.dictionary.to_pylist()])[codes(keys)]


def _value_hashes(data: pa.RecordBatch) -> Any:
    """A hash of each point, wherever it is."""
    for name in ("step", "time", "row"):
        at = data.schema.get_field_index(name)
        nothing = pa.nulls(data.num_rows, data.schema.field(at).type)
        data = data.set_column(at, data.schema.field(at), nothing)
    return point_hashes(data)


def _promised(
    reader: Growing, writer: Writer, info: RunInfo, *, in_place: bool = True
) -> tuple[_Points, Halfway]:
    """Points as a store is to show them, and what is known of a run by the journal alone."""
    moved = translation(writer, [info.key])
    born, points, result = {info.ref: info.key.born}, _Points(in_place=in_place), Halfway()
    for batch in reader.read_runs([info.ref], PROMISED):
        result.counts.update(counted([batch]))
        points.add_all(moved.feed(Batch(batch.table, relabel(batch.data, born))))
    moved.present()
    points.add_all(moved.finish())
    result.losses = moved.losses.list()
    return points, result


def _compare(
    result: Halfway, run: str, promised: _Points, shown: _Points, *, exact: bool, in_order: bool
) -> None:
    """Find the metrics whose values are not as they should be, and what is still to come."""
    ours, theirs = promised.hashes(), shown.hashes()
    lacking = _lacking(ours, theirs, exact=exact)
    lost, new = promised.rows(lacking), shown.rows(_lacking(theirs, ours, exact=exact))
    behind = promised.after(lacking, {row["key"] for row in lost}).tolist()
    partners = {(row["key"], row["step"]): row for row in new}
    found: dict[str, Unequal] = {}
    waiting: Counts = Counter()
    for row, later in reversed(list(zip(lost, behind))):
        key, room = ("metrics", row["key"]), result.waiting["metrics", row["key"]]
        other = partners.pop((row["key"], row["step"]), None)
        if other is None and waiting[key] < room and (later < room or not in_order):
            waiting[key] += 1
        else:
            found.setdefault(row["key"], Unequal(run, *key)).add(Unlike(row, other))
    for row in partners.values():
        found.setdefault(row["key"], Unequal(run, "metrics", row["key"])).add(Unlike(None, row))
    rest = {key: number for key, number in result.waiting.items() if key[0] != "metrics"}
    result.waiting = waiting + Counter(rest)
    result.unequal = list(found.values())


def _lacking(some: Any, others: Any, *, exact: bool) -> Any:
    """Which of some hashes are not among others; `exact`: not as often."""
    missing = ~np.isin(some, others)
    if not exact:
        return missing
    order = np.argsort(some, kind="stable")
    ranked = some[order]
    rank = np.arange(len(ranked)) - np.searchsorted(ranked, ranked)
    there = np.sort(others)
    count = np.searchsorted(there, ranked, "right") - np.searchsorted(there, ranked)
    missing[order] = rank >= count
    return missing
