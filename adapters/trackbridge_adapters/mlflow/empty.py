"""Empty databases, made by MLflow itself and kept for the next time.

Making one takes MLflow seconds: it is imported and takes every step of its schema's history. So
the first SQLite file that it made is kept in the user's cache, one for each installed MLflow, and
copied.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import platformdirs

from trackbridge.disk import system_errors
from trackbridge.errors import ConfigError, TransientError
from trackbridge.locks import Lock
from trackbridge_adapters.mlflow import head
from trackbridge_adapters.mlflow.session import BUSY_SECONDS

_CREATE = """
import json, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
uri, root = json.load(sys.stdin)
if uri.startswith("sqlite:"):  # a draft, which counts for nothing before it is whole
    event.listen(Engine, "connect", lambda new, _: new.execute("PRAGMA synchronous = OFF"))
SqlAlchemyStore(uri, root)
"""
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}

ROOT = "/artifacts"
"""Artifact root of the kept database: nobody's."""

PLAIN_ROOT = re.compile(r"(/|[a-z][a-z0-9+.-]+://)[^?#\\]*")
"""Roots below which MLflow writes locations as they are (utils/uri.py, 3.17)."""


def create(path: Path, artifact_root: str) -> None:
    """A new database at the newest revision, as MLflow makes it.

    It appears whole or not at all; if somebody else makes one meanwhile, theirs stays.
    """
    with system_errors(path), _draft_of(path) as draft:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not PLAIN_ROOT.fullmatch(artifact_root):
            initialize(f"sqlite:///{draft}", artifact_root, str(path))
        elif not _copy(_kept(), draft, artifact_root):
            initialize(f"sqlite:///{draft}", ROOT, str(path))
            _keep(draft)
            _settle(draft, artifact_root)
        _put(draft, path)


def initialize(uri: str, artifact_root: str, name: str) -> None:
    """Have MLflow make its tables in an empty database that messages call `name`.

    The URI goes through a pipe: others see a process's arguments, and it may have a password.
    """
    head.revision()
    done = subprocess.run(
        [sys.executable, "-c", _CREATE],
        input=json.dumps([uri, artifact_root]),
        env={**os.environ, **_QUIET},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise ConfigError(f"{name}: MLflow could not create the database: {reason}")


def _kept() -> Path:
    """Where the empty database of the installed MLflow is kept."""
    version = head.installed().joinpath("version.py").read_text("utf-8")
    made_by = hashlib.sha256("".join([version, *head.scripts()]).encode()).hexdigest()[:16]
    return platformdirs.user_cache_path("trackbridge") / f"mlflow-{head.revision()}-{made_by}.db"


def _copy(kept: Path, draft: Path, artifact_root: str) -> bool:
    """Make a database out of the kept one; whether that is there and whole."""
    with suppress(OSError, ValueError, sqlite3.DatabaseError):  # then it is made anew
        shutil.copyfile(kept, draft)
        with closing(sqlite3.connect(draft)) as database:
            ((state,),) = database.execute("PRAGMA quick_check").fetchall()
            ((found,),) = database.execute("SELECT version_num FROM alembic_version").fetchall()
        if (state, found) == ("ok", head.revision()):
            _settle(draft, artifact_root)
            return True
    draft.unlink(missing_ok=True)
    return False


def _keep(made: Path) -> None:
    """Keep a copy for the next time, if there is a place for it."""
    kept = _kept()
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with _draft_of(kept) as draft:
            shutil.copyfile(made, draft)
            draft.replace(kept)


def _settle(draft: Path, artifact_root: str) -> None:
    """Give the default experiment, the only row, what depends on where and when it is made."""
    now = int(time.time() * 1000)
    location = f"{artifact_root.rstrip('/')}/0"
    with closing(sqlite3.connect(draft)) as database, database:
        database.execute("UPDATE experiments SET artifact_location = ?", [location])
        times = "creation_time", "last_update_time"
        there = {row[1] for row in database.execute("PRAGMA table_info(experiments)")}
        for column in there.intersection(times):
            database.execute(f"UPDATE experiments SET {column} = ?", [now])


@contextmanager
def _draft_of(path: Path) -> Iterator[Path]:
    """A name beside a file, which is not there afterwards."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.new")
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _put(draft: Path, path: Path) -> None:
    """Give a file its name, unless there is one of that name that is not empty."""
    with suppress(OSError):  # it is there, or the file system has no hard links
        (os.rename if os.name == "nt" else os.link)(draft, path)  # neither replaces anything
        return
    if path.exists() and path.stat().st_size:
        return
    lock = Lock(path)  # on the empty file, which is made where there is none
    if not lock.acquire(BUSY_SECONDS):
        raise TransientError(f"{path}: another program is making it; trying again")
    try:
        if not path.stat().st_size:  # nobody was faster
            draft.replace(path)
    finally:
        lock.release()
