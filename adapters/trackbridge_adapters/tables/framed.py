"""A table of any columns as a file of JSON Lines, for frames that are to be read."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.errors import ConfigError
from trackbridge_adapters.tables.emit import lines

ROWS = 65_536
_PERIOD = "pandas.period"
"""The type of Arrow that pandas (2, 3) has for spans such as months; its storage counts them."""


def write_table(table: pa.Table, path: Path) -> None:
    """Write rows as objects; missing values are null."""
    names = table.column_names
    if len(set(names)) < len(names) or not names:
        raise ConfigError("from_frame: columns need names, and each its own; rename them")
    with path.open("wb") as file:
        for data in table.to_batches(ROWS):
            columns = [_column(name, column) for name, column in zip(names, data.columns)]
            file.write(lines([str(name) for name in names], columns))


def _column(name: str, column: pa.Array) -> pa.Array:
    """A column of numbers, truth values, times or texts, whatever it was."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_floating(kind):
        return column.cast(pa.float64())
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return column
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _times(column)
    if str(kind) in ("null", "string", "large_string", "string_view"):
        return column.cast(pa.string())
    if pa.types.is_decimal(kind):
        return _decimals(column)
    if getattr(kind, "extension_name", "") == _PERIOD:
        shown = pa.array([str(value) for value in column.to_pandas()], pa.string())
        return pc.if_else(column.is_valid(), shown, None)
    try:
        texts = [None if value is None else json.dumps(value) for value in column.to_pylist()]
    except TypeError as error:
        raise ConfigError(
            f"from_frame: column {name!r} holds {kind}, which is no value; drop or convert it"
        ) from error
    return pa.array(texts, pa.string())


def _times(column: pa.Array) -> pa.Array:
    """Times in UTC, with microseconds; texts where these are not all that there is."""
    kind = column.type
    zone = kind.tz if pa.types.is_timestamp(kind) else None
    micros = column.cast(pa.timestamp("us", zone), safe=False)
    if not str(kind).startswith("timestamp[ns") or micros.cast(kind) == column:
        return micros.cast(pa.timestamp("us", "UTC"))
    shown = column.cast(pa.timestamp("ns")).cast(pa.string())
    return pc.binary_join_element_wise(pc.replace_substring(shown, " ", "T"), "Z", "")


def _decimals(column: pa.Array) -> pa.Array:
    """Whole numbers with all their digits; others as the nearest ones of float64."""
    try:
        return column.cast(pa.decimal256(76, 0))
    except pa.ArrowInvalid:
        # by their texts: Arrow (25) rounds one in five wrong when it casts decimals themselves
        return column.cast(pa.string()).cast(pa.float64())
