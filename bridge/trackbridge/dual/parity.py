"""Whether what trainings logged has arrived in every back end: `trackbridge parity`."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from trackbridge.adapter import Query, RunInfo, RunKey, RunRef, Writer
from trackbridge.choose import EVERY_RUN
from trackbridge.comparison import ABSENT, partners_of, verify
from trackbridge.dual import by_step, journaled, sent, spawn, standing
from trackbridge.dual.alerts import told as raised_at
from trackbridge.dual.halfway import Halfway, foreseen, halfway
from trackbridge.dual.parts import files, latest_header, parts, session
from trackbridge.dual.replay import check, folders, status_of, working_in
from trackbridge.dual.sent import Counts, Life
from trackbridge.dual.standing import Standing
from trackbridge.errors import (
    BridgeError,
    ConfigError,
    NotFoundError,
    UnsupportedError,
    without_secrets,
)
from trackbridge.losses import Loss
from trackbridge.optional import Extending
from trackbridge.proof import Comparison, Difference
from trackbridge.registry import open_reader, open_writer
from trackbridge.retry import persist
from trackbridge.schema import POINTS
from trackbridge.unequal import Unequal

ALERTS = "alerts not shown"
"""What a loss is called where a store has no rows of alerts."""
FINE = ("equal", "goes on")
"""Verdicts by which nothing is wrong."""


@dataclass(frozen=True)
class Series:
    """A series of values that has not arrived as it was sent, or not yet."""

    table: str
    """`metrics`, or `series` for what is no number."""
    key: str
    sent: int
    differing: int
    missing: int
    waiting: int
    extra: int
    unequal: Unequal | None = None
    """The values behind it."""

    @property
    def wrong(self) -> int:
        hollow = self.unequal is not None and self.unequal.hollow
        return self.differing + self.missing + self.extra + hollow


@dataclass(eq=False)
class Parity:
    """A run and one of its back ends.

    `verdict` is `equal` (all has arrived and is equal), `goes on` (so does the run; nothing is
    wrong with what was delivered), `waiting` (the run has ended, and not all of it was delivered),
    `different`, `missing` (the run is not there), `unknown` (the back end did not answer) or
    `unreadable` (the journal is).
    """

    folder: Path
    address: str
    """With the secrets that it was given."""
    ran_in: str
    """The folder that the address is meant from."""
    info: RunInfo
    status: str
    """Of the run; one whose processes are gone without a word has crashed."""
    life: Life
    at: Standing
    tended: bool
    """Whether a forwarder is at work with it."""
    counts: Counts
    verdict: str = "unknown"
    why: str = ""
    """Why nothing is known, or what a person can do."""
    series: list[Series] = field(default_factory=list)
    """Those that are not as they were sent, worst first."""
    differences: list[Difference] = field(default_factory=list)
    """What differs beside values."""
    losses: list[Loss] = field(default_factory=list)
    """What the back end shows otherwise, or not at all."""

    @property
    def run(self) -> str:
        return "/".join(filter(None, self.info.ref))

    @property
    def store(self) -> str:
        return without_secrets(self.address)

    @property
    def goes_on(self) -> bool:
        return self.status == "running"

    @property
    def sent(self) -> int:
        return sum(self.counts.values())

    @property
    def arrived(self) -> int | None:
        """Values that are there, equal or not; None where that is not known."""
        if self.verdict in ("unknown", "unreadable"):
            return None
        return max(self.sent - self.missing - self.waiting, 0)  # it may have grown meanwhile

    @property
    def differing(self) -> int:
        return sum(each.differing for each in self.series)

    @property
    def missing(self) -> int:
        return sum(each.missing for each in self.series)

    @property
    def waiting(self) -> int:
        return sum(each.waiting for each in self.series)

    @property
    def extra(self) -> int:
        return sum(each.extra for each in self.series)


def parity(journals: Iterable[str | Path] = (), to: Sequence[str] = ()) -> list[Parity]:
    """Compare every run with every store that it named, or with those of `to`.

    Runs that have ended are compared value by value as by `verify`, others as far as they were
    delivered. Neither journals nor stores are altered. `BridgeError` for a store of `to` that can
    be none.
    """
    check(to)
    found = [each for folder in folders(journals) for each in _begun(folder, to)]
    if not found:
        raise ConfigError("no run names a store that it goes to; name one with --to")
    groups: dict[tuple[Path, str, str], list[Parity]] = defaultdict(list)
    for each in found:
        if each.verdict != "unreadable":
            groups[each.folder.parent, each.address, each.ran_in].append(each)
    for (root, address, ran_in), some in groups.items():
        with working_in(ran_in):
            try:
                _compare(root, address, some)
            except BridgeError as error:
                for each in some:
                    each.verdict, each.why = "unknown", str(error)
                    each.losses = [Loss(**loss) for loss in each.at.losses]
    for each in filter(lambda each: each.losses, found):
        each.losses = list(_untold(each.losses, raised_at(each.folder, each.address)))
    return found


def _untold(losses: Iterable[Loss], raised: int) -> Iterator[Loss]:
    """Losses without alerts that are not written as rows, but were raised as the store's own."""
    for loss in losses:
        left = loss.count - (raised if loss.kind == ALERTS else 0)
        if left > 0:
            yield replace(loss, count=left)


