"""Small archives for tests, and ways to look at them and to break them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from trackbridge.adapter import FileRef, Query, RunKey, RunRef
from trackbridge.testing import MadeRun, samples
from trackbridge.testing.made import store
from trackbridge_adapters.archive import ADAPTER
from trackbridge_adapters.archive.reader import ArchiveReader
from trackbridge_adapters.archive.writer import ArchiveWriter


def writer(place: Path) -> ArchiveWriter:
    return ADAPTER.writer(str(place), {})


def reader(place: Path) -> ArchiveReader:
    return ADAPTER.reader(str(place), {})


def runs(names: str, loss: float = 0.5) -> list[MadeRun]:
    """Runs called by single letters; `loss` tells versions of a run apart."""
    return [samples.simple(name, loss=loss) for name in names]


def write(place: Path, made: Sequence[MadeRun]) -> None:
    store(writer(place), made)


def contents(place: Path) -> dict[str, float]:
    """Name of each run and the loss it was made with; fails where a run is there twice."""
    read = reader(place)
    refs = [info.ref for info in read.list_runs(Query())]
    assert len(set(refs)) == len(refs), "a run is listed twice"
    found: dict[str, float] = {}
    rows: Counter[str] = Counter()
    for batch in read.read_runs(refs, ["metrics", "runs"]):
        for row in batch.data.to_pylist():
            rows[row["run_id"], batch.table] += 1
            if row.get("step") == 0:
                found[row["run_id"]] = row["value"]
    for ref in refs:
        assert rows[ref.run_id, "runs"] == 1, f"{ref.run_id} is read {rows} times"
        assert rows[ref.run_id, "metrics"] == 5, f"{ref.run_id} is read {rows} times"
        assert read.open_file(FileRef(ref, "", f"{ref.run_id}.txt")).read() == ref.run_id.encode()
    return found


def everything(place: Path) -> list[Any]:
    """All that an archive says, in a form that can be compared."""
    read = reader(place)
    infos = list(read.list_runs(Query()))
    said: list[Any] = [infos]
    for batch in [*read.read_runs([info.ref for info in infos]), *read.read_shared(Query())]:
        said.append(
            (batch.table, [tuple(map(str, row.values())) for row in batch.data.to_pylist()])
        )
        if batch.table == "files":
            for row in batch.data.to_pylist():
                if row["reference"] is None:
                    ref = RunRef(row["project"], row["run_id"])
                    said.append(read.open_file(FileRef(ref, row["owner"], row["path"])).read())
    return said


def files_of(place: Path) -> set[str]:
    """Every file below the root, hidden ones too."""
    return {p.relative_to(place).as_posix() for p in place.rglob("*") if not p.is_dir()}


def referred(place: Path) -> set[str]:
    """The files that the commits of an archive speak of, and the commits."""
    index = writer(place).index
    index.refresh()
    return {
        path
        for chunk in index.chunks.values()
        for files in ([(chunk.commit, None)], *map(chunk.files_of, chunk.tables))
        for path, _ in files
    }


def tables(place: Path) -> Iterable[str]:
    """What of an archive is there for commits, content-addressed bytes left out.

    A scratch folder with nothing in it but its lock is left to whoever makes one of that name.
    """
    other = ("data/bytes/", "trackbridge.json")
    return {p for p in files_of(place) if not (p.startswith(other) or p.endswith("/.held"))}


def key(name: str) -> RunKey:
    return samples.simple(name).key
