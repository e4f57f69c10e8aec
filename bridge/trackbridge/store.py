"""A store as an analyst sees it: runs, points, params and files as pandas frames."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from functools import partial
from typing import BinaryIO, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge import dataframes
from trackbridge.adapter import Batch, Reader
from trackbridge.differences import OF_TWO_RUNS, between_stores, of_two_runs
from trackbridge.errors import BridgeError, ConfigError
from trackbridge.keys import Keys, Steps, Wanted
from trackbridge.meant import Meant, Name, Names, Selection
from trackbridge.registry import open_reader
from trackbridge.retry import persist
from trackbridge.schema import LOCAL, SHARED, TABLES
from trackbridge.sidecar import Overlay
from trackbridge.wide import curves, run_index, settings

SHOWN_PROJECTS = 5
"""Projects that a store's `repr` names."""


def open(  # noqa: A001 - named as `gzip.open` is
    address: str, *, dtype_backend: Literal["pyarrow"] | None = None, **options: object
) -> Store:
    """The store at an address, as the command line takes it: a path, or `archive:s3://bucket/out`.

    No run is read yet. With `dtype_backend="pyarrow"` frames have Arrow's types (as in
    `pandas.read_parquet`); without, texts are `string`, whole numbers `Int64`, truth values
    `boolean`, times `datetime64[us, UTC]`, and numbers with a fraction `float64`. Options are the
    adapter's own, such as `max_rps=2` for a server.
    """
    if dtype_backend not in (None, "pyarrow"):
        raise ConfigError(f"dtype_backend={dtype_backend!r}: there is 'pyarrow', or leave it out")
    given = {name: str(value) for name, value in options.items()}
    reader = persist(lambda: open_reader(address, given))
    return Store(reader, Selection(), arrow_types=dtype_backend is not None)


