"""Exports that are damaged, hostile, foreign or of another time: named, and read as they can be."""

from __future__ import annotations

import json
import os
import random
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.neptune import exporting, reading
from unit.neptune.exporting import part, point, put, single, write

from trackbridge.adapter import FileRef, Query, RunRef
from trackbridge.errors import NotFoundError, UnsupportedError
from trackbridge.registry import open_reader, resolve
from trackbridge.testing.base import tries
from trackbridge_adapters.neptune import ADAPTER
from trackbridge_adapters.neptune.reader import Export

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
REF = RunRef("lab/p", "R-1")
OTHER = RunRef("lab/p", "R-2")
IDS = [single("sys/id", "string", "R-1"), single("sys/name", "string", "a name")]
LOSS = [point("loss", "float_series", step, step / 8, NOON) for step in range(50)]
PLACES = ("{0}/R-1/{1}", "{1}")


def damaged(root: Path, ref: RunRef = REF) -> list[str]:
    return reading.damage(reading.tables(root, ref))


def shorten(path: Path, kept: int) -> None:
    with path.open("r+b") as file:
        file.truncate(kept)


# Files as a whole


def test_a_file_that_is_cut_short_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    write(tmp_path, *REF, [IDS, LOSS])
    broken = write(tmp_path, *REF, [LOSS], number=1)
    write(tmp_path, *OTHER, [[single("sys/id", "string", "R-2")]])
    shorten(broken, broken.stat().st_size - 10)
    [line] = damaged(tmp_path)
    assert line.startswith(f"{broken.name}: cannot be read: ")
    assert len(reading.tables(tmp_path, REF)["metrics"]) == 50
    assert not damaged(tmp_path, OTHER)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no Parquet at all" * 10])
def test_a_run_whose_only_file_is_broken_is_listed_by_its_id(
    tmp_path: Path, content: bytes
) -> None:
    write(tmp_path, *OTHER, [[single("sys/id", "string", "R-2")]])
    path = part(tmp_path, *REF)
    path.write_bytes(content)
    assert [info.ref for info in Export(str(tmp_path)).list_runs(Query())] == [REF, OTHER]
    [line] = damaged(tmp_path)
    assert line.startswith(f"{path.name}: cannot be read: ")


def test_where_every_file_is_broken_folders_still_tell_project_and_run(tmp_path: Path) -> None:
    path = part(tmp_path, "simple", "R-1")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"broken")
    assert [i.ref for i in Export(str(tmp_path)).list_runs(Query())] == [RunRef("simple", "R-1")]


def test_a_run_whose_export_was_stopped_is_named(tmp_path: Path) -> None:
    whole = write(tmp_path, *REF, [IDS, LOSS])
    whole.rename(whole.with_name(f"{whole.name}.tmp"))
    [line] = damaged(tmp_path)
    assert "the export was stopped before the run was whole" in line
    assert len(reading.tables(tmp_path)["metrics"]) == 50


def test_an_unfinished_file_beside_a_finished_one_counts_nothing_twice(tmp_path: Path) -> None:
    whole = write(tmp_path, *REF, [IDS, LOSS])
    whole.with_name(f"{whole.name}.tmp").write_bytes(whole.read_bytes())
    assert len(reading.tables(tmp_path)["metrics"]) == 50
    assert any("a finished file is in its place" in line for line in damaged(tmp_path))


def test_files_of_a_run_that_are_not_there_are_named(tmp_path: Path) -> None:
    write(tmp_path, *REF, [IDS])
    write(tmp_path, *REF, [LOSS], number=3)
    [line] = damaged(tmp_path)
    assert line == "_part_1.parquet, _part_2.parquet: 2 files of the run are not there"


def test_foreign_files_are_counted_by_name_and_hide_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, *REF, [IDS])
    pq.write_table(pa.table({"x": [1, 2]}), path.parent / "mine.parquet")
    (path.parent / "part_0.parquet").write_bytes(b"broken")
    [batch] = Export(str(tmp_path)).read_shared(Query())
    [project] = batch.data.to_pylist()
    not_read = json.loads(project["extra"])["not_read"]
    lacking = "attribute_path, attribute_type, project_id, run_id"
    assert f"mine.parquet: is no part of an export: it has no column {lacking}" in not_read
    assert len(not_read) == 2
    assert not damaged(tmp_path)


