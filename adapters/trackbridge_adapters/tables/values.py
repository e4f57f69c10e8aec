"""Cells as values of the run model: numbers, steps, times, and what is none of these."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge_adapters.tables.parsed import Words

EXACT = 2.0**53
"""Up to which every whole number is one of float64."""

NUMBER = r"^\s*[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:nan|inf|infinity))\s*$"
_WHOLE = r"^\s*[+-]?\d{16,}\s*$"
_MOMENT = (
    r"^\s*\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?)?\s*(Z|UTC|[+-]\d\d(:?\d\d)?)?\s*$"
)
_ZONE = r"(Z|UTC|[+-]\d\d:?\d\d|:\d\d[+-]\d\d)\s*$"
_SAID = {'"NaN"': "NaN", '"Infinity"': "Infinity", '"-Infinity"': "-Infinity"}
"""How JSON Lines have numbers that JSON has not, where they are not bare words."""

UNITS = {"s": 1_000_000.0, "ms": 1_000.0, "us": 1.0, "ns": 0.001}
"""Microseconds of a unit that times are counted in."""
FARTHEST = 2.0**62
"""Microseconds from 1970 at which a time is none."""

NONE = np.zeros(0, np.int64)


class Others(NamedTuple):
    """Rows whose values are no scalars: their kinds, and values as JSON text."""

    rows: npt.NDArray[np.int64]
    kinds: pa.Array
    values: pa.Array


class Numbers(NamedTuple):
    """A column as values; `there` is None where every row has a number."""

    values: npt.NDArray[np.float64]
    there: npt.NDArray[np.bool_] | None
    others: Others | None


def numbers(column: pa.Array, words: Words) -> Numbers:
    """The values of a column; empty cells are neither numbers nor others."""
    kind = column.type
    if pa.types.is_null(kind):
        nothing = np.zeros(len(column), bool)
        return Numbers(np.zeros(len(column)), nothing, None)
    if pa.types.is_boolean(kind):
        return _only_others(column, "boolean", pc.if_else(column, "true", "false"))
    if pa.types.is_dictionary(kind):
        column = column.cast(pa.string())
    if pa.types.is_string(column.type):
        return _of_texts(column if words != "texts" else quoted(column), tokens=words != "cells")
    there = _there(column)
    filled = _full(column, 0)
    values = filled.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    if pa.types.is_integer(kind) and is_large(filled):
        return _whole_numbers(filled, values, there)
    return Numbers(values, there, None)


def no_numbers(column: pa.Array) -> npt.NDArray[np.int64]:
    """Rows of a column of cells that are neither empty nor a number."""
    if not pa.types.is_string(column.type):
        return NONE
    number = pc.fill_null(pc.match_substring_regex(column, NUMBER), True)
    return np.flatnonzero(~number.to_numpy(zero_copy_only=False))


def _whole_numbers(
    column: pa.Array, values: npt.NDArray[np.float64], there: npt.NDArray[np.bool_] | None
) -> Numbers:
    whole = column.to_numpy(zero_copy_only=False)
    exact = (np.abs(values) < 2.0**63) & (np.clip(values, -(2.0**62), 2.0**62) == values)
    exact = np.where(exact, np.where(exact, values, 0).astype(np.int64) == whole, False)
    valid = np.ones(len(column), bool) if there is None else there
    rows = np.flatnonzero(valid & ~exact)
    texts = column.take(pa.array(rows)).cast(pa.string())
    others = Others(rows, pa.repeat(pa.scalar("integer"), len(rows)), texts)
    return Numbers(values, valid & exact, others if len(rows) else None)


def is_large(column: pa.Array) -> bool:
    """Whether numbers may not be what was written: whole ones beyond 2**53, and infinite ones."""
    if not len(column) or column.null_count == len(column):
        return False
    values = _full(column, 0).to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        return _reach(values, EXACT) and bool(np.any(np.abs(values) >= EXACT))


def are_said(column: pa.Array, texts: pa.Array) -> bool:
    """Whether all large numbers of a column are infinite, and texts call them so."""
    values = _full(column, 0).to_numpy(zero_copy_only=False)
    large = np.flatnonzero(np.abs(values) >= EXACT)
    called = _say_infinity(texts.take(pa.array(large)))
    return bool(np.isinf(values[large]).all() and called.all())


def _reach(values: npt.NDArray[Any], limit: float) -> bool:
    """Whether some are not less than a limit in size, which NaN is not; in two passes, no copy."""
    return len(values) > 0 and not (values.max() < limit and values.min() > -limit)


def _only_others(column: pa.Array, kind: str, texts: pa.Array) -> Numbers:
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    values = texts.take(pa.array(rows))
    others = Others(rows, pa.repeat(pa.scalar(kind), len(rows)), values)
    return Numbers(np.zeros(len(column)), np.zeros(len(column), bool), others)


def _of_texts(column: pa.Array, *, tokens: bool) -> Numbers:
    """Texts that say a number are one, but for whole numbers that float64 does not have."""
    if tokens:
        for said, word in _SAID.items():
            column = pc.if_else(pc.equal(column, said), word, column)
        column = pc.if_else(pc.equal(column, "null"), pa.scalar(None, pa.string()), column)
    is_number = pc.fill_null(pc.match_substring_regex(column, NUMBER), False)
    there = is_number.to_numpy(zero_copy_only=False)
    trimmed = pc.utf8_trim_whitespace(column)
    texts = pc.if_else(is_number, trimmed, pa.scalar("0"))
    values = np.array(pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False))
    exact = there.copy()
    long = pc.fill_null(pc.match_substring_regex(column, _WHOLE), False)
    whole = long.to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(whole).tolist():
        # however many digits there are, which int() does not take
        exact[row] = Decimal(trimmed[row].as_py()) == Decimal(values[row])
    if np.isinf(values).any():  # as texts say it, or since they say more than float64 has
        exact &= np.isfinite(values) | _say_infinity(column)
    rest = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False) & ~exact)
    others = None
    if len(rest):
        chosen = trimmed.take(pa.array(rest)) if not tokens else column.take(pa.array(rest))
        others = _others(rest, chosen, column.take(pa.array(rest)), whole[rest], tokens=tokens)
    return Numbers(values, None if exact.all() else exact, others)


def _say_infinity(column: pa.Array) -> npt.NDArray[np.bool_]:
    digits = pc.match_substring_regex(column, "[0-9]")
    found: npt.NDArray[np.bool_] = ~pc.fill_null(digits, False).to_numpy(zero_copy_only=False)
    return found


def _others(
    rows: npt.NDArray[np.int64],
    trimmed: pa.Array,
    texts: pa.Array,
    whole: npt.NDArray[np.bool_],
    *,
    tokens: bool,
) -> Others:
    lower = pc.ascii_lower(trimmed)
    is_bool = pc.is_in(lower, pa.array(["true", "false"]))
    is_whole = pa.array(whole)
    if tokens:
        first = pc.utf8_slice_codeunits(trimmed, 0, 1)
        other = pc.if_else(pc.equal(first, '"'), "text", "json")
        values = texts
    else:
        other, values = pa.scalar("text"), quoted(texts)
        values = pc.if_else(is_bool, lower, values)
        digits = pc.replace_substring_regex(trimmed, r"^\+", "")
        values = pc.if_else(is_whole, digits, values)
    kinds = pc.if_else(is_bool, "boolean", other)
    kinds = pc.if_else(is_whole, "integer", kinds)
    return Others(rows, kinds, values)


def quoted(texts: pa.Array) -> pa.Array:
    """Texts as JSON has them."""
    special = pc.fill_null(pc.match_substring_regex(texts, r'[\x00-\x1f"\\\x7f]'), False)
    plain = pc.binary_join_element_wise(pa.scalar('"'), texts, pa.scalar('"'), "")
    if not pc.any(special).as_py():
        return plain
    spelled = [json.dumps(t, ensure_ascii=False) for t in texts.filter(special).to_pylist()]
    return pc.replace_with_mask(plain, special, pa.array(spelled, pa.string()))


class Cells(NamedTuple):
    """A column as whole numbers; rows that are in neither are empty."""

    values: npt.NDArray[np.int64]
    there: npt.NDArray[np.bool_] | None
    bad: npt.NDArray[np.int64]
    """Rows with something else in them."""


def steps(column: pa.Array, words: Words) -> Cells:
    """Whole numbers, also where they are written as 3.0."""
    if pa.types.is_integer(column.type):
        return Cells(_filled(column), _there(column), NONE)
    if not pa.types.is_floating(column.type):
        return _whole_texts(column, tokens=words == "json")
    values = column.fill_null(np.nan).to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        whole = np.isfinite(values) & (np.floor(values) == values) & (np.abs(values) <= EXACT)
    bad = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False) & ~whole)
    return Cells(np.where(whole, values, 0).astype(np.int64), whole, bad)


def _whole_texts(column: pa.Array, *, tokens: bool) -> Cells:
    texts = pc.utf8_trim_whitespace(_texts(column))
    if tokens:
        texts = pc.if_else(pc.equal(texts, "null"), pa.scalar(None, pa.string()), texts)
    digits = pc.fill_null(pc.match_substring_regex(texts, r"^[+-]?\d{1,18}$"), False)
    plain = pc.replace_substring_regex(pc.if_else(digits, texts, "0"), r"^\+", "")
    values = np.array(pc.cast(plain, pa.int64()).to_numpy(zero_copy_only=False))
    there = digits.to_numpy(zero_copy_only=False).copy()
    rest = np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False) & ~there)
    bad = []
    for row in rest.tolist():
        whole = _whole(texts[row].as_py())
        if whole is None:
            bad.append(row)
        else:
            values[row], there[row] = whole, True
    return Cells(values, there, np.array(bad, np.int64))


def _whole(text: str) -> int | None:
    try:
        found = int(text) if text.lstrip("+-").isdigit() else float(text)
        return int(found) if found == int(found) and -(2**63) <= found < 2**63 else None
    except (ValueError, OverflowError):
        return None


def times(column: pa.Array, unit: str) -> Cells:
    """Microseconds since 1970; numbers count the unit, texts are as ISO 8601 has them, in UTC."""
    if pa.types.is_integer(column.type) and unit != "ns":
        scale = int(UNITS[unit])
        return _bounded(_filled(column), _there(column), scale)
    if pa.types.is_integer(column.type):
        return Cells(_filled(column) // 1000, _there(column), NONE)
    if pa.types.is_floating(column.type):
        values = _full(column, np.nan).to_numpy(zero_copy_only=False)
        return _moments(values, _there(column), unit)
    return _spelled(_texts(column), unit)


def _bounded(values: Any, there: Any, scale: int) -> Cells:
    far = np.abs(values) > np.iinfo(np.int64).max // scale
    inside = ~far if there is None else there & ~far
    bad = np.flatnonzero(far) if far.any() else NONE
    return Cells(np.where(far, 0, values) * scale, inside if far.any() else there, bad)


def _moments(
    values: npt.NDArray[np.float64], valid: npt.NDArray[np.bool_] | None, unit: str
) -> Cells:
    with np.errstate(invalid="ignore", over="ignore"):
        micros = np.round(values * UNITS[unit])
        if not _reach(micros, FARTHEST):
            return Cells(micros.astype(np.int64), None, NONE)
        far = ~(np.abs(micros) < FARTHEST)
    bad = np.flatnonzero(far if valid is None else far & valid)
    micros[far] = 0
    return Cells(micros.astype(np.int64), ~far, bad)


def _spelled(texts: pa.Array, unit: str) -> Cells:
    trimmed = pc.utf8_trim_whitespace(texts)
    valid = texts.is_valid().to_numpy(zero_copy_only=False)
    number = pc.fill_null(pc.match_substring_regex(trimmed, NUMBER), False)
    counted = pc.cast(pc.if_else(number, trimmed, "nan"), pa.float64())
    found = _moments(
        counted.to_numpy(zero_copy_only=False), number.to_numpy(zero_copy_only=False), unit
    )
    values = np.array(found.values)
    there = np.ones(len(values), bool) if found.there is None else np.array(found.there)
    moment = pc.fill_null(pc.match_substring_regex(trimmed, _MOMENT), False)
    rows = np.flatnonzero(moment.to_numpy(zero_copy_only=False))
    if len(rows):
        micros = _parsed(trimmed.take(pa.array(rows)))
        good = micros.is_valid().to_numpy(zero_copy_only=False)
        values[rows[good]] = micros.fill_null(0).to_numpy(zero_copy_only=False)[good]
        there[rows[good]] = True
    return Cells(values, there, np.flatnonzero(valid & ~there))


def _parsed(texts: pa.Array) -> pa.Array:
    """Microseconds of texts in the form of ISO 8601; null for days that there are not."""
    texts = pc.replace_substring_regex(texts, r"[.,](\d{1,6})\d*", r".\1")
    texts = pc.replace_substring_regex(texts, r"\s*UTC$", "Z")
    texts = pc.replace_substring_regex(texts, r"^(\d{4}-\d\d-\d\d)$", r"\1 00:00:00")
    texts = pc.replace_substring_regex(texts, r"(\d\d)\s+([+-])", r"\1\2")
    zoned = pc.match_substring_regex(texts, _ZONE)
    texts = pc.if_else(zoned, texts, pc.binary_join_element_wise(texts, "Z", ""))
    try:
        return pc.cast(texts, pa.timestamp("us", "UTC")).cast(pa.int64())
    except pa.ArrowInvalid:
        parts = [_one(text) for text in texts.to_pylist()]
        return pa.array(parts, pa.int64())


def _one(text: str) -> int | None:
    try:
        return int(pa.scalar(text).cast(pa.timestamp("us", "UTC")).cast(pa.int64()).as_py())
    except pa.ArrowInvalid:
        return None


def _texts(column: pa.Array) -> pa.Array:
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


def _filled(column: pa.Array) -> Any:
    return _full(column, 0).cast(pa.int64()).to_numpy(zero_copy_only=False)


def _full(column: pa.Array, value: float) -> pa.Array:
    """The column with a value where it has none."""
    return column.fill_null(value) if column.null_count else column


def _there(column: pa.Array) -> npt.NDArray[np.bool_] | None:
    if not column.null_count:
        return None
    there: npt.NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return there
