"""Takes points of scalars out of the bytes of many records at once.

Records of one length whose step takes as many bytes have their fields at the same places, as far as
the bytes between them are the same. So rows of bytes are grouped by all of them that are neither
time nor step nor value; the first of each group, a template, is looked at field by field.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trackbridge_adapters.tensorboard import wire
from trackbridge_adapters.tensorboard.checksums import LONGEST, differences, plain, unmasked
from trackbridge_adapters.tensorboard.framing import Damage, Frames, Ints, is_sound, unsound
from trackbridge_adapters.tensorboard.wire import Field, WireError

FEW = 12
"""Records of one length that are not worth being looked at together."""
TRIED = 4
"""Records of one length, spread over all of them, that are looked at for scalars."""
TIME_AT, STEP_AT = 1, 10
TIME_TAG, STEP_TAG = 0x09, 0x10
FORMS = {1: "<f4", 2: "<f8"}
"""Types of tensors whose scalars are read here: DT_FLOAT, DT_DOUBLE."""
CONTENT, FLOATS, DOUBLES = 4, 5, 6
"""Fields of a tensor that may hold its values."""

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.uint8]


class Spot(NamedTuple):
    """A scalar in a record: its tag, where it stands, and of what type it is."""

    tag: str
    at: int
    form: str
    metadata: bytes | None = None
    is_tensor: bool = False
    rough: int = -1
    """Where it stands in single precision, which is what every other program shows."""

    def columns(self) -> list[int]:
        """Offsets of the bytes that may differ between records of one layout."""
        spans = [(self.at, int(self.form[-1]))]
        spans += [(self.rough, 4)] if self.rough >= 0 else []
        return [start + n for start, size in spans for n in range(size)]


Spots = list[Spot]


class Alike(NamedTuple):
    """Records of one layout: `rows` are their numbers in the part, `template` that of each."""

    rows: Ints
    template: Ints
    templates: list[Spots]
    times: Floats
    steps: Ints
    values: list[Floats]
    """By the place of a spot in its template."""

    def take(self, chosen: Any) -> Alike:
        """Some of the records."""
        values = [value[chosen] for value in self.values]
        return Alike(
            self.rows[chosen], self.template[chosen], self.templates, self.times[chosen],
            self.steps[chosen], values,
        )  # fmt: skip

    def first(self, template: int) -> int:
        """The first record that has a template."""
        return int(self.rows[(self.template == template).argmax()])


def scalars(part: Frames, damage: list[Damage]) -> tuple[list[Alike], list[int]]:
    """The scalars of a part, and the numbers of the records that have to be read one by one."""
    found: list[Alike] = []
    rest: list[Ints] = []
    whole = np.frombuffer(part.data, np.uint8)
    for size, numbers in by(part.sizes):
        if len(numbers) < FEW or not STEP_AT < size <= LONGEST:
            rest.append(numbers)
            continue
        windows = np.lib.stride_tricks.sliding_window_view(whole, size + 4)
        rows = windows[part.starts[numbers]]
        for width, chosen in by(_widths(rows, size)):
            if width < 0:
                rest.append(numbers[chosen])
                continue
            group = _Group(part, numbers[chosen], rows[chosen], size, width, damage)
            found += group.layouts()
            rest.append(np.array(group.rest, np.int64))
    return found, sorted(np.concatenate(rest).tolist()) if rest else []


def by(keys: Ints) -> Iterator[tuple[int, Ints]]:
    """Each key, and the places where it is."""
    if not len(keys):
        return
    if (keys == keys[0]).all():
        yield int(keys[0]), np.arange(len(keys))
        return
    order = np.argsort(keys, kind="stable")
    edges = np.flatnonzero(np.diff(keys[order])) + 1
    for places in np.split(order, edges):
        yield int(keys[places[0]]), places


def _widths(rows: Rows, size: int) -> Ints:
    """Bytes of each record's step; -1 where it does not begin with a time."""
    widths = np.full(len(rows), -1)
    timed = rows[:, 0] == TIME_TAG
    stepped = timed & (rows[:, STEP_AT - 1] == STEP_TAG)
    widths[timed & (rows[:, STEP_AT - 1] != STEP_TAG)] = 0
    ends = rows[:, STEP_AT : min(STEP_AT + wire.LONGEST_VARINT, size)] < 128
    known = stepped & ends.any(axis=1)
    widths[known] = ends[known].argmax(axis=1) + 1
    return widths


