"""One round of one run: what was logged since the last one is added to what a store shows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.adapter import Batch, FileRef, Row, RunInfo
from trackbridge.columns import batches, relabel
from trackbridge.dual import by_step
from trackbridge.dual.standing import Standing
from trackbridge.errors import NotFoundError
from trackbridge.optional import Extending, Growing
from trackbridge.schema import POINTS
from trackbridge.translate import Translation

TOLD = ("runs", "params", "tags", "metric_defs")
"""Tables that are told anew in each round; a summary is none before the end."""
SAMPLE = 16
"""Lags that are noted of a round."""


def grow(reader: Growing, writer: Extending, info: RunInfo, standing: Standing) -> bool:
    """Do a round; whether there was anything new. The standing says how far it came.

    A round changes nothing that the end would not repair, and may be repeated.
    """
    whole = writer.capabilities.rows
    found, position = reader.read_added(info.ref, standing.position, whole_rows=whole)
    if position == standing.position:
        return False
    streams = [batch for batch in found if batch.table in POINTS and batch.data.num_rows]
    ready = _rows(streams, standing) if whole else _Ready(streams)
    if ready.left and standing.proven and not standing.position:
        standing.state = "held"  # it was written whole in other rows than can be told from steps
        return False
    _write(reader, writer, info, ready.streams, standing.rows)
    if ready.place is not None:
        standing.rows, standing.row, standing.step = ready.place
    standing.position, standing.waiting = position, by_step.told(ready.waiting)
    standing.left += ready.left
    standing.points += sum(batch.data.num_rows for batch in ready.streams)
    standing.add_lags([time.time() - at for at in logged(ready.streams, SAMPLE)])
    return True


class _Place(NamedTuple):
    """Of a store of rows: how many it has, and row and step of the last one."""

    rows: int
    row: int
    step: int


class _Ready(NamedTuple):
    """What a round adds, and where a store of rows is after it; the rest see `by_step.Closed`."""

    streams: Sequence[Batch]
    place: _Place | None = None
    waiting: Sequence[Batch] = ()
    left: int = 0


def _rows(streams: Sequence[Batch], standing: Standing) -> _Ready:
    """Values that are rows already as they came; else those of steps that are over."""
    before = _Place(standing.rows, standing.row, standing.step)
    after = None if standing.waiting else _follow(streams, before)
    if after is not None:
        return _Ready(streams, after)
    closed = by_step.close([*by_step.heard(standing.waiting), *streams], before.step)
    step = int(closed.steps.max(initial=before.step))
    after = _Place(before.rows + len(closed.steps), before.row, step)
    return _Ready(closed.ready, after, closed.waiting, closed.left)


def _write(
    reader: Growing,
    writer: Extending,
    info: RunInfo,
    streams: Sequence[Batch],
    before: int,
) -> None:
    """Translate and add; rows of a store of rows come after those that were sent `before`."""
    paths = _paths(streams)
    born = {info.ref: info.key.born}
    moved = Translation(writer, [info.key])
    with writer.extend([info.key]) as sink:
        for batch in (*reader.read_runs([info.ref], TOLD), *streams):
            for native in moved.feed(Batch(batch.table, relabel(batch.data, born))):
                sink.write(native)
        files = _files(reader, info, paths)
        for batch in batches("files", files):
            list(moved.feed(batch))
        moved.present()
        for row in files:
            with suppress(NotFoundError):
                with reader.open_file(FileRef(info.ref, row["owner"], row["path"])) as data:
                    sink.put_file(moved.place(info.key.born, row["owner"], row["path"]), data)
                moved.set_file(info.key.born, row["owner"], row["path"], row["size"], row["sha256"])
        for place, content in moved.contents():
            sink.put_file(place, BytesIO(content))
        moved.leave_out_missing()
        for native in moved.finish():
            sink.write(_numbered(native, before))
        sink.commit()


def _paths(streams: Sequence[Batch]) -> set[str]:
    """Files that values stand for."""
    columns = (batch.data.column("path") for batch in streams if batch.table == "series")
    return {path for column in columns for path in column.to_pylist() if path}


def _files(reader: Growing, info: RunInfo, paths: set[str]) -> list[Row]:
    """Rows of files of the run by their paths, labelled as it was born."""
    if not paths:
        return []
    born = info.key.born._asdict()
    rows = (row for b in reader.read_runs([info.ref], ["files"]) for row in b.data.to_pylist())
    return [{**row, **born} for row in rows if not row["owner"] and row["path"] in paths]


def _numbered(native: Batch, before: int) -> Batch:
    """Rows are counted from the first of a round; make it from the first of the run."""
    if not before or native.table not in POINTS:
        return native
    at = native.data.schema.get_field_index("row")
    rows = pc.add(native.data.column("row"), before)
    return Batch(native.table, native.data.set_column(at, native.data.schema.field(at), rows))


def _follow(streams: Sequence[Batch], before: _Place) -> _Place | None:
    """Where a store of rows is after these; none where they are no rows that can be added as they
    are: later ones, with later steps, each key once."""
    calls = [_calls(batch) for batch in streams]
    if any(each is None for each in calls):
        return None
    every = np.unique(np.concatenate([_NO_CALLS, *filter(lambda c: c is not None, calls)]), axis=0)
    if not len(every):
        return before
    rows, steps = every[:, 0], every[:, 1]
    rises = (np.diff(rows) > 0).all() and (np.diff(steps) > 0).all()
    if not rises or rows[0] <= before.row or steps[0] <= before.step or _repeats(streams):
        return None
    return _Place(before.rows + len(rows), int(rows[-1]), int(steps[-1]))


_NO_CALLS = np.zeros((0, 2), np.int64)


def _calls(batch: Batch) -> npt.NDArray[np.int64] | None:
    """Row and step of values that the run logged itself; none where one has no row or step."""
    data = _own(batch)
    row, step = data.column("row"), data.column("step")
    if row.null_count or step.null_count:
        return None
    return np.stack([np.asarray(row), np.asarray(step)], axis=1)


def _own(batch: Batch) -> pa.RecordBatch:
    """What was logged by the run, and not measured."""
    if batch.table != "metrics":
        return batch.data
    return batch.data.filter(pc.invert(batch.data.column("system")))


def _repeats(streams: Sequence[Batch]) -> bool:
    """Whether a key occurs twice in a row."""
    parts = [_own(batch).select(["row", "key"]) for batch in streams if batch.table == "metrics"]
    if not parts:
        return False
    whole = pa.Table.from_batches(parts).unify_dictionaries().combine_chunks()
    counts = whole.group_by(["row", "key"], use_threads=False).aggregate([([], "count_all")])
    return bool(counts.num_rows < whole.num_rows)


def logged(streams: Sequence[Batch], count: int) -> list[float]:
    """When some values were logged, about so many of them: seconds since 1970."""
    times = [np.asarray(b.data.column("time").cast(pa.int64()).drop_null()) for b in streams]
    every = np.concatenate([np.zeros(0, np.int64), *times])
    some = every[:: max(1, len(every) // count)]
    return list((some / 1e6).tolist())