def test_what_the_exporter_could_not_fetch_is_damage(tmp_path: Path) -> None:
    write(tmp_path, *REF, [IDS])
    told = {"project_id": REF.project, "run_id": REF.run_id, "attribute_path": "big/file"}
    lines = [json.dumps({**told, "exception": "OSError"}), "no JSON", "[]", "{}"]
    (tmp_path / "neptune_exporter_errors.jsonl").write_text("\n".join(lines))
    assert damaged(tmp_path) == [
        "neptune_exporter_errors.jsonl: line 1: big/file was not exported: OSError"
    ]


# Runs that are there twice


def test_a_run_that_was_exported_by_two_exporters_is_read_once(tmp_path: Path) -> None:
    """Until November 2025 files were those of a project, and the folder had no digest."""
    new = write(tmp_path, *REF, [IDS, LOSS])
    rows = [
        {"project_id": "lab/p", "run_id": run, **row}
        for run in ("R-1", "R-2")
        for row in (*IDS, *LOSS)
    ]
    exporting.write_part(tmp_path / "data" / "lab_p" / "part_0.parquet", [rows])
    infos = list(Export(str(tmp_path)).list_runs(Query()))
    assert [(info.ref, info.points) for info in infos] == [(REF, 50), (OTHER, 50)]
    points = list(Export(str(tmp_path)).read_runs([REF, OTHER], ["metrics"]))
    assert sum(batch.data.num_rows for batch in points) == 100
    assert damaged(tmp_path) == [
        "data/lab_p/part_0.parquet: the same run again; what is read is"
        f" {new.relative_to(tmp_path).as_posix()}"
    ]
    assert not damaged(tmp_path, OTHER)


def test_of_copies_that_differ_the_one_with_most_points_is_read_and_the_other_named(
    tmp_path: Path,
) -> None:
    name = exporting.folder_name("R-1")
    folder = tmp_path / "data" / "lab_p"
    label = {"project_id": REF.project, "run_id": REF.run_id}
    whole = [{**label, **row} for row in (*IDS, *LOSS)]
    exporting.write_part(folder / "R-1_part_0.parquet", [whole[:2], whole[2:]])
    copy = folder.with_name("lab_p-copy") / f"{name}_part_0.parquet"
    exporting.write_part(copy, [whole[:1], whole[2:9], whole[2:9]])
    broken = copy.with_name(f"{name}_part_1.parquet")
    broken.write_bytes(b"broken")
    [info] = Export(str(tmp_path)).list_runs(Query())
    assert damaged(tmp_path) == [
        f"data/lab_p-copy/{copy.name}: the run again, with other metrics (14 rows, not 50),"
        " attributes (1, not 2); what is read is data/lab_p/R-1_part_0.parquet"
    ]
    assert len(reading.tables(tmp_path)["metrics"]) == info.points == 50
    exporting.write_part(copy, [whole[:1]])
    [changed] = Export(str(tmp_path)).list_runs(Query())
    assert changed.fingerprint != info.fingerprint


# Columns and types


def test_columns_and_types_that_nobody_knows_are_named(tmp_path: Path) -> None:
    schema = exporting.SCHEMA.append(pa.field("new_value", pa.string()))
    rows = [*IDS, {"attribute_path": "x", "attribute_type": "tensor", "new_value": "1"}]
    path = write(tmp_path, *REF, [rows], schema=schema)
    assert damaged(tmp_path) == [
        f"{path.name}: the column 'new_value' is not known and not read",
        "1 rows of the type 'tensor' are not known and not read",
    ]


def test_columns_that_are_missing_or_of_other_types_are_read(tmp_path: Path) -> None:
    changed = {
        "project_id": pa.large_string(),
        "run_id": pa.dictionary(pa.int8(), pa.string()),
        "attribute_path": pa.string(),
        "attribute_type": pa.string(),
        "step": pa.int32(),
        "timestamp": pa.timestamp("us", "UTC"),
        "float_value": pa.float32(),
        "string_value": pa.large_string(),
    }
    rows = [*IDS, point("loss", "float_series", 7, 0.5, NOON)]
    rows[-1]["step"] = 7
    write(tmp_path, *REF, [rows], schema=pa.schema(changed))
    found = reading.tables(tmp_path)
    [read] = found["metrics"]
    assert (read["step"], read["time"], read["value"]) == (7, NOON, 0.5)
    assert reading.row(found)["name"] == "a name"
    assert not reading.damage(found)


