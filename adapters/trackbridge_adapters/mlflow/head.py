"""The schema revision that the installed MLflow writes, and new databases at that revision."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import uuid
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from trackbridge.errors import ConfigError
from trackbridge_adapters.mlflow.session import Store

MIGRATIONS = ("store", "db_migrations", "versions")
"""Where MLflow keeps its alembic scripts (3.17)."""

_CREATE = """
import json, sys
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
SqlAlchemyStore(*json.load(sys.stdin))
"""
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


@lru_cache(maxsize=1)
def revision() -> str:
    """The newest revision that the installed MLflow knows.

    Read out of its scripts: importing MLflow takes seconds, and this needs milliseconds.
    """
    known: set[str] = set()
    followed: set[str] = set()
    for script in _scripts():
        known |= set(re.findall(r"^revision\s*(?::.*?)?=\s*[\"'](\w+)[\"']", script, re.M))
        for down in re.findall(r"^down_revision\s*(?::.*?)?=\s*(.+)$", script, re.M):
            followed |= set(re.findall(r"[\"'](\w+)[\"']", down))
    heads = known - followed
    if len(heads) != 1:
        raise ConfigError("the installed version of MLflow is not known to Trackbridge")
    return heads.pop()


@lru_cache(maxsize=1)
def has_models() -> bool:
    """Whether the installed MLflow knows logged models, as MLflow 3 does."""
    return any("logged_models" in script for script in _scripts())


@lru_cache
def has_tables(names: tuple[str, ...]) -> bool:
    """Whether the installed MLflow makes all of these tables.

    Its scripts say their names in quotes or name their classes, like `SqlScorerVersion`.
    """
    scripts = _scripts()
    words = [
        (f'"{name}"', "Sql" + name.title().replace("_", "").removesuffix("s")) for name in names
    ]
    return all(any(a in script or b in script for script in scripts) for a, b in words)


def _scripts() -> list[str]:
    found = importlib.util.find_spec("mlflow")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("writing to MLflow needs MLflow: pip install 'trackbridge[mlflow]'")
    folder = Path(found.submodule_search_locations[0], *MIGRATIONS)
    return [script.read_text("utf-8") for script in sorted(folder.glob("*.py"))]


def create(path: Path, artifact_root: Path) -> None:
    """A new database at the newest revision, made by MLflow itself in a process of its own.

    It appears whole or not at all; if somebody else makes one meanwhile, theirs stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.new")
    try:
        initialize(f"sqlite:///{draft}", str(artifact_root), str(path))
        with suppress(FileExistsError):
            _put(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def initialize(uri: str, artifact_root: str, name: str) -> None:
    """Have MLflow make its tables in an empty database that messages call `name`.

    The URI goes through a pipe: others see a process's arguments, and it may have a password.
    """
    revision()
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


def _put(draft: Path, path: Path) -> None:
    """Give a file its name; `FileExistsError` if there is a file of that name."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: the name is taken first
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        draft.replace(path)


def check_place(path: Path) -> None:
    """Refuse a path that MLflow cannot find again: it takes these signs for parts of a URI.

    With 3.17 a database beside it is used for `?` and `#`, and artifacts below `%41` are sought
    below `A`.
    """
    odd = next((sign for sign in "?#%" if sign in str(path.absolute())), None)
    if odd is not None:
        raise ConfigError(
            f"{path.absolute()}: MLflow cannot find files below a path with {odd!r};"
            " rename that folder or file, or choose another target"
        )


def check(database: Store, found: str | None) -> None:
    """Refuse a database that is not at the installed revision: MLflow alone may change it."""
    if found != revision():
        raise ConfigError(
            f"{database.name}: has schema revision {found}, the installed MLflow writes"
            f" {revision()}; make a backup, then run: mlflow db upgrade {database.address}"
        )
