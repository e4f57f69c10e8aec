"""Reads the event files of a run: batches of its points, and the facts beside them."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trackbridge.adapter import Batch, Row, RunRef
from trackbridge.columns import sliced
from trackbridge.optional import Excerpt as Part
from trackbridge.schema import TABLES, TIME
from trackbridge_adapters.tensorboard import beside, wire
from trackbridge_adapters.tensorboard.facts import Facts, content_of
from trackbridge_adapters.tensorboard.framing import (
    Damage,
    Frames,
    Ints,
    frames,
    is_sound,
    unsound,
)
from trackbridge_adapters.tensorboard.gathered import FIRST_SECOND, LAST_SECOND, Numbers, Series
from trackbridge_adapters.tensorboard.protos import (
    DecodeError,
    LogMessage,
    SessionLog,
    Summary,
    json_format,
)
from trackbridge_adapters.tensorboard.scalars import (
    Alike,
    Spot,
    scalar_at,
    scalars,
    spot_in,
)
from trackbridge_adapters.tensorboard.texts import Texts, texts
from trackbridge_adapters.tensorboard.values import Number, Place, points

WHOLE = {
    wire.GRAPH: ("_graph_def", "graphs", ".pb"),
    wire.META_GRAPH: ("_meta_graph_def", "graphs", ".pb"),
    wire.RUN_METADATA: ("_run_metadata", "run_metadata", ".pb"),
}
"""Events that are files of the run: key of the series, folder, ending."""
MESSAGES = {
    wire.LOG_MESSAGE: ("_log_message", LogMessage),
    wire.SESSION_LOG: ("_session_log", SessionLog),
}


class Value(NamedTuple):
    """A value of a summary in a record that is read by itself."""

    number: int
    event: wire.Event
    tag: str
    metadata: bytes | None
    place: Place
    spot: Spot | None
    may_carry: bool
    """Whether rows of ours may stand beside it."""


class Scan:
    """One reading of a run; `facts` are whole when its batches have been taken."""

    def __init__(
        self,
        ref: RunRef,
        files: Collection[Path],
        sizes: dict[Path, int],
        wanted: Collection[str],
        part: Part | None = None,
    ) -> None:
        self.facts = Facts()
        self.damage: dict[Path, list[Damage]] = {}
        self._ref, self._files, self._sizes = ref, files, sizes
        self._wanted, self._only = wanted, part
        self._codes: dict[str, int] = {}
        self._series = Series(ref)

    def batches(self) -> Iterator[Batch]:
        for file in self._files:
            damage = self.damage[file] = []
            self.facts.event_files[file.name] = {}
            with file.open("rb") as stream:
                for part in frames(stream, damage, self._sizes[file]):
                    yield from self._part(file, part, damage)

    def _part(self, file: Path, part: Frames, damage: list[Damage]) -> Iterator[Batch]:
        self._series = Series(self._ref)
        alikes, rest = scalars(part, damage)
        told, rest = texts(part, rest)
        events = list(self._events(part, rest, damage))
        values = [v for event in events for v in self._values(file, part, *event, damage)]
        self._note_tags(alikes, values)
        numbers = Numbers()
        for alike in alikes:
            self.facts.note_time(float(np.fmax.reduce(alike.times, initial=np.nan)))
            values += self._numbers(file, part, alike, numbers, damage)
        if told is not None:
            values += self._texts(file, part, told, damage)
        for value in sorted(values, key=lambda value: value.number):
            self._value(value, numbers, damage)
        for number, event, data in events:
            self._other(file, part, number, event, data)
        if "metrics" in self._wanted:
            yield from self._metrics(numbers)
        if "series" in self._wanted:
            yield from self._series.batches()

    def _events(
        self, part: Frames, rest: list[int], damage: list[Damage]
    ) -> Iterator[tuple[int, wire.Event, bytes]]:
        for number in rest:
            start, size = int(part.starts[number]), int(part.sizes[number])
            if not is_sound(part.data, start, size):
                damage.append(unsound(part, start))
                continue
            data = part.data[start : start + size]
            try:
                event = wire.event(data)
            except wire.WireError as error:
                damage.append(Damage(unsound(part, start).offset, f"no event: {error}"))
                continue
            self.facts.note_time(event.time)
            yield number, event, data

    def _values(
        self,
        file: Path,
        part: Frames,
        number: int,
        event: wire.Event,
        data: bytes,
        damage: list[Damage],
    ) -> Iterator[Value]:
        base = part.base + int(part.starts[number])
        for field in event.fields:
            if field.number != wire.SUMMARY:
                continue
            try:
                for inner in wire.fields(data, field.start, field.stop):
                    if inner.number == wire.VALUE and inner.wire == wire.BYTES:
                        place = Place(file, data[inner.start : inner.stop], base + inner.start, "")
                        yield _value_at(place, number, event)
            except (wire.WireError, UnicodeDecodeError) as error:
                damage.append(Damage(base, f"a summary that is none: {error}"))

    def _note_tags(self, alikes: list[Alike], values: list[Value]) -> None:
        """Take down the metadata of tags, in the order of their events."""
        first: dict[tuple[str, bytes], int] = {}
        for value in values:
            if value.metadata:
                first.setdefault((value.tag, value.metadata), value.number)
        told = [(number, tag, metadata) for (tag, metadata), number in first.items()]
        for alike in alikes:
            for template in np.unique(alike.template).tolist():
                for spot in alike.templates[template]:
                    if spot.metadata:
                        told.append((alike.first(template), spot.tag, spot.metadata))
        for _, tag, metadata in sorted(told):
            self.facts.note_tag(tag, metadata)

    def _numbers(
        self, file: Path, part: Frames, alike: Alike, numbers: Numbers, damage: list[Damage]
    ) -> list[Value]:
        """Take the points of records; values that are shown otherwise are given back."""
        shown = np.array([self._is_scalar(spots) for spots in alike.templates], np.bool_)
        chosen = shown[alike.template] if len(alike.template) else np.zeros(0, np.bool_)
        others = self._single(file, part, alike.rows[~chosen], damage)
        kept = alike.take(chosen)
        for place, values in enumerate(kept.values):
            tags = [spots[place].tag if ok else None for spots, ok in zip(kept.templates, shown)]
            codes = np.array([-1 if tag is None else self._code(tag) for tag in tags], np.int64)
            numbers.add(kept.rows, codes[kept.template], kept.steps, kept.times, values)
        return others

    def _texts(self, file: Path, part: Frames, found: Texts, damage: list[Damage]) -> list[Value]:
        """Take the texts of records; those that are shown otherwise are given back."""
        self.facts.note_time(float(np.fmax.reduce(found.times, initial=np.nan)))
        shown = [self.facts.plugin(*kind) == "text" for kind in found.kinds]
        chosen = np.array(shown, np.bool_)[found.kind]
        if "series" in self._wanted:
            self._series.add_texts(found.take(chosen))
        return self._single(file, part, found.rows[~chosen], damage)

    def _single(self, file: Path, part: Frames, rows: Ints, damage: list[Damage]) -> list[Value]:
        """The values of records that are read by themselves after all."""
        events = self._events(part, rows.tolist(), damage)
        return [v for event in events for v in self._values(file, part, *event, damage)]

    def _is_scalar(self, spots: list[Spot]) -> bool:
        return bool(spots) and all(
            not spot.is_tensor or self.facts.plugin(spot.tag, spot.metadata) == "scalars"
            for spot in spots
        )

    def _code(self, tag: str) -> int:
        return self._codes.setdefault(tag, len(self._codes))

    def _value(self, value: Value, numbers: Numbers, damage: list[Damage]) -> None:
        event, spot = value.event, value.spot
        if spot is not None and self._is_scalar([spot]):
            number = scalar_at(value.place.data, spot)
            numbers.one(value.number, self._code(spot.tag), event, number)
            return
        plugin = self.facts.plugin(value.tag, value.metadata)
        try:
            message = Summary.Value.FromString(value.place.data)
        except DecodeError:
            damage.append(Damage(value.place.offset, f"a value of {value.tag!r} that is none"))
            return
        if value.may_carry and self._carried(message.tensor.string_val, value, damage):
            return
        for point in points(message, value.place._replace(plugin=plugin), event.step, self.facts):
            if isinstance(point, Number):
                numbers.one(value.number, self._code(value.tag), event, point.value)
            else:
                self._add(value.tag, value.number, event, point)

    def _carried(self, strings: Sequence[bytes], value: Value, damage: list[Damage]) -> bool:
        """Take the rows that a value of ours stands for, if it is one."""
        try:
            told = beside.rows(value.place.data, strings)
        except (wire.WireError, ValueError) as error:
            damage.append(Damage(value.place.offset, f"a value of {value.tag!r}: {error}"))
            return False
        for row in told:
            content = beside.content(row, value.place, strings)
            if content is not None:
                self.facts.files[row["path"]] = content
            if "series" in self._wanted:
                self._series.add_whole(value.number, beside.columns(row))
        return bool(told)

    def _other(self, file: Path, part: Frames, number: int, event: wire.Event, data: bytes) -> None:
        """What an event has besides a summary."""
        base = part.base + int(part.starts[number])
        for field in event.fields:
            content = data[field.start : field.stop]
            if field.number == wire.FILE_VERSION:
                self.facts.event_files[file.name]["version"] = content.decode("utf-8", "replace")
            elif field.number == wire.SOURCE:
                self.facts.event_files[file.name]["writer"] = _writer(content)
            elif field.number == wire.SESSION_LOG and content == beside.START:
                continue
            elif field.number in MESSAGES:
                key, message = MESSAGES[field.number]
                self._add(key, number, event, _message(message, content))
            elif field.number in WHOLE:
                key, folder, ending = WHOLE[field.number]
                kept = content_of(file, base + field.start, content, None)
                path = self.facts.keep(folder, key.lstrip("_"), event.step, ending, kept)
                value = {"_type": f"tensorboard{key}", "path": path, "size": kept.size}
                self._add(
                    key, number, event, {"kind": "json", "value": json.dumps(value), "path": path}
                )
            elif field.number != wire.SUMMARY:
                value = {"_type": "event-field", "number": field.number, "wire": field.wire}
                value["base64"] = base64.b64encode(content).decode()
                self._add("_event", number, event, {"kind": "json", "value": json.dumps(value)})

    def _add(self, key: str, number: int, event: wire.Event, row: Row) -> None:
        if "series" in self._wanted:
            self._series.add(key, number, event, row)

    def _metrics(self, numbers: Numbers) -> Iterator[Batch]:
        codes, steps, times, values = numbers.columns()
        if self._only is not None:
            keys = self._only.keys
            names = np.array([keys is None or tag in keys for tag in self._codes], np.bool_)
            chosen = names[codes] & _within(steps, self._only)
            codes, steps, times, values = (c[chosen] for c in (codes, steps, times, values))
        if not len(codes):
            return
        used, indices = np.unique(codes, return_inverse=True)
        tags = list(self._codes)
        count = len(codes)
        known = (times >= FIRST_SECOND) & (times < LAST_SECOND)
        us = np.rint(np.where(known, times, 0) * 1e6).astype(np.int64)
        columns = [
            *(_constant(text, count) for text in self._ref),
            pa.DictionaryArray.from_arrays(
                pa.array(indices.reshape(-1).astype(np.int32)),
                pa.array([tags[code] for code in used.tolist()], pa.string()),
            ),
            pa.array(steps),
            pa.array(us, mask=~known).cast(TIME),
            pa.nulls(count, pa.int64()),
            pa.array(values),
            pa.array(np.zeros(count, np.bool_)),
        ]
        yield from sliced("metrics", pa.RecordBatch.from_arrays(columns, schema=TABLES["metrics"]))


def _within(steps: Ints, part: Part) -> npt.NDArray[np.bool_]:
    found = np.ones(len(steps), np.bool_)
    if part.first is not None:
        found &= steps >= part.first
    if part.last is not None:
        found &= steps <= part.last
    return found


def _value_at(place: Place, number: int, event: wire.Event) -> Value:
    fields = wire.once(place.data, 0, len(place.data))
    if fields is None:
        twice = wire.fields(place.data, 0, len(place.data))
        return Value(number, event, *wire.named(place.data, twice), place, None, True)
    spot = spot_in(place.data, fields)
    named = wire.named(place.data, fields.values())
    return Value(number, event, *named, place, spot, beside.ROWS in fields)


def _message(kind: Any, content: bytes) -> Row:
    """A small message of an event as JSON."""
    try:
        value = json_format.MessageToDict(
            kind.FromString(content), preserving_proto_field_name=True
        )
    except DecodeError:
        value = {"undecoded": content.hex()}
    value = {"_type": f"tensorboard-{kind.DESCRIPTOR.name}", **value}
    return {"kind": "json", "value": json.dumps(value, ensure_ascii=False)}


def _writer(content: bytes) -> str:
    """Which library wrote an event file: the one field of `SourceMetadata`."""
    try:
        found = [content[f.start : f.stop] for f in wire.fields(content, 0, len(content))]
    except wire.WireError:
        found = [content]
    return found[0].decode("utf-8", "replace") if found else ""


def _constant(text: str, count: int) -> pa.Array:
    indices = pa.array(np.zeros(count, np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array([text], pa.string()))
