"""What a JSON text of a log call is: which kind of point, of which parts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from trackbridge_adapters.wandb import jsontext
from trackbridge_adapters.wandb.jsontext import Node, Path, Tree

KINDS = {
    "histogram": "histogram",
    "image-file": "image",
    "images": "image",
    "images/separated": "image",
    "audio": "audio",
    "audio-file": "audio",
    "video": "video",
    "video-file": "video",
    "videos": "video",
    "table": "table",
    "table-file": "table",
    "partitioned-table": "table",
    "joined-table": "table",
    "html": "html",
    "html-file": "html",
    "plotly": "plot",
    "plotly-file": "plot",
    "bokeh-file": "plot",
}
"""`_type` of a value -> kind of `series`; of any other type it is 'json' (wandb 0.10 to 0.31)."""


def kind_of(text: str) -> tuple[str | None, str | None]:
    """Kind of a JSON text as a point of `series`, and its file; no kind where it is no such point.

    Plain numbers are points of `metrics`; plain objects are taken apart. Raises `ValueError`
    where it is not JSON.
    """
    value = jsontext.load(text)
    if isinstance(value, dict):
        kind = value.get("_type")
        if value and not isinstance(kind, str):
            return None, None
        path = value.get("path")
        return KINDS.get(kind or "", "json"), path if isinstance(path, str) else None
    if isinstance(value, (bool, str, list)) or value is None:
        return PLAIN_KINDS[type(value)], None
    exact = isinstance(value, float) or is_double(text, float(text))
    return (None if exact else "integer"), None


PLAIN_KINDS = {bool: "boolean", str: "text", list: "json", type(None): "null"}


def is_double(digits: str, number: float) -> bool:
    """Whether a double stands for an integer: it has that value, or is spelled just like that.

    Go and JavaScript spell whole doubles up to 1e21 like integers, with the fewest digits that
    are not zero.
    """
    if not math.isfinite(number):
        return False
    return int(number) == int(digits) or Decimal(repr(number)) == Decimal(digits)


def parts(node: Node, path: Path) -> Iterator[tuple[Path, str]]:
    """Parts of a plain object; objects with a type, or without content, stay whole."""
    if isinstance(node, str) or not node or _is_typed(node):
        yield path, jsontext.dump(node)
    else:
        for key, inner in node.items():
            yield from parts(inner, (*path, key))


def _is_typed(tree: Tree) -> bool:
    kind = tree.get("_type")
    return isinstance(kind, str) and kind.startswith('"')


def typed(item: Any) -> str:
    """A history item's value as JSON text, where it is in a field of its own type (wandb 0.31)."""
    field = item.WhichOneof("value")
    if field in (None, "none"):
        return "null"
    value = getattr(item, field)
    if field == "boolean":
        return "true" if value else "false"
    if field == "text":
        return jsontext.quote(value)
    if field == "number":
        return jsontext.number(value)
    return str(value)
