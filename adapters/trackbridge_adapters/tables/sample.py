"""What the columns of a table hold, by its first rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from trackbridge_adapters.tables.mapping import Column

NOTHING = ("None", "none", "NULL", "Null", "null", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "-")
"""Cells that say nothing in a column of numbers, beside empty ones."""
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
        column = _column(name, given, [cell.strip() for cell in given])
        if column.kind == "float":
            column = column._replace(part=_part(rows, position, comma))
        found.append(column)
    return found


def _column(name: str, given: Sequence[str], cells: Sequence[str]) -> Column:
    """What most of the cells are: the others are named, or a series of their own."""
    if not cells:
        return Column(name, "empty")
    cells = [cell for cell in cells if cell not in NOTHING] or cells
    numeric = [cell for cell in cells if _NUMBER.fullmatch(cell)]
    if _are_most(numeric, cells):
        unit = unit_of(float(numeric[0]))
        if _are_most([cell for cell in cells if _WHOLE.fullmatch(cell)], cells):
            counts = [str(number) for number in range(len(cells))] == list(cells)
            return Column(name, "int", counts, _grow(cells), unit)
        if _are_whole(numeric):
            return Column(name, "whole", unit=unit)
        return Column(name, "float", unit=unit)
    if {cell.lower() for cell in cells} <= {"true", "false"}:
        return Column(name, "bool")
    if _are_most([cell for cell in cells if _MOMENT.fullmatch(cell)], cells):
        return Column(name, "time", unit="iso")
    return Column(name, "text")


def _part(rows: Sequence[Sequence[str]], position: int, comma: bool) -> str:
    for number, row in enumerate(rows, 1):
        cell = row[position].strip() if position < len(row) else ""
        said = cell.replace(",", ".") if comma else cell
        if _NUMBER.fullmatch(said) and float(said) % 1:
            return f"{cell} in row {number}"
    return ""


def _are_most(some: Sequence[str], cells: Sequence[str]) -> bool:
    return 2 * len(some) > len(cells)


def _grow(cells: Sequence[str]) -> bool:
    """Whether there are several, each a whole number that is greater than the one before."""
    if not all(_WHOLE.fullmatch(cell) for cell in cells):
        return False
    found = [int(cell) for cell in cells]
    return len(found) > 1 and all(a < b for a, b in pairwise(found))


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
