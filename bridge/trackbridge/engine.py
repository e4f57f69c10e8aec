"""Carries out a migration: lists, skips what is proven, moves chunk by chunk, reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from trackbridge import items, shared
from trackbridge.adapter import Query, Reader, RunInfo, RunKey, RunRef, Writer
from trackbridge.choose import EVERY_RUN, Chosen, chosen
from trackbridge.comparison import compare_apart
from trackbridge.damage import Damage
from trackbridge.errors import ConfigError, IntegrityError, NotFoundError
from trackbridge.filing import WHOLE, FileChoice
from trackbridge.gone import Gone, Search, remember
from trackbridge.losses import Loss, Losses
from trackbridge.placing import NO_RENAMES, Placing, check_renames
from trackbridge.plan import Chunk, chunked, proven
from trackbridge.progress import SILENCE, Progress
from trackbridge.proof import Comparison, Tally, digest_chunk
from trackbridge.receipts import Receipts, receipts_of
from trackbridge.registry import NO_OPTIONS, same_place
from trackbridge.retry import persist
from trackbridge.schema import SHARED
from trackbridge.sorting import Sorting
from trackbridge.transfer import Moved
from trackbridge.workers import Done, Stores, Workers, pool_for

UNDONE = "edits of runs in the target undone"
EARLY = {"projects"}
"""Shared tables that are moved before the runs, which lie in them; the others are moved after."""


@dataclass(frozen=True)
class Failure:
    """A run that did not arrive, or could not be proven, and why."""

    run: str
    error: str


@dataclass
class Report:
    """What a migration did. `damage` names what is unreadable in the source."""

    total: int = 0
    copied: int = 0
    updated: int = 0
    skipped: int = 0
    points: int = 0
    files: int = 0
    size: int = 0
    losses: list[Loss] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    advice: str = ""
    """What a person should know of the target now; see `Writer.advice`."""
    items: dict[str, Tally] = field(default_factory=dict)
    """What became of items, by kind."""
    gone: list[Gone] = field(default_factory=list)
    """What is in the target from earlier calls, and was deleted at the source since."""
    seconds: float = 0.0

    @property
    def verified(self) -> bool:
        """Whether every run is in the target and proven."""
        return not self.failures and self.copied + self.updated + self.skipped == self.total


def migrate(
    source: str,
    target: str,
    query: Query = EVERY_RUN,
    *,
    where: str | None = None,
    renames: Mapping[str, str] = NO_RENAMES,
    files: FileChoice = WHOLE,
    workers: int | None = None,
    engine: str = "processes",
    engine_address: str | None = None,
    through: Callable[[Reader], Reader] | None = None,
    source_options: Mapping[str, str] = NO_OPTIONS,
    target_options: Mapping[str, str] = NO_OPTIONS,
    progress: Progress | None = None,
) -> Report:
    """Copy runs from one store to another and prove each one by reading it back.

    The runs are those that the query means and that meet `where`, an expression such as
    `metrics.loss < 0.1 and params.model = 'cnn'`. Other than on the command line, deleted runs are
    meant too, unless the query says `include_deleted=False` (decision 0013).

    `renames` maps projects of the source to other names in the target; `files` says whose bytes are
    moved. `through` makes of the source's reader another one, from which is read instead; workers
    get it too, so it has to pickle.

    `workers` are so many processes, where the target takes several writers; of a cluster (`engine`
    dask, ray or spark, at `engine_address`) at most so many places, and all without it.

    Calling it again finishes what was interrupted, brings changed runs up to date and skips the
    rest. Runs that fail are in the report and stop nothing; errors that concern the whole job
    (`ConfigError`, `NotFoundError`) are raised.
    """
    begun = time.monotonic()
    if same_place(source, target):
        raise ConfigError(f"{target}: source and target are the same store")
    stores = Stores(source, target, source_options, target_options, files, through)
    reader, writer = stores.reader(), stores.writer()
    if same_place(reader.address, writer.address):  # as the adapters understood them
        raise ConfigError(f"{target}: source and target are the same store")
    pool = pool_for(engine, engine_address, workers, reader, writer)
    meant = persist(lambda: chosen(reader, query, where))
    job = _Job(reader, writer, progress or SILENCE, files)
    runs = job.place(reader, meant, renames)
    report = job.report
    report.total = len(runs)
    waiting, doubtful = job.sort_out(reader, runs)
    job.name_undone(waiting)
    ahead = [*waiting, *doubtful]
    job.progress.begin(len(ahead), sum(info.points for info in ahead))
    waiting += job.examine(reader, doubtful)
    rows, here, there = persist(lambda: job.read_shared(reader, meant))
    job.losses.merge(persist(lambda: shared.move(rows, here, writer, there, EARLY)))
    at_work = Workers(stores, reader, writer, job.receipts, job.progress)
    with closing(at_work.each(list(chunked(waiting)), pool)) as results:
        for done in results:
            job.settle(done)
    job.losses.merge(persist(lambda: shared.move(rows, here, writer, there, SHARED - EARLY)))
    lacking = persist(lambda: shared.lacking(rows, shared.read(writer, EVERY_RUN, there)))
    report.failures += [
        Failure(f"{table} {' '.join(map(str, name))}", "not in the target as in the source")
        for table, name in lacking
    ]
    job.move_items(reader, meant.query, items.Labels(here, writer, there, job.named))
    job.look_for_gone(reader, meant, rows, here, there)
    report.advice = writer.advice if report.copied or report.updated else meant.advice
    report.losses = job.losses.list()
    report.seconds = time.monotonic() - begun
    return report


def read_shared(
    reader: Reader,
    writer: Writer,
    meant: Chosen,
    here: Sequence[tuple[RunRef, RunKey]],
    listed: Iterable[RunInfo],
    placing: Placing,
    losses: Losses,
) -> tuple[shared.Rows, shared.Origins, shared.Origins, Callable[[str], str | None]]:
    """Shared rows of a source, origins of what is here and will be there, and names of projects.

    `here` are the births of all runs of the source, `listed` the runs of the target.
    """
    renamed = shared.renamed(writer)
    placed = [placing.run(info) for info in meant.runs]
    origins = shared.Origins(here, placing.renamed(placed, renamed))
    there = [(info.ref, info.key) for info in listed]
    there += ((writer.target(key), key) for _, key in here)
    there += ((writer.target(info.key), info.key) for info in placed)
    named = partial(placing.project, renamed=renamed)
    rows = shared.read_for(reader, meant.query, origins, named, losses)
    return rows, origins, shared.Origins(there), named


class _Job:
    """The state of a migration between its listing and its report."""

    def __init__(
        self, reader: Reader, writer: Writer, progress: Progress, files: FileChoice
    ) -> None:
        self.report, self.losses, self.progress = Report(), Losses(), progress
        self.receipts = Receipts(reader.address, writer.address)
        self._known = self.receipts.latest()
        self._writer, self._files = writer, files
        self._listed = persist(lambda: list(writer.list_runs(EVERY_RUN)))
        self._there = {str(info.key): info for info in self._listed}

    def place(self, reader: Reader, meant: Chosen, renames: Mapping[str, str]) -> list[RunInfo]:
        """The runs that are meant, with keys that say in which project each is to lie."""
        check_renames(renames, meant.runs, self._writer)
        self._here = persist(lambda: shared.births(reader, meant.wide, meant.listed))
        self._placing = Placing(self._here, self._listed, self._writer, renames)
        runs = [self._placing.run(info) for info in meant.runs]
        self._placing.check_apart(runs)
        self.losses.merge(meant.losses())
        return runs

    def read_shared(
        self, reader: Reader, meant: Chosen
    ) -> tuple[shared.Rows, shared.Origins, shared.Origins]:
        """Shared rows of the source, and the origins of what is here and will be there."""
        rows, origins, there, self.named = read_shared(
            reader, self._writer, meant, self._here, self._listed, self._placing, self.losses
        )
        return rows, origins, there

    def move_items(self, reader: Reader, query: Query, labels: items.Labels) -> None:
        """Move what belongs to no run, after the runs that it refers to."""
        self.losses.merge(persist(lambda: items.left_behind(reader, self._writer, query)))
        found = items.move(reader, self._writer, query, labels, self.receipts)
        self.report.items = {kind: tally for kind, tally in found.items() if tally.total}
        self.report.failures += (
            Failure(f"{kind} {name}", why)
            for kind, tally in found.items()
            for name, why in tally.failures
        )

    def look_for_gone(
        self,
        reader: Reader,
        meant: Chosen,
        rows: shared.Rows,
        here: shared.Origins,
        there: shared.Origins,
    ) -> None:
        """Name what was deleted at the source since it was moved, by any call before this one."""
        search = Search(self._known, meant, reader, self._writer)
        self.report.gone = search.everything(self._here, self._listed, rows, here, there)
        remember(self.receipts, self._known.keys(), rows, self._writer, there)

    def sort_out(
        self, reader: Reader, runs: Collection[RunInfo]
    ) -> tuple[list[RunInfo], list[RunInfo]]:
        """The runs that have to be moved, and those in the target that have to be looked at."""
        there, known = self._listed, self._known
        sorting = Sorting(reader, self._writer, there, known, self._placing, self._files)
        found = sorting.sort(runs)
        for info, why in found.mistaken:
            self._fail(info, why)
        for info, receipt in found.proven:
            self.report.skipped += 1
            self._name_damage(info.key.born, receipt.damage)
        return found.waiting, found.doubtful

    def name_undone(self, waiting: Iterable[RunInfo]) -> None:
        """Say which runs will be replaced that were changed in the target since they were proven.

        Another fingerprint may be our own doing, so what was touched is read again.
        """
        touched = [
            there
            for info in waiting
            for there in [self._there.get(str(info.key))]
            for receipt in [self._known.get(str(info.key))]
            if there and receipt and receipt.target != there.fingerprint
        ]
        for there in touched:
            try:
                model = persist(partial(digest_chunk, self._writer, [there])).model
            except (NotFoundError, IntegrityError):  # nothing that could be anybody's work
                continue
            if model.totals(there.key.born) != self._known[str(there.key)].digests:
                self.losses.add(UNDONE, "/".join(there.ref), kept=False)

    def examine(self, reader: Reader, doubtful: Iterable[RunInfo]) -> Iterator[RunInfo]:
        """Prove runs whose receipts are lost, or that were touched in the target since.

        Gives those to be moved again: without a receipt nothing says that they ever were right.
        What was changed in the target afterwards is somebody's work, and stays.
        """
        choices: dict[FileChoice, list[RunInfo]] = {}
        for info in doubtful:
            receipt = self._known.get(str(info.key))
            choice = FileChoice.of(receipt.extent) if receipt else self._files
            choices.setdefault(choice, []).append(info)
        for choice, infos in choices.items():
            for chunk in chunked(infos):
                yield from self._examine_chunk(reader, chunk, choice)

    def _examine_chunk(self, reader: Reader, chunk: Chunk, files: FileChoice) -> Iterator[RunInfo]:
        pairs = [
            (i, RunInfo(self._writer.target(i.key), i.key, "", carried=True)) for i in chunk.runs
        ]
        result = compare_apart(reader, self._writer, pairs, self._writer, files)
        proven = {str(i.key): result.digests.get(str(i.key)) for i in chunk.runs}
        digests = {key: digest for key, digest in proven.items() if digest is not None}
        targets = {key: info.fingerprint for key, info in self._there.items()}
        extent = None if files.is_whole else files.extent
        self._keep(chunk, digests, targets, result.damage, extent)
        for info in chunk.runs:
            if str(info.key) in digests:
                self._name_damage(info.key.born, result.damage.of(info.key.born))
        self.report.skipped += len(digests)
        rest = [info for info in chunk.runs if str(info.key) not in digests]
        lost = [info for info in rest if str(info.key) not in self._known]
        for info in rest:
            if info not in lost:
                self._fail(info, _touched(info, result))
        self.progress.points(chunk.points - sum(info.points for info in rest))
        self.progress.runs(len(digests))
        if lost and not files.is_whole:  # more may be there than is asked for now
            yield from self._examine_chunk(reader, Chunk(tuple(lost)), WHOLE)
        else:
            yield from lost

    def settle(self, done: Done) -> None:
        """Enter what became of a chunk; receipts are written for proven runs alone."""
        for outcome in done.outcomes:
            if outcome.result is None:
                self._fail(outcome.chunk.runs[0], outcome.error)
            else:
                self._enter(outcome.chunk, outcome.result, done.kept)
        self.progress.runs(len(done.chunk.runs))

    def _keep(
        self,
        chunk: Chunk,
        digests: Mapping[str, Mapping[str, str]],
        targets: Mapping[str, str],
        damage: Damage,
        extent: Sequence[int] | None,
        left: Collection[RunRef] | None = None,
    ) -> None:
        """Receipts for the runs of a chunk that are proven."""
        found = receipts_of(chunk.runs, digests, targets, damage, extent, left)
        if found:
            self.receipts.add(proven(chunk, digests).id, found)

    def _enter(self, chunk: Chunk, moved: Moved, kept: bool) -> None:
        if not (kept and self.receipts.has(proven(chunk, moved.digests).id)):
            extent = self._files.extent
            self._keep(chunk, moved.digests, moved.targets, moved.damage, extent, moved.left)
        for info in chunk.runs:
            key = str(info.key)
            if key in moved.failures:
                self._fail(info, moved.failures[key])
            elif key in self._there:
                self.report.updated += 1
            else:
                self.report.copied += 1
        self.report.points += moved.points
        self.report.files += moved.files
        self.report.size += moved.size
        for run, text in moved.damage.lines():
            self._name_damage(run, [text])
        self.losses.merge(moved.losses)

    def _name_damage(self, run: RunRef, damage: Iterable[str]) -> None:
        self.report.damage += (f"run {run.project}/{run.run_id}: {text}" for text in damage)

    def _fail(self, info: RunInfo, error: str) -> None:
        self.report.failures.append(Failure(f"{info.ref.project}/{info.ref.run_id}", error))


def _touched(info: RunInfo, result: Comparison) -> str:
    """Why a run that was proven once is not what it was."""
    found = [
        str(difference) for difference in result.differences if difference.run == "/".join(info.ref)
    ]
    return (
        f"was changed in the target after it was proven ({', '.join(found[:1])}); "
        "left as it is: `trackbridge verify` names everything that differs"
    )
