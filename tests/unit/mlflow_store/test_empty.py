"""New databases are as MLflow makes them, whether it made them or a kept one was copied."""

from __future__ import annotations

import errno
import re
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import platformdirs
import pytest
from mlflow.tracking import MlflowClient

from trackbridge import registry
from trackbridge.engine import migrate
from trackbridge.errors import ConfigError, NotFoundError
from trackbridge.locks import Lock
from trackbridge_adapters.mlflow import ADAPTER, empty, head


@pytest.fixture(autouse=True)
def _real(create: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real `create`, not that of the other tests."""
    monkeypatch.setattr(empty, "create", REAL)


REAL = empty.create

ROOTS = [
    "{here}/mlruns",
    "{here}/a b/ü's/",
    "s3://bucket/a b",
    "mlflow-artifacts:/",
    "s3://b/c?d=e",
]


def content(path: Path) -> list[list[str]]:
    """The words of everything in a database but the times of its making.

    SQLAlchemy writes indexes, and the constraints of a table, in any order.
    """
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE experiments SET creation_time = 0, last_update_time = 0")
        lines = database.iterdump()
        return sorted(sorted(re.findall(r"'[^']*'|[^\s,()]+", line)) for line in lines)


def cached() -> list[Path]:
    return sorted(platformdirs.user_cache_path("trackbridge").glob("*"))


def test_a_new_database_is_as_mlflow_makes_it(template: Path) -> None:
    (experiment,) = MlflowClient(f"sqlite:///{template}").search_experiments()
    assert experiment.name == "Default"
    assert experiment.artifact_location == f"{template.parent}/mlruns/0"
    assert sorted(path.name for path in template.parent.iterdir()) == ["empty.db"]


@pytest.mark.parametrize("root", ROOTS)
def test_one_that_is_copied_is_what_mlflow_would_have_made(
    root: str, template: Path, tmp_path: Path
) -> None:
    root = root.format(here=tmp_path)
    empty._keep(template)
    begun = int(time.time() * 1000)
    empty.create(tmp_path / "ours.db", root)
    with closing(sqlite3.connect(tmp_path / "ours.db")) as database:
        query = "SELECT creation_time, last_update_time FROM experiments"
        assert all(begun <= moment for moment in database.execute(query).fetchone())
    empty.initialize(f"sqlite:///{tmp_path}/theirs.db", root, "theirs")
    assert content(tmp_path / "ours.db") == content(tmp_path / "theirs.db")


def test_a_root_in_a_store_of_objects_is_the_default_experiments_too(
    template: Path, tmp_path: Path
) -> None:
    empty._keep(template)
    with ADAPTER.writer(str(tmp_path / "new.db"), {"artifact_root": "s3://bucket/x"}).open([]):
        pass
    with closing(sqlite3.connect(tmp_path / "new.db")) as database:
        found = database.execute("SELECT artifact_location FROM experiments").fetchall()
    assert found == [("s3://bucket/x/0",)]


def test_mlflow_is_asked_once_and_the_kept_database_names_nobodys_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty.create(tmp_path / "one.db", str(tmp_path / "mine"))
    (kept,) = cached()
    assert head.revision() in kept.name
    assert str(tmp_path).encode() not in kept.read_bytes()
    monkeypatch.setattr(empty, "_CREATE", "raise SystemExit('asked again')")
    empty.create(tmp_path / "two.db", str(tmp_path / "mine"))
    assert content(tmp_path / "one.db") == content(tmp_path / "two.db")
    assert cached() == [kept]


def test_another_mlflow_gets_a_database_of_its_own(
    tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty._keep(template)
    monkeypatch.setattr(head, "scripts", lambda: ["another history"])
    monkeypatch.setattr(empty, "_CREATE", "raise SystemExit('asked')")
    with pytest.raises(ConfigError, match="asked"):
        empty.create(tmp_path / "new.db", str(tmp_path))


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "torn": lambda path: path.write_bytes(path.read_bytes()[:100_000]),
    "foreign": lambda path: path.write_bytes(b"something else" * 1000),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_kept_database_that_is_damaged_is_made_anew(
    damage: str, template: Path, tmp_path: Path
) -> None:
    empty._keep(template)
    (kept,) = cached()
    DAMAGE[damage](kept)
    empty.create(tmp_path / "new.db", str(template.parent / "mlruns"))
    assert content(tmp_path / "new.db") == content(template)
    assert cached() == [kept]
    assert kept.is_dir() or kept.stat().st_size == template.stat().st_size


def test_without_a_place_to_keep_it_a_database_is_made_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    monkeypatch.setattr(empty.platformdirs, "user_cache_path", lambda _: tmp_path / "cache")
    empty.create(tmp_path / "new.db", str(tmp_path / "mlruns"))
    (experiment,) = MlflowClient(f"sqlite:///{tmp_path}/new.db").search_experiments()
    assert experiment.artifact_location == f"{tmp_path}/mlruns/0"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "new.db"]


def test_mlflow_is_not_imported_to_copy_one(template: Path, tmp_path: Path) -> None:
    empty._keep(template)
    script = (
        "import sys; from pathlib import Path; from trackbridge_adapters.mlflow import empty;"
        f" empty.create(Path({str(tmp_path / 'new.db')!r}), {str(tmp_path)!r});"
        " sys.exit('mlflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert (tmp_path / "new.db").stat().st_size == template.stat().st_size


GIVEN = "import json, sqlite3, sys; uri, root = json.load(sys.stdin)"


def test_a_database_that_cannot_be_made_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(empty, "_CREATE", f"{GIVEN}; open(uri[10:], 'w'); sys.exit('no')")
    with pytest.raises(ConfigError, match="MLflow could not create the database: no"):
        empty.create(tmp_path / "new.db", str(tmp_path))
    assert not list(tmp_path.iterdir())
    assert not cached()


MADE = f"{GIVEN}; sqlite3.connect(uri[10:]).execute('CREATE TABLE experiments (artifact_location)')"
OVERTAKEN = f"{MADE}; open(uri[10:].rpartition('/')[0] + '/new.db', 'w').write('theirs')"


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize(("script", "content"), [(MADE, b"SQLite"), (OVERTAKEN, b"theirs")])
def test_a_database_that_somebody_else_makes_at_the_same_time_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, content: bytes, links: bool
) -> None:
    monkeypatch.setattr(empty, "_CREATE", script)

    def refuse(here: Path, there: Path) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    if not links:
        monkeypatch.setattr(empty.os, "link", refuse)
    empty.create(tmp_path / "new.db", str(tmp_path))
    assert {path.name: path.read_bytes()[:6] for path in tmp_path.iterdir()} == {"new.db": content}


@pytest.mark.parametrize("address", ["new.db", "mlflow:new.db"])
def test_an_empty_file_becomes_the_database(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one is left where there are no hard links and the process is killed, or by `touch`."""
    monkeypatch.chdir(tmp_path)
    Path("new.db").touch()
    source = Path(__file__).parents[3] / "fixtures" / "mlflow-2.22" / "mlflow.db"
    assert migrate(str(source), address).verified
    with pytest.raises(NotFoundError, match="an empty file, no database yet"):
        Path("other.db").touch()
        registry.open_reader("mlflow:other.db")


def test_of_two_that_fill_an_empty_file_the_first_one_stays(template: Path, tmp_path: Path) -> None:
    path, drafts = tmp_path / "new.db", [tmp_path / "first", tmp_path / "second"]
    for draft in drafts:
        draft.write_text(draft.name)
    path.touch()
    lock = Lock(path)
    assert lock.acquire()
    late = threading.Thread(target=empty._put, args=(drafts[1], path))
    late.start()
    time.sleep(0.2)
    drafts[0].replace(path)
    lock.release()
    late.join()
    assert path.read_text() == "first"


def test_a_place_where_no_folder_can_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="/proc/new: cannot be written"):
        empty.create(Path("/proc/new/x.db"), str(tmp_path))
