"""What the columns of a table mean: as a person says, or as their names and types let guess."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import NamedTuple

from trackbridge.errors import ConfigError
from trackbridge_adapters.tables.known import (
    FIELDS,
    PREFIXES,
    TABLE_OF_RUNS,
    is_table_of_runs,
    known,
    lines_of_chart,
)

ROLES = {
    "project": "project of the run",
    "run": "id of the run",
    "step": "step",
    "time": "time",
    "key": "name of the metric",
    "value": "value of the metric",
    "metric": "metric",
    "param": "param",
    "tag": "tag",
    "summary": "final value",
    "extra": "kept as a field of the run's extra",
    "skip": "left out",
    **{name: f"{name.replace('_', ' ')} of the run" for name in FIELDS},
}
"""What a column can be declared as, and what `plan` calls it."""
_AXES = ("project", "run", "step", "time", "key", "value")
SINGLE = frozenset({*_AXES, *FIELDS})
"""Roles that one column has at most."""
NUMBERS = "numbers"
"""A guess to be settled by all rows: final values where each run has one row, else metrics."""
TEXTS = "texts"
"""The same: params where they do not change within a run, else series."""

_PROJECT: tuple[str, ...] = (
    "project",
    "project_name",
    "experiment",
    "experiment_name",
    "experiment_id",
)
_RUN: tuple[str, ...] = ("run_id", "run", "run_uuid", "run_name", "trial_id", "trial", "trial_name")
_RUN += ("experiment", "experiment_name", "experiment_id", "exp", "exp_id", "exp_name")
_STEP: tuple[str, ...] = (
    "step",
    "_step",
    "global_step",
    "trainer_global_step",
    "iteration",
    "iter",
    "iterations",
)
_STEP += ("training_iteration", "n_iter", "epoch", "epochs", "round", "batch")
_TIME: tuple[str, ...] = (
    "time",
    "timestamp",
    "_timestamp",
    "wall_time",
    "walltime",
    "datetime",
    "date",
    "ts",
)
_TIME += ("created_at", "logged_at", "_index_level_0")
_KEY: tuple[str, ...] = (
    "key",
    "metric",
    "metric_name",
    "metric_key",
    "tag",
    "name",
    "variable",
    "measure",
)
_VALUE: tuple[str, ...] = ("value", "values", "metric_value", "val")
_INDEX = re.compile(r"(unnamed(: ?\d+)?|index|level_\d+|)", re.IGNORECASE)
"""How the index of a frame is called that was written with it."""
_UNNAMED = re.compile(r"__index_level_\d+__")
"""The same of an index without a name, in tables that Arrow has made of frames of pandas."""
_BLANK = re.compile(r"(unnamed: ?0|)", re.IGNORECASE)
"""The same where pandas has written it as CSV, as the first column."""


KINDS = ("int", "whole", "float", "bool", "text", "time", "json", "empty")
"""What the first rows of a column hold; whole: numbers such as 3.0."""
NUMERIC = ("int", "whole", "float")


class Column(NamedTuple):
    """A column as its first rows have it; `kind` is one of `KINDS`."""

    name: str
    kind: str
    counts: bool = False
    """Its numbers are 0, 1, 2, ..."""
    grows: bool = False
    """Its numbers are whole, and each is greater than the one before."""
    unit: str = ""
    """What its numbers count if they are times: s, ms, us, ns; or iso, for texts."""
    part: str = ""
    """The first of its numbers that is no whole one, and its row."""


@dataclass(frozen=True)
class Use:
    """What a column is used as; `key` names the metric, param or tag, where it is not the column.

    `run` is the run that all of the column belongs to, where the header says it; `shared`: it is of
    each of these runs, where a column of that one has a value.
    """

    role: str
    key: str = ""
    run: str = ""
    why: str = ""
    declared: bool = False
    shared: bool = False


@dataclass(frozen=True)
class Layout:
    """What each column of a table is used as, in their order."""

    uses: Mapping[str, Use]

    def column(self, role: str) -> str | None:
        """The one column that has a role; None where there is none."""
        return next((name for name, use in self.uses.items() if use.role == role), None)

    def columns(self, *roles: str) -> list[str]:
        return [name for name, use in self.uses.items() if use.role in roles]

    @property
    def is_long(self) -> bool:
        return self.column("value") is not None

    @property
    def is_unordered(self) -> bool:
        """Whether no column says the order of rows, so that their own has to be kept."""
        return self.column("step") is None and self.column("time") is None

    @property
    def is_of_runs(self) -> bool:
        """Whether each row is a run, by a name that others may have too."""
        run = self.column("run")
        return run is not None and self.uses[run].why == TABLE_OF_RUNS

    def of_metrics(self, keys: Collection[str] | None) -> Layout:
        """The same with nothing but metrics, those of the keys, for which less has to be read."""
        kept = {
            name
            for name, use in self.uses.items()
            if use.role in _AXES
            or (use.role == "metric" and (keys is None or (use.key or name) in keys))
        }
        left = Use("skip")
        return Layout({name: use if name in kept else left for name, use in self.uses.items()})

    def settled(self, *, final: bool, changing: Collection[str]) -> Layout:
        """With every guess decided by what all rows have: see `NUMBERS` and `TEXTS`."""
        uses = {}
        for name, use in self.uses.items():
            if use.role == NUMBERS:
                use = replace(use, role="summary" if final else "metric")
            elif use.role in (TEXTS, "extra", *FIELDS) and name in changing and not use.declared:
                use = _changing(use, long=self.is_long)
            elif use.role == TEXTS:
                use = replace(use, role="param", why="text that stays the same within a run")
            uses[name] = use
        return Layout(_apart(uses))


def _apart(uses: Mapping[str, Use]) -> dict[str, Use]:
    """No two columns as one thing: all but one keep their whole names, or are fields of extra."""
    made, first = dict(uses), dict[tuple[str, str, str], str]()
    for name in sorted(uses, key=lambda n: ((uses[n].key or n) != n, not uses[n].declared)):
        use = uses[name]
        if use.role in (*_AXES, "skip"):
            continue
        key = "" if use.role in FIELDS else use.key or name
        other = first.setdefault((use.role, key, use.run), name)
        if other != name and use.role in FIELDS:
            why = f"{ROLES[use.role]} is {other}; {use.role}={name} takes this one"
            made[name] = Use("extra", name, why=why)
        elif other != name:
            made[name] = replace(use, key=name, why=f"{key} is the column {other}")
    return made if made == uses else _apart(made)


def _changing(use: Use, *, long: bool) -> Use:
    """What a text is used as that is not one of the run."""
    if long:
        return replace(use, role="skip", why="changes within a run, beside the value")
    return replace(use, role="metric", why="text that changes within a run")


class Declaration(NamedTuple):
    """One `ROLE=COLUMN` of the option `columns`; the column may have wildcards."""

    role: str
    pattern: str

    def meets(self, name: str) -> bool:
        return name == self.pattern or fnmatchcase(name, self.pattern)


def declarations(text: str) -> tuple[Declaration, ...]:
    """The option `columns`: `ROLE=COLUMN,...`; a part with a comma is put in double quotes."""
    found = []
    for part in next(csv.reader([text], skipinitialspace=True), []):
        role, equals, pattern = (piece.strip() for piece in part.partition("="))
        if not equals or not pattern or role not in ROLES:
            roles = ", ".join(ROLES)
            raise ConfigError(
                f"--columns {part!r}: write ROLE=COLUMN, as in run=trial,step=iter,metric=*; "
                f"roles are {roles}"
            )
        found.append(Declaration(role, pattern))
    doubled = {d.role for d in found if sum(d.role == other.role for other in found) > 1}
    for role in sorted(doubled & SINGLE):
        raise ConfigError(f"--columns: {role} is said twice, and one column has it; name one")
    return tuple(found)


def layout(columns: Sequence[Column], declared: Sequence[Declaration], where: str) -> Layout:
    """What the columns of a table mean; `ConfigError` where nothing in it could be a value."""
    uses = _declared(columns, declared, where)
    taken = {use.role for use in uses.values()}
    _guess_single(columns, uses, taken)
    if "value" not in taken:
        for name, meant in lines_of_chart([column.name for column in columns]):
            uses.setdefault(name, Use(*meant))
    for column in columns:
        if column.name not in uses:
            uses[column.name] = guess(column, long="value" in taken)
    if any(use.run for use in uses.values()):
        _leave_out_beside_lines(columns, uses, where)
    made = Layout({column.name: uses[column.name] for column in columns})
    _check(made, columns, where)
    return made


def _leave_out_beside_lines(columns: Sequence[Column], uses: dict[str, Use], where: str) -> None:
    """In a table whose columns are each of a run of their own, other values are of none.

    But the first one, if it holds numbers, is what they are drawn over.
    """
    axis = columns[0].name if columns[0].kind in NUMERIC else ""
    for name, use in uses.items():
        if use.run or use.role in ("project", "step", "time", "skip"):
            continue
        if name == axis and not use.declared:
            why = "the axis of all runs, where they have a point"
            uses[name] = Use("metric", why=why, shared=True)
            continue
        if use.declared:
            raise ConfigError(
                f"{where}: {name!r} cannot be the {use.role} (--columns): others are each of a run "
                "of its own; declare these too"
            )
        uses[name] = Use("skip", why="of no run, beside columns that are each of one")


def extended(made: Layout, more: Sequence[Column], declared: Sequence[Declaration]) -> Layout:
    """A layout with columns that the first rows of a table do not have."""
    uses = dict(made.uses)
    for column in more:
        said = next((d for d in declared if d.role not in SINGLE and d.meets(column.name)), None)
        uses[column.name] = (
            Use(said.role, _short(column.name, said.role), declared=True)
            if said
            else guess(column, long=made.is_long)
        )
    return Layout(uses)


def guess(column: Column, *, long: bool) -> Use:
    """What a column means that has no role of its own in the table."""
    name = column.name
    special = known(name)
    if special is not None and not (long and special.role in ("metric", "summary")):
        return Use(special.role, special.key, special.run, special.why)
    if column.kind == "empty":
        return Use(TEXTS, why="nothing in its first lines")
    if _UNNAMED.fullmatch(name):
        return Use("skip", why=f"an index without a name; ROLE={name} in --columns keeps it")
    if _INDEX.fullmatch(name) and (column.counts or not name):
        return Use("skip", why=f"numbers of {'lines' if column.counts else 'a frame'}")
    if column.kind in NUMERIC:
        if long:
            return Use("skip", why="a number beside the value; param=NAME keeps it per run")
        part = column.part if _plain(name) in _STEP else ""
        return Use(NUMBERS, why=f"no step: {part} is no whole number" if part else "")
    return Use("metric") if column.kind == "json" else Use(TEXTS)


def _declared(
    columns: Sequence[Column], declared: Sequence[Declaration], where: str
) -> dict[str, Use]:
    """Names go before wildcards, and what is said first before what is said later."""
    uses: dict[str, Use] = {}
    names = {column.name for column in columns}
    for said in sorted(declared, key=lambda d: d.pattern not in names):
        met = [c.name for c in columns if said.meets(c.name) and c.name not in uses]
        exact = said.pattern in names or not re.search(r"[*?\[]", said.pattern)
        if not met and exact:
            raise ConfigError(
                f"{where}: no column {said.pattern!r} to be the {said.role} (--columns); there "
                f"are: {', '.join(map(repr, names and [c.name for c in columns]))}"
            )
        if len(met) > 1 and said.role in SINGLE:
            raise ConfigError(
                f"{where}: {said.role}={said.pattern} means {len(met)} columns "
                f"({', '.join(met[:3])}, ...); name one in --columns"
            )
        for name in met:
            uses[name] = Use(said.role, _short(name, said.role), declared=True)
    return uses


def _short(name: str, role: str) -> str:
    """The key of a column: without a prefix that says its role anyway."""
    prefix, dot, rest = name.partition(".")
    return rest if dot and rest and PREFIXES.get(prefix) == role else name


def _guess_single(columns: Sequence[Column], uses: dict[str, Use], taken: set[str]) -> None:
    """Give the roles that one column has to those whose names say so, the likeliest name first."""
    free = {_plain(c.name): c for c in reversed(columns) if c.name not in uses}

    def give(role: str, names: Sequence[str], kinds: Collection[str]) -> None:
        found = (free[n] for n in names if n in free and free[n].kind in kinds)
        if role == "time":
            found = (column for column in found if column.unit)
        column = None if role in taken else next(found, None)
        if column is not None:
            uses[column.name] = Use(role)
            taken.add(role)
            del free[_plain(column.name)]

    others = {column.name for column in columns} - uses.keys()
    if not {"run", "step", "value"} & taken and is_table_of_runs(others):
        uses["Name"] = Use("run", why=TABLE_OF_RUNS)
        give("project", _PROJECT, ("int", "text"))
        return
    any_kind = [kind for kind in KINDS if kind not in ("json", "empty")]
    give("value", _VALUE if _has_key(free, taken) else (), any_kind)
    if "value" in taken:
        give("key", _KEY, ("text",))
    give("run", _RUN, any_kind)
    give("project", _PROJECT, ("int", "text"))
    alone = not taken & {"run", "value"}  # else rows that were chosen or sorted have it too
    give("step", (*_STEP, "_index_level_0") if alone else _STEP, ("int", "whole"))
    if alone and columns and "step" not in taken and _is_index(columns[0]):
        why = "the index of a frame, whose numbers increase"
        taken.add(uses.setdefault(columns[0].name, Use("step", why=why)).role)
    give("time", _TIME, (*NUMERIC, "time"))


def _is_index(first: Column) -> bool:
    """Whether the first column is an index without a name that says more than lines do."""
    return bool(_BLANK.fullmatch(first.name)) and first.grows and not first.counts


def _has_key(free: Mapping[str, Column], taken: set[str]) -> bool:
    return "key" in taken or any(n in free and free[n].kind == "text" for n in _KEY)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).rstrip("_") if name else ""


def _check(made: Layout, columns: Sequence[Column], where: str) -> None:
    if made.column("key") is not None and not made.is_long:
        raise ConfigError(
            f"{where}: {made.column('key')!r} is the key, but no column is the value; "
            "say which: --columns value=COLUMN"
        )
    kept = made.columns("value", "metric", "summary", "param", "tag", NUMBERS, TEXTS)
    if not kept:
        names = ", ".join(repr(column.name) for column in columns)
        raise ConfigError(
            f"{where}: no column holds values (there are {names}); say which do: "
            "--columns key=COLUMN,value=COLUMN, or --columns metric=COLUMN"
        )
