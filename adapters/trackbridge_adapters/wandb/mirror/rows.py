"""Log calls of a run, written as the rows that W&B makes of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from trackbridge.dual import frames
from trackbridge.dual.journal import now
from trackbridge.dual.run import Run
from trackbridge.dual.values import EXACT, Item
from trackbridge_adapters.wandb import jsontext, kinds, names
from trackbridge_adapters.wandb.facts import FIRST_SECOND, LAST_SECOND
from trackbridge_adapters.wandb.mirror.definitions import Definitions
from trackbridge_adapters.wandb.mirror.summary import spelled

TIME = "_timestamp"
"""Key of the time of a call, in seconds."""
_EXACT = float(EXACT).__gt__


class Call(NamedTuple):
    """What one call has logged; `texts` is all of it by key, as the JSON that wandb has made."""

    keys: tuple[str, ...]
    numbers: tuple[float, ...]
    items: list[Item]
    at: int
    texts: dict[str, str]


class Rows:
    """Merges calls like wandb-core (0.31: `handlePartialHistorySync`).

    A call is in the journal before this returns. Once a row of several calls is closed, it is told
    anew as W&B has it: with the time of the last call, and each key once. A call whose step is
    lower than that of the row before, which W&B drops, is a row of its own.
    """

    def __init__(
        self,
        run: Run,
        step: int,
        definitions: Definitions,
        closed: Callable[[dict[str, str], Iterable[tuple[str, float]]], None],
    ) -> None:
        """`closed` is told the texts and the numbers of rows."""
        self.lock = threading.RLock()
        self.given = names.Given({})
        self._run, self._definitions, self._closed = run, definitions, closed
        self._row, self._step = run.row, step
        self._names: dict[tuple[str, ...], tuple[tuple[str, ...], int]] = {}
        self._open: list[Call] = []
        self._at = 0
        """Number of the row that is open."""

    def add(self, request: Any) -> None:
        """Take a `PartialHistoryRequest`."""
        step = request.step.num if request.HasField("step") else None
        flush = request.action.flush if request.HasField("action") else step is None
        with self.lock:
            if step is not None and step < self._step:
                self._write(self._read(request.item), self._number(), step, closed=True)
                return
            if step is not None and step > self._step:
                self.close()
                self._step = step
            try:
                self._take(self._read(request.item), is_last=flush)
            finally:  # W&B counts a call that cannot be kept here, too
                if flush:
                    self.close()
                    self._step += 1

    def after_fork(self) -> None:
        """In a child: the open row is its parent's, and a thread of that one may hold the lock."""
        self.lock, self._open = threading.RLock(), []

    def close(self) -> None:
        """No more comes to the row that is open."""
        with self.lock:
            calls, self._open = self._open, []
            if not calls:
                return
            whole = self._completed(_merged(calls))
            written = sum(len(call.keys) + len(call.items) for call in calls)
            if len(calls) > 1 or len(whole.keys) + len(whole.items) > written:
                self._run.tell(
                    "whole",
                    row=self._at,
                    step=self._step,
                    at=whole.at,
                    again=written,
                    keys=whole.keys,
                    values=whole.numbers,
                    items=whole.items,
                )
            self._note(whole)

    def _take(self, call: Call, *, is_last: bool) -> None:
        """Have a call in the row that is open, or in one of its own that no other call comes to."""
        if is_last and not self._open:
            call = self._completed(call)
            self._write(call, self._number(), self._step, closed=True)
            self._note(call)
            return
        if not self._open:
            self._at = self._number()
        self._open.append(call)
        self._write(call, self._at, self._step, closed=False)

    def _note(self, call: Call) -> None:
        call.texts["_step"] = str(self._step)
        self._closed(call.texts, zip(call.keys, call.numbers))

    def _number(self) -> int:
        number = self._row
        self._row += 1
        return number

    def _write(self, call: Call, row: int, step: int, *, closed: bool) -> None:
        self._run.append(call.keys, call.numbers, call.items, row, step, call.at, closed)

    def _completed(self, call: Call) -> Call:
        """With the values of x-axes that W&B adds to rows."""
        if not self._definitions.has_any:
            return call
        numbers = dict(zip(call.keys, call.numbers))
        added = self._definitions.complete(numbers, {item.key for item in call.items})
        if not added:
            return call
        texts = {key: spelled(value) for key, value in added.items()}
        return call._replace(
            keys=(*call.keys, *added),
            numbers=(*call.numbers, *added.values()),
            texts={**call.texts, **texts},
        )

    def _read(self, items: Any) -> Call:
        """The values of a call, under the names that W&B's pages show."""
        keys, texts = zip(*[(item.key, item.value_json) for item in items])
        try:
            numbers = list(map(float, texts))
        except ValueError:
            return self._read_others(items)
        if not all(map(_EXACT, map(abs, numbers))):
            return self._read_others(items)
        shown, at = self._names.get(keys) or self._name(keys)
        if at < 0:
            time = now()
        elif FIRST_SECOND <= numbers[at] < LAST_SECOND:
            time = round(numbers.pop(at) * 1e6)
        else:
            return self._read_others(items)
        return Call(shown, tuple(numbers), [], time, dict(zip(keys, texts)))

    def _name(self, keys: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
        """Names of values, and which of them is no value but the time."""
        at = keys.index(TIME) if TIME in keys else -1
        shown = tuple([self.given.of((key,)) for key in keys if key != TIME])
        self._names[keys] = shown, at
        return shown, at

    def _read_others(self, items: Any) -> Call:
        """The same where not all of them are numbers that a double holds."""
        found = Call((), (), [], now(), {})
        keys: list[str] = []
        numbers: list[float] = []
        for item in items:
            key, text = item.key, item.value_json or kinds.typed(item)
            found.texts[key] = text
            time = _time(text) if key == TIME else None
            if time is None:
                self._take_apart(key, text, keys, numbers, found.items)
            if key == TIME:
                found = found._replace(at=frames.NONE if time is None else time)
        return found._replace(keys=tuple(keys), numbers=tuple(numbers))

    def _take_apart(
        self, key: str, text: str, keys: list[str], numbers: list[float], others: list[Item]
    ) -> None:
        """A value that is no plain number: an object's parts, media, text."""
        for path, part in kinds.parts(_ordered(jsontext.parse(text)), (key,)):
            if part == "{}":  # W&B keeps leaves, and this has none
                continue
            kind, file = kinds.kind_of(part)
            name = self.given.of(path)
            if kind is None:
                keys.append(name)
                numbers.append(float(part))
            else:
                others.append(Item(name, kind, part, file))


def _time(text: str) -> int | None:
    """The time of a call; none where the program has logged under its key what is no time, and is
    a value to W&B."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return round(seconds * 1e6) if FIRST_SECOND <= seconds < LAST_SECOND else None


def _ordered(node: jsontext.Node) -> jsontext.Node:
    """Keys in the order in which a run folder is read."""
    if isinstance(node, str):
        return node
    return {key: _ordered(inner) for key, inner in sorted(node.items())}


def _merged(calls: list[Call]) -> Call:
    """Calls of one row: of a key, what came last."""
    if len(calls) == 1:
        return calls[0]
    numbers: dict[str, float] = {}
    items: dict[str, Item] = {}
    texts: dict[str, str] = {}
    for call in calls:
        if call.at != frames.NONE:  # which replaces what was no time
            numbers.pop(TIME, None)
            items.pop(TIME, None)
        for key, number in zip(call.keys, call.numbers):
            items.pop(key, None)
            numbers[key] = number
        for item in call.items:
            numbers.pop(item.key, None)
            items[item.key] = item
        texts |= call.texts
    found = tuple(numbers), tuple(numbers.values()), list(items.values())
    return Call(*found, calls[-1].at, texts)
