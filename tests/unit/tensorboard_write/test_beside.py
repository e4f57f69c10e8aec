"""What stands in events beside what TensorBoard shows, whoever wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackbridge.adapter import RunRef
from trackbridge.schema import TABLES
from trackbridge_adapters.tensorboard import beside, encode, pictures
from trackbridge_adapters.tensorboard.encode_points import message
from trackbridge_adapters.tensorboard.likeness import Likeness
from trackbridge_adapters.tensorboard.restored import Said
from trackbridge_adapters.tensorboard.scan import Scan

REF = RunRef("p", "r")
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
NAMES = ("key", "step", "row", "time", "kind", "value", "path", beside.EMBEDDED)


def read(
    folder: Path, content: bytes, shown: encode.Shown | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows and the damage of a file with one text, beside which something stands."""
    file = folder / "events.out.tfevents.1"
    shown = shown or encode.shown("text", "shown", [])
    assert shown is not None
    file.write_bytes(encode.opening(1.0) + encode.event(2.0, 3, "tag", shown, content))
    scan = Scan(REF, [file], {file: file.stat().st_size}, ["series"])
    rows = [row for batch in scan.batches() for row in batch.data.to_pylist()]
    return rows, [each.reason for each in scan.damage[file]]


EMPTY = dict.fromkeys(TABLES["series"].names)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("table", "[1, 2]"),
        ("text", '"a text"'),
        ("text", '"half a pair: \\ud800"'),
        ("text", '[["a", "b"]]'),
        ("json", "[" * 20_000),
        ("histogram", '{"bins": [0, 1, 2.5], "values": [3, 4]}'),
        ("histogram", '{"packedBins": {"count": 1e15, "min": 0, "size": 1}, "values": [3]}'),
    ],
)
def test_a_row_comes_back_as_it_was_if_it_is_what_is_shown(
    tmp_path: Path, kind: str, value: str
) -> None:
    row = EMPTY | {"key": "k", "kind": kind, "value": value}
    shown = Likeness(tmp_path, Said({})).of(row)
    assert read(tmp_path, beside.told(row), shown) == ([{**row, **REF._asdict()}], [])
    [found], damage = read(tmp_path, beside.told(row))
    assert (found["key"], found["value"]) == ("tag", '"shown"')
    assert damage == ["'tag' is shown as something else than it is"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        b'{"key": 1}',
        b'{"key": "k", "step": 1.5}',
        b'{"key": "k", "step": true}',
        b'{"key": "k", "time": 9223372036854775807}',
        b'{"key": "k", "step": 9223372036854775808}',
        b'{"key": "k", "kind": "\\ud800"}',
        b'{"key": "k", "path": "../x", "embedded": 0}',
        b'{"key": "k", "path": "x", "embedded": 7}',
        b'{"key": "k", "path": "x", "embedded": -1}',
    ],
)
def test_what_is_no_row_is_damage_and_what_is_shown_is_read(tmp_path: Path, content: bytes) -> None:
    rows, damage = read(tmp_path, message(beside.ROWS, content))
    assert len(damage) == 1
    assert [(row["key"], row["kind"], row["value"]) for row in rows] == [("tag", "text", '"shown"')]


@given(row=st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, anything)))
def test_anything_beside_a_value_is_a_row_or_damage(
    tmp_path_factory: pytest.TempPathFactory, row: dict[str, Any]
) -> None:
    content = message(beside.ROWS, json.dumps(row).encode())
    rows, damage = read(tmp_path_factory.mktemp("run"), content)
    assert len(rows) == 1
    assert (rows[0]["key"] == row.get("key")) if not damage else rows[0]["key"] == "tag"


@given(value=anything | st.fixed_dictionaries({"values": anything, "bins": anything}))
def test_any_value_of_any_kind_is_shown_or_not(value: Any) -> None:
    for kind in ("text", "image", "audio", "histogram", "table"):
        encode.shown(kind, value, [])
    assert pictures.dimensions(json.dumps(value).encode()) is None


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"type": "float", "value": "0.1"}, 0.1),
        ({"type": "integer", "value": "16"}, 16.0),
        ({"type": "integer", "value": str(2**53 + 1)}, str(2**53 + 1)),
        ({"type": "float", "value": "NaN"}, "NaN"),
        ({"type": "float", "value": "Infinity"}, "Infinity"),
        ({"type": "boolean", "value": "true"}, True),
        ({"type": "null", "value": "null"}, "null"),
        ({"type": "list", "value": "[1]"}, "[1]"),
        ({"type": "string", "value": "0.1"}, "0.1"),
        ({"type": "integer", "value": "what"}, "what"),
        ({"type": None, "value": None}, "null"),
    ],
)
def test_parameters_are_what_the_plugin_can_hold(row: dict[str, Any], expected: object) -> None:
    found = encode.hparam(row)
    assert (found, type(found)) == (expected, type(expected))
