"""Archives that somebody has made to do harm: whoever looks at one loses nothing, and is told."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unit.archive.archives import files_of, reader, runs, write, writer
from unit.audit.sealed import problems, said_by_the_copy, sealed, snapshot
from unit.audit.test_packed import as_zip
from unit.audit.viewed import page_in, picture, viewed

from trackbridge.adapter import Query
from trackbridge.audit import bag, verify
from trackbridge.audit.evidence import evidence_map
from trackbridge.audit.keys import Key
from trackbridge.errors import (
    BridgeError,
    ConfigError,
    IntegrityError,
    NotFoundError,
    TransientError,
)
from trackbridge.folder import LocalFolder

Forge = Callable[[dict[str, Any]], object]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An archive that is not sealed."""
    [run] = runs("a")
    run.add_file("", "shown.png", picture())
    write(tmp_path / "new", [run])
    return tmp_path / "new"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What is not the archive's."""
    folder = tmp_path / "home"
    (folder / "deep").mkdir(parents=True)
    for path in ("thesis.txt", "deep/thesis.txt"):
        (folder / path).write_text("all my work")
    return folder


def forged(place: Path, change: Forge) -> None:
    """Alter the commit of a chunk of runs, as whoever writes archives can."""
    index = writer(place).index
    index.refresh()
    [chunk] = [chunk for chunk in index.chunks.values() if chunk.entries]
    document = json.loads((place / chunk.commit).read_bytes())
    del document["sha256"]
    change(document)
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    digest = hashlib.sha256(text).hexdigest().encode()
    (place / chunk.commit).write_bytes(text[:-1] + b',"sha256":"' + digest + b'"}')


