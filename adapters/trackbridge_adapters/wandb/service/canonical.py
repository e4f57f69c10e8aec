"""Values in the one spelling that does not change on their way through a server.

A client and a server written in Go and JavaScript spell numbers anew (1.0 as 1, 1e-05 as 0.00001),
sort the keys of objects and drop empty ones, and write what JSON lacks as a text. Of runs that were
born there, integers are `exact`: nothing else knows them. Of others, a double is close enough.
"""

from __future__ import annotations

import json
import math
from typing import Any

from trackbridge_adapters.wandb import jsontext
from trackbridge_adapters.wandb.jsontext import Node, Tree

UNSPELLED = {'"NaN"': "NaN", '"Infinity"': "Infinity", '"-Infinity"': "-Infinity"}
"""Texts of a history that stand for numbers, where bare ones cannot stand (inferred)."""
EXACT = 2**53


def canonical(text: str, exact: bool = False) -> str:
    """A JSON text in its one spelling; what is no JSON stays as it is."""
    try:
        return dumped(jsontext.load(text), exact)
    except ValueError:
        return text


def dumped(value: Any, exact: bool = False) -> str:
    """A value as JSON in that spelling."""
    plain = _plain(value, exact)
    return json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(", ", ": "))


def canonical_tree(tree: Tree) -> Tree:
    """A tree of raw leaves, each in its one spelling."""
    return {key: _canonical_node(node) for key, node in tree.items()}


def _canonical_node(node: Node) -> Node:
    if isinstance(node, str):
        return canonical(node)
    return canonical_tree(node)


def _plain(value: Any, exact: bool) -> Any:
    if isinstance(value, dict):
        parts = {key: _plain(part, exact) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part is not None and part != {}}
    if isinstance(value, list):
        return [_plain(part, exact) for part in value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return _number(value, exact)


def _number(value: float, exact: bool) -> float:
    """Whole doubles as integers, and integers that a double cannot tell from others as doubles."""
    if isinstance(value, int) and (exact or abs(value) < EXACT):
        return value
    try:
        double = float(value)
    except OverflowError:
        return value
    return int(double) if math.isfinite(double) and double == int(double) else double
