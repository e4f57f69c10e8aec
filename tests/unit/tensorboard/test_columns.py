"""Values that are taken out of bytes in columns are those that are read one by one."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util.tensor_util import make_tensor_proto
from tensorboardX import SummaryWriter

from trackbridge.adapter import RunRef
from trackbridge_adapters.tensorboard import jsons, layouts, scan, summaries
from trackbridge_adapters.tensorboard.framing import frame

RUN = RunRef("logs", "run")
ALONE = sys.maxsize
SCALAR, LIST = b"\x12\x00", b"\x12\x04\x12\x02\x08\x01"
FORMS = (
    "scalar", "list", "shapeless", "matrix", "negative", "two", "pair", "bare", "other plugin",
    "no plugin", "empty metadata", "no metadata", "simple", "image", "unknown", "repeated",
    "unordered", "sourced", "timeless", "version", "content", "tag twice", "no text", "long shape",
    "odd tag", "endless", "swallowed", "two shapes",
)  # fmt: skip
tags = st.sampled_from(["a", "b", "t/\u00e9", "long" * 50, ""])
steps = st.one_of(st.integers(0, 300), st.integers(-(2**63), 2**63 - 1))
times = st.one_of(st.integers(0, 2**32), st.floats())
contents = st.one_of(
    st.binary(max_size=20), st.text(max_size=20).map(str.encode), st.just(b"x" * 200)
)
forms = st.one_of(st.sampled_from(FORMS[:2]), st.sampled_from(FORMS))
examples = st.tuples(forms, tags, steps, times, contents)


def event(form: str, tag: str, step: int, time: float, content: bytes) -> bytes:
    """The bytes of an event with a text, plain or odd."""
    made = Event(wall_time=time, step=step)
    made.summary.CopyFrom(text_pb(tag, [""]))
    value = made.summary.value[0]
    tensor = value.tensor
    tensor.string_val[:] = [content]
    if form in ("scalar", "shapeless"):
        tensor.tensor_shape.ClearField("dim")
    if form == "shapeless":
        tensor.ClearField("tensor_shape")
    elif form == "matrix":
        tensor.tensor_shape.dim.add(size=1)
    elif form == "negative":
        tensor.tensor_shape.dim[0].size = -1
    elif form == "long shape":
        tensor.tensor_shape.dim[0].name = "batch"
    elif form == "two":
        tensor.string_val.append(content)
        tensor.tensor_shape.dim[0].size = 2
    elif form == "pair":
        made.summary.value.append(value)
    elif form == "bare":
        value.ClearField("metadata")
    elif form == "other plugin":
        value.metadata.plugin_data.plugin_name = "audio"
    elif form == "no plugin":
        value.metadata.ClearField("plugin_data")
        value.metadata.summary_description = "about"
    elif form == "empty metadata":
        value.metadata.Clear()
    elif form == "simple":
        value.simple_value = 0.5
    elif form == "image":
        value.image.encoded_image_string = content
    elif form == "sourced":
        made.source_metadata.writer = "w"
    elif form == "timeless":
        made.ClearField("wall_time")
    elif form == "version":
        tensor.version_number = 1
    elif form == "content":
        tensor.tensor_content = content
    elif form == "no text":
        tensor.ClearField("string_val")
    data: bytes = made.SerializeToString()
    return _odd(form, made, data)


def _odd(form: str, made: Event, data: bytes) -> bytes:
    """Bytes that no writer of protocol buffers makes of a message."""
    head = Event(wall_time=made.wall_time, step=made.step).SerializeToString()
    if form == "unordered":
        return data[len(head) :] + head
    if form == "unknown":
        return data + b"\xfa\x01\x03new"
    if form == "repeated":
        return data + data
    if form == "endless":
        return head[:9] + b"\x10" + b"\xff" * 10 + data[len(head) :]
    value: bytes = made.summary.value[0].SerializeToString()
    tensor = made.summary.value[0].tensor.SerializeToString()
    about = made.summary.value[0].metadata.SerializeToString()
    known = b"\x42" + _length(len(tensor)) + tensor
    if form == "tag twice":
        value += b"\x0a\x01z"
    elif form == "no metadata":
        value += b"\x4a\x02\xff\xff"
    elif form == "odd tag":
        value = b"\x0a\x01\xff" + known
    elif form == "swallowed":
        tensor += b"\x4a" + bytes([len(about)]) + about
        value = b"\x0a\x01a\x42" + _length(len(tensor)) + tensor
    elif form == "two shapes":
        tensor = tensor.replace(LIST, SCALAR + LIST, 1)
        value = b"\x0a\x01a\x42" + _length(len(tensor)) + tensor
    else:
        return data
    made.summary.Clear()
    summary = b"\x0a" + _length(len(value)) + value
    return head + b"\x2a" + _length(len(summary)) + summary


def _length(size: int) -> bytes:
    return bytes([size & 127 | 128, size >> 7])


def read(folder: Path, data: bytes, worth: int = 0) -> tuple[Any, ...]:
    """All that a scan tells; values are taken in columns where there are so many bytes."""
    file = folder / "events.out.tfevents.1"
    file.write_bytes(data)
    reading = scan.Scan(RUN, [file], {file: len(data)}, {"metrics", "series"})
    with mock.patch.object(summaries, "WORTH", worth):
        rows: dict[str, list[Any]] = {"metrics": [], "series": []}
        for batch in reading.batches():
            batch.data.validate(full=True)
            rows[batch.table] += batch.data.to_pylist()
    facts = reading.facts
    told = repr(rows), repr(facts.ended)  # NaN is equal to itself then, and -0.0 is not 0.0
    files = {
        path: (data[kept.offset : kept.offset + kept.size], *kept[2:])
        for path, kept in facts.files.items()
    }
    return *told, facts.tags, facts.shapes, files, facts.damage, reading.damage[file]


@given(st.lists(examples, max_size=15), st.integers(1, 3), st.data())
def test_texts_of_any_form_are_those_that_are_read_one_by_one(
    tmp_path_factory: pytest.TempPathFactory,
    found: list[tuple[str, str, int, float, bytes]],
    times: int,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("run")
    parts = [frame(event(*each)) for each in found] * times
    whole = b"".join(parts)
    assert read(folder, whole) == read(folder, whole, ALONE)
    if not parts:
        return
    changed = bytearray(data.draw(st.sampled_from(parts))[12:-4])  # sound, but another event
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    whole += frame(bytes(changed)) + parts[0]
    assert read(folder, whole) == read(folder, whole, ALONE)
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    assert read(folder, bytes(damaged)) == read(folder, bytes(damaged), ALONE)


doubles = st.one_of(
    st.floats(), st.floats(width=32), st.sampled_from([0.0, -0.0, 1.0, 2.5e9, 1e10])
)
shapes = st.lists(st.integers(0, 3), max_size=3) | st.sampled_from([[3], [1, 2]])
TYPES = [1, 2, 3, 4, 5, 6, 9, 10, 14, 17, 19, 22, 23]
"""Of tensors, from DT_FLOAT to DT_UINT64."""


@st.composite
def tensors(draw: st.DrawFn) -> TensorProto:
    """A tensor of any type whose elements may be as many as its shape says."""
    made = TensorProto(dtype=draw(st.sampled_from(TYPES)))
    for size in draw(shapes):
        made.tensor_shape.dim.add(size=size)
    count = math.prod(dim.size for dim in made.tensor_shape.dim) + draw(st.sampled_from([0, 0, 1]))
    form = layouts.FORMS.get(made.dtype, "<f4")
    if draw(st.booleans()):
        size = np.dtype(form).itemsize
        made.tensor_content = draw(st.binary(min_size=count * size, max_size=count * size))
    elif made.dtype in (1, 2):
        wide = st.floats(width=32) if made.dtype == 1 else doubles
        field = made.float_val if made.dtype == 1 else made.double_val
        field.extend(draw(st.lists(wide, min_size=count, max_size=count)))
    elif made.dtype == 10:
        made.bool_val.extend(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    elif made.dtype == 9:
        numbers = st.integers(-(2**63), 2**63 - 1)
        made.int64_val.extend(draw(st.lists(numbers, min_size=count, max_size=count)))
    else:
        numbers = st.integers(-(2**31), 2**31 - 1) | st.integers(0, 100)
        made.int_val.extend(draw(st.lists(numbers, min_size=count, max_size=count)))
    return made


@st.composite
def strings(draw: st.DrawFn) -> TensorProto:
    made = TensorProto(dtype=7)
    for size in draw(shapes):
        made.tensor_shape.dim.add(size=size)
    count = math.prod(dim.size for dim in made.tensor_shape.dim) + draw(st.sampled_from([0, 0, 1]))
    content = contents | st.sampled_from([b"3", b"12"])
    made.string_val.extend(draw(st.lists(content, min_size=count, max_size=count)))
    return made


@st.composite
def buckets(draw: st.DrawFn) -> TensorProto:
    """A histogram of TensorFlow 2, most often with edges that follow each other."""
    edges = draw(st.lists(doubles, min_size=2, max_size=5))
    counts = draw(st.lists(doubles | st.integers(0, 9), min_size=len(edges), max_size=len(edges)))
    rows = list(zip(edges, edges[1:] + draw(st.sampled_from([[], [1.0]])), counts))
    with np.errstate(over="ignore"):
        array = np.array(rows, draw(st.sampled_from(["<f8", "<f4"])))
    return make_tensor_proto(array)


@st.composite
def values(draw: st.DrawFn) -> Summary.Value:
    made = Summary.Value(tag=draw(st.sampled_from(["a", "b", "t/\u00e9"])))
    kind = draw(
        st.sampled_from(["tensor", "strings", "buckets", "histo", "simple", "image", "audio"])
    )
    if kind == "simple":
        made.simple_value = draw(st.floats(width=32))
    elif kind == "histo":
        histo = made.histo
        for name in ("min", "max", "num", "sum", "sum_squares"):
            setattr(histo, name, draw(doubles | st.integers(0, 9)))
        histo.bucket_limit.extend(draw(st.lists(doubles, max_size=4)))
        histo.bucket.extend(draw(st.lists(st.integers(0, 9) | doubles, max_size=4)))
    elif kind == "image":
        made.image.width = draw(st.sampled_from([0, 3, -1]))
        made.image.encoded_image_string = draw(contents)
    elif kind == "audio":
        made.audio.sample_rate = draw(st.floats(width=32))
        made.audio.content_type = draw(st.sampled_from(["", "audio/wav", "\u00e9"]))
        made.audio.encoded_audio_string = draw(contents)
    else:
        made.tensor.CopyFrom(
            draw({"tensor": tensors, "strings": strings, "buckets": buckets}[kind]())
        )
    plugins = ["scalars", "histograms", "text", "images", "audio", "hparams", "pr_curves"]
    usual = {"strings": "images", "buckets": "histograms"}.get(kind, "scalars")
    if plugin := draw(st.sampled_from([None, usual, usual, *plugins])):
        made.metadata.plugin_data.plugin_name = plugin
    return made


@given(st.lists(st.lists(values(), min_size=1, max_size=4), max_size=6), st.integers(1, 2))
def test_values_of_any_kind_are_those_that_are_read_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, found: list[list[Summary.Value]], times: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    events = [Event(wall_time=n, step=n, summary=Summary(value=v)) for n, v in enumerate(found)]
    whole = b"".join(frame(each.SerializeToString()) for each in events) * times
    assert read(folder, whole) == read(folder, whole, ALONE)


@given(st.lists(doubles | st.integers(-(10**17), 10**17).map(float)))
def test_numbers_are_written_as_python_writes_them(found: list[float]) -> None:
    assert jsons.floats(np.array(found)).to_pylist() == [json.dumps(each) for each in found]


def test_one_tag_in_several_forms_is_read_in_the_order_of_the_file(tmp_path: Path) -> None:
    forms = ("other plugin", "other plugin", "bare", "simple", "other plugin", "bare")
    parts = [frame(event(form, "a", 1, 1.0, form[:n].encode())) for n, form in enumerate(forms)]
    assert read(tmp_path, b"".join(parts)) == read(tmp_path, b"".join(parts), ALONE)


def test_texts_of_a_library_are_taken_in_columns(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(100):
            writer.add_text(f"t{step % 3}", f"step {step}" * (step % 40), step, 1.5 + step)
    [file] = tmp_path.iterdir()
    reading = scan.Scan(RUN, [file], {file: file.stat().st_size}, {"series"})
    with mock.patch.object(scan.Scan, "_value", autospec=True, side_effect=scan.Scan._value) as one:
        rows = [row for batch in reading.batches() for row in batch.data.to_pylist()]
    assert one.call_count == 0
    assert [row["step"] for row in rows] == [*range(100)]
    assert [row["value"] for row in rows] == [f'"{f"step {n}" * (n % 40)}"' for n in range(100)]
    assert [row["time"].timestamp() for row in rows] == [1.5 + n for n in range(100)]
    assert reading.facts.shapes == {f"t{n}/text_summary": [1] for n in range(3)}
