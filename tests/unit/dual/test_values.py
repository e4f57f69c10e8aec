"""Whatever people log is kept as what it is, or counted; never raised."""

from __future__ import annotations

import decimal
import fractions
import json
import logging
import math
import struct
import sys
import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.dual.looking import Tables, extra, points, read, series

import trackbridge
from trackbridge.dual import values
from trackbridge.dual.starting import start


def logged(root: Path, *calls: dict[Any, Any]) -> Tables:
    with start("p", run_id="r", folder=root) as run:
        for call in calls:
            run.log(call)
    return read(root)


def metrics(tables: Tables) -> dict[str, float]:
    return {row["key"]: row["value"] for row in tables.get("metrics", [])}


NUMBERS: dict[str, tuple[Any, float]] = {
    "float": (0.1, 0.1),
    "integer": (3, 3.0),
    "largest integer": (-(2**53), -(2.0**53)),
    "float16": (np.float16(0.1), float(np.float16(0.1))),
    "float32": (np.float32(0.1), float(np.float32(0.1))),
    "float64": (np.float64(0.1), 0.1),
    "longdouble": (np.longdouble("0.1"), 0.1),
    "int8": (np.int8(-3), -3.0),
    "uint64": (np.uint64(7), 7.0),
    "array without dimensions": (np.array(2.5), 2.5),
    "array of one": (np.array([[2.5]]), 2.5),
    "minus zero": (-0.0, -0.0),
    "infinity": (float("inf"), float("inf")),
    "numpy's infinity": (np.float32("-inf"), float("-inf")),
}


def test_numbers_of_python_and_numpy_are_points(tmp_path: Path) -> None:
    found = metrics(logged(tmp_path, {name: value for name, (value, _) in NUMBERS.items()}))
    expected = {name: number for name, (_, number) in NUMBERS.items()}
    assert found == expected
    assert math.copysign(1, found["minus zero"]) == -1


def test_nan_keeps_its_bits(tmp_path: Path) -> None:
    [odd] = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_1234))
    found = metrics(logged(tmp_path, {"odd": odd, "nan": float("nan")}, {"a": np.float64(odd)}))
    assert [struct.pack("<d", found[key]) for key in ("odd", "a")] == [struct.pack("<d", odd)] * 2
    assert math.isnan(found["nan"])


OTHERS: dict[str, tuple[Any, tuple[str, Any]]] = {
    "true": (True, ("boolean", True)),
    "numpy's false": (np.bool_(False), ("boolean", False)),
    "array of true": (np.array([True]), ("boolean", True)),
    "large": (2**53 + 1, ("integer", 2**53 + 1)),
    "larger": (np.uint64(2**64 - 1), ("integer", 2**64 - 1)),
    "none": (None, ("null", None)),
    "text": ('é"\n', ("text", 'é"\n')),
    "numpy's text": (np.str_("words"), ("text", "words")),
    "half": ("a\ud800b", ("text", "a?b")),
    "list": ([1, 2.5, "x", None], ("json", [1, 2.5, "x", None])),
    "empty list": ([], ("json", [])),
    "empty mapping": ({}, ("json", {})),
    "tuple of scalars": ((np.float32(0.5), np.int64(2)), ("json", [0.5, 2])),
    "decimal": (decimal.Decimal("0.1"), ("json", "0.1")),
    "fraction": (fractions.Fraction(1, 3), ("json", "1/3")),
    "complex": (1 + 2j, ("json", "(1+2j)")),
    "numpy's complex": (np.complex128(1 + 2j), ("text", "(1+2j)")),
    "time": (np.datetime64("2024-01-02T03:04:05", "ns"), ("text", "2024-01-02T03:04:05.000000000")),
    "bytes": (b"x", ("json", "b'x'")),
}


def test_everything_else_has_its_kind(tmp_path: Path) -> None:
    tables = logged(tmp_path, {name: value for name, (value, _) in OTHERS.items()})
    assert series(tables) == {name: expected for name, (_, expected) in OTHERS.items()}
    assert "metrics" not in tables


def test_nested_mappings_are_joined_by_dots_and_keys_become_texts(tmp_path: Path) -> None:
    tables = logged(
        tmp_path,
        {"a": {"b": {"c": 1.0}, 2: "two"}, 3: 4.0, "key \ud800": 5.0, ("t", 1): 6.0},
        {1: 2.0, 2.5: 3.0},
    )
    assert metrics(tables) == {
        "a.b.c": 1.0,
        "3": 4.0,
        "key ?": 5.0,
        "('t', 1)": 6.0,
        "1": 2.0,
        "2.5": 3.0,
    }
    assert series(tables) == {"a.2": ("text", "two")}


def test_an_empty_call_is_a_row_without_values(tmp_path: Path) -> None:
    assert points(logged(tmp_path, {}, {"loss": 1.0})) == [(1, 1, 1.0)]


