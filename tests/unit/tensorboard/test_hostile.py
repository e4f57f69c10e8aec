"""Event files that are damaged, or made to do harm, give what is sound of them and a line each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from trackbridge.adapter import FileRef, Query, RunRef
from trackbridge.registry import open_reader
from trackbridge_adapters.tensorboard.framing import frame

ROOT = RunRef("runs", ".")
FIXTURES = Path(__file__).parents[3] / "fixtures"
FILES = sorted(FIXTURES.glob("tensorboard-*/runs/**/*tfevents*"))


def read(folder: Path, *records: bytes) -> dict[str, list[dict[str, Any]]]:
    """The rows of a run with these records; all its files are read too."""
    root = folder / "runs"
    root.mkdir(exist_ok=True)
    (root / "events.out.tfevents.1").write_bytes(b"".join(map(frame, records)))
    return rows_of(root)


def rows_of(root: Path) -> dict[str, list[dict[str, Any]]]:
    reader = open_reader(f"tensorboard:{root}")
    list(reader.list_runs(Query()))
    rows: dict[str, list[dict[str, Any]]] = {}
    for batch in reader.read_runs([ROOT]):
        batch.data.validate(full=True)
        rows.setdefault(batch.table, []).extend(batch.data.to_pylist())
    for row in rows.get("files", []):
        with reader.open_file(FileRef(ROOT, "", row["path"])) as file:
            assert len(file.read()) == row["size"]
    return rows


def damage(rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    [row] = rows["runs"]
    found: list[str] = json.loads(row["extra"] or "{}").get("damage", [])
    return found


def event(value: Summary.Value, step: int = 0) -> bytes:
    made = Event(wall_time=1.0, step=step)
    made.summary.value.append(value)
    content: bytes = made.SerializeToString()
    return content


@given(st.sampled_from(FILES), st.data())
def test_any_damage_of_a_real_file_costs_no_more_than_what_it_hits(
    tmp_path_factory: pytest.TempPathFactory, file: Path, data: st.DataObject
) -> None:
    content = bytearray(file.read_bytes())
    root = tmp_path_factory.mktemp("run") / "runs"
    root.mkdir()
    place = data.draw(st.integers(0, len(content) - 1))
    length = data.draw(st.integers(1, 40))
    content[place : place + length] = data.draw(st.binary(max_size=40))
    (root / file.name).write_bytes(content)
    rows_of(root)


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_sound_records_that_are_no_events_are_named(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes]
) -> None:
    rows = read(tmp_path_factory.mktemp("run"), *records, event(scalar_pb("a", 0.5).value[0]))
    assert [row["value"] for row in rows["metrics"] if row["key"] == "a"][-1:] == [0.5]


def test_a_tensor_that_says_that_it_is_huge_is_kept_as_it_is(tmp_path: Path) -> None:
    value = Summary.Value(tag="huge")
    value.tensor.dtype = 1
    value.tensor.float_val.append(1.0)
    for _ in range(3):
        value.tensor.tensor_shape.dim.add(size=1 << 20)
    [row] = read(tmp_path, event(value))["series"]
    assert (row["kind"], json.loads(row["value"])["_type"]) == ("json", "tensor-proto")


@pytest.mark.parametrize("plugin", ["scalars", "histograms", "images", "audio", "text"])
def test_a_tensor_that_is_not_what_its_plugin_says_is_kept_as_it_is(
    tmp_path: Path, plugin: str
) -> None:
    value = Summary.Value(tag="odd")
    value.tensor.dtype = 3
    value.tensor.int_val.extend(range(6))
    for size in (1, 2, 3):
        value.tensor.tensor_shape.dim.add(size=size)
    value.metadata.plugin_data.plugin_name = plugin
    rows = read(tmp_path, event(value))
    [row] = rows["series"]
    told = json.loads(row["value"])
    assert told == {
        "_type": "tensor",
        "plugin": plugin,
        "dtype": "int32",
        "shape": [1, 2, 3],
        "values": [[[0, 1, 2], [3, 4, 5]]],
    }
    assert damage(rows) == []


def test_a_tensor_of_no_sounds_is_no_point(tmp_path: Path) -> None:
    value = Summary.Value(tag="none")
    value.tensor.dtype = 7
    value.tensor.tensor_shape.dim.add(size=0)
    value.metadata.plugin_data.plugin_name = "audio"
    assert "series" not in read(tmp_path, event(value))


def test_a_number_that_its_type_does_not_hold_is_kept_as_it_is(tmp_path: Path) -> None:
    value = Summary.Value(tag="odd")
    value.tensor.dtype = 4
    value.tensor.tensor_shape.dim.add(size=2)
    value.tensor.int_val.extend([300, 1])
    [row] = read(tmp_path, event(value))["series"]
    assert json.loads(row["value"])["_type"] == "tensor-proto"


@pytest.mark.parametrize(
    "tag", ["../../etc/passwd", "/abs", "a\\..\\b", ".hidden", "x" * 500, "\0"]
)
def test_files_that_are_named_after_tags_stay_inside(tmp_path: Path, tag: str) -> None:
    value = Summary.Value(tag=tag)
    value.image.encoded_image_string = b"\x89PNG and so on"
    rows = read(tmp_path, event(value), event(value), event(value, 1))
    paths = [row["path"] for row in rows["files"]]
    assert len(set(paths)) == 3
    for path in paths:
        parts = path.split("/")
        assert parts[:2] == ["media", "images"]
        assert len(parts) == 3 and not parts[2].startswith(".")
        assert len(parts[2]) < 200


def test_files_of_tags_that_look_alike_are_told_apart(tmp_path: Path) -> None:
    records = []
    for tag in ("a/b", "a_b", "a_b_0", "a.b", "A_b"):
        value = Summary.Value(tag=tag)
        value.image.encoded_image_string = tag.encode()
        records += [event(value, 0), event(value, 0), event(value, 10)]
    rows = read(tmp_path, *records)
    assert len({row["path"] for row in rows["files"]}) == 15
    reader = open_reader(f"tensorboard:{tmp_path / 'runs'}")
    for row in rows["series"]:
        with reader.open_file(FileRef(ROOT, "", row["path"])) as file:
            assert file.read() == row["key"].encode()


def test_a_large_tensor_is_a_file_with_its_message(tmp_path: Path) -> None:
    value = Summary.Value(tag="weights")
    value.tensor.dtype = 1
    value.tensor.tensor_shape.dim.add(size=100_000)
    value.tensor.tensor_content = bytes(400_000)
    rows = read(tmp_path, event(value))
    [row] = rows["series"]
    assert json.loads(row["value"])["path"] == row["path"]
    reader = open_reader(f"tensorboard:{tmp_path / 'runs'}")
    with reader.open_file(FileRef(ROOT, "", row["path"])) as file:
        assert Summary.Value.FromString(file.read()) == value


def test_a_whole_number_beyond_a_double_stays_exact(tmp_path: Path) -> None:
    made = scalar_pb("count", 0.0).value[0]
    made.tensor.ClearField("float_val")
    made.tensor.dtype = 9
    made.tensor.int64_val.append(2**60 + 1)
    rows = read(tmp_path, event(made))
    assert [(row["kind"], row["value"]) for row in rows["series"]] == [("integer", str(2**60 + 1))]


def test_what_the_first_event_of_a_tag_says_holds_for_those_after_it(tmp_path: Path) -> None:
    first, later = scalar_pb("a", 1.0).value[0], scalar_pb("a", 2.0).value[0]
    later.ClearField("metadata")
    rows = read(tmp_path, event(first), *[event(later, n) for n in range(1, 40)])
    assert [row["value"] for row in rows["metrics"]] == [1.0, *[2.0] * 39]
    assert "series" not in rows


def test_fields_that_nobody_knows_yet_are_kept(tmp_path: Path) -> None:
    unknown = Event(wall_time=1.0, step=3).SerializeToString() + b"\xfa\x01\x03new"
    [row] = read(tmp_path, unknown)["series"]
    assert json.loads(row["value"]) == {
        "_type": "event-field",
        "number": 31,
        "wire": 2,
        "base64": "bmV3",
    }
