"""Rows of a table file as columns, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import pyarrow as pa

Words = Literal["cells", "texts", "json"]
"""What texts of a column are: cells that may say anything, texts and nothing else, or JSON."""


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
    typed: bool = False
    """The format tells texts from numbers: a text that looks like one is none."""
    problems: list[Problem] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return sum(int(column.nbytes) for column in self.columns.values())

    def words(self, name: str) -> Words:
        """What the texts of a column are."""
        return "json" if name in self.tokens else "texts" if self.typed else "cells"


def leaves(values: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested objects, under their names joined by dots; empty ones are values."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
