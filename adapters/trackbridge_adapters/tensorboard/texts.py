"""Takes texts out of the bytes of many records at once.

The records are walked together: a cursor stands in each, and moves behind the same field in all of
them. One that has another field than those of a text anywhere, or one more, is left to be read by
itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trackbridge_adapters.tensorboard import wire
from trackbridge_adapters.tensorboard.framing import Frames, Ints, is_sound
from trackbridge_adapters.tensorboard.scalars import FEW, Floats

TIME, STEP, SUMMARY, VALUE = b"\x09", b"\x10", b"\x2a", b"\x0a"
TAG, TENSOR, METADATA = b"\x0a", b"\x42", b"\x4a"
"""What the fields of an event, of its summary and of its value begin with."""
STRINGS, STRING = b"\x08\x07", b"\x42"
"""Of a tensor: its type, and what a string in it begins with."""
SCALAR, LIST = b"\x12\x00", b"\x12\x04\x12\x02\x08\x01"
"""Of a tensor: the shape without dimensions, and that of one element."""
LENGTH = 5
"""Bytes that the length of a field takes at most."""

Bools = npt.NDArray[np.bool_]
Kind = tuple[bytes, bytes, bool]
"""Tag and metadata of a text, and whether it is a list of one."""


class Texts(NamedTuple):
    """Records of one text each: `rows` are their numbers in the part, `kind` is that of each."""

    rows: Ints
    kind: Ints
    kinds: list[tuple[str, bytes]]
    """Tag and metadata."""
    times: Floats
    steps: Ints
    texts: list[bytes]

    def take(self, chosen: Bools) -> Texts:
        """Some of the records."""
        texts = [self.texts[place] for place in np.flatnonzero(chosen).tolist()]
        return Texts(
            self.rows[chosen], self.kind[chosen], self.kinds, self.times[chosen],
            self.steps[chosen], texts,
        )  # fmt: skip


def texts(part: Frames, numbers: list[int]) -> tuple[Texts | None, list[int]]:
    """The texts among some records, and those that have to be read one by one.

    The first text of each kind is among these: it tells what is to be known of its tag.
    """
    if len(numbers) < FEW:
        return None, numbers
    rows = np.array(numbers, np.int64)
    walk = _Walk(part.data, part.starts[rows], part.sizes[rows])
    walk.event()
    found = _found(part.data, walk, rows)
    return found, np.setdiff1d(rows, found.rows, assume_unique=True).tolist()


def _found(data: bytes, walk: _Walk, rows: Ints) -> Texts:
    """The sound texts of a walk, but the first one of each kind."""
    kinds: dict[Kind, int] = {}
    names: list[tuple[str, bytes]] = []
    places, kind, found = list[int](), list[int](), list[bytes]()
    fitting = np.flatnonzero(walk.fits)
    columns = (column[fitting].tolist() for column in (walk.starts, walk.sizes, *walk.spans))
    is_list = walk.is_list[fitting].tolist()
    for place, start, size, a, b, c, d, e, f, listed in zip(fitting.tolist(), *columns, is_list):
        if is_sound(data, start, size):
            key = (data[a:b], data[e:f], listed)
            number = kinds.get(key)
            if number is not None:
                places.append(place)
                kind.append(number)
                found.append(data[c:d])
            elif _is_text(key[0]):
                kinds[key] = len(names)
                names.append((key[0].decode(), key[1]))
    chosen = np.array(places, np.int64)
    return Texts(
        rows[chosen], np.array(kind, np.int64), names, walk.times(chosen), walk.steps[chosen], found
    )


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class _Walk:
    """Cursors in some records, and which of these have been events of one text so far."""

    def __init__(self, data: bytes, starts: Ints, sizes: Ints) -> None:
        self.fits = np.ones(len(starts), np.bool_)
        self.starts, self.sizes = starts, sizes
        self._bytes = np.frombuffer(data, np.uint8)
        self._at, self._end = starts, starts + sizes

    def event(self) -> None:
        """Move from the beginning to the end; `spans` are where tag, text and metadata are."""
        self._literal(TIME)
        self._at = self._at + 8
        self.steps = self._varint(wire.LONGEST_VARINT, self._skips(STEP)).view(np.int64)
        for field in (SUMMARY, VALUE):
            self._literal(field)
            self.fits &= self._behind() == self._end
        tag = self._content(TAG)
        self._literal(TENSOR)
        tensor_end = self._behind()
        self._literal(STRINGS)
        self._skips(SCALAR)
        self.is_list = self._skips(LIST)
        text = self._content(STRING)
        self.fits &= self._at == tensor_end
        size = self._varint(LENGTH, self._skips(METADATA)).astype(np.int64)
        metadata = self._at, self._at + size
        self.fits &= metadata[1] == self._end
        self.spans = (*tag, *text, *metadata)

    def times(self, places: Ints) -> Floats:
        windows = np.lib.stride_tricks.sliding_window_view(self._bytes, 8)
        found = windows[self.starts[places] + len(TIME)]
        return np.ascontiguousarray(found).view("<f8")[:, 0]

    def _literal(self, expected: bytes) -> None:
        self.fits &= self._skips(expected)

    def _content(self, field: bytes) -> tuple[Ints, Ints]:
        """Where the content of a field is that has to be here; move behind it."""
        self._literal(field)
        end = self._behind()
        start, self._at = self._at, end
        return start, end

    def _behind(self) -> Ints:
        """Move behind a length; where what is so long ends."""
        size = self._varint(LENGTH, self.fits)
        return self._at + size.astype(np.int64)

    def _skips(self, expected: bytes) -> Bools:
        """Move behind some bytes where they are here; where that is."""
        found: Bools = self.fits.copy()
        for place, byte in enumerate(expected):
            found &= self._byte(self._at + place) == byte
        self._at = self._at + found * len(expected)
        return found

    def _varint(self, longest: int, going: Bools) -> npt.NDArray[np.uint64]:
        """Move behind a number; it is 0 where none is here."""
        value = np.zeros(len(self._at), np.uint64)
        for place in range(longest):
            if not going.any():
                break
            byte = self._byte(self._at)
            value |= np.where(going, byte & 127, 0).astype(np.uint64) << np.uint64(7 * place)
            self._at = self._at + going
            going = going & (byte >= 128)
        self.fits &= ~going
        return value

    def _byte(self, at: Ints) -> npt.NDArray[np.uint8]:
        """The byte at each place; what is read beyond a record shows in where its fields end."""
        return self._bytes[np.minimum(at, len(self._bytes) - 1)]
