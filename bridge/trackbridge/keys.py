"""Which keys and steps an analyst means: names, patterns, ranges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.errors import ConfigError
from trackbridge.optional import Excerpt
from trackbridge.schema import TEXT

Keys = str | Iterable[str] | None
Steps = int | range | Sequence[int | None] | None
"""One step, `range(100)`, or the first and the last one, where None means no end."""
SPECIAL = frozenset("*?[")
"""What a pattern has in it; a key that has it too is meant by its own name as well."""


class Wanted:
    """Keys and steps that are meant."""

    def __init__(self, keys: Keys, steps: Steps) -> None:
        names = [keys] if isinstance(keys, str) else None if keys is None else [*keys]
        self._names = None if names is None else frozenset(names)
        self._patterns = [name for name in names or () if SPECIAL & {*name}]
        self._first, self._last = _ends(steps)

    @property
    def excerpt(self) -> Excerpt:
        """What a store is asked for: every key, where patterns tell which of them are meant."""
        return Excerpt(None if self._patterns else self._names, self._first, self._last)

    def of(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rows that are meant, of a table with keys and perhaps steps."""
        if self._names is not None:
            rows = rows.filter(self._with_keys(rows.column("key")))
        if "step" in rows.schema.names and (self._first, self._last) != (None, None):
            rows = rows.filter(self._within(rows.column("step")))
        return rows

    def _with_keys(self, column: pa.Array) -> pa.Array:
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        there = {name for name in coded.dictionary.to_pylist() if self._means(name)}
        return pc.is_in(column.cast(TEXT), pa.array(sorted(there), TEXT))

    def _means(self, key: str) -> bool:
        return key in (self._names or ()) or any(fnmatchcase(key, p) for p in self._patterns)

    def _within(self, step: pa.Array) -> pa.Array:
        first, last = self._first, self._last
        kept = pa.repeat(True, len(step)) if first is None else pc.greater_equal(step, first)
        if last is not None:
            kept = pc.and_(kept, pc.less_equal(step, last))
        return pc.fill_null(kept, first is None)


def _ends(steps: Steps) -> tuple[int | None, int | None]:
    """The first and the last step, as a store can have them."""
    if steps is None:
        return None, None
    if isinstance(steps, range) and steps.step == 1:
        return steps.start, steps.stop - 1
    ends = tuple(steps) if isinstance(steps, Sequence) else (steps, steps)
    whole = all(end is None or _is_step(end) for end in ends)
    if isinstance(steps, range) or len(ends) != 2 or not whole:
        raise ConfigError(
            f"steps={steps!r}: give one step, the first and the last one, or range(first, end)"
        )
    first, last = (None if end is None else int(end) for end in ends)
    return first, last


def _is_step(end: object) -> bool:
    return isinstance(end, (int, np.integer)) and -(2**63) <= int(end) < 2**63
