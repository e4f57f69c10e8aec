"""One pass over the records of a run: points and console as batches, the rest as facts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from google.protobuf.message import DecodeError

from trackbridge.adapter import Batch, RunRef
from trackbridge_adapters.wandb import names
from trackbridge_adapters.wandb.console import NO_STREAM, LogDecoder
from trackbridge_adapters.wandb.facts import Facts, timestamp_us
from trackbridge_adapters.wandb.folders import Run
from trackbridge_adapters.wandb.framing import Damage, read_records
from trackbridge_adapters.wandb.kinds import typed
from trackbridge_adapters.wandb.points import PointDecoder
from trackbridge_adapters.wandb.records import Record, peek

STREAMED = {
    "history": ("metrics", "series"),
    "stats": ("metrics", "series"),
    "output": ("logs",),
    "output_raw": ("logs",),
    "output_logger": ("logs",),
}
"""Records that become rows as they are read -> the tables they are needed for."""


class Scan:
    """Reads the folders of one run once; `facts` and `damage` are complete when `batches` ends."""

    def __init__(self, run: Run, ref: RunRef, tables: Collection[str]) -> None:
        self.facts = Facts()
        self.damage: list[str] = []
        self._run = run
        self._tables = tables
        told = run.folders[-1].facts
        flat = told.origin().get("keys") == "flat"
        given = None if flat else names.Given(told.told_names())
        self._history = PointDecoder(ref, self.damage, system=False, names_given=given)
        self._stats = PointDecoder(ref, self.damage, system=True)
        self._given = given
        self._logs = LogDecoder(ref)
        # What is damaged stands in `runs`: where that is wanted, nothing may be skipped.
        self._skipped = (
            set()
            if "runs" in tables
            else {kind for kind, needed in STREAMED.items() if not set(needed) & set(tables)}
        )

    def batches(self) -> Iterator[Batch]:
        """The rows of `metrics`, `series` and `logs` that are wanted."""
        for folder in self._run.folders:
            self.facts.begin()
            label = folder.path.name if len(self._run.folders) > 1 else ""
            if folder.wandb is None:
                self.damage.append(f"{folder.path.name}: there is no .wandb file")
                continue
            where = f"{label}/{folder.wandb.name}" if label else folder.wandb.name
            found: list[Damage] = []
            with folder.wandb.open("rb") as stream:
                for batch in self._read(read_records(stream, found), found):
                    if batch.table in self._tables and batch.data.num_rows:
                        yield batch
            self.damage += [f"{where}: offset {at}: {reason}" for at, reason in found]
            if not found and not self.facts.run.run_id:
                self.damage.append(f"{where}: no record says which run it is")
        for decoder in (self._history, self._stats, self._logs):
            for batch in decoder.flush():
                if batch.table in self._tables and batch.data.num_rows:
                    yield batch
        if self._given is not None:
            self.facts.special_names = self._given.special

    def _read(self, records: Iterator[tuple[int, bytes]], damage: list[Damage]) -> Iterator[Batch]:
        skipped = self._skipped
        for offset, data in records:
            if skipped and peek(data) in skipped:
                continue
            try:
                record = Record.FromString(data)
            except DecodeError:
                damage.append(Damage(offset, "a record is no W&B record"))
                continue
            kind = record.WhichOneof("record_type")
            if kind == "history":
                yield from self._add_history(record.history, len(data))
            elif kind == "stats":
                yield from self._add_stats(record.stats, len(data))
            elif kind in ("output", "output_raw"):
                output = getattr(record, kind)
                time = timestamp_us(output, "timestamp")
                if self._logs.add(output.output_type, time, output.line, record.uuid):
                    yield from self._logs.flush()
            elif kind == "output_logger":
                if self._logs.add(NO_STREAM, None, record.output_logger.line, ""):
                    yield from self._logs.flush()
            else:
                self.facts.apply(kind, record)

    def _add_history(self, history: Any, size: int) -> Iterator[Batch]:
        items = history.item
        keys = [item.key or names.pack(item.nested_key) for item in items]
        texts = [item.value_json for item in items]
        if not all(texts):
            texts = [item.value_json or typed(item) for item in items]
        step = history.step.num if history.HasField("step") else None
        if self._history.add(keys, texts, step, None, size):
            yield from self._history.flush()

    def _add_stats(self, stats: Any, size: int) -> Iterator[Batch]:
        keys = [item.key for item in stats.item]
        texts = [item.value_json for item in stats.item]
        if self._stats.add(keys, texts, None, timestamp_us(stats, "timestamp"), size):
            yield from self._stats.flush()
