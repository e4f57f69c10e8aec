"""Tables of the run model are written so that they are whole, whatever happens."""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from trackbridge.adapter import FileRef, Query
from trackbridge.cli import main
from trackbridge.engine import migrate
from trackbridge.errors import BridgeError, ConfigError, IntegrityError
from trackbridge.testing import MadeRun, samples
from trackbridge.testing.base import listed, rows_of, snapshot, tries
from trackbridge.testing.made import deliver, store
from trackbridge_adapters.tables import CSV, JSONL
from trackbridge_adapters.tables.writer import StoredWriter

FORMATS = pytest.mark.parametrize("adapter", [CSV, JSONL], ids=["csv", "jsonl"])


def writer(folder: Path, adapter: object = CSV) -> StoredWriter:
    return adapter.writer(str(folder / "out"), {})  # type: ignore[attr-defined, no-any-return]


def losses(target: StoredWriter) -> dict[str, list[float]]:
    """Values of each run."""
    refs = [info.ref for info in listed(target)]
    found: dict[str, list[float]] = {ref.run_id: [] for ref in refs}
    for row in rows_of(target.read_runs(refs, ["metrics"])).get("metrics", []):
        found[row["run_id"]].append(row["value"])
    return found


@FORMATS
def test_the_same_runs_give_the_same_bytes(tmp_path: Path, adapter: object) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        target = writer(tmp_path / name, adapter)
        store(target, [samples.everything(), samples.simple("b")])
        store(target, [samples.simple("c")])
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


@FORMATS
def test_a_replaced_run_leaves_every_other_row_as_it_was(tmp_path: Path, adapter: object) -> None:
    target = writer(tmp_path, adapter)
    runs = [samples.simple(name) for name in "abcd"]
    store(target, runs[:2])
    store(target, runs[2:])
    before = losses(target)
    store(target, [samples.simple("b", loss=1.0)])
    after = losses(target)
    assert {name: after[name] for name in "acd"} == {name: before[name] for name in "acd"}
    assert after["b"] == [2 * value for value in before["b"]]
    lines = Path(target.root, f"runs.{target.scheme}").read_text().splitlines()
    assert len(lines) == 4 + (target.scheme == "csv")


def test_bytes_that_no_run_has_any_more_are_removed(tmp_path: Path) -> None:
    target, old, new = writer(tmp_path), samples.simple("a"), samples.simple("a")
    old.add_file("", "old.txt", b"old")
    shared = samples.simple("b")
    store(target, [old])
    store(target, [shared])
    store(target, [new])
    there = sorted(path.read_bytes() for path in (target.root / "files").iterdir())
    assert there == [b"a", b"b"]


class _KilledError(BaseException):
    """What ends a writer as kill -9 does: nothing is undone."""


class _Acts:
    """Acts on the file system: after `left` of them there is an error, of a kill in all others."""

    def __init__(self) -> None:
        self.left, self.error = 10**9, BaseException()

    def count(self) -> None:
        self.left -= 1
        if self.left == 0 or (self.left < 0 and isinstance(self.error, _KilledError)):
            raise self.error


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> _Acts:
    found = _Acts()
    real = {name: getattr(os, name) for name in ("replace", "fsync", "unlink", "mkdir", "truncate")}

    def counted(name: str):  # type: ignore[no-untyped-def]
        def act(*args: object, **named: object) -> object:
            found.count()
            return real[name](*args, **named)

        return act

    for name in real:
        monkeypatch.setattr(os, name, counted(name))
    return found


@pytest.mark.parametrize(
    ("adapter", "error"),
    [(CSV, _KilledError()), (JSONL, _KilledError()), (CSV, OSError(5, "lost"))],
    ids=["csv-killed", "jsonl-killed", "csv-error"],
)
def test_a_writer_that_is_ended_anywhere_leaves_all_or_nothing(
    tmp_path: Path, adapter: object, acts: _Acts, error: BaseException
) -> None:
    old, new, more = samples.simple("a"), samples.simple("a", loss=1.0), samples.simple("b")
    new.add_file("", "new.txt", b"new")
    project = samples.shared("vision", "a", 1)
    for number in range(1, 60):
        folder = tmp_path / str(number)
        folder.mkdir()
        store(writer(folder, adapter), [old])
        before = losses(writer(folder, adapter))
        acts.left, acts.error = number, error
        try:
            _write_all(writer(folder, adapter), [new, more], project)
            finished = acts.left > 0
        except (type(error), ConfigError):
            finished = False
        acts.left = 10**9
        seen = losses(writer(folder, adapter))
        whole = {"a": [2 * value for value in before["a"]], "b": before["a"]}
        assert seen in (before, whole), number
        _write_all(writer(folder, adapter), [new, more], project)
        again = writer(folder, adapter)
        assert losses(again) == whole, number
        for info in listed(again):
            for row in rows_of(again.read_runs([info.ref], ["files"]))["files"]:
                assert again.open_file(FileRef(info.ref, row["owner"], row["path"])).read()
        left = {path.name for path in again.root.iterdir() if path.name.startswith(".")}
        assert left <= {".trackbridge-lock"}, number
        assert len(list((again.root / "files").iterdir())) == 3, number
        if finished:
            return
    raise AssertionError("it never came to an end")


