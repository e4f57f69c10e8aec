"""Values of summaries that are no plain scalars, as points of the run model."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trackbridge.adapter import Row
from trackbridge_adapters.tensorboard import numbers
from trackbridge_adapters.tensorboard.contents import Content, content_of
from trackbridge_adapters.tensorboard.facts import Facts
from trackbridge_adapters.tensorboard.hparams import PLUGIN
from trackbridge_adapters.tensorboard.protos import make_ndarray

LARGE = 1 << 18
"""Bytes of a value from which on it is a file of the run."""
PADDED = 1 << 16
"""Elements that a tensor may have though fewer stand in its bytes."""
EXACT = 2**53
STRING = 7
"""Type of a tensor (`DT_STRING`)."""
_json = json.JSONEncoder(ensure_ascii=False).encode
IMAGES = (
    (b"\x89PNG", ".png", "image/png"),
    (b"\xff\xd8\xff", ".jpg", "image/jpeg"),
    (b"GIF8", ".gif", "image/gif"),
    (b"BM", ".bmp", "image/bmp"),
    (b"RIFF", ".webp", "image/webp"),
)
SOUNDS = (
    (b"RIFF", ".wav", "audio/wav"),
    (b"OggS", ".ogg", "audio/ogg"),
    (b"fLaC", ".flac", "audio/flac"),
    (b"ID3", ".mp3", "audio/mpeg"),
)
FORMS = {"image": ("images", IMAGES), "audio": ("audio", SOUNDS)}
"""Of each kind: the folder of its files, and the forms that they are known to have."""


class Place(NamedTuple):
    """Where a value stands: its event file, its bytes and their offset, and its tag's plugin."""

    file: Path
    data: bytes
    offset: int
    plugin: str


class Number(NamedTuple):
    """A value that is a point of `metrics`."""

    value: float


def points(value: Any, place: Place, step: int, facts: Facts) -> Iterator[Row | Number]:
    """The points of a value (`Summary.Value`): kind, value and path of each, or its number."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        yield Number(value.simple_value)
    elif kind == "histo":
        yield _old_histogram(value.histo)
    elif kind == "image":
        image = value.image
        size = {"width": image.width, "height": image.height, "colorspace": image.colorspace}
        yield _image(value.tag, image.encoded_image_string, size, place, step, facts)
    elif kind == "audio":
        yield _old_audio(value, place, step, facts)
    elif kind == "tensor":
        yield from _tensor(value, place, step, facts)
    elif place.plugin != PLUGIN:
        yield _row("json", _raw("bytes", place.data))


def _tensor(value: Any, place: Place, step: int, facts: Facts) -> Iterator[Row | Number]:
    if place.plugin == PLUGIN:
        return  # what it says is in its metadata
    array = _array(value.tensor, len(place.data))
    if array is None:
        yield _row("json", _raw("tensor-proto", value.tensor.SerializeToString()))
        return
    found: list[Row | Number] | None = None
    if place.plugin == "scalars" and array.size == 1 and array.dtype.kind in "biuf":
        found = [_scalar(array.reshape(-1)[0].item())]
    elif place.plugin == "histograms" and array.ndim == 2 and array.shape[1:] == (3,):
        found = [_histogram(array)] if array.dtype.kind == "f" else None
    elif place.plugin == "images":
        found = _images(value.tag, array, place, step, facts)
    elif place.plugin == "audio":
        found = _sounds(value.tag, array, place, step, facts)
    elif place.plugin == "text" and array.dtype.kind == "O":
        found = _text(value.tag, array, place, facts)
    yield from found if found is not None else [_plain(value, array, place, step, facts)]


def _array(tensor: Any, size: int) -> Any:
    """A tensor's values; None where they are of a type without values, or are not there."""
    elements = math.prod(dim.size for dim in tensor.tensor_shape.dim)
    if elements < 0 or elements > max(8 * size, PADDED):
        return None
    try:
        if tensor.dtype == STRING and len(tensor.string_val) == elements:
            texts = np.empty(elements, object)
            texts[:] = tensor.string_val
            return texts.reshape([dim.size for dim in tensor.tensor_shape.dim])
        return np.asarray(make_ndarray(tensor))
    except (TypeError, ValueError, KeyError, IndexError, OverflowError):
        return None


def _row(kind: str, value: Any, path: str | None = None) -> Row:
    return {"kind": kind, "value": _json(value), "path": path}


def _scalar(value: Any) -> Row | Number:
    if isinstance(value, int) and abs(value) > EXACT and int(float(value)) != value:
        return _row("integer", value)
    return Number(float(value))


def _old_histogram(histo: Any) -> Row:
    """As TensorBoard shows it: from the least value to the greatest one (data_compat.py, 2.21)."""
    limits, counts = (np.array(part, np.float64) for part in (histo.bucket_limit, histo.bucket))
    about = {
        "min": histo.min,
        "max": histo.max,
        "num": _number(histo.num),
        "sum": histo.sum,
        "sum_squares": histo.sum_squares,
    }
    if not len(limits):
        return numbers.histogram(limits, counts, about)
    bins = np.concatenate([[histo.min], limits[:-1], [histo.max]])
    return numbers.histogram(bins, counts, {**about, "last_limit": float(limits[-1])})


