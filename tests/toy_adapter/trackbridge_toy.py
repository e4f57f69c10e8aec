"""The toy tracker: a folder with `toy.json`, which lists runs, and a file of JSON lines for each.

A line is `[table, row]`. `toy.json` is replaced in one act, and what it does not list is not
there. Times are whole milliseconds, and JSON knows neither NaN nor infinity.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from trackbridge.adapter import (
    STORE,
    Batch,
    Capabilities,
    FileRef,
    Presentation,
    Query,
    Row,
    RunInfo,
    RunKey,
    RunRef,
)
from trackbridge.errors import ConfigError, IntegrityError, NotFoundError
from trackbridge.schema import BATCH_ROWS, DEFAULTS, NAMED_BY, TABLES, TIME

INDEX = "toy.json"


class ToyStore:
    """A folder of the toy tracker, for reading and for writing."""

    advice = ""

    capabilities = Capabilities(
        holds={
            "projects": ("project", "notes"),
            "runs": ("name", "status"),
            "params": ("key", "value"),
            "metrics": ("key", "step", "time", "value"),
            "files": ("owner", "path", "size", "sha256"),
        },
        time_unit_us=1000,
        largest=1e300,
        gaps=True,
        repeated_points=True,
    )

    def __init__(self, location: str) -> None:
        self.address = f"toy:{location}"
        self.root = Path(location)

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        for name, entry in sorted(self.index()["runs"].items()):
            ref = RunRef(*json.loads(name))
            key = RunKey(*entry["key"]) if "key" in entry else RunKey("toy", "", *ref)
            row = next(self._rows(entry, {"runs"}))[1]
            if (
                (not query.projects or ref.project in query.projects)
                and (not query.run_ids or ref.run_id in query.run_ids)
                and query.since is None  # the toy tracker does not know when a run started
            ):
                described = (row.get("name"), row.get("status"))
                yield RunInfo(ref, key, entry["folder"], *described, carried="key" in entry)

    def read_runs(
        self, refs: Sequence[RunRef], tables: Collection[str] | None = None
    ) -> Iterator[Batch]:
        runs = self.index()["runs"]
        for ref in refs:
            if json.dumps(ref) not in runs:
                raise NotFoundError(f"{self.address}: no run {ref.run_id!r} in {ref.project!r}")
        for ref in refs:
            held: dict[str, list[Row]] = {}
            for table, row in self._rows(runs[json.dumps(ref)], tables):
                rows = held.setdefault(table, [])
                rows.append({**row, **ref._asdict()})
                if len(rows) == BATCH_ROWS:
                    yield _batch(table, held.pop(table))
            for table, rows in held.items():
                yield _batch(table, rows)

    def read_shared(self, query: Query) -> Iterator[Batch]:
        for table, rows in self.index()["shared"].items():
            wanted = (row for row in rows if row["project"] in (query.projects or [row["project"]]))
            yield _batch(table, list(wanted))

    def open_file(self, file: FileRef) -> BinaryIO:
        index = self.index()
        entry = index if file.run == STORE else index["runs"].get(json.dumps(file.run), {})
        digest = entry.get("files", {}).get(json.dumps([file.owner, file.path]))
        if digest is None:
            raise NotFoundError(f"{self.address}: no file {file.path!r} in {file.run.run_id!r}")
        path: Path = self.root / "files" / digest
        return path.open("rb")

    def target(self, key: RunKey) -> RunRef:
        return RunRef(key.label, str(key))

    def present(self, key: RunKey, tables: Mapping[str, list[Row]]) -> Presentation:
        return Presentation(dict(tables))

    def open(self, keys: Sequence[RunKey]) -> ToySink:
        runs = self.index()["runs"]
        for key in keys:
            entry = runs.get(json.dumps(self.target(key)))
            if entry is not None and entry.get("key") != list(key):
                raise IntegrityError(
                    f"{self.address}: {self.target(key)} is another run than {key}"
                )
        return ToySink(self, keys)

    def index(self) -> dict[str, Any]:
        path = self.root / INDEX
        if not path.exists():
            return {"runs": {}, "shared": {}, "files": {}}
        index: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return index

    def _rows(
        self, entry: Mapping[str, Any], tables: Collection[str] | None
    ) -> Iterator[tuple[str, Row]]:
        with (self.root / entry["folder"] / "rows.jsonl").open(encoding="utf-8") as lines:
            for table, row in map(json.loads, lines):
                if tables is None or table in tables:
                    yield table, row


class ToySink:
    """A chunk being written: folders that the index does not list until `commit`."""

    def __init__(self, store: ToyStore, keys: Sequence[RunKey]) -> None:
        self._store = store
        self._targets = {store.target(key): key for key in keys}
        self._entries: dict[RunRef, dict[str, Any]] = {
            ref: {"key": key, "folder": uuid.uuid4().hex, "files": {}}
            for ref, key in self._targets.items()
        }
        self._complete: set[RunRef] = set()
        self._shared: dict[str, list[Row]] = {}
        self._files: dict[str, str] = {}

    def __enter__(self) -> ToySink:
        (self._store.root / "files").mkdir(parents=True, exist_ok=True)
        for entry in self._entries.values():
            (self._store.root / entry["folder"]).mkdir()
        return self

    def __exit__(self, *error: object) -> None:
        """Folders without an entry in the index are nobody's."""

    def write(self, batch: Batch) -> None:
        held = ToyStore.capabilities.holds.get(batch.table, ())
        for row in batch.data.to_pylist():
            kept = {column: _plain(row[column]) for column in held}
            if batch.table in NAMED_BY:
                self._shared.setdefault(batch.table, []).append(kept)
                continue
            ref = RunRef(row["project"], row["run_id"])
            if batch.table == "runs":
                self._complete.add(ref)
            folder = self._entries[ref]["folder"]
            with (self._store.root / folder / "rows.jsonl").open("a", encoding="utf-8") as out:
                out.write(json.dumps([batch.table, kept]) + "\n")

    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        content = data.read()
        digest = hashlib.sha256(content).hexdigest()
        (self._store.root / "files" / digest).write_bytes(content)
        files = self._files if file.run == STORE else self._entries[file.run]["files"]
        files[json.dumps([file.owner, file.path])] = digest

    def commit(self) -> Mapping[RunKey, RunRef]:
        for ref in self._targets.keys() - self._complete:
            raise IntegrityError(f"run {ref.run_id} has no row of its own in the table runs")
        index = self._store.index()
        runs = {json.dumps(ref): entry for ref, entry in self._entries.items()}
        index["runs"] = {**index["runs"], **runs}
        index["files"] = {**index["files"], **self._files}
        for table, rows in self._shared.items():
            named = index["shared"].get(table, []) + rows
            index["shared"][table] = list({row["project"]: row for row in named}.values())
        new = self._store.root / f"{INDEX}.{uuid.uuid4().hex}"
        new.write_text(json.dumps(index), encoding="utf-8")
        new.replace(self._store.root / INDEX)
        return {key: ref for ref, key in self._targets.items()}


