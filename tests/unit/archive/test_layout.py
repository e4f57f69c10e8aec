"""What others may rely on: the tables are plain Parquet, and nothing is read that need not be."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from unit.archive.archives import everything, key, reader, referred, runs, tables, write, writer

from trackbridge import folder
from trackbridge.adapter import Batch, Query, RunKey, RunRef
from trackbridge.columns import batches
from trackbridge.errors import ConfigError, IntegrityError
from trackbridge.optional import Excerpt
from trackbridge.schema import BATCH_ROWS, TABLES
from trackbridge.testing import samples
from trackbridge.testing.made import store
from trackbridge.testing.selecting import check_excerpts
from trackbridge_adapters.archive import ADAPTER, parts


def points(run: str, rows: int, start: int = 0) -> Batch:
    """Points of one run, in batches as a reader gives them."""
    steps = np.arange(start, start + rows)
    one = pa.array(np.zeros(rows, np.int32))

    def label(text: str) -> pa.Array:
        return pa.DictionaryArray.from_arrays(one, pa.array([text]))

    times = pa.array(steps * 1_000_000).cast(TABLES["metrics"].field("time").type)
    columns = [label("vision"), label(run), label("loss"), pa.array(steps), times, pa.array(steps)]
    columns += [pa.array(steps / 7), pa.repeat(False, rows)]
    return Batch("metrics", pa.RecordBatch.from_arrays(columns, schema=TABLES["metrics"]))


def write_points(place: Path, sizes: dict[str, int]) -> None:
    """Runs of so many points, in one chunk."""
    with writer(place).open([key(name) for name in sizes]) as sink:
        rows = [{"project": "vision", "run_id": name, "deleted": False} for name in sizes]
        for batch in batches("runs", rows):
            sink.write(batch)
        for name, size in sizes.items():
            for start in range(0, size, BATCH_ROWS):
                sink.write(points(name, min(BATCH_ROWS, size - start), start))
        sink.commit()


def test_each_table_reads_as_a_dataset_with_pandas_and_pyarrow_alone(tmp_path: Path) -> None:
    store(writer(tmp_path), [samples.everything()])
    write(tmp_path, runs("ab"))
    held = {path.parent.name for path in tmp_path.glob("data/*/*.parquet")}
    assert held == {*TABLES, "contents"} - {"projects", "models", "model_versions"} - {
        "sweeps",
        "reports",
    }
    for table in held:
        frame = pd.read_parquet(tmp_path / "data" / table)
        assert len(frame) == ds.dataset(tmp_path / "data" / table).count_rows()
        assert set(frame.columns) == set(parts.SCHEMAS[table].names)
    metrics = pd.read_parquet(tmp_path / "data" / "metrics")
    assert metrics[metrics.run_id == "a"].value.tolist() == [0.5 / n for n in range(1, 6)]
    contents = pd.read_parquet(tmp_path / "data" / "contents").set_index("path").sha256
    digest = contents["a.txt"]
    assert (tmp_path / "data" / "bytes" / digest[:2] / digest).read_bytes() == b"a"


def test_the_columns_say_what_they_are_and_labels_are_kept_once(tmp_path: Path) -> None:
    write(tmp_path, runs("ab"))
    (path,) = tmp_path.glob("data/metrics/*.parquet")
    file = pq.ParquetFile(path)
    for field in TABLES["metrics"]:
        assert file.schema_arrow.field(field.name).metadata[b"doc"] == field.metadata[b"doc"]
    group = file.metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert {c.compression for c in columns.values()} == {"ZSTD"}
    for name in ("project", "run_id", "key"):
        assert columns[name].has_dictionary_page
        assert columns[name].statistics.has_min_max


def test_row_groups_end_at_the_same_row_however_the_batches_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "GROUP_ROWS", 1000)
    rows = points("a", 3500).data
    found = []
    for number, size in enumerate((3500, 70, 999)):
        path = tmp_path / str(number)
        part = parts.PartWriter(path, "metrics")
        for start in range(0, 3500, size):
            part.write(rows.slice(start, size))
        part.close()
        metadata = pq.read_metadata(path)
        found.append([metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)])
    assert found == [[1000, 1000, 1000, 500]] * 3


def test_a_run_is_found_by_the_statistics_of_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "GROUP_ROWS", 1000)
    write_points(tmp_path, {"a": 5000, "b": 1500, "c": 5000})
    seen: list[int] = []
    iterate = pq.ParquetFile.iter_batches

    def watched(
        self: pq.ParquetFile, *args: object, row_groups: list[int], **more: object
    ) -> object:
        seen.extend(row_groups)
        return iterate(self, *args, row_groups=row_groups, **more)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    found = list(reader(tmp_path).read_runs([RunRef("vision", "b")], ["metrics"]))
    assert sum(batch.data.num_rows for batch in found) == 1500
    assert seen == [5, 6]


def test_runs_of_the_same_id_in_two_projects_are_kept_apart(tmp_path: Path) -> None:
    both = [samples.simple("a"), samples.simple("a", project="speech", loss=3.0)]
    store(writer(tmp_path), both)
    for run in both:
        (batch,) = reader(tmp_path).read_runs([run.ref], ["metrics"])
        assert batch.data.column("value").to_pylist() == [p["value"] for p in run.tables["metrics"]]


def test_listing_opens_commits_only(tmp_path: Path) -> None:
    write(tmp_path, runs("abc"))
    before = list(reader(tmp_path).list_runs(Query()))
    for path in tmp_path.glob("data/*/*.parquet"):
        path.write_bytes(bytes(path.stat().st_size))
    assert list(reader(tmp_path).list_runs(Query())) == before
    assert [(info.points, info.files, info.size) for info in before] == [(5, 1, 1)] * 3


def test_listing_takes_one_request_for_each_table_however_many_runs_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    place = f"memory://{tmp_path.as_posix()}"
    for name in "abcdef":
        store(ADAPTER.writer(place, {}), runs(name))
    archive = ADAPTER.reader(place, {})
    before = list(archive.list_runs(Query()))
    asked: list[str] = []
    ls = MemoryFileSystem.ls

    def watched(system: MemoryFileSystem, path: str, *args: object, **more: object) -> object:
        asked.append(path.rpartition("/")[2])
        return ls(system, path, *args, **more)

    monkeypatch.setattr(MemoryFileSystem, "ls", watched)
    for deed in ("info", "cat_file", "_open", "get_file"):
        monkeypatch.setattr(MemoryFileSystem, deed, None)
    assert list(archive.list_runs(Query())) == before
    assert sorted(asked) == ["chunks", "contents", "files", "metrics", "params", "runs"]


def test_points_leave_memory_by_the_row_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "GROUP_ROWS", BATCH_ROWS)
    most = 0

    def many() -> Iterator[Batch]:
        for start in range(0, 40 * BATCH_ROWS, BATCH_ROWS):
            yield points("a", BATCH_ROWS, start)

    before = pa.total_allocated_bytes()
    one = points("a", BATCH_ROWS).data.nbytes
    with writer(tmp_path).open([key("a")]) as sink:
        for batch in batches("runs", [{"project": "vision", "run_id": "a"}]):
            sink.write(batch)
        for batch in many():
            sink.write(batch)
            most = max(most, pa.total_allocated_bytes() - before)
        sink.commit()
    assert most < 5 * one, "points pile up while they are written"
    most = 0
    for batch in reader(tmp_path).read_runs([RunRef("vision", "a")], ["metrics"]):
        most = max(most, pa.total_allocated_bytes() - before)
        assert batch.data.num_rows <= BATCH_ROWS
    assert most < 40 * one, "points pile up while they are read"


def test_batches_of_long_texts_have_fewer_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "BATCH_BYTES", 100_000)
    run = samples.simple("a")
    run.tables["logs"] = [
        {"stream": "stdout", "line": line, "text": f"{line:>1000}"} for line in range(1000)
    ]
    store(writer(tmp_path), [run])
    found = list(reader(tmp_path).read_runs([run.ref], ["logs"]))
    assert sum(batch.data.num_rows for batch in found) == 1000
    assert max(batch.data.num_rows for batch in found) <= 200


def test_an_object_store_holds_the_same_files_as_a_disk(tmp_path: Path) -> None:
    import fsspec

    place = f"memory://{tmp_path.as_posix()}"
    for target in (writer(tmp_path / "disk"), ADAPTER.writer(place, {})):
        store(target, [samples.everything()])
        store(target, runs("ab"))
        store(target, runs("b", 2.0))
        target.sweep()
    system, root = fsspec.core.url_to_fs(place)
    remote = {path[len(root) + 1 :]: system.cat_file(path) for path in system.find(root)}
    local = {
        path.relative_to(tmp_path / "disk").as_posix(): path.read_bytes()
        for path in (tmp_path / "disk").rglob("*")
        if path.is_file()
    }
    assert remote == local


def test_sweeping_takes_away_what_nothing_refers_to_and_no_more(tmp_path: Path) -> None:
    old, new = samples.simple("a"), samples.simple("a", loss=2.0)
    old.add_file("", "old.bin", b"only the old run has this")
    store(writer(tmp_path), [old])
    store(writer(tmp_path), [new, *runs("b")])
    (tmp_path / ".incoming-dead.x").mkdir()
    (tmp_path / "data" / "metrics" / "left.parquet").touch()
    before = everything(tmp_path)
    writer(tmp_path).sweep()
    assert everything(tmp_path) == before
    assert tables(tmp_path) == referred(tmp_path)
    held = {path.read_bytes() for path in tmp_path.glob("data/bytes/*/*")}
    assert held == {b"a", b"b"}


def test_an_address_has_no_password_in_it() -> None:
    assert folder.url_without_secrets("sftp://ann:pa:ss@host/out") == "sftp://ann@host/out"
    assert folder.url_without_secrets("abfs://box/out?sig=token") == "abfs://box/out"
    assert folder.url_without_secrets("s3://bucket/a@b") == "s3://bucket/a@b"


@pytest.mark.parametrize(
    ("location", "options", "reason"),
    [
        ("", {}, "needs a place"),
        ("no-such-scheme://x", {}, "no-such-scheme"),
        ("./out", {"endpoint_url": "http://x"}, r"takes no options \(endpoint_url\)"),
    ],
)
def test_an_address_that_cannot_work_says_why(
    location: str, options: dict[str, str], reason: str
) -> None:
    for open_it in (ADAPTER.reader, ADAPTER.writer):
        with pytest.raises(ConfigError, match=reason):
            open_it(location, options)


def test_a_file_address_is_a_folder_of_this_machine(tmp_path: Path) -> None:
    target = ADAPTER.writer(f"file://{tmp_path}/out", {})
    store(target, runs("a"))
    assert list(reader(tmp_path / "out").list_runs(Query()))


def test_new_paths_called_archive_become_archives() -> None:
    for path in ("./archive", "archive/", "s3://bucket/my-archive-1"):
        assert ADAPTER.suggests(path)
    for path in ("./wandb", "archive/mlflow.db", "http://host/archive"):
        assert not ADAPTER.suggests(path)


def test_loading_the_adapter_loads_no_pyarrow() -> None:
    heavy = "{'pyarrow', 'fsspec'}"
    code = f"import sys, trackbridge_adapters.archive; assert not {heavy} & {{*sys.modules}}"
    paths = [path for path in sys.path if path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_a_second_run_of_the_same_name_but_another_origin_is_refused(tmp_path: Path) -> None:
    write(tmp_path, runs("a"))
    stranger = samples.simple("a", loss=9.0)
    stranger.key = RunKey("other-kind", "", "vision", "a")
    before = everything(tmp_path)
    with pytest.raises(IntegrityError, match="put other-kind//vision/a into another archive"):
        store(writer(tmp_path), [stranger])
    assert everything(tmp_path) == before


def test_a_part_has_no_text_that_no_row_has(tmp_path: Path) -> None:
    """Dictionaries of batches may have what other runs are called, and the same text twice."""
    keys = pa.array(["a secret of another run", "loss", "another", "loss"])
    made = samples.simple("a")
    (points,) = (batch.data for batch in made.batches() if batch.table == "metrics")
    files = []
    for number, indices in enumerate(([1, 3, 1, 3, 1], [3, 3, 1, 1, 1])):
        column = pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), keys)
        position = points.schema.get_field_index("key")
        data = points.set_column(position, points.schema.field("key"), column)
        place = writer(tmp_path / str(number))
        with place.open([made.key]) as sink:
            for batch in made.batches():
                sink.write(Batch("metrics", data) if batch.table == "metrics" else batch)
            sink.commit()
        (path,) = (tmp_path / str(number) / "data" / "metrics").iterdir()
        files.append(path.read_bytes())
        column = pq.ParquetFile(path).metadata.row_group(0).column(2)
        assert column.path_in_schema == "key" and b"secret" not in files[-1]
        assert pq.read_table(path).column("key").to_pylist() == ["loss"] * 5
    assert files[0] == files[1]


def test_parts_of_points_are_found_across_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "GROUP_ROWS", 7)
    store(writer(tmp_path), [samples.everything(), *runs("abc"), samples.long("long", 40)])
    (file, *_) = tmp_path.glob("data/metrics/*.parquet")
    assert pq.ParquetFile(file).num_row_groups > 9
    refs = [info.ref for info in reader(tmp_path).list_runs(Query())]
    check_excerpts(reader(tmp_path), refs)
    check_excerpts(reader(tmp_path), refs[::2])


def test_row_groups_without_the_keys_and_steps_that_are_asked_for_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "GROUP_ROWS", 10)
    store(writer(tmp_path), [samples.long("long", 100)])
    read: list[int] = []

    class Counted(pq.ParquetFile):
        def iter_batches(self, *given: Any, row_groups: list[int], **options: Any) -> Any:
            read.extend(row_groups)
            return super().iter_batches(*given, row_groups=row_groups, **options)

    monkeypatch.setattr(parts.pq, "ParquetFile", Counted)
    refs = [info.ref for info in reader(tmp_path).list_runs(Query())]
    asked = [
        Excerpt(None, 25, 31),
        Excerpt(frozenset({"zzz", "a"})),
        Excerpt(frozenset({"loss"}), 95),
    ]
    assert [len([*reader(tmp_path).read_points(refs, part)]) for part in asked] == [2, 0, 1]
    assert read == [2, 3, 9]
