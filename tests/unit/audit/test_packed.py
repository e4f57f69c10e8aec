"""Archives in zip and tar files: read and checked as they are, and never trusted."""

from __future__ import annotations

import io
import random
import shutil
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from unit.archive.archives import everything, files_of, reader, runs, write
from unit.audit.sealed import problems

import trackbridge
from trackbridge import packed
from trackbridge.audit.check import check
from trackbridge.errors import BridgeError, ConfigError, IntegrityError
from trackbridge.registry import open_reader

Pack = Callable[[Path, str], Path]


def as_zip(place: Path, inside: str) -> Path:
    made = place.parent / "packed.zip"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as out:
        for path in sorted(files_of(place)):
            out.write(place / path, f"{inside}{path}")
    return made


def as_tar(place: Path, inside: str) -> Path:
    made = place.parent / "packed.tar"
    with tarfile.open(made, "w") as out:
        out.add(place, inside.rstrip("/") or ".")
    return made


@pytest.mark.parametrize("pack", [as_zip, as_tar])
@pytest.mark.parametrize("inside", ["", "archive/"])
def test_a_packed_archive_is_read_checked_and_imported(
    archive: Path, tmp_path: Path, pack: Pack, inside: str
) -> None:
    made = pack(archive, inside)
    assert everything(made) == everything(archive)
    assert problems(made) == {}
    report = trackbridge.migrate(str(made), f"archive:{tmp_path}/again")
    assert report.verified and report.copied == 5
    assert trackbridge.verify(f"archive:{archive}", f"archive:{tmp_path}/again").holds


@pytest.mark.parametrize("pack", [as_zip, as_tar])
def test_what_was_changed_in_a_packed_archive_is_named(archive: Path, pack: Pack) -> None:
    (archive / "README.txt").write_text("other")
    assert set(problems(pack(archive, ""))) == {"README.txt"}


def test_a_zip_that_was_harmed_names_the_file(archive: Path) -> None:
    made = as_zip(archive, "")
    with zipfile.ZipFile(made) as file:
        info = file.getinfo("data/dictionary.csv")
        begin = info.header_offset + 30 + len(info.filename) + 10
    content = bytearray(made.read_bytes())
    content[begin] ^= 0xFF
    made.write_bytes(content)
    assert "the zip file is damaged" in problems(made)["data/dictionary.csv"]


def test_a_packed_archive_is_not_written(archive: Path, tmp_path: Path) -> None:
    made = as_zip(archive, "")
    before = made.read_bytes()
    with pytest.raises(ConfigError, match="a packed archive is only read; unpack it to write"):
        write(made, runs("z"))
    assert made.read_bytes() == before


def evil_zip(place: Path, name: str, mode: int = stat.S_IFREG | 0o644) -> Path:
    made = as_zip(place, "")
    info = zipfile.ZipInfo("x")
    info.filename, info.external_attr = name, mode << 16
    with zipfile.ZipFile(made, "a") as out:
        out.writestr(info, b"/etc/passwd")
    return made


def evil_tar(place: Path, name: str, kind: bytes = tarfile.REGTYPE) -> Path:
    made = as_tar(place, "")
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, "/etc/passwd", 0
    with tarfile.open(made, "a") as out:
        out.addfile(info, io.BytesIO())
    return made


NAMES = [
    "../evil",
    "/etc/evil",
    "data/../../evil",
    "a\\..\\evil",
    "C:/evil",
    "data//x",
    "new\nline",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [evil_zip, evil_tar])
def test_a_name_that_leads_elsewhere_is_refused(
    archive: Path, name: str, make: Callable[[Path, str], Path]
) -> None:
    refused(make(archive, name), "leads out of it, or is no name; nothing of it is read")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(archive: Path, kind: bytes) -> None:
    refused(evil_tar(archive, "data/x", kind), "is a link or device; nothing of it is read")


def test_links_in_a_zip_are_refused(archive: Path) -> None:
    refused(evil_zip(archive, "data/x", stat.S_IFLNK | 0o777), "is a link or device")


@pytest.mark.parametrize("make", [evil_zip, evil_tar])
def test_a_name_that_is_there_twice_is_refused(
    archive: Path, make: Callable[[Path, str], Path]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile says so too
        made = make(archive, "README.txt")
    refused(made, "is there twice")


def test_what_unpacks_to_many_times_its_size_is_refused(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "SMALL", 1 << 20)
    made = as_zip(archive, "")
    with zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED) as out:
        out.writestr("data/bytes/zeros", bytes(100 << 20))
    refused(made, "times its size; nothing of it is read")


