"""What an adapter is: the one file that its author has to read.

An adapter makes one kind of store readable (`Reader`) and, where it can, writable (`Writer`),
in the terms of the run model (`trackbridge.schema`). It says what its store can hold
(`Capabilities`); everything else is done for it: values that the store cannot hold are fitted,
kept in a sidecar file beside the run and put back on reading, writes are read back and proven,
steps are retried. So an adapter reads and writes exactly what is natively there, nothing more.

`trackbridge_adapters.memory` is the smallest complete adapter and the example to copy;
`trackbridge.testing.AdapterContract` is the test suite that every adapter has to pass.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, runtime_checkable
from urllib.parse import quote, unquote

from trackbridge.errors import IntegrityError

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from trackbridge.dual.mirroring import Mirror
    from trackbridge.losses import Loss

Row = dict[str, Any]
"""One row of a table as column -> value; an absent column means null."""

ORIGIN = "trackbridge"
"""Name of the folder, and prefix (`trackbridge.`) of the tags, that Trackbridge writes to.

An adapter never reports what Trackbridge wrote there as the run's own: the tag (or the like) in
which it keeps the key, which it gives in `RunInfo.key`, and, of runs that have one, the file
`SIDECAR`, which it opens by name. Whatever else is called like that is the run's.
"""
SIDECAR = f"{ORIGIN}/sidecar.zip"
"""Where the core keeps what the store cannot hold of a run."""
SHARED_FILE = f"{ORIGIN}/shared.json"
"""The same for what belongs to no run."""


class RunRef(NamedTuple):
    """A run in the store's own terms: the labels in the `project` and `run_id` columns."""

    project: str
    run_id: str


STORE = RunRef("", "")
"""Stands in a `FileRef` for the store itself: files that belong to no run (nor to an item)."""


class FileRef(NamedTuple):
    """A file in the terms of the `files` table; `path` has forward slashes and stays inside."""

    run: RunRef
    owner: str
    path: str


class ItemRef(NamedTuple):
    """An item in the store's own terms: something that belongs to a project, not to a run.

    `kind` is one of `schema.ITEMS`; ids are unique within a kind and kept by every store.
    """

    kind: str
    project: str
    id: str

    def __str__(self) -> str:
        return "/".join(quote(part, safe="") for part in self)

    def file(self, path: str) -> FileRef:
        """One of its files, as `open_file` and `put_file` take it."""
        return FileRef(RunRef(self.project, ""), f"{self.kind}:{self.id}", path)

    @classmethod
    def of(cls, file: FileRef) -> ItemRef | None:
        """The item that a file belongs to, if it is one of an item."""
        kind, _, name = file.owner.partition(":")
        return None if file.run.run_id or not name else cls(kind, file.run.project, name)


@lru_cache(maxsize=1 << 14)
def _quoted(part: str) -> str:
    return quote(part, safe="")


class RunKey(NamedTuple):
    """Where a run was born: its identity through any number of stores.

    `instance` tells stores apart whose run ids may collide; it is empty where ids are unique. It
    has to be written in the store and must not change when the store is moved or copied, so it is
    no path: with an empty one, a run of the same project and id from another store of the kind is
    taken for the same run.
    """

    kind: str
    instance: str
    project: str
    run_id: str

    def __str__(self) -> str:
        return "/".join(map(_quoted, self))

    @property
    def label(self) -> str:
        """What the run's project is to be called: as where it was born, unless told otherwise."""
        return self.project

    @property
    def born(self) -> RunRef:
        """Project and id that the run was born with, by which batches of it are labelled."""
        return RunRef(self.project, self.run_id)

    def placed(self, label: str) -> RunKey:
        """The same key, equal to this one, of a run whose project is to be called otherwise."""
        if label == self.project:
            return RunKey(*self)
        placed = _PlacedKey(*self)
        placed._label = label
        return placed

    @classmethod
    def parse(cls, text: str) -> RunKey:
        """The inverse of `str(key)`; raises `IntegrityError` for anything else."""
        parts = text.split("/")
        if len(parts) != 4:
            raise IntegrityError(f"not a run key: {text!r}")
        return cls(*(unquote(part, errors="strict") for part in parts))


