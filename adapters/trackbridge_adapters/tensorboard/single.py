"""Values of summaries that are read by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from trackbridge_adapters.tensorboard import beside, wire
from trackbridge_adapters.tensorboard.framing import Damage, Frames, Ints
from trackbridge_adapters.tensorboard.scalars import Spot, spot_in
from trackbridge_adapters.tensorboard.summaries import Values
from trackbridge_adapters.tensorboard.values import Place


class Value(NamedTuple):
    """A value of a summary that is read by itself; `at` is its place in the part of the file."""

    at: int
    event: wire.Event
    tag: str
    metadata: bytes | None
    place: Place
    spot: Spot | None
    may_carry: bool
    """Whether rows of ours may stand beside it."""


def value_at(
    file: Path, part: Frames, start: int, stop: int, event: wire.Event, damage: list[Damage]
) -> Iterator[Value]:
    """The value between two offsets of a part, if it is one."""
    place = Place(file, part.data[start:stop], part.base + start, "")
    data = place.data
    try:
        fields = wire.once(data, 0, len(data))
        twice = wire.fields(data, 0, len(data)) if fields is None else fields.values()
        named = wire.named(data, twice)
    except (wire.WireError, UnicodeDecodeError) as error:
        damage.append(Damage(place.offset, f"a value of a summary that is none: {error}"))
        return
    spot = None
    with suppress(wire.WireError):
        spot = None if fields is None else spot_in(data, fields)
    yield Value(start, event, *named, place, spot, fields is None or beside.ROWS in fields)


def taken_apart(file: Path, part: Frames, found: Values, rows: Ints) -> Iterator[Value]:
    """Some of many values, one by one."""
    for row in rows.tolist():
        kind = found.kinds[found.kind[row]]
        start, stop = int(found.starts[row]), int(found.stops[row])
        place = Place(file, part.data[start:stop], part.base + start, "")
        event = wire.Event(float(found.times[row]), int(found.steps[row]), [])
        yield Value(start, event, kind.tag, kind.metadata, place, None, False)
