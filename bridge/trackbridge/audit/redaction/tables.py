"""Applies rules to the rows of tables, batch by batch."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from trackbridge.adapter import Batch, Row, RunRef
from trackbridge.audit.redaction.ledger import Ledger, Place
from trackbridge.audit.redaction.rules import DROP, Rule
from trackbridge.audit.redaction.scrub import (
    BEFORE,
    MODELS,
    NAMES,
    PLAIN,
    REFERS,
    Cut,
    Hit,
    Hits,
    Scope,
    Scrubber,
    is_json,
)
from trackbridge.columns import batches, codes, split
from trackbridge.digest import point_hashes
from trackbridge.schema import EVERY_TABLE, STREAMS

LABELS = ("project", "run_id")
HOLDS = {("runs", "user"): "user", ("runs", "host"): "host", ("model_versions", "user"): "user"}
NESTED = {"params", "summary"}
"""Tables whose `path` is that of their nested keys."""
KEYED = {*NESTED, "tags"}
"""Tables in which the key tells what the value is."""
WINDOW, BEHIND = 1 << 20, 1 << 14
"""Characters of console output that are looked at together, and how many of them come again with
what follows: a secret may be printed in pieces."""
MOST_ROWS = 20_000
"""Pieces of console output that wait at most, however short they are."""
ROW_NAMES = ("key", "path", "line", "name", "title", "trace_id", "span_id", "dataset_id")
"""Columns by which the ledger names a row: the first that its table has."""


class Tables:
    """Alters rows, and notes in a ledger what was taken out of which run."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._scope = lru_cache(maxsize=None)(self._scope_of)
        self._rows_of = {
            table: [r for r in scrubber.rules.rules if _is_about_rows(r, table)]
            for table in EVERY_TABLE
        }

    def label(self, text: str) -> str:
        """A project, run or instance as it is called where it goes."""
        return self.text("runs", "project", text)

    def text(self, table: str, column: str, text: str) -> str:
        """What stands in a column of a row without a key."""
        return self._scrubber.clean(text, self._scope(table, column, None)).text

    def drops(self, table: str) -> bool:
        """Whether no row of a table may leave."""
        return any(rule.empties is None and rule.key is None for rule in self._rows_of[table])

    def passage(self) -> Passage:
        """A new ledger and what belongs to it, for one reading of some runs."""
        return Passage(self._scrubber, self._scope, self._rows_of)

    def _scope_of(self, table: str, column: str, key: str | None) -> Scope:
        naming = column in NAMES or (column == "name" and table in MODELS)
        holds = HOLDS.get((table, column), "")
        if table in NESTED and column == "path":
            column = "key"
        elif table in MODELS and column == "name":
            table = "models"
        else:
            table, column = REFERS.get(column, (table, column))
        rules = tuple(
            rule
            for rule in self._scrubber.rules.rules
            if rule.pattern is not None
            and rule.means(table, column)
            and rule.means_key(key)
            and (column not in PLAIN or rule.column == column)
        )
        return Scope(rules, naming, holds)