class _PlacedKey(RunKey):
    """A key with a label of its own, which is no part of the run's identity."""

    _label = ""

    @property
    def label(self) -> str:
        return self._label or self.project


@dataclass(frozen=True)
class RunInfo:
    """What a listing says of a run, cheaply.

    `fingerprint` changes whenever anything of the run changes (sizes, times and counts will do);
    `points` counts the rows of `metrics` and `series`, `size` the bytes of its files.
    """

    ref: RunRef
    key: RunKey
    fingerprint: str
    name: str | None = None
    status: str | None = None
    started: datetime | None = None
    points: int = 0
    files: int = 0
    size: int = 0
    carried: bool = False
    """The key was written by Trackbridge: the run was brought here and may have a sidecar."""
    estimated: bool = False
    """`points` is a guess, since counting would take reading them."""
    deleted: bool = False
    """Marked as deleted, itself or the project that it is in: `include_deleted` lists it."""
    native_id: str | None = None
    """The id that the store's own pages show, where that is another than `ref` has."""

    @property
    def ids(self) -> frozenset[str]:
        """All that people may name it by: its id in the store, there and where it was born."""
        return frozenset(filter(None, (self.ref.run_id, self.key.run_id, self.native_id)))


class Twin(NamedTuple):
    """Where a run is that is in several stores, in the words of the people who look for it there.

    `store` is an address without secrets, `url` a page that shows the run, if there is one.
    """

    store: str
    project: str
    run_id: str
    url: str | None = None


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


@dataclass(frozen=True)
class Query:
    """Which runs are meant: all of the given conditions hold. Empty means every run.

    `projects` and `run_ids` are in the store's own terms; `since` compares with the start. Without
    `include_deleted`, neither runs nor projects are meant that are marked as deleted.
    """

    projects: Collection[str] = ()
    run_ids: Collection[str] = ()
    since: datetime | None = None
    include_deleted: bool = True


@dataclass(frozen=True)
class Batch:
    """Rows of one table; `data` has exactly the schema `EVERY_TABLE[table]`, at most 64k rows."""

    table: str
    data: pa.RecordBatch


@dataclass(frozen=True)
class Names:
    """What a store accepts as a name: at most `length` characters, each matching `alphabet`.

    `alphabet` is the inside of a regular expression's character class, e.g. `\\w.`; empty
    means any character.
    """

    length: int | None = None
    alphabet: str = ""
    reserved: tuple[str, ...] = ()
    """What no name may begin with, since it means something else to the store."""
    folded: bool = False
    """Names of a run that differ in nothing but case, accents or the like are one to the store."""
    paths: bool = False
    """Names are those of files, with folders before slashes: no part is empty, begins with a dot or
    has more than 255 bytes, and no name is a folder of another one, in whatever case."""
    before_system: int = 0
    """Characters that stand before the names of system metrics in the store, and count."""
    shortest: bool = False
    """Names are paths in their shortest form: relative, without `.`, `..` and empty parts."""


