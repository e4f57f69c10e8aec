"""What an adapter is: the one file that its author has to read.

An adapter makes one kind of store readable (`Reader`) and, where it can, writable (`Writer`),
in the terms of the run model (`trackbridge.schema`). It says what its store can hold
(`Capabilities`); everything else is done for it: values that the store cannot hold are fitted,
kept in a sidecar file beside the run and put back on reading, writes are read back and proven,
steps are retried. So an adapter reads and writes exactly what is natively there, nothing more.

What a store may be besides is in `trackbridge.optional`, which nobody needs to begin with.
`trackbridge_adapters.memory` is the smallest complete adapter and the example to copy;
`trackbridge.testing.AdapterContract` is the test suite that every adapter has to pass.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol
from urllib.parse import quote, unquote

from trackbridge.errors import IntegrityError

if TYPE_CHECKING:
    import pyarrow as pa

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
    """Kinds of items (`schema.ITEMS`) that the store holds, whole, as an `optional.ItemStore`."""
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
        those of the same name; of items see `optional.ItemStore`. May raise `DuplicatePointsError`
        here or in `commit`.
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
