"""Translates a chunk of runs into what a store holds, and the sidecars for what it does not."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge import console
from trackbridge.adapter import (
    ORIGIN,
    SIDECAR,
    Batch,
    Capabilities,
    FileRef,
    Names,
    Presentation,
    Row,
    RunKey,
    RunRef,
    Writer,
)
from trackbridge.columns import batches, groups, latest, numpy_of, relabel, sliced, split
from trackbridge.digest import point_hashes
from trackbridge.errors import UnsupportedError
from trackbridge.fit import FittedPoints, Mask, fit_points, fit_rows, holds_everything
from trackbridge.fit_paths import Paths, settled
from trackbridge.fit_text import apart, fit_name
from trackbridge.losses import Losses
from trackbridge.residual import Places, PointResidual
from trackbridge.row_residual import KEYED, LABELS, keep, name
from trackbridge.rows import lay_run
from trackbridge.schema import TABLES
from trackbridge.sidecar import Sidecar
from trackbridge.verbatim import Verbatim

_SIDECAR = ("", SIDECAR)
NEEDED = ("owner", "path", "size", "sha256")
"""Columns of `files` that are proven by the bytes, whatever a store says of them."""


def translation(
    writer: Writer, keys: Sequence[RunKey], *, careful: bool = False
) -> Verbatim | Translation:
    """The way of a chunk into a store; `UnsupportedError` where it claims too little for any."""
    lacking = sorted(set(NEEDED) - set(writer.capabilities.holds.get("files", NEEDED)))
    if lacking:
        raise UnsupportedError(
            f"{writer.address}: a store that holds `files` has to claim {', '.join(lacking)} of it"
        )
    if holds_everything(writer.capabilities):
        return Verbatim(writer, keys)
    return Translation(writer, keys, careful=careful)


@dataclass
class _Run:
    """One run on its way: what has come of it so far."""

    key: RunKey
    target: RunRef
    rows: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    points: list[pa.RecordBatch] = field(default_factory=list)
    logs: list[pa.RecordBatch] = field(default_factory=list)
    residual: PointResidual = field(default_factory=PointResidual)
    names: dict[str, str] = field(default_factory=dict)
    apart: dict[str, dict[str, str]] = field(default_factory=dict)
    """By table: names that had to change since the store would take them for others."""
    paths: dict[bool, Paths] = field(default_factory=dict)
    """Of metrics, where their names are paths: those of the system have a folder of their own."""
    last: dict[str, tuple[tuple[int, ...], Row]] = field(default_factory=dict)
    """The last point of each metric that the run logged itself, after its place."""
    shown: Presentation = field(default_factory=lambda: Presentation({}))
    own_files: dict[tuple[str, str], Row] = field(default_factory=dict)
    shown_files: dict[tuple[str, str], Row] = field(default_factory=dict)
    """Rows of `files` by owner and path: the run's, and those that the store is to show."""


