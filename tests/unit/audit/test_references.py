"""What records refer to and do not have is named; tables that are not as they should be too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unit.archive.archives import runs, write, writer
from unit.audit.sealed import sealed

from trackbridge.audit.check import check
from trackbridge.audit.keys import Key
from trackbridge.testing import samples
from trackbridge.testing.made import store
from trackbridge_adapters.archive.chunks import Part
from trackbridge_adapters.archive.parts import sha256


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def gaps(place: Path, key: Key) -> dict[str, tuple[int, str]]:
    sealed(place, key)
    report, found, _ = check(f"archive:{place}")
    assert report.problems == []
    return {gap.what: (gap.number, gap.example) for gap in found}


def test_an_archive_with_everything_lacks_only_a_parent_that_it_was_not_given(
    place: Path, key: Key
) -> None:
    store(writer(place), [samples.everything()])
    write(place, runs("ab"))
    assert gaps(place, key) == {"parents of runs": (1, "the project/parent")}


def test_what_was_never_there_is_named(place: Path, key: Key) -> None:
    [run] = runs("a")
    run.tables["runs"][0]["parent_run_id"] = "gone"
    run.tables["series"] = [
        {"key": "image", "step": 0, "row": 0, "kind": "image", "value": "{}", "path": "lost.png"}
    ]
    run.tables["files"] += [
        {"owner": "model:v7", "path": "weights"},
        {"owner": "", "path": "elsewhere", "reference": "s3://bucket/elsewhere"},
    ]
    write(place, [run])
    assert gaps(place, key) == {
        "parents of runs": (1, "vision/gone"),
        "files without bytes": (1, "vision/a/model:v7/weights"),
        "artifacts of files": (1, "vision/a/model:v7"),
        "files of series": (1, "vision/a/lost.png"),
    }


def test_a_table_with_other_columns_is_named(place: Path, key: Key) -> None:
    """As a tool might leave it that writes archives of its own."""
    write(place, runs("a"))
    index = writer(place).index
    index.refresh()
    [chunk] = [chunk for chunk in index.chunks.values() if chunk.entries]
    path = place / chunk.path("metrics")
    pq.write_table(pa.table({"key": ["note"]}), path)
    part = Part(1, path.stat().st_size, sha256(path))
    other = replace(chunk, parts={**chunk.parts, "metrics": part})
    (place / chunk.commit).write_bytes(other.dumps())
    sealed(place, key)
    [problem] = check(f"archive:{place}").report.problems
    assert problem == (chunk.path("metrics"), "its columns are not those of the table metrics")


def test_a_table_that_is_no_parquet_file_is_named(place: Path, key: Key) -> None:
    write(place, runs("a"))
    index = writer(place).index
    index.refresh()
    [chunk] = [chunk for chunk in index.chunks.values() if chunk.entries]
    path = place / chunk.path("metrics")
    path.write_bytes(b"no table")
    other = replace(chunk, parts={**chunk.parts, "metrics": Part(1, 8, sha256(path))})
    (place / chunk.commit).write_bytes(other.dumps())
    sealed(place, key)
    [problem] = check(f"archive:{place}").report.problems
    assert problem.path == chunk.path("metrics") and "no Parquet file" in problem.what
