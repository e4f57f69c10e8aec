"""Histories, system metrics and console lines of some runs, exported and live, as batches."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import BinaryIO

import pyarrow as pa

from trackbridge.adapter import Batch, Row, RunRef
from trackbridge.columns import batches
from trackbridge.errors import IntegrityError, TransientError
from trackbridge.prefetch import together
from trackbridge_adapters.wandb import jsontext
from trackbridge_adapters.wandb.service import console, live
from trackbridge_adapters.wandb.service.entries import moment
from trackbridge_adapters.wandb.service.exports import Export
from trackbridge_adapters.wandb.service.files import open_listed
from trackbridge_adapters.wandb.service.node import RunNode
from trackbridge_adapters.wandb.service.pages import Pages, Place, named
from trackbridge_adapters.wandb.service.streams import Streams, fetched
from trackbridge_adapters.wandb.service.temporary import copied
from trackbridge_adapters.wandb.service.wire import Wire

TOGETHER = 8
"""Exports that are fetched at a time."""
LARGE = 8 * 1024**2
"""Bytes of an export that are kept in memory; larger ones go to disk."""


class Histories:
    """Reads what runs have logged, call by call; damage that is met is noted in their nodes."""

    def __init__(self, wire: Wire, pages: Pages, address: str) -> None:
        self._wire, self._pages, self._address = wire, pages, address

    def read(self, place: Place, runs: list[RunNode], wanted: Collection[str]) -> Iterator[Batch]:
        """Rows of `metrics`, `series` and `logs`, as far as they are wanted."""
        found = self._read(place, runs, wanted)
        return (batch for batch in found if batch.table in wanted and batch.data.num_rows)

    def _read(self, place: Place, runs: list[RunNode], wanted: Collection[str]) -> Iterator[Batch]:
        points = "metrics" in wanted or "series" in wanted
        read: dict[RunRef, Export] = {}
        if points:
            yield from self._exports(runs, read)
        streams = {"history", "events"} if points else set()
        streams |= {"console"} if "logs" in wanted else set()
        for found in fetched(self._pages, place, runs, streams):
            if points:
                yield from self._points(found, read.get(found.run.ref))
            if found.console:
                yield from batches("logs", list(_logs(found)))

    def _points(self, found: Streams, export: Export | None) -> Iterator[Batch]:
        """Points that are in no export: rows that came after it, and samples of the system."""
        run = found.run
        rows, last = (export.rows, export.last_step) if export else (0, None)
        lines = Counted(line for line in found.history if _is_after(line, last))
        yield from live.history(run.ref, lines, run.given, run.damage, rows, exact=not run.carried)
        if rows + lines.count < run.lines:
            self._check_as_it_was(run)
            run.damage.append(
                f"history: the server counts {run.lines} rows and gives {rows + lines.count}"
            )
        yield from live.samples(run.ref, found.events, run.damage)

    def _check_as_it_was(self, run: RunNode) -> None:
        """`TransientError` if rows were exported after it was asked where they are."""
        for node in self._pages.runs(run.place, named([run.name])):
            now = RunNode(run.place, node)
            if (len(now.exported), now.live) != (len(run.exported), run.live):
                raise TransientError(
                    f"{self._address}: run {run.name} was exported while it was being read"
                )

    def _exports(self, runs: list[RunNode], read: dict[RunRef, Export]) -> Iterator[Batch]:
        """Points of exported histories; `read` tells how far each of them goes."""
        jobs = [(run, url) for run in runs for url in run.exported]
        with together(self._export, jobs, TOGETHER) as files:
            for (run, _), file in files:
                mixed = {key for key, kinds in run.kinds.items() if set(kinds) - {"nil", "string"}}
                export = read.setdefault(
                    run.ref, Export(run.ref, run.given, mixed, exact=not run.carried)
                )
                with file:
                    yield from self._decoded(export, file)

    def _export(self, job: tuple[RunNode, str]) -> pa.NativeFile:
        """The bytes of an export, in memory or in a file that goes with its handle."""
        with open_listed(self._wire, job[1], "an export of its history") as data:
            head = _block(data, LARGE)
            if len(head) < LARGE:
                return pa.BufferReader(head)
            return pa.PythonFile(copied(data, head), "r")

    def _decoded(self, export: Export, file: pa.NativeFile) -> Iterator[Batch]:
        try:
            yield from export.read(file)
        except (pa.ArrowInvalid, OSError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise IntegrityError(
                f"{self._address}: an export of its history cannot be read: {reason}"
            ) from error


class Counted(Iterator[str]):
    """Lines as they come, and how many there were."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self.count = lines, 0

    def __next__(self) -> str:
        line = next(self._lines)
        self.count += 1
        return line


def _is_after(line: str, step: int | None) -> bool:
    """Whether a row is none of those that were exported, which end with a step.

    A row that cannot be read counts as one that came after: as such it is named as damage.
    """
    if step is None:
        return True
    try:
        row = jsontext.load(line)
    except ValueError:
        return True
    told = row.get("_step") if isinstance(row, dict) else None
    return not isinstance(told, int) or told > step


def _logs(found: Streams) -> Iterator[Row]:
    """Console lines, each with its end, as other stores have them."""
    for line, node in enumerate(console.later(found.console, found.run.lines_of_ours)):
        yield {
            **found.run.ref._asdict(),
            "stream": "stderr" if node["level"] == "error" else "stdout",
            "line": line,
            "time": moment(node["timestamp"]),
            "text": f"{node['line']}\n",
        }


def _block(data: BinaryIO, size: int) -> bytes:
    """So many bytes, or all that there are."""
    parts: list[bytes] = []
    while size and (part := data.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