@dataclass(frozen=True)
class Capabilities:
    """What a store can hold natively, as plain data. It claims nothing by default.

    A table or column that is not in `holds` is kept in the sidecar and reads natively as null
    (or as its `schema.DEFAULTS`). A store that can be written holds `runs`, and puts files even
    where it has no table of them: the sidecar is one. If it holds `files`, it claims `owner`,
    `path`, `size` and `sha256` of it; what it does not know of them (null) is found out by reading
    the bytes. Columns in `schema.LOCAL` are claimed like others, but never compared.
    """

    holds: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Columns held natively, by table; `project` and `run_id` go without saying."""
    time_unit_us: int = 1
    """Resolution of the times of metrics, in microseconds; finer times are rounded down."""
    nan: bool = False
    """NaN is kept; where it is not, the point is in the sidecar alone."""
    largest: float | None = 0.0
    """+Inf and -Inf become plus and minus this value; None: they are kept as they are."""
    signed_zero: bool = False
    """-0.0 stays; where it does not, it is shown as 0.0."""
    times: tuple[int, int] | None = None
    """Earliest and latest time of a point, in microseconds; others are shown as the nearest one."""
    gaps: bool = False
    """Points without a step or a time stay without; where not, they are given 0."""
    repeated_points: bool = False
    """Several points of a run may be equal in every column that is held."""
    rows: bool = False
    """The store holds log calls: ascending steps, and each key once in a step.

    Its metrics are written run by run, whole, with `row` and a common `time` in each step.
    """
    names: Mapping[str, Names] = field(default_factory=dict)
    """Limits of the `key` column, by table."""
    lengths: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Most characters of texts, by table and column; longer ones are cut, visibly.

    In a column that holds a JSON object, `column.name` means the text of that name, and
    `column.*` every other text.
    """
    nul: bool = False
    """Texts may have NUL in them; where not, it is shown as U+2400."""
    console: str = ""
    """File of a run in which the store's users look for console output, where it holds no `logs`.

    A run that has no such file gets one, with what a terminal would show.
    """
    parallel_writers: bool = False
    """Several sinks may be open at once, also from other processes."""
    items: Collection[str] = ()
    """Kinds of items (`schema.ITEMS`) that the store holds, whole: it is an `ItemStore` then."""
    parallel_files: bool = False
    """`open_file` of one reader, and `put_file` of one sink, may be called from several threads at
    once, each file in one thread from beginning to end."""
    files_at_hand: bool = True
    """`open_file` costs little until bytes are read: a forecast looks whether they are there."""

    @classmethod
    def everything(cls, **changes: Any) -> Capabilities:
        """A store that holds the whole run model as it is."""
        from trackbridge.schema import TABLES

        values: dict[str, Any] = {
            "holds": {name: tuple(schema.names) for name, schema in TABLES.items()},
            "nan": True,
            "largest": None,
            "signed_zero": True,
            "nul": True,
            "gaps": True,
            "repeated_points": True,
        }
        return cls(**{**values, **changes})


@dataclass
class Presentation:
    """How one run is shown in a store: the result of `Writer.present`.

    `files` maps (owner, path) of the run to (owner, path) in the store, where they differ;
    `contents` are small files by (owner, path), made from the tables, that only the store's users
    need; their rows of `files` are added by the core. `keys` maps (table, key) of a row that is
    shown under another key to that key, so that what users do to it there is understood.
    `losses` count what is not shown, or shown as something else, by the presentation itself: that
    columns and tables are not held is counted by the core.
    """

    tables: dict[str, list[Row]]
    files: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    contents: dict[tuple[str, str], bytes] = field(default_factory=dict)
    keys: dict[tuple[str, str], str] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)


class Reader(Protocol):
    """A store that can be read. It is never altered, not even its metadata files.

    Native errors become `trackbridge.errors` here, at the adapter's edge. Damaged data is no
    error: what is readable is given, and `runs.extra` has a JSON list of strings `damage`, each
    naming file, offset or line, and reason, even where the store holds no `extra`. What a project
    has that the adapter does not read is counted in its `extra`, as `{"not_read": {"traces": 3}}`.
    Readers are cheap to make and used by one thread at a
    time, which is not always the same one (but see `Capabilities.parallel_files`).
    """

    address: str
    """The store's address, without secrets, as `registry.open_reader` takes it."""
    capabilities: Capabilities

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        """Every run that the query means, once, in a stable order; reads no points."""
        ...

    def read_runs(
        self, refs: Sequence[RunRef], tables: Collection[str] | None = None
    ) -> Iterator[Batch]:
        """The rows of exactly these runs, from every per-run table or just the named ones.

        Repeatable, in bounded memory, tables in any order; each run has one row in `runs`.
        Raises `NotFoundError` for a run that is not there.
        """
        ...

    def read_shared(self, query: Query) -> Iterator[Batch]:
        """The rows of the tables in `schema.SHARED`, of the projects that the query means."""
        ...

    def open_file(self, file: FileRef) -> BinaryIO:
        """The bytes of a file that `files` names, or of a sidecar (see `ORIGIN`; owner '').

        Files of the store itself (run `STORE`) are asked for by the names they were put under.
        Raises `NotFoundError` where the bytes are missing.
        """
        ...


class Part(NamedTuple):
    """Some of the points of a run: those of the keys whose steps are in a range.

    `keys` None means every key, `first` or `last` None that the range has no such end; both ends
    are inclusive. Points without a step belong to parts whose range has no `first`.
    """

    keys: frozenset[str] | None = None
    first: int | None = None
    last: int | None = None


