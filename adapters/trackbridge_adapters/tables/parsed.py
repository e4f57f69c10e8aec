"""Rows of a table file as columns, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa


class Problem(NamedTuple):
    """What could not be read: in which line, and why; the text of the row, if it was left out."""

    line: int
    what: str
    text: str | None = None


@dataclass
class Parsed:
    """A block of rows.

    Columns are dictionaries of texts (labels), int64, float64, bool, or string: the text of cells,
    but JSON for those in `tokens`.
    """

    rows: int
    columns: Mapping[str, pa.Array]
    tokens: frozenset[str] = frozenset()
    problems: list[Problem] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(int(column.nbytes) for column in self.columns.values())
