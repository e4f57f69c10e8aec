"""A CSV file: its signs, its columns, and blocks of its rows as columns."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from trackbridge.errors import ConfigError
from trackbridge_adapters.tables import place
from trackbridge_adapters.tables.blocks import Block, count, cut, threads
from trackbridge_adapters.tables.mapping import NUMERIC, Column, Layout
from trackbridge_adapters.tables.parsed import Parsed, Problem
from trackbridge_adapters.tables.place import TableFile
from trackbridge_adapters.tables.sample import NOTHING, columns_of
from trackbridge_adapters.tables.values import are_said, is_large

SAMPLE_BYTES = 1 << 18
_WIDE_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_LABEL = pa.dictionary(pa.int32(), pa.string())
_COUNTED = {"int": pa.int64(), "whole": pa.float64(), "float": pa.float64()}
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")

_COMMA = r"^(\s*[+-]?\d*),(\d+([eE][+-]?\d+)?\s*)$"
"""A number with a decimal comma, and what is before and after it."""


class CsvFile:
    """A file that is open; `notes` say what was found out about its signs, by subject."""

    def __init__(self, table: TableFile) -> None:
        opened = table.open()
        self.path, self.harm = table.path, opened.harm
        self._file = _in_bytes(opened.file)
        self._file.seek(0)
        sample = self._file.read(SAMPLE_BYTES)
        mark = len(codecs.BOM_UTF8) if sample.startswith(codecs.BOM_UTF8) else 0
        self._encoding = _encoding(sample[mark:], whole=len(sample) < SAMPLE_BYTES)
        text = sample[mark:].decode(self._encoding, "replace")
        self._separator = _separator(text)
        rows = self._rows_of(text, whole=len(sample) < SAMPLE_BYTES)
        if not rows:
            raise ConfigError(f"{self.path}: an empty file, no table")
        self.names = _unique(rows[0])
        self._refuse_no_header(*rows[:2])
        self._comma = self._separator != "," and _has_commas(rows[1:])
        self.columns = columns_of(self.names, rows[1:], comma=self._comma)
        self._start, self._line = self._after_header(sample, mark)
        self.threads = threads(self._file)

    @property
    def notes(self) -> dict[str, str]:
        found = {}
        if self._encoding != "utf-8":
            found["encoding"] = f"{self._encoding}, since it is no UTF-8"
        if self._separator != ",":
            found["separator"] = _SEPARATORS[self._separator]
        if self._comma:
            found["decimal sign"] = "comma"
        return found

    def close(self) -> None:
        self._file.close()

    def blocks(self) -> Iterator[tuple[Block, bytes]]:
        """All rows, in blocks with their bytes."""
        yield from cut(self._file, self._start, self._line, quoted=True)

    def read(self, block: Block) -> bytes:
        """The bytes of a block."""
        self._file.seek(block.offset)
        return self._file.read(block.size)

    def parse(self, block: Block, data: bytes, layout: Layout) -> Parsed:
        """The columns that are not left out."""
        problems: list[Problem] = []
        data = self._closed(block, data, problems)
        if self._encoding != "utf-8":
            data = data.decode(self._encoding, "replace").encode()
        types = {column.name: _type(column, layout) for column in self.columns}
        names = [name for name in self.names if layout.uses[name].role != "skip"]
        try:
            found = self._parsed(block, data, names, types, problems)
        except pa.ArrowInvalid:
            data = self._repaired(block, data, problems)
            found = self._parsed(block, data, names, {}, problems)
            found |= {n: _without_nothing(found[n]) for n in names if types[n] in _COUNTED.values()}
        else:
            found |= self._exactly(block, data, names, found)
        if self._comma:
            found |= self._with_points(found, types)
        rows = len(found[names[0]]) if names else 0
        return Parsed(rows, found, problems=problems)

    def _with_points(
        self, found: Mapping[str, pa.Array], types: Mapping[str, pa.DataType]
    ) -> dict[str, pa.Array]:
        """Columns that may hold numbers and are read as texts, decimal commas in them as points."""
        empty = {column.name for column in self.columns if column.kind == "empty"}
        counted = (n for n in found if types[n] in _COUNTED.values() or n in empty)
        return {
            name: pc.replace_substring_regex(found[name], _COMMA, r"\1.\2")
            for name in counted
            if pa.types.is_string(found[name].type)
        }

    def _exactly(
        self, block: Block, data: bytes, names: Sequence[str], found: Mapping[str, pa.Array]
    ) -> dict[str, pa.Array]:
        """Columns anew, as texts, in which float64 may not have what is written."""
        large = [n for n in names if pa.types.is_floating(found[n].type) and is_large(found[n])]
        texts = self._parsed(block, data, large, {}, []) if large else {}
        return {n: column for n, column in texts.items() if not are_said(found[n], column)}

    def _parsed(
        self,
        block: Block,
        data: bytes,
        names: Sequence[str],
        types: Mapping[str, pa.DataType],
        problems: list[Problem],
    ) -> dict[str, pa.Array]:
        ragged: list[str] = []

        def note(row: pv.InvalidRow) -> str:
            ragged.append(row.text)
            return "skip"

        marked = data.startswith(codecs.BOM_UTF8)  # which Arrow takes for a mark, and leaves out
        text = codecs.BOM_UTF8 + data if marked else data
        table = pv.read_csv(
            pa.BufferReader(text),
            read_options=pv.ReadOptions(
                column_names=self.names, use_threads=False, block_size=len(text) + 1
            ),
            parse_options=pv.ParseOptions(
                delimiter=self._separator,
                newlines_in_values=b'"' in data,
                invalid_row_handler=note,
                ignore_empty_lines=len(self.names) > 1,
            ),
            convert_options=pv.ConvertOptions(
                include_columns=list(names),
                column_types={name: types.get(name, pa.string()) for name in names},
                null_values=[""],
                strings_can_be_null=True,
                decimal_point="," if self._comma else ".",
            ),
        )
        problems += self._ragged(block, data, ragged)
        return {name: joined(table.column(name)) for name in names}

    def _ragged(self, block: Block, data: bytes, rows: Collection[str]) -> Iterator[Problem]:
        """Where rows are that have too few cells or too many."""
        position = 0
        for text in rows:
            found = data.find(text.encode(), position)
            position = max(found, position)
            cells = next(csv.reader([text], delimiter=self._separator), [])
            line = block.line + data.count(b"\n", 0, position)
            position += max(1, len(text.encode()))
            yield Problem(line, f"{len(cells)} cells where the header has {len(self.names)}", text)

    def cell(self, text: str, name: str) -> str | None:
        """What a ragged row has in a column, as far as that can be told."""
        cells = next(csv.reader([text], delimiter=self._separator), [])
        position = self.names.index(name)
        return cells[position] if position < len(cells) else None

    def lines_of(self, block: Block, data: bytes, rows: Collection[int]) -> dict[int, int]:
        """In which lines of the file some rows of a block are."""
        data = self._closed(block, data, [])
        text = io.StringIO(data.decode(self._encoding, "replace"), newline="")
        reader, found, row, line = csv.reader(text, delimiter=self._separator), {}, 0, 0
        for cells in reader:
            if len(cells) == len(self.names) or (not cells and len(self.names) == 1):
                if row in rows:
                    found[row] = block.line + line
                row += 1
            line = reader.line_num
        return found

    def _closed(self, block: Block, data: bytes, problems: list[Problem]) -> bytes:
        """The bytes without lines in which a quote is opened that hides the end; they are named."""
        while block.is_open and count(data, b'"') % 2:
            lines = io.BytesIO(data).readlines()
            number = self._never_closed(lines)
            if number is None:
                break
            line = lines[number].rstrip(b"\r\n")
            what = "a quote is opened and never closed; the line is left out"
            text = line.decode(self._encoding, "replace")
            problems.append(Problem(block.line + number, what, text))
            lines[number] = lines[number][len(line) :]
            data = b"".join(lines)
        return data

    def _never_closed(self, lines: Sequence[bytes]) -> int | None:
        """In which line a quote is opened that hides the end; None where it is only a sign."""
        texts = [line.decode(self._encoding, "replace") for line in lines]
        rows = csv.reader(texts, delimiter=self._separator)
        last = end = 0
        try:
            for _ in rows:
                last, end = end, rows.line_num
            more = csv.reader([*texts[last:], "more"], delimiter=self._separator)
            return last if sum(1 for _ in more) == 1 else None
        except csv.Error:  # a carriage return by itself
            return None

    def _repaired(self, block: Block, data: bytes, problems: list[Problem]) -> bytes:
        """The bytes with what is no UTF-8 replaced, and named."""
        try:
            data.decode()
        except UnicodeDecodeError as error:
            line = block.line + data.count(b"\n", 0, error.start)
            problems.append(Problem(line, f"no UTF-8 ({error.reason}); what is not is replaced"))
            return data.decode("utf-8", "replace").encode()
        return data

    def _rows_of(self, text: str, *, whole: bool) -> list[list[str]]:
        """The rows of the sample, the last one left out where the sample may have cut it."""
        csv.field_size_limit(1 << 30)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self._separator)
        rows = []
        try:
            for row in reader:
                rows.append(row)
        except csv.Error as error:
            if not rows:
                raise ConfigError(f"{self.path}: no CSV ({error})") from error
        rows = rows if whole or len(rows) < 2 else rows[:-1]
        return [row for row in rows if row]

    def _refuse_no_header(self, row: Sequence[str], below: Sequence[str] = ()) -> None:
        if len(row) < len(below) and row[0].lower().startswith(("sep=", "#")):
            raise ConfigError(
                f"{self.path}: its first line is {self._separator.join(row)!r}, no names of "
                "columns; take it away"
            )
        if any(_NUMBER.fullmatch(cell.strip()) for cell in row):
            raise ConfigError(
                f"{self.path}: its first line has numbers ({', '.join(row[:3])}), no names of "
                "columns; put a line of names before it"
            )

    def _after_header(self, sample: bytes, mark: int) -> tuple[int, int]:
        """Where the rows begin, and in which line."""
        begin = mark
        while sample[begin : begin + 1] in (b"\n", b"\r"):
            begin += 1
        end, quotes = begin, 0
        while True:
            stop = sample.find(b"\n", end) + 1 or len(sample)
            quotes += sample.count(b'"', end, stop)
            end = stop
            if quotes % 2 == 0 or end == len(sample):
                return end, 1 + sample.count(b"\n", 0, end)


def _in_bytes(file: BinaryIO) -> BinaryIO:
    """The file, or a temporary one in UTF-8 with line feeds, where it has neither by itself."""
    sample = file.read(SAMPLE_BYTES)
    encoding = next((e for mark, e in _WIDE_MARKS.items() if sample.startswith(mark)), None)
    if encoding is None and (b"\n" in sample or b"\r" not in sample):
        return file
    file.seek(0)
    made = place.temporary()
    with io.TextIOWrapper(file, encoding or "latin-1", errors="replace", newline=None) as text:
        while part := text.read(1 << 20):
            made.write(part.encode("utf-8" if encoding else "latin-1"))
    return made


def _encoding(sample: bytes, *, whole: bool) -> str:
    """UTF-8 where the sample is, whose last sign may have been cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=whole)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _separator(text: str) -> str:
    """The sign that parts the lines of a sample alike, and into the most cells."""
    lines = [line for line in text.splitlines()[:20] if line.strip()]
    if text and not text.endswith(("\n", "\r")) and len(lines) > 1:
        lines.pop()
    best, most = ",", (False, 1)
    for sign in _SEPARATORS:
        counts = [len(row) for row in csv.reader(lines, delimiter=sign) if row]
        score = (len(set(counts)) == 1, counts[0] if counts else 1)
        if score[1] > 1 and score > most:
            best, most = sign, score
    return best