@runtime_checkable
class Selecting(Reader, Protocol):
    """A reader that finds some of the points of runs without going through all others."""

    def read_points(self, refs: Sequence[RunRef], part: Part) -> Iterator[Batch]:
        """The rows of `metrics` of these runs that are in the part; rules as for `read_runs`."""
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
        """The rows of `metrics` of a run that are in a piece; rules as for `read_runs`."""
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


class Sink(Protocol):
    """A chunk of runs being written. Leaving the context without `commit` undoes everything."""

    def __enter__(self) -> Sink: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def write(self, batch: Batch) -> None:
        """Add rows, labelled with the store's own `RunRef`s, in any order of tables.

        Only columns in `capabilities.holds` have to be kept. Rows of `SHARED` tables replace
        those of the same name; of items see `ItemStore`. May raise `DuplicatePointsError` here or
        in `commit`.
        """
        ...

    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        """Store the bytes of a file of one of the runs, or of the `STORE`; streamed."""
        ...

    def commit(self) -> Mapping[RunKey, RunRef]:
        """Make the runs complete, all or none of them: the only act that does."""
        ...


class Writer(Reader, Protocol):
    """A store that can be written, and read: what was written must be read back to be proven."""

    @property
    def advice(self) -> str:
        """One line that a person should know once runs were written: the next step, or a trap.

        Empty where there is nothing to say.
        """
        ...

    def target(self, key: RunKey) -> RunRef:
        """Where a run of that origin lies in this store. Pure; distinct keys stay distinct.

        Its project is called `key.label`, as far as the store can have such a name; everything
        else depends on nothing but the key itself. The same id occurs in many projects, and many an
        id differs from another in nothing but case or signs: if a store names folders after runs,
        these have to stay apart too.
        """
        ...

    def present(self, key: RunKey, tables: Mapping[str, list[Row]]) -> Presentation:
        """What the store's users shall see of a run, as rows that the store can hold. Pure.

        Given is everything of the run but `logs`, and of `metrics` only the key and value of the
        last point of each; returned are the same tables as they will read natively, but of
        `metrics` only points that are to be shown beside the run's own. Limits of `capabilities`
        are applied afterwards, so most adapters return `Presentation(dict(tables))`: rows of
        `metrics` that were given are no points to be added.
        """
        ...

    def open(self, keys: Sequence[RunKey]) -> Sink:
        """Begin a chunk with exactly these runs (none of them: shared tables only).

        Idempotent: what an earlier call left of these runs is replaced when this one commits.
        Raises `IntegrityError` if a run is there that has another key.
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


@runtime_checkable
class Tabular(Protocol):
    """An adapter that reads tables of any columns, and can be given one."""

    def write_table(self, table: pa.Table, path: Path) -> None:
        """Make a file of a table, as `Adapter.reader` takes it; `ConfigError` where that fails."""
        ...


class Adapter(Protocol):
    """A kind of store: what the entry point group `trackbridge.adapters` names.

    `name` is the scheme of its addresses (`name:location`). Importing the module that holds it
    must be cheap: client libraries are imported when a store is opened. `options` are the
    adapter's own, by name (the command line knows `artifact_root`, and gives `max_rps` and
    `columns` to adapters that have them in an attribute `options`); an unknown one is a
    `ConfigError`. An attribute `exports` that is true makes its stores targets of `export` too.
    Errors of the system (a full disk, missing rights) become `ConfigError` or `BridgeError` too,
    with the way out.
    """

    name: str

    def recognizes(self, location: str) -> bool:
        """Whether a path or URL without a scheme looks like such a store; reads a few KB."""
        ...

    def suggests(self, location: str) -> bool:
        """Whether a path where nothing is yet should become such a store, by its name alone."""
        ...

    def reader(self, location: str, options: Mapping[str, str]) -> Reader:
        """Open for reading; `NotFoundError` or `ConfigError` where that cannot work."""
        ...

    def writer(self, location: str, options: Mapping[str, str]) -> Writer:
        """Open for writing; nothing is created before the first `Writer.open`.

        `UnsupportedError` where the store cannot be written.
        """
        ...