def test_a_column_that_cannot_be_what_it_should_is_named(tmp_path: Path) -> None:
    schema = exporting.SCHEMA.set(7, pa.field("float_value", pa.string()))
    path = write(tmp_path, *REF, [IDS, [{**LOSS[0], "float_value": "much"}]], schema=schema)
    found = reading.tables(tmp_path)
    assert any(line.startswith(f"{path.name}: row group 1: ") for line in reading.damage(found))
    assert reading.row(found)["name"] == "a name"


def test_values_whose_column_is_missing_are_named_and_none_is_made_up(tmp_path: Path) -> None:
    lacking = ("int_value", "float_value", "string_value", "file_value", "step")
    schema = pa.schema([field for field in exporting.SCHEMA if field.name not in lacking])
    text = point("monitoring/1/stdout", "string_series", 0, "printed", NOON)
    histogram = point("h", "histogram_series", 0, None, NOON)
    histogram["histogram_value"] = {"type": "COUNTING", "edges": [0.0, 1.0], "values": [1.0]}
    rows = [single("lr", "int", 7), single("b", "bool", True), single("f", "file", "f")]
    path = write(tmp_path, *REF, [rows, LOSS[:3], [text], [histogram]], schema=schema)
    found = reading.tables(tmp_path)
    assert found.keys() == {"params", "series", "runs"}
    assert reading.params(found) == {"b": True}
    [info] = Export(str(tmp_path)).list_runs(Query())
    assert info.points == len(found["series"]) == 1
    gone = {"file": "file", "float_series": "float", "int": "int", "string_series": "string"}
    counts = {"file": 1, "float_series": 3, "int": 1, "string_series": 1}
    assert reading.damage(found) == [
        *(
            f"{path.name}: {counts[kind]} rows of the type '{kind}' have no value, for there is no"
            f" column '{home}_value', and are not read"
            for kind, home in gone.items()
        ),
        f"{path.name}: 1 points have no step, for there is no such column",
    ]


@pytest.mark.parametrize("together", [False, True], ids=["groups apart", "one group"])
def test_values_in_columns_of_other_types_are_named(tmp_path: Path, *, together: bool) -> None:
    wrong = {**single("y", "int", None), "float_value": 1.5}
    lost = {**point("loss", "float_series", 1, None, NOON), "int_value": 3}
    nan = point("loss", "float_series", 2, None, NOON)
    values, points = [*IDS, wrong, single("x", "int", 1)], [LOSS[0], lost, nan]
    path = write(tmp_path, *REF, [[*values, *points]] if together else [values, points])
    found = reading.tables(tmp_path)
    assert [(row["step"], repr(row["value"])) for row in found["metrics"]] == [
        (0, "0.0"),
        (2, "nan"),
    ]
    assert reading.params(found) == {"sys/id": "R-1", "x": 1}
    [info] = Export(str(tmp_path)).list_runs(Query())
    assert info.points == 2
    assert reading.damage(found) == [
        f"{path.name}: 1 rows of the type 'float_series' have a value in 'int_value',"
        " not in 'float_value', and are not read",
        f"{path.name}: 1 rows of the type 'int' have a value in 'float_value',"
        " not in 'int_value', and are not read",
    ]


def test_several_values_of_one_attribute_are_named_where_they_differ(tmp_path: Path) -> None:
    rows = [single("x", "int", value) for value in (1, 1, 2)]
    write(tmp_path, *REF, [[*IDS, *IDS, *rows, single("x", "string", "s")]])
    found = reading.tables(tmp_path)
    assert reading.params(found)["x"] == "s"
    assert reading.damage(found) == ["x: 3 values are there; the last one is read"]


def test_rows_without_labels_or_paths_hide_no_others(tmp_path: Path) -> None:
    nothing = {"run_id": None, "attribute_path": None, "attribute_type": None}
    label = {"project_id": REF.project, "run_id": REF.run_id}
    rows = [{**label, **row} for row in (*IDS, *LOSS)]
    pathless = {**label, "attribute_path": None, "attribute_type": "int", "int_value": 1}
    typeless = {**label, "attribute_path": "y", "attribute_type": None, "int_value": 1}
    exporting.write_part(part(tmp_path, *REF), [[*rows, nothing, pathless, typeless]])
    found = reading.tables(tmp_path)
    assert len(found["metrics"]) == 50
    lines = reading.damage(found)
    assert any("an attribute of type int has no path" in line for line in lines)
    assert any("1 rows of the type 'null'" in line for line in lines)
    assert any("1 rows name no project or no run" in line for line in lines)


