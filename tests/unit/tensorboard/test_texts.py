"""Texts that are taken out of bytes in columns are those that are read one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboardX import SummaryWriter

from trackbridge.adapter import RunRef
from trackbridge_adapters.tensorboard import scan, texts
from trackbridge_adapters.tensorboard.framing import frame

RUN = RunRef("logs", "run")
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
        tensor = tensor.replace(texts.LIST, texts.SCALAR + texts.LIST, 1)
        value = b"\x0a\x01a\x42" + _length(len(tensor)) + tensor
    else:
        return data
    made.summary.Clear()
    summary = b"\x0a" + _length(len(value)) + value
    return head + b"\x2a" + _length(len(summary)) + summary


def _length(size: int) -> bytes:
    return bytes([size & 127 | 128, size >> 7])


def read(folder: Path, data: bytes, few: int | None) -> tuple[Any, ...]:
    """All that a scan tells; with `few`, texts are taken in columns from that many on."""
    file = folder / "events.out.tfevents.1"
    file.write_bytes(data)
    reading = scan.Scan(RUN, [file], {file: len(data)}, {"metrics", "series"})
    alone = mock.patch.object(scan, "texts", lambda part, numbers: (None, numbers))
    with alone if few is None else mock.patch.object(texts, "FEW", few):
        rows: dict[str, list[Any]] = {"metrics": [], "series": []}
        for batch in reading.batches():
            batch.data.validate(full=True)
            rows[batch.table] += batch.data.to_pylist()
    facts = reading.facts
    ended = repr(facts.ended)
    return rows, facts.tags, facts.shapes, facts.files, facts.damage, ended, reading.damage[file]


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
    assert read(folder, whole, 1) == read(folder, whole, None)
    if not parts:
        return
    changed = bytearray(data.draw(st.sampled_from(parts))[12:-4])  # sound, but another event
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    whole += frame(bytes(changed)) + parts[0]
    assert read(folder, whole, 1) == read(folder, whole, None)
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    assert read(folder, bytes(damaged), 1) == read(folder, bytes(damaged), None)


def test_one_tag_in_several_forms_is_read_in_the_order_of_the_file(tmp_path: Path) -> None:
    forms = ("other plugin", "other plugin", "bare", "simple", "other plugin", "bare")
    parts = [frame(event(form, "a", 1, 1.0, form[:n].encode())) for n, form in enumerate(forms)]
    assert read(tmp_path, b"".join(parts), 1) == read(tmp_path, b"".join(parts), None)


def test_texts_of_a_library_are_taken_in_columns(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(100):
            writer.add_text(f"t{step % 3}", f"step {step}" * (step % 40), step, 1.5 + step)
    [file] = tmp_path.iterdir()
    reading = scan.Scan(RUN, [file], {file: file.stat().st_size}, {"series"})
    with mock.patch.object(scan.Scan, "_value", autospec=True, side_effect=scan.Scan._value) as one:
        rows = [row for batch in reading.batches() for row in batch.data.to_pylist()]
    assert one.call_count == 3  # the first of each tag
    assert [row["step"] for row in rows] == [*range(100)]
    assert [row["value"] for row in rows] == [f'"{f"step {n}" * (n % 40)}"' for n in range(100)]
    assert [row["time"].timestamp() for row in rows] == [1.5 + n for n in range(100)]
    assert reading.facts.shapes == {f"t{n}/text_summary": [1] for n in range(3)}