class Translation:
    """Takes batches of the run model, gives batches of the store (`feed`, then `finish`).

    Points pass through, unless the store holds rows or `careful` is set: then they are kept till
    the end, run by run. `careful` is for chunks in which points have become equal: all of those
    go into the sidecar, and the store gets each once.
    """

    def __init__(self, writer: Writer, keys: Sequence[RunKey], *, careful: bool = False) -> None:
        self.losses = Losses()
        self._writer = writer
        self._caps = writer.capabilities
        self._careful = careful
        self._runs = {RunRef(k.project, k.run_id): _Run(k, writer.target(k)) for k in keys}
        self._labels = {origin: run.target for origin, run in self._runs.items()}

    def feed(self, batch: Batch) -> Iterator[Batch]:
        """A batch of the runs; gives what can be written already."""
        if batch.table == "metrics":
            yield from self._feed_points(batch.data)
        elif batch.table == "logs":
            yield from self._feed_logs(batch.data)
        else:
            for row in batch.data.to_pylist():
                self._runs[RunRef(row["project"], row["run_id"])].rows[batch.table].append(row)

    def present(self) -> None:
        """Once all is fed: find out how each run is shown, so that its files can be placed."""
        for run in self._runs.values():
            rows = {table: [_bare(row) for row in rows] for table, rows in run.rows.items()}
            rows["metrics"] = [row for _, row in run.last.values()]
            run.shown = self._writer.present(run.key, rows)
            self.losses.merge(run.shown.losses)
            own = {id(row) for row in rows["metrics"]}
            points = run.shown.tables.get("metrics", [])
            run.shown.tables["metrics"] = [row for row in points if id(row) not in own]
            files = run.shown.tables.setdefault("files", [])
            if run.logs and self._caps.console:
                self._show_console(run, {_place(row) for row in files})
            _make_room(run.shown)
            files += [_described(*item) for item in run.shown.contents.items()]
            run.own_files = {_place(row): row for row in run.rows["files"]}
            run.shown_files = {_place(row): row for row in files}

    def place(self, origin: RunRef, owner: str, path: str) -> FileRef:
        """Where the store is to have a file of a run."""
        run = self._runs[origin]
        return FileRef(run.target, *run.shown.files.get((owner, path), (owner, path)))

    def contents(self) -> Iterator[tuple[FileRef, bytes]]:
        """Small files that only the store's users need."""
        for run in self._runs.values():
            for place, content in run.shown.contents.items():
                yield FileRef(run.target, *place), content

    def set_file(
        self, origin: RunRef, owner: str, path: str, size: int | None, sha256: str | None
    ) -> None:
        """What was learned of a file while it was copied; no hash where its bytes are missing."""
        run, there = self._runs[origin], self.place(origin, owner, path)
        run.own_files[owner, path].update(size=size, sha256=sha256)
        if (there.owner, there.path) in run.shown_files:
            run.shown_files[there.owner, there.path].update(size=size, sha256=sha256)

    def leave_out_missing(self) -> None:
        """Files without bytes or reference are not shown in the store: the sidecar has them."""
        for run in self._runs.values():
            rows = run.shown.tables["files"]
            here = [row for row in rows if row.get("sha256") or row.get("reference")]
            self.losses.add("files without bytes", run.key.run_id, len(rows) - len(here))
            run.shown.tables["files"] = here

    def finish(self) -> Iterator[Batch]:
        """Everything that was held back, as the store is to hold it."""
        native: dict[str, list[Row]] = defaultdict(list)
        for run in self._runs.values():
            yield from self._finish_points(run)
            for table, rows in run.shown.tables.items():
                fitted = self._set_apart(run, table, fit_rows(table, rows, self._caps, self.losses))
                run.shown.tables[table] = fitted
                native[table] += [{**row, **run.target._asdict()} for row in fitted]
        for table, rows in native.items():
            yield from batches(table, rows)

    def sidecars(self) -> Iterator[tuple[RunRef, bytes]]:
        """After `finish`: the sidecar of each run that needs one."""
        for run in self._runs.values():
            side = _sidecar(run, self._caps)
            if side:
                yield run.target, side.dumps()

    def _set_apart(self, run: _Run, table: str, rows: list[Row]) -> list[Row]:
        """Rows under names that the store does not take for each other's."""
        limits = self._caps.names.get(table)
        if limits is None or not limits.folded:
            return rows
        changed = run.apart[table] = apart((row["key"] for row in rows), limits)
        for old, new in changed.items():
            self.losses.add(f"{table} renamed", f"{old[:80]!r} -> {new[:80]!r}")
        return [{**row, "key": changed.get(row["key"], row["key"])} for row in rows]

    def _set_metrics_apart(self, points: pa.RecordBatch) -> pa.RecordBatch:
        """The same for points, where they are all of the run's."""
        if not (self._caps.rows or self._careful):
            return points
        limits = self._caps.names.get("metrics", Names())
        keys = points.column("key")
        changed = apart(keys.unique().to_pylist(), limits) if limits.folded else {}
        if not changed:
            return points
        for old, new in changed.items():
            self.losses.add("metrics renamed", f"{old[:80]!r} -> {new[:80]!r}")
        names = [changed.get(name, name) for name in keys.dictionary.to_pylist()]
        texts = pa.array(names, pa.string()).dictionary_encode()
        indices = texts.indices.take(keys.indices)
        renamed = pa.DictionaryArray.from_arrays(indices, texts.dictionary)
        return points.set_column(points.schema.get_field_index("key"), "key", renamed)

    def _show_console(self, run: _Run, taken: set[tuple[str, str]]) -> None:
        place = ("", self._caps.console)
        if place not in taken and place not in run.shown.contents:
            pieces = (piece or "" for logs in run.logs for piece in logs.column("text").to_pylist())
            run.shown.contents[place] = console.shown(pieces).encode()

    def _feed_points(self, data: pa.RecordBatch) -> Iterator[Batch]:
        self._note_last(data)
        if self._caps.rows or self._careful:
            for origin, part in split(data):
                self._runs[origin].points.append(part)
            return
        fitted = self._fit_points(data)
        if fitted.whole.any() or not _same_places(data, fitted.data):
            self._keep_residuals(data, fitted.data, fitted.whole, fitted.dropped)
        self._keep_names(data, fitted.data)
        written = fitted.data
        if fitted.dropped.any():
            written = written.filter(pa.array(~fitted.dropped))
        yield Batch("metrics", relabel(written, self._labels))

    def _fit_points(self, data: pa.RecordBatch) -> FittedPoints:
        """Points as the store holds them; names that are paths get out of each other's way."""
        fitted = fit_points(data, self._caps, self.losses)
        limits = self._caps.names.get("metrics", Names())
        if not limits.paths:
            return fitted

        def paths_of(origin: RunRef, system: bool) -> Paths:
            return self._runs[origin].paths.setdefault(system, Paths(limits))

        return fitted._replace(data=settled(fitted.data, paths_of, self.losses))

    def _note_last(self, data: pa.RecordBatch) -> None:
        """Keep the last point of each metric, whatever order the points come in."""
        own = data.filter(pc.invert(data.column("system")))
        group, _ = groups(own, "project", "run_id", "key")
        places = Places.of(own)
        values = numpy_of(own.column("value"), np.float64).view(np.int64)
        keys = (places.row, places.step, places.time, values)
        last = latest(group, *keys)
        names = ["project", "run_id", "key", "value", "system"]
        rows = own.select(names).take(pa.array(last, pa.int64())).to_pylist()
        for row, place in zip(rows, zip(*(key[last].tolist() for key in keys))):
            run = self._runs[RunRef(row["project"], row["run_id"])]
            if row["key"] not in run.last or place > run.last[row["key"]][0]:
                run.last[row["key"]] = place, _bare(row)

    def _feed_logs(self, data: pa.RecordBatch) -> Iterator[Batch]:
        held = self._caps.holds.get("logs")
        missing = [n for n in TABLES["logs"].names if n not in (*LABELS, *(held or ()))]
        if missing:
            what = "logs not shown" if held is None else "logs not shown in full"
            what = "console shown as a file" if held is None and self._caps.console else what
            for origin, part in split(data):
                self.losses.add(what, origin.run_id, part.num_rows)
                self._runs[origin].logs.append(part)
        if held is not None:
            for name in missing:
                nothing = pa.nulls(data.num_rows, data.schema.field(name).type)
                data = data.set_column(data.schema.get_field_index(name), name, nothing)
            yield Batch("logs", relabel(data, self._labels))

    def _keep_residuals(
        self, data: pa.RecordBatch, native: pa.RecordBatch, whole: Mask, dropped: Mask
    ) -> None:
        index = pa.array(np.arange(data.num_rows))
        numbered = data.append_column("index", index)
        for origin, part in split(numbered):
            at = part.column("index").to_numpy()
            run = self._runs[origin]
            source = pa.RecordBatch.from_arrays(part.columns[:-1], schema=data.schema)
            run.residual.add(source, native.take(part.column("index")), whole[at], dropped[at])

    def _keep_names(self, data: pa.RecordBatch, native: pa.RecordBatch) -> None:
        before, after = data.column("key"), native.column("key")
        if before.equals(after):
            return
        both = data.append_column("native", after)
        _, first = groups(both, "project", "run_id", "key", "native")
        names = ["project", "run_id", "key", "native"]
        for row in both.select(names).take(pa.array(first, pa.int64())).to_pylist():
            if row["native"] != row["key"]:
                run = self._runs[RunRef(row["project"], row["run_id"])]
                run.names[row["native"]] = row["key"]

    def _finish_points(self, run: _Run) -> Iterator[Batch]:
        """Points that were held back, and those that are shown beside the run's own."""
        shown = [_labelled(run, row) for row in run.shown.tables.pop("metrics", [])]
        own = run.points
        run.points = []
        if not (own or shown or self._caps.rows):
            return  # they have passed through: most of thousands of small runs
        points = _joined([*own, *(batch.data for batch in batches("metrics", shown))])
        extra = np.arange(points.num_rows) >= points.num_rows - len(shown)
        fitted = self._fit_points(points)
        native, whole, dropped = fitted.data, fitted.whole, fitted.dropped
        if self._caps.rows:
            native, axis = _lay(run, native, self._caps)
            self.losses.add("steps shown as a metric of their own", run.key.run_id, axis.num_rows)
            added = np.ones(axis.num_rows, np.bool_)
            points, native = _joined([points, axis]), _joined([native, axis])
            extra = np.concatenate([extra, added])
            whole, dropped = (np.concatenate([mask, ~added]) for mask in (whole, dropped))
        native = self._set_metrics_apart(native)
        if self._careful:
            before = int(dropped.sum())
            whole, dropped = _set_repeated_apart(native, extra, whole, dropped)
            self.losses.add("equal points shown once", run.key.run_id, int(dropped.sum()) - before)
        self._keep_names(points.filter(pa.array(~extra)), native.filter(pa.array(~extra)))
        run.residual.add(
            points.filter(pa.array(~extra)),
            native.filter(pa.array(~extra)),
            whole[~extra],
            dropped[~extra],
        )
        run.residual.hide(native.filter(pa.array(extra & ~dropped)))
        written = native.filter(pa.array(~dropped))
        yield from sliced("metrics", relabel(written, self._labels))


