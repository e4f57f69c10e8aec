"""Damaged, foreign, newer and hostile archives: one clear line each, and never a wrong value."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.archive.archives import everything, files_of, reader, runs, write, writer

import trackbridge
from trackbridge.adapter import FileRef, Query, RunRef
from trackbridge.errors import BridgeError, ConfigError, IntegrityError, NotFoundError
from trackbridge.folder import UNTOLD
from trackbridge.testing import samples
from trackbridge.testing.made import store
from trackbridge_adapters.archive import ADAPTER
from trackbridge_adapters.archive.reader import ArchiveReader

RUN = RunRef("vision", "a")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of two chunks, one of them with everything in it; tests copy it."""
    place = tmp_path_factory.mktemp("whole") / "archive"
    store(writer(place), [samples.everything()])
    write(place, runs("ab"))
    return place


@pytest.fixture
def archive(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "archive"))


def only(place: Path, pattern: str) -> Path:
    """One of the files that are meant, the same one each time."""
    return sorted(place.glob(pattern))[0]


@settings(suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_no_changed_byte_goes_unnoticed(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    place = tmp_path / "damaged"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)
    path = place / data.draw(st.sampled_from(sorted(files_of(place))))
    content = bytearray(path.read_bytes())
    if not content:
        return
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    check_noticed(place, whole)


@settings(suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_no_lost_end_of_a_file_goes_unnoticed(
    whole: Path, tmp_path: Path, data: st.DataObject
) -> None:
    place = tmp_path / "truncated"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)
    path = place / data.draw(st.sampled_from(sorted(files_of(place))))
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    check_noticed(place, whole)


def check_noticed(place: Path, whole: Path) -> None:
    """Reading it gives what the whole archive gives, or an error of one line that says where."""
    try:
        assert everything(place) == everything(whole)
    except BridgeError as error:
        assert "\n" not in str(error)
        assert str(place) in str(error)


def test_a_table_that_is_missing_is_named(archive: Path) -> None:
    part = only(archive, "data/params/*.parquet")
    part.unlink()
    with pytest.raises(IntegrityError, match=f"data/params/{part.name} is missing"):
        everything(archive)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def fingerprints(read: ArchiveReader) -> dict[RunRef, str]:
    return {info.ref: info.fingerprint for info in read.list_runs(Query())}


@pytest.mark.parametrize("harm", [Path.unlink, cut])
@pytest.mark.parametrize("table", ["metrics", "contents"])
def test_harm_to_a_table_shows_in_the_fingerprints_of_its_runs(
    harm: Callable[[Path], object], table: str, archive: Path, whole: Path
) -> None:
    read = reader(archive)
    before = fingerprints(read)
    assert before == fingerprints(reader(whole))
    [chunk] = (home.chunk for ref, home in read.index.homes.items() if ref == RUN)
    harm(archive / chunk.path(table))
    after = fingerprints(read)
    assert after == fingerprints(reader(archive))
    others = {ref for ref in before if after[ref] == before[ref]}
    assert before.keys() - others == {RUN, RUN._replace(run_id="b")}
    write(archive, runs("ab"))
    assert fingerprints(read) == before


def test_a_chunk_that_is_replaced_while_it_is_listed_has_come_to_no_harm(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = reader(archive)
    sizes = read.folder.sizes

    def meanwhile(path: str) -> dict[str, int]:
        monkeypatch.undo()
        write(archive, runs("ab", 2.0))
        return sizes(path)

    monkeypatch.setattr(read.folder, "sizes", meanwhile)
    assert fingerprints(read) == fingerprints(reader(archive))


def test_sizes_that_a_web_server_does_not_tell_are_no_harm(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = reader(archive)
    before, sizes = fingerprints(read), read.folder.sizes
    monkeypatch.setattr(read.folder, "sizes", lambda path: dict.fromkeys(sizes(path), UNTOLD))
    assert fingerprints(read) == before


def test_other_tables_can_be_read_beside_a_damaged_one(archive: Path) -> None:
    only(archive, "data/params/*.parquet").write_bytes(b"PAR1 nothing PAR1")
    read = reader(archive)
    refs = [info.ref for info in read.list_runs(Query())]
    assert list(read.read_runs(refs, ["metrics"]))
    with pytest.raises(IntegrityError, match="is damaged"):
        list(read.read_runs(refs, ["params"]))


def test_bytes_that_are_missing_are_not_found(archive: Path) -> None:
    digest = hashlib.sha256(b"a").hexdigest()
    (archive / "data" / "bytes" / digest[:2] / digest).unlink()
    with pytest.raises(NotFoundError, match=f"{digest} is missing: the bytes of 'a.txt'"):
        reader(archive).open_file(FileRef(RUN, "", "a.txt"))


def test_bytes_that_have_changed_are_refused_when_they_were_read(archive: Path) -> None:
    digest = hashlib.sha256(b"a").hexdigest()
    (archive / "data" / "bytes" / digest[:2] / digest).write_bytes(b"b")
    with pytest.raises(IntegrityError, match="do not fit its name"):
        reader(archive).open_file(FileRef(RUN, "", "a.txt")).read()


def test_bytes_of_another_length_are_refused_at_once(archive: Path) -> None:
    digest = hashlib.sha256(b"a").hexdigest()
    (archive / "data" / "bytes" / digest[:2] / digest).write_bytes(b"aa")
    with pytest.raises(IntegrityError, match="2 bytes, not 1"):
        reader(archive).open_file(FileRef(RUN, "", "a.txt"))


def test_a_link_that_leads_out_of_the_archive_is_not_followed(
    archive: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"a")
    digest = hashlib.sha256(b"a").hexdigest()
    content = archive / "data" / "bytes" / digest[:2] / digest
    content.unlink()
    content.symlink_to(tmp_path / "secret")
    with pytest.raises(IntegrityError, match="is a link: an archive has none"):
        reader(archive).open_file(FileRef(RUN, "", "a.txt"))


def test_a_folder_of_something_else_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(NotFoundError, match=r"no archive there, it has no trackbridge\.json"):
        reader(tmp_path)
    with pytest.raises(ConfigError, match="holds other files"):
        writer(tmp_path)
    assert not ADAPTER.recognizes(str(tmp_path))


def test_a_file_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    with pytest.raises(NotFoundError):
        reader(tmp_path / "mlflow.db")
    with pytest.raises(ConfigError, match="is a file"):
        writer(tmp_path / "mlflow.db")


@pytest.mark.parametrize("what", ["layout", "schema"])
def test_an_archive_of_a_newer_version_asks_for_an_upgrade(archive: Path, what: str) -> None:
    marker = archive / "trackbridge.json"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), what: 99}))
    for open_it in (reader, writer):
        with pytest.raises(ConfigError, match="newer Trackbridge; upgrade"):
            open_it(archive)
    assert ADAPTER.recognizes(str(archive)), "it is an archive all the same"


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{", '{"format": "other"}', "\ufeff"])
def test_a_marker_that_is_not_ours_is_refused(archive: Path, text: str) -> None:
    (archive / "trackbridge.json").write_text(text)
    for open_it in (reader, writer):
        with pytest.raises(IntegrityError, match="damaged, or no archive's"):
            open_it(archive)
    assert not ADAPTER.recognizes(str(archive))


def test_files_that_are_not_ours_do_not_disturb(archive: Path, whole: Path) -> None:
    for name in ("data/chunks/.DS_Store", "data/chunks/notes.json", "data/metrics/x.parquet"):
        (archive / name).write_bytes(b"?")
    assert everything(archive) == everything(whole)


def test_a_run_whose_start_no_calendar_has_is_kept_as_it_is(tmp_path: Path) -> None:
    import pyarrow as pa

    from trackbridge.adapter import Batch
    from trackbridge.schema import TABLES, TIME

    target = writer(tmp_path)
    far = 2**62
    with target.open([runs("a")[0].key]) as sink:
        columns = {
            name: pa.nulls(1, kind.type) for name, kind in zip(TABLES["runs"].names, TABLES["runs"])
        }
        columns |= {"project": pa.array(["vision"]), "run_id": pa.array(["a"])}
        columns["started"] = pa.array([far]).cast(TIME)
        data = pa.RecordBatch.from_arrays(list(columns.values()), schema=TABLES["runs"])
        sink.write(Batch("runs", data))
        sink.commit()
    (info,) = reader(tmp_path).list_runs(Query())
    assert info.started is None
    (batch,) = reader(tmp_path).read_runs([info.ref])
    assert batch.data.column("started").cast(pa.int64()).to_pylist() == [far]


def test_a_full_disk_is_named_and_what_was_there_stays(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    before = everything(archive)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"No space left on device; free some and call again$"):
        write(archive, runs("a", 2.0))
    assert everything(archive) == before


def test_a_full_disk_ends_a_migration_in_a_line(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    write(target, runs("z"))

    def full(*_: object, **named: object) -> None:
        raise OSError(28, "Error writing bytes to file. Detail: [errno 28]")  # as Arrow says it

    with monkeypatch.context() as patched:
        patched.setattr(pq.ParquetWriter, "write_batch", full)
        with pytest.raises(ConfigError, match=r"No space left on device; free some"):
            trackbridge.migrate(f"archive:{archive}", f"archive:{target}")
    report = trackbridge.migrate(f"archive:{archive}", f"archive:{target}")
    assert report.verified and report.copied == report.total
