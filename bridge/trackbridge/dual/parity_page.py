"""A parity report as a page: one file that needs no network, to be read, printed and kept."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from trackbridge import plots
from trackbridge.dual import parity_text as words
from trackbridge.dual.brief import spread
from trackbridge.dual.curves import BUCKETS, MOST, Curve, curves
from trackbridge.dual.page_style import STYLE
from trackbridge.dual.parity import FINE, Parity, Series
from trackbridge.output import counted
from trackbridge.plots import Bars, Chart, Mark, Steps, Track, timeline
from trackbridge.unequal import Unlike

BUDGET = 10.0
"""Microseconds that a log call may cost."""
MOST_DRAWN = 24
"""Runs and stores whose metrics are drawn: a page is to stay small."""
TONES = {"equal": "good", "goes on": "calm", "waiting": "warn", "unknown": "warn"}
"""Colours of verdicts; of all others `bad`."""
SIGNS = {"good": "✓", "calm": "…", "warn": "!", "bad": "✕"}


def page(found: Sequence[Parity]) -> str:
    """The whole page."""
    drawn = sorted(found, key=lambda each: each.verdict in FINE)[:MOST_DRAWN]
    with_curves = {id(each): curves(each) for each in drawn}
    made = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime())
    body = [
        _head(found, made),
        _overview(found),
        *(_section(n, each, with_curves.get(id(each))) for n, each in enumerate(found)),
        f"<footer>Made by <code>trackbridge parity</code>, {escape(made)}. Every value of a run"
        " that has ended was compared; plots show a selection.</footer>",
    ]
    return _PAGE.format(style=STYLE + plots.CSS, body="\n".join(body))


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>Parity report</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def _head(found: Sequence[Parity], made: str) -> str:
    wrong = [each for each in found if each.verdict not in FINE]
    runs, stores = len({each.folder for each in found}), len({each.store for each in found})
    sent = sum(each.sent for each in found)
    known = sum(each.arrived or 0 for each in found)
    tone = "bad" if wrong else "good"
    said = "Everything that was logged has arrived, and is equal"
    lives = {each.folder: each.life for each in found}.values()
    if wrong:
        verb = f"{'is' if len(wrong) == 1 else 'are'} not as logged"
        if all(each.verdict == "unknown" for each in wrong):
            verb = "could not be looked at: no answer"
        said = f"{len(wrong):,} of {len(found):,} deliveries {verb}"
    elif lost := sum(life.cost.lost for life in lives if life.cost):
        tone, said = "bad", f"What was kept has arrived; {counted(lost, 'calls')} could not be kept"
    elif any(each.at.damage for each in found):
        tone, said = "bad", "What can be read has arrived; journals are damaged"
    elif any(each.goes_on for each in found):
        said = "Everything that was delivered so far is equal; runs go on"
    tiles = [
        ("runs", f"{runs:,}"),
        ("stores", f"{stores:,}"),
        ("values arrived", f"{known:,}", f"of {sent:,}"),
        ("differing", f"{sum(each.differing for each in found):,}"),
        ("missing", f"{sum(each.missing for each in found):,}"),
    ]
    return (
        f'<header><p class="eyebrow">Trackbridge · parity report · {escape(made)}</p>'
        f"<h1>{_badge(tone, '')}{escape(said)}</h1>{_tiles(tiles)}</header>"
    )


def _overview(found: Sequence[Parity]) -> str:
    stores = list(dict.fromkeys(each.store for each in found))
    runs: dict[str, dict[str, tuple[int, Parity]]] = {}
    for number, each in enumerate(found):
        runs.setdefault(str(each.folder), {})[each.store] = number, each
    heads = "".join(f'<th scope="col" class="store">{escape(store)}</th>' for store in stores)
    lines = []
    for cells in runs.values():
        _, first = next(iter(cells.values()))
        row = "".join(_cell(cells.get(store)) for store in stores)
        lines.append(
            f'<tr><th scope="row">{escape(first.info.name or first.run)}'
            f"<small>{escape(first.run)} · {escape(first.status)}</small></th>"
            f'<td class="n">{first.sent:,}</td>{row}</tr>'
        )
    return (
        '<section><h2>Overview</h2><div class="scroll"><table class="overview"><thead><tr>'
        f'<th scope="col">run</th><th scope="col" class="n">values sent</th>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div></section>"
    )


def _cell(entry: tuple[int, Parity] | None) -> str:
    if entry is None:
        return '<td class="none">–</td>'
    number, each = entry
    tone = TONES.get(each.verdict, "bad")
    return (
        f'<td class="cell {tone}"><a href="#p{number}">{_badge(tone, words.WORDS[each.verdict])}'
        f"<small>{escape(_summary(each))}</small></a></td>"
    )


def _summary(each: Parity) -> str:
    if each.arrived is None:
        return "not compared"
    if each.verdict == "equal":
        return f"{each.sent:,} values"
    parts = [f"{words.arrived(each)} arrived"]
    parts += [f"{each.differing:,} differing"] if each.differing else []
    parts += [f"{each.missing:,} missing"] if each.missing else []
    if each.differences:
        parts.append(counted(len(each.differences), "other differences"))
    return ", ".join(parts)


def _section(number: int, each: Parity, drawn: list[Curve] | None) -> str:
    tone = TONES.get(each.verdict, "bad")
    name = each.info.name or each.run
    remarks = "".join(f"<li>{escape(text)}</li>" for text in _remarks(each))
    return (
        f'<section class="pair" id="p{number}"><h2>{escape(name)}'
        f'<span class="arrow" aria-label="to">→</span><span class="to">{escape(each.store)}</span>'
        f"{_badge(tone, words.WORDS[each.verdict])}</h2>"
        f'<p class="sub">{escape(each.run)} · {escape(each.status)} · began '
        f"{_moment(each.life.began)}</p>"
        f"{_tiles(_numbers(each))}"
        + (f'<ul class="remarks {tone}">{remarks}</ul>' if remarks else "")
        + f'<div class="plots">{_lag(each)}{_life(each)}{_cost(each)}</div>'
        + _series_table(each)
        + _difference_table(each)
        + _loss_table(each)
        + _curves(each, drawn)
        + "</section>"
    )


def _numbers(each: Parity) -> list[tuple[str, ...]]:
    unknown = each.arrived is None
    found = [
        ("sent", f"{each.sent:,}"),
        ("arrived", "?" if unknown else f"{each.arrived:,}"),
        ("differing", "?" if unknown else f"{each.differing:,}"),
        ("missing", "?" if unknown else f"{each.missing:,}"),
    ]
    found += [("still to come", f"{each.waiting:,}")] if each.waiting else []
    found += [("too many", f"{each.extra:,}")] if each.extra else []
    lags, cost = spread(each.at.lags), each.life.cost
    if lags:
        found.append(("lag, median", f"{lags[0]:.1f} s"))
    if cost and cost.p50 is not None:
        found.append(("a log call, median", f"{cost.p50:.1f} µs"))
    if cost and cost.lost:
        found.append(("calls lost", f"{cost.lost:,}"))
    return [(*one,) for one in found]


def _remarks(each: Parity) -> Iterator[str]:
    """What no table says."""
    told = {words.sentence(series) for series in each.series if series.wrong}
    differences = {
        f"{d.table}{'' if d.key is None else f' {d.key}'}: {d.what}" for d in each.differences
    }
    for text in words.remarks(each):
        if text not in told and text not in differences:
            yield text


def _lag(each: Parity) -> str:
    lags = each.at.lags
    found = spread(lags)
    if found is None:
        why = "written whole when it had ended" if each.at.proven else "nothing has arrived yet"
        return _figure("Delivery lag", _nothing(f"not measured: {why}"))
    named = list(zip(("p50", "p95", "max"), found))
    title = ", ".join(f"{name} {value:.1f} s" for name, value in named)
    svg = Steps(title, lags, [(f"{n} {v:.1f}", v) for n, v in named], "seconds").svg()
    return _figure("Delivery lag", svg, f"{title}; of {len(lags):,} sampled values")


def _life(each: Parity) -> str:
    now = time.time()
    ended = each.life.ended or (now if each.goes_on else each.life.last)
    down = words.outages(each)
    reached = max(each.at.contact, each.life.began)
    run = Track("training", [(each.life.began, ended, "span", f"until {_moment(ended)}")])
    spans = [(each.life.began, reached, "up", f"last answer {_moment(reached)}")]
    spans += [
        (since, max(until, since), "down", f"{until - since:.0f} s: {why}")
        for since, until, why in down
    ]
    title = f"Outages: {words.down(each) or 'none'}"
    quiet = "it does not answer now" if each.verdict == "unknown" else "no outage was noticed"
    note = words.down(each) or quiet
    svg = timeline(title, [run, Track("back end", spans)])
    return _figure(
        "The run, and the back end beside it", svg, f"{note}; red: no answer" if down else note
    )


def _cost(each: Parity) -> str:
    cost = each.life.cost
    amounts = [(n, v) for n in ("p50", "p99", "max") if (v := getattr(cost, n, None)) is not None]
    if cost is None or not amounts:
        return _figure(
            "Cost of a log call", _nothing("not known: the run has not said that it ended")
        )
    title = "Cost: " + ", ".join(f"{name} {value:.1f} us" for name, value in amounts)
    svg = Bars(title, amounts, BUDGET, f"budget {BUDGET:.0f} µs", "µs").svg()
    lost = f"; {counted(cost.lost, 'calls')} could not be kept" if cost.lost else "; none was lost"
    return _figure("Cost of a log call", svg, f"of {cost.calls:,} timed calls{lost}")


def _series_table(each: Parity) -> str:
    some = [series for series in each.series if series.wrong or series.waiting]
    if not some or each.arrived is None:
        return ""
    titles = (
        "series",
        "sent",
        "missing",
        "differing",
        "too many",
        "to come",
        "example: sent",
        "arrived",
    )
    wrong = any(series.wrong for series in some)
    title = "Not as they were sent" if wrong else "Still to come"
    shown = "".join(map(_series_row, some[: words.MOST_SERIES]))
    more = len(some) - words.MOST_SERIES
    note = f'<p class="note">and {more:,} more series</p>' if more > 0 else ""
    return _table(title, titles, shown, numeric=range(1, 6)) + note


def _series_row(series: Series) -> str:
    found = words.example(series) or {"step": None, "sent": "", "arrived": ""}
    at = "" if found["step"] is None else f"step {found['step']}: "
    numbers = (series.sent, series.missing, series.differing, series.extra, series.waiting)
    cells = "".join(
        f'<td class="n">{n:,}</td>' if n else '<td class="n zero">0</td>' for n in numbers
    )
    sent = f"{at}{found['sent'] if found['sent'] is not None else 'nothing'}"
    there = found["arrived"] if found["arrived"] is not None else "nothing"
    if series.unequal and series.unequal.hollow:
        there = "not shown as it should be"
    key = series.key if series.table == "metrics" else f"{series.key} ({series.table})"
    return (
        f'<tr><th scope="row"><code>{escape(key)}</code></th>{cells}'
        f"<td><code>{escape(sent)}</code></td><td><code>{escape(there)}</code></td></tr>"
    )


def _difference_table(each: Parity) -> str:
    lines = "".join(
        f'<tr><td>{escape(d.table)}</td><th scope="row"><code>{escape(d.key or "")}</code></th>'
        f"<td><code>{escape(d.what)}</code></td></tr>"
        for d in each.differences
    )
    return _table("What else differs", ("table", "name", "what"), lines) if lines else ""


def _loss_table(each: Parity) -> str:
    lines = "".join(
        f'<tr><th scope="row">{escape(loss.kind)}</th><td class="n">{loss.count:,}</td>'
        f"<td><code>{escape(loss.example)}</code></td>"
        f"<td>{'kept beside the run' if loss.kept else 'not kept'}</td></tr>"
        for loss in each.losses
    )
    titles = ("what the store shows otherwise", "how often", "example", "as it was")
    return _table("Changed by the store", titles, lines, numeric=[1]) if lines else ""


def _curves(each: Parity, drawn: list[Curve] | None) -> str:
    if drawn is None:
        note = f"Metrics are drawn for {MOST_DRAWN} runs and stores, those that differ first."
        return f'<p class="note">{note}</p>'
    if not drawn:
        return ""
    legend = (
        '<p class="legend"><span class="key sent"></span>as sent <span class="key arrived"></span>'
        'as arrived <span class="key ring"></span>differs <span class="key cross">✕</span>missing'
        "</p>"
    )
    metrics = sum(table == "metrics" for table, _ in each.counts)
    note = f"{len(drawn)} of {counted(metrics, 'metrics')}"
    note += ", those that differ first" if metrics > MOST else ""
    if any(curve.sent.is_reduced for curve in drawn):
        note += f"; long ones by the least and the greatest value of {BUCKETS} parts"
    by_key = {s.key: s for s in each.series if s.table == "metrics"}
    figures = "".join(_curve(curve, by_key.get(curve.key)) for curve in drawn)
    return (
        f'<h3>Metrics <small>{escape(note)}</small></h3>{legend}<div class="plots">{figures}</div>'
    )


def _curve(curve: Curve, series: Series | None) -> str:
    lines = [("sent", curve.sent.points)]
    if curve.arrived:
        lines.append(("arrived", curve.arrived.points))
    places = series.unequal.places if series and series.unequal else []
    marks = [mark for unlike in places if (mark := _marked(words.told(unlike), unlike))]
    note = f"{curve.sent.count:,} sent"
    note += f", {curve.arrived.count:,} arrived" if curve.arrived else ", not known what arrived"
    if curve.sent.odd:
        note += f"; {curve.sent.odd:,} NaN or infinite, not drawn"
    if series and series.wrong:
        note += f"; {series.missing:,} missing, {series.differing:,} differing"
    svg = Chart(f"{curve.key}: {note}", lines, marks, x_text="step").svg()
    tone = "bad" if series and series.wrong else ""
    return _figure(curve.key, svg, note, tone, code=True)


def _marked(told: dict[str, str | None], unlike: Unlike) -> Mark | None:
    row = unlike.after or unlike.before or {}
    x, y = row.get("step"), row.get("value")
    if x is None or not isinstance(y, float) or not math.isfinite(y):
        return None
    what = f"step {x}: {told['sent'] or 'nothing'} sent, {told['arrived'] or 'nothing'} arrived"
    return Mark(float(x), y, what, crossed=unlike.after is None)


def _table(title: str, titles: Sequence[str], lines: str, numeric: Iterable[int] = ()) -> str:
    right = set(numeric)
    heads = "".join(
        f'<th scope="col"{" class=n" if index in right else ""}>{escape(text)}</th>'
        for index, text in enumerate(titles)
    )
    return (
        f'<h3>{escape(title)}</h3><div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _figure(title: str, inner: str, note: str = "", tone: str = "", *, code: bool = False) -> str:
    name = f"<code>{escape(title)}</code>" if code else escape(title)
    said = f"<small>{escape(note)}</small>" if note else ""
    return f'<figure class="{tone}"><figcaption>{name}{said}</figcaption>{inner}</figure>'


def _nothing(why: str) -> str:
    return f'<p class="nothing">{escape(why)}</p>'


def _tiles(tiles: Iterable[tuple[str, ...]]) -> str:
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}"
        f"{''.join(f'<small>{escape(text)}</small>' for text in rest)}</dd></div>"
        for name, value, *rest in tiles
    )
    return f'<dl class="tiles">{shown}</dl>'


def _badge(tone: str, text: str) -> str:
    return (
        f'<span class="badge {tone}"><i aria-hidden="true">{SIGNS[tone]}</i>{escape(text)}</span>'
    )


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
