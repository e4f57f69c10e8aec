"""Events of a run that are no points of scalars: what opens its file, hyperparameters, series."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from trackbridge.adapter import Row
from trackbridge.times import EPOCH
from trackbridge_adapters.tensorboard import wire
from trackbridge_adapters.tensorboard.beside import START
from trackbridge_adapters.tensorboard.encode_points import message
from trackbridge_adapters.tensorboard.framing import frame
from trackbridge_adapters.tensorboard.names import is_unicode
from trackbridge_adapters.tensorboard.pictures import dimensions
from trackbridge_adapters.tensorboard.protos import (
    Event,
    HParamsPluginData,
    Summary,
    SummaryMetadata,
    TensorProto,
)

VERSION = "brain.Event:2"
FIRST_STEP = -(2**63)
EXPERIMENT = "_hparams_/experiment"
SESSION_START, SESSION_END = "_hparams_/session_start_info", "_hparams_/session_end_info"
"""Tags of the plugin `hparams` (plugins/hparams/metadata.py, 2.21)."""
STATUS = {"finished": 1, "failed": 2, "crashed": 2, "killed": 2, "running": 3}
WAV = b"\x08\x00\x10\x0b"
"""`AudioPluginData` that says so."""
TEXT_SHOWN = 20_000
"""Characters of a text that stands for what TensorBoard has no form for."""
_FLOAT, _DOUBLE, STRING = 1, 2, 7
"""Of `DataType` (types.proto)."""
_BLOBS = 3
"""DATA_CLASS_BLOB_SEQUENCE (summary.proto)."""


class Shown(NamedTuple):
    """A value of a summary as TensorBoard shows it: which plugin does, and the tensor."""

    plugin: str
    tensor: Any
    content: bytes = b""


def opening(seconds: float) -> bytes:
    """The records that a file begins with; always of the same length.

    The start of a session at the lowest step has TensorBoard's Python loader forget what it has
    read of the run so far: a file that this one has replaced.
    """
    version = Event(file_version=VERSION).SerializeToString()
    begin = Event(step=FIRST_STEP).SerializeToString()
    session = message(wire.SESSION_LOG, START)
    time = b"\x09" + np.float64(seconds).tobytes()
    return frame(time + version) + frame(time + begin + session)


def seconds(time: datetime | None, default: float = 0.0) -> float:
    """A time as events have it."""
    return default if time is None else (time - EPOCH) / timedelta(seconds=1)


def event(
    time: float, step: int, tag: str, shown: Shown, rows: bytes = b"", about: Any = None
) -> bytes:
    """The record of a value; `about` are metadata that the tag had, which TensorBoard shows too."""
    metadata = SummaryMetadata()
    if about is not None:
        metadata.CopyFrom(about)
    metadata.plugin_data.plugin_name = shown.plugin
    metadata.plugin_data.content = shown.content
    value = Summary.Value(tag=tag, metadata=metadata)
    if shown.tensor is not None:
        value.tensor.CopyFrom(shown.tensor)
    content = value.SerializeToString() + rows
    whole = Event(wall_time=time, step=step).SerializeToString()
    return frame(whole + message(wire.SUMMARY, message(wire.VALUE, content)))


# Hyperparameters


def hparam(row: Row) -> bool | float | str:
    """A parameter as the plugin can hold it: a bool, a number or a text."""
    kind, text = row.get("type"), row.get("value")
    text = None if text is None else str(text)
    if kind == "boolean" and text in ("true", "false"):
        return text == "true"
    if kind in ("integer", "float"):
        try:
            number = float(text or "")
            if math.isfinite(number) and (kind == "float" or int(text or "") == number):
                return number
        except ValueError:
            return text or ""
    return "null" if text is None else text


def told(value: bool | float | str) -> str:
    """A parameter as text, as it is read back."""
    return value if isinstance(value, str) else json.dumps(value)


def experiment(content: bytes) -> bytes:
    """The event that tells the plugin of an experiment."""
    return event(0.0, 0, EXPERIMENT, _of_hparams(content))


def session(row: Row, params: Iterable[Row], *, hidden: bool) -> bytes:
    """The events of a run's session: what it began with, and how it ended.

    The plugin finds out the experiment's parameters and metrics by itself, of all runs in the log
    folder; an experiment of ours would hide those of others (backend_context.py, 2.21). `hidden`:
    written so that the plugin passes it by, since it fails at steps beyond 32 bits, for all runs.
    """
    values = {param["key"]: hparam(param) for param in params}
    begin = HParamsPluginData()
    begin.session_start_info.SetInParent()
    for key, value in values.items():
        entry = begin.session_start_info.hparams[key]
        if isinstance(value, bool):
            entry.bool_value = value
        elif isinstance(value, float):
            entry.number_value = value
        else:
            entry.string_value = value
    begin.session_start_info.start_time_secs = seconds(row.get("started"))
    end = HParamsPluginData()
    end.session_end_info.status = STATUS.get(row.get("status") or "", 0)
    end.session_end_info.end_time_secs = seconds(row.get("ended"))
    about = SummaryMetadata(data_class=_BLOBS) if hidden else None
    first = seconds(row.get("started"))
    last = seconds(row.get("ended"), first)
    parts = ((first, SESSION_START, begin), (last, SESSION_END, end))
    return b"".join(
        event(time, 0, tag, _of_hparams(data.SerializeToString()), about=about)
        for time, tag, data in parts
    )


def _of_hparams(content: bytes) -> Shown:
    """Metadata alone, with the tensor that the plugin itself writes beside them."""
    return Shown("hparams", tensor(_FLOAT, (0,)), content)


# Series


def shown(kind: str | None, value: Any, contents: Sequence[bytes]) -> Shown | None:
    """A value of some kind as TensorBoard has a form for it; None where it has none.

    `contents` are the bytes of its files: several images may share an event.
    """
    if kind == "image":
        return _images(contents)
    if kind == "audio":
        return _sounds(contents)
    if kind == "histogram":
        return _histogram(value)
    return _texts(value) if kind == "text" else None


def as_text(row: Row) -> Shown:
    """What stands for a value that TensorBoard has no form for."""
    text = row.get("value")
    text = "" if text is None else str(text)
    if len(text) > TEXT_SHOWN:
        text = f"{text[:TEXT_SHOWN]} ... [cut: {len(text)} characters]"
    text = "\n".join(f"    {line}" for line in text.split("\n"))  # Markdown for: as it stands
    path = f"{row['path']}\n\n" if row.get("path") else ""
    return Shown("text", _strings([path + text], ()))


def _images(contents: Sequence[bytes]) -> Shown | None:
    sizes = [dimensions(content) for content in contents]
    if not sizes or sizes[0] is None or None in sizes:
        return None
    head = [str(number).encode() for number in sizes[0]]
    return Shown("images", _strings([*head, *contents], (2 + len(contents),)))


def _sounds(contents: Sequence[bytes]) -> Shown | None:
    if not contents or not all(c[:4] == b"RIFF" and c[8:12] == b"WAVE" for c in contents):
        return None
    flat = [part for content in contents for part in (content, b"")]
    return Shown("audio", _strings(flat, (len(contents), 2)), WAV)


def _texts(value: Any) -> Shown | None:
    if isinstance(value, str):
        return Shown("text", _strings([value], ())) if is_unicode(value) else None
    table = np.array(value, object) if isinstance(value, list) else np.array(None)
    flat = table.reshape(-1).tolist()
    if not flat or not all(isinstance(text, str) and is_unicode(text) for text in flat):
        return None
    return Shown("text", _strings(flat, table.shape))


def _histogram(value: Any) -> Shown | None:
    """Buckets as rows of their ends and their count, from what W&B and TensorBoard call so."""
    told: Mapping[str, Any] = value if isinstance(value, dict) else {}
    counts, bins = told.get("values"), told.get("bins")
    packed = told.get("packedBins")
    try:
        heights = np.asarray(counts, np.float64)
        if isinstance(packed, dict) and int(packed["count"]) == heights.size:
            bins = float(packed["min"]) + float(packed["size"]) * np.arange(heights.size + 1)
        edges = np.asarray(bins, np.float64)
        rights = np.asarray(told.get("rights", edges[1:]), np.float64)
    except (TypeError, ValueError, KeyError, IndexError, OverflowError):
        return None
    if heights.ndim != 1 or edges.shape != (len(heights) + 1,) or rights.shape != heights.shape:
        return None
    rows = np.stack([edges[:-1], rights, heights], axis=1)
    return Shown(
        "histograms", tensor(_DOUBLE, rows.shape, tensor_content=rows.astype("<f8").tobytes())
    )


def _strings(parts: Sequence[str | bytes], shape: Sequence[int]) -> Any:
    texts = [part.encode() if isinstance(part, str) else part for part in parts]
    return tensor(STRING, shape, string_val=texts)


def tensor(dtype: int, shape: Sequence[int], **values: Any) -> Any:
    tensor = TensorProto(dtype=dtype, **values)
    tensor.tensor_shape.SetInParent()
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def parsed(value: str | None) -> Any:
    """JSON as what it says; None where it is none."""
    try:
        return json.loads(value or "null")
    except (ValueError, RecursionError):
        return None
