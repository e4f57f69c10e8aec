"""The small tables of a run, from what its records say one after the other."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from trackbridge.adapter import FileRef, Row, RunRef
from trackbridge.dual.records import Record, is_int
from trackbridge.schema import BOOL, FLOAT, INT, TABLES, TEXT, TIME
from trackbridge_adapters.journal.points import when

KEYS = {
    "tags": ("key", "value"),
    "metric_defs": ("key",),
    "inputs": ("name", "digest", "context"),
}
"""Columns by which a row replaces an earlier one; rows of other tables are added."""
TABLES_OF = {
    "set": ("runs",),
    "end": ("runs",),
    "lost": ("runs",),
    "config": ("params",),
    "summary": ("summary",),
    "file": ("files",),
    "artifact": ("artifacts", "files"),
    "logs": ("logs",),
}
"""Kinds of records -> tables that they say something of; those of `put` and `drop` name theirs."""
PUT = {"tags", "metric_defs", "inputs", "alerts"}
"""Tables that records of `put` may say rows of."""
DEEPEST = 100
"""Configuration that is nested deeper is one value."""


class Facts:
    """What is known of a run, once all its records have been told in the order of time."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.run: Row = {}
        self.extra: dict[str, Any] = {}
        self.ended: Record | None = None
        self.damage: list[str] = []
        self._trees: dict[str, dict[str, Any]] = {"config": {}, "summary": {}}
        self._rows: dict[str, dict[Any, Row]] = defaultdict(dict)
        self._files: dict[tuple[str, str], Row] = {}
        self._logs: list[Row] = []
        self._versions: dict[str, int] = defaultdict(int)
        for record in records:
            getattr(self, f"_tell_{record['t']}", self._ignore)(record)

    def tables(self) -> dict[str, list[Row]]:
        """Rows of every small table."""
        status, ended, end = self.run.get("status"), self.run.get("ended"), self.ended
        if end and end["status"]:  # else another tracker says how the run is
            status, ended = end["status"], when(end.get("ended", end["at"]))
        extra = {**self.extra, **({"damage": self.damage} if self.damage else {})}
        if self.ended and self.ended.get("exit_code") is not None:
            extra["exit_code"] = self.ended["exit_code"]
        deleted = self.run.get("deleted") is True
        row = {**self.run, "status": status, "ended": ended, "deleted": deleted}
        row["extra"] = _json(extra) if extra else None
        return {
            "runs": [row],
            "params": list(leaf_rows(self._trees["config"])),
            "summary": list(leaf_rows(self._trees["summary"])),
            "files": [{**row, "owner": owner} for (owner, _), row in self._files.items()],
            "logs": [{**row, "line": line} for line, row in enumerate(self._logs)],
            **{table: list(rows.values()) for table, rows in self._rows.items()},
        }

    def digest(self, file: FileRef) -> str | None:
        """SHA-256 of the bytes of a file of the run, if it has one of that name."""
        row = self._files.get((file.owner, file.path))
        return row.get("sha256") if row else None

    def _ignore(self, record: Record) -> None:
        """Of a kind that says nothing here."""

    def _tell_begin(self, record: Record) -> None:
        if not (record.get("marks") or record.get("guest")):  # these say not that it goes on
            self.ended = None

    def _tell_set(self, record: Record) -> None:
        row = dict(record["row"])
        extra = row.pop("extra", None)
        self.extra |= extra if isinstance(extra, dict) else {}
        self.extra |= {name: row[name] for name in row if name not in TABLES["runs"].names}
        self.run |= _typed("runs", row)

    def _tell_end(self, record: Record) -> None:
        self.ended = record

    def _tell_lost(self, record: Record) -> None:
        self.damage.append(f"{record['calls']} calls could not be kept: {record['why']}")

    def _tell_config(self, record: Record) -> None:
        self._change("config", record)

    def _tell_summary(self, record: Record) -> None:
        self._change("summary", record)

    def _change(self, name: str, record: Record) -> None:
        tree = self._trees[name]
        for key in record.get("drop", ()):
            tree.pop(key, None)
        tree |= record.get("set", {})

    def _tell_put(self, record: Record) -> None:
        if (table := record["table"]) not in PUT:
            return
        rows, names = self._rows[table], KEYS.get(table)
        for row in record["rows"]:
            typed = _typed(table, row)
            name = tuple(typed.get(column) for column in names) if names else len(rows)
            if table == "tags" and typed.get("value") is not None:  # no label: it has one value
                name = (typed.get("key"),)
            rows[name] = typed

    def _tell_drop(self, record: Record) -> None:
        rows = self._rows.get(record["table"], {})
        for name in [name for name, row in rows.items() if row.get("key") in record["keys"]]:
            del rows[name]

    def _tell_file(self, record: Record) -> None:
        file = record["file"]
        self._files[file.get("owner") or "", file["path"]] = _typed("files", file)

    def _tell_artifact(self, record: Record) -> None:
        row = dict(record["row"])
        collection, direction = row["collection"], row.get("direction", "logged")
        version = row.get("version")
        if version is None:
            version = f"v{self._versions[collection]}"
            self._versions[collection] += 1
        owner = f"{collection}:{version}"
        self._rows["artifacts"][owner] = _typed(
            "artifacts", {**row, "version": version, "direction": direction}
        )
        for file in record["files"]:
            self._files[owner, file["path"]] = _typed("files", file)

    def _tell_logs(self, record: Record) -> None:
        for stream, at, text in record["rows"]:
            self._logs.append({"stream": stream, "time": when(at), "text": text})


def changed_tables(records: Iterable[Record]) -> set[str]:
    """Tables that some records say something of."""
    found: set[str] = set()
    for record in records:
        found.update([record["table"]] if "table" in record else TABLES_OF.get(record["t"], ()))
    return found


def leaf_rows(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[Row]:
    """Rows of `params` or `summary`: a row for each leaf, empty lists and objects included."""
    for key, value in tree.items():
        here = (*path, key)
        if isinstance(value, dict) and value and len(here) < DEEPEST:
            yield from leaf_rows(value, here)
            continue
        nested = json.dumps(here, ensure_ascii=False) if len(here) > 1 else None
        kind = _kind(value)
        text = value if kind == "string" else json.dumps(value, ensure_ascii=False)
        yield {"key": ".".join(here), "path": nested, "value": text, "type": kind}


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "float", list: "list", dict: "object"}
    return names.get(type(value), "null")


def _typed(table: str, row: Mapping[str, Any]) -> Row:
    """A row as the run model has it: times come in microseconds, what is no text as JSON.

    What is of another type than its column is left out.
    """
    schema = TABLES[table]
    return {
        name: _OF_TYPE[schema.field(name).type](value)
        for name, value in row.items()
        if name in schema.names and value is not None
    }


_OF_TYPE: dict[pa.DataType, Callable[[Any], Any]] = {
    TEXT: lambda value: value if isinstance(value, str) else _json(value),
    TIME: when,
    INT: lambda value: value if is_int(value) else None,
    FLOAT: lambda value: float(value) if isinstance(value, (int, float)) else None,
    BOOL: lambda value: value if isinstance(value, bool) else None,
}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def labelled(rows: Iterable[Row], ref: RunRef) -> list[Row]:
    return [{**row, **ref._asdict()} for row in rows]
