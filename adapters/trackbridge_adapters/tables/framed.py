"""A table of any columns as a file of JSON Lines, for frames that are to be read."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from trackbridge.errors import ConfigError
from trackbridge_adapters.tables.emit import lines

ROWS = 65_536


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
    plain = pa.types.is_boolean(kind) or pa.types.is_floating(kind) or pa.types.is_integer(kind)
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    if plain or pa.types.is_null(kind):
        return column.cast(pa.string()) if pa.types.is_null(kind) else column
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        zone = kind.tz if pa.types.is_timestamp(kind) else None
        micros = column.cast(pa.timestamp("us", zone), safe=False)
        return micros.cast(pa.timestamp("us", "UTC"))
    if str(kind) in ("string", "large_string", "string_view"):
        return column.cast(pa.string())
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    try:
        texts = [None if value is None else json.dumps(value) for value in column.to_pylist()]
    except TypeError as error:
        raise ConfigError(
            f"from_frame: column {name!r} holds {kind}, which is no value; drop or convert it"
        ) from error
    return pa.array(texts, pa.string())