class Store:
    """Runs of a store. Each method reads anew, and no more than it is asked for.

    Runs are as they were where they were born, whatever store holds them now: with the project
    and id of their origin, and with what a sidecar keeps of them. Get one with `trackbridge.open`.
    """

    def __init__(self, reader: Reader, selection: Selection, *, arrow_types: bool) -> None:
        self._reader = reader
        self._selection = selection
        self._arrow_types = arrow_types

    @property
    def address(self) -> str:
        """The store's address, without secrets."""
        return self._reader.address

    def select(
        self,
        runs: Names = None,
        *,
        where: str | None = None,
        project: str | Collection[str] | None = None,
        since: str | datetime | None = None,
        include_deleted: bool | None = None,
    ) -> Store:
        """The same store with fewer runs: those of which all holds that is said here and before.

        `runs` are ids, `project/id` where ids repeat, or a frame of runs; `where` is an expression
        as the command line takes it: `"metrics.loss < 0.1 and params.model = 'cnn'"`.
        """
        narrowed = self._selection.narrowed(runs, where, project, since, include_deleted)
        return Store(self._reader, narrowed, arrow_types=self._arrow_types)

    def runs(
        self,
        where: str | None = None,
        *,
        project: str | Collection[str] | None = None,
        since: str | datetime | None = None,
        include_deleted: bool | None = None,
        local: bool = False,
    ) -> pd.DataFrame:
        """A row per run, indexed by project and run id.

        With `local`, also what is true of this store alone: `source`, where the run lies, and
        `local_project` and `local_run_id`, what it is called there.
        """
        chosen = self.select(
            where=where, project=project, since=since, include_deleted=include_deleted
        )
        meant = chosen._meant()
        rows = chosen._read("runs", meant)
        labels = dataframes.refs_at(rows, range(rows.num_rows))
        rows = rows.drop_columns(["project", "run_id"])
        if local:
            for part, name in enumerate(("local_project", "local_run_id")):
                called = [meant.here[label][part] for label in labels]
                rows = rows.append_column(name, pa.array(called, pa.string()))
        else:
            rows = rows.drop_columns([column for table, column in LOCAL if table == "runs"])
        return self._indexed(rows, run_index(labels))

    def metrics(
        self,
        keys: Keys = None,
        runs: Names = None,
        steps: Steps = None,
        *,
        wide: bool = False,
        system: bool = False,
    ) -> pd.DataFrame:
        """A row per point; or, with `wide`, a row per run and step, with a column per key.

        Keys may be patterns (`"val/*"`); steps are a range with both ends, such as `(0, 99)`,
        `(100, None)` or `range(100)`. In the wide form, the latest point of a key counts where the
        key repeats a step. With `system`, what the tracker measured instead of what was logged.
        """
        meant = self.select(runs)._meant()
        rows = self._points(meant, keys, steps, system=system).drop_columns(["system"])
        return self._curves(rows) if wide else self._named(rows, meant)

    def params(self, keys: Keys = None, runs: Names = None, *, wide: bool = False) -> pd.DataFrame:
        """A row per param, its value a text; or, with `wide`, a row per run with typed columns."""
        return self._settings("params", keys, runs, is_wide=wide)

    def summary(self, keys: Keys = None, runs: Names = None, *, wide: bool = False) -> pd.DataFrame:
        """The final values that runs have set, in the forms of `params`."""
        return self._settings("summary", keys, runs, is_wide=wide)

    def tags(self, keys: Keys = None, runs: Names = None, *, wide: bool = False) -> pd.DataFrame:
        """Tags, in the forms of `params`; in the wide one, a bare label is true where it is."""
        return self._settings("tags", keys, runs, is_wide=wide)

    def series(self, keys: Keys = None, runs: Names = None, steps: Steps = None) -> pd.DataFrame:
        """A row per point that is no plain number: text, histogram, image, table."""
        meant = self.select(runs)._meant()
        return self._named(self._read("series", meant, keys, steps), meant)

    def files(self, runs: Names = None, *, hashes: bool = False) -> pd.DataFrame:
        """A row per file of runs and artifacts; `open` gives its bytes.

        With `hashes` each file is read, for its size and digest.
        """
        meant = self.select(runs)._meant()
        return self._named(self._read("files", meant, hashes=hashes), meant)

    def table(self, name: str, runs: Names = None) -> pd.DataFrame:
        """Any table of the run model: `logs`, `artifacts`, `inputs`, `metric_defs`, `alerts`."""
        _check_table(name)
        meant = self.select(runs)._meant()
        return self._named(self._read(name, meant), meant)

    def arrow(
        self, table: str, keys: Keys = None, runs: Names = None, steps: Steps = None
    ) -> pa.RecordBatchReader:
        """The rows of a table of the run model as they come, in bounded memory and in no order.

        `.arrow("params").read_all()` is a `pyarrow.Table`; DuckDB and Polars take the reader.
        """
        _check_table(table)
        batches = _batches(table, self.select(runs)._meant(), keys, steps)
        return pa.RecordBatchReader.from_batches(TABLES[table], (batch.data for batch in batches))

    def open(self, run: Name, path: str, owner: str = "") -> BinaryIO:
        """The bytes of a file of a run, by `path` and `owner` as in `files`."""
        info = self.select([run])._meant().only()
        return persist(lambda: Overlay(self._reader, [info]).open_file(info.key.born, owner, path))

    def compare(
        self, run: Name, other: Name, tables: Collection[str] = OF_TWO_RUNS
    ) -> pd.DataFrame:
        """What differs between two runs of this store: params, tags, final values, points by step.

        Columns as those of `trackbridge.compare`; when points were logged does not count.
        """
        if strange := {*tables} - {*OF_TWO_RUNS}:
            there = ", ".join(OF_TWO_RUNS)
            raise ConfigError(f"tables: two runs are not compared by {min(strange)!r}, but {there}")
        called, frames = [], {}
        for name in (run, other):
            meant = self.select([name])._meant()
            called.append("/".join(meant.labels[meant.only().ref]))
        for table in tables:
            read = self.metrics if table == "metrics" else partial(self._settings, table)
            frames[table] = read(runs=[run]), read(runs=[other])
        return of_two_runs(" -> ".join(called), frames)

    def __repr__(self) -> str:
        """Lists the runs: this is what a notebook shows of the store."""
        try:
            told = self._meant().told(SHOWN_PROJECTS)
        except BridgeError as error:
            told = str(error)
        return f"Store({self.address!r}: {told})"

    def _meant(self) -> Meant:
        return persist(lambda: Meant.of(self._reader, self._selection))

    def _read(
        self,
        table: str,
        meant: Meant,
        keys: Keys = None,
        steps: Steps = None,
        *,
        hashes: bool = False,
    ) -> pa.Table:
        """Rows of a table, in order."""
        found = persist(lambda: list(_batches(table, meant, keys, steps, hashes=hashes)))
        return dataframes.ordered(dataframes.gathered(found, table), table)

    def _points(self, meant: Meant, keys: Keys, steps: Steps, *, system: bool) -> pa.Table:
        """The run's own points, or those of the tracker."""

        def chosen() -> Iterator[Batch]:
            for batch in _batches("metrics", meant, keys, steps):
                measured = batch.data.column("system").fill_null(False)
                own = pc.equal(measured, system)
                yield Batch("metrics", batch.data.filter(own))

        found = persist(lambda: list(chosen()))
        return dataframes.ordered(dataframes.gathered(found, "metrics"), "metrics")

    def _settings(
        self, table: str, keys: Keys = None, runs: Names = None, *, is_wide: bool = False
    ) -> pd.DataFrame:
        meant = self.select(runs)._meant()
        rows = self._read(table, meant, keys)
        if not is_wide:
            return self._named(rows, meant)
        return self._indexed(settings(rows, meant.refs), run_index(meant.refs))

    def _curves(self, rows: pa.Table) -> pd.DataFrame:
        return self._indexed(*curves(rows))

    def _indexed(self, rows: pa.Table, index: pd.MultiIndex) -> pd.DataFrame:
        frame = self._frame(rows)
        frame.index = index
        return frame

    def _named(self, rows: pa.Table, meant: Meant) -> pd.DataFrame:
        return self._frame(dataframes.named(rows, meant.names))

    def _frame(self, rows: pa.Table) -> pd.DataFrame:
        return dataframes.frame(rows, arrow=self._arrow_types)