def _batch(table: str, rows: list[Row]) -> Batch:
    defaults = {column: value for (of, column), value in DEFAULTS.items() if of == table}
    types = {field.name: field.type for field in TABLES[table]}
    typed = [{**defaults, **{c: _typed(types[c], v) for c, v in row.items()}} for row in rows]
    return Batch(table, pa.RecordBatch.from_pylist(typed, schema=TABLES[table]))


def _plain(value: Any) -> Any:
    return round(value.timestamp() * 1000) if isinstance(value, datetime) else value


def _typed(kind: pa.DataType, value: Any) -> Any:
    return value * 1000 if kind == TIME and value is not None else value


class ToyAdapter:
    """The adapter that the entry point names."""

    name = "toy"

    def recognizes(self, location: str) -> bool:
        return (Path(location) / INDEX).is_file()

    def suggests(self, location: str) -> bool:
        return Path(location).suffix == ".toy"

    def reader(self, location: str, options: Mapping[str, str]) -> ToyStore:
        if not self.recognizes(location):
            raise NotFoundError(f"toy:{location}: no {INDEX} there")
        return self.writer(location, options)

    def writer(self, location: str, options: Mapping[str, str]) -> ToyStore:
        if options:
            raise ConfigError(f"toy:{location}: it takes no options")
        return ToyStore(location)


ADAPTER = ToyAdapter()
