"""Damaged run folders: everything readable is read, and the damage is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.wandb_files.folders import REF, log, read_one, run_record, write
from unit.wandb_files.stores import STORES, damage, open_store, read, refs

from trackbridge.adapter import Query, Row, RunRef
from trackbridge_adapters.wandb.framing import BLOCK, RecordWriter, read_records

REUSED = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LONG = RunRef("example/fixtures", "long01")


@pytest.fixture(params=[STORES[0], STORES[-1]], ids=lambda path: path.name)
def long_run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a run of more than three blocks: its `.wandb` file."""
    [folder] = request.param.glob("wandb/*-long01")
    shutil.copytree(folder, tmp_path / folder.name, symlinks=True)
    return tmp_path / folder.name / "run-long01.wandb"


def points(tables: dict[str, list[Row]]) -> set[tuple[str, int, float]]:
    return {(r["key"], r["step"], r["value"]) for r in tables["metrics"]}


def read_long(path: Path) -> dict[str, list[Row]]:
    reader = open_store(path.parent)
    [ref] = refs(reader)
    return read(reader, ref)


@REUSED
@given(data=st.data())
def test_a_changed_byte_costs_little_and_is_named(long_run: Path, data: st.DataObject) -> None:
    whole = long_run.read_bytes()
    before = points(read_long(long_run))
    place = data.draw(st.integers(7, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    long_run.write_bytes(changed)
    try:
        tables = read_long(long_run)
        found = points(tables)
        assert found <= before
        assert len(before - found) <= 10 * 9  # a record, or those in the rest of its chunk
        named = [text for text in damage(tables) if "offset" in text]
        assert all(text.startswith("run-long01.wandb: offset ") for text in named)
        assert named or found == before
    finally:
        long_run.write_bytes(whole)


@REUSED
@given(data=st.data())
def test_a_cut_file_is_read_up_to_the_cut(long_run: Path, data: st.DataObject) -> None:
    whole = long_run.read_bytes()
    before = points(read_long(long_run))
    cut = data.draw(st.integers(0, len(whole)))
    long_run.write_bytes(whole[:cut])
    try:
        tables = read_long(long_run)
        assert points(tables) <= before
        [row] = tables["runs"]
        assert row["status"] == "crashed" or cut > len(whole) - 2000
    finally:
        long_run.write_bytes(whole)


def test_a_lost_block_leaves_the_others(long_run: Path) -> None:
    whole = long_run.read_bytes()
    before = points(read_long(long_run))
    long_run.write_bytes(whole[:BLOCK] + bytes(BLOCK) + whole[2 * BLOCK :])
    tables = read_long(long_run)
    found = points(tables)
    assert {step for _, step, _ in found} < {step for _, step, _ in before}
    assert len(found) > len(before) / 2
    assert any(f"offset {BLOCK}: wrong checksum" in text for text in damage(tables))


def test_an_empty_file_still_is_a_run(tmp_path: Path) -> None:
    folder = write(tmp_path, run_record())
    (folder / "run-abc.wandb").write_bytes(b"")
    [info] = open_store(tmp_path).list_runs(Query())
    assert info.ref == RunRef("uncategorized", "abc")
    tables = read_one(tmp_path, info.ref)
    assert damage(tables) == ["run-abc.wandb: offset 0: the file is empty"]
    assert tables["runs"][0]["status"] == "crashed"


def test_a_folder_without_a_file_of_records_still_is_a_run(tmp_path: Path) -> None:
    folder = write(tmp_path, run_record())
    (folder / "run-abc.wandb").unlink()
    (folder / "files" / "output.log").write_text("text")
    tables = read_one(tmp_path, RunRef("uncategorized", "abc"))
    assert damage(tables) == [f"{folder.name}: there is no .wandb file"]
    assert [row["path"] for row in tables["files"]] == ["output.log"]


def test_a_record_that_is_no_message_is_named_by_its_offset(tmp_path: Path) -> None:
    class Garbage:
        def SerializeToString(self) -> bytes:
            return b"\xff\xff\xff"

    write(tmp_path, run_record(), Garbage(), log(0, x="1"))
    tables = read_one(tmp_path)
    assert points(tables) == {("x", 0, 1.0)}
    [named] = damage(tables)
    assert named.endswith("a record is no W&B record")


def test_the_damage_of_resumed_runs_names_the_folder(tmp_path: Path) -> None:
    for day in ("01", "02"):
        folder = write(tmp_path, run_record(), log(0, x="1"), name=f"run-202401{day}_000000-abc")
    data = (folder / "run-abc.wandb").read_bytes()
    (folder / "run-abc.wandb").write_bytes(data[:-1])
    [named] = damage(read_one(tmp_path, REF))
    assert named.startswith(f"{folder.name}/run-abc.wandb: offset ")


def test_a_manifest_in_a_file_of_its_own_may_be_missing(tmp_path: Path) -> None:
    made = run_record()
    artifact = type(made)()
    artifact.artifact.name = "large"
    artifact.artifact.manifest.manifest_file_path = "/nonexistent/artifacts/manifest.jl.gz"
    write(tmp_path, made, artifact)
    assert damage(read_one(tmp_path)) == [
        "artifact large:v0: the manifest /nonexistent/artifacts/manifest.jl.gz is missing"
    ]


@REUSED
@given(data=st.data())
def test_records_with_any_content_are_read_without_an_error(
    tmp_path: Path, data: st.DataObject
) -> None:
    """Behind a right checksum, too, there may be anything."""
    store = data.draw(st.sampled_from(STORES))
    part = data.draw(st.sampled_from(["config01", "artifacts01", "stats01", "defined01"]))
    [path] = store.glob(f"wandb/*-{part}/*.wandb")
    with path.open("rb") as stream:
        records = [bytearray(record) for _, record in read_records(stream, [])]
    for record in data.draw(st.lists(st.sampled_from(range(len(records))), max_size=6)):
        content = records[record]
        place = data.draw(st.integers(0, max(0, len(content) - 1)))
        content[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    folder = tmp_path / "run-20240101_000000-abc"
    folder.mkdir(exist_ok=True)
    with (folder / "run-abc.wandb").open("wb") as stream:
        writer = RecordWriter(stream)
        for content in records:
            writer.write(bytes(content))
    reader = open_store(tmp_path)
    for info in reader.list_runs(Query()):
        for batch in reader.read_runs([info.ref]):
            batch.data.validate(full=True)
            batch.data.to_pylist()