def test_what_is_changed_after_the_call_was_logged_as_it_was(tmp_path: Path) -> None:
    array, texts, inner = np.zeros(4), ["a"], {"x": [1]}
    picture = np.zeros((2, 2), np.uint8)
    with start("p", run_id="r", folder=tmp_path) as run:
        run.log({"array": array, "texts": texts, "inner": inner})
        run.log_image("picture", picture)
        run.config["texts"] = texts
        array += 1
        picture += 1
        texts.append("b")
        inner["x"].append(2)
    tables = read(tmp_path)
    found = series(tables)
    assert found["texts"] == ("json", ["a"])
    assert found["inner.x"] == ("json", [1])
    assert sum(found["array"][1]["values"]) == 4
    assert found["array"][1]["bins"][0] == -0.5
    assert tables["params"][0]["value"] == '["a"]'


class Broken:
    """Raises whatever is done with it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("cannot be read")

    def __str__(self) -> str:
        raise RuntimeError("cannot be shown")


def test_values_that_raise_are_counted_told_once_and_cost_the_others_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    circular: list[Any] = []
    circular.append(circular)
    with caplog.at_level(logging.WARNING):
        tables = logged(
            tmp_path,
            *[{"broken": Broken(), "loss": float(n), "circle": circular} for n in range(3)],
        )
    assert [value for _, _, value in points(tables)] == [0.0, 1.0, 2.0]
    assert "6 calls could not be kept" in capsys.readouterr().err
    assert len(caplog.records) == 2
    assert sum(int(told.split()[0]) for told in extra(tables)["damage"]) == 6


def test_a_mapping_that_raises_is_one_lost_call(tmp_path: Path) -> None:
    with start("p", run_id="r", folder=tmp_path) as run:
        for odd in (5, None, [1], "text", Broken()):
            run.log(odd)  # type: ignore[arg-type]
        run.log({"loss": 1.0}, step="no step")  # type: ignore[arg-type]
        run.log({"loss": 1.0}, step=float("nan"))  # type: ignore[arg-type]
        run.log({"loss": 1.0}, step=2**70)
        run.log({"loss": 2.0})
    tables = read(tmp_path)
    assert [value for _, _, value in points(tables)][-1:] == [2.0]
    assert sum(int(told.split()[0]) for told in extra(tables)["damage"]) == 8


def test_of_two_values_with_one_name_in_a_call_the_first_is_kept_and_the_other_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tables = logged(tmp_path, {"a.b": 1.0, "a": {"b": 2.0}}, {1: 1, "1": "x"}, {"a.b": 3.0})
    assert [value for _, _, value in points(tables, "a.b")] == [1.0, 3.0]
    assert points(tables, "1") == [(1, 1, 1.0)] and not series(tables)
    assert sum(int(told.split()[0]) for told in extra(tables)["damage"]) == 2
    assert "'a.b'" in caplog.text and "another value of this call has that name" in caplog.text


class Device:
    """A tensor of an accelerator, which notes who reads it."""

    device = SimpleNamespace(type="cuda")
    shape: tuple[int, ...] = ()
    size = ()

    def __init__(self, value: float, read: list[str], gate: threading.Event) -> None:
        self.value, self._read, self._gate = value, read, gate

    def detach(self) -> Device:
        return self

    def clone(self) -> Device:
        return type(self)(self.value, self._read, self._gate)

    def item(self) -> float:
        self._gate.wait(20)
        self._read.append(threading.current_thread().name)
        return self.value


class Failing(Device):
    def clone(self) -> Device:
        raise RuntimeError("out of memory")


class Unreadable(Device):
    def item(self) -> float:
        raise RuntimeError("device lost")


def test_values_of_an_accelerator_are_read_as_they_were_by_another_thread(tmp_path: Path) -> None:
    gate, read_by = threading.Event(), list[str]()
    loss, array = Device(1.0, read_by, gate), np.zeros(3)
    with start("p", run_id="r", folder=tmp_path) as run:
        run.log({"loss": 0.0})
        run.log({"loss": loss, "array": array, "plain": 7.0})
        loss.value = 9.0
        array += 1
        run.log({"loss": 2.0})
        assert read_by == []
        gate.set()
    tables = read(tmp_path)
    assert sorted(points(tables)) == [(0, 0, 0.0), (1, 1, 1.0), (2, 2, 2.0)]
    assert points(tables, "plain") == [(1, 1, 7.0)]
    assert series(tables)["array"][1]["bins"][0] == -0.5
    assert read_by == ["trackbridge-late"]


def test_tensors_that_cannot_be_copied_or_read_are_counted(tmp_path: Path) -> None:
    gate = threading.Event()
    gate.set()
    failing, unreadable = (kind(1.0, [], gate) for kind in (Failing, Unreadable))
    with start("p", run_id="r", folder=tmp_path) as run:
        run.log({"failing": failing, "loss": 1.0})
        run.log({"unreadable": unreadable, "loss": 2.0})
    tables = read(tmp_path)
    assert [value for _, _, value in points(tables)] == [1.0, 2.0]
    assert sum(int(told.split()[0]) for told in extra(tables)["damage"]) == 2


def test_an_accelerator_that_hangs_holds_the_end_up_no_longer_than_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trackbridge.dual.run.LATE_SECONDS", 0.1)
    gate = threading.Event()
    run = start("p", run_id="r", folder=tmp_path)
    run.log({"loss": Device(1.0, [], gate)})
    run.log({"loss": 2.0})
    run.finish()
    gate.set()
    assert "2 calls could not be kept" in capsys.readouterr().err
    assert read(tmp_path)["runs"][0]["status"] == "finished"


def test_where_no_thread_can_be_begun_the_training_reads_values_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, read_by = threading.Event(), list[str]()
    gate.set()

    def fails(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    run = start("p", run_id="r", folder=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fails)
        for call in range(3):
            run.log({"loss": Device(float(call), read_by, gate)})
        run.log({"loss": 3.0})
    run.log({"loss": Device(4.0, read_by, gate)})
    run.finish()
    tables = read(tmp_path)
    assert points(tables) == [(n, n, float(n)) for n in range(5)]
    assert read_by == ["MainThread"] * 3 + ["trackbridge-late"]
    assert "damage" not in extra(tables)


def test_tensors_of_torch_are_numbers_histograms_and_pictures(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tables = logged(
        tmp_path,
        {
            "loss": torch.tensor(0.5, requires_grad=True),
            "one": torch.tensor([2.5]),
            "half": torch.tensor(0.5, dtype=torch.bfloat16),
            "flag": torch.tensor(True),
            "weights": torch.zeros(8, dtype=torch.bfloat16),
            "picture": trackbridge.Image(torch.zeros(3, 4, 6)),
        },
    )
    assert metrics(tables) == {"loss": 0.5, "one": 2.5, "half": 0.5}
    found = series(tables)
    assert found["flag"] == ("boolean", True)
    assert sum(found["weights"][1]["values"]) == 8
    assert (found["picture"][1]["width"], found["picture"][1]["height"]) == (6, 4)


ARRAYS: list[Callable[[], Any]] = [
    lambda: np.array([]),
    lambda: np.array([np.nan, np.inf, -np.inf]),
    lambda: np.full(10, 2**60),
    lambda: np.array([1e308, -1e308]),
    lambda: np.array([True, False]),
    lambda: np.arange(6, dtype=np.uint8).reshape(2, 3),
    lambda: np.ma.masked_array([1.0, 2.0], [True, False]),
]


@pytest.mark.parametrize("make", ARRAYS)
def test_arrays_are_histograms_of_their_finite_values(
    tmp_path: Path, make: Callable[[], Any]
) -> None:
    array = make()
    kind, value = series(logged(tmp_path, {"array": array}))["array"]
    finite = np.isfinite(np.asarray(array, np.float64)).sum()
    assert (kind, sum(value["values"])) == ("histogram", finite)
    assert len(value["bins"]) == len(value["values"]) + 1


def test_arrays_that_are_no_numbers_are_counted(tmp_path: Path) -> None:
    odd = {"complex": np.ones(3, complex), "texts": np.array(["a", "b"]), "loss": 1.0}
    tables = logged(tmp_path, odd)
    assert metrics(tables) == {"loss": 1.0}
    assert "2 calls could not be kept" in extra(tables)["damage"][0]


def test_a_histogram_is_made_of_values_or_of_counts_and_edges() -> None:
    found = trackbridge.Histogram(counts=[1, 2], edges=[0.0, 1.0, 2.0])
    assert (found.counts, found.edges) == ([1, 2], [0.0, 1.0, 2.0])
    for odd in ({}, {"values": [1], "counts": [1], "edges": [0, 1]}, {"counts": [1]}):
        with pytest.raises(TypeError):
            trackbridge.Histogram(**odd)  # type: ignore[arg-type]


def picture(root: Path, tables: Tables, key: str) -> Any:
    from PIL import Image

    told = series(tables)[key][1]
    with trackbridge_file(root, tables, told["path"]) as data:
        shown = Image.open(BytesIO(data.read()))
        assert shown.size == (told.get("width", shown.width), told.get("height", shown.height))
        return np.asarray(shown)


def trackbridge_file(root: Path, tables: Tables, path: str) -> Any:
    from trackbridge.adapter import FileRef, RunRef
    from trackbridge.registry import open_reader

    run = tables["runs"][0]
    return open_reader(f"journal:{root}").open_file(
        FileRef(RunRef(run["project"], run["run_id"]), "", path)
    )


def test_pictures_are_what_they_show(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    colours = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    (tmp_path / "file.png").write_bytes(b"no picture, but a file")
    pictures = {
        "colours": (colours, colours),
        "floats": (np.array([[0.0, 0.5, 2.0, np.nan]]), np.array([[0, 128, 255, 0]])),
        "one channel": (np.full((2, 2, 1), 7), np.full((2, 2), 7)),
        "too large": (np.array([[-5, 300]]), np.array([[0, 255]])),
        "booleans": (np.array([[True, False]]), np.array([[255, 0]])),
        "pillow": (pillow.fromarray(colours), colours),
        "cmyk": (pillow.new("CMYK", (1, 1)), np.full((1, 1, 3), 255)),
    }
    tables = logged(
        tmp_path / "root",
        {key: trackbridge.Image(given) for key, (given, _) in pictures.items()},
        {"bare": pillow.fromarray(colours), "file": trackbridge.Image(tmp_path / "file.png", "c")},
    )
    for key, (_, shown) in (pictures | {"bare": (None, colours)}).items():
        assert picture(tmp_path / "root", tables, key).tolist() == shown.tolist(), key
    assert series(tables)["file"][1]["caption"] == "c"


def test_figures_of_matplotlib_are_pictures(tmp_path: Path) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    figure = figures.Figure(figsize=(1, 1), dpi=50)
    figure.add_subplot().plot([1, 2])
    tables = logged(tmp_path, {"figure": figure})
    assert picture(tmp_path, tables, "figure").shape[:2] == (50, 50)


def test_values_whose_names_look_alike_keep_their_own_files(tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image")
    alike = {f"a{sign}b": trackbridge.Image(np.full((1, 1), n)) for n, sign in enumerate("/_ .é")}
    tables = logged(tmp_path, alike)
    found = [picture(tmp_path, tables, key).tolist() for key in alike]
    assert found == [[[n]] for n in range(5)]


def test_tables_and_data_frames_keep_their_cells(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "whole": [1, 2**60 + 1],
            "real": [0.5, float("nan")],
            "when": [pd.Timestamp("2024-01-02 03:04:05"), pd.NaT],
            "maybe": pd.array([1, None], dtype="Int64"),
            5: ["x\ud800", {"a": np.float32(0.5)}],
        }
    )
    tables = logged(tmp_path, {"frame": frame, "table": trackbridge.Table(["a", "b"], [(1, None)])})
    found = series(tables)
    told = json.loads(trackbridge_file(tmp_path, tables, found["frame"][1]["path"]).read())
    assert told["columns"] == ["whole", "real", "when", "maybe", "5"]
    [first, second] = told["data"]
    assert first == [1, 0.5, "2024-01-02 03:04:05", 1, "x?"]
    assert math.isnan(second[1])
    assert [second[0], *second[2:]] == [2**60 + 1, None, None, {"a": 0.5}]
    told = json.loads(trackbridge_file(tmp_path, tables, found["table"][1]["path"]).read())
    assert told == {"columns": ["a", "b"], "data": [[1, None]]}
    assert (found["frame"][1]["nrows"], found["frame"][1]["ncols"]) == (2, 5)


def test_files_are_kept_with_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "sound.wav").write_bytes(b"sound")
    tables = logged(
        tmp_path / "root",
        {"sound": trackbridge.File(tmp_path / "sound.wav", "audio", "a caption")},
        {"gone": trackbridge.File(tmp_path / "gone.wav", "audio"), "loss": 1.0},
        {"pipe": trackbridge.File(tmp_path, "html"), "loss": 2.0},
    )
    kind, told = series(tables)["sound"]
    assert (kind, told["caption"], told["format"], told["size"]) == ("audio", "a caption", "wav", 5)
    with trackbridge_file(tmp_path / "root", tables, told["path"]) as data:
        assert data.read() == b"sound"
    assert [value for _, _, value in points(tables)] == [1.0, 2.0]
    assert "2 calls could not be kept" in extra(tables)["damage"][-1] or (
        len(extra(tables)["damage"]) == 2
    )


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBER = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_plain_values_stay_as_they_are(value: Any) -> None:
    assert values.plain(value) == value
    assert json.loads(values.dumps(value)) == value


def test_the_way_of_a_number_imports_nothing_heavy(tmp_path: Path) -> None:
    import subprocess

    program = """
import sys
from trackbridge.dual import spawn
from trackbridge.dual.starting import start
spawn.forwarder = lambda *_: None
run = start("p", folder=sys.argv[1], to=["wandb:team/project", "mlflow:http://host:5000"])
run.log({"loss": 1.0, "text": "words", "list": [1]})
run.config["lr"] = 0.1
run.finish(wait=0)
print({"numpy", "pyarrow", "pandas", "click", "torch", "PIL"} & set(sys.modules))
"""
    told = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "set()"
