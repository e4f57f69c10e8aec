"""The summary of a run: the last values of what it logs, and what the program sets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Any

from trackbridge.dual.run import Run
from trackbridge_adapters.wandb import jsontext
from trackbridge_adapters.wandb.facts import INTERNAL
from trackbridge_adapters.wandb.mirror.definitions import Definitions
from trackbridge_adapters.wandb.names import parts

SECONDS = 1.0
"""Last values are told at most so often while a run goes on."""
EMPTY = ("null", "{}")
"""Values that W&B's summaries do not keep."""
WHOLE = 1e21
Path = tuple[str, ...]


class Tree:
    """Nested values whose top entries are told when they change."""

    def __init__(self, run: Run, kind: str) -> None:
        self.values: dict[str, Any] = {}
        self._run, self._kind = run, kind

    def change(self, updates: Iterable[tuple[Path, str]], removed: Iterable[Path] = ()) -> None:
        """Set values by their JSON text, drop others."""
        touched: dict[str, None] = {}
        for path, text in updates:
            if path[0] != INTERNAL:
                jsontext.put(self.values, path, _value(text))
                touched[path[0]] = None
        for path in removed:
            jsontext.drop(self.values, path)
            touched[path[0]] = None
        told = {key: self.values[key] for key in touched if key in self.values}
        gone = [key for key in touched if key not in self.values]
        if told or gone:
            self._run.tell(self._kind, set=told, drop=gone)


class Numbers:
    """What is known of the numbers of a metric."""

    def __init__(self) -> None:
        self.first = self.last = self.total = 0.0
        self.min, self.max, self.count = math.inf, -math.inf, 0

    def add(self, number: float) -> None:
        if not self.count:
            self.first = number
        self.last = number
        self.min, self.max = min(self.min, number), max(self.max, number)
        self.total += number
        self.count += 1

    @property
    def mean(self) -> float:
        return self.total / self.count


class Summary:
    """What is known of it by the records of this process; W&B itself tells it in the end."""

    def __init__(self, run: Run, definitions: Definitions) -> None:
        self._tree = Tree(run, "summary")
        self._definitions = definitions
        self._latest: dict[str, str] = {}
        self._numbers: dict[str, Numbers] = {}
        self._told = 0.0

    def add_row(self, texts: Mapping[str, str], numbers: Iterable[tuple[str, float]]) -> None:
        """Take the values of a row, which are told now and then."""
        self._latest |= texts
        if self._definitions.has_any:
            for key, number in numbers:
                if self._definitions.tracked(key):
                    self._numbers.setdefault(key, Numbers()).add(number)
        if monotonic() - self._told >= SECONDS:
            self.tell()

    def tell(self) -> None:
        self._told = monotonic()
        latest, self._latest = self._latest, {}
        tracked = self._definitions.tracked
        self._tree.change(
            (path, part)
            for key, text in latest.items()
            if tracked(key) is None
            for path, part in _leaves(key, text)
            if part not in EMPTY
        )
        self._tree.change(
            ((*parts(key), name), spelled(getattr(self._numbers[key], name)))
            for key in self._numbers
            for name in tracked(key) or ()
        )

    def change(self, record: Any) -> None:
        """Take a `SummaryRecord`."""
        self.tell()
        updates = updates_of(record)
        for path, _ in updates:
            self._definitions.set_plain(".".join(path))
        self._tree.change(updates, removals_of(record))

    def end(self, items: Iterable[Any] | None) -> None:
        """Take the summary as W&B has it in the end, if it has told."""
        self.tell()
        if items is not None:
            told = [(path_of(item), item.value_json) for item in items]
            kept = {path[0] for path, _ in told}
            self._tree.change(told, [(key,) for key in self._tree.values if key not in kept])


def _leaves(key: str, text: str) -> Iterable[tuple[Path, str]]:
    return jsontext.leaves({key: jsontext.parse(text)}) if text[:1] == "{" else [((key,), text)]


def spelled(number: float) -> str:
    """A double as wandb-core writes it: whole ones without a point."""
    if math.isfinite(number) and number == int(number) and abs(number) < WHOLE:
        return str(int(number))
    return jsontext.number(number)


def path_of(item: Any) -> Path:
    return (item.key,) if item.key or not item.nested_key else tuple(item.nested_key)


def updates_of(record: Any) -> list[tuple[Path, str]]:
    return [(path_of(item), item.value_json) for item in record.update]


def removals_of(record: Any) -> list[Path]:
    return [path_of(item) for item in record.remove]


def _value(text: str) -> Any:
    try:
        return jsontext.load(text)
    except ValueError:
        return text