def forged_table(place: Path, table: str, column: str, value: str) -> None:
    """Give every row of a table of runs the same value, with the commit that fits."""

    def change(document: dict[str, Any]) -> None:
        part = document["parts"][table]
        path = place / part["path"]
        rows = pq.read_table(path)
        position = rows.schema.get_field_index(column)
        values = pa.array([value] * rows.num_rows, rows.schema.field(position).type)
        pq.write_table(rows.set_column(position, rows.schema.field(position), values), path)
        part["size"] = path.stat().st_size
        part["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()

    forged(place, change)


@pytest.mark.parametrize(
    "inside", ["data/alerts", "data/bytes", "data/runs", "data/viewer", "seals"]
)
@pytest.mark.parametrize("act", ["view", "seal", "sweep", "export"])
def test_a_link_in_an_archive_leads_nobody_out_of_it(
    place: Path, home: Path, key: Key, inside: str, act: str
) -> None:
    before = snapshot(home)
    shutil.rmtree(place / inside, ignore_errors=True)
    (place / inside).symlink_to(home)
    acts: dict[str, Callable[[], object]] = {
        "view": lambda: viewed(place),
        "seal": lambda: sealed(place, key),
        "sweep": lambda: writer(place).sweep(),
        "export": lambda: write(place, runs("xyz")),
    }
    passes = act == "export" and inside in ("data/alerts", "data/viewer", "seals")
    passes = passes or (act == "sweep" and inside == "seals")
    if not passes:
        with pytest.raises(IntegrityError, match="a link: an archive has none; remove it"):
            acts[act]()
    assert snapshot(home) == before


@pytest.mark.parametrize("path", ["data/x", "../home/thesis.txt", "/etc/passwd", "data/../x"])
def test_a_folder_is_left_by_no_path(place: Path, home: Path, path: str) -> None:
    (place / "data" / "x").symlink_to(home / "thesis.txt")
    folder, before = LocalFolder(str(place)), snapshot(home)
    local = place / "new"
    local.write_text("theirs")

    def fetch() -> None:
        with folder.fetch(path):
            pass

    acts: list[Callable[[], object]] = [
        lambda: folder.names(path),
        lambda: folder.size(path),
        lambda: folder.sizes(path),
        lambda: folder.read(path),
        lambda: folder.open(path),
        lambda: folder.publish(local, path),
        lambda: folder.remove(path),
        fetch,
    ]
    for act in acts:
        with pytest.raises(IntegrityError, match=r"a link: an archive has none|leads out of it"):
            act()
    assert snapshot(home) == before


def test_the_archive_itself_may_be_a_link(place: Path, tmp_path: Path, key: Key) -> None:
    (tmp_path / "link").symlink_to(place)
    sealed(tmp_path / "link", key)
    assert problems(tmp_path / "link") == problems(place) == {}


def test_a_digest_that_is_a_path_names_no_file(place: Path, home: Path, tmp_path: Path) -> None:
    """It would be the name of a copy that a page shows."""
    forged = str(home / "thesis")
    forged_table(place, "contents", "sha256", forged)
    forged_table(place, "files", "sha256", forged)
    before = snapshot(home)
    for act in (
        lambda: viewed(place, tmp_path / "out"),
        lambda: viewed(place),
        lambda: writer(place).payload(),
    ):
        with pytest.raises(IntegrityError, match=r"contents is damaged: .* is no SHA-256"):
            act()
    assert snapshot(home) == before


@pytest.mark.parametrize("digest", ["/x", ".parquet", "A" * 64, None, 7])
def test_a_commit_whose_digests_are_none_is_damaged(place: Path, digest: object) -> None:
    forged(place, lambda document: document["parts"]["runs"].update(sha256=digest))
    with pytest.raises(IntegrityError, match="is damaged"):
        list(reader(place).list_runs(Query()))


FORGERIES: list[Forge] = [
    lambda d: d["parts"].update({"../../etc": {**d["parts"]["runs"]}}),
    lambda d: d["parts"]["runs"].update(size="1"),
    lambda d: d["parts"].update(runs=None),
    lambda d: d.update(parts=[]),
    lambda d: d.update(generation="1"),
    lambda d: d["runs"][0].update(points="abc"),
    lambda d: d.update(runs=[1]),
    lambda d: d.update(replaces=3),
]


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_commit_of_other_shape_is_damaged(place: Path, tmp_path: Path, forge: Forge) -> None:
    forged(place, forge)
    with pytest.raises(IntegrityError, match="is damaged"):
        viewed(place, tmp_path / "out")


def test_a_view_that_is_refused_has_removed_nothing(place: Path, key: Key) -> None:
    """What lies there besides may be what shows a forgery."""
    sealed(place, key)
    (place / "data" / "metrics" / "evil.parquet").write_bytes(b"x")
    before = snapshot(place)
    with pytest.raises(ConfigError, match="is sealed, and pages in it would be"):
        viewed(place)
    assert snapshot(place) == before
    assert set(problems(place)) == {"data/metrics/evil.parquet"}


def test_a_view_of_what_was_added_to_a_sealed_archive_removes_nothing(
    place: Path, key: Key
) -> None:
    sealed(place, key)
    (place / "data" / "metrics" / "evil.parquet").write_bytes(b"x")
    write(place, runs("b"))
    viewed(place)
    assert "data/metrics/evil.parquet" in files_of(place)
    sealed(place, key)
    assert problems(place) == {}


def a_folder(path: Path) -> None:
    path.mkdir()
    (path / "x").write_text("")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("make", [os.mkfifo, a_folder])
def test_a_commit_that_is_no_file_is_named_and_not_waited_for(
    archive: Path, make: Callable[[Path], None]
) -> None:
    commit = archive / "data" / "chunks" / f"{'0' * 32}-1.json"
    make(commit)
    with pytest.raises(IntegrityError, match=f"{commit.name} is no regular file"):
        list(reader(archive).list_runs(Query()))
    assert f"{commit.name} is no regular file" in problems(archive)[""]


def test_a_commit_of_a_packed_archive_that_is_no_file_is_named(archive: Path) -> None:
    a_folder(archive / "data" / "chunks" / f"{'0' * 32}-1.json")
    made = as_zip(archive, "")
    with pytest.raises(IntegrityError, match=r"-1\.json is no file that can be read"):
        list(reader(made).list_runs(Query()))


def test_pages_elsewhere_leave_an_archive_as_it_is(place: Path, tmp_path: Path) -> None:
    (place / "data" / "metrics" / "left.parquet").write_bytes(b"x")
    (place / ".incoming-x.y").mkdir()
    (place / ".incoming-x.y" / "left").write_bytes(b"x")
    before = snapshot(place)
    viewed(place, tmp_path / "out")
    assert snapshot(place) == before


def resealed(place: Path, key: Key, **says: object) -> None:
    """Sign whatever lies there as the newest seal, as whoever has a key can: see `statement`."""
    last = max(int(folder.name) for folder in (place / "seals").iterdir())
    folder = place / "seals" / f"{last:04d}"
    for name, is_tag in (("manifest-sha256.txt", False), ("tagmanifest-sha256.txt", True)):
        own = {f"seals/{last:04d}/{each}" for each in ("seal.json", "key.pub", "timestamp.tsr")}
        paths = [
            path
            for path in files_of(place)
            if path.startswith("data/") != is_tag and path not in (*own, "tagmanifest-sha256.txt")
        ]
        digests = {path: digest_of(place / path) for path in paths}
        (place / name).write_bytes(bag.manifest(digests))
    signed(place, key, folder / "seal.json", says)


def signed(place: Path, key: Key, path: Path, says: dict[str, object]) -> None:
    """Put a seal that says what the one there says, but for this, over the tag manifest."""
    envelope = json.loads(path.read_bytes())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    digest = digest_of(place / "tagmanifest-sha256.txt")
    statement["subject"][0]["digest"] = {"sha256": digest}
    if "predicate" in says:
        statement |= says
    else:
        statement["predicate"] |= says
    payload = json.dumps(statement).encode()
    signature = key.sign(verify.pre_authentic(payload))
    path.write_bytes(verify.write_envelope(payload, key.id, signature))


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_seal_made_anew_by_who_has_the_key_holds(archive: Path, key: Key) -> None:
    """So that what is found below is found by what it is about."""
    resealed(archive, key)
    assert problems(archive) == {}


def test_a_seal_that_names_another_before_it_breaks_the_chain(archive: Path, key: Key) -> None:
    seal = verify.read_envelope((archive / "seals/0003/seal.json").read_bytes(), key.public)
    before = seal["predicate"]["previous"]
    broken = {"seals/0003/seal.json": "does not follow the seal before it: the chain is broken"}
    for other in (None, {**before, "seal": "0" * 64}, {**before, "tagmanifest": "0" * 64}):
        resealed(archive, key, previous=other)
        assert problems(archive) == broken


def test_a_seal_of_another_generation_is_told(archive: Path, key: Key) -> None:
    resealed(archive, key, generation=2)
    assert problems(archive) == {"seals/0003/seal.json": "is the seal of generation 2"}


def test_a_seal_that_names_a_time_stamp_that_is_not_there_is_told(archive: Path, key: Key) -> None:
    resealed(archive, key, timestamp={"sha256": "0" * 64})
    assert set(problems(archive)) == {"seals/0003/timestamp.tsr"}


def test_what_a_later_seal_leaves_out_is_missed(archive: Path, key: Key) -> None:
    """Somebody with the key takes away what an earlier generation had, and seals the rest."""
    path = next(path for path in sorted(files_of(archive)) if path.startswith("data/bytes/"))
    (archive / path).unlink()
    resealed(archive, key)
    assert "is missing: generation 1 had it" in problems(archive)[path]
    (archive / path).write_bytes(b"other")
    resealed(archive, key)
    assert f"is not what generation 1 had as {path}" in problems(archive)[path]


@pytest.mark.parametrize("number", ["9999999999999", "999999999", "0000000001", "9" * 200])
def test_a_number_of_a_seal_takes_no_time(archive: Path, number: str) -> None:
    (archive / "seals" / number).mkdir()
    (archive / "seals" / number / "x").write_text("")
    found = problems(archive)
    assert "was added since it was sealed" in found[f"seals/{number}/x"]
    assert len(found) < 10
    code, said = said_by_the_copy(archive)
    assert code == 1 and "Traceback" not in said


@pytest.mark.parametrize(
    "harm", [b"[" * 200_000, b'{"payload":' * 50_000, b'"\\ud800"', b"9" * 5000]
)
def test_a_seal_that_no_parser_likes_is_named(archive: Path, tmp_path: Path, harm: bytes) -> None:
    (archive / "seals/0003/seal.json").write_bytes(harm)
    assert "seals/0003/seal.json" in problems(archive)
    code, said = said_by_the_copy(archive)
    assert code == 1 and "seals/0003/seal.json: " in said
    viewed(archive, tmp_path / "out")


PREDICATE = {"generation": 3, "sealed": "\x1b[2J\ud800", "previous": None, "timestamp": None}


@pytest.mark.parametrize("predicate", [[*PREDICATE], "generation", None, 3, PREDICATE])
def test_what_a_seal_says_may_be_anything(
    archive: Path, key: Key, tmp_path: Path, predicate: object
) -> None:
    resealed(archive, key, predicate=predicate)
    assert "seals/0003/seal.json" in problems(archive)
    code, said = said_by_the_copy(archive)
    assert code == 1 and "Traceback" not in said and "\x1b" not in said
    viewed(archive, tmp_path / "out")


def test_a_list_of_what_is_elsewhere_may_hold_anything(archive: Path, key: Key) -> None:
    (archive / "fetch.txt").write_bytes(b"\xff\xfe http\n\xff 1 \xff\n")
    assert set(problems(archive)) == {"fetch.txt"}
    code, said = said_by_the_copy(archive)
    assert code == 1 and "fetch.txt: is no file of the archive" in said


@pytest.mark.parametrize("error", [ConfigError, TransientError, NotFoundError])
@pytest.mark.parametrize("path", ["README.txt", "manifest-sha256.txt", "seals/0001/key.pub"])
def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_checked(
    archive: Path, monkeypatch: pytest.MonkeyPatch, path: str, error: type[BridgeError]
) -> None:
    opened = LocalFolder.open

    def refuse(folder: LocalFolder, asked: str) -> BinaryIO:
        if asked == path:
            raise error(f"{asked}: access denied")
        return opened(folder, asked)

    monkeypatch.setattr(LocalFolder, "open", refuse)
    (archive / "bag-info.txt").write_text("other")
    found = problems(archive)
    assert "cannot be read: " in found[path] and "access denied" in found[path]
    assert "was changed" in found["bag-info.txt"]


def test_a_folder_that_cannot_be_read_is_named(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned = os.scandir

    def refuse(path: Path) -> Iterator[os.DirEntry[str]]:
        if path.name == "metrics":
            raise PermissionError(13, "denied")
        return scanned(path)

    monkeypatch.setattr(verify.os, "scandir", refuse)
    found = verify.verify(verify.Place(archive)).problems
    assert ("data/metrics", "a folder that cannot be read: an archive has none") in found


@pytest.mark.parametrize("harm", [b"garbage", b""])
def test_records_that_cannot_be_read_are_a_problem(archive: Path, key: Key, harm: bytes) -> None:
    """Sealed as they were found: no digest tells."""
    commit = next((archive / "data" / "chunks").iterdir())
    commit.write_bytes(harm)
    resealed(archive, key)
    found = problems(archive)
    assert "its records cannot be read: " in found[""] and commit.name in found[""]


def test_a_table_with_damaged_pages_is_named(place: Path, key: Key) -> None:
    """The footer, where its columns are, is whole."""

    def change(document: dict[str, Any]) -> None:
        part = document["parts"]["runs"]
        data = bytearray((place / part["path"]).read_bytes())
        data[4:60] = bytes(range(200, 256))
        (place / part["path"]).write_bytes(data)
        part["sha256"] = hashlib.sha256(data).hexdigest()

    sealed(place, key)
    forged(place, change)
    resealed(place, key)
    found = problems(place)
    [path] = [path for path in found if path.startswith("data/runs/")]
    assert "is no Parquet file that can be read" in found[path] and "\n" not in found[path]
    with pytest.raises(IntegrityError, match=f"{path} is damaged"):
        evidence_map(f"archive:{place}", "eu-ai-act")


@pytest.mark.parametrize("data", [b"[" * 200_000, b"", b"\xff", b'{"state": 1}'])
def test_a_list_of_pages_that_no_parser_likes_is_damaged(
    place: Path, tmp_path: Path, data: bytes
) -> None:
    viewed(place)
    page_in(place).with_name("viewer.json").write_bytes(data)
    with pytest.raises(IntegrityError, match=r"viewer\.json is damaged"):
        viewed(place, tmp_path / "out")


@pytest.mark.parametrize(
    "data", [b"[" * 200_000, b"[]", b'{"format": "trackbridge archive", "layout": "1"}']
)
def test_a_marker_that_no_parser_likes_is_damaged(place: Path, data: bytes) -> None:
    (place / "trackbridge.json").write_bytes(data)
    with pytest.raises(IntegrityError, match=r"trackbridge\.json is damaged"):
        viewed(place)