def _write_all(target: StoredWriter, runs: list[MadeRun], shared: dict[str, list[dict]]) -> None:  # type: ignore[type-arg]
    """Runs and shared rows in one chunk; after a kill nobody cleans up."""
    from trackbridge.columns import batches

    sink = target.open([run.key for run in runs])
    sink.__enter__()
    try:
        deliver(target, sink, runs)
        for table in ("projects", "models"):
            for batch in batches(table, shared[table]):
                sink.write(batch)
        sink.commit()
    except _KilledError:
        sink._lock.release()  # type: ignore[union-attr] - as the system does
        raise
    except BaseException as error:
        sink.__exit__(type(error), error, None)
        raise
    sink.__exit__(None, None, None)


def test_rows_that_somebody_added_are_never_cut_away(tmp_path: Path) -> None:
    target = writer(tmp_path)
    store(target, [samples.simple("a")])
    with (target.root / "metrics.csv").open("a") as file:
        file.write('"vision","a","mine",1,,,2.5,false\n')
    with pytest.raises(IntegrityError, match=r"metrics\.csv was changed by others"):
        store(writer(tmp_path), [samples.simple("b")])
    assert "mine" in (target.root / "metrics.csv").read_text()


def test_what_a_person_changes_in_a_table_is_read_and_changes_the_fingerprint(
    tmp_path: Path,
) -> None:
    target = writer(tmp_path)
    store(target, [samples.simple("a")])
    (before,) = listed(target)
    table = target.root / "metrics.csv"
    frame = pd.read_csv(table)
    frame["value"] = frame["value"] * 4
    frame.to_csv(table, index=False)
    age = (target.root / "trackbridge.json").stat().st_mtime_ns + 10**9
    os.utime(table, ns=(age, age))
    reader = CSV.reader(str(target.root), {})
    (after,) = listed(reader)
    assert after.fingerprint != before.fingerprint
    found = rows_of(reader.read_runs([after.ref], ["metrics"]))["metrics"]
    assert sorted(row["value"] for row in found) == sorted(frame["value"])


@FORMATS
def test_bytes_that_are_not_those_that_were_written_are_named(
    tmp_path: Path, adapter: object
) -> None:
    target = writer(tmp_path, adapter)
    store(target, [samples.simple("a")])
    table = target.root / f"params.{target.scheme}"
    age = table.stat().st_mtime_ns
    table.write_bytes(table.read_bytes().replace(b"loss is 0.5", b"loss is 0.6"))
    os.utime(table, ns=(age, age))
    reader = writer(tmp_path, adapter)
    with pytest.raises(IntegrityError, match="is damaged: not the bytes that were written"):
        list(reader.read_runs([info.ref for info in listed(reader)], ["params"]))


@tries
@given(where=st.integers(0, 10**6), byte=st.integers(0, 255), drop=st.booleans())
@FORMATS
def test_a_folder_with_any_byte_damaged_is_read_or_refused_in_one_line(
    tmp_path: Path, adapter: object, where: int, byte: int, drop: bool
) -> None:
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    target = writer(folder, adapter)
    store(target, [samples.everything(), samples.simple("b")])
    every = sorted(path for path in target.root.iterdir() if path.is_file() and path.stat().st_size)
    path = every[where % len(every)]
    data = bytearray(path.read_bytes())
    place = where % len(data)
    data[place : place + 1] = b"" if drop else bytes([byte])
    path.write_bytes(bytes(data))
    try:
        reader = adapter.reader(str(target.root), {})  # type: ignore[attr-defined]
        refs = [info.ref for info in listed(reader)]
        list(reader.read_runs(refs))
    except BridgeError as error:
        assert "\n" not in str(error)


def test_a_link_among_the_files_is_not_followed(tmp_path: Path) -> None:
    target, run = writer(tmp_path), samples.simple("a")
    store(target, [run])
    (stored,) = (target.root / "files").iterdir()
    (tmp_path / "secret").write_bytes(stored.read_bytes())
    stored.unlink()
    stored.symlink_to(tmp_path / "secret")
    (row,) = rows_of(target.read_runs([target.target(run.key)], ["files"]))["files"]
    with pytest.raises(IntegrityError, match="is a link"):
        target.open_file(FileRef(target.target(run.key), row["owner"], row["path"]))


