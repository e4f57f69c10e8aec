"""A file of JSON Lines: blocks of its objects as columns, nested ones flattened with dots."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Container, Iterator, Sequence
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

DEEPEST = 200
"""Objects and lists in one another that are read; a line with more of them is damage."""
SAMPLED = 1000
"""Values of different types of a column that tell what most are."""
_DEEP = "no JSON (nested too deeply)"
_MARK = b"\xef\xbb\xbf"
_HALF = re.compile(rb"\\u[dD][89a-fA-F]|\xed")
"""What may be half of a character of UTF-16, alone."""


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
        parsed = _by_arrow(data) or _one_by_one(block, data)
        if layout is None:
            return parsed
        kept = {n: c for n, c in parsed.columns.items() if not _is_left_out(layout, n)}
        return Parsed(parsed.rows, kept, parsed.tokens, True, parsed.problems)

    def lines_of(self, block: Block, data: bytes, rows: Collection[int]) -> dict[int, int]:
        """In which lines of the file some rows of a block are."""
        found, row = {}, 0
        for number, line in enumerate(data.split(b"\n")):
            if line.strip() and _object(line)[0] is not None:
                if row in rows:
                    found[row] = block.line + number
                row += 1
        return found

    def cell(self, text: str, name: str) -> str | None:
        """What a line that is no object has in a column: nothing that could be told."""
        return None


def columns_of(parsed: Parsed, known: Container[str] = ()) -> list[Column]:
    """Columns that are not known yet, by what they hold."""
    new = [name for name in parsed.columns if name not in known]
    return [_column(name, parsed.columns[name], name in parsed.tokens) for name in new]


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
    values = [json.loads(token) for token in column.drop_null()[:SAMPLED].to_pylist()]
    return _of_values(name, values)


def _of_values(name: str, values: Sequence[Any]) -> Column:
    """What most of them are, or else the first: the others are named, or a series of their own."""
    numbers = [value for value in values if type(value) in (int, float)]
    if 2 * len(numbers) > len(values):
        whole = [value for value in numbers if type(value) is int]
        kind = "int" if 2 * len(whole) > len(values) else "float"
        return Column(name, kind, unit=unit_of(numbers[0]))
    value = values[0]
    if isinstance(value, bool):
        return Column(name, "bool")
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


def _by_arrow(data: bytes) -> Parsed | None:
    """All columns, as long as Arrow gives what is written."""
    if _may_be_deep(data):
        return None
    try:
        data.decode()
        parsed = _flat(_typed(data))
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    return None if any(_is_doubtful(column) for column in parsed.columns.values()) else parsed


def _may_be_deep(data: bytes) -> bool:
    """Whether a line has brackets in which Arrow (25) would lose itself: it nests its calls."""
    signs = np.frombuffer(data, np.uint8)
    opened = np.flatnonzero((signs == ord("{")) | (signs == ord("[")))
    if len(opened) <= DEEPEST:
        return False
    lines = np.searchsorted(opened, np.flatnonzero(signs == ord("\n")))
    return bool(np.diff(lines, prepend=0, append=len(opened)).max() > DEEPEST)


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
        found, wrong = _object(line)
        if found is not None:
            rows.append(found)
        if wrong:
            problems.append(Problem(number, wrong, line.decode("utf-8", "replace")))
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    arrays = {name: _array(values) for name, values in columns.items()}
    tokens = frozenset(name for name, values in columns.items() if not _is_plain(values))
    return Parsed(len(rows), arrays, tokens, True, problems)


def _object(line: bytes) -> tuple[dict[str, Any] | None, str]:
    """The object in a line, flattened; and what is wrong with it, or why there is none."""
    try:
        found = json.loads(line, parse_float=_float, parse_int=_int)
    except ValueError as error:
        return None, f"no JSON ({error})"
    except RecursionError:
        return None, _DEEP
    if not isinstance(found, dict):
        return None, "no JSON object"
    if line.count(b"{") + line.count(b"[") > DEEPEST and _depth(found) > DEEPEST:
        return None, _DEEP
    wrong = []
    if _HALF.search(line):
        text = json.dumps(found, ensure_ascii=False)
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if whole != text:
            found = json.loads(whole)
            wrong.append("half a character of UTF-16, which is replaced")
    values: dict[str, Any] = {}
    for name, value in leaves(found):
        if name in values:
            wrong.append(f"two values are called {name}, of which the first is kept")
        values.setdefault(name, value)
    return values, "; ".join(wrong)


def _float(text: str) -> float | str:
    """A number, or its text where there is none of float64."""
    found = float(text)
    return found if math.isfinite(found) else text


def _int(text: str) -> int | str:
    """The same of a whole one; Python takes no more than some thousand digits."""
    try:
        return int(text)
    except ValueError:
        return text


def _depth(value: Any) -> int:
    """How many objects and lists are in one another."""
    depth, level = 0, [value]
    while level := [inner for outer in level for inner in _inside(outer)]:
        depth += 1
    return depth


def _inside(value: Any) -> Collection[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _is_plain(values: Collection[Any]) -> bool:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int}:
        return all(-(2**63) <= value < 2**63 for value in values if value is not None)
    return kinds in (set(), {str}, {bool}, {float})


def _array(values: list[Any]) -> pa.Array:
    if _is_plain(values):
        return pa.array(values)
    return pa.array([None if value is None else json.dumps(value) for value in values])
