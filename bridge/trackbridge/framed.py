"""Frames as sources: written where an adapter of tables reads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import platformdirs

from trackbridge.disk import system_errors
from trackbridge.errors import ConfigError
from trackbridge.optional import Tabular
from trackbridge.registry import load

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TYPED = "jsonl"
"""The format that tells texts, numbers and truth values apart."""


class ArrowStream(Protocol):
    """Anything that gives its columns to Arrow: frames of polars and DuckDB, tables of Arrow."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


def from_frame(
    frame: pd.DataFrame | pa.Table | ArrowStream, name: str, folder: str | Path | None = None
) -> str:
    """The address of a table that holds a frame, for `migrate`, `verify` and all others.

    Written is a file of that name, in the folder or in one of this user's; a later call replaces
    it, so that changed runs are brought up to date. Workers on other machines need a folder that
    they see. The name is that of the project of runs of which no column names one. Missing values
    (NaN of pandas too) are no points; NaN of Arrow is a value.
    """
    if not name or Path(name).name != name or name.startswith("."):
        raise ConfigError(f"from_frame: {name!r} is no name of a file; call it like 'sweep'")
    root = Path(folder) if folder is not None else platformdirs.user_data_path("trackbridge")
    place = (root if folder is not None else root / "frames") / f"{name}.{TYPED}"
    made = place.with_name(f".{place.name}")
    adapter = load(TYPED)
    assert isinstance(adapter, Tabular)
    with system_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            adapter.write_table(_table(frame), made)
            made.replace(place)
        finally:
            made.unlink(missing_ok=True)
    return f"{TYPED}:{place}"


def _table(frame: pd.DataFrame | pa.Table | ArrowStream) -> pa.Table:
    import pandas as pd
    import pyarrow as pa

    try:
        if isinstance(frame, pd.DataFrame):
            if any(name is not None for name in frame.index.names):
                frame = frame.reset_index()
            numbered = frame.index.equals(pd.RangeIndex(len(frame)))
            return pa.Table.from_pandas(frame, preserve_index=not numbered)
        return pa.table(frame)
    except (pa.ArrowException, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"from_frame: not a table that Arrow takes: {reason}") from error