class Passage:
    """One reading of some runs (or of what belongs to none): `ledger` is whole at its end."""

    def __init__(self, scrubber: Scrubber, scope: Any, rows_of: Mapping[str, list[Rule]]) -> None:
        self._scrubber, self._scope, self._rows_of = scrubber, scope, rows_of
        self._keyed = any(rule.key is not None for rule in scrubber.rules.rules)
        self._pending: list[Row] = []
        self._before: dict[str | None, str] = {}
        """The end of what was printed and has left, by stream."""
        self._sums: dict[tuple[Place, Rule], tuple[int, int]] = {}
        self.ledgers: dict[RunRef, Ledger] = {}

    def feed(self, batch: Batch) -> Iterator[Batch]:
        """A batch, labelled with where its rows go, as it may leave."""
        if batch.table == "metrics":
            yield from self._metrics(batch.data)
        elif batch.table == "logs":
            for _, part in split(batch.data):
                yield from self._logs(part.to_pylist())
        else:
            rows = (self.row(batch.table, row) for row in batch.data.to_pylist())
            yield from batches(batch.table, [row for row in rows if row is not None])

    def finish(self) -> Iterator[Batch]:
        """What was held back."""
        yield from batches("logs", self._cut_out(len(self._pending)))
        for (place, rule), (count, total) in self._sums.items():
            sha256 = self._scrubber.salt.digest(f"{place.name}\n{count}\n{total}")
            self._ledger(place).add(place, [Hit(rule.name, DROP, sha256)], count)
        self._sums = {}

    def row(self, table: str, row: Row) -> Row | None:
        """A row as it may leave; None where it may not."""
        place = Place(table, row.get("project") or "", row.get("run_id") or "")
        key = row.get("key")
        row, altered, told = dict(row), False, list[tuple[str, Hits]]()
        for rule in self._rows_of[table]:
            if not rule.means_key(key):
                continue
            if rule.empties is None:
                self._drop(place, rule, row)
                return None
            value = row.get(rule.empties)
            if isinstance(value, str):
                naming = rule.empties in NAMES
                cleaned = self._scrubber.whole(value, rule, naming=naming)
                stays_json = table not in KEYED and not naming and is_json(value)
                text = _document(value, cleaned.text) if stays_json else cleaned.text
                row[rule.empties] = text if naming or rule.action != DROP else None
                told.append((rule.empties, cleaned.hits))
                altered = altered or rule.empties == "value"
                if rule.empties == "key" and table in NESTED:
                    row["path"] = None
        context = _context(table, row) if table in KEYED else ""
        for column, value in row.items():
            if not isinstance(value, str) or column in LABELS:
                continue
            scope = self._scope(table, column, key if self._keyed else None)
            if column in PLAIN and not scope.rules:
                continue
            name, colon, version = value.rpartition(":") if column == "owner" else ("", "", value)
            context_here = context if column == "value" else ""
            cleaned = self._scrubber.clean(name or value, scope, context_here)
            if cleaned.hits:
                row[column] = f"{cleaned.text}{colon}{version}" if name else cleaned.text
                told.append((column, cleaned.hits))
                altered = altered or (column == "value" and row.get("type") not in _NESTED)
        if altered and "type" in row:
            row["type"] = "string"
        if table in NESTED and row.get("path") and {"key", "path"} & {column for column, _ in told}:
            self._join(table, row, key)
        name = next((str(row[c]) for c in ROW_NAMES if row.get(c) is not None), "")
        for column, hits in told:
            self._note(place._replace(name=name), column, hits)
        return row

    def _join(self, table: str, row: Row, key: str | None) -> None:
        """Make the key that of the nested keys; where something spans several, it is one."""
        joined = ".".join(map(str, json.loads(row["path"])))
        cleaned = self._scrubber.clean(joined, self._scope(table, "key", key))
        row["key"] = cleaned.text
        if cleaned.hits:
            row["path"] = None

    def _drop(self, place: Place, rule: Rule, row: Row) -> None:
        key, value = row.get("key"), row.get("value", row)
        if value is None:  # a bare label
            key, value = None, key
        cleaned = self._scrubber.clean(key or "", self._scope(place.table, "key", key))
        place = place._replace(name=cleaned.text)
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
        if place.table in STREAMS:
            self._sum(place, rule, 1, self._number(text))
        else:
            self._note(place, "", (Hit(rule.name, DROP, self._scrubber.salt.digest(text)),))

    def _number(self, text: str) -> int:
        return int(self._scrubber.salt.digest(text)[:16], 16)

    def _sum(self, place: Place, rule: Rule, count: int, number: int) -> None:
        """Rows of a stream come in pieces of any size, so their digests are added up."""
        before = self._sums.get((place, rule), (0, 0))
        self._sums[place, rule] = before[0] + count, (before[1] + number) % 2**64

    def _metrics(self, data: pa.RecordBatch) -> Iterator[Batch]:
        for ref, part in split(data):
            place = Place("metrics", *ref)
            column = part.column("key")
            keys, index = column.dictionary.to_pylist(), codes(column)
            used = np.bincount(index[index >= 0], minlength=len(keys))
            gone, names = np.zeros(part.num_rows, bool), list(keys)
            for number, key in enumerate(keys):
                if not used[number]:
                    continue
                cleaned = self._scrubber.clean(key, self._scope("metrics", "key", key))
                names[number] = cleaned.text
                rule = next((r for r in self._rows_of["metrics"] if r.means_key(key)), None)
                if rule is not None:
                    mine = index == number
                    hashes = point_hashes(part.filter(pa.array(mine)))
                    total = int(np.add.reduce(hashes, dtype=np.uint64))
                    self._sum(place._replace(name=cleaned.text), rule, int(mine.sum()), total)
                    gone |= mine
                elif cleaned.hits:
                    named = place._replace(name=cleaned.text, column="key")
                    self._ledger(named).add(named, cleaned.hits, int(used[number]))
            if names != keys:
                renamed = pa.DictionaryArray.from_arrays(column.indices, pa.array(names))
                position = part.schema.get_field_index("key")
                part = part.set_column(position, part.schema.field("key"), renamed)
            if gone.any():
                part = part.filter(pa.array(~gone))
            if part.num_rows:
                yield Batch("metrics", part)

    def _logs(self, rows: list[Row]) -> Iterator[Batch]:
        if self._pending and _ref(self._pending[0]) != _ref(rows[0]):
            yield from batches("logs", self._cut_out(len(self._pending)))
            self._before = {}
        self._pending += rows
        characters = sum(len(row["text"] or "") for row in self._pending)
        if characters > WINDOW or len(self._pending) > MOST_ROWS:
            behind, end = 0, len(self._pending)
            while end and behind < BEHIND and len(self._pending) - end < MOST_ROWS // 2:
                end -= 1
                behind += len(self._pending[end]["text"] or "")
            yield from batches("logs", self._cut_out(end))

    def _cut_out(self, end: int) -> list[Row]:
        """The first of the rows that wait, without what has to go; the others wait on."""
        rows = self._pending
        found: list[tuple[int, int, _Part]] = []
        for stream in {row["stream"] for row in rows}:
            found += self._console(rows, _of(rows, stream))
        for first, last, _ in sorted(found, key=lambda each: each[1], reverse=True):
            if first < end <= last:
                end = first  # what it is part of may go on in what is still to come
        altered: dict[int, list[_Part]] = {}
        for _, _, part in found:
            altered.setdefault(part.row, []).append(part)
        self._pending = rows[end:]
        for row in rows[:end]:
            stream = row["stream"]
            self._before[stream] = (self._before.get(stream, "") + (row["text"] or ""))[-BEFORE:]
        dropping = next((r for r in self._rows_of["logs"] if r.empties is None), None)
        emptying = next((r for r in self._rows_of["logs"] if r.empties == "text"), None)
        ready = []
        for number, row in enumerate(rows[:end]):
            place = Place("logs", *_ref(row), str(row["line"]), "text")
            if dropping is not None:
                number_of = self._number(row["text"] or "")
                self._sum(place._replace(name="", column=""), dropping, 1, number_of)
                continue
            if emptying is not None and row["text"]:
                cleaned = self._scrubber.whole(row["text"], emptying)
                self._note(place, "text", cleaned.hits)
                ready.append({**row, "text": cleaned.text})
                continue
            parts = sorted(altered.get(number, ()), key=lambda part: part.start)
            self._note(place, "text", [part.cut.hit for part in parts if part.leads])
            ready.append({**row, "text": _without(row["text"], parts)})
        return ready

    def _console(self, rows: list[Row], mine: list[int]) -> Iterator[tuple[int, int, _Part]]:
        """Parts to be cut out of the rows of one stream, each with the first and the last row that
        what it is part of stands in."""
        before = self._before.get(rows[mine[0]]["stream"], "")
        lengths = [len(rows[i]["text"] or "") for i in mine]
        starts = np.cumsum([len(before), *lengths]).tolist()
        whole = "".join([before, *(rows[i]["text"] or "" for i in mine)])
        for cut in self._scrubber.cuts(whole, self._scope("logs", "text", None)):
            if cut.start < len(before):
                continue  # it has left, altered
            first = bisect_right(starts, cut.start) - 1
            last = bisect_left(starts, cut.end) - 1
            for piece in range(first, last + 1):
                begin, stop = max(cut.start, starts[piece]), min(cut.end, starts[piece + 1])
                part = _Part(
                    mine[piece], begin - starts[piece], stop - starts[piece], cut, piece == first
                )
                yield mine[first], mine[last], part

    def _note(self, place: Place, column: str, hits: Collection[Hit]) -> None:
        if hits:
            self._ledger(place).add(place._replace(column=column), hits)

    def _ledger(self, place: Place) -> Ledger:
        return self.ledgers.setdefault(RunRef(place.project, place.run_id), Ledger())


