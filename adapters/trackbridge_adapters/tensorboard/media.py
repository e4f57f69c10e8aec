"""Images and sounds in values of one layout: where their bytes are, and what is known of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from trackbridge_adapters.tensorboard import wire
from trackbridge_adapters.tensorboard.facts import Facts
from trackbridge_adapters.tensorboard.framing import Frames, Ints
from trackbridge_adapters.tensorboard.messages import Bools, Messages
from trackbridge_adapters.tensorboard.summaries import Values
from trackbridge_adapters.tensorboard.values import medium

ENCODED = 4
"""Field of an `Image` and of an `Audio`: the bytes of the file."""
IMAGE = {**dict.fromkeys((1, 2, 3), wire.VARINT), ENCODED: wire.BYTES}
"""Height, width, colorspace."""
AUDIO = {
    1: wire.FIXED32,
    **dict.fromkeys((2, 3), wire.VARINT),
    **dict.fromkeys((ENCODED, 5), wire.BYTES),
}
"""Sample rate, number of channels, length in frames, content type."""
LARGEST = 2**31


class Media(NamedTuple):
    """Files in some values, one each; `about` is what their JSON has behind what all have."""

    rows: Ints
    kind: str
    starts: Ints
    stops: Ints
    about: list[str]
    types: list[str | None]
    """Media types, where the values say some."""

    def take(self, chosen: Bools) -> Media:
        """Some of them."""
        places = np.flatnonzero(chosen).tolist()
        return Media(
            self.rows[chosen],
            self.kind,
            self.starts[chosen],
            self.stops[chosen],
            [self.about[place] for place in places],
            [self.types[place] for place in places],
        )


def media(
    file: Path, part: Frames, found: Values, taken: Media, facts: Facts
) -> tuple[pa.Array, pa.Array]:
    """JSON and paths of files in values, which are files of the run from now on."""
    data, base, kind = part.data, part.base, taken.kind
    tags, kinds = [each.tag for each in found.kinds], found.kind[taken.rows].tolist()
    columns = (column.tolist() for column in (found.steps[taken.rows], taken.starts, taken.stops))
    rows = zip(kinds, *columns, taken.about, taken.types)
    values, paths = list[str](), list[str]()
    for code, step, start, stop, about, known in rows:
        place = file, base + start
        value, path = medium(kind, tags[code], step, data[start:stop], place, about, known, facts)
        values.append(value)
        paths.append(path)
    return pa.array(values, pa.string()), pa.array(paths, pa.string())


def images(data: bytes, rows: Ints, at: Ints, ends: Ints) -> Media:
    """Of the messages `Image` that stand between the offsets; odd ones are left out."""
    found = Messages(np.frombuffer(data, np.uint8), at, ends, IMAGE)
    height, width, space = (found.numbers(number) for number in (1, 2, 3))
    chosen = (found.at == ends) & (np.maximum(np.maximum(height, width), space) < LARGEST)
    sizes = (column[chosen].tolist() for column in (width, height, space))
    about = [f', "width": {w}, "height": {h}, "colorspace": {c}' for w, h, c in zip(*sizes)]
    starts, stops = (np.maximum(side, 0)[chosen] for side in found.span(ENCODED))
    return Media(rows[chosen], "image", starts, stops, about, [None] * len(about))


def sounds(data: bytes, rows: Ints, at: Ints, ends: Ints) -> Media:
    """The same of messages `Audio`."""
    found = Messages(np.frombuffer(data, np.uint8), at, ends, AUDIO)
    channels, frames = found.numbers(2), found.numbers(3)
    types = [data[start:stop] for start, stop in zip(*(s.tolist() for s in found.span(5)))]
    chosen = (found.at == ends) & (np.maximum(channels, frames) < LARGEST)
    chosen &= np.array([each.isascii() for each in types], np.bool_)
    named = [each.decode() for each, taken in zip(types, chosen) if taken]
    told = (each[chosen].tolist() for each in (found.floats(1, "<f4"), channels, frames))
    about = [
        f', "content_type": {json.dumps(name)}, "sample_rate": {json.dumps(rate)}'
        f', "num_channels": {count}, "length_frames": {length}'
        for name, rate, count, length in zip(named, *told)
    ]
    starts, stops = (np.maximum(side, 0)[chosen] for side in found.span(ENCODED))
    return Media(rows[chosen], "audio", starts, stops, about, [name or None for name in named])


def of_tensors(plugin: str, data: bytes, rows: Ints, starts: Ints, stops: Ints) -> Media | None:
    """Of tensors of an image behind its width and height, or of a sound before its label.

    The offsets are those of the strings, a row for each tensor; those of other forms are left out.
    """
    form = {("images", 3): (_size, 2), ("audio", 2): (_label, 0)}.get((plugin, starts.shape[1]))
    if form is None:
        return None
    write, place = form
    told = zip(*(side[:, number].tolist() for number in (0, 1) for side in (starts, stops)))
    about = [write(data[a:b], data[c:d]) for a, b, c, d in told]
    chosen = np.array([each is not None for each in about], np.bool_)
    known = [each for each in about if each is not None]
    kind, first, last = "image" if place else "audio", starts[chosen, place], stops[chosen, place]
    return Media(rows[chosen], kind, first, last, known, [None] * len(known))


def _size(width: bytes, height: bytes) -> str | None:
    if not (width.isdigit() and height.isdigit()):
        return None
    return f', "width": {int(width)}, "height": {int(height)}'


def _label(sound: bytes, label: bytes) -> str | None:
    try:
        return f', "label": {json.dumps(label.decode(), ensure_ascii=False)}' if label else ""
    except UnicodeDecodeError:
        return None
