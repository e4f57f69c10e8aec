"""Run folders that we write: what is in them, where they lie, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.wandb_files import sdk
from unit.wandb_files.folders import log, run_record, write
from unit.wandb_files.stores import STORES, damage, expected_runs, open_store, read, refs

from trackbridge.adapter import STORE, FileRef, Query, Row, RunKey, RunRef, Writer
from trackbridge.columns import batches
from trackbridge.errors import ConfigError, IntegrityError, NotFoundError, UnsupportedError
from trackbridge.testing.base import OUTSIDE
from trackbridge.transfer import move
from trackbridge_adapters.wandb import ADAPTER, jsontext
from trackbridge_adapters.wandb.marks import staging_of
from trackbridge_adapters.wandb.points import TIMES, Items, Places

KEY = RunKey("mlflow", "", "an experiment", "0123456789abcdef0123456789abcdef")
STARTED = datetime(2026, 3, 1, 12, 30, 5, 123456, timezone.utc)
RUN = {"status": "finished", "started": STARTED, "deleted": False}


def open_writer(place: Path) -> Writer:
    return ADAPTER.writer(str(place), {})


def put(
    writer: Writer,
    tables: dict[str, list[Row]],
    files: dict[tuple[str, str], bytes] | None = None,
    key: RunKey = KEY,
) -> RunRef:
    """Writes one run as the engine does, without a sidecar."""
    ref = writer.target(key)
    with writer.open([key]) as sink:
        for (owner, path), content in (files or {}).items():
            sink.put_file(FileRef(ref, owner, path), io.BytesIO(content))
        for table, rows in {"runs": [RUN], **tables}.items():
            for batch in batches(table, ({**row, **ref._asdict()} for row in rows)):
                sink.write(batch)
        assert sink.commit() == {key: ref}
    return ref


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


# What came from W&B


@pytest.fixture(scope="module", params=STORES, ids=lambda path: path.name)
def moved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A fixture and a copy that was written from it."""
    place = tmp_path_factory.mktemp("moved") / "wandb"
    source = open_store(request.param)
    before = snapshot(request.param)
    result = move(source, open_writer(place), list(source.list_runs(Query())))
    assert not result.failures
    assert snapshot(request.param) == before
    return request.param, place


def comparable(tables: dict[str, list[Row]]) -> dict[str, list[str]]:
    """Rows without what is true of one place alone, or of damage that was left behind."""
    found = {}
    for table, rows in tables.items():
        kept = []
        for row in rows:
            new = {name: value for name, value in row.items() if name != "source"}
            if table == "runs":
                extra = json.loads(row["extra"] or "{}")
                new["extra"] = {k: v for k, v in extra.items() if k not in ("damage", "incomplete")}
            kept.append(json.dumps(new, sort_keys=True, default=str))
        found[table] = sorted(kept)
    return {table: rows for table, rows in found.items() if rows}


def test_a_run_that_came_from_wandb_reads_back_equal_without_a_sidecar(
    moved: tuple[Path, Path],
) -> None:
    source, copy = map(open_store, moved)
    assert refs(copy) == refs(source)
    for ref in refs(source):
        before, after = read(source, ref), read(copy, ref)
        lost = [text for text in damage(before) if "missing" in text or "leads nowhere" in text]
        for row in before["files"]:
            if any(row["path"] in text for text in lost):
                before["files"] = [r for r in before["files"] if r != row]
        if ref.run_id == "resumed01":  # its processes have been put together
            before["runs"][0].pop("ended")
            after["runs"][0].pop("ended")
        assert comparable(after) == comparable(before), ref
        assert damage(after) == []


def test_what_was_written_is_valid_for_wandb_itself(moved: tuple[Path, Path]) -> None:
    paths = sorted(moved[1].glob("*/run-*.wandb"))
    assert paths
    for path in paths:
        kinds = [record.WhichOneof("record_type") for record in sdk.records(path)]
        assert kinds.count("run") == 1
        assert kinds.count("exit") <= 1
        steps = [r.history.step.num for r in sdk.records(path) if r.history.item]
        assert steps == sorted(steps)
        slots = [
            r.control.mailbox_slot for r in sdk.records(path) if r.run.run_id or r.exit.runtime
        ]
        assert all(slots)


