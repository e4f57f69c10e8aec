"""What a store may be besides: protocols that the core asks for where they help.

An adapter is whole without any of them (`trackbridge.adapter`). One that has the methods of a
protocol is it: nothing has to be said in `Capabilities`, but for items.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from trackbridge.adapter import (
    Batch,
    FileRef,
    ItemRef,
    Query,
    Reader,
    RunInfo,
    RunKey,
    RunRef,
    Sink,
    Writer,
)

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from trackbridge.dual.mirroring import Mirror


class Excerpt(NamedTuple):
    """Some of the points of a run: those of the keys whose steps are in a range.

    `keys` None means every key, `first` or `last` None that the range has no such end; both ends
    are inclusive. Points without a step belong to excerpts whose range has no `first`.
    """

    keys: frozenset[str] | None = None
    first: int | None = None
    last: int | None = None


@runtime_checkable
class Selecting(Reader, Protocol):
    """A reader that finds some of the points of runs without going through all others."""

    def read_points(self, refs: Sequence[RunRef], excerpt: Excerpt) -> Iterator[Batch]:
        """The rows of `metrics` of these runs that are in the excerpt; rules as for `read_runs`."""
        ...


@runtime_checkable
class Splitting(Reader, Protocol):
    """A reader of a store in which several can read the points of one run, each other ones."""

    def split(self, info: RunInfo, points: int) -> Sequence[str]:
        """Pieces that have each point of a run once, roughly `points` in each; one of a short run.

        They are cut as the store reads them best, without going through them, and are the same for
        the same run. They are texts that any process can read by, as long as the run stays as it
        is. Unless they have together as many points as `info` says, the run is moved whole; so it
        is where there are none, since the store lacks what it takes to cut it (an index). A store
        that is `Dividing` always has pieces of a run with points, which are what proves it.
        """
        ...

    def read_piece(self, ref: RunRef, piece: str) -> Iterator[Batch]:
        """The rows of `metrics` of a run that are in a piece; rules as for `read_runs`.

        None where the run may have changed since it was cut: so pieces that are of two states of it
        have not all its points together, and it is moved whole.
        """
        ...

    def read_rest(self, ref: RunRef, *, sound: bool) -> Iterator[Batch]:
        """What `read_runs` gives of a run but its `metrics`, which were read in pieces.

        `sound` says that all those points had a time, a step and a value: they need not be gone
        through again to tell which of them cannot be read.
        """
        ...


@runtime_checkable
class Dividing(Writer, Protocol):
    """A writer that takes the points of one run from several processes at once.

    It holds the whole run model, and its sinks are `Adopting`.
    """

    def put_points(self, key: RunKey, batches: Iterable[Batch]) -> str:
        """Write some rows of `metrics` of a run where no reader finds them yet.

        Returns a text by which a sink of the run, in any process, makes them a part of it. Where
        the same rows are written again, nothing is doubled; what no sink takes counts as not
        written.
        """
        ...


@runtime_checkable
class Adopting(Sink, Protocol):
    """A sink that takes points which others have written."""

    def adopt(self, token: str) -> None:
        """Add what a `put_points` of this store has written to its run."""
        ...


class Assumption(NamedTuple):
    """What a reader was told or has guessed of data that does not say what it means.

    `where` is a file or the like, `what` a part of it, `meaning` what that is read as.
    """

    where: str
    what: str
    meaning: str


@runtime_checkable
class Assuming(Reader, Protocol):
    """A reader of data that does not say by itself what it means."""

    def assumptions(self) -> Iterator[Assumption]:
        """What everything is read as, and what is left out; a person sees it before it counts."""
        ...


@runtime_checkable
class Tabular(Protocol):
    """An adapter that reads tables of any columns, and can be given one."""

    def write_table(self, table: pa.Table, path: Path) -> None:
        """Make a file of a table, as `Adapter.reader` takes it; `ConfigError` where that fails."""
        ...


@runtime_checkable
class Located(Protocol):
    """A reader of a store whose files have addresses of their own."""

    def url(self, file: FileRef) -> str | None:
        """By which anybody who reaches the store fetches the bytes; None where they are missing."""
        ...


@runtime_checkable
class Metered(Protocol):
    """A reader or writer whose server counts requests (API calls) and may limit them."""

    @property
    def calls_per_second(self) -> float:
        """How many may be sent a second, cautiously where nobody has said."""
        ...

    def calls(self, runs: Sequence[RunInfo], versions: int) -> int:
        """About how many moving these runs takes: out of a reader, into a writer and back.

        `versions` of artifacts is how many rows of `artifacts` a writer is given.
        """
        ...


@dataclass(frozen=True)
class ItemInfo:
    """What a listing says of an item, cheaply.

    `fingerprint` changes whenever anything of the item changes; `rows` counts the rows of its
    tables, roughly. `started` and `run_id` are what a query may ask for.
    """

    ref: ItemRef
    fingerprint: str
    rows: int = 1
    started: datetime | None = None
    run_id: str | None = None


class ItemStore(Reader, Protocol):
    """A reader of a store that holds items too: those whose kinds are in `capabilities.items`.

    Items have no sidecar: whoever claims a kind keeps every column of its tables, but those in
    `schema.LOCAL`. A sink of such a store takes the rows of items in any chunk; the row of an
    item in its own table comes first, and replaces the item of that id with all its parts.
    """

    def list_items(
        self, kind: str, query: Query, ids: Collection[str] | None = None
    ) -> Iterator[ItemInfo]:
        """Every item of a kind that the query means, or those of the ids among them, once.

        A query for runs means the items that were made in these runs; one that leaves out what is
        deleted leaves out the items of deleted projects.
        """
        ...

    def read_items(self, refs: Sequence[ItemRef]) -> Iterator[Batch]:
        """The rows of exactly these items, of one kind: its own table first, files last.

        Repeatable, in bounded memory; an item that is not there has no rows.
        """
        ...

    def not_read(self, query: Query) -> Mapping[str, int]:
        """What is in the store that no table of the run model has, by name: how many."""
        ...


@runtime_checkable
class Growing(Reader, Protocol):
    """A reader of a store in which runs grow while they go on, and that tells what came since."""

    def read_added(
        self, ref: RunRef, position: str, *, whole_rows: bool = False
    ) -> tuple[list[Batch], str]:
        """What was added to a run since a position, and the position after it; '' is the beginning.

        Rows of `metrics` and `series` are those that were added, a part of them at a time where
        there are many; their `row` counts from the run's first one on. With `whole_rows`, a row to
        which more may come waits until it is whole. Of other tables that have changed, all rows
        are given. A position means the same in any process.
        """
        ...


@runtime_checkable
class Extending(Writer, Protocol):
    """A writer of a store that shows runs while they go on."""

    def extend(self, keys: Sequence[RunKey]) -> Sink:
        """Begin to add to these runs what was logged since; those that are not there begin now.

        What is written adds to what is there: points and rows (by their number) that are there
        already count once, so it may be written again after a failure. Rows of other tables
        replace those of the same key, and take none away; files replace those of the same path.
        Such a run is in the list with its key, as one that is running whatever its row in `runs`
        says, and has no sidecar: one that it had is gone. `open` writes it whole in the end: it
        goes on with what is there where that is part of the run.

        A writer is kept from round to round, so it may remember what is there; after an error it
        is not asked again. Runs that have ended are written by another writer at the same time,
        whatever `parallel_writers` says. Raises `IntegrityError` if a run is there that has
        another key, or if what is given does not follow what is there: the run is then left alone
        until it has ended, as after `UnsupportedError`. After any other error the round is
        repeated.
        """
        ...


@runtime_checkable
class Alerting(Protocol):
    """A writer of a store that tells people when something is up with a run."""

    def alert(self, key: RunKey, title: str, text: str, level: str) -> None:
        """Raise an alert of a run; `level` is INFO, WARN or ERROR, anything else means INFO.

        Raises `NotFoundError` where the run is not there, or not yet.
        """
        ...


class Twin(NamedTuple):
    """Where a run is that is in several stores, in the words of the people who look for it there.

    `store` is an address without secrets, `url` a page that shows the run, if there is one.
    """

    store: str
    project: str
    run_id: str
    url: str | None = None


@runtime_checkable
class Linking(Protocol):
    """A writer of a store in which a run can name the same run in other stores, for people."""

    def place(self, key: RunKey) -> Twin:
        """Where the run is in this store; `NotFoundError` where it is not there, or not yet.

        Its id is the one that people see, which may be another one than in `target`.
        """
        ...

    def link(self, key: RunKey, twins: Sequence[Twin]) -> None:
        """Have the run name these, instead of those that it named before.

        What it names is no part of the run: it is read back by nobody, and neither changes the
        run's fingerprint nor what `open` and `extend` find; where they can, they leave it there.
        Nothing is said of a run that has another key. Raises `NotFoundError` like `place`.
        """
        ...


@runtime_checkable
class Mirroring(Protocol):
    """An adapter whose tracker has a library that can be mirrored (`trackbridge.mirror`)."""

    def mirror(self, mirror: Mirror) -> None:
        """Have what a program logs with the library written into journals too, from now on.

        What the library does, returns and raises stays as it is, whatever fails here; threads,
        forks and several runs at once are looked after. The library is imported, if it is not yet,
        only when the program does. A second call changes nothing.
        """
        ...
