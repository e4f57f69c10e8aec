"""Reads the event files of a run: batches of its points, and the facts beside them."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trackbridge.adapter import Batch, Row, RunRef
from trackbridge.columns import sliced
from trackbridge.optional import Excerpt
from trackbridge.schema import TABLES, TIME
from trackbridge_adapters.tensorboard import beside, wire
from trackbridge_adapters.tensorboard.carried import Metric
from trackbridge_adapters.tensorboard.contents import content_of
from trackbridge_adapters.tensorboard.facts import Facts
from trackbridge_adapters.tensorboard.framing import (
    Damage,
    Frames,
    Ints,
    frames,
    is_sound,
    unsound,
)
from trackbridge_adapters.tensorboard.gathered import Numbers, Series, microseconds
from trackbridge_adapters.tensorboard.layouts import Columns, columns
from trackbridge_adapters.tensorboard.likeness import Likeness
from trackbridge_adapters.tensorboard.media import Media, media
from trackbridge_adapters.tensorboard.protos import (
    DecodeError,
    LogMessage,
    SessionLog,
    Summary,
    json_format,
)
from trackbridge_adapters.tensorboard.scalars import (
    Alike,
    Floats,
    Spot,
    differing,
    scalar_at,
    scalars,
)
from trackbridge_adapters.tensorboard.single import Value, taken_apart, value_at
from trackbridge_adapters.tensorboard.summaries import ODD, Kind, Values, summaries
from trackbridge_adapters.tensorboard.values import Number, points

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


class Scan:
    """One reading of a run; `facts` are whole when its batches have been taken."""

    def __init__(
        self,
        ref: RunRef,
        files: Collection[Path],
        sizes: dict[Path, int],
        wanted: Collection[str],
        excerpt: Excerpt | None = None,
        tags: Mapping[str, Metric] = MappingProxyType({}),
    ) -> None:
        self.facts = Facts()
        self.damage: dict[Path, list[Damage]] = {}
        self._ref, self._files, self._sizes = ref, files, sizes
        self._wanted, self._only, self._tags = wanted, excerpt, tags
        self._codes: dict[str, int] = {}
        self._series = Series(ref)

    def batches(self) -> Iterator[Batch]:
        for file in self._files:
            damage = self.damage[file] = []
            self.facts.event_files[file.name] = {}
            with file.open("rb") as stream:
                for part in frames(stream, damage, self._sizes[file]):
                    yield from self._part(file, part, damage)

    @cached_property
    def _likeness(self) -> Likeness:
        """Of the rows of this run, all of whose files are in one folder."""
        return Likeness.beside(next(iter(self._files)).parent)

    def _part(self, file: Path, part: Frames, damage: list[Damage]) -> Iterator[Batch]:
        self._series, numbers, begun = Series(self._ref), Numbers(), len(damage)
        alikes, rest = scalars(part, damage)
        found, rest = summaries(part, rest, damage)
        events = list(self._events(part, rest, damage))
        values = [v for event in events for v in self._values(file, part, *event, damage)]
        values += self._odd(file, part, found, damage)
        self._note_tags(part, alikes, found, values)
        others = [self._numbers(part, alike, numbers) for alike in alikes]
        more, rest = summaries(part, sorted(chain.from_iterable(others)), damage)
        again = list(self._events(part, rest, damage))
        values += [v for event in again for v in self._values(file, part, *event, damage)]
        values += self._odd(file, part, more, damage)
        files = list[tuple[Values, Media]]()
        values += self._columns(file, part, found, numbers, files)
        values += self._columns(file, part, more, numbers, files)
        values += self._take_files(file, part, files, {value.tag for value in values})
        for value in sorted(values, key=lambda value: value.at):
            self._value(value, numbers, damage)
        for number, event, data in events:
            self._other(file, part, number, event, data)
        damage[begun:] = sorted(damage[begun:])
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
        start = int(part.starts[number])
        for field in event.fields:
            if field.number != wire.SUMMARY:
                continue
            try:
                for inner in wire.fields(data, field.start, field.stop):
                    if inner.number == wire.VALUE and inner.wire == wire.BYTES:
                        at, stop = start + inner.start, start + inner.stop
                        yield from value_at(file, part, at, stop, event, damage)
            except wire.WireError as error:
                offset = part.base + start
                damage.append(Damage(offset, f"a summary that is none: {error}"))

    def _odd(
        self, file: Path, part: Frames, found: Values, damage: list[Damage]
    ) -> Iterator[Value]:
        """Values of many records that have to be looked at by themselves."""
        for row in np.flatnonzero(found.kind == ODD).tolist():
            event = wire.Event(float(found.times[row]), int(found.steps[row]), [])
            start, stop = int(found.starts[row]), int(found.stops[row])
            yield from value_at(file, part, start, stop, event, damage)

    def _note_tags(
        self, part: Frames, alikes: list[Alike], found: Values, values: list[Value]
    ) -> None:
        """Take down the metadata of tags, in the order of the file."""
        told = [(value.at, value.tag, value.metadata) for value in values if value.metadata]
        kinds, first = np.unique(found.kind, return_index=True)
        for kind, at in zip(kinds.tolist(), found.starts[first].tolist()):
            if kind != ODD and found.kinds[kind].metadata:
                told.append((at, found.kinds[kind].tag, found.kinds[kind].metadata))
        for alike in alikes:
            for template in np.unique(alike.template).tolist():
                start = int(part.starts[alike.first(template)])
                for spot in alike.templates[template]:
                    if spot.metadata:
                        told.append((start + spot.at, spot.tag, spot.metadata))
        for _, tag, metadata in sorted(told):
            self.facts.note_tag(tag, metadata)

    def _numbers(self, part: Frames, alike: Alike, numbers: Numbers) -> list[int]:
        """Take the points of records; those of values that are shown otherwise are given back."""
        self._note_time(alike.times)
        shown = np.array([self._is_scalar(spots) for spots in alike.templates], np.bool_)
        chosen = shown[alike.template] if len(alike.template) else np.zeros(0, np.bool_)
        kept = alike.take(chosen)
        starts = part.starts[kept.rows]
        for place, values in enumerate(kept.values):
            spots = [each[place] if ok else None for each, ok in zip(kept.templates, shown)]
            codes = [ODD if spot is None else self._code(spot.tag) for spot in spots]
            at = np.array([0 if spot is None else spot.at for spot in spots], np.int64)
            places = starts + at[kept.template]
            code = np.array(codes, np.int64)[kept.template]
            numbers.add(places, code, kept.steps, kept.times, values)
        others: list[int] = alike.rows[~chosen].tolist()
        return others

    def _columns(
        self,
        file: Path,
        part: Frames,
        found: Values,
        numbers: Numbers,
        files: list[tuple[Values, Media]],
    ) -> Iterator[Value]:
        """Take the points of values; those that have to be read by themselves are given back."""
        self._note_time(found.times)
        left = found.kind != ODD
        plugins = [self._plugin(kind) for kind in found.kinds]
        for taken in columns(part.data, found, plugins):
            left[taken.rows] = False
            if isinstance(taken, Media):
                files.append((found, taken))
            else:
                self._take(part, found, taken, numbers)
        yield from taken_apart(file, part, found, np.flatnonzero(left))

    def _take_files(
        self, file: Path, part: Frames, files: list[tuple[Values, Media]], odd: set[str]
    ) -> Iterator[Value]:
        """Take files; of tags with values of several forms they are given back.

        Files of one tag and step are counted in the order in which they stand.
        """
        known = Counter(tag for found, taken in files for tag in found.tags(taken.rows))
        odd |= {tag for tag, count in known.items() if count > 1}
        for found, taken in files:
            is_odd = np.array([kind.tag in odd for kind in found.kinds], np.bool_)
            chosen = is_odd[found.kind[taken.rows]]
            yield from taken_apart(file, part, found, taken.rows[chosen])
            kept = taken.take(~chosen)
            told, paths = media(file, part, found, kept, self.facts)
            self._take(part, found, Columns(kept.rows, kept.kind, told, paths=paths), Numbers())

    def _take(self, part: Frames, found: Values, taken: Columns, numbers: Numbers) -> None:
        rows = taken.rows
        kind, starts = found.kind[rows], found.starts[rows]
        steps, times = found.steps[rows], found.times[rows]
        used, first, indices = np.unique(kind, return_index=True, return_inverse=True)
        tags = [found.kinds[code].tag for code in used.tolist()]
        if not taken.kind:
            codes = np.array([self._code(tag) for tag in tags], np.int64)
            numbers.add(starts, codes[indices], steps, times, taken.values)
            return
        for tag, at in zip(tags, starts[first].tolist()) if taken.shape else ():
            self.facts.note_shape(tag, part.base + at, taken.shape)
        if "series" in self._wanted:
            keys = pa.array(tags, pa.string()).take(pa.array(indices))
            self._series.add_columns(starts, keys, steps, times, taken)

    def _plugin(self, kind: Kind) -> str | None:
        """The plugin that shows values of a kind; None where their metadata are none."""
        if kind.metadata and self.facts.metadata(kind.metadata) is None:
            return None
        return self.facts.plugin(kind.tag, kind.metadata)

    def _note_time(self, times: Floats) -> None:
        self.facts.note_time(float(np.fmax.reduce(times, initial=np.nan)))

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
            number, is_shown = scalar_at(value.place.data, spot)
            if not is_shown:
                damage.append(differing(spot.tag, value.place.offset))
            numbers.one(value.at, self._code(spot.tag), event, number)
            return
        plugin = self.facts.plugin(value.tag, value.metadata)
        try:
            message = Summary.Value.FromString(value.place.data)
        except DecodeError:
            damage.append(Damage(value.place.offset, f"a value of {value.tag!r} that is none"))
            return
        if value.may_carry and self._carried(message.tensor, value, plugin, damage):
            return
        for point in points(message, value.place._replace(plugin=plugin), event.step, self.facts):
            if isinstance(point, Number):
                numbers.one(value.at, self._code(value.tag), event, point.value)
            else:
                self._add(value.tag, value.at, event, point)

    def _carried(self, tensor: Any, value: Value, plugin: str, damage: list[Damage]) -> bool:
        """Take the rows that a value of ours stands for, if they are what is shown."""
        strings = tensor.string_val
        try:
            told = beside.rows(value.place.data, strings)
        except (wire.WireError, ValueError) as error:
            damage.append(Damage(value.place.offset, f"a value of {value.tag!r}: {error}"))
            return False
        if told and not self._likeness.is_shown(told, tensor, plugin):
            damage.append(differing(value.tag, value.place.offset))
            return False
        for row in told:
            content = beside.content(row, value.place, strings)
            if content is not None:
                self.facts.files.put(row["path"], content)
            if "series" in self._wanted:
                self._series.add_whole(value.at, beside.columns(row))
        return bool(told)

    def _other(self, file: Path, part: Frames, number: int, event: wire.Event, data: bytes) -> None:
        """What an event has besides a summary."""
        start = int(part.starts[number])
        for field in event.fields:
            at = start + field.start
            content = data[field.start : field.stop]
            if field.number == wire.FILE_VERSION:
                self.facts.event_files[file.name]["version"] = content.decode("utf-8", "replace")
            elif field.number == wire.SOURCE:
                self.facts.event_files[file.name]["writer"] = _writer(content)
            elif field.number == wire.SESSION_LOG and content == beside.START:
                continue
            elif field.number in MESSAGES:
                key, message = MESSAGES[field.number]
                self._add(key, at, event, _message(message, content))
            elif field.number in WHOLE:
                key, folder, ending = WHOLE[field.number]
                kept = content_of(file, part.base + at, content, None)
                path = self.facts.keep(folder, key.lstrip("_"), event.step, ending, kept)
                value = {"_type": f"tensorboard{key}", "path": path, "size": kept.size}
                self._add(
                    key, at, event, {"kind": "json", "value": json.dumps(value), "path": path}
                )
            elif field.number != wire.SUMMARY:
                value = {"_type": "event-field", "number": field.number, "wire": field.wire}
                value["base64"] = base64.b64encode(content).decode()
                self._add("_event", at, event, {"kind": "json", "value": json.dumps(value)})

    def _add(self, key: str, at: int, event: wire.Event, row: Row) -> None:
        if "series" in self._wanted:
            self._series.add(key, at, event, row)

    def _metrics(self, numbers: Numbers) -> Iterator[Batch]:
        codes, steps, times, values = numbers.columns()
        metrics = [self._tags.get(tag, Metric(tag, False)) for tag in self._codes]
        if self._only is not None:
            keys = self._only.keys
            names = np.array([keys is None or each.key in keys for each in metrics], np.bool_)
            chosen = names[codes] & _within(steps, self._only)
            codes, steps, times, values = (c[chosen] for c in (codes, steps, times, values))
        if not len(codes):
            return
        used, indices = np.unique(codes, return_inverse=True)
        names = pa.array([metrics[code].key for code in used.tolist()]).dictionary_encode()
        system = np.array([metrics[code].system for code in used.tolist()], np.bool_)
        count = len(codes)
        us, known = microseconds(times)
        columns = [
            *(_constant(text, count) for text in self._ref),
            pa.DictionaryArray.from_arrays(
                names.indices.take(pa.array(indices.reshape(-1))), names.dictionary
            ),
            pa.array(steps),
            pa.array(us, mask=~known).cast(TIME),
            pa.nulls(count, pa.int64()),
            pa.array(values),
            pa.array(system[indices.reshape(-1)]),
        ]
        yield from sliced("metrics", pa.RecordBatch.from_arrays(columns, schema=TABLES["metrics"]))


def _within(steps: Ints, excerpt: Excerpt) -> npt.NDArray[np.bool_]:
    found = np.ones(len(steps), np.bool_)
    if excerpt.first is not None:
        found &= steps >= excerpt.first
    if excerpt.last is not None:
        found &= steps <= excerpt.last
    return found


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