def compare(
    left: Store | str, right: Store | str, *, tables: Collection[str] | None = None
) -> pd.DataFrame:
    """What differs between two stores: a row per value, none where all is equal.

    Columns are `run`, `table`, `key`, `step`, what each side has (`left`, `right`) and `what`: the
    column that differs, or which side alone has the row. Runs belong together by their key or,
    where none was written, by project and id. `left` may be narrowed by `select`; where it is not,
    runs that `right` has besides are named too. Values are compared as runs were born; that a
    store also shows them natively is for `trackbridge.verify` to prove.
    """
    here, there = (open(one) if isinstance(one, str) else one for one in (left, right))
    meant = here._meant()
    others = there.select(include_deleted=True)._meant()
    whole = here._selection.narrowed(include_deleted=False) == Selection()
    known = here.select(include_deleted=True)._meant().infos if whole else None
    return between_stores(meant, others, known, tables)


def _check_table(name: str) -> None:
    of_runs = sorted(set(TABLES) - SHARED)
    if name not in of_runs:
        raise ConfigError(f"{name!r}: no table of runs; there are {', '.join(of_runs)}")


def _batches(
    table: str, meant: Meant, keys: Keys, steps: Steps, *, hashes: bool = False
) -> Iterator[Batch]:
    """The rows of a table that are meant, under the labels of their runs."""
    wanted = Wanted(keys, steps)
    if table == "metrics":
        found = meant.read_points(wanted.excerpt)
    else:
        found = meant.read([table], hashes=hashes)
    for batch in found:
        data = wanted.of(batch.data)
        if data.num_rows:
            yield Batch(table, data)
