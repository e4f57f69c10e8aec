"""Files that a program logs: their bytes are kept in the journals of their runs."""

from __future__ import annotations

import os
import posixpath
import threading
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

from trackbridge.dual import place
from trackbridge_adapters.mlflow import artifacts
from trackbridge_adapters.mlflow.mirror.runs import MirroredRun

MARK = "_trackbridge_follows"
Owner = Callable[[], "tuple[MirroredRun | None, str]"]
Lose = Callable[[str, Exception], None]


def follow(repository: Any, owner: Owner, lose: Lose) -> None:
    """Have what is stored with a repository of a run's, or of a model's, kept too.

    The object itself is changed, so that its own threads are seen as well, and nobody else's
    repositories are.
    """
    if getattr(repository, MARK, False):
        return
    setattr(repository, MARK, True)
    inside = threading.local()  # many a class stores a folder by storing each file
    for name, files in (("log_artifact", _file), ("log_artifacts", _folder)):
        setattr(repository, name, _keeping(getattr(repository, name), files, owner, lose, inside))


def _keeping(store: Any, files: Any, owner: Owner, lose: Lose, inside: threading.local) -> Any:
    @wraps(store)
    def storing(*args: Any, **options: Any) -> Any:
        if getattr(inside, "depth", 0):
            return store(*args, **options)
        try:
            run, name = owner()
            if run is not None:
                for path, source in files(*args, **options):
                    _keep(run, name, path, source)
        except Exception as error:
            lose(store.__name__, error)
        inside.depth = 1
        try:
            return store(*args, **options)
        finally:
            inside.depth = 0

    return storing


def _keep(run: MirroredRun, owner: str, path: str, source: Path) -> None:
    if run.run.folder is not None and not artifacts.leads_out(path):
        kept = place.keep(run.run.folder, path, source)
        run.run.tell("file", file={**kept._asdict(), "owner": owner})


def _file(
    local_file: Any, artifact_path: str | None = None, **_: Any
) -> Iterator[tuple[str, Path]]:
    source = Path(local_file)
    if source.is_file():  # else the library says what is wrong
        yield _join(artifact_path, source.name), source


def _folder(
    local_dir: Any, artifact_path: str | None = None, **_: Any
) -> Iterator[tuple[str, Path]]:
    for here, _folders, names in os.walk(local_dir):
        for name in sorted(names):
            source = Path(here, name)
            yield _join(artifact_path, source.relative_to(local_dir).as_posix()), source


def _join(folder: str | None, path: str) -> str:
    return posixpath.normpath(posixpath.join(Path(folder or "").as_posix(), path))
