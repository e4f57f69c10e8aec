"""What people log, as points of the run model: numbers, and everything that is none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

EXACT = 2**53
"""Integers up to it are exact as doubles; larger ones are no points of metrics."""
BINS = 64


class Kept(NamedTuple):
    """A file that was copied into the journal."""

    path: str
    size: int
    sha256: str


class Keeper(Protocol):
    """Copies what a value has beside it into the journal."""

    def keep(self, path: str, content: bytes | Path) -> Kept: ...


class Item(NamedTuple):
    """A point that is no number; `value` is JSON text."""

    key: str
    kind: str
    value: str
    path: str | None = None


class Media:
    """A value that is more than a number or a text."""

    def item(self, key: str, name: str, keeper: Keeper) -> Item:
        """The point under that key; files are kept under names that begin with `name`."""
        raise NotImplementedError


class Histogram(Media):
    """Counts of values in bins of equal width, or counts and edges that are known already."""

    def __init__(
        self,
        values: Any = None,
        bins: int = BINS,
        *,
        counts: Sequence[float] | None = None,
        edges: Sequence[float] | None = None,
    ) -> None:
        if (values is None) == (counts is None or edges is None):
            raise TypeError("a histogram is made of values, or of counts and edges")
        if values is None:
            self.counts, self.edges = list(counts or ()), list(edges or ())
            return
        import numpy as np

        array = np.asarray(_local(values))
        if array.dtype.kind not in "biufV":  # V: small floats of other libraries
            raise TypeError(f"{array.dtype}: only numbers have a histogram")
        flat = array.astype(np.float64).ravel()
        flat = flat[np.isfinite(flat)]
        try:
            with np.errstate(all="ignore"):
                found = np.histogram(flat, bins=bins)
        except (ValueError, IndexError):  # so large that doubles between them are too few, or none
            found = np.array([flat.size]), np.array([flat.min(), flat.max()])
        self.counts, self.edges = found[0].tolist(), found[1].tolist()

    def item(self, key: str, name: str, keeper: Keeper) -> Item:
        value = {"_type": "histogram", "bins": self.edges, "values": self.counts}
        return Item(key, "histogram", dumps(value))


class File(Media):
    """A file of some kind: image, audio, video, html, table, plot or another."""

    def __init__(self, path: str | Path, kind: str = "json", caption: str | None = None) -> None:
        self.path, self.kind, self.caption = Path(path), kind, caption

    def item(self, key: str, name: str, keeper: Keeper) -> Item:
        folder = {"image": "images", "json": "files"}.get(self.kind, self.kind)
        kept = keeper.keep(f"media/{folder}/{name}{self.path.suffix}", self.path)
        return _media(key, self.kind, kept, self.path.suffix[1:], self.caption)


class Image(Media):
    """A picture: an array (height x width, or with 1, 3 or 4 channels; floats from 0 to 1, or
    bytes), a tensor (channels x height x width), a PIL image, a matplotlib figure, or the path of
    a file."""

    def __init__(self, picture: Any, caption: str | None = None) -> None:
        self.picture, self.caption = picture, caption

    def item(self, key: str, name: str, keeper: Keeper) -> Item:
        if isinstance(self.picture, (str, Path)):
            return File(self.picture, "image", self.caption).item(key, name, keeper)
        content, size = _png(self.picture)
        kept = keeper.keep(f"media/images/{name}.png", content)
        return _media(key, "image", kept, "png", self.caption, **size)


class Table(Media):
    """Rows under columns: a pandas (or like) data frame, or a list of each."""

    def __init__(self, columns: Any, data: Sequence[Sequence[Any]] | None = None) -> None:
        if data is None:
            frame = columns
            columns = list(frame.columns)
            rows = getattr(frame, "rows", None)  # of polars; arrays of numbers would lose integers
            data = rows() if rows else frame.to_numpy(dtype=object).tolist()
        self.columns, self.data = [str(column) for column in columns], [list(row) for row in data]

    def item(self, key: str, name: str, keeper: Keeper) -> Item:
        content = dumps({"columns": self.columns, "data": self.data}).encode("utf-8", "replace")
        kept = keeper.keep(f"media/table/{name}.table.json", content)
        size = {"ncols": len(self.columns), "nrows": len(self.data)}
        return _media(key, "table", kept, None, None, **size)


def _media(
    key: str, kind: str, kept: Kept, form: str | None, caption: str | None, **more: int
) -> Item:
    """A point that stands for a file, in the words that both trackers' readers know."""
    value: dict[str, Any] = {"_type": f"{kind}-file", "path": kept.path, "sha256": kept.sha256}
    value |= {"size": kept.size, **more}
    value |= {name: text for name, text in (("format", form), ("caption", caption)) if text}
    return Item(key, kind, dumps(value), kept.path)