def _histogram(array: Any) -> Row:
    left, right, counts = array.T.astype(np.float64)
    about = {} if np.array_equal(left[1:], right[:-1]) else {"rights": right.tolist()}
    return numbers.histogram(np.concatenate([left, right[-1:]]), counts, about)


def _number(value: float) -> float | int:
    """A count as an integer, where it is one."""
    return int(value) if value.is_integer() and abs(value) <= EXACT else value


def _image(
    tag: str, image: bytes, about: dict[str, Any], place: Place, step: int, facts: Facts
) -> Row:
    at = place.file, place.offset + place.data.find(image)
    value, path = medium("image", tag, step, image, at, _more(about), None, facts)
    return {"kind": "image", "value": value, "path": path}


def _more(about: dict[str, Any]) -> str:
    """What stands in JSON behind other things."""
    return f", {_json(about)[1:-1]}" if about else ""


def medium(
    kind: str,
    tag: str,
    step: int,
    data: bytes,
    place: tuple[Path, int],
    about: str,
    media_type: str | None,
    facts: Facts,
) -> tuple[str, str]:
    """JSON and path of an image or a sound as a file of the run; `place`: event file and offset."""
    folder, forms = FORMS[kind]
    ending, guessed = _form(data, forms)
    digest, size = hashlib.sha256(data).hexdigest(), len(data)
    content = Content(*place, size, digest, media_type or guessed)
    path = facts.keep(folder, tag, step, ending, content)
    return (
        f'{{"_type": "{kind}-file", "path": "{path}", "sha256": "{digest}"'
        f', "size": {size}, "format": "{ending[1:]}"{about}}}'
    ), path


def _form(data: bytes, forms: tuple[tuple[bytes, str, str], ...]) -> tuple[str, str | None]:
    """Ending and media type that a file's first bytes tell."""
    for head, ending, media_type in forms:
        if data.startswith(head):
            return ending, media_type
    return ".bin", None


def _images(
    tag: str, array: Any, place: Place, step: int, facts: Facts
) -> list[Row | Number] | None:
    """Of a tensor of width, height and images; None where it is none."""
    parts = array.reshape(-1).tolist() if array.ndim == 1 and array.dtype.kind == "O" else []
    try:
        width, height = map(int, parts[:2])
    except ValueError:
        return None
    size = {"width": width, "height": height}
    return [_image(tag, image, size, place, step, facts) for image in parts[2:]]


def _sounds(
    tag: str, array: Any, place: Place, step: int, facts: Facts
) -> list[Row | Number] | None:
    """Of a tensor of sounds with their labels, or of sounds alone; None where it is none."""
    if array.dtype.kind != "O" or array.ndim not in (1, 2) or array.shape[1:] not in ((), (2,)):
        return None
    rows: list[Row | Number] = []
    for sound, *labels in array.reshape(len(array), math.prod(array.shape[1:])).tolist():
        about = {"label": _decoded(labels[0])} if any(labels) else {}
        rows.append(_sound(tag, sound, about, place, step, facts))
    return rows


def _sound(
    tag: str, sound: bytes, about: dict[str, Any], place: Place, step: int, facts: Facts
) -> Row:
    at = place.file, place.offset + place.data.find(sound)
    known = about.get("content_type")
    value, path = medium("audio", tag, step, sound, at, _more(about), known, facts)
    return {"kind": "audio", "value": value, "path": path}


def _old_audio(value: Any, place: Place, step: int, facts: Facts) -> Row:
    audio = value.audio
    names = ("content_type", "sample_rate", "num_channels", "length_frames")
    about = {name: getattr(audio, name) for name in names}
    return _sound(value.tag, audio.encoded_audio_string, about, place, step, facts)


def _text(tag: str, array: Any, place: Place, facts: Facts) -> list[Row | Number]:
    if array.size == 1 and array.ndim:
        facts.note_shape(tag, place.offset, array.shape)
        array = array.reshape(())
    return [_row("text", _nested(array))]


def _nested(array: Any) -> Any:
    """The elements of a tensor, as lists in lists."""
    if array.dtype.kind == "O":
        flat = np.array([_decoded(each) for each in array.reshape(-1)] + [None], object)[:-1]
        return flat.reshape(array.shape).tolist()
    if array.dtype.kind == "c":
        return np.stack([array.real, array.imag], axis=-1).tolist()
    if array.dtype.kind == "V":  # small floats of other libraries
        return array.astype(np.float32).tolist()
    return array.tolist()


def _decoded(data: Any) -> Any:
    """Bytes as the text that they are, or as what they are where they are none."""
    if not isinstance(data, bytes):
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"_type": "bytes", "base64": base64.b64encode(data).decode()}


def _plain(value: Any, array: Any, place: Place, step: int, facts: Facts) -> Row:
    """A tensor that no table has a form for: whole, as JSON or as a file with the message."""
    dtype = "string" if array.dtype.kind == "O" else array.dtype.name
    about = {"_type": "tensor", "plugin": place.plugin, "dtype": dtype, "shape": [*array.shape]}
    if len(place.data) <= LARGE:
        return _row("json", {**about, "values": _nested(array)})
    content = content_of(place.file, place.offset, place.data, None)
    path = facts.keep("tensors", value.tag, step, ".summary-value.pb", content)
    return _row("json", {**about, "path": path}, path)


def _raw(kind: str, data: bytes) -> dict[str, Any]:
    return {"_type": kind, "base64": base64.b64encode(data).decode()}
