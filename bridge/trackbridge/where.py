"""Expressions that say which runs are meant, such as `metrics.loss < 0.1 and params.model = 'cnn'`.

They are evaluated on the run model, as runs were where they were born, so that one means the same
whatever store holds the runs. The syntax, and what it means on a run that has no such value (it
does not match), on case (it counts, but to ILIKE with the letters a to z) and on NaN (unlike
everything), is that of the search of a common tracking server (docs/commands.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import NamedTuple, NoReturn

from trackbridge.errors import ConfigError
from trackbridge.times import EPOCH

METRICS, PARAMS, TAGS, ATTRIBUTES, DATASETS = "metrics", "params", "tags", "attributes", "datasets"

KINDS = {
    **dict.fromkeys(("metrics", "metric"), METRICS),
    **dict.fromkeys(("params", "param", "parameters", "parameter"), PARAMS),
    **dict.fromkeys(("tags", "tag"), TAGS),
    **dict.fromkeys(("attributes", "attribute", "attr", "run"), ATTRIBUTES),
    **dict.fromkeys(("datasets", "dataset"), DATASETS),
}
"""What stands before the dot -> what is meant."""

MOMENTS = {"start_time": "started", "end_time": "ended"}
TEXTS = {"run_name": "name", "status": "status", "user_id": "user", "artifact_uri": "source"}
"""Attributes -> columns of `runs`; `run_id` is beside them."""
ALIASES = {
    **dict.fromkeys(("created", "Created"), "start_time"),
    **dict.fromkeys(("run name", "Run name", "Run Name"), "run_name"),
}
ABOUT = {
    ATTRIBUTES: ("run_id", *TEXTS, *MOMENTS),
    DATASETS: ("name", "digest", "context"),
}
"""The keys that there are, of what has fixed ones."""
LISTED = frozenset({"run_id", "run_name", "status", "start_time"})
"""Attributes that a listing knows."""
STATES = ("SCHEDULED", "RUNNING", "FINISHED", "FAILED", "KILLED", "CRASHED")

ORDER = ("=", "!=", "<", "<=", ">", ">=")
WORDS = ("=", "!=", "LIKE", "ILIKE", "IN", "NOT IN")
PRESENCE = ("IS NULL", "IS NOT NULL")

_SPACE = re.compile(r"\s*")
_PLAIN = re.compile(r"[^\s'\"`()=<>!,]+")
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])")
_SIGN = re.compile(r"[=<>!]+")
_WORD = re.compile(r"(?:(?:not\s+)?in|i?like|is\s+not\s+null|is\s+null)\b", re.IGNORECASE)
_OPEN, _COMMA, _CLOSE = (re.compile(re.escape(mark)) for mark in "(,)")
_AND = re.compile(r"and\b", re.IGNORECASE)
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}

Value = str | float | tuple[str, ...] | None


class Clause(NamedTuple):
    """One comparison; all of an expression's have to hold."""

    kind: str
    key: str
    operator: str
    value: Value


@dataclass
class Facts:
    """What is known of one run; times in milliseconds since 1970, as expressions have them.

    `metrics` are the last values, `datasets` rows with the keys of `ABOUT`.
    """

    run_ids: Collection[str] = ()
    attributes: dict[str, str | int | None] = field(default_factory=dict)
    params: dict[str, list[str | None]] = field(default_factory=dict)
    tags: dict[str, list[str | None]] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    datasets: list[dict[str, str | None]] = field(default_factory=list)


def holds(clause: Clause, facts: Facts) -> bool:
    """Whether a run meets one clause."""
    kind, key, operator, value = clause
    if operator in PRESENCE:
        there = key in (facts.params if kind == PARAMS else facts.tags)
        return there == (operator == "IS NOT NULL")
    compare = _COMPARE[operator]
    if key == "run_id" and kind == ATTRIBUTES:
        both = (compare(run_id, value) for run_id in facts.run_ids)
        return all(both) if operator in ("!=", "NOT IN") else any(both)
    found: Iterable[str | float | None]
    if kind == METRICS:
        found = [facts.metrics.get(key)]
    elif kind == ATTRIBUTES:
        found = [facts.attributes.get(key)]
    elif kind == DATASETS:
        found = [row.get(key) for row in facts.datasets]
    else:
        found = (facts.params if kind == PARAMS else facts.tags).get(key, [])
    return any(each is not None and compare(each, value) for each in found)


def milliseconds(time: datetime | None) -> int | None:
    """A time as expressions have it, rounded down."""
    return None if time is None else (time - EPOCH) // timedelta(milliseconds=1)


