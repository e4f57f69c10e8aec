"""Sidecar files: the same bytes for the same content, back exactly or not at all."""

from __future__ import annotations

import io
import json
import random
import zipfile
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from unit.core.stores import batch
from unit.core.strategies import capabilities, loose_points, small_rows

from trackbridge.adapter import Capabilities, Row
from trackbridge.errors import IntegrityError
from trackbridge.fit import fit_points
from trackbridge.losses import Losses
from trackbridge.residual import MOVES, PointResidual, PointRestoration
from trackbridge.row_residual import KeptRow
from trackbridge.schema import SHARED, TABLES
from trackbridge.sidecar import FORMAT, Sidecar

SMALL = sorted(set(TABLES) - SHARED - {"metrics", "logs"})
PLACES = st.tuples(st.text(max_size=3), st.text(max_size=3))


def residual_of(points: list[Row], caps: Capabilities) -> tuple[PointResidual, pa.RecordBatch]:
    """What a store would not hold of points, and what it would get of them."""
    data = batch("metrics", points).data
    fitted = fit_points(data, caps, Losses())
    residual = PointResidual()
    residual.add(data, fitted.data, fitted.whole, fitted.dropped)
    return residual, fitted.data.filter(pa.array(~fitted.dropped))


def as_sidecar(residual: PointResidual) -> Sidecar:
    streams = {"points": residual.whole(), "hidden": residual.hidden(), "moves": residual.moves()}
    return Sidecar(streams={name: table for name, table in streams.items() if table is not None})


def logs(count: int) -> pa.Table:
    data = batch("logs", [{"line": n, "text": "x"} for n in range(count)]).data
    return pa.Table.from_batches([data]).drop_columns(["project", "run_id"])


def kept_rows(table: str) -> st.SearchStrategy[KeptRow]:
    return st.builds(KeptRow, small_rows(table), st.none() | small_rows(table))


@st.composite
def sidecars(draw: st.DrawFn) -> Sidecar:
    tables = draw(st.lists(st.sampled_from(SMALL), max_size=3, unique=True))
    residual, _ = residual_of(draw(loose_points()), draw(capabilities()))
    side = as_sidecar(residual)
    side.hide = draw(st.dictionaries(st.sampled_from(SMALL), st.sets(st.text(max_size=4))))
    side.kept = {t: draw(st.lists(kept_rows(t), min_size=1, max_size=2)) for t in tables}
    side.names = draw(st.dictionaries(st.text(), st.text(), max_size=2))
    side.files = draw(st.dictionaries(PLACES, PLACES, max_size=2))
    if draw(st.booleans()):
        side.streams["logs"] = logs(draw(st.integers(1, 3)))
    return side


def content(side: Sidecar) -> Any:
    """Everything in a sidecar; nulls of rows may be left out."""
    kept = {
        table: [
            [row and {n: v for n, v in row.items() if v is not None} for row in item]
            for item in rows
        ]
        for table, rows in side.kept.items()
    }
    streams = {name: str(table.to_pylist()) for name, table in side.streams.items()}
    return side.hide, kept, side.names, side.files, streams


@given(side=sidecars())
def test_what_is_written_is_read(side: Sidecar) -> None:
    assert content(Sidecar.loads(side.dumps(), "here")) == content(side)


@given(side=sidecars())
def test_the_same_content_has_the_same_bytes(side: Sidecar) -> None:
    again = Sidecar(
        dict(reversed(side.hide.items())),
        dict(reversed(side.kept.items())),
        dict(reversed(side.names.items())),
        side.files,
        side.streams,
    )
    assert again.dumps() == side.dumps()
    assert Sidecar.loads(side.dumps(), "here").dumps() == side.dumps()