_NESTED = ("list", "object")


class _Part(NamedTuple):
    """What is cut out of one row of console output; the first part is where the stand-in goes."""

    row: int
    start: int
    stop: int
    cut: Cut
    leads: bool


def _without(text: str | None, parts: Collection[_Part]) -> str | None:
    if not parts or text is None:
        return text
    made, done = [], 0
    for part in parts:
        made += [text[done : part.start], part.cut.stand_in if part.leads else ""]
        done = part.stop
    return "".join([*made, text[done:]])


def _of(rows: list[Row], stream: str | None) -> list[int]:
    return [number for number, row in enumerate(rows) if row["stream"] == stream]


def _ref(row: Row) -> RunRef:
    return RunRef(row["project"], row["run_id"])


def _is_about_rows(rule: Rule, table: str) -> bool:
    """Whether it is about rows of a table, or about the whole value of a column that it has."""
    if rule.regex is not None or rule.file is not None or rule.table not in (None, table):
        return False
    names = EVERY_TABLE[table].names
    if rule.key is not None and "key" not in names:
        return False
    column, schema = rule.empties, EVERY_TABLE[table]
    return column is None or (column in schema.names and schema.field(column).type == pa.string())


def _document(original: str, stand_in: str) -> str:
    """What stands for a JSON text, which those who read its column can take for one."""
    kind = original.lstrip()[:1]
    return json.dumps(
        {"removed": stand_in} if kind == "{" else [stand_in] if kind == "[" else stand_in
    )


def _context(table: str, row: Row) -> str:
    path = json.loads(row["path"]) if table in NESTED and row.get("path") else [row["key"]]
    return str(path[-1]) if path else ""