def test_others_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "runs.csv").write_text("mine\n")
    with pytest.raises(ConfigError, match="holds other files"):
        writer(tmp_path)
    assert (tmp_path / "out" / "runs.csv").read_text() == "mine\n"


def test_files_of_others_in_a_folder_of_ours_stay(tmp_path: Path) -> None:
    target = writer(tmp_path)
    store(target, [samples.simple("a")])
    (target.root / "notes.md").write_text("mine")
    (target.root / "plot.csv").write_text("x,y\n")
    store(target, [samples.simple("a", loss=3.0)])
    assert (target.root / "notes.md").read_text() == "mine"
    assert (target.root / "plot.csv").read_text() == "x,y\n"


def test_two_writers_at_once_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackbridge_adapters.tables.writer.PATIENCE", 0.1)
    first, second = writer(tmp_path), writer(tmp_path)
    with first.open([samples.simple("a").key]), pytest.raises(ConfigError, match="somebody else"):
        store(second, [samples.simple("b")])
    store(second, [samples.simple("b")])


def test_a_folder_that_was_copied_is_the_same_store(tmp_path: Path) -> None:
    target = writer(tmp_path)
    store(target, [samples.everything()])
    shutil.copytree(target.root, tmp_path / "copy")
    copy = CSV.reader(str(tmp_path / "copy"), {})
    assert [info.key for info in listed(copy)] == [info.key for info in listed(target)]
    assert rows_of(copy.read_runs([info.ref for info in listed(copy)]))


# The command line


@pytest.fixture
def points(tmp_path: Path) -> str:
    (tmp_path / "p.csv").write_text("run,key,step,value\na,loss,0,0.5\na,loss,1,0.25\n")
    return f"csv:{tmp_path}/p.csv"


def test_export_makes_tables(tmp_path: Path, points: str) -> None:
    for scheme in ("csv", "jsonl"):
        out = f"{scheme}:{tmp_path}/{scheme}"
        done = CliRunner().invoke(main, ["export", points, out, "--json"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["verified"]
        again = CliRunner().invoke(main, ["export", points, out, "--json"])
        assert json.loads(again.stdout)["runs"]["skipped"] == 1
        assert CliRunner().invoke(main, ["verify", points, out]).exit_code == 0
    frame = pd.read_csv(tmp_path / "csv" / "metrics.csv")
    assert list(frame["value"]) == [0.5, 0.25]


def test_export_to_the_name_of_a_file_says_how_tables_are_named(
    tmp_path: Path, points: str
) -> None:
    said = CliRunner().invoke(main, ["export", points, f"{tmp_path}/out.csv"])
    assert said.exit_code == 2
    assert f"csv:{tmp_path}/out" in said.output
    said = CliRunner().invoke(main, ["migrate", points, f"{tmp_path}/out.csv"])
    assert said.exit_code == 2
    assert f"call it csv:{tmp_path}/out" in said.output
    assert not (tmp_path / "out.csv").exists()


def test_export_to_other_stores_is_still_refused(tmp_path: Path, points: str) -> None:
    said = CliRunner().invoke(main, ["export", points, f"mlflow:sqlite:///{tmp_path}/m.db"])
    assert said.exit_code == 2
    assert "no archive" in said.output


def test_redaction_goes_by_an_archive(tmp_path: Path, points: str) -> None:
    (tmp_path / "rules.yaml").write_text("")
    redact = ["--redact", f"{tmp_path}/rules.yaml"]
    said = CliRunner().invoke(main, ["export", points, f"csv:{tmp_path}/out", *redact])
    assert said.exit_code == 2
    assert "on their way to an archive" in said.output


def test_tables_move_on_as_what_they_are(tmp_path: Path, points: str) -> None:
    migrate(points, f"csv:{tmp_path}/one")
    report = migrate(f"csv:{tmp_path}/one", f"jsonl:{tmp_path}/two")
    assert report.verified
    keys = [
        [info.key for info in adapter.reader(f"{tmp_path}/{name}", {}).list_runs(Query())]
        for adapter, name in ((CSV, "one"), (JSONL, "two"))
    ]
    assert keys[0] == keys[1]


def test_a_stream_of_bytes_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError("gone")

    target, run = writer(tmp_path), samples.simple("a")
    with pytest.raises(OSError, match="gone"), target.open([run.key]) as sink:
        sink.put_file(FileRef(target.target(run.key), "", "x.bin"), Broken())  # type: ignore[arg-type]
    assert not [path for path in (target.root / "files").iterdir() if path.is_file()]
