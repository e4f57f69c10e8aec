"""Rows as the server streams them, JSON texts, into points; and its samples of the system."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from trackbridge.adapter import Batch, RunRef
from trackbridge_adapters.wandb import jsontext, names
from trackbridge_adapters.wandb.jsontext import Node, Tree
from trackbridge_adapters.wandb.points import PointDecoder
from trackbridge_adapters.wandb.service.canonical import UNSPELLED, canonical

SYSTEM = "system."
"""Begins the names of system metrics in samples."""
OF_THE_TRACKER = ("_wandb", "_runtime")
"""Entries of samples that are no metrics of the system."""


def history(
    ref: RunRef,
    lines: Iterable[str],
    given: names.Given | None,
    damage: list[str],
    first: int = 0,
    *,
    exact: bool,
) -> Iterator[Batch]:
    """Points of rows, of which the first one is the run's log call number `first`."""
    decoder = PointDecoder(ref, damage, system=False, names_given=given, first=first)
    for number, line in enumerate(lines, first):
        row: Mapping[str, Node] = _numbers(line)
        if not row:
            row = _row(line, f"history line {number}", damage)
        texts = [jsontext.dump(node) for node in row.values()]
        if decoder.add(list(row), texts, None, None, len(line)):
            yield from _settled(decoder, exact)
    yield from _settled(decoder, exact)


def samples(ref: RunRef, lines: Iterable[str], damage: list[str]) -> Iterator[Batch]:
    """Points of samples of the system."""
    decoder = PointDecoder(ref, damage, system=True)
    for number, line in enumerate(lines):
        row = _row(line, f"system sample {number}", damage)
        time = micros(row.pop("_timestamp", None))
        kept = {key: node for key, node in row.items() if key not in OF_THE_TRACKER}
        keys = [key.removeprefix(SYSTEM) for key in kept]
        texts = [jsontext.dump(node) for node in kept.values()]
        if decoder.add(keys, texts, None, time, len(line)):
            yield from _settled(decoder)
    yield from _settled(decoder)


class _Number(str):
    """A number as it is spelled."""

    __slots__ = ()


_decode = json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=_Number).decode


def _numbers(line: str) -> Mapping[str, str]:
    """A row of nothing but numbers, which most are; nothing for any other."""
    try:
        row = _decode(line)
    except ValueError:
        return {}
    if type(row) is dict and {type(value) for value in row.values()} == {_Number}:
        return row
    return {}


def _row(line: str, where: str, damage: list[str]) -> Tree:
    try:
        node = jsontext.parse(line)
    except ValueError:
        node = ""
    if not isinstance(node, dict):
        damage.append(f"{where}: is no JSON object")
        return {}
    return _spelled(node)


def _spelled(tree: Tree) -> Tree:
    """Without nulls, which exports do not have either, and with numbers as numbers."""
    found: dict[str, Node] = {}
    for key, node in tree.items():
        if isinstance(node, dict):
            found[key] = _spelled(node)
        elif node != "null":
            found[key] = UNSPELLED.get(node, node)
    return found


def micros(text: Node | None) -> int | None:
    try:
        return round(float(text) * 1e6) if isinstance(text, str) else None
    except (ValueError, OverflowError):
        return None


def _settled(decoder: PointDecoder, exact: bool = True) -> Iterator[Batch]:
    """What was gathered, values that are no numbers in their one spelling."""
    for batch in decoder.flush():
        if batch.table == "series" and batch.data.num_rows:
            values = batch.data.column("value").to_pylist()
            texts = [canonical(text, exact) for text in values]
            at = batch.data.schema.get_field_index("value")
            spelled = batch.data.set_column(at, "value", pa.array(texts, pa.string()))
            batch = Batch("series", spelled)
        if batch.data.num_rows:
            yield batch