class _Group:
    """Records of one length whose steps take the same number of bytes."""

    def __init__(
        self, part: Frames, numbers: Ints, rows: Rows, size: int, width: int, damage: list[Damage]
    ) -> None:
        self._part, self._numbers, self._rows = part, numbers, rows
        self._size, self._width, self._damage = size, width, damage
        self._begin = STEP_AT + width if width else STEP_AT - 1
        self.rest: list[int] = []

    def layouts(self) -> Iterator[Alike]:
        """The records of each layout; those of none are in `rest` then."""
        left = np.arange(len(self._rows))
        while len(left):
            tried = np.unique(np.linspace(0, len(left) - 1, TRIED).astype(np.int64))
            found = next(filter(None, (self._spots(int(left[place])) for place in tried)), None)
            if found is None:
                self.rest += self._numbers[left].tolist()
                return
            alike, left = self._alike(left, found)
            yield alike

    def _spots(self, row: int) -> Spots | None:
        """The scalars of a record, if it has nothing else and is sound."""
        [number] = self._numbers[row : row + 1].tolist()
        start = int(self._part.starts[number])
        if not is_sound(self._part.data, start, self._size):
            return None
        return spots_of(self._part.data[start : start + self._size], self._begin)

    def _alike(self, left: Ints, spots: Spots) -> tuple[Alike, Ints]:
        """Records with these spots; and those that have others."""
        columns = [column for spot in spots for column in spot.columns()]
        template, first, same = _templates(self._rows[left][:, self._begin : self._size],
            [column - self._begin for column in columns])  # fmt: skip
        found = [self._spots(int(left[row])) for row in first]
        fitting = np.array(
            [each is not None and _places(each) == _places(spots) for each in found], np.bool_
        )
        unread = np.array([each is None for each in found], np.bool_)[template] | ~same
        self.rest += self._numbers[left[unread]].tolist()
        chosen = fitting[template] & ~unread
        others = left[~chosen & ~unread]
        rows, kept = left[chosen], template[chosen]
        head = [*range(TIME_AT, TIME_AT + 8), *range(STEP_AT, STEP_AT + self._width)]
        sound = self._sound(rows, left[np.array(first)][kept], [*head, *columns])
        for row in rows[~sound].tolist():
            self._damage.append(unsound(self._part, int(self._part.starts[self._numbers[row]])))
        data = self._rows[rows[sound]]
        alike = Alike(
            self._numbers[rows[sound]],
            kept[sound],
            [each if each and fits else [] for each, fits in zip(found, fitting)],
            _column(data, TIME_AT, "<f8"),
            self._steps(data),
            [],
        )
        for place, spot in enumerate(spots):
            values, is_shown = _values(data, spot)
            for row in np.flatnonzero(~is_shown).tolist():
                tag = alike.templates[alike.template[row]][place].tag
                start = int(self._part.starts[alike.rows[row]])
                self._damage.append(differing(tag, unsound(self._part, start).offset))
            alike.values.append(values)
        return alike, others

    def _sound(self, rows: Ints, models: Ints, columns: list[int]) -> npt.NDArray[np.bool_]:
        """Whether the checksums of records are right, by those of others that differ in columns."""
        data = self._rows[:, : self._size]
        crcs = np.zeros(len(data), np.uint32)
        for model in np.unique(models).tolist():
            crcs[model] = plain(data[model].tobytes())
        crc = crcs[models] ^ differences(data[rows], columns, data[models])
        return np.asarray(unmasked(_column(self._rows[rows], self._size, "<u4")) == crc)

    def _steps(self, data: Rows) -> Ints:
        steps = np.zeros(len(data), np.uint64)
        for place in range(self._width):
            byte = (data[:, STEP_AT + place] & 127).astype(np.uint64)
            steps |= byte << np.uint64(7 * place)
        return steps.view(np.int64)


def _places(spots: Spots) -> list[tuple[int, str, int]]:
    return [(spot.at, spot.form, spot.rough) for spot in spots]