def test_artifacts_keep_their_digests_and_their_bytes_move_with_the_tree(
    moved: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(moved[1], tmp_path / "elsewhere")
    [path] = moved[1].glob("*/run-artifacts01.wandb")
    for record in sdk.records(path):
        for entry in record.artifact.manifest.contents:
            if entry.local_path:
                assert Path(entry.local_path).stat().st_size == entry.size
    reader = open_store(tmp_path / "elsewhere")
    ref = RunRef("example/fixtures", "artifacts01")
    given_run = expected_runs(moved[0])["artifacts"]
    digests = {artifact["digest"] for artifact in given_run["artifacts"] if "id" not in artifact}
    tables = read(reader, ref)
    assert {row["digest"] for row in tables["artifacts"]} == digests
    for row in tables["files"]:
        if row["owner"] and not row["reference"]:
            with reader.open_file(FileRef(ref, row["owner"], row["path"])) as data:
                assert len(data.read()) == row["size"]


def test_files_of_a_run_in_a_folder_called_like_us_move_too(tmp_path: Path) -> None:
    folder = write(tmp_path / "old", run_record())
    (folder / "files" / "trackbridge").mkdir()
    (folder / "files" / "trackbridge" / "notes.txt").write_text("mine")
    source, target = open_store(tmp_path / "old"), open_writer(tmp_path / "new")
    assert not move(source, target, list(source.list_runs(Query()))).failures
    [ref] = refs(target)
    with target.open_file(FileRef(ref, "", "trackbridge/notes.txt")) as data:
        assert data.read() == b"mine"


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"?")])
def test_harm_to_an_artifact_that_we_wrote_shows_in_the_fingerprint_of_its_run(
    harm: Callable[[Path], object], moved: tuple[Path, Path], tmp_path: Path
) -> None:
    place = Path(shutil.copytree(moved[1], tmp_path / "wandb"))
    reader = open_store(place)
    before = {info.ref.run_id: info.fingerprint for info in reader.list_runs(Query())}
    assert {i.ref.run_id: i.fingerprint for i in open_store(moved[1]).list_runs(Query())} == before
    harm(staging_of(place, RunRef("example/fixtures", "artifacts01")) / "000000")
    after = {info.ref.run_id: info.fingerprint for info in reader.list_runs(Query())}
    assert {run_id for run_id in before if after[run_id] != before[run_id]} == {"artifacts01"}


# What comes from elsewhere


def points(*rows: tuple[str, int, float]) -> list[Row]:
    return [
        {"key": key, "step": step, "time": STARTED, "row": step, "value": value, "system": False}
        for key, step, value in rows
    ]


