"""Says before anything is written what would be moved and what the target could not show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from trackbridge import items, shared
from trackbridge.adapter import Batch, Metered, Query, Reader, Row, RunRef, Writer
from trackbridge.choose import EVERY_RUN, chosen
from trackbridge.engine import EARLY, Failure, read_shared
from trackbridge.errors import ConfigError, NotFoundError
from trackbridge.filing import WHOLE, FileChoice, name_missing
from trackbridge.fit import example
from trackbridge.losses import Loss, Losses
from trackbridge.placing import NO_RENAMES, Placing, check_renames
from trackbridge.plan import Chunk, chunked
from trackbridge.prefetch import together
from trackbridge.progress import SILENCE, Progress
from trackbridge.receipts import Receipts
from trackbridge.registry import NO_OPTIONS, open_reader, open_writer, same_place
from trackbridge.retry import persist
from trackbridge.row_residual import damaged
from trackbridge.schema import SHARED
from trackbridge.sidecar import Overlay
from trackbridge.sorting import Sorting
from trackbridge.transfer import TOGETHER
from trackbridge.translate import translation

POINTS_PER_SECOND = 60_000
RUNS_PER_SECOND = 500
BYTES_PER_SECOND = 100 * 1024**2
START_SECONDS = 2
"""Cautious rates, measured from end to end on two cores with proofs."""


@dataclass(frozen=True)
class Forecast:
    """What a migration would do. `size` is in bytes."""

    runs: int
    """Those that would be moved; the numbers that follow are theirs."""
    points: int
    files: int
    size: int
    losses: list[Loss]
    estimate_seconds: float
    skipped: int = 0
    """Runs that are proven to be in the target in their present state."""
    compared: int = 0
    """Runs in the target that would be compared first: by no receipt are they what they were."""
    failures: list[Failure] = field(default_factory=list)
    """Runs that something in the target stands in the way of."""
    damage: list[str] = field(default_factory=list)
    """What is unreadable in the source."""
    advice: str = ""
    """What a person should know where nothing is meant."""
    items: dict[str, int] = field(default_factory=dict)
    """How many items would be moved or compared, by kind."""
    api_calls: int = 0
    """Requests to servers that count them, about."""


def forecast(
    source: str,
    target: str,
    query: Query = EVERY_RUN,
    *,
    where: str | None = None,
    renames: Mapping[str, str] = NO_RENAMES,
    files: FileChoice = WHOLE,
    source_options: Mapping[str, str] = NO_OPTIONS,
    target_options: Mapping[str, str] = NO_OPTIONS,
    progress: Progress | None = None,
) -> Forecast:
    """Translate every run that is to be moved without writing it; files are counted, not read.

    What is in the target already is told from listings and receipts.
    """
    reader = open_reader(source, source_options)
    writer = open_writer(target, target_options)
    if same_place(reader.address, writer.address):
        raise ConfigError(f"{target}: source and target are the same store")
    receipts = Receipts(reader.address, writer.address)
    progress = progress or SILENCE
    meant = persist(lambda: chosen(reader, query, where))
    check_renames(renames, meant.runs, writer)
    here = shared.births(reader, meant.wide, meant.listed)
    there = persist(lambda: list(writer.list_runs(EVERY_RUN)))
    placing = Placing(here, there, writer, renames)
    placed = [placing.run(info) for info in meant.runs]
    placing.check_apart(placed)
    sorted_out = Sorting(writer, there, receipts.latest(), placing, files).sort(placed)
    runs = sorted_out.waiting
    tally = _Tally(reader, writer, files, progress)
    tally.losses.merge(meant.losses())
    for info, receipt in sorted_out.proven:
        tally.damage[RunRef(info.key.project, info.key.run_id)] = list(receipt.damage)
    progress.begin(len(runs), sum(info.points for info in runs))
    for chunk in chunked(runs):
        tally.add(chunk)
    losses, damage = tally.losses, tally.damage
    rows, origins, origins_there, named = read_shared(
        reader, writer, meant, here, there, placing, losses
    )
    for tables in (EARLY, SHARED - EARLY):
        losses.merge(shared.foreseen(rows, origins, writer, origins_there, tables))
    losses.merge(items.left_behind(reader, writer, meant.query))
    labels = items.Labels(origins, None, shared.Origins(()), named)
    found = items.counted(reader, writer, meant.query, labels, receipts)
    seconds = (
        START_SECONDS
        + tally.points / POINTS_PER_SECOND
        + len(runs) / RUNS_PER_SECOND
        + tally.size / BYTES_PER_SECOND
    )
    metered = [store for store in (reader, writer) if isinstance(store, Metered)]
    calls = [(store.calls(runs, tally.versions), store.calls_per_second) for store in metered]
    seconds = max(seconds, sum(number / rate for number, rate in calls))
    return Forecast(
        runs=len(runs),
        points=tally.points,
        files=tally.files,
        size=tally.size,
        losses=losses.list(),
        estimate_seconds=round(seconds, 1),
        advice=meant.advice,
        skipped=len(sorted_out.proven),
        compared=len(sorted_out.doubtful),
        failures=[Failure("/".join(info.ref), why) for info, why in sorted_out.mistaken],
        damage=[f"run {'/'.join(run)}: {what}" for run in sorted(damage) for what in damage[run]],
        items=found,
        api_calls=sum(number for number, _ in calls),
    )


class _Tally:
    """What runs hold that are to be moved, and what the target would not show of it."""

    def __init__(
        self, reader: Reader, writer: Writer, choice: FileChoice, progress: Progress
    ) -> None:
        self._reader, self._writer = reader, writer
        self._choice, self._progress = choice, progress
        self.points = self.files = self.size = self.versions = 0
        self.losses = Losses()
        self.damage: dict[RunRef, list[str]] = {}

    def add(self, chunk: Chunk) -> None:
        moved = translation(self._writer, [info.key for info in chunk.runs])
        overlay, bare = Overlay(self._reader, chunk.runs), list[Row]()
        for batch in overlay.read():
            if batch.table == "files":
                kept = self._choice.apply(batch.data.to_pylist(), overlay, self.losses)
                batch = Batch("files", pa.RecordBatch.from_pylist(kept, batch.data.schema))
                bare += self._bare(kept, overlay)
            for _ in moved.feed(batch):
                pass
            if batch.table == "runs":
                self.damage.update(damaged(batch))
            if batch.table in ("metrics", "series"):
                self.points += batch.data.num_rows
                self._progress.points(batch.data.num_rows)
        for row in bare:  # once all is known that adapters name
            name_missing(row, overlay, self.damage)
        moved.present()
        for batch in moved.finish():
            self.versions += batch.data.num_rows if batch.table == "artifacts" else 0
        self.losses.merge(moved.losses.list())
        self._progress.runs(len(chunk.runs))

    def _bare(self, rows: Iterable[Row], overlay: Overlay) -> list[Row]:
        """Files whose bytes are missing; the others are counted."""

        def has_bytes(row: Row) -> bool:
            run = RunRef(row["project"], row["run_id"])
            try:
                overlay.open_file(run, row["owner"], row["path"]).close()
            except NotFoundError:
                return False
            return True

        here = [row for row in rows if not row["reference"]]
        bare = []
        count = TOGETHER if self._reader.capabilities.parallel_files else 1
        with together(has_bytes, here, count) as found:
            for row, is_there in found:
                if is_there:
                    self.files += 1
                    self.size += row["size"] or 0
                else:
                    bare.append(row)
        self.losses.add("files without bytes", example(bare), len(bare))
        return bare
