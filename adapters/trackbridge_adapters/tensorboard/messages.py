"""Fields of many messages of protocol buffers at once.

The messages are walked together: a cursor stands in each, and moves behind one field in all of them
in a step.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from trackbridge_adapters.tensorboard import wire
from trackbridge_adapters.tensorboard.checksums import Bytes
from trackbridge_adapters.tensorboard.framing import Ints

Bools = npt.NDArray[np.bool_]
SIZES = {wire.FIXED64: 8, wire.FIXED32: 4}


class Messages:
    """Where some fields are in messages; each field is there once at most.

    A cursor stops at the first field that is not known, or was there before, or reaches beyond the
    message: `at` is the end of a message that has known fields alone.
    """

    def __init__(self, data: Bytes, starts: Ints, stops: Ints, known: Mapping[int, int]) -> None:
        self.at = starts.copy()
        self._data = data
        self._slots = {number: slot for slot, number in enumerate(known)}
        self._starts, self._stops = np.full((2, len(known), len(starts)), -1)
        slots, wires = np.full((2, 256), -1)
        for number, kind in known.items():
            slots[number << 3 | kind], wires[number << 3 | kind] = self._slots[number], kind
        live = np.arange(len(starts))
        for _ in known:
            live = live[self.at[live] < stops[live]]
            byte = data[self.at[live]]
            fits = slots[byte] >= 0
            live, byte = live[fits], byte[fits]
            if not len(live):
                return
            slot = slots[byte]
            start, stop = _content(data, self.at[live] + 1, wires[byte])
            fits = (start <= stop) & (stop <= stops[live]) & (self._starts[slot, live] < 0)
            live, slot, start, stop = live[fits], slot[fits], start[fits], stop[fits]
            self._starts[slot, live], self._stops[slot, live] = start, stop
            self.at[live] = stop

    def span(self, number: int) -> tuple[Ints, Ints]:
        """Where the content of a field begins and ends in each message; -1 where it is not."""
        slot = self._slots[number]
        return self._starts[slot], self._stops[slot]

    def has(self, number: int) -> Bools:
        return np.asarray(self.span(number)[0] >= 0)

    def numbers(self, number: int) -> npt.NDArray[np.uint64]:
        """The values of a VARINT field; 0 where it is not."""
        found = np.zeros(len(self.at), np.uint64)
        there = np.flatnonzero(self.has(number))
        found[there] = varints(self._data, self.span(number)[0][there])[0]
        return found

    def floats(self, number: int, form: str = "<f8") -> npt.NDArray[np.float64]:
        """The values of a field of fixed size; 0 where it is not."""
        found = np.zeros(len(self.at))
        there = np.flatnonzero(self.has(number))
        starts = self.span(number)[0][there]
        found[there] = rows(self._data, starts, int(form[-1])).view(form)[:, 0]
        return found


def _content(data: Bytes, at: Ints, wires: Ints) -> tuple[Ints, Ints]:
    """Where contents begin and end behind the tags of fields; -2 where one does not end."""
    start, stop = at.copy(), at + 8
    stop[wires == wire.FIXED32] -= 4
    if (counted := np.flatnonzero((wires == wire.BYTES) | (wires == wire.VARINT))).size:
        value, end = varints(data, at[counted])
        is_bytes = wires[counted] == wire.BYTES
        size = np.where(is_bytes, np.minimum(value, len(data)), 0).astype(np.int64)

        start[counted] = np.where(is_bytes, end, at[counted])
        stop[counted] = np.where(end < 0, -2, end + size)
    return start, stop


def varints(data: Bytes, at: Ints) -> tuple[npt.NDArray[np.uint64], Ints]:
    """Numbers and where they end; -1 where one does not end."""
    last = len(data) - 1
    byte = data[np.minimum(at, last)]
    value, end = (byte & 127).astype(np.uint64), at + 1
    going = np.flatnonzero(byte >= 128)
    for place in range(1, wire.LONGEST_VARINT):
        if not going.size:
            return value, end
        byte = data[np.minimum(at[going] + place, last)]
        value[going] |= (byte & 127).astype(np.uint64) << np.uint64(7 * place)
        end[going] += 1
        going = going[byte >= 128]
    end[going] = -1
    return value, end


def rows(data: Bytes, starts: Ints, size: int) -> Bytes:
    """Pieces of one size, a copy; none of them may reach beyond the data."""
    if not len(starts):
        return np.zeros((0, size), np.uint8)
    found: Bytes = np.lib.stride_tricks.sliding_window_view(data, size)[starts]
    return found


def places(starts: Ints, counts: Ints, size: int) -> Ints:
    """Where the elements of lists are, one list after the other; each has so many bytes."""
    before = np.cumsum(counts) - counts
    found: Ints = np.repeat(starts - before * size, counts) + np.arange(counts.sum()) * size
    return found
