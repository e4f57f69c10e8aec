"""Says before anything is written what would be moved and what the target could not show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trackbridge import items, shared
from trackbridge.adapter import Query, Row, RunRef
from trackbridge.choose import EVERY_RUN, chosen
from trackbridge.compare import Progress, Silence
from trackbridge.errors import NotFoundError
from trackbridge.fit import example, fit_rows
from trackbridge.losses import Loss, Losses
from trackbridge.plan import chunked
from trackbridge.registry import NO_OPTIONS, open_reader, open_writer
from trackbridge.sidecar import Overlay
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
    points: int
    files: int
    size: int
    losses: list[Loss]
    estimate_seconds: float
    items: dict[str, int] = field(default_factory=dict)
    """How many items would be moved, by kind."""


def forecast(
    source: str,
    target: str,
    query: Query = EVERY_RUN,
    *,
    source_options: Mapping[str, str] = NO_OPTIONS,
    progress: Progress | None = None,
) -> Forecast:
    """Translate every run without writing it; files are counted, not read."""
    reader, writer = open_reader(source, source_options), open_writer(target)
    progress = progress or Silence()
    losses = Losses()
    query, runs = chosen(reader, query)
    progress.begin(len(runs), sum(info.points for info in runs))
    points = files = size = 0
    for chunk in chunked(runs):
        moved = translation(writer, [info.key for info in chunk.runs])
        overlay = Overlay(reader, chunk.runs)
        for batch in overlay.read():
            for _ in moved.feed(batch):
                pass
            if batch.table in ("metrics", "series"):
                points += batch.data.num_rows
                progress.points(batch.data.num_rows)
            if batch.table == "files":
                rows = [row for row in batch.data.to_pylist() if not row["reference"]]
                lost = [row for row in rows if _is_lost(overlay, row)]
                files += len(rows) - len(lost)
                size += sum(row["size"] or 0 for row in rows if row not in lost)
                losses.add("files without bytes", example(lost), len(lost))
        moved.present()
        for _ in moved.finish():
            pass
        losses.merge(moved.losses.list())
        progress.runs(len(chunk.runs))
    origins = shared.Origins(shared.births(reader, query, runs))
    for table, named in shared.read(reader, query, origins, losses).items():
        fit_rows(table, list(named.values()), writer.capabilities, losses)
    losses.merge(items.left_behind(reader, writer, query))
    found = items.counted(reader, writer, query)
    seconds = (
        START_SECONDS
        + points / POINTS_PER_SECOND
        + len(runs) / RUNS_PER_SECOND
        + size / BYTES_PER_SECOND
    )
    return Forecast(len(runs), points, files, size, losses.list(), round(seconds, 1), found)


def _is_lost(overlay: Overlay, row: Row) -> bool:
    """Whether the bytes of a file are missing."""
    try:
        overlay.open_file(RunRef(row["project"], row["run_id"]), row["owner"], row["path"]).close()
    except NotFoundError:
        return True
    return False