def _begun(folder: Path, to: Sequence[str]) -> Iterator[Parity]:
    """What is known of a run without asking its back ends."""
    try:
        told, journal = latest_header(parts(folder)), journaled.opened(folder)
        info = journaled.run_of(journal)
        status, tended = status_of(folder, info.status), spawn.is_tended(told)
        counts, life = sent.counted(journal.read_runs([info.ref], POINTS)), sent.life(folder)
    except NotFoundError:
        return  # it has not one whole record
    except (BridgeError, OSError) as error:
        yield from (
            _unreadable(folder, store, journaled.unreadable(error)) for store in to or ("",)
        )
        return
    ran_in = "." if to else told.get("cwd", ".")
    for store in to or standing.owed(folder, told.get("to", ())):
        at = standing.load(folder, without_secrets(store))
        yield Parity(folder, store, ran_in, info, status, life, at, tended, counts)


def _unreadable(folder: Path, store: str, why: str) -> Parity:
    ref, now = RunRef("", folder.name), time.time()
    info, life = RunInfo(ref, RunKey("", "", *ref), ""), Life(now, None, now, None)
    at = Standing(without_secrets(store))
    return Parity(folder, store, ".", info, "", life, at, False, Counts(), "unreadable", why)


def _compare(root: Path, address: str, some: list[Parity]) -> None:
    """Compare runs of one folder of journals with one store."""
    open_reader(address)  # a store that is not there is not made
    ended = [each for each in some if not each.goes_on]
    _prove_all(root, address, ended)
    writer = open_writer(address)
    left = [each for each in some if each.goes_on or _is_undelivered(each)]
    if left:
        partners = partners_of(persist(lambda: list(writer.list_runs(EVERY_RUN))))
        for each in left:
            there = partners.get(each.info.key) or partners.get(each.info.ref)
            _note_halfway(each, writer, there)
    for each in some:
        if each not in left:
            each.losses = _losses(each, writer)


def _prove_all(root: Path, address: str, ended: list[Parity]) -> None:
    """At once, or one by one where there is a journal beside them that cannot be read."""
    with suppress(ConfigError, UnsupportedError):
        if len(ended) > 1:
            _prove(root, address, ended)
            return
    for each in ended:
        _prove(each.folder, address, [each])


def _prove(journals: Path, address: str, ended: list[Parity]) -> None:
    wanted = tuple(each.info.ref.run_id for each in ended)
    _note_proofs(ended, verify(f"journal:{journals}", address, Query(run_ids=wanted)))


def _is_undelivered(each: Parity) -> bool:
    """Whether it is not equal, and no wonder: it was not delivered whole yet."""
    done = each.at.is_proven(each.info.fingerprint)
    return each.verdict != "equal" and not done and each.at.updated > 0


def _note_proofs(some: list[Parity], result: Comparison) -> None:
    differences: dict[str, list[Difference]] = defaultdict(list)
    unequal: dict[str, list[Unequal]] = defaultdict(list)
    for difference in result.differences:
        differences[difference.run].append(difference)
    for series in result.unequal:
        unequal[series.run].append(series)
    for each in some:
        own = differences[each.run]
        if any(d.table == "runs" and d.what == ABSENT for d in own):
            each.verdict = "missing"
            each.series = _ordered(Series(*k, n, 0, n, 0, 0) for k, n in each.counts.items())
            continue
        each.verdict = "different" if own else "equal"
        each.differences = [d for d in own if d.table not in POINTS]
        each.series = _ordered(_series(each, u) for u in unequal[each.run] if u.table in POINTS)


def _note_halfway(each: Parity, writer: Writer, there: RunInfo | None) -> None:
    reader = journaled.opened(each.folder)
    sessions = set(map(session, files(each.folder)))
    held_back = by_step.heard(each.at.waiting)
    found = persist(
        lambda: halfway(
            reader,
            writer,
            each.info,
            there,
            each.at.position,
            held_back,
            in_order=len(sessions) == 1,
            in_place=not each.at.left,
        )
    )
    each.counts, each.differences, each.losses = found.counts, [], found.losses
    each.series = _halfway_series(each, found)
    if any(series.wrong for series in each.series):
        each.verdict = "different"
    else:
        each.verdict = "goes on" if each.goes_on else "waiting"
    if each.at.state == "held" or (each.goes_on and not isinstance(writer, Extending)):
        each.why = "shown once the run is written whole"
    elif each.at.left:
        each.why = f"{each.at.left:,} values came late, shown once the run is written whole"
    if each.at.error:
        each.why = each.at.error
    elif each.verdict == "waiting" and not each.tended:
        each.why = "nobody is at work with it; `trackbridge replay` delivers it"


def _halfway_series(each: Parity, found: Halfway) -> list[Series]:
    wrong = [_series(each, unequal, found.waiting) for unequal in found.unequal]
    named = {(series.table, series.key) for series in wrong}
    rest = ((k, n) for k, n in found.waiting.items() if k not in named)
    return _ordered([*wrong, *(Series(*k, each.counts[k], 0, 0, n, 0) for k, n in rest)])


def _series(each: Parity, unequal: Unequal, waiting: Counts | None = None) -> Series:
    place_of = unequal.table, unequal.key or ""
    return Series(
        *place_of,
        each.counts[place_of],
        unequal.differing,
        unequal.missing,
        waiting[place_of] if waiting else 0,
        unequal.extra,
        unequal,
    )


def _ordered(series: Iterable[Series]) -> list[Series]:
    return sorted(series, key=lambda s: (-s.wrong, -s.waiting, s.table, s.key))


def _losses(each: Parity, writer: Writer) -> list[Loss]:
    """As they were when it was written whole; found out anew where that is not known."""
    if each.at.losses and each.at.proven == each.info.fingerprint:
        return [Loss(**loss) for loss in each.at.losses]
    return foreseen(journaled.opened(each.folder), writer, each.info)
