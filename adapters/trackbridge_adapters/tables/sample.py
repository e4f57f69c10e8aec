"""What the columns of a table hold, by its first rows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from trackbridge_adapters.tables.mapping import Column

_WHOLE = re.compile(r"\s*[+-]?\d+\s*")
_NUMBER = re.compile(
    r"\s*[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|nan|inf|infinity)\s*", re.IGNORECASE
)
_MOMENT = re.compile(r"\s*\d{4}-\d\d-\d\d([ T]\d\d:\d\d.*)?")
_EARLIEST = 1e8
"""Seconds since 1970 that are taken for a time: since 1973; less is what a run took."""


def columns_of(
    names: Sequence[str], rows: Sequence[Sequence[str]], *, comma: bool = False
) -> list[Column]:
    """Columns by the texts of their cells."""
    found = []
    for position, name in enumerate(names):
        cells = [row[position] for row in rows if position < len(row)]
        given = [cell.replace(",", ".") if comma else cell for cell in cells if cell.strip()]
        found.append(_column(name, given, [cell.strip() for cell in given]))
    return found


def _column(name: str, given: Sequence[str], cells: Sequence[str]) -> Column:
    """What most of the cells are: the others are named, or a series of their own."""
    counts = [str(number) for number in range(len(cells))] == list(cells)
    if not cells:
        return Column(name, "empty")
    numeric = [cell for cell in cells if _NUMBER.fullmatch(cell)]
    if _are_most(numeric, cells):
        unit = unit_of(float(numeric[0]))
        if _are_most([cell for cell in cells if _WHOLE.fullmatch(cell)], cells):
            return Column(name, "int", counts, unit)
        return Column(name, "whole" if _are_whole(numeric) else "float", False, unit)
    if {cell.lower() for cell in cells} <= {"true", "false"}:
        return Column(name, "bool")
    if _are_most([cell for cell in cells if _MOMENT.fullmatch(cell)], cells):
        return Column(name, "time", False, "iso")
    return Column(name, "text")


def _are_most(some: Sequence[str], cells: Sequence[str]) -> bool:
    return 2 * len(some) > len(cells)


def _are_whole(cells: Sequence[str]) -> bool:
    """Numbers such as 3.0, which frames make of whole ones where some are missing."""
    return all(re.fullmatch(r"[+-]?\d+\.0+", cell) for cell in cells)


def unit_of(first: float) -> str:
    """What a time counts whose first value this is; empty where it is no time since 1970."""
    size = abs(first)
    if not size >= _EARLIEST:
        return ""
    for unit, most in (("s", 1e11), ("ms", 1e14), ("us", 1e17)):
        if size < most:
            return unit
    return "ns"


def unit_of_text(first: str) -> str:
    """The same of a text."""
    return "iso" if _MOMENT.fullmatch(first) else ""
