"""Rows of small tables that a store shows differently or not at all, and how they come back.

A row that the store shows in another form is kept together with the native row that stands for
it. On reading, that native row gives way to the original; what was changed in it since then is
changed in the original too, and if it is gone, so is the original.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, NamedTuple

from trackbridge.adapter import Row
from trackbridge.digest import compared, row_digest, row_identity
from trackbridge.schema import LOCAL

LABELS = ("project", "run_id")
LEARNED = ("size", "sha256")
"""Columns of `files` that a store may not know without reading the bytes."""
KEYED = frozenset({"params", "tags", "summary", "metric_defs"})
"""Tables whose rows are told apart by their key."""


class KeptRow(NamedTuple):
    """A row, and the native row that stands for it; None where the store shows nothing of it."""

    row: Row
    shown: Row | None


def keep(
    table: str,
    before: list[Row],
    after: list[Row],
    native_name: Callable[[str, Row], Hashable],
) -> tuple[list[KeptRow], set[str]]:
    """Rows to keep of a run's table, and identities of native rows that stand for none of them.

    `after` is what the store shows of `before`; `native_name` says under which name. Rows that are
    shown as they are, but under the name of a kept one, are kept too: else either could be taken
    for the other.
    """
    if _alike(table, before, after):  # almost always: hashing every row takes far longer
        return [], set()
    same = _equal_rows(table, before, after)
    others: dict[Hashable, list[Row]] = {}
    for row in after:
        if row_digest(table, row) not in same:
            others.setdefault(name(table, row), []).append(row)
    kept, equal = [], []
    for row in before:
        if row_digest(table, row) in same:
            equal.append(row)
            continue
        partners = others.get(native_name(table, row))
        kept.append(KeptRow(row, partners.pop(0) if partners else None))
    shared = {name(table, item.shown) for item in kept if item.shown is not None}
    kept += [KeptRow(row, row) for row in equal if name(table, row) in shared]
    rest = (row for rows in others.values() for row in rows)
    return kept, {row_identity(table, row) for row in rest}


def name(table: str, row: Row) -> Hashable:
    """What tells a row from others of its table and run, if its other values may change."""
    if table == "runs":
        return ()
    if table == "files":
        return row.get("owner") or "", row["path"]
    return row.get("key") if table in KEYED else row_identity(table, row)


class RowRestoration:
    """Puts kept rows of one run back over its native rows."""

    def __init__(self, kept: dict[str, list[KeptRow]], hide: dict[str, set[str]]) -> None:
        self._hide = hide
        self._alone = {t: [k.row for k in rows if k.shown is None] for t, rows in kept.items()}
        self._paired: dict[tuple[str, Hashable], list[KeptRow]] = {}
        for table, rows in kept.items():
            for item in rows:
                if item.shown is not None:
                    place = (table, name(table, item.shown))
                    self._paired.setdefault(place, []).append(item)

    def apply(self, table: str, rows: Iterable[Row]) -> Iterator[Row]:
        """The run's rows among native ones; each native row is given once in all calls."""
        for row in rows:
            waiting = self._paired.get((table, name(table, row)))
            if waiting:
                yield _merged(table, row, waiting)
            elif row_identity(table, row) not in self._hide.get(table, ()):
                yield row

    def rest(self, table: str) -> list[Row]:
        """Rows of which the store shows nothing."""
        return self._alone.get(table, [])


def _merged(table: str, native: Row, waiting: list[KeptRow]) -> Row:
    digest = row_digest(table, native)
    equal = (i for i, item in enumerate(waiting) if row_digest(table, item.shown or {}) == digest)
    original, shown = waiting.pop(next(equal, 0))
    changed = {
        column: value
        for column, value in native.items()
        if (table, column) in LOCAL
        or (
            value != (shown or {}).get(column)
            and not (table == "files" and column in LEARNED and value is None)
        )
    }
    if table == "runs" and "extra" in changed:
        changed["extra"] = _extra(original.get("extra"), native["extra"], shown or {})
    return {**original, **changed, **{label: native[label] for label in LABELS}}


def _extra(original: str | None, native: str | None, shown: Row) -> str | None:
    """The `extra` of a run with those of its fields that are others in the store by now."""
    found, before, fields = map(_fields, (native, shown.get("extra"), original))
    if native and not found:
        return native
    for name in before.keys() - found.keys():
        fields.pop(name, None)
    fields |= {name: v for name, v in found.items() if name not in before or before[name] != v}
    if fields == found:
        return native
    return json.dumps(fields, sort_keys=True, ensure_ascii=False) if fields else None


def _fields(extra: str | None) -> dict[str, Any]:
    try:
        fields = json.loads(extra or "{}")
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _alike(table: str, before: list[Row], after: list[Row]) -> bool:
    """Whether rows are equal one by one, so that their digests need not be taken."""
    names = compared(table)
    return len(before) == len(after) and all(
        one is other or (type(one) is type(other) is not float and one == other)
        for row, shown in zip(before, after)
        for one, other in zip(map(row.get, names), map(shown.get, names))
    )


def _equal_rows(table: str, before: list[Row], after: list[Row]) -> set[str]:
    """Digests of the rows that are in both as many times."""
    counts = Counter(row_digest(table, row) for row in before)
    others = Counter(row_digest(table, row) for row in after)
    return {digest for digest, count in counts.items() if others[digest] == count}