def _like(text: str, pattern: str) -> bool:
    parts = (".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


_COMPARE: dict[str, Callable[..., bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "LIKE": _like,
    "ILIKE": lambda a, b: _like(a.translate(_LOWER), b.translate(_LOWER)),
    "IN": lambda a, b: a in b,
    "NOT IN": lambda a, b: a not in b,
}


def parse(text: str) -> list[Clause]:
    """The clauses of an expression; `ConfigError` points at the place that is wrong."""
    scanner = _Scanner(text)
    clauses = [scanner.clause()]
    while not scanner.ended():
        if not scanner.take(_AND):
            scanner.fail("'and' is expected", "there is no 'or' and no bracket: call it once each")
        clauses.append(scanner.clause())
    return clauses


class _Scanner:
    """Goes through an expression from left to right."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._skip()

    def ended(self) -> bool:
        return self._at == len(self._text)

    def clause(self) -> Clause:
        start = self._at
        kind, key = self._name()
        if key not in ABOUT.get(kind, (key,)):
            self._at = start
            self.fail(f"{kind} have no {key!r}", f"there are {', '.join(ABOUT[kind])}")
        return Clause(kind, key, *self._comparison(kind, key))

    def take(self, pattern: re.Pattern[str]) -> str:
        """What matches here, and goes on behind it; empty if nothing does."""
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        self._skip()
        return match[0]

    def fail(self, what: str, way_out: str) -> NoReturn:
        rest = self._text[self._at :]
        place = f"at {rest[:30]!r}" if rest else "at the end"
        raise ConfigError(
            f"--where: {what} {place} (character {self._at + 1} of {self._text!r}); {way_out}"
        )

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _name(self) -> tuple[str, str]:
        """Kind and key on the left side of a comparison."""
        start = self._at
        if self._quoted_here("`\"'"):
            head, dot = self._quoted(), self._text.startswith(".", self._at)
            self._at += dot
        else:
            word = self.take(_PLAIN)
            head, mark, rest = word.partition(".")
            dot = bool(mark)
            if rest:
                return self._kind(head, start), rest
        if not head:
            self.fail("a name is expected", "write e.g. metrics.loss, params.lr or tags.team")
        if dot:
            return self._kind(head, start), self._key()
        return ATTRIBUTES, ALIASES.get(head, head)

    def _kind(self, word: str, start: int) -> str:
        if word not in KINDS:
            self._at = start
            there = ", ".join(sorted(set(KINDS.values())))
            self.fail(f"{word!r} is nothing that runs have", f"there are {there}")
        return KINDS[word]

    def _key(self) -> str:
        key = self._quoted() if self._quoted_here("`\"'") else self.take(_PLAIN)
        if not key:
            self.fail("a key is expected", 'odd ones in quotes: tags."my key"')
        return key

    def _comparison(self, kind: str, key: str) -> tuple[str, Value]:
        start = self._at
        operator = " ".join((self.take(_WORD) or self.take(_SIGN)).upper().split())
        numeric = kind == METRICS or (kind == ATTRIBUTES and key in MOMENTS)
        allowed: tuple[str, ...] = ORDER if numeric else WORDS
        if kind in (PARAMS, TAGS):
            allowed += PRESENCE
        if operator not in allowed:
            self._at = start
            of = f"{kind}.{key}" if kind == ATTRIBUTES else kind
            self.fail("a comparison is expected", f"{of} are compared by {', '.join(allowed)}")
        if operator in PRESENCE:
            return operator, None
        if operator in ("IN", "NOT IN"):
            return operator, self._list()
        if numeric:
            return operator, self._moment() if kind == ATTRIBUTES else float(self._number())
        return operator, self._state() if key == "status" and operator in (
            "=",
            "!=",
        ) else self._text_of()

    def _number(self) -> str:
        number = self.take(_NUMBER)
        if not number:
            self.fail("a number is expected", "write it like 0.1 or 1e-3")
        return number

    def _moment(self) -> float:
        start = self._at
        if not self._quoted_here("'\""):
            number = self._number()
            return int(number) if number.lstrip("-").isdigit() else float(number)
        try:
            time = datetime.fromisoformat(self._quoted())
        except ValueError:
            self._at = start
            self.fail("a time is expected", "milliseconds since 1970, or like '2024-05-01T12:30'")
        time = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
        return (time - EPOCH) / timedelta(milliseconds=1)

    def _text_of(self) -> str:
        if not self._quoted_here("'\""):
            self.fail("a text in quotes is expected", "numbers too: params.lr = '0.1'")
        return self._quoted()

    def _state(self) -> str:
        start = self._at
        word = self._text_of()
        if word not in STATES:
            self._at = start
            self.fail(f"{word!r} is no status", "there are " + ", ".join(STATES))
        return word

    def _list(self) -> tuple[str, ...]:
        values: list[str] = []
        while self.take(_COMMA if values else _OPEN):
            values.append(self._text_of())
        if not values or not self.take(_CLOSE):
            self.fail("a list is expected", "write it like ('a', 'b')")
        return tuple(values)

    def _quoted_here(self, quotes: str) -> bool:
        return self._text[self._at : self._at + 1] in tuple(quotes)

    def _quoted(self) -> str:
        """The text between two quotes; nothing in it is special, so that it means one thing."""
        quote, start = self._text[self._at], self._at
        end = self._text.find(quote, start + 1)
        if end < 0:
            self.fail("a quote is not closed", f"end the text with {quote}")
        if self._text[end - 1] == "\\" or self._text.startswith(quote, end + 1):
            self._at = end
            self.fail("a quote cannot be in a text of the same quotes", "take the other ones")
        self._at = end + 1
        if not self._text.startswith(".", self._at):
            self._skip()
        return self._text[start + 1 : end]
