"""Which folders a database may put its artifacts in: those that are nobody else's."""

from __future__ import annotations

from pathlib import Path

from trackbridge.errors import ConfigError
from trackbridge_adapters.mlflow import ENDINGS, folders

PLAIN = "mlruns"
"""What MLflow chooses where it is started (store/tracking/__init__.py, 3.17)."""


def is_in_store(folder: Path) -> bool:
    """Whether a folder is a file store of MLflow's, or lies inside one."""
    place = folder.resolve()
    return any(_is_store(each) for each in (place, *place.parents))


def check(root: Path, database: str) -> None:
    """`ConfigError` for an artifact root in which files of a database would harm a store."""
    if is_in_store(root):
        raise ConfigError(
            f"{root}: belongs to a file store of MLflow's, which is never altered;"
            f" give {Path(database).name} a root of its own: --artifact-root PATH"
        )


def of_new(database: Path) -> Path:
    """The root of a database that is to be made: as MLflow would choose it, if it is free.

    Another database in the folder may have its root there, though nothing is in it yet.
    """
    plain = database.absolute().with_name(PLAIN)
    taken = plain.exists() and (not plain.is_dir() or any(plain.iterdir()))
    if taken or is_in_store(plain) or _has_neighbours(database):
        return own(database)
    return plain


def own(database: Path) -> Path:
    """The root that no other database in the same folder has."""
    return database.absolute().with_name(f"{database.stem}-artifacts")


def _has_neighbours(database: Path) -> bool:
    folder = database.absolute().parent
    beside = folder.iterdir() if folder.is_dir() else ()
    return any(path.suffix in ENDINGS and path.name != database.name for path in beside)


def _is_store(folder: Path) -> bool:
    try:
        return folders.is_store(folder)
    except PermissionError:  # a folder above that may be passed but not listed
        return False
