"""Draws plots as SVG that stands in a page: text, no script, colours by the page's classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

Point = tuple[float, float]
CSS = """
.plot{display:block;width:100%;height:auto;font:11px/1 var(--sans,sans-serif);overflow:visible}
.plot text{fill:var(--dim)}
.plot .strong{fill:var(--ink);font-weight:600}
.plot .grid{stroke:var(--rule);stroke-width:1}
.plot .base{stroke:var(--faint);stroke-width:1}
.plot .line{fill:none;stroke-linejoin:round;stroke-linecap:round}
.plot .sent{stroke:var(--sent);stroke-width:5;opacity:.55}
.plot .arrived{stroke:var(--arrived);stroke-width:1.25}
.plot .area{fill:var(--arrived);opacity:.12;stroke:none}
.plot .bad{stroke:var(--bad);stroke-width:1.75;fill:none}
.plot .rule{stroke:var(--bad);stroke-width:1.25;stroke-dasharray:4 3}
.plot .rule-text{fill:var(--bad)}
.plot .bar{fill:var(--arrived)}
.plot .bar.over{fill:var(--bad)}
.plot .span{fill:var(--sent);opacity:.55}
.plot .up{fill:var(--good);opacity:.8}
.plot .down{fill:var(--bad)}
.plot .tick{stroke:var(--dim);stroke-width:1.25}
"""
"""What a page needs; it sets the colours: ink, dim, faint, rule, sent, arrived, good, bad."""


@dataclass(frozen=True)
class Scale:
    """Maps values to places along an axis; what lies beyond its ends is drawn at them."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        value = min(max(value, self.low), self.high)
        low, high, at = (
            map(math.log10, (self.low, self.high, value))
            if self.log
            else (self.low, self.high, value)
        )
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.stop - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values within, few enough to be told apart."""
        if self.log:
            powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            return [10.0**power for power in powers]
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        rough = span / most
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next((unit * m for m in (1, 2, 2.5, 5) if unit * m >= rough), unit * 10)
        first = math.ceil(self.low / step - 1e-9)
        return [step * n for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A number as people write it."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6 or size < 1e-3:
        text = f"{value:.1e}"
        mantissa, _, power = text.partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(power)}"
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


@dataclass(frozen=True)
class Mark:
    """A place of a chart that is to be noticed; `what` is told when it is pointed at."""

    x: float
    y: float
    what: str
    crossed: bool = False
    """A cross where something lacks; else a ring."""


@dataclass(frozen=True)
class Chart:
    """Curves over a common axis; each has a class that says how it is drawn."""

    title: str
    """For those who do not see it."""
    lines: Sequence[tuple[str, Sequence[Point]]]
    marks: Sequence[Mark] = ()
    x_text: str = ""
    width: int = 360
    height: int = 150

    def svg(self) -> str:
        drawn = [point for _, points in self.lines for point in points]
        places = [*drawn, *((mark.x, mark.y) for mark in self.marks if math.isfinite(mark.y))]
        if not places:
            return _svg(self.title, self.width, self.height, [_note(self, "no finite values")])
        left, right, top, bottom = 46, self.width - 8, 8, self.height - 22
        x = Scale(*_ends(p[0] for p in places), left, right)
        y = Scale(*_padded(*_ends(_seen(self.lines, self.marks))), bottom, top)
        parts = _axes(x, y, (left, right, top, bottom), self.x_text, number)
        for kind, points in self.lines:
            parts.append(_polyline(kind, [(x(a), y(b)) for a, b in points]))
        parts += (_mark(mark, x(mark.x), y(mark.y)) for mark in self.marks)
        return _svg(self.title, self.width, self.height, parts)


def _seen(lines: Sequence[tuple[str, Sequence[Point]]], marks: Sequence[Mark]) -> list[float]:
    """Values that the axis has to show: all of the first curve, others if they are not far off."""
    first = [y for _, y in (lines[0][1] if lines else ())]
    others = [y for _, points in lines[1:] for _, y in points] + [mark.y for mark in marks]
    others = [y for y in others if math.isfinite(y)]
    if not first:
        return others
    low, high = min(first), max(first)
    room = (high - low) or abs(high) or 1.0
    return [low, high, *(y for y in others if low - room <= y <= high + room)]


@dataclass(frozen=True)
class Steps:
    """What share of some values is at most so much (an ECDF), with values that are named."""

    title: str
    values: Sequence[float]
    named: Sequence[tuple[str, float]]
    unit: str
    width: int = 360
    height: int = 150

    def svg(self) -> str:
        ordered = sorted(self.values)
        left, right, top, bottom = 46, self.width - 12, 20, self.height - 22
        x = Scale(0.0, (ordered[-1] * 1.02) or 1.0, left, right)
        y = Scale(0.0, 1.0, bottom, top)
        parts = _axes(x, y, (left, right, top, bottom), self.unit, lambda v: f"{v:.0%}")
        points: list[Point] = [(x(0.0), y(0.0))]
        every = max(1, len(ordered) // 300)
        kept = sorted({*range(0, len(ordered), every), len(ordered) - 1})
        for index in kept:
            points += [
                (x(ordered[index]), points[-1][1]),
                (x(ordered[index]), y((index + 1) / len(ordered))),
            ]
        points.append((right, points[-1][1]))
        area = [*points, (right, bottom), (left, bottom)]
        parts.append(f'<polygon class="area" points="{_points(area)}"/>')
        parts.append(_polyline("arrived", points))
        taken = 0.0
        for name, value in self.named:
            at, wide = x(value), 6.5 * len(name)
            parts.append(
                f'<path class="tick" stroke-dasharray="2 2" d="M{at:.1f} {top}V{bottom}"/>'
            )
            is_last = at + wide > right
            begun = at - 3 - wide if is_last else at + 3
            if begun >= taken:
                anchor, shift = ("end", -3) if is_last else ("start", 3)
                parts.append(_text(at + shift, top - 6, name, anchor, "strong"))
                taken = begun + wide
        return _svg(self.title, self.width, self.height, parts)


@dataclass(frozen=True)
class Bars:
    """Amounts on an axis of powers of ten, against a line that they should not cross."""

    title: str
    amounts: Sequence[tuple[str, float]]
    budget: float
    budget_text: str
    unit: str
    width: int = 360
    height: int = 150

    def svg(self) -> str:
        left, right, top, bottom = 46, self.width - 12, 20, self.height - 22
        ends = [value for _, value in self.amounts if value > 0] + [self.budget]
        low = 10.0 ** math.floor(math.log10(min(ends)) - 0.01)
        x = Scale(low, 10.0 ** math.ceil(math.log10(max(ends)) + 0.15), left, right, log=True)
        parts = [_vertical(x(tick), top, bottom) for tick in x.ticks()]
        parts += _places(x, bottom, right, self.unit)
        room, at = (bottom - top) / max(1, len(self.amounts)), x(self.budget)
        for index, (name, value) in enumerate(self.amounts):
            middle = top + room * (index + 0.5)
            kind = "bar over" if value > self.budget else "bar"
            wide = max(1.0, x(max(value, low)) - left)
            parts.append(
                f'<rect class="{kind}" x="{left}" y="{middle - 6:.1f}" width="{wide:.1f}"'
                f' height="12" rx="2"/>'
            )
            parts.append(_text(left - 6, middle + 4, name, "end"))
            start = left + wide + 5
            if start < at < start + 8 * len(number(value)):
                start = at + 5  # beside the line, not across it
            inside = start > right - 50
            parts.append(
                _text(left + wide - 5, middle + 4, number(value), "end", "inside")
                if inside
                else _text(start, middle + 4, number(value), "start", "strong")
            )
        parts.append(f'<path class="rule" d="M{at:.1f} {top - 4}V{bottom}"/>')
        parts.append(_text(at, top - 8, self.budget_text, "middle", "rule-text"))
        return _svg(self.title, self.width, self.height, parts)


@dataclass(frozen=True)
class Track:
    """A row of a time line: spans (from, to, class, what it is)."""

    name: str
    spans: Sequence[tuple[float, float, str, str]] = field(default_factory=list)


def timeline(title: str, tracks: Sequence[Track], width: int = 360, height: int = 150) -> str:
    """Tracks over one axis of time, which begins at the first of all spans."""
    left, right, top, bottom = 66, width - 12, 14, height - 22
    begun = min(span[0] for track in tracks for span in track.spans)
    length = max(span[1] for track in tracks for span in track.spans) - begun
    unit, name = next(((u, n) for u, n in _UNITS if length >= 2 * u), _UNITS[-1])
    x = Scale(0.0, (length / unit) or 1.0, left, right)
    parts = [_vertical(x(tick), top, bottom) for tick in x.ticks()]
    parts += _places(x, bottom, right, name)
    room = (bottom - top) / len(tracks)
    for index, track in enumerate(tracks):
        middle = top + room * (index + 0.5)
        parts.append(_text(left - 8, middle + 4, track.name, "end"))
        for since, until, kind, what in track.spans:
            start, stop = x((since - begun) / unit), x((until - begun) / unit)
            parts.append(
                f'<rect class="{kind}" x="{start:.1f}" y="{middle - 9:.1f}"'
                f' width="{max(2.0, stop - start):.1f}" height="18" rx="2">'
                f"<title>{escape(what)}</title></rect>"
            )
    return _svg(title, width, height, parts)


_UNITS = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def _axes(
    x: Scale,
    y: Scale,
    box: tuple[float, float, float, float],
    x_text: str,
    shown: Callable[[float], str],
) -> list[str]:
    left, right, _, bottom = box
    parts = [
        f'<path class="{"base" if y(t) == bottom else "grid"}" d="M{left} {y(t):.1f}H{right}"/>'
        for t in y.ticks(4)
    ]
    parts += [_text(left - 6, y(t) + 4, shown(t), "end") for t in y.ticks(4)]
    return [*parts, *_places(x, bottom, right, x_text)]


def _places(x: Scale, bottom: float, right: float, unit: str) -> list[str]:
    """Numbers below an axis, and at its end what they count, which has to have room."""
    room = right - 7 * len(unit) - 16 if unit else right + 1
    parts = [_text(x(t), bottom + 14, number(t), "middle") for t in x.ticks() if x(t) < room]
    return [*parts, _text(right, bottom + 14, unit, "end")] if unit else parts


def _mark(mark: Mark, x: float, y: float) -> str:
    told = f"<title>{escape(mark.what)}</title>"
    if mark.crossed:
        cross = f"M{x - 3.5:.1f} {y - 3.5:.1f}l7 7m0 -7l-7 7"
        return f'<path class="bad" d="{cross}">{told}</path>'
    return f'<circle class="bad" cx="{x:.1f}" cy="{y:.1f}" r="4">{told}</circle>'


def _polyline(kind: str, points: Sequence[Point]) -> str:
    if len(points) == 1:  # a line of one point is not seen
        [(x, y)] = points
        points = [(x - 1, y), (x + 1, y)]
    return f'<polyline class="line {escape(kind)}" points="{_points(points)}"/>'


def _points(points: Iterable[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _vertical(x: float, top: float, bottom: float) -> str:
    return f'<path class="grid" d="M{x:.1f} {top}V{bottom}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    said = f' class="{kind}"' if kind else ""
    return f'<text{said} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _note(chart: Chart, text: str) -> str:
    return _text(chart.width / 2, chart.height / 2, text, "middle")


def _svg(title: str, width: int, height: int, parts: Iterable[str]) -> str:
    return (
        f'<svg class="plot" viewBox="0 0 {width} {height}" role="img"'
        f' aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def _ends(values: Iterable[float]) -> tuple[float, float]:
    every = list(values)
    return min(every), max(every)


def _padded(low: float, high: float) -> tuple[float, float]:
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - room, high + room
