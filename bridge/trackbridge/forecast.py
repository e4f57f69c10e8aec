"""Says before anything is written what would be moved and what the target could not show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa

from trackbridge import items, shared
from trackbridge.adapter import Batch, Query, Reader, Row, RunRef, Writer
from trackbridge.choose import EVERY_RUN, chosen
from trackbridge.damage import Damage
from trackbridge.engine import EARLY, Failure, read_shared
from trackbridge.errors import ConfigError, NotFoundError
from trackbridge.filing import WHOLE, FileChoice
from trackbridge.fit import example
from trackbridge.isolation import apart
from trackbridge.losses import Loss, Losses
from trackbridge.optional import Assuming, Assumption, Metered
from trackbridge.placing import NO_RENAMES, Placing, check_renames
from trackbridge.plan import Chunk, chunked
from trackbridge.progress import SILENCE, Progress
from trackbridge.receipts import Receipts
from trackbridge.registry import NO_OPTIONS, open_reader, open_writer, same_place
from trackbridge.retry import persist
from trackbridge.schema import SHARED
from trackbridge.sidecar import Overlay
from trackbridge.sorting import Sorting
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
    assumed: list[Assumption] = field(default_factory=list)
    """What the source is read as, where it does not say so by itself."""


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
    latest = receipts.latest()
    progress = progress or SILENCE
    meant = persist(lambda: chosen(reader, query, where))
    check_renames(renames, meant.runs, writer)
    here = shared.births(reader, meant.wide, meant.listed)
    there = persist(lambda: list(writer.list_runs(EVERY_RUN)))
    placing = Placing(here, there, writer, renames)
    placed = [placing.run(info) for info in meant.runs]
    placing.check_apart(placed)
    sorted_out = Sorting(reader, writer, there, latest, placing, files).sort(placed)
    runs = sorted_out.waiting
    tally = _Tally()
    tally.losses.merge(meant.losses())
    failures = [Failure("/".join(info.ref), why) for info, why in sorted_out.mistaken]
    for info in (*(info for info, _ in sorted_out.proven), *sorted_out.doubtful):
        if str(info.key) in latest:
            tally.damage.named[info.key.born] = list(latest[str(info.key)].damage)
    moved = 0
    progress.begin(len(runs), sum(info.points for info in runs))
    for chunk in chunked(runs):
        for outcome in apart(chunk, partial(_tally, reader, writer, files)):
            if outcome.result is not None:
                tally += outcome.result
                moved += len(outcome.chunk.runs)
            else:
                [info] = outcome.chunk.runs
                failures.append(Failure("/".join(info.ref), outcome.error))
        progress.points(chunk.points)
        progress.runs(len(chunk.runs))
    losses = tally.losses
    rows, origins, origins_there, named = read_shared(
        reader, writer, meant, here, there, placing, losses
    )
    steps = (EARLY, SHARED - EARLY)
    losses.merge(shared.foreseen(rows, origins, writer, origins_there, steps))
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
        runs=moved,
        points=tally.points,
        files=tally.files,
        size=tally.size,
        losses=losses.list(),
        estimate_seconds=round(seconds, 1),
        advice=meant.advice,
        skipped=len(sorted_out.proven),
        compared=len(sorted_out.doubtful),
        failures=failures,
        damage=sorted(f"run {'/'.join(run)}: {what}" for run, what in tally.damage.lines()),
        items=found,
        api_calls=sum(number for number, _ in calls),
        assumed=list(reader.assumptions()) if isinstance(reader, Assuming) else [],
    )


@dataclass
class _Tally:
    """What runs hold that are to be moved, and what the target would not show of it."""

    points: int = 0
    files: int = 0
    size: int = 0
    versions: int = 0
    losses: Losses = field(default_factory=Losses)
    damage: Damage = field(default_factory=Damage)

    def __iadd__(self, other: _Tally) -> _Tally:
        self.points += other.points
        self.files += other.files
        self.size += other.size
        self.versions += other.versions
        self.losses.merge(other.losses.list())
        self.damage |= other.damage
        return self


def _tally(reader: Reader, writer: Writer, choice: FileChoice, chunk: Chunk) -> _Tally:
    """What some runs hold; whether files are there is looked for where that costs little."""
    found, bare = _Tally(), list[Row]()
    moved = translation(writer, [info.key for info in chunk.runs])
    overlay = Overlay(reader, chunk.runs)
    for batch in overlay.read():
        if batch.table == "files":
            kept = choice.apply(batch.data.to_pylist(), overlay, found.losses)
            batch = Batch("files", pa.RecordBatch.from_pylist(kept, batch.data.schema))
            here = [row for row in kept if not row["reference"]]
            if reader.capabilities.files_at_hand:
                bare += (row for row in here if not _has_bytes(row, overlay))
            found.files += len(here)
            found.size += sum(row["size"] or 0 for row in here)
        for _ in moved.feed(batch):
            pass
        found.damage.note(batch)
        if batch.table in ("metrics", "series"):
            found.points += batch.data.num_rows
    for row in bare:
        found.files -= 1
        found.size -= row["size"] or 0
        found.damage.miss(row, overlay)
    found.losses.add("files without bytes", example(bare), len(bare))
    moved.present()
    for batch in moved.finish():
        found.versions += batch.data.num_rows if batch.table == "artifacts" else 0
    found.losses.merge(moved.losses.list())
    return found


def _has_bytes(row: Row, overlay: Overlay) -> bool:
    run = RunRef(row["project"], row["run_id"])
    try:
        overlay.open_file(run, row["owner"], row["path"]).close()
    except NotFoundError:
        return False
    return True