EXAMPLE = Sidecar(
    {"tags": {"abc"}},
    {
        "params": [
            KeptRow({"key": "lr", "value": "0.1", "type": "float"}, {"key": "lr", "value": "0.1"})
        ]
    },
    {"a_b": "a/b"},
    {("", "a"): ("x", "y")},
    {"hidden": pa.table({"hash": np.arange(40, dtype=np.uint64)}), "logs": logs(9)},
).dumps()


@settings(max_examples=400)
@given(place=st.integers(0, len(EXAMPLE) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_means_nothing(place: int, bit: int) -> None:
    damaged = bytearray(EXAMPLE)
    damaged[place] ^= 1 << bit
    _same_or_refused(bytes(damaged))


@given(length=st.integers(0, len(EXAMPLE) - 1))
def test_a_cut_file_is_refused(length: int) -> None:
    with pytest.raises(IntegrityError, match=r"^the run: damaged sidecar"):
        Sidecar.loads(EXAMPLE[:length], "the run")


@given(data=st.binary(max_size=64))
@example(b"PK\x05\x06" + bytes(18))
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        Sidecar.loads(data, "the run")


@given(start=st.integers(0, len(EXAMPLE)), junk=st.binary(min_size=1, max_size=40))
def test_overwritten_bytes_are_refused_or_mean_nothing(start: int, junk: bytes) -> None:
    _same_or_refused(EXAMPLE[:start] + junk + EXAMPLE[start + len(junk) :])


def _same_or_refused(data: bytes) -> None:
    try:
        found = Sidecar.loads(data, "the run")
    except IntegrityError as error:
        assert str(error).startswith("the run: ")
        assert "\n" not in str(error)
    else:
        assert content(found) == content(Sidecar.loads(EXAMPLE, "the run"))


DOCUMENT = {"format": FORMAT, "hide": {}, "kept": {}, "names": {}, "files": [], "streams": []}
FOREIGN = [
    *([], 5, None, {}, {"format": FORMAT}, {**DOCUMENT, "format": "1"}),
    {**DOCUMENT, "kept": {"nonsense": [[{"key": "k"}, None]]}},
    {**DOCUMENT, "kept": {"tags": [5]}},
    {**DOCUMENT, "kept": {"tags": [[{"no such column": 1}, None]]}},
    {**DOCUMENT, "files": [["a"]]},
    {**DOCUMENT, "hide": 5},
    {**DOCUMENT, "streams": ["logs"]},
]


@pytest.mark.parametrize("document", FOREIGN, ids=json.dumps)
def test_a_document_that_is_none_of_ours_is_refused(document: object) -> None:
    with pytest.raises(IntegrityError, match="damaged sidecar"):
        Sidecar.loads(_zip(document), "the run")


def test_a_newer_format_is_refused_with_the_way_out() -> None:
    with pytest.raises(IntegrityError, match="newer Trackbridge; upgrade"):
        Sidecar.loads(_zip({"format": FORMAT + 1}), "the run")


def _zip(document: object) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("sidecar.json", json.dumps(document))
    return out.getvalue()


def test_a_sidecar_without_content_is_none() -> None:
    assert not Sidecar()
    assert Sidecar(names={"a": "b"})


@given(
    points=loose_points(),
    caps=capabilities().filter(lambda caps: "metrics" in caps.holds and not caps.rows),
    seed=st.integers(),
    cuts=st.lists(st.integers(1, 12)),
)
def test_points_are_restored_in_any_order_and_any_batches(
    points: list[Row], caps: Capabilities, seed: int, cuts: list[int]
) -> None:
    points = _apart(points, caps)
    residual, native = residual_of(points, caps)
    side = Sidecar.loads(as_sidecar(residual).dumps(), "here")
    names = dict(zip(_keys(points, caps), (p["key"] for p in points)))
    restoration = PointRestoration(*(side.streams.get(n) for n in ("moves", "points", "hidden")))
    rows = native.to_pylist()
    random.Random(seed).shuffle(rows)
    edges = [0, *sorted(c for c in cuts if c < len(rows)), len(rows)]
    parts = [restoration.apply(batch("metrics", rows[a:b]).data) for a, b in pairwise(edges)]
    found = [row for part in [*parts, *restoration.rest()] for row in part.to_pylist()]
    assert _comparable(found, names) == _comparable(points, {})


def _apart(points: list[Row], caps: Capabilities) -> list[Row]:
    """Points that stay distinct in the store: others are the business of careful translation."""
    seen: set[Any] = set()
    kept = []
    for point in points:
        fitted = fit_points(batch("metrics", [point]).data, caps, Losses()).data.to_pylist()[0]
        cell = tuple(fitted[name] for name in ("key", "step", "time", "row", "system"))
        if cell not in seen:
            seen.add(cell)
            kept.append(point)
    return kept


def _keys(points: list[Row], caps: Capabilities) -> list[str]:
    data = fit_points(batch("metrics", points).data, caps, Losses()).data
    return data.column("key").to_pylist()


def _comparable(points: list[Row], names: dict[str, str]) -> list[str]:
    others = ("step", "time", "row", "system")
    return sorted(
        repr([names.get(p["key"], p["key"]), p["value"] + 0.0, *(p[name] for name in others)])
        for p in batch("metrics", points).data.to_pylist()
    )


def test_a_point_that_was_not_moved_is_left_alone() -> None:
    move = dict(zip(MOVES.names, (None, False, 1, 0, None, 5, 0, None)))
    moves = pa.Table.from_pylist([move], MOVES)
    restoration = PointRestoration(moves, None, None)
    points = [{"key": "k", "step": s, "time": 0, "value": 1.0, "system": False} for s in (1, 2)]
    found = restoration.apply(batch("metrics", points).data)
    assert found.column("step").to_pylist() == [5, 2]


def test_samples_of_the_system_do_not_move_with_the_run() -> None:
    move = dict(zip(MOVES.names, (None, False, 1, 0, None, 5, 0, None)))
    restoration = PointRestoration(pa.Table.from_pylist([move], MOVES), None, None)
    point = {"key": "k", "step": 1, "time": 0, "value": 1.0, "system": True}
    assert restoration.apply(batch("metrics", [point]).data).column("step").to_pylist() == [1]


def test_a_move_is_kept_once_for_all_points_of_a_log_call() -> None:
    points = [
        {"key": f"k{n}", "step": 1, "time": 1_500, "value": 1.0, "system": False}
        for n in range(100)
    ]
    residual, _ = residual_of(points, Capabilities.everything(time_unit_us=1000))
    moves = residual.moves()
    assert moves is not None
    assert moves.num_rows == 1
    assert not residual.whole().num_rows


def test_nothing_is_kept_of_points_that_fit() -> None:
    point = {"key": "k", "step": 1, "time": 0, "value": 1.0, "system": False}
    residual, _ = residual_of([point], Capabilities.everything())
    assert not residual


@pytest.mark.parametrize(
    "moments",
    [
        {"k1": [1_001], "k2": [1_000]},
        {"k1": [1_000], "k2": [1_001]},
        {"k1": [1_001], "k2": [1_002], "k3": [1_001]},
        {"k1": [1_001, 1_002], "k2": [1_000, 1_003]},
    ],
    ids=["one stays", "the other stays", "two alike", "keys repeated"],
)
def test_points_of_one_native_moment_go_back_to_their_own(moments: dict[str, list[int]]) -> None:
    points = [
        {"key": key, "step": 1, "time": time, "value": float(number), "system": False}
        for key, times in moments.items()
        for number, time in enumerate(times)
    ]
    residual, native = residual_of(points, Capabilities.everything(time_unit_us=1000))
    side = as_sidecar(residual)
    restoration = PointRestoration(*(side.streams.get(n) for n in ("moves", "points", "hidden")))
    restored = [restoration.apply(native), *restoration.rest()]
    found = [row for part in restored for row in part.to_pylist()]
    assert _comparable(found, {}) == _comparable(points, {})
