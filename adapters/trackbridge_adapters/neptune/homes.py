"""The column that the value of an attribute of each type is in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.columns import codes
from trackbridge_adapters.neptune.parts import Group

VALUES = {
    "int": "int_value",
    "float": "float_value",
    "string": "string_value",
    "bool": "bool_value",
    "datetime": "datetime_value",
    "string_set": "string_set_value",
}
"""Types of single values, and the columns that they are in (README of neptune-exporter)."""
FILES = frozenset({"file", "file_set", "artifact", "file_series"})
METRICS = "float_series"
TEXTS = "string_series"
HISTOGRAMS = "histogram_series"
POINTS = frozenset({METRICS, TEXTS, HISTOGRAMS})
KNOWN = POINTS | FILES | VALUES.keys()
HOMES = {
    **VALUES,
    **dict.fromkeys(sorted(FILES), "file_value"),
    METRICS: "float_value",
    TEXTS: "string_value",
    HISTOGRAMS: "histogram_value",
}


class Astray(NamedTuple):
    """Rows of one type whose values are in another column, or in none that the file has."""

    kind: str
    column: str | None
    rows: npt.NDArray[np.bool_]


def columns(group: Group, kinds: Iterable[str]) -> list[str]:
    """Where values of some types are, or may be astray."""
    homes = [HOMES[kind] for kind in kinds if group.may_have({kind})]
    return list(
        dict.fromkeys([*homes, *(name for home in homes for name in group.elsewhere(home))])
    )


def is_suspect(group: Group, kind: str) -> bool:
    """Whether values of a type may be astray, by the statistics."""
    home = HOMES[kind]
    return group.may_have({kind}) and (home in group.absent or bool(group.elsewhere(home)))


def astray(data: pa.RecordBatch, group: Group) -> Iterator[Astray]:
    """What of a group is not where it should be.

    Rows without any value are none of these, where the file has their column: the exporter writes
    them for what other runs of a batch have.
    """
    suspects = [kind for kind in HOMES if is_suspect(group, kind)]
    for kind, rows in _of_kinds(data, group) if suspects else ():
        if kind not in suspects or not rows.any():
            continue
        home = HOMES[kind]
        rows &= ~_there(data, home)
        for name in group.elsewhere(home) if rows.any() else ():
            here = rows & _there(data, name)
            if here.any():
                yield Astray(kind, name, here)
                rows &= ~here
        if home in group.absent and rows.any():
            yield Astray(kind, None, rows)


def at_home(data: pa.RecordBatch, strays: Iterable[Astray]) -> pa.RecordBatch:
    """The rows that are not astray."""
    rows = [stray.rows for stray in strays]
    return data.filter(pa.array(~np.logical_or.reduce(rows))) if rows else data


def _of_kinds(
    data: pa.RecordBatch, group: Group
) -> Iterator[tuple[str | None, npt.NDArray[np.bool_]]]:
    """Which rows are of which type."""
    if group.type:
        yield group.type, np.ones(data.num_rows, bool)
        return
    types = data.column("attribute_type")
    code = codes(types)
    for number, kind in enumerate(types.dictionary.to_pylist()):
        yield kind, code == number


def _there(data: pa.RecordBatch, name: str) -> npt.NDArray[np.bool_]:
    """Which rows have something in a column."""
    column = data.column(name)
    if name == "file_value":
        column = pc.struct_field(column, "path")
    return np.array(column.is_valid(), bool)
