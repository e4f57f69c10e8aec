"""Rows of the run model as bytes of a CSV or JSON Lines file, and back."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.json as pj

from trackbridge.columns import sliced
from trackbridge.errors import IntegrityError
from trackbridge.schema import EVERY_TABLE, TIME
from trackbridge_adapters.tables.csvfile import joined
from trackbridge_adapters.tables.values import quoted

_TEXT = pa.string()
ORIGINS = "origins"
CONTENTS = "contents"
SCHEMAS: dict[str, pa.Schema] = {
    **EVERY_TABLE,
    ORIGINS: pa.schema(
        [
            ("project", _TEXT),
            ("run_id", _TEXT),
            ("key", _TEXT),
            ("fingerprint", _TEXT),
            ("points", pa.int64()),
            ("files", pa.int64()),
            ("bytes", pa.int64()),
        ]
    ),
    CONTENTS: pa.schema(
        [
            ("project", _TEXT),
            ("run_id", _TEXT),
            ("owner", _TEXT),
            ("path", _TEXT),
            ("size", pa.int64()),
            ("sha256", _TEXT),
            ("stored", _TEXT),
        ]
    ),
}
"""Tables of the run model, and two more: where runs come from, and which file has which bytes."""

_FIRST, _LAST = -62135596800 * 10**6, 253402300800 * 10**6 - 1
"""Microseconds of the years 1 to 9999, which ISO 8601 has; other times are written as a number."""
_UNUSUAL = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def header(table: str, scheme: str) -> bytes:
    """What stands before the rows."""
    if scheme != "csv":
        return b""
    return ",".join(SCHEMAS[table].names).encode() + b"\n"


def emit(data: pa.RecordBatch, scheme: str) -> bytes:
    """Rows as bytes, with a line end each; the same bytes for the same rows."""
    if scheme == "csv":
        columns = [_written(column) for column in data.columns]
        out = io.BytesIO()
        options = pv.WriteOptions(include_header=False)
        pv.write_csv(pa.RecordBatch.from_arrays(columns, names=data.schema.names), out, options)
        return out.getvalue()
    return lines(data.schema.names, data.columns)


def _written(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return column.cast(_TEXT)
    if not pa.types.is_timestamp(kind):
        return column
    micros = column.cast(pa.int64())
    usual = pc.and_(pc.greater_equal(micros, _FIRST), pc.less_equal(micros, _LAST))
    # without a zone Arrow (25) formats them twenty times as fast
    shown = pc.if_else(usual, column, None).cast(pa.timestamp("us")).cast(_TEXT)
    day, clock = pc.utf8_slice_codeunits(shown, 0, 10), pc.utf8_slice_codeunits(shown, 11)
    shown = pc.binary_join_element_wise(day, "T", clock, "Z", "")
    if pc.all(usual).as_py() is not False:
        return shown
    return pc.if_else(usual, shown, micros.cast(_TEXT))


def lines(names: list[str], columns: list[pa.Array]) -> bytes:
    """Rows as JSON objects, one in a line."""
    parts: list[pa.Array | pa.Scalar] = []
    for name, column in zip(names, columns):
        said = json.dumps(name, ensure_ascii=False)
        parts += [pa.scalar(f"{', ' if parts else '{'}{said}: "), _json(_written(column))]
    rows = pc.binary_join_element_wise(*parts, pa.scalar("}\n"), "")
    whole = rows.combine_chunks() if isinstance(rows, pa.ChunkedArray) else rows
    _, offsets, texts = whole.buffers()
    first, last = pa.Array.from_buffers(
        pa.int32(), len(whole) + 1, [None, offsets], offset=whole.offset
    ).to_numpy()[[0, -1]]
    return bytes(texts[first:last])


def _json(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_string(kind):
        texts = quoted(column)
    elif pa.types.is_floating(kind):
        texts = column.cast(_TEXT)
        for said, word in _UNUSUAL.items():
            texts = pc.if_else(pc.equal(texts, said), word, texts)
    else:
        texts = column.cast(_TEXT)
    return pc.fill_null(texts, "null")


def parse(data: bytes, table: str, scheme: str, where: str) -> Iterator[pa.RecordBatch]:
    """The rows in some bytes, in batches of the usual size."""
    schema = SCHEMAS[table]
    try:
        found = _csv(data, schema) if scheme == "csv" else _jsonl(data, schema)
        arrays = [_read(joined(found.column(field.name)), field) for field in schema]
    except (pa.ArrowException, KeyError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise IntegrityError(f"{where} is damaged ({reason}); restore it") from error
    whole = pa.RecordBatch.from_arrays(arrays, schema=schema)
    yield from (batch.data for batch in sliced(table, whole))


def _plain(field: pa.Field) -> pa.DataType:
    return _TEXT if pa.types.is_timestamp(field.type) else field.type


def _csv(data: bytes, schema: pa.Schema) -> pa.Table:
    return pv.read_csv(
        pa.BufferReader(data),
        read_options=pv.ReadOptions(column_names=schema.names),
        parse_options=pv.ParseOptions(newlines_in_values=True),
        convert_options=pv.ConvertOptions(
            column_types={field.name: _plain(field) for field in schema},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _jsonl(data: bytes, schema: pa.Schema) -> pa.Table:
    data.decode()  # Arrow (25) takes texts as they are
    plain = pa.schema(
        [f.with_type(_TEXT if pa.types.is_dictionary(f.type) else _plain(f)) for f in schema]
    )
    return pj.read_json(
        pa.BufferReader(data),
        read_options=pj.ReadOptions(block_size=max(len(data) + 1, 1 << 16)),
        parse_options=pj.ParseOptions(explicit_schema=plain, unexpected_field_behavior="ignore"),
    )


def _read(column: pa.Array, field: pa.Field) -> pa.Array:
    if pa.types.is_dictionary(field.type) and not pa.types.is_dictionary(column.type):
        return column.dictionary_encode().cast(field.type)
    if not pa.types.is_timestamp(field.type):
        return column.cast(field.type)
    counted = pc.fill_null(pc.match_substring_regex(column, r"^-?\d+$"), False)
    if not pc.any(counted).as_py():
        return column.cast(TIME)
    shown = pc.if_else(counted, pa.scalar(None, _TEXT), column).cast(TIME)
    micros = pc.if_else(counted, column, pa.scalar(None, _TEXT)).cast(pa.int64())
    return pc.if_else(counted, micros.cast(TIME), shown)
