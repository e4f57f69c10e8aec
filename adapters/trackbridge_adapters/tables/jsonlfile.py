"""A file of JSON Lines: blocks of its objects as columns, nested ones flattened with dots."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pj

from trackbridge.errors import ConfigError
from trackbridge_adapters.tables.blocks import Block, cut, threads
from trackbridge_adapters.tables.mapping import Column, Layout
from trackbridge_adapters.tables.parsed import Parsed, Problem, leaves
from trackbridge_adapters.tables.place import TableFile
from trackbridge_adapters.tables.sample import unit_of, unit_of_text
from trackbridge_adapters.tables.values import is_large

_MARK = b"\xef\xbb\xbf"


class JsonlFile:
    """A file that is open; `columns` are those of its first block."""

    harm: str | None

    def __init__(self, table: TableFile) -> None:
        opened = table.open()
        self.path, self.harm, self._file = table.path, opened.harm, opened.file
        self._start = len(_MARK) if self._file.read(len(_MARK)) == _MARK else 0
        self.notes: dict[str, str] = {}
        self.threads = threads(self._file)
        first = next(self.blocks(), None)
        if first is None:
            raise ConfigError(f"{self.path}: an empty file, no table")
        parsed = self.parse(*first)
        if not parsed.columns:
            why = parsed.problems[0] if parsed.problems else Problem(1, "no object")
            raise ConfigError(f"{self.path}: no JSON Lines: line {why.line}: {why.what}")
        self.columns = columns_of(parsed)

    def blocks(self) -> Iterator[tuple[Block, bytes]]:
        """All lines, in blocks with their bytes."""
        yield from cut(self._file, self._start, 1, quoted=False)

    def read(self, block: Block) -> bytes:
        """The bytes of a block."""
        self._file.seek(block.offset)
        return self._file.read(block.size)

    def close(self) -> None:
        self._file.close()

    def parse(self, block: Block, data: bytes, layout: Layout | None = None) -> Parsed:
        """The columns that are not left out; lines that are no objects are named."""
        try:
            data.decode()
            table = _typed(data)
        except (pa.ArrowException, UnicodeDecodeError):
            parsed = _one_by_one(block, data)
        else:
            parsed = _flat(table)
            if any(_is_doubtful(column) for column in parsed.columns.values()):
                parsed = _one_by_one(block, data)
        if layout is None:
            return parsed
        kept = {n: c for n, c in parsed.columns.items() if not _is_left_out(layout, n)}
        return Parsed(parsed.rows, kept, parsed.tokens, True, parsed.problems)

    def lines_of(self, block: Block, data: bytes, rows: Collection[int]) -> dict[int, int]:
        """In which lines of the file some rows of a block are."""
        found, row = {}, 0
        for number, line in enumerate(data.split(b"\n")):
            if line.strip() and isinstance(_object(line), dict):
                if row in rows:
                    found[row] = block.line + number
                row += 1
        return found

    def cell(self, text: str, name: str) -> str | None:
        """What a line that is no object has in a column: nothing that could be told."""
        return None


def columns_of(parsed: Parsed) -> list[Column]:
    """Columns by what they hold."""
    return [_column(n, c, n in parsed.tokens) for n, c in parsed.columns.items()]


def _column(name: str, column: pa.Array, tokens: bool) -> Column:
    kind, first = column.type, next((v for v in column if v.is_valid), None)
    if first is None:
        return Column(name, "empty")
    if pa.types.is_integer(kind):
        return Column(name, "int", unit=unit_of(float(first.as_py())))
    if pa.types.is_floating(kind):
        return _of_floats(name, column, unit_of(first.as_py()))
    if pa.types.is_boolean(kind):
        return Column(name, "bool")
    if not tokens:
        unit = unit_of_text(first.as_py())
        return Column(name, "time" if unit else "text", unit=unit)
    value = json.loads(first.as_py())
    if isinstance(value, bool):
        return Column(name, "bool")
    if isinstance(value, (int, float)):
        return Column(name, "float", unit=unit_of(float(value)))
    if isinstance(value, str):
        unit = unit_of_text(value)
        return Column(name, "time" if unit else "text", unit=unit)
    return Column(name, "json")


def _of_floats(name: str, column: pa.Array, unit: str) -> Column:
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        parts = np.flatnonzero(~(np.isfinite(values) & (np.floor(values) == values)))
    if not len(parts):
        return Column(name, "whole", unit=unit)
    row = int(parts[0])
    return Column(name, "float", unit=unit, part=f"{values[row]} in row {row + 1}")


def _is_left_out(layout: Layout, name: str) -> bool:
    return name in layout.uses and layout.uses[name].role == "skip"


def _typed(data: bytes) -> pa.Table:
    """The objects as Arrow reads them, but texts that look like times as they are."""
    block = pj.ReadOptions(block_size=max(len(data) + 1, 1 << 20))
    table = pj.read_json(pa.BufferReader(data), read_options=block)
    schema = pa.schema([_without_times(field) for field in table.schema])
    if schema == table.schema:
        return table
    options = pj.ParseOptions(explicit_schema=schema)
    return pj.read_json(pa.BufferReader(data), read_options=block, parse_options=options)


def _without_times(field: pa.Field) -> pa.Field:
    if pa.types.is_timestamp(field.type):
        return field.with_type(pa.string())
    if pa.types.is_struct(field.type):
        return field.with_type(pa.struct([_without_times(inner) for inner in field.type]))
    return field


def _flat(table: pa.Table) -> Parsed:
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    columns: dict[str, pa.Array] = {}
    for name, column in zip(table.column_names, table.columns):
        if name in columns:
            raise pa.ArrowInvalid(f"two columns are called {name}")
        whole = column.combine_chunks()
        columns[name] = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
    return Parsed(table.num_rows, columns, typed=True)


def _is_doubtful(column: pa.Array) -> bool:
    """Whether Arrow may not give what is written: lists, and whole numbers that are large."""
    kind = column.type
    if pa.types.is_floating(kind):
        return is_large(column)
    plain = pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind)
    return not (plain or pa.types.is_null(kind))


def _one_by_one(block: Block, data: bytes) -> Parsed:
    """The same by the json module: values are kept as JSON, in columns that are not of one type."""
    rows: list[dict[str, Any]] = []
    problems = []
    for number, line in enumerate(data.split(b"\n"), block.line):
        if not line.strip():
            continue
        found = _object(line)
        if isinstance(found, dict):
            rows.append(found)
        else:
            problems.append(Problem(number, found, line.decode("utf-8", "replace")))
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    arrays = {name: _array(values) for name, values in columns.items()}
    tokens = frozenset(name for name, values in columns.items() if not _is_plain(values))
    return Parsed(len(rows), arrays, tokens, True, problems)


def _object(line: bytes) -> dict[str, Any] | str:
    """The object in a line, flattened; or why there is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return f"no JSON ({reason})"
    return dict(leaves(found)) if isinstance(found, dict) else "no JSON object"


def _is_plain(values: Collection[Any]) -> bool:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int}:
        return all(-(2**63) <= value < 2**63 for value in values if value is not None)
    if kinds == {str}:
        return not any("\ud800" <= sign <= "\udfff" for value in values for sign in value or "")
    return kinds in (set(), {bool}, {float})


def _array(values: list[Any]) -> pa.Array:
    if _is_plain(values):
        return pa.array(values)
    return pa.array([None if value is None else json.dumps(value) for value in values])
