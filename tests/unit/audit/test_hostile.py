"""Archives that somebody has made to do harm: whoever looks at one loses nothing, and is told."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unit.archive.archives import files_of, reader, runs, write, writer
from unit.audit.sealed import problems, sealed, snapshot
from unit.audit.viewed import picture, viewed

from trackbridge.adapter import Query
from trackbridge.audit.keys import Key
from trackbridge.errors import ConfigError, IntegrityError
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