def _has_commas(rows: Sequence[Sequence[str]]) -> bool:
    cells = [cell.strip() for row in rows for cell in row]
    commas = sum(bool(re.match(_COMMA, cell)) for cell in cells)
    points = sum(bool(re.fullmatch(r"[+-]?\d*\.\d+([eE][+-]?\d+)?", cell)) for cell in cells)
    return commas > points


def _unique(names: Sequence[str]) -> list[str]:
    """Names of columns, a second one of a name with its number."""
    found: list[str] = []
    for name in names:
        number, made = 2, name
        while made in found:
            made, number = f"{name} ({number})", number + 1
        found.append(made)
    return found


def _type(column: Column, layout: Layout) -> pa.DataType:
    """What the cells of a column are tried as first."""
    role = layout.uses[column.name].role
    if role in ("run", "project", "key"):
        return _LABEL
    if role in ("step", "time"):
        return _COUNTED.get(column.kind, pa.string())
    if role in ("metric", "value", "numbers", "summary") and column.kind in NUMERIC:
        return pa.float64()
    return pa.string()


def _without_nothing(column: pa.Array) -> pa.Array:
    nothing = pc.is_in(pc.utf8_trim_whitespace(column), pa.array(NOTHING))
    return pc.if_else(nothing, pa.scalar(None, pa.string()), column)


def joined(column: pa.ChunkedArray) -> pa.Array:
    """The chunks of a column as one."""
    if column.num_chunks == 1:
        return column.chunk(0)
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    whole = column.combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