def _values(data: Rows, spot: Spot) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The numbers of a spot, and whether they are those that are shown; else it is these."""
    found = _column(data, spot.at, spot.form).astype(np.float64)
    if spot.rough < 0:
        return found, np.ones(len(found), np.bool_)
    shown = _column(data, spot.rough, "<f4")
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = found.astype("<f4")
    agree = (narrow.view("<i4") == shown.view("<i4")) | (np.isnan(narrow) & np.isnan(shown))
    return np.where(agree, found, shown.astype(np.float64)), agree


def differing(tag: str, offset: int) -> Damage:
    """Of a value beside which stands what every other program shows otherwise."""
    return Damage(offset, f"{tag!r} is shown as something else than it is")


def _column(data: Rows, at: int, form: str) -> npt.NDArray[Any]:
    return np.ascontiguousarray(data[:, at : at + int(form[-1])]).view(form)[:, 0]


def _templates(rows: Rows, columns: list[int]) -> tuple[Ints, list[int], npt.NDArray[np.bool_]]:
    """The template of each row, one row that has it, and whether the row is really like that one.

    Rows are told apart by a sum over their bytes, so that two may be taken for one.
    """
    width = -(-rows.shape[1] // 8) * 8
    padded = np.zeros((len(rows), width), np.uint8)
    padded[:, : rows.shape[1]] = rows
    padded[:, columns] = 0
    words = padded.view(np.uint64)
    if (words == words[0]).all():
        return np.zeros(len(rows), np.int64), [0], np.ones(len(rows), np.bool_)
    factors = np.random.default_rng(width).integers(1, 1 << 63, words.shape[1], np.uint64)
    sums = ((words ^ (words >> np.uint64(29))) * (factors | np.uint64(1))).sum(axis=1)
    _, first, template = np.unique(sums, return_index=True, return_inverse=True)
    template = template.reshape(-1)
    same = (words == words[first][template]).all(axis=1)
    return template, first.tolist(), same


def spots_of(data: bytes, begin: int | None = None) -> Spots | None:
    """The scalars of an event that has nothing else; `begin` is where step and time must end."""
    found: Spots = []
    seen: set[int] = set()
    try:
        for field in wire.fields(data, 0, len(data)):
            if field.number in seen or _KNOWN.get(field.number) != field.wire:
                return None
            seen.add(field.number)
            is_head = field.number in (wire.WALL_TIME, wire.STEP)
            if begin is not None and is_head != (field.stop <= begin):
                return None
            if field.number == wire.SUMMARY:
                for value in wire.fields(data, field.start, field.stop):
                    spot = spot_of(data, value)
                    if spot is None:
                        return None
                    found.append(spot)
    except (WireError, UnicodeDecodeError):
        return None
    return found or None


_KNOWN = {wire.WALL_TIME: wire.FIXED64, wire.STEP: wire.VARINT, wire.SUMMARY: wire.BYTES}


def spot_of(data: bytes, value: Field) -> Spot | None:
    """The scalar of a value of a summary, if it is one that stands in the bytes as such."""
    if value.number != wire.VALUE or value.wire != wire.BYTES:
        return None
    parts = wire.once(data, value.start, value.stop)
    return None if parts is None else spot_in(data, parts)


def spot_in(data: bytes, fields: dict[int, Field]) -> Spot | None:
    """The same, by the fields of the value."""
    parts = dict(fields)
    tag, metadata = parts.pop(wire.TAG, None), parts.pop(wire.METADATA, None)
    exact = parts.pop(wire.EXACT, None)
    if tag is None or tag.wire != wire.BYTES or len(parts) != 1:
        return None
    name = data[tag.start : tag.stop].decode()
    about = data[metadata.start : metadata.stop] if metadata else None
    [content] = parts.values()
    if content.number == wire.SIMPLE_VALUE and content.wire == wire.FIXED32:
        if exact is not None and exact.wire == wire.FIXED64:
            return Spot(name, exact.start, "<f8", about, rough=content.start)
        return Spot(name, content.start, "<f4", about)
    if content.number == wire.TENSOR and content.wire == wire.BYTES:
        place = _tensor_scalar(data, content)
        return place and Spot(name, *place, about, is_tensor=True)
    return None


def _tensor_scalar(data: bytes, tensor: Field) -> tuple[int, str] | None:
    """Where the value of a tensor without dimensions stands, and of what type it is."""
    parts = wire.once(data, tensor.start, tensor.stop)
    if parts is None:
        return None
    kind, shape = parts.pop(1, None), parts.pop(2, None)
    parts.pop(3, None)  # the version of the format
    if kind is None or kind.wire != wire.VARINT or len(parts) != 1:
        return None
    form = FORMS.get(wire.varint(data, kind.start, kind.stop)[0])
    [value] = parts.values()
    if form is None or (shape is not None and shape.stop > shape.start):
        return None
    fitting = {"<f4": (CONTENT, FLOATS), "<f8": (CONTENT, DOUBLES)}[form]
    if value.number not in fitting or value.stop - value.start != int(form[-1]):
        return None
    return value.start, form


def scalar_at(data: bytes, spot: Spot) -> tuple[float, bool]:
    """The value of a scalar of one record, and whether it is what is shown."""
    values, is_shown = _values(np.frombuffer(data, np.uint8)[np.newaxis], spot)
    return float(values[0]), bool(is_shown[0])
