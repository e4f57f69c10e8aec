"""Adds to runs on a server what was logged since, with the few requests that it takes."""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.adapter import SIDECAR, STORE, Batch, FileRef, Row, RunKey, RunRef
from trackbridge.columns import split
from trackbridge.errors import IntegrityError, UnsupportedError
from trackbridge_adapters.wandb import calls
from trackbridge_adapters.wandb.artifacts import is_inside
from trackbridge_adapters.wandb.service import changes, lines
from trackbridge_adapters.wandb.service.answers import RefusedError
from trackbridge_adapters.wandb.service.draft import POINTS
from trackbridge_adapters.wandb.service.pages import Place
from trackbridge_adapters.wandb.service.running import TABLES, Running
from trackbridge_adapters.wandb.service.synclog import DELETED
from trackbridge_adapters.wandb.service.temporary import BLOCK, copied
from trackbridge_adapters.wandb.service.wire import Wire

Ints = npt.NDArray[np.int64]


class Added:
    """What was logged to one run since the last time."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = defaultdict(list)
        self._parts: dict[str, list[pa.RecordBatch]] = {table: [] for table in POINTS}
        self.files: dict[str, BinaryIO] = {}

    def write(self, table: str, data: pa.RecordBatch) -> None:
        if table in self._parts:
            self._parts[table].append(data)
        elif table in TABLES:
            self.rows[table] += data.to_pylist()

    def points(self) -> tuple[pa.Table, pa.Table, pa.Table]:
        """Metrics, series and samples of the system."""
        metrics = calls.table_of("metrics", self._parts["metrics"])
        system = metrics.column("system").fill_null(False)
        series = calls.table_of("series", self._parts["series"])
        return metrics.filter(pc.invert(system)), series, metrics.filter(system)


class Extension:
    """A sink for what was logged to some runs since; what it is given is kept until `commit`.

    Rows of points are numbered from the run's first one on. Of samples of the system those are
    added that were taken after the last one there. Whatever its row in `runs` says, a run goes on.

    Left to the writing of the whole run in the end, so taken here and dropped, are samples that
    come late, console lines, artifacts with their files, inputs, and what belongs to no run.
    """

    def __init__(self, wire: Wire, running: dict[RunRef, Running], refs: Iterable[RunRef]) -> None:
        """`running` has a state for each run, which is taken out of it if anything fails."""
        self._wire, self._running = wire, running
        self._runs = {ref: running[ref] for ref in refs}
        self._added = {ref: Added() for ref in self._runs}

    def __enter__(self) -> Extension:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for added in self._added.values():
            for data in added.files.values():
                data.close()

    def write(self, batch: Batch) -> None:
        if batch.table in TABLES or batch.table in POINTS:
            for ref, part in split(batch.data):
                self._added[ref].write(batch.table, part)

    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        if file.run == STORE or file.owner:
            return
        if not is_inside(file.path):
            raise IntegrityError(
                f"run {file.run.run_id}: the file {file.path!r} would lie outside of its run; "
                "rename it at the source"
            )
        self._added[file.run].files[file.path] = copied(data)

    def commit(self) -> Mapping[RunKey, RunRef]:
        """Some of it may be there where that fails: the next sink finds out what is, and goes on.

        Raises `IntegrityError` where rows are missing between those that are there and these.
        """
        try:
            for ref, run in self._runs.items():
                self._extend(run, self._added[ref])
        except BaseException:
            for ref in self._runs:
                self._running.pop(ref, None)
            raise
        return {run.key: ref for ref, run in self._runs.items()}

    def _extend(self, run: Running, added: Added) -> None:
        """First what the run is known by, for what it is read as; points before their summary."""
        place = Place.of(run.ref.project)
        for table, rows in added.rows.items():
            run.merge(table, rows)
        points, series, system = added.points()
        streams = {lines.HISTORY: _history(run, points, series), lines.EVENTS: _events(run, system)}
        self._tell(place, run)
        for path, data in added.files.items():
            self._put(place, run, path, data)
        summary = run.summary_line()
        if summary and summary != run.summary:
            streams[lines.SUMMARY] = 0, [summary]
        for files in lines.requests(streams):
            changes.stream(self._wire, place, run.name, files)
            _count(run, files)
        run.summary = summary

    def _put(self, place: Place, run: Running, path: str, data: BinaryIO) -> None:
        """Uploads a file that is not as it was put last: some come in each round."""
        state = hashlib.sha256()
        while block := data.read(BLOCK):
            state.update(block)
        if run.files.get(path) != state.digest():
            data.seek(0)
            changes.put_file(self._wire, place, run.name, path, data)
            run.files[path] = state.digest()

    def _tell(self, place: Place, run: Running) -> None:
        """Sets what is not as it was told, so that users' edits of the rest stay; makes a run."""
        told = run.fields()
        changed = {name: value for name, value in told.items() if run.told.get(name) != value}
        if changed:
            self._change(place, run, changed)
        run.told = told
        if run.stale:
            changes.put_file(self._wire, place, run.name, SIDECAR, io.BytesIO())
            run.stale = False

    def _change(self, place: Place, run: Running, told: Mapping[str, Any]) -> None:
        """A run gets the first id that is not that of a deleted one."""
        while True:
            try:
                changes.change_run(self._wire, place, run.name, **told)
                return
            except RefusedError as error:
                if DELETED not in str(error) or len(run.names) == 1:
                    raise
                run.names.pop(0)


