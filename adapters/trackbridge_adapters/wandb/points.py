"""Decodes log calls into columns: rows of `metrics` for numbers, of `series` for the rest.

Items are gathered as plain lists of keys and JSON texts and decoded by the ten thousand, since
Arrow parses numbers many times faster than a JSON parser that is called per item.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trackbridge.adapter import Batch, RunRef
from trackbridge.schema import BATCH_ROWS, CODE, TABLES, TIME
from trackbridge_adapters.wandb import jsontext, names
from trackbridge_adapters.wandb.facts import FIRST_SECOND, LAST_SECOND
from trackbridge_adapters.wandb.jsontext import Path, Tree
from trackbridge_adapters.wandb.kinds import is_double, kind_of, parts

FLUSH_BYTES = 16 * 1024**2
EXACT = 2.0**53
TIMES = (-(2**32) * 10**6, 2**32 * 10**6)
"""Times (us) within which `_timestamp`, a double of seconds, tells each microsecond: 1833 to 2106.

There it is off by 2**-22 s at most, and the product with 1e6 by 1/4: together less than half a
microsecond. From 2**32 s on, many a time reads back as its neighbour.
"""
NUMERIC = np.zeros(256, np.bool_)
NUMERIC[[ord(c) for c in "-0123456789NI"]] = True

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Item(NamedTuple):
    """One value of a log call that needs a closer look: packed key, JSON text, ordinal of call."""

    key: str
    text: str
    call: int


class Items:
    """Values of log calls as columns; `left` marks those that are still to be decoded."""

    def __init__(self, keys: list[str], texts: list[str], call: Ints) -> None:
        encoded = pa.array(keys, pa.string()).dictionary_encode()
        self.keys: list[str] = encoded.dictionary.to_pylist()
        self.codes = encoded.indices.to_numpy()
        self.texts = pa.array(texts, pa.string())
        self.call = call
        self.left = np.ones(len(call), np.bool_)

    def where(self, key: str) -> npt.NDArray[np.intp]:
        if key not in self.keys:
            return np.zeros(0, np.intp)
        return np.flatnonzero(self.left & (self.codes == self.keys.index(key)))

    def at(self, index: npt.NDArray[np.intp]) -> list[Item]:
        texts = self.texts.take(pa.array(index)).to_pylist()
        keys = (self.keys[code] for code in self.codes[index].tolist())
        return list(map(Item, keys, texts, self.call[index].tolist()))

    def numeric(self) -> Mask:
        """Those whose text begins like a number."""
        _, offsets, data = self.texts.buffers()
        start = np.frombuffer(offsets, np.int32)[: len(self.texts) + 1]
        found = np.zeros(len(self.texts), np.bool_)
        some = start[1:] > start[:-1]
        found[some] = NUMERIC[np.frombuffer(data or b"\0", np.uint8)[start[:-1][some]]]
        return found


class Places:
    """Step and time (us) of each gathered call, with masks of those that are known."""

    def __init__(self, steps: list[int | None], times: list[int | None]) -> None:
        self.steps, self.has_step = _split_nulls(steps)
        self.times, self.has_time = _split_nulls(times)

    def take(self, items: Items) -> None:
        """What the items `_step` and `_timestamp` say, which are no metrics then."""
        at = items.where("_step")
        steps, good = _cast(items.texts.take(pa.array(at)), pa.int64())
        self.steps[items.call[at[good]]] = steps[good]
        self.has_step[items.call[at[good]]] = True
        items.left[at[good]] = False
        at = items.where("_timestamp")
        seconds, good = _cast(items.texts.take(pa.array(at)), pa.float64())
        good &= (seconds >= FIRST_SECOND) & (seconds < LAST_SECOND)  # NaN is not
        self.times[items.call[at[good]]] = np.rint(seconds[good] * 1e6)
        self.has_time[items.call[at[good]]] = True
        items.left[at[good]] = False

    def arrays(self, call: Ints) -> tuple[pa.Array, pa.Array]:
        steps = pa.array(self.steps[call], mask=~self.has_step[call])
        times = pa.array(self.times[call], mask=~self.has_time[call])
        return steps, times.cast(TIME)


class PointDecoder:
    """Gathers the log calls of one run, or its samples of the system; gives batches.

    `names_given` are those of the run's keys; without them keys are names already, maybe reserved.
    `first` is the ordinal of the first call.
    """

    def __init__(
        self,
        ref: RunRef,
        damage: list[str],
        *,
        system: bool,
        names_given: names.Given | None = None,
        first: int = 0,
    ) -> None:
        self._ref = ref
        self._damage = damage
        self._system = system
        self._given = names_given
        self._first = first
        self._clear()

    def _clear(self) -> None:
        self._keys: list[str] = []
        self._texts: list[str] = []
        self._counts: list[int] = []
        self._steps: list[int | None] = []
        self._times: list[int | None] = []
        self._bytes = 0

    def add(
        self, keys: list[str], texts: list[str], step: int | None, time: int | None, size: int
    ) -> bool:
        """One call of `size` bytes, with packed keys; true when it is time to flush.

        `step` and `time` (us) hold where the items `_step` and `_timestamp` do not say more.
        """
        self._keys += keys
        self._texts += texts
        self._counts.append(len(keys))
        self._steps.append(step)
        self._times.append(time)
        self._bytes += size
        return len(self._keys) >= BATCH_ROWS or self._bytes >= FLUSH_BYTES

    def flush(self) -> Iterator[Batch]:
        """Batches of what has been gathered."""
        calls = len(self._counts)
        items = Items(self._keys, self._texts, np.repeat(np.arange(calls), self._counts))
        places = Places(self._steps, self._times)
        self._clear()
        if not self._system:
            places.take(items)
        yield from self._decode(items, places)
        self._first += calls

    def _decode(self, items: Items, places: Places) -> Iterator[Batch]:
        typed = _regroup(items)
        numeric = items.numeric()
        at = np.flatnonzero(items.left & numeric)
        numbers, good = _numbers(items.texts.take(pa.array(at)))
        yield from self._metrics(items, at[good], numbers[good], places)
        rest = np.concatenate([np.flatnonzero(items.left & ~numeric), at[~good]])
        rows, spread = self._look([*items.at(np.sort(rest)), *typed])
        yield from self._series(rows, places)
        if spread:
            keys, texts, calls = (list(column) for column in zip(*spread))
            yield from self._decode(Items(keys, texts, np.array(calls)), places)

    def _name(self, key: str) -> str:
        path = names.unpack(key)
        if self._given is not None:
            return self._given.of(path)
        name = ".".join(path)
        return name if self._system else names.unreserve(name)

    def _metrics(
        self, items: Items, at: npt.NDArray[np.intp], numbers: Any, places: Places
    ) -> Iterator[Batch]:
        used, codes = np.unique(items.codes[at], return_inverse=True)
        shown = [self._name(items.keys[code]) for code in used.tolist()]
        call = items.call[at]
        steps, times, rows = self._places(call, places)
        keys = pa.DictionaryArray.from_arrays(
            pa.array(codes.reshape(-1).astype(np.int32)), pa.array(shown, pa.string())
        )
        system = pa.repeat(pa.scalar(self._system), len(at))
        labels = [_constant(text, len(at)) for text in self._ref]
        columns = [*labels, keys, steps, times, rows, pa.array(numbers), system]
        yield from _sliced("metrics", columns)

    def _places(self, call: Ints, places: Places) -> tuple[pa.Array, pa.Array, pa.Array]:
        steps, times = places.arrays(call)
        ordinals = pa.array(self._first + call)
        if self._system:
            return ordinals, times, pa.nulls(len(call), pa.int64())
        return steps, times, ordinals

    def _series(self, rows: list[tuple[Item, str, str | None]], places: Places) -> Iterator[Batch]:
        items = [item for item, _, _ in rows]
        call = np.array([item.call for item in items], np.int64)
        columns = [pa.array([text] * len(rows), pa.string()) for text in self._ref]
        columns.append(pa.array([self._name(item.key) for item in items], pa.string()))
        columns += self._places(call, places)
        columns.append(pa.array([kind for _, kind, _ in rows], pa.string()))
        columns.append(pa.array([item.text for item in items], pa.string()))
        columns.append(pa.array([path for _, _, path in rows], pa.string()))
        yield from _sliced("series", columns)

    def _look(self, items: Iterable[Item]) -> tuple[list[tuple[Item, str, str | None]], list[Item]]:
        """Items with their kind and path; and what plain objects among them consist of."""
        rows: list[tuple[Item, str, str | None]] = []
        spread: list[Item] = []
        for item in items:
            try:
                kind, path = kind_of(item.text)
            except ValueError:
                where = f"log call {self._first + item.call}"
                self._damage.append(f"{where}: the value of {self._name(item.key)!r} is not JSON")
                rows.append((item._replace(text=jsontext.quote(item.text)), "text", None))
                continue
            if kind:
                rows.append((item, kind, path))
            else:
                tree = jsontext.parse(item.text)
                found = parts(tree, names.unpack(item.key))
                spread += (Item(names.pack(key), text, item.call) for key, text in found)
        return rows, spread


def _regroup(items: Items) -> list[Item]:
    """Objects with a type that the writer (wandb 0.17 and later) has spread over nested keys."""
    paths = {code: names.unpack(key) for code, key in enumerate(items.keys)}
    types = {code: path[:-1] for code, path in paths.items() if path[-1] == "_type" and path[:-1]}
    if not types:
        return []
    known = set(types.values())
    within = {
        code: [path[:end] for end in range(1, len(path)) if path[:end] in known]
        for code, path in paths.items()
    }
    touched = [code for code, prefixes in within.items() if prefixes]
    at = np.flatnonzero(items.left & np.isin(items.codes, touched)).tolist()
    texts = items.texts.take(pa.array(at, pa.int64())).to_pylist()
    calls, codes = items.call[at].tolist(), items.codes[at].tolist()
    typed = {
        (call, types[code])
        for call, code, text in zip(calls, codes, texts)
        if code in types and text.startswith('"')
    }
    trees: dict[tuple[int, Path], Tree] = defaultdict(dict)
    for index, call, code, text in zip(at, calls, codes, texts):
        prefix = next((p for p in within[code] if (call, p) in typed), None)
        if prefix is not None:
            jsontext.put(trees[call, prefix], paths[code][len(prefix) :], text)
            items.left[index] = False
    return [
        Item(names.pack(prefix), jsontext.dump(dict(sorted(tree.items()))), call)
        for (call, prefix), tree in trees.items()
    ]


def _numbers(texts: pa.Array) -> tuple[npt.NDArray[np.float64], Mask]:
    """The texts as numbers; and whether each is one that a double can stand for."""
    numbers, good = _cast(texts, pa.float64())
    for index in np.flatnonzero(good & (np.abs(numbers) >= EXACT)).tolist():
        text = texts[index].as_py()
        if text.lstrip("-").isdigit():
            good[index] = is_double(text, float(numbers[index]))
    return numbers, good


def _cast(texts: pa.Array, kind: pa.DataType) -> tuple[Any, Mask]:
    """Texts as numbers, and which of them are numbers; one at a time where any is not."""
    try:
        return texts.cast(kind).to_numpy().copy(), np.ones(len(texts), np.bool_)
    except pa.ArrowInvalid:
        pass
    numbers, good = np.zeros(len(texts), kind.to_pandas_dtype()), np.zeros(len(texts), np.bool_)
    for index, text in enumerate(texts):
        try:
            numbers[index] = text.cast(kind).as_py()
            good[index] = True
        except pa.ArrowInvalid:
            continue
    return numbers, good


def _split_nulls(values: list[int | None]) -> tuple[Ints, Mask]:
    array = pa.array(values, pa.int64())
    return array.fill_null(0).to_numpy().copy(), np.array(array.is_valid())


def _constant(text: str, count: int) -> pa.Array:
    indices = pa.array(np.zeros(count, np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array([text], pa.string())).cast(CODE)


def _sliced(table: str, columns: list[pa.Array]) -> Iterator[Batch]:
    data = pa.RecordBatch.from_arrays(columns, schema=TABLES[table])
    for start in range(0, data.num_rows, BATCH_ROWS):
        yield Batch(table, data.slice(start, BATCH_ROWS))
