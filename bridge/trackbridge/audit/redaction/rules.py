"""What is to be removed from records before they leave: rules as people write them, in YAML."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from trackbridge.errors import ConfigError
from trackbridge.schema import EVERY_TABLE, TEXT

DROP, MASK, HASH, PSEUDONYMISE = ACTIONS = ("drop", "mask", "hash", "pseudonymise")
OFF = "off"
DETECTORS = {
    "credentials": MASK,
    "email": PSEUDONYMISE,
    "user": PSEUDONYMISE,
    "host": PSEUDONYMISE,
    "home": MASK,
    "ip": PSEUDONYMISE,
}
"""Kinds of text that are found by themselves, and what is done with them unless told otherwise."""
UNDROPPABLE = {"runs", "projects", "files", "artifacts"}
"""Tables whose rows others refer to; their columns can be emptied."""
REFERRED = {"project", "projects", "run_id", "parent_run_id", "sweep_id", "owner", "collection"}
REFERRED |= {"path", "version", "item_id", "trace_id", "span_id", "parent_id", "dataset_id"}
REFERRED |= {"record_id", "scorer_id", "model_id", "assessment_id", "report_id", "type"}
"""Columns that tell what belongs together, which is altered everywhere or nowhere."""
NUMBERS = "metrics"
SALT_BYTES = 32


@dataclass(frozen=True)
class Rule:
    """One rule: where it looks, and what it does there.

    A rule with a `regex` is about the texts that match, in the tables, columns, keys or files that
    it names (everywhere, if it names none); one without is about whole values, rows or files.
    """

    name: str
    action: str
    table: str | None = None
    key: str | None = None
    column: str | None = None
    file: str | None = None
    regex: str | None = None

    @cached_property
    def pattern(self) -> re.Pattern[str] | None:
        return None if self.regex is None else re.compile(self.regex)

    @cached_property
    def _key(self) -> re.Pattern[str] | None:
        return None if self.key is None else re.compile(translate(self.key))

    @cached_property
    def _file(self) -> re.Pattern[str] | None:
        return None if self.file is None else re.compile(translate(self.file))

    def means(self, table: str, column: str) -> bool:
        """Whether it may be about values of a column; by which key is another question."""
        return (
            self._file is None
            and self.table in (None, table)
            and self.column in (None, column)
            and (self._key is None or "key" in EVERY_TABLE[table].names)
        )

    def means_key(self, key: str | None) -> bool:
        return self._key is None or (key is not None and self._key.match(key) is not None)

    def means_file(self, path: str) -> bool:
        """Whether it is about the bytes of a file."""
        if self._file is not None:
            return self._file.match(path) is not None
        return self.regex is not None and (self.table, self.key, self.column) == (None, None, None)

    @property
    def empties(self) -> str | None:
        """The column whose whole value it is about; None where it is about rows or parts."""
        if self.regex is not None or self.file is not None:
            return None
        return self.column or (None if self.action == DROP else "value")


@dataclass(frozen=True)
class Rules:
    """All of a rules file."""

    rules: tuple[Rule, ...] = ()
    detectors: tuple[tuple[str, str], ...] = tuple(DETECTORS.items())
    allow: tuple[str, ...] = ()
    """Texts that no detector may take."""
    keep: tuple[str, ...] = ()
    """Globs of files that leave as they are, though nobody can look into them."""

    def keeps(self, path: str) -> bool:
        return any(re.match(translate(glob), path) for glob in self.keep)


class _Loader(yaml.SafeLoader):
    """Takes no name twice, since YAML forgets all but the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for name in names:
            if names.count(name) > 1:
                raise yaml.MarkedYAMLError(None, None, f"{name!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load(path: Path) -> Rules:
    """Rules from a file; `ConfigError` says what is wrong where."""
    try:
        told = yaml.load(path.read_text("utf-8"), _Loader) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(
            f"{path}: no YAML: {where}{getattr(error, 'problem', None) or error}; "
            "a regex is best put in single quotes"
        ) from error
    try:
        return _parsed(told)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def _parsed(told: Any) -> Rules:
    _check_names(told, {"detectors", "rules", "allow", "keep"}, "the file")
    return Rules(
        tuple(_rule(each, number) for number, each in enumerate(_list(told, "rules"), 1)),
        tuple(_detectors(told.get("detectors")).items()),
        tuple(_texts(told, "allow")),
        tuple(_texts(told, "keep")),
    )


def _list(told: Mapping[str, Any], name: str) -> list[Any]:
    found = told.get(name) or []
    if not isinstance(found, list):
        raise ValueError(f"{name!r} is no list")
    return found


def _texts(told: Mapping[str, Any], name: str) -> Iterator[str]:
    for text in _list(told, name):
        if not isinstance(text, (str, int, float)) or text == "":
            raise ValueError(f"{name!r} has {text!r} in it; give texts, in quotes")
        yield str(text)


def _detectors(told: Any) -> dict[str, str]:
    told = told or {}
    _check_names(told, DETECTORS, "'detectors'")
    wished = {}
    for kind, usual in DETECTORS.items():
        action = told.get(kind, usual)
        action = OFF if action is False else action  # YAML takes a bare `off` for a boolean
        _check_one(action, (*ACTIONS, OFF), f"detector {kind!r}")
        if action != OFF:
            wished[kind] = action
    return wished


def _rule(told: Any, number: int) -> Rule:
    what = f"rule {number}"
    _check_names(told, {"name", "action", "table", "key", "column", "file", "regex"}, what)
    for name, value in told.items():
        if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value == "":
            raise ValueError(f"{what}: its {name} is {value!r}; give one text, in quotes")
    told = {name: str(value) for name, value in told.items()}
    rule = Rule(**{"name": what, "action": "", **told})
    what = f"rule {number} ({rule.name})" if rule.name != what else what
    _check_one(rule.action, ACTIONS, f"{what}: its action")
    if (rule.table, rule.key, rule.column, rule.file, rule.regex) == (None,) * 5:
        raise ValueError(f"{what} says not what it is about; name table, key, file or regex")
    if rule.file is not None and (rule.table, rule.key, rule.column) != (None, None, None):
        raise ValueError(f"{what} is about a file and about a table; make two of it")
    try:
        _ = rule.pattern
    except re.error as error:
        raise ValueError(f"{what}: its regex is none: {error}") from error
    if rule.pattern is not None and rule.pattern.match(""):
        raise ValueError(f"{what}: its regex matches nothing at all, and so everything")
    if rule.column in REFERRED:
        raise ValueError(
            f"{what}: what belongs together is told by {rule.column!r}; a regex without table and "
            "column alters such names, everywhere alike"
        )
    if rule.table is not None:
        _check_table(rule, what)
    elif rule.column is not None:
        _check_one(rule.column, _columns(), f"{what}: its column")
    return rule


def _columns() -> list[str]:
    return sorted({name for schema in EVERY_TABLE.values() for name in schema.names})


def _check_table(rule: Rule, what: str) -> None:
    table = rule.table or ""
    _check_one(table, sorted(EVERY_TABLE), f"{what}: its table")
    columns = EVERY_TABLE[table].names
    if rule.column is not None:
        _check_one(rule.column, columns, f"{what}: the column of {table}")
    if rule.column is not None and EVERY_TABLE[table].field(rule.column).type != TEXT:
        raise ValueError(f"{what}: {rule.column} of {table} holds no text; only texts are altered")
    if rule.key is not None and "key" not in columns:
        raise ValueError(f"{what}: {table} has no keys; name a column")
    if table == NUMBERS and rule.column is not None:
        raise ValueError(f"{what}: rows of {table} can be dropped by key; a regex alters the keys")
    if rule.regex is None and rule.column is None:
        if rule.action == DROP and table in UNDROPPABLE:
            raise ValueError(
                f"{what}: others refer to rows of {table}, which are not dropped; name a column"
            )
        if rule.action != DROP and ("value" not in columns or table == NUMBERS):
            raise ValueError(
                f"{what}: say which column of {table}; its rows can be dropped, and texts altered"
            )


def _check_names(told: Any, known: Collection[str], what: str) -> None:
    if not isinstance(told, dict):
        raise ValueError(f"{what} is no mapping")
    for name in told:
        _check_one(name, sorted(known), f"{what}: a name in it")


def _check_one(found: Any, known: Collection[str], what: str) -> None:
    if found not in known:
        raise ValueError(f"{what} is {found!r}; known: {', '.join(known)}")


class Salt:
    """What makes hashes and pseudonyms, and stays with who redacts: without it, none is guessed."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def digest(self, data: str | bytes) -> str:
        """Salted SHA-256 (HMAC), in hex."""
        data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        return hmac.new(self._key, data, hashlib.sha256).hexdigest()

    def state(self) -> hmac.HMAC:
        """The same, to be fed piece by piece."""
        return hmac.new(self._key, digestmod=hashlib.sha256)


def salt_at(path: Path, *, keep: bool = True) -> tuple[Salt, bool]:
    """The salt in a file, and whether it is new: where there is no file, one is made.

    It is not written where it is not to be kept.
    """
    try:
        key = bytes.fromhex(path.read_text("ascii"))
        if len(key) < SALT_BYTES:
            raise ValueError
        return Salt(key), False
    except FileNotFoundError:
        key = secrets.token_bytes(SALT_BYTES)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: no salt as Trackbridge makes it (64 hexadecimal digits); name another file"
        ) from error
    if not keep:
        return Salt(key), True
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(key.hex() + "\n")
    return Salt(key), True
