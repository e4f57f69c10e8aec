"""The schema revision that the installed MLflow writes, and what it knows at that revision."""

from __future__ import annotations

import importlib.util
import re
from functools import lru_cache
from pathlib import Path

from trackbridge.errors import ConfigError
from trackbridge_adapters.mlflow.session import Store

MIGRATIONS = ("store", "db_migrations", "versions")
"""Where MLflow keeps its alembic scripts (3.17)."""


@lru_cache(maxsize=1)
def revision() -> str:
    """The newest revision that the installed MLflow knows.

    Read out of its scripts: importing MLflow takes seconds, and this needs milliseconds.
    """
    known: set[str] = set()
    followed: set[str] = set()
    for script in scripts():
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
    return any("logged_models" in script for script in scripts())


@lru_cache
def has_tables(names: tuple[str, ...]) -> bool:
    """Whether the installed MLflow makes all of these tables.

    Its scripts say their names in quotes or name their classes, like `SqlScorerVersion`.
    """
    texts = scripts()
    words = [
        (f'"{name}"', "Sql" + name.title().replace("_", "").removesuffix("s")) for name in names
    ]
    return all(any(a in script or b in script for script in texts) for a, b in words)


def scripts() -> list[str]:
    """The texts of MLflow's alembic scripts; `ConfigError` where there is no MLflow."""
    folder = installed().joinpath(*MIGRATIONS)
    return [script.read_text("utf-8") for script in sorted(folder.glob("*.py"))]


def installed() -> Path:
    """The folder of the installed MLflow, which is not imported to find it."""
    found = importlib.util.find_spec("mlflow")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("writing to MLflow needs MLflow: pip install 'trackbridge[mlflow]'")
    return Path(found.submodule_search_locations[0])


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
