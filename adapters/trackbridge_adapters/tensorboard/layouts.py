"""Values of one layout as columns of points: what `values.points` gives for each, at once.

What is odd of some of them, such as counts of a histogram that are not whole, is left to be read
one by one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from json.encoder import encode_basestring
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trackbridge_adapters.tensorboard import jsons, media, messages, wire
from trackbridge_adapters.tensorboard.checksums import Bytes
from trackbridge_adapters.tensorboard.framing import Ints
from trackbridge_adapters.tensorboard.hparams import PLUGIN
from trackbridge_adapters.tensorboard.media import Media
from trackbridge_adapters.tensorboard.messages import Bools, Messages
from trackbridge_adapters.tensorboard.protos import DecodeError, TensorProto
from trackbridge_adapters.tensorboard.scalars import by
from trackbridge_adapters.tensorboard.summaries import ODD, Values
from trackbridge_adapters.tensorboard.values import EXACT, LARGE, STRING

HISTOGRAM = {
    **dict.fromkeys((1, 2, 3, 4, 5), wire.FIXED64),
    **dict.fromkeys((6, 7), wire.BYTES),
}
"""Fields of a `HistogramProto`: min, max, num, sum, sum_squares, bucket_limit, bucket."""
CONTENT, STRINGS = 4, 8
"""Fields of a tensor: its elements as bytes, and those that are strings."""
FIXED = {5: 1, 6: 2}
"""Fields with elements of fixed size -> their type: `float_val`, `double_val`."""
VARINTS = {7: (3, 4, 5, 6, 17), 10: (9,), 11: (10,)}
"""Fields with numbers -> their types: `int_val`, `int64_val`, `bool_val`."""
FORMS = {
    1: "<f4", 2: "<f8", 3: "<i4", 4: "<u1", 5: "<i2", 6: "<i1", 9: "<i8", 10: "?", 17: "<u2",
    19: "<f2", 22: "<u4", 23: "<u8",
}  # fmt: skip
"""Types of elements whose bytes numpy reads (tensorflow/core/framework/types.proto, 2.19)."""


class Columns(NamedTuple):
    """Points of some values, one each: `values` are JSON of a kind, or the numbers of metrics."""

    rows: Ints
    kind: str
    values: Any
    shape: tuple[int, ...] = ()
    """Of texts that are no scalars though they have one element."""
    paths: pa.Array | None = None


class Layout(NamedTuple):
    """What values are like that are read together."""

    plugin: str
    content: int
    head: bytes


def columns(data: bytes, found: Values, plugins: list[str | None]) -> Iterator[Columns | Media]:
    """The points of values, by the plugin of their kind; values of none are in no column."""
    layouts: dict[Layout, int] = {}
    codes = [
        ODD if plugin is None
        else layouts.setdefault(Layout(plugin, kind.content, kind.head), len(layouts))
        for plugin, kind in zip(plugins, found.kinds)
    ]  # fmt: skip
    layout = np.array([*codes, ODD], np.int64)[found.kind]
    layout[found.stops - found.starts > LARGE] = ODD
    known = list(layouts)
    for code, rows in by(layout):
        if code != ODD:
            yield from _points(_Group(data, rows, found.at[rows], found.ends[rows]), known[code])


class _Group(NamedTuple):
    """Values of one layout: `rows` are their places, the others where their contents are."""

    data: bytes
    rows: Ints
    at: Ints
    ends: Ints

    def bytes(self) -> Bytes:
        return np.frombuffer(self.data, np.uint8)

    def take(self, chosen: Any) -> _Group:
        return _Group(self.data, self.rows[chosen], self.at[chosen], self.ends[chosen])


def _points(group: _Group, layout: Layout) -> Iterator[Columns | Media]:
    if layout.content == wire.SIMPLE_VALUE:
        values = messages.rows(group.bytes(), group.at, 4).view("<f4")[:, 0]
        yield Columns(group.rows, "", values.astype(np.float64))
    elif layout.content == wire.HISTO:
        yield _old_histograms(group)
    elif layout.content == wire.IMAGE:
        yield media.images(*group)
    elif layout.content == wire.AUDIO:
        yield media.sounds(*group)
    elif layout.plugin != PLUGIN:
        yield from _tensors(group, layout)


def _tensors(group: _Group, layout: Layout) -> Iterator[Columns | Media]:
    try:
        told = TensorProto.FromString(layout.head[:-1])
    except DecodeError:
        return
    shape = tuple(dim.size for dim in told.tensor_shape.dim)
    count = int(np.prod(shape, dtype=np.float64)) if all(size > 0 for size in shape) else 0
    field, kind = divmod(layout.head[-1], 8)
    if not 0 < count <= LARGE or kind != wire.BYTES:
        return
    if told.dtype == STRING and field == STRINGS:
        yield from _strings(group, layout.plugin, shape, count)
    elif told.dtype in FORMS:
        group, values = _elements(group, field, told.dtype, count)
        if len(values):
            yield from _numbers(group, layout.plugin, shape, values)


def _elements(group: _Group, field: int, dtype: int, count: int) -> tuple[_Group, npt.NDArray[Any]]:
    """Tensors that have as many numbers as their shape says, and these, a row for each."""
    form = np.dtype(FORMS[dtype])
    size, start = messages.varints(group.bytes(), group.at + 1)
    fits = (start > 0) & (size == (group.ends - start).astype(np.uint64)) & (start < group.ends)
    if field == CONTENT or FIXED.get(field) == dtype:
        fits &= group.ends - start == count * form.itemsize
        data = messages.rows(group.bytes(), start[fits], count * form.itemsize)
        if form == np.bool_:
            fits[fits] = (data < 2).all(axis=1)
            data = data[(data < 2).all(axis=1)]
        return group.take(fits), data.view(form)
    if dtype not in VARINTS.get(field, ()):
        return group.take([]), np.zeros((0, count))
    return _varints(group.take(fits), start[fits], form, count)


def _varints(
    group: _Group, starts: Ints, form: np.dtype[Any], count: int
) -> tuple[_Group, npt.NDArray[Any]]:
    data, last = group.bytes(), group.ends - 1
    at, values = starts, []
    fits = np.ones(len(starts), np.bool_)
    for _ in range(count):
        value, after = messages.varints(data, np.minimum(at, last))
        fits &= (after > 0) & (at < group.ends)
        values.append(value.view(np.int64))
        at = after
    fits &= at == group.ends
    found = np.stack(values, axis=1)[fits]
    if form == np.bool_:
        found = (found != 0).astype(np.int64)
    fitting = (found.astype(form).astype(np.int64) == found).all(axis=1)
    fits[fits] = fitting
    return group.take(fits), found[fitting].astype(form)


def _numbers(
    group: _Group, plugin: str, shape: tuple[int, ...], values: npt.NDArray[Any]
) -> Iterator[Columns]:
    if plugin == "scalars" and values.shape[1] == 1:
        number = values[:, 0]
        exact = number.astype(np.float64)
        if number.dtype.kind == "b":
            return
        fits = np.abs(exact) <= EXACT if number.dtype.kind in "iu" else np.ones(len(exact), bool)
        yield Columns(group.rows[fits], "", exact[fits])
    elif plugin == "histograms" and shape[1:] == (3,) and values.dtype.kind == "f":
        yield _histograms(group, values.astype(np.float64).reshape(len(values), *shape))
    else:
        yield Columns(group.rows, "json", _plain(plugin, shape, values.dtype.name, _json(values)))


def _json(values: npt.NDArray[Any]) -> pa.Array:
    flat = np.ascontiguousarray(values).reshape(-1)
    if flat.dtype.kind == "f":
        return jsons.floats(flat.astype(np.float64))
    return jsons.integers(flat.astype(flat.dtype.newbyteorder("=")))


def _plain(plugin: str, shape: tuple[int, ...], dtype: str, texts: pa.Array) -> pa.Array:
    about = {"_type": "tensor", "plugin": plugin, "dtype": dtype, "shape": [*shape]}
    head = json.dumps(about, ensure_ascii=False)[:-1]
    return jsons.joined(f'{head}, "values": ', jsons.nested(texts, shape), "}")


def _histograms(group: _Group, values: npt.NDArray[np.float64]) -> Columns:
    left, right, counts = values[..., 0], values[..., 1], values[..., 2]
    fits = (left[:, 1:] == right[:, :-1]).all(axis=1) & _are_counts(counts).all(axis=1)
    bins = np.concatenate([left, right[:, -1:]], axis=1)[fits]
    edges = jsons.nested(jsons.floats(bins.reshape(-1)), bins.shape[1:])
    inside = jsons.nested(jsons.counts(counts[fits].reshape(-1)), counts.shape[1:])
    return Columns(group.rows[fits], "histogram", _histogram(edges, inside))


def _histogram(bins: pa.Array, counts: pa.Array, *about: pa.Array | str) -> pa.Array:
    head = '{"_type": "histogram", "bins": '
    return jsons.joined(head, bins, ', "values": ', counts, *about, "}")


def _are_counts(values: npt.NDArray[np.float64]) -> Bools:
    return np.asarray((np.abs(values) <= EXACT) & (values == np.rint(values)))


def _old_histograms(group: _Group) -> Columns:
    data = group.bytes()
    told = Messages(data, group.at, group.ends, HISTOGRAM)
    (limit, limit_end), (bucket, bucket_end) = told.span(6), told.span(7)
    sizes, num = limit_end - limit, told.floats(3)
    fits = (told.at == group.ends) & (sizes > 0) & (sizes % 8 == 0) & (bucket_end > bucket)
    fits &= ((bucket_end - bucket) % 8 == 0) & _are_counts(num)
    [chosen] = np.nonzero(fits)
    numbers = (bucket_end - bucket)[chosen] // 8
    counts = _doubles(data, messages.places(bucket[chosen], numbers, 8))
    whole = np.logical_and.reduceat(_are_counts(counts), np.cumsum(numbers) - numbers)
    counts = counts[np.repeat(whole, numbers)]
    chosen, numbers = chosen[whole], numbers[whole]
    length = sizes[chosen] // 8
    offsets = np.concatenate([[0], np.cumsum(length + 1)])
    bins = np.empty(offsets[-1])
    last = offsets[1:] - 1
    bins[offsets[:-1]], bins[last] = told.floats(1)[chosen], told.floats(2)[chosen]
    inner = np.ones(len(bins), np.bool_)
    inner[offsets[:-1]] = inner[last] = False
    bins[inner] = _doubles(data, messages.places(limit[chosen], length - 1, 8))
    about: list[pa.Array | str] = []
    for name, number in (("min", 1), ("max", 2), ("num", 3), ("sum", 4), ("sum_squares", 5)):
        write = jsons.counts if name == "num" else jsons.floats
        about += [f', "{name}": ', write(told.floats(number)[chosen])]
    about += [', "last_limit": ', jsons.floats(_doubles(data, limit_end[chosen] - 8))]
    edges = jsons.lists(jsons.floats(bins), offsets)
    inside = jsons.lists(jsons.counts(counts), np.concatenate([[0], np.cumsum(numbers)]))
    return Columns(group.rows[chosen], "histogram", _histogram(edges, inside, *about))


def _doubles(data: Bytes, at: Ints) -> npt.NDArray[np.float64]:
    return messages.rows(data, at, 8).view("<f8")[:, 0].astype(np.float64)


def _strings(
    group: _Group, plugin: str, shape: tuple[int, ...], count: int
) -> Iterator[Columns | Media]:
    """Of tensors of strings; they stand one behind the other."""
    data, at = group.bytes(), group.at
    fits = np.ones(len(at), np.bool_)
    spans = []
    for _ in range(count):
        inside = fits & (at < group.ends)
        fits = inside & (data[np.minimum(at, len(data) - 1)] == (STRINGS << 3 | wire.BYTES))
        size, start = messages.varints(data, at + 1)
        at = start + np.minimum(size, len(data)).astype(np.int64)
        fits &= start > 0
        spans.append((start, at))
    fits &= at == group.ends
    found = group.take(fits)
    starts, stops = (np.stack([span[side][fits] for span in spans], axis=1) for side in (0, 1))
    if plugin in ("images", "audio"):
        if len(shape) == 1 if plugin == "images" else shape == (1, 2):
            yield from filter(None, [media.of_tensors(plugin, *found[:2], starts, stops)])
        return
    pieces = zip(starts.reshape(-1).tolist(), stops.reshape(-1).tolist())
    texts = [_text(group.data[start:stop]) for start, stop in pieces]
    readable = [text is not None for text in texts]
    if not all(readable):
        good = np.array(readable, np.bool_).reshape(-1, count).all(axis=1)
        texts = [text for text, is_good in zip(texts, np.repeat(good, count)) if is_good]
        found = found.take(good)
    if not len(found.rows):
        return
    column = pa.array(texts, pa.string())
    if plugin != "text":
        yield Columns(found.rows, "json", _plain(plugin, shape, "string", column))
    elif count == 1:
        yield Columns(found.rows, "text", column, shape)
    else:
        yield Columns(found.rows, "text", jsons.nested(column, shape))


def _text(data: bytes) -> str | None:
    """A text as JSON; None where it is none."""
    try:
        return str(encode_basestring(data.decode()))
    except UnicodeDecodeError:
        return None