def leaves(data: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values of a call by their names; those of nested ones are joined by a dot."""
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{name}.")
        else:
            yield name, value


def number(value: Any) -> float | None:
    """A value as a point of metrics, if it is a number that a double holds."""
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        exact = not isinstance(value, bool) and -EXACT <= value <= EXACT
        return float(value) if exact else None
    if _is_one(value):
        inner = _inner(value)
        return None if inner is value else number(inner)
    return None


def is_late(value: Any) -> bool:
    """Whether it lies on an accelerator, so that reading it would wait for that."""
    device = getattr(value, "device", None)
    return getattr(device, "type", "cpu") not in ("cpu", "meta") and hasattr(value, "clone")


def item(key: str, value: Any, name: str, keeper: Keeper) -> Item:
    """A value that is no number as a point of series."""
    if _is_one(value):
        value = _inner(value)
    if isinstance(value, Media):
        return value.item(key, name, keeper)
    if value is None:
        return Item(key, "null", "null")
    if isinstance(value, bool):
        return Item(key, "boolean", "true" if value else "false")
    if isinstance(value, int):
        return Item(key, "integer", str(value))
    if isinstance(value, str):
        return Item(key, "text", dumps(value))
    if hasattr(value, "columns") and hasattr(value, "to_numpy"):
        return Table(value).item(key, name, keeper)
    if hasattr(value, "savefig") or (hasattr(value, "save") and hasattr(value, "mode")):
        return Image(value).item(key, name, keeper)
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return Histogram(value).item(key, name, keeper)
    return Item(key, "json", dumps(value))


def plain(value: Any) -> Any:
    """A value of the configuration or summary as JSON has it; what JSON does not know as text."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return float(value) if isinstance(value, float) else int(value)
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(part) for part in value), key=str)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return [plain(part) for part in value]
    if (own := members(value)) is not None:
        return plain(own)
    if type(value).__name__ in ("NAType", "NaTType"):  # what pandas has for nothing
        return None
    if _is_scalar(value):
        return plain(_inner(value))
    if hasattr(value, "tolist") and hasattr(value, "shape"):
        return plain(_local(value).tolist())
    return str(value)


def dumps(value: Any) -> str:
    """JSON text of a value; what JSON does not know is text in it."""
    return json.dumps(plain(value), separators=(",", ":"), ensure_ascii=False)


def members(value: Any) -> dict[str, Any] | None:
    """The fields of a data class or of a namespace, as `argparse` makes them; none of others."""
    if isinstance(value, type):
        return None
    if (declared := getattr(value, "__dataclass_fields__", None)) is not None:
        return {name: getattr(value, name) for name in declared}
    return vars(value) if type(value).__name__.endswith("Namespace") else None


def field(value: Any) -> Any:
    """A value of a column of `runs`: times in microseconds since 1970."""
    return int(value.timestamp() * 1e6) if hasattr(value, "timestamp") else plain(value)


def _is_scalar(value: Any) -> bool:
    """Whether it is a number of numpy, torch or the like: an array without dimensions."""
    return getattr(value, "shape", None) == () and hasattr(value, "item")


def _is_one(value: Any) -> bool:
    """Whether it is such a number, or an array of one."""
    shape = getattr(value, "shape", None)
    is_one = shape == () or (isinstance(shape, tuple) and set(shape) == {1})
    return is_one and hasattr(value, "item")


def _inner(value: Any) -> Any:
    """The number of Python that a scalar is; a time, or what is larger than numbers, as text."""
    inner = value.item()
    if isinstance(inner, (bool, float, str)):
        return inner
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if isinstance(inner, int) and kind not in ("m", "M"):
        return inner
    return float(inner) if kind == "f" else str(value)


def _local(values: Any) -> Any:
    """An array of this machine: of a tensor that may lie elsewhere, or be part of a graph."""
    if not hasattr(values, "detach"):
        return values
    here = values.detach().cpu()
    return here.float() if "float8" in str(here.dtype) or "bfloat16" in str(here.dtype) else here


def _png(picture: Any) -> tuple[bytes, dict[str, int]]:
    """A picture as a PNG file, and its size."""
    import io

    buffer = io.BytesIO()
    if hasattr(picture, "savefig"):
        picture.savefig(buffer, format="png")
        return buffer.getvalue(), {}
    if not hasattr(picture, "save"):
        picture = _picture(picture)
    if picture.mode not in _OF_PNG:
        picture = picture.convert("RGB")
    picture.save(buffer, format="PNG")
    return buffer.getvalue(), {"width": picture.width, "height": picture.height}


_OF_PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")
"""Modes of pictures that a PNG file has."""


def _picture(values: Any) -> Any:
    """An array as a picture of Pillow; tensors have their channels first."""
    import numpy as np
    from PIL import Image as Pillow

    array = np.asarray(_local(values))
    if array.ndim == 3 and hasattr(values, "detach"):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[:, :, 0]
    if array.dtype.kind in "fb":
        array = np.rint(np.clip(np.nan_to_num(array.astype(np.float64)), 0, 1) * 255)
    return Pillow.fromarray(np.clip(array, 0, 255).astype(np.uint8))
