"""What the columns of a table hold, by its first rows."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge_adapters.tables.mapping import Column
from trackbridge_adapters.tables.values import NUMBER

NOTHING = ("None", "none", "NULL", "Null", "null", "NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "-")
"""Cells that say nothing in a column of numbers, beside empty ones."""
_WHOLE = r"^[+-]?[0-9]+$"
_WHOLE_FLOAT = r"^[+-]?[0-9]+\.0+$"
_MOMENT = r"^\d{4}-\d\d-\d\d([ T]\d\d:\d\d.*)?$"
_EARLIEST = 1e8
"""Seconds since 1970 that are taken for a time: since 1973; less is what a run took."""


def columns_of(
    names: Sequence[str], rows: Sequence[Sequence[str]], *, comma: bool = False
) -> list[Column]:
    """Columns by the texts of their cells."""
    found = []
    for position, name in enumerate(names):
        said = [row[position] if position < len(row) else "" for row in rows]
        cells = pc.utf8_trim_whitespace(pa.array(said, pa.string()))
        if comma:
            cells = pc.replace_substring(cells, ",", ".")
        column = _column(name, cells.filter(pc.not_equal(cells, "")))
        if column.kind == "float":
            column = column._replace(part=_part(said, cells))
        found.append(column)
    return found


def _column(name: str, cells: pa.Array) -> Column:
    """What most of the cells are: the others are named, or a series of their own."""
    if not len(cells):
        return Column(name, "empty")
    known = cells.filter(pc.invert(pc.is_in(cells, pa.array(NOTHING))))
    cells = known if len(known) else cells
    numeric = _numeric(cells)
    if _are_most(numeric):
        numbers = cells.filter(numeric)
        unit = unit_of(float(numbers[0].as_py()))
        whole = pc.match_substring_regex(cells, _WHOLE)
        if _are_most(whole):
            return Column(name, "int", _count(cells), _grow(cells, whole), unit)
        if pc.all(pc.match_substring_regex(numbers, _WHOLE_FLOAT)).as_py():
            return Column(name, "whole", unit=unit)
        return Column(name, "float", unit=unit)
    if pc.all(pc.is_in(pc.utf8_lower(cells), pa.array(["true", "false"]))).as_py():
        return Column(name, "bool")
    if _are_most(pc.match_substring_regex(cells, _MOMENT)):
        return Column(name, "time", unit="iso")
    return Column(name, "text")


def _numeric(cells: pa.Array) -> pa.Array:
    """Which cells are numbers."""
    try:
        return pc.is_valid(pc.cast(cells, pa.float64()))
    except pa.ArrowInvalid:
        return pc.match_substring_regex(cells, NUMBER)


def _part(said: Sequence[str], cells: pa.Array) -> str:
    """The first cell with a number that is not whole."""
    for row, (text, cell) in enumerate(zip(said, cells.to_pylist()), 1):
        if re.match(NUMBER, cell) and float(cell) % 1:
            return f"{text.strip()} in row {row}"
    return ""


def _are_most(some: pa.Array) -> bool:
    return bool(2 * some.true_count > len(some))


def _count(cells: pa.Array) -> bool:
    """Whether they are 0, 1, 2 and so on."""
    return bool(cells.equals(pa.array(np.arange(len(cells))).cast(pa.string())))


def _grow(cells: pa.Array, whole: pa.Array) -> bool:
    """Whether there are several, each a whole number that is greater than the one before."""
    if len(cells) < 2 or whole.true_count < len(whole):
        return False
    found = np.array([float(cell) for cell in cells.to_pylist()])
    return bool((found[1:] > found[:-1]).all())


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
    return "iso" if re.match(_MOMENT, first.strip()) else ""