def _lay(
    run: _Run, points: pa.RecordBatch, caps: Capabilities
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Points and series of a run in rows; beside the points those of an axis, maybe none."""
    tables = run.shown.tables
    series = tables.get("series", [])
    used = points.column("key").unique().to_pylist()  # its dictionary may know others, now gone
    taken = {*used, *(row["key"] for row in series)}
    name, limits = f"{run.key.kind}.step", caps.names.get("metrics", Names())
    while (axis := fit_name(name, limits)) in taken:
        name += "_"
    place = _labelled(run, {"key": axis})
    native, series, steps = lay_run(points, series, place, caps.time_unit_us)
    if series:
        tables["series"] = series
    if steps is None:
        return native, _joined([])
    definition = {"key": "*", "glob": True, "x_axis": axis, "hidden": False}
    tables["metric_defs"] = [*tables.get("metric_defs", []), definition]
    return native, steps


def _set_repeated_apart(
    native: pa.RecordBatch, extra: Mask, whole: Mask, dropped: Mask
) -> tuple[Mask, Mask]:
    """Points that are equal in the store: all of them whole, only the first one written."""
    hashes = point_hashes(native)
    hashes[dropped] = np.arange(native.num_rows, dtype=np.uint64)[dropped]
    _, first, index, count = np.unique(
        hashes, return_index=True, return_inverse=True, return_counts=True
    )
    repeated = count[index.reshape(-1)] > 1
    later = repeated.copy()
    later[first] = False
    return whole | (repeated & ~extra), dropped | later


def _described(place: tuple[str, str], content: bytes) -> Row:
    owner, path = place
    sha256 = hashlib.sha256(content).hexdigest()
    return {"owner": owner, "path": path, "size": len(content), "sha256": sha256}


def _place(row: Row) -> tuple[str, str]:
    return row.get("owner") or "", row["path"]


def _sidecar(run: _Run, caps: Capabilities) -> Sidecar:
    def native_name(table: str, row: Row) -> Hashable:
        if table == "files":
            return run.shown.files.get(_place(row), _place(row))
        key: str | None = row.get("key")
        if table in KEYED and key is not None:
            shown = run.shown.keys.get((table, key), key)
            fitted = fit_name(shown, caps.names.get(table, Names()))
            return run.apart.get(table, {}).get(fitted, fitted)
        return name(table, row)

    side = Sidecar(names=run.names, files=_moved_files(run))
    native = run.shown.tables
    for table in sorted(set(run.rows) | set(native)):
        before, after = run.rows.get(table, []), native.get(table, [])
        kept, hide = keep(table, before, after, native_name)
        if kept:
            side.kept[table] = kept
        if hide:
            side.hide[table] = hide
    moves, whole, hidden = run.residual.moves(), run.residual.whole(), run.residual.hidden()
    streams = {"moves": moves, "points": whole, "hidden": hidden}
    side.streams = {n: t for n, t in streams.items() if t is not None and t.num_rows}
    if run.logs:
        logs = pa.Table.from_batches(run.logs, TABLES["logs"])
        side.streams["logs"] = logs.drop_columns(list(LABELS))
        side.logs_shown = "logs" in caps.holds
    return side


def _make_room(shown: Presentation) -> None:
    """A file of the run's own that is called like our sidecar is shown under another name."""
    for row in shown.tables["files"]:
        if _place(row) == _SIDECAR:
            here = next((own for own, there in shown.files.items() if there == _SIDECAR), _SIDECAR)
            row["path"] = f"{ORIGIN}/own-sidecar.zip"
            shown.files[here] = _place(row)


def _moved_files(run: _Run) -> dict[tuple[str, str], tuple[str, str]]:
    return {here: there for here, there in run.shown.files.items() if here != there}


def _same_places(before: pa.RecordBatch, after: pa.RecordBatch) -> bool:
    return all(before.column(n).equals(after.column(n)) for n in ("step", "time", "row"))


def _bare(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in LABELS}


def _labelled(run: _Run, row: Row) -> Row:
    return {"system": False, **row, "project": run.key.project, "run_id": run.key.run_id}


def _joined(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Parts of a run's points as one batch with one dictionary per column."""
    table = pa.Table.from_batches(parts, TABLES["metrics"]).unify_dictionaries().combine_chunks()
    whole = table.to_batches()
    return whole[0] if whole else pa.RecordBatch.from_pylist([], schema=TABLES["metrics"])