def _history(run: Running, points: pa.Table, series: pa.Table) -> lines.Stream:
    """Lines of the log calls that are not there; notes what they leave as the last values."""
    numbers = [table.column("row") for table in (points, series)]
    if any(column.null_count for column in numbers):
        raise IntegrityError(f"run {run.name}: points without a row; lay them into rows before")
    _check_next(run, np.concatenate([column.to_numpy() for column in numbers]))
    later = _from("step", -1 if run.step is None else run.step, points, series)
    if steps := [s for table in later if (s := pc.max(table.column("step")).as_py()) is not None]:
        run.passed(max(steps), calls.Calls(*later).last())
    new = calls.Calls(*_from("row", run.lines - 1, points, series))
    flat = calls.is_flat(run.key.kind, new.used(), {})
    if flat and not run.flat and run.lines:
        raise UnsupportedError(
            f"run {run.name}: a metric with a name that means something to W&B, as _step does, has"
            " come after others; migrate the run when it has ended"
        )
    run.flat = run.flat or flat
    records = calls.history(new, None if run.flat else {}, run.lines)
    return run.lines, lines.history(records)


def _events(run: Running, points: pa.Table) -> lines.Stream:
    """Lines of the samples that are not there, where that can be known."""
    if run.samples is None:
        return 0, ()
    times = points.column("time").cast(pa.int64())
    if run.sampled is not None:
        points = points.filter(pc.greater(times, run.sampled))
    if points.num_rows:
        run.sampled = pc.max(times).as_py()
    return run.samples, lines.events(calls.stats(points), run.started)


def _from(column: str, known: int, *tables: pa.Table) -> list[pa.Table]:
    """Rows that have a number greater than one that is known."""
    return [table.filter(pc.greater(table.column(column), known)) for table in tables]


def _check_next(run: Running, numbers: Ints) -> None:
    """Rows go on where those end that are there, and leave none out."""
    new = np.unique(numbers[numbers >= run.lines])
    expected = np.arange(run.lines, run.lines + len(new))
    if not np.array_equal(new, expected):
        missing = int(expected[new != expected][0])
        raise IntegrityError(
            f"run {run.name} in {run.ref.project}: row {missing} is missing between those that"
            " are there and those that were given; extend it from its beginning again, or migrate"
            " it whole"
        )


def _count(run: Running, files: Mapping[str, Any]) -> None:
    """Notes what is there now."""
    run.lines += len(files.get(lines.HISTORY, {}).get("content", ()))
    if run.samples is not None:
        run.samples += len(files.get(lines.EVENTS, {}).get("content", ()))