@pytest.mark.parametrize("far", [10**15, -(10**15), 2**63 - 1], ids=["late", "early", "latest"])
def test_times_that_no_calendar_has_are_left_out_and_named(tmp_path: Path, far: int) -> None:
    line = point("monitoring/1/stdout", "string_series", 0, "printed", NOON)
    moment = single("when", "datetime", NOON)
    path = write(tmp_path, *REF, [IDS, [LOSS[0], line, moment]])
    table = pq.read_table(path)
    late = pa.array([None, None, far, far, None], pa.int64()).cast(pa.timestamp("ms", "UTC"))
    table = table.set_column(5, "timestamp", late)
    late = pa.array([None, None, None, None, far], pa.int64()).cast(pa.timestamp("ms", "UTC"))
    pq.write_table(table.set_column(10, "datetime_value", late), path)
    found = reading.tables(tmp_path)
    assert [row["time"] for row in found["metrics"]] == [None]
    assert [(row["time"], row["text"]) for row in found["logs"]] == [(None, "printed\n")]
    assert reading.params(found)["when"] == f"{far} ms"
    assert "times before the year 1 or after 9999 are left out" in reading.damage(found)


# Attributes


def test_paths_that_stand_in_each_others_way_stay_apart(tmp_path: Path) -> None:
    values = {"a": 1, "a/b": 2, "a.b": 3, "c/d": 4, "c.d": 5, "e//f": 6, "/g": 7, "h": 8}
    rows = [single(name, "int", value) for name, value in values.items()]
    write(tmp_path, *REF, [[*IDS, *rows]])
    found = reading.params(reading.tables(tmp_path))
    assert {name: found[name] for name in values} == values


def test_rows_without_a_value_are_no_attributes(tmp_path: Path) -> None:
    """The exporter writes them for what other runs of its batch have."""
    rows = [single("x", kind, None) for kind in ("int", "float", "string", "file", "string_set")]
    write(tmp_path, *REF, [[*IDS, *rows]])
    found = reading.tables(tmp_path)
    assert set(reading.params(found)) == {"sys/id"}
    assert "files" not in found
    assert not reading.damage(found)


# Files that were downloaded

HOSTILE = ["../secret", "a/../../secret", "/etc/hostname", "..\\secret", "C:\\secret", "", "."]


@pytest.mark.parametrize("place", HOSTILE)
@pytest.mark.parametrize("kind", ["file", "file_set"])
def test_no_file_outside_of_the_export_is_read(tmp_path: Path, place: str, kind: str) -> None:
    root = tmp_path / "export"
    for above in (tmp_path, root, root / "files"):
        above.mkdir(exist_ok=True)
        (above / "secret").write_text("secret")
    write(root, *REF, [[*IDS, single("evil", kind, place), single("good.txt", "file", "good.txt")]])
    put(root, REF.project, "good.txt", b"good")
    found = reading.tables(root)
    reader = Export(str(root))
    for row in found["files"]:
        try:
            with reader.open_file(FileRef(REF, "", row["path"])) as data:
                assert b"secret" not in data.read()
        except NotFoundError:
            continue
    assert reading.content(root, REF, "good.txt") == b"good"


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_that_leave_the_export_are_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "export", tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    put(root, REF.project, "set/inside.txt", b"inside")
    home = root / "files" / exporting.folder_name(REF.project)
    (home / "link").symlink_to(outside / "secret")
    (home / "set" / "link").symlink_to(outside / "secret")
    (home / "set" / "folder").symlink_to(outside)
    write(root, *REF, [[*IDS, single("x", "file", "link"), single("set", "file_set", "set")]])
    found = reading.tables(root)
    assert [row["path"] for row in found["files"]] == ["set/inside.txt"]
    assert any("x: 'link': leads out of the export" in line for line in reading.damage(found))


@pytest.mark.skipif(os.name == "nt", reason="no name has such signs there")
@pytest.mark.parametrize("stored", ["lab/p/x y", "lab\\p\\x y"], ids=["folders", "one name"])
def test_paths_of_exports_that_were_made_on_windows_are_found(tmp_path: Path, stored: str) -> None:
    put(tmp_path, REF.project, stored, b"found")
    write(tmp_path, *REF, [[*IDS, single("x", "file", "lab\\p\\x y")]])
    assert reading.content(tmp_path, REF, "x") == b"found"


