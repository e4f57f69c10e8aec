"""JSON text taken apart without changing the text of its leaves.

Run folders hold values as JSON text in which a number's spelling is all that is left of its
type, and in which NaN and infinities stand bare. So leaves stay as they are written.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from json.decoder import JSONDecoder
from typing import Any, Union

Node = Union[str, "Tree"]
"""The raw text of a leaf, or an object."""
Tree = dict[str, Node]
Path = tuple[str, ...]

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = JSONDecoder(strict=False, parse_int=str, parse_float=str)
_TYPES = {"{": "object", "[": "list", '"': "string", "t": "boolean", "f": "boolean", "n": "null"}
_TYPES |= {"N": "float", "I": "float"}


def parse(text: str) -> Node:
    """Text as a tree of objects with raw leaves; `ValueError` where it is not JSON."""
    try:
        node, end = _value(text, _skip(text, 0))
    except (IndexError, RecursionError) as error:
        raise ValueError(f"not JSON: {text[:80]!r}") from error
    if _skip(text, end) != len(text):
        raise ValueError(f"not JSON: {text[:80]!r}")
    return node


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _value(text: str, at: int) -> tuple[Node, int]:
    if text[at] == "{":
        return _object(text, at)
    _, end = _DECODER.raw_decode(text, at)
    return text[at:end], end


def _object(text: str, at: int) -> tuple[Tree, int]:
    tree: Tree = {}
    at = _skip(text, at + 1)
    if text[at] == "}":
        return tree, at + 1
    while True:
        key, at = _DECODER.raw_decode(text, at)
        at = _skip(text, at)
        if text[at] != ":" or not isinstance(key, str):
            raise ValueError(f"not JSON: {text[:80]!r}")
        tree[key], at = _value(text, _skip(text, at + 1))
        at = _skip(text, at)
        if text[at] == "}":
            return tree, at + 1
        if text[at] != ",":
            raise ValueError(f"not JSON: {text[:80]!r}")
        at = _skip(text, at + 1)


def dump(node: Node) -> str:
    """A tree as JSON text on one line, its leaves as they are."""
    if isinstance(node, str):
        return node
    items = (f"{quote(key)}: {dump(value)}" for key, value in node.items())
    return "{" + ", ".join(items) + "}"


def quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def load(text: str) -> Any:
    """The value of a text as Python sees it; `ValueError` where it is not JSON."""
    try:
        return json.loads(text, strict=False)
    except RecursionError as error:
        raise ValueError(f"nested too deeply: {text[:80]!r}") from error


def leaf(text: str) -> tuple[str, str]:
    """Type and value of a raw leaf, as `params` and `summary` have them."""
    kind = _TYPES.get(text[0])
    if kind == "string":
        return kind, storable(load(text))
    if kind is None:
        is_float = not text.lstrip("-").isdigit()
        kind = "float" if is_float else "integer"
    return kind, text


def raw(kind: str | None, value: str) -> str:
    """The inverse of `leaf`."""
    return quote(value) if kind in (None, "string") else value


def storable(text: str) -> str:
    """The text, its lone surrogates spelled out, since UTF-8 has none."""
    return text.encode("utf-8", "backslashreplace").decode()


def put(tree: Tree, path: Sequence[str], node: Node) -> None:
    """Sets the node at a path; what stood in its way is replaced."""
    for key in path[:-1]:
        inner = tree.get(key)
        if not isinstance(inner, dict):
            inner = tree[key] = {}
        tree = inner
    tree[path[-1]] = node


def drop(tree: Tree, path: Sequence[str]) -> None:
    """Removes the node at a path, if it is there."""
    for key in path[:-1]:
        inner = tree.get(key)
        if not isinstance(inner, dict):
            return
        tree = inner
    tree.pop(path[-1], None)


def leaves(tree: Mapping[str, Node], path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Paths and raw texts of all leaves; an empty object is one."""
    for key, node in tree.items():
        here = (*path, key)
        if isinstance(node, str):
            yield here, node
        elif node:
            yield from leaves(node, here)
        else:
            yield here, "{}"


def quote_object(texts: Mapping[str, str]) -> str:
    """A flat object of texts."""
    return dump({key: quote(text) for key, text in texts.items()})


def number(value: float) -> str:
    """A float as W&B writes it: NaN and infinities stand bare."""
    return repr(value) if math.isfinite(value) else json.dumps(value)
