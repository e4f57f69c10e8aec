"""Rows that were parsed, in a temporary file, to be had again without their text."""

from __future__ import annotations

import io
import shutil
import tempfile
import threading
import weakref
from typing import NamedTuple

import pyarrow as pa

from trackbridge_adapters.tables.parsed import Parsed


class Form(NamedTuple):
    """What rows are beside the bytes of their columns."""

    rows: int
    names: tuple[str, ...]
    """Of the columns; numbers stand for them in the bytes, where not every name of JSON can."""
    tokens: frozenset[str]
    typed: bool


class Packed(NamedTuple):
    """Rows as bytes: a stream of Arrow with one batch."""

    data: pa.Buffer
    form: Form


def packed(parsed: Parsed) -> Packed:
    columns = [*parsed.columns.values()]
    batch = pa.RecordBatch.from_arrays(columns, [str(number) for number in range(len(columns))])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    form = Form(parsed.rows, tuple(parsed.columns), parsed.tokens, parsed.typed)
    return Packed(sink.getvalue(), form)


class Kept(NamedTuple):
    """Where rows are in a spool."""

    offset: int
    size: int
    form: Form


class Spool:
    """A temporary file without a name, gone with this object or its process, however that ends.

    It takes rows as long as it leaves as much room free as it has taken. Threads may share it.
    """

    def __init__(self) -> None:
        self._file: io.FileIO | None = None
        self._size, self._full = 0, False
        self._lock = threading.Lock()

    def put(self, rows: Packed) -> Kept | None:
        """Where the rows are from now on; None where there is no room for them."""
        with self._lock:
            begin = self._size
            if self._full or not self._has_written(rows.data):
                self._full = True
                return None
            self._size += rows.data.size
            return Kept(begin, rows.data.size, rows.form)

    def _has_written(self, data: pa.Buffer) -> bool:
        try:
            free = shutil.disk_usage(tempfile.gettempdir()).free
            if free - data.size < self._size + data.size:
                return False
            if self._file is None:
                made = tempfile.TemporaryFile(buffering=0, prefix="trackbridge-")  # noqa: SIM115
                self._file = made
                weakref.finalize(self, self._file.close)
            self._file.seek(self._size)
            return self._file.write(data) == int(data.size)
        except OSError:  # no folder, a quota, or others were faster
            return False

    def get(self, kept: Kept) -> Parsed:
        """The rows, without what was wrong among them."""
        assert self._file is not None
        with self._lock:
            self._file.seek(kept.offset)
            data = self._file.read(kept.size)
        with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
            batch = stream.read_next_batch()
        form = kept.form
        return Parsed(form.rows, dict(zip(form.names, batch.columns)), form.tokens, form.typed)