def test_a_file_whose_bytes_are_missing_is_listed_and_not_found(tmp_path: Path) -> None:
    rows = [single("gone.txt", "file", "gone.txt"), single("set", "file_set", "no folder")]
    write(tmp_path, *REF, [[*IDS, *rows]])
    found = reading.tables(tmp_path)
    assert [(row["path"], row["size"]) for row in found["files"]] == [("gone.txt", None)]
    with pytest.raises(NotFoundError):
        reading.content(tmp_path, REF, "gone.txt")
    assert reading.damage(found) == ["set: 'no folder': the folder is not there"]


def test_names_of_files_stay_inside_and_apart(tmp_path: Path) -> None:
    names = ["../up", "/abs", "a", "a/b", "a\\c", "x\0y", "D", "d", "", "deep//er"]
    rows = []
    for number, name in enumerate(names):
        put(tmp_path, REF.project, f"{number}", str(number).encode())
        rows.append(single(name, "file", f"{number}"))
    write(tmp_path, *REF, [[*IDS, *rows]])
    found = reading.tables(tmp_path)["files"]
    paths = [row["path"] for row in found]
    assert len({path.casefold() for path in paths}) == len(names)
    for number, path in enumerate(paths):
        assert reading.content(tmp_path, REF, path) == str(number).encode()
        assert ".." not in path.split("/")
        assert path and not path.startswith("/")
        assert not set(path) & {"\\", "\0"}


@pytest.mark.parametrize("layout", ["lab_p-digest", "lab_p", ""])
def test_files_are_found_in_every_layout(tmp_path: Path, layout: str) -> None:
    folder = exporting.folder_name(REF.project) if "digest" in layout else layout
    place = tmp_path / "files" / folder / "lab/p/R-1/notes"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"found")
    write(tmp_path, *REF, [[*IDS, single("notes", "file", "lab/p/R-1/notes")]])
    assert reading.content(tmp_path, REF, "notes") == b"found"


# Whatever is in the bytes


@tries
@given(data=st.data())
def test_flipped_and_cut_bytes_raise_nothing_and_hide_no_other_run(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("export")
    path = write(
        root, *REF, [IDS, LOSS, [point("t", "string_series", i, "x" * i) for i in range(9)]]
    )
    write(root, *OTHER, [[single("sys/name", "string", "sound")], LOSS])
    sound = reading.tables(root, OTHER)
    content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=6)):
        content[at] ^= data.draw(st.integers(1, 255))
    kept = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    path.write_bytes(bytes(content[:kept]))
    reader = open_reader(f"neptune:{root}")
    refs = [info.ref for info in reader.list_runs(Query())]
    assert OTHER in refs
    for ref in refs:
        found = reading.tables(root, ref)
        reading.row(found)
    if len([ref for ref in refs if ref == OTHER]) == 1 and len(refs) == 2:
        assert reading.tables(root, OTHER)["runs"] == sound["runs"]
    list(reader.read_shared(Query()))


def test_random_bytes_in_a_row_group_are_one_line_each(tmp_path: Path) -> None:
    path = write(tmp_path, *REF, [IDS, LOSS, LOSS])
    column = pq.ParquetFile(path).metadata.row_group(1).column(7)
    noise = random.Random(1).randbytes(column.total_compressed_size)
    content = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + len(noise)] = noise
    path.write_bytes(bytes(content))
    found = reading.tables(tmp_path)
    lines = [line for line in reading.damage(found) if "row group 1" in line]
    assert len(lines) == 1
    assert "\n" not in lines[0]
    assert len(found["metrics"]) == 50


# What is no export


def test_a_folder_of_other_parquet_files_is_no_export(tmp_path: Path) -> None:
    (tmp_path / "data" / "p").mkdir(parents=True)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "data" / "p" / "x.parquet")
    assert not ADAPTER.recognizes(str(tmp_path))
    with pytest.raises(NotFoundError):
        resolve(str(tmp_path))


def test_an_export_is_told_by_its_columns(tmp_path: Path) -> None:
    write(tmp_path, *REF, [IDS])
    assert resolve(str(tmp_path))[0] is ADAPTER


def test_nothing_is_written_into_an_export_and_the_way_out_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="archive:"):
        ADAPTER.writer(str(tmp_path), {})
    with pytest.raises(UnsupportedError, match="archive:"):
        ADAPTER.check(str(tmp_path))


def test_a_place_without_an_export_says_what_is_looked_for(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(NotFoundError, match="neptune-exporter"):
            list(Export(str(place)).list_runs(Query()))
