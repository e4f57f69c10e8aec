"""What differs between runs, as a frame: of two stores, or two runs of one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from trackbridge.adapter import Reader, Row, RunInfo, RunRef
from trackbridge.comparison import partners_of
from trackbridge.errors import BridgeError, ConfigError, TransientError
from trackbridge.filing import WHOLE
from trackbridge.meant import Meant
from trackbridge.plan import chunked
from trackbridge.proof import (
    brief,
    changed_columns,
    compare_digests,
    digest_chunk,
    rows_behind,
    unlike_rows,
)
from trackbridge.retry import persist
from trackbridge.schema import SHARED, TABLES
from trackbridge.unequal import Unlike

ONLY_LEFT, ONLY_RIGHT = "only left", "only right"
NAMES = ("key", "path", "name", "collection", "title", "line")
"""Columns that name a row; the first one that there is."""
OF_TWO_RUNS = ("params", "summary", "tags", "metrics")
"""What two runs are compared in; the rest is of one run alone."""


class Difference(NamedTuple):
    """A value that is not the same; `what` is the column that it is in, or which side has it."""

    run: str
    table: str
    key: str | None
    step: int | None
    left: Any
    right: Any
    what: str


def between_stores(
    left: Meant,
    right: Meant,
    known: Collection[RunInfo] | None,
    tables: Collection[str] | None,
) -> pd.DataFrame:
    """What differs between runs of two stores, of which those belong together that have one key.

    Runs on the right that are none of the `known` ones, where these are given, are named too.
    """
    there = sorted(set(TABLES) - SHARED)
    if strange := set(tables or ()) - set(there):
        raise ConfigError(f"tables: {min(strange)!r} is none; there are {', '.join(there)}")
    partners = partners_of(right.infos)
    pairs = {info: partners.get(info.key) or partners.get(info.ref) for info in left.infos}
    found: list[Difference] = []
    for info in (info for info, partner in pairs.items() if partner is None):
        found.append(_lone("/".join(left.labels[info.ref]), ONLY_LEFT))
    mirrored = partners_of(known or ())
    for info in right.infos if known is not None else ():
        if info.key not in mirrored and info.ref not in mirrored:
            found.append(_lone("/".join(right.labels[info.ref]), ONLY_RIGHT))
    for chunk in chunked(info for info, partner in pairs.items() if partner):
        both = [(info, partner) for info in chunk.runs if (partner := pairs[info])]
        found += _apart(left.reader, right.reader, both, left.labels, tables)
    return _frame(found)


def _lone(run: str, what: str) -> Difference:
    return Difference(run, "runs", None, None, None, None, what)


def _apart(
    left: Reader,
    right: Reader,
    pairs: Sequence[tuple[RunInfo, RunInfo]],
    labels: Mapping[RunRef, RunRef],
    tables: Collection[str] | None,
) -> list[Difference]:
    """What differs between pairs of runs; a run that cannot be read is a difference of its own."""
    try:
        return persist(lambda: [*_of_chunk(left, right, pairs, labels, tables)])
    except (ConfigError, TransientError):
        raise
    except BridgeError as error:
        if len(pairs) == 1:
            return [_lone("/".join(labels[pairs[0][0].ref]), str(error))]
    middle = len(pairs) // 2
    halves = (
        _apart(left, right, half, labels, tables) for half in (pairs[:middle], pairs[middle:])
    )
    return [difference for half in halves for difference in half]


def _of_chunk(
    left: Reader,
    right: Reader,
    pairs: Sequence[tuple[RunInfo, RunInfo]],
    labels: Mapping[RunRef, RunRef],
    tables: Collection[str] | None,
) -> Iterator[Difference]:
    """Digests say which tables and series are not the same; of these, rows are looked at."""
    here = digest_chunk(left, [info for info, _ in pairs], tables=tables).model
    there = digest_chunk(right, [info for _, info in pairs], tables=tables).model
    for one, other in pairs:
        unequal = compare_digests(here[one.key.born], there[other.key.born])
        for table in sorted({table for table, _ in unequal}):
            keys = {key for name, key in unequal if name == table}
            before = rows_behind(left, one, table, keys, WHOLE)
            after = rows_behind(right, other, table, keys, WHOLE)
            for unlike in unlike_rows(table, before, after):
                yield from _told("/".join(labels[one.ref]), table, unlike)


def _told(run: str, table: str, unlike: Unlike) -> Iterable[Difference]:
    before, after, repeats = unlike
    row = before or after or {}
    key = next((str(row[name]) for name in NAMES if row.get(name) is not None), None)
    place = run, table, key, row.get("step")
    if before is not None and after is not None:
        for column in changed_columns(table, before, after):
            yield Difference(*place, before[column], after.get(column), column)
    elif before is not None:
        yield Difference(*place, _value(before), None, "more often left" if repeats else ONLY_LEFT)
    else:
        what = "more often right" if repeats else ONLY_RIGHT
        yield Difference(*place, None, _value(row), what)


def _value(row: Row) -> Any:
    """What a row says: its value, or all of it."""
    return row["value"] if "value" in row else brief(row)


def of_two_runs(run: str, frames: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]) -> pd.DataFrame:
    """What differs between the long frames of two runs, by table.

    Points are compared step by step, those of one step in their order; when they were logged does
    not count.
    """
    parts = [_merged(run, table, *both) for table, both in frames.items()]
    return _typed(pd.concat([part.astype(object) for part in parts], ignore_index=True))


def _merged(run: str, table: str, left: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
    names = [name for name in ("key", "path", "step") if name in left.columns]
    sides = []
    for side in (left, right):
        repeats = side.groupby(names, dropna=False, observed=True, sort=False).cumcount()
        sides.append(side[[*names, "value"]].astype(object).assign(repeat=repeats))
    both = sides[0].merge(
        sides[1], on=[*names, "repeat"], how="outer", indicator=True, suffixes=("_l", "_r")
    )
    one, other = both["value_l"], both["value_r"]
    equal = (both["_merge"] == "both") & (
        (one == other).fillna(False) | (one.isna() & other.isna())
    )
    both = both[~equal.astype(bool)]
    sides_of = {"left_only": ONLY_LEFT, "right_only": ONLY_RIGHT, "both": "value"}
    made: pd.DataFrame = pd.DataFrame(
        {
            "run": run,
            "table": table,
            "key": both["key"],
            "step": both["step"] if "step" in names else None,
            "left": both["value_l"],
            "right": both["value_r"],
            "what": both["_merge"].astype("string").map(sides_of),
        }
    )
    return made


def _frame(found: Sequence[Difference]) -> pd.DataFrame:
    return _typed(pd.DataFrame(found, columns=[*Difference._fields]))


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    coded = dict.fromkeys(("run", "table", "what"), "category")
    kinds: Any = {**coded, "key": "string", "step": "Int64", "left": object, "right": object}
    typed: pd.DataFrame = frame.astype(kinds)
    return typed