def refused(made: Path, said: str) -> None:
    for act in (open_reader, check):
        with pytest.raises(IntegrityError, match=said) as caught:
            act(f"archive:{made}")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no pack", b"PK\x05\x06" + bytes(18)])
@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_what_is_no_packed_archive_is_an_error_that_names_it(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BridgeError, match=name):
        reader(tmp_path / name)


def test_what_is_compressed_as_a_whole_has_to_be_unpacked(archive: Path, tmp_path: Path) -> None:
    made = shutil.make_archive(str(tmp_path / "packed"), "gztar", archive)
    with pytest.raises(ConfigError, match=r"unpack it, or pack it as .zip or .tar"):
        open_reader(f"archive:{made}")


def test_links_in_a_folder_are_refused(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    victim = archive / "data" / "dictionary.csv"
    victim.unlink()
    victim.symlink_to(tmp_path / "secret")
    assert problems(archive)["data/dictionary.csv"].startswith("a link: an archive has none; ")


@pytest.mark.parametrize("pack", [as_zip, as_tar])
def test_what_lies_beside_the_folder_of_a_packed_archive_is_named(
    archive: Path, pack: Pack
) -> None:
    made = pack(archive, "archive/")
    added(made, "INSTRUCTIONS.html", b"<script>")
    assert problems(made) == {
        "INSTRUCTIONS.html": "a file beside the folder of the archive: an archive has none"
    }


@pytest.mark.parametrize("pack", [as_zip, as_tar])
def test_a_packed_file_with_two_archives_is_refused(archive: Path, pack: Pack) -> None:
    made = pack(archive, "archive/")
    added(made, "a/trackbridge.json", (archive / "trackbridge.json").read_bytes())
    refused(made, "holds several archives; unpack it")


def added(made: Path, name: str, data: bytes) -> None:
    if made.suffix == ".zip":
        with zipfile.ZipFile(made, "a") as zipped:
            zipped.writestr(name, data)
        return
    info = tarfile.TarInfo(name)
    info.size = len(data)
    with tarfile.open(made, "a") as tarred:
        tarred.addfile(info, io.BytesIO(data))


def test_a_zip_whose_file_is_packed_in_an_unknown_way_names_it(archive: Path) -> None:
    made = as_zip(archive, "")
    with zipfile.ZipFile(made) as file:
        info = file.getinfo("README.txt")
    content = bytearray(made.read_bytes())
    listed = content.rfind(b"README.txt") - 46
    for begin, of in ((info.header_offset + 8, b"PK\3\4"), (listed + 10, b"PK\1\2")):
        assert content[begin - (8 if of == b"PK\3\4" else 10) :].startswith(of)
        content[begin : begin + 2] = (99).to_bytes(2, "little")
    made.write_bytes(content)
    assert "the zip file is damaged" in problems(made)["README.txt"]


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_whatever_is_harmed_in_a_packed_archive_is_an_error_of_ours(
    archive: Path, tmp_path: Path, compression: int
) -> None:
    dice = random.Random(20261129)
    paths = sorted(files_of(archive))[:20]
    zipped, tarred = tmp_path / "harmed.zip", tmp_path / "harmed.tar"
    with zipfile.ZipFile(zipped, "w", compression) as out:
        for path in paths:
            out.write(archive / path, path)
    with tarfile.open(tarred, "w") as tar:
        for path in paths:
            tar.add(archive / path, path)
        tar.addfile(tarfile.TarInfo("x" * 150 + "é"))
    for made in (zipped, tarred):
        whole = made.read_bytes()
        for _ in range(150):
            harmed = bytearray(whole)
            for _ in range(dice.choice((1, 3, 20))):
                begin = dice.choice((0, max(0, len(whole) - 3000)))
                harmed[dice.randrange(begin, len(whole))] = dice.randrange(256)
            made.write_bytes(harmed)
            with suppress(BridgeError):
                folder = packed.PackedFolder(made, "trackbridge.json")
                for path, found in folder.tree():
                    if not found.odd:
                        with suppress(BridgeError):
                            folder.read(path)
