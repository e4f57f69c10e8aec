"""A parity report in words: for people, and as one object for programs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from trackbridge.adapter import Row
from trackbridge.dual.brief import spread
from trackbridge.dual.parity import FINE, Parity, Series
from trackbridge.losses import Losses
from trackbridge.output import counted
from trackbridge.row_residual import LABELS
from trackbridge.unequal import Unlike

WORDS = {
    "equal": "equal",
    "goes on": "goes on",
    "waiting": "on its way",
    "different": "different",
    "missing": "not there",
    "unknown": "no answer",
    "unreadable": "unreadable",
}
"""What people are told of verdicts."""
KEPT = {
    True: "shows otherwise (as it was, it is kept beside the run)",
    False: "does not keep as it was",
}
"""What is said of losses, by whether they are kept."""
MOST_SERIES = 20
"""Series of a run that are named; `--json` has all."""


def holds(found: Sequence[Parity]) -> bool:
    """Whether nothing is wrong: all has arrived and is equal, but of runs that go on."""
    return all(each.verdict in FINE for each in found)


def document(found: Sequence[Parity]) -> dict[str, Any]:
    """All that is known."""
    lost = any(each.life.cost and each.life.cost.lost for each in found)
    damaged = any(each.at.damage for each in found)
    complete = not (lost or damaged) and all(each.verdict == "equal" for each in found)
    return {
        "fine": holds(found),
        "complete": complete,
        "runs": [_described(each) for each in found],
    }


def _described(each: Parity) -> dict[str, Any]:
    lags = spread(each.at.lags)
    down = outages(each)
    numbers = ("sent", "arrived", "differing", "missing", "waiting", "extra")
    return {
        **{name: getattr(each, name) for name in ("run", "status", "store", "verdict", "why")},
        "name": each.info.name or "",
        **{name: getattr(each, name) for name in numbers},
        "lag": dict(zip(("p50", "p95", "max"), lags)) if lags else None,
        "cost": asdict(each.life.cost) if each.life.cost else None,
        "outages": [{"from": a, "to": b, "why": why} for a, b, why in each.at.outages],
        "outage_seconds": round(sum(until - since for since, until, _ in down), 3),
        "series": [_series(series) for series in each.series],
        "differences": [{"table": d.table, "key": d.key, "what": d.what} for d in each.differences],
        "losses": [
            {"kind": loss.kind, "count": loss.count, "example": loss.example}
            for loss in each.losses
        ],
    }


def _series(series: Series) -> dict[str, Any]:
    numbers = ("sent", "differing", "missing", "waiting", "extra")
    return {
        "table": series.table,
        "key": series.key,
        **{name: getattr(series, name) for name in numbers},
        "example": example(series),
    }


def outages(each: Parity) -> list[tuple[float, float, str]]:
    """From, to (now, where it lasts) and why."""
    now = time.time()
    return [(since, now if to is None else to, why) for since, to, why in each.at.outages]


def example(series: Series) -> dict[str, Any] | None:
    """A value that is not as it was sent: where it is, and both in words; None where none is known.

    `arrived` is null where nothing has arrived, `sent` where nothing was sent.
    """
    places = series.unequal.places if series.unequal else []
    return told(places[0]) if places else None


def told(unlike: Unlike) -> dict[str, Any]:
    """Step and both sides of a value, in words."""
    before, after, _ = unlike
    names = ["value"]
    if before and after:
        names = [
            name
            for name in before
            if name not in LABELS and repr(before[name]) != repr(after.get(name))
        ]
    return {
        "step": (before or after or {}).get("step"),
        "sent": _words(before, names),
        "arrived": _words(after, names),
    }


def _words(row: Row | None, names: Sequence[str]) -> str | None:
    if row is None:
        return None
    return ", ".join(_word(name, row.get(name)) for name in names)


def _word(name: str, value: Any) -> str:
    text = repr(value) if isinstance(value, float) else str(value)
    text = text if len(text) <= 80 else f"{text[:77]}..."
    return text if name == "value" else f"{name} {text}"


def rows(found: Sequence[Parity]) -> Iterator[tuple[str, ...]]:
    """The overview: a line for each run and store, after `HEADER`."""
    for each in found:
        yield (
            each.run,
            each.info.name or "",
            each.store,
            WORDS[each.verdict],
            arrived(each),
            *(f"{n:,}" if each.arrived is not None else "" for n in (each.differing, each.missing)),
            lag(each),
            cost(each),
            down(each),
        )


HEADER = (
    *("run", "name", "store", "parity", "arrived", "differing", "missing"),
    *("lag p50/p95/max", "us a call p50/p99", "down"),
)


def arrived(each: Parity) -> str:
    there = "?" if each.arrived is None else f"{each.arrived:,}"
    return f"{there} of {each.sent:,}"


def lag(each: Parity) -> str:
    """Empty where none was measured."""
    lags = spread(each.at.lags)
    return " / ".join(f"{seconds:.1f}" for seconds in lags) + " s" if lags else ""


def cost(each: Parity) -> str:
    found = each.life.cost
    if found is None or found.p50 is None or found.p99 is None:
        return ""
    return f"{found.p50:.1f} / {found.p99:.1f}"


def down(each: Parity) -> str:
    found = outages(each)
    if not found:
        return ""
    seconds = sum(until - since for since, until, _ in found)
    return f"{seconds:.0f} s in {counted(len(found), 'outages')}"


def lines(found: Sequence[Parity]) -> Iterator[str]:
    """What stands below the overview."""
    for each in found:
        said = list(remarks(each))
        if said:
            yield f"{each.run} in {each.store}:" if each.store else f"{each.run}:"
            yield from (f"  {text}" for text in said)
    for each in {each.folder: each for each in found}.values():  # whatever their stores
        if each.life.cost and each.life.cost.lost:
            yield f"{each.run}: {counted(each.life.cost.lost, 'calls')} could not be kept"
    shown: dict[str, Losses] = {}
    for each in found:
        shown.setdefault(each.store, Losses()).merge(each.losses)
    for store, losses in shown.items():
        for kept, what in KEPT.items():
            some = [loss for loss in losses.list() if loss.kept == kept]
            if some:
                yield f"{store} {what}:"
                yield from (f"  {loss.kind}: {loss.count:,} ({loss.example})" for loss in some)
    if found and not any(each.at.lags for each in found):
        yield "how long values took was not measured: they were written when the runs had ended"


def remarks(each: Parity) -> Iterator[str]:
    """What there is to say beside the overview, a line each."""
    if each.goes_on and each.arrived is not None:
        yield f"it goes on, {arrived(each)} values arrived"
    elif each.verdict == "waiting":
        yield f"not all of it was delivered, {arrived(each)} values arrived"
    elif each.verdict == "missing":
        yield "the run is not there"
    if each.why:
        yield each.why
    wrong = [series for series in each.series if series.wrong]
    if each.verdict != "missing":
        yield from map(sentence, wrong[:MOST_SERIES])
        if len(wrong) > MOST_SERIES:
            yield f"and {len(wrong) - MOST_SERIES:,} more series; `--json` lists them all"
    for difference in each.differences:
        key = "" if difference.key is None else f" {difference.key}"
        yield f"{difference.table}{key}: {difference.what}"
    for since, until, why in outages(each):
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since))
        yield f"no answer for {until - since:.0f} s from {at}: {why}"


def sentence(series: Series) -> str:
    """What is wrong with a series, and an example."""
    numbers = [
        f"{number:,} {what}"
        for number, what in (
            (series.missing, "missing"),
            (series.differing, "differing"),
            (series.extra, "too many"),
            (series.waiting, "to come"),
        )
        if number
    ]
    if series.unequal and series.unequal.hollow:
        numbers.append("not shown as it should be")
    what = "metric" if series.table == "metrics" else series.table
    text = f"{what} {series.key}: {', '.join(numbers)} of {counted(series.sent, 'values')}"
    found = example(series)
    if found:
        step = "" if found["step"] is None else f"at step {found['step']} "
        sent, there = (found[side] or "nothing" for side in ("sent", "arrived"))
        text += f"; {step}{sent} was sent, {there} arrived"
    return text