def test_keys_are_no_nested_keys_so_that_none_hides_another(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    keys = ["loss", "loss.train", "loss\\.x", "_step", "_timestamp", "_step.", "", ".", "größe"]
    ref = put(writer, {"metrics": points(*((key, 0, float(n)) for n, key in enumerate(keys)))})
    found = {row["key"]: row["value"] for row in read(writer, ref)["metrics"]}
    assert found == {key: float(n) for n, key in enumerate(keys)}
    [path] = tmp_path.glob("*/*.wandb")
    for record in sdk.records(path):
        assert not any(len(item.nested_key) > 1 for item in record.history.item)


def test_last_values_are_written_for_wandbs_tables_but_are_no_facts_of_the_run(
    tmp_path: Path,
) -> None:
    writer = open_writer(tmp_path)
    rows = points(("loss", 0, 3.0), ("loss", 1, 1.0), ("acc", 0, float("nan")))
    ref = put(writer, {"metrics": rows})
    assert read(writer, ref)["summary"] == []
    [path] = tmp_path.glob("*/*.wandb")
    shown = {
        item.key: item.value_json for record in sdk.records(path) for item in record.summary.update
    }
    assert shown == {"loss": "1", "acc": "NaN"}


def test_lines_of_output_keep_their_numbers(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    lines: list[Row] = [
        {"stream": "stdout", "line": 2, "time": None, "text": "\rlate"},
        {"stream": None, "line": 0, "time": STARTED, "text": "first\n"},
        {"stream": "stderr", "line": 7, "time": STARTED, "text": ""},
    ]
    ref = put(writer, {"logs": lines})
    assert read(writer, ref)["logs"] == sorted(lines, key=lambda row: row["line"])


@given(st.lists(st.integers(*TIMES), min_size=1, max_size=20))
def test_the_time_of_a_call_reads_back_to_the_microsecond(times: list[int]) -> None:
    found = [TIMES[0], TIMES[0] + 1, TIMES[1] - 1, TIMES[1], *times]
    texts = [jsontext.number(time / 1e6) for time in found]
    places = Places([None] * len(found), [None] * len(found))
    places.take(Items(["_timestamp"] * len(found), texts, np.arange(len(found))))
    assert places.times.tolist() == found
    assert places.has_time.all()


@pytest.mark.parametrize("sign", [-1, 1])
def test_beyond_the_bounds_a_time_would_not_read_back(sign: int) -> None:
    beyond = sign * (TIMES[1] + np.arange(1000))
    assert (np.rint(beyond / 1e6 * 1e6) != beyond).any()


def test_points_without_a_row_are_refused(tmp_path: Path) -> None:
    rows = [{**row, "row": None} for row in points(("loss", 0, 1.0))]
    with pytest.raises(IntegrityError, match="rows"):
        put(open_writer(tmp_path), {"metrics": rows})
    assert list(tmp_path.glob("*/*.wandb")) == []


@pytest.mark.parametrize("path", [*OUTSIDE, "", "a//b", "./a", "a/\0"])
@pytest.mark.parametrize("owner", ["", "data:v0"])
def test_files_that_would_lie_outside_are_refused(tmp_path: Path, path: str, owner: str) -> None:
    place = tmp_path / "around" / "wandb"
    before = snapshot(tmp_path)
    with pytest.raises(IntegrityError, match="outside"):
        put(open_writer(place), {}, {(owner, path): b"x"})
    assert snapshot(tmp_path) == before


def test_a_manifest_may_not_name_files_outside_or_without_bytes(tmp_path: Path) -> None:
    artifact = {"collection": "data", "version": "v0", "kind": "dataset", "direction": "logged"}
    for path in ("../x", "missing"):
        file = {"owner": "data:v0", "path": path, "size": 1}
        with pytest.raises(IntegrityError):
            put(open_writer(tmp_path), {"artifacts": [artifact], "files": [file]})


def test_a_file_and_a_folder_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="same name"):
        put(open_writer(tmp_path), {}, {("", "a"): b"", ("", "a/b"): b""})


# Folders


def test_the_folder_is_named_as_wandb_names_it(tmp_path: Path) -> None:
    put(open_writer(tmp_path), {})
    assert [path.name for path in tmp_path.glob("*run*")] == [
        f"offline-run-20260301_123005-{KEY.run_id}"
    ]


def test_writing_again_replaces_the_folder_even_if_its_name_changes(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    put(writer, {"tags": [{"key": "old"}]}, {("", "old.txt"): b"old"})
    earlier = {**RUN, "started": STARTED.replace(year=2025)}
    ref = put(writer, {"runs": [earlier], "tags": [{"key": "new"}]})
    assert refs(open_store(tmp_path)) == [ref]
    tables = read(open_store(tmp_path), ref)
    assert [row["key"] for row in tables["tags"]] == ["new"]
    assert tables["files"] == []
    assert {path.name for path in tmp_path.iterdir()} == {
        f"offline-run-20250301_123005-{KEY.run_id}"
    } | ({"artifacts"} & {path.name for path in tmp_path.iterdir()})


def test_runs_of_one_id_and_start_in_two_projects_have_two_folders(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    keys = [KEY._replace(project=project) for project in ("one", "two")]
    for key in keys:
        put(writer, {"tags": [{"key": key.project}]}, key=key)
    put(writer, {"tags": [{"key": "again"}]}, key=keys[0])
    found = {ref.project: read(writer, ref)["tags"][0]["key"] for ref in refs(writer)}
    assert found == {"one": "again", "two": "two"}
    assert len(list(tmp_path.glob("*run*"))) == 2


def test_a_folder_that_wandb_wrote_is_never_replaced(tmp_path: Path) -> None:
    write(tmp_path, run_record(), log(0, x="1"))
    before = snapshot(tmp_path)
    key = RunKey("wandb", "", "team/project", "abc")
    with pytest.raises(IntegrityError, match="not written by Trackbridge"):
        put(open_writer(tmp_path), {}, key=key)
    assert snapshot(tmp_path) == before


def test_what_a_killed_writer_left_is_no_run(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    sink = writer.open([KEY])
    sink.put_file(FileRef(writer.target(KEY), "", "a.txt"), io.BytesIO(b"x"))
    assert refs(open_store(tmp_path)) == []
    ref = put(writer, {})
    assert refs(open_store(tmp_path)) == [ref]


def test_files_of_the_store_lie_beside_the_runs(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "wandb")
    file = FileRef(STORE, "", "trackbridge/shared.json")
    with writer.open([]) as sink:
        sink.put_file(file, io.BytesIO(b"{}"))
        sink.commit()
    with open_store(tmp_path / "wandb").open_file(file) as data:
        assert data.read() == b"{}"
    with pytest.raises(NotFoundError):
        open_store(tmp_path / "wandb").open_file(file._replace(path="trackbridge/none"))


# Where runs go

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
keys_of_runs = st.builds(
    RunKey, st.sampled_from(["wandb", "mlflow"]), st.sampled_from(["", "x"]), texts, texts
)


@given(st.lists(keys_of_runs, unique=True, max_size=6))
def test_distinct_runs_have_distinct_places_that_wandb_accepts(keys: Sequence[RunKey]) -> None:
    writer = open_writer(Path("/nowhere"))
    places = [writer.target(key) for key in keys]
    assert len(set(places)) == len(places)
    for place in places:
        project = place.project.rpartition("/")[2]
        assert len(project) <= 128
        assert not set("/\\#?%:") & set(project)
        assert not set(":;,#?/'\\\n\0") & set(place.run_id)
        assert 0 < len(place.run_id) <= 64


def test_runs_of_wandb_keep_their_place_and_uuids_their_id() -> None:
    writer = open_writer(Path("/nowhere"))
    assert writer.target(RunKey("wandb", "", "team/p", "a b-1")) == RunRef("team/p", "a b-1")
    assert writer.target(KEY) == RunRef("an experiment", KEY.run_id)
    [a, b] = (writer.target(KEY._replace(project=name)).project for name in ("a/b", "a_b"))
    assert a != b == "a_b"


def test_an_entity_can_be_given_for_runs_from_elsewhere(tmp_path: Path) -> None:
    writer = ADAPTER.writer(str(tmp_path), {"entity": "team"})
    assert writer.target(KEY).project == "team/an experiment"
    assert writer.target(RunKey("wandb", "", "other/p", "x")).project == "other/p"
    with pytest.raises(ConfigError, match="entity"):
        ADAPTER.writer(str(tmp_path), {"entity": "a/b"})
    with pytest.raises(ConfigError, match="colour"):
        ADAPTER.reader(str(tmp_path), {"colour": "red"})


def test_a_file_is_no_place_to_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UnsupportedError):
        open_writer(tmp_path / "file")


def test_manifest_digests_are_those_that_wandb_computes(tmp_path: Path) -> None:
    from wandb.sdk.artifacts.artifact import Artifact

    (tmp_path / "a.txt").write_bytes(b"hello")
    (tmp_path / "b.txt").write_bytes(b"")
    theirs = Artifact("data", "dataset")
    for name in ("a.txt", "b.txt"):
        theirs.add_file(str(tmp_path / name), name=f"in/{name}")
    artifact = {"collection": "data", "version": "v0", "kind": "dataset", "direction": "logged"}
    files = {
        ("data:v0", f"in/{name}"): (tmp_path / name).read_bytes() for name in ("a.txt", "b.txt")
    }
    rows = [{"owner": owner, "path": path, "size": len(c)} for (owner, path), c in files.items()]
    put(open_writer(tmp_path / "wandb"), {"artifacts": [artifact], "files": rows}, files)
    [path] = tmp_path.glob("wandb/*/*.wandb")
    [record] = [r.artifact for r in sdk.records(path) if r.HasField("artifact")]
    assert record.digest == theirs.digest
    assert {e.path: e.digest for e in record.manifest.contents} == {
        path: entry.digest for path, entry in theirs.manifest.entries.items()
    }
    assert hashlib.md5(b"hello").digest().hex()[:8] == "5d41402a"


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    writer = open_writer(tmp_path / "file" / "wandb")
    with pytest.raises(ConfigError, match=r"cannot be written: .*file"):
        put(writer, {}, {("", "a.txt"): b"x"})
