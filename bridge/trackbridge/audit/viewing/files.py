"""Where the pages that show an archive lie in it, and which files they are.

    data/viewer/<generation>/            pages that the seal of that number covers
    data/viewer/<generation>/viewer.json the commit: which files they are, and what they show

Pages without their commit are what a killed process has left. What was sealed is never replaced,
so each seal has pages of its own, if any.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from trackbridge.audit.bag import Content, content_of, is_digest
from trackbridge.errors import IntegrityError, NotFoundError
from trackbridge.folder import Folder
from trackbridge.proof import hashed

VIEWER = "data/viewer"
COMMIT = "viewer.json"
PAGE = "index.html"
FIRST = "runs.js"
"""Comes before all others, and goes after them."""
_OURS = re.compile(
    r"(index\.html|viewer\.json|(runs|columns|lineage|others|group-\d+)\.js|[0-9a-f]{64}\.\w+)"
)


class Viewer(NamedTuple):
    """Pages that were made whole."""

    state: str
    """What names the records that they show: see `state_of`."""
    files: dict[str, Content]
    """Files by name; the commit is not among them."""


def folder_of(generation: int) -> str:
    """Where the pages lie that the seal of that number covers."""
    return f"{VIEWER}/{generation:04d}"


def folders(folder: Folder) -> list[str]:
    """Every folder of pages of an archive, whole or not."""
    return [f"{VIEWER}/{name}" for name in folder.names(VIEWER)]


def are_ours(names: Collection[str]) -> bool:
    """Whether a folder with files of these names holds pages, whole or not, and nothing else."""
    return all(map(_OURS.fullmatch, names)) and (not names or FIRST in names)


def read(folder: Folder, inside: str) -> Viewer | None:
    """The pages in a folder; None where none were made whole."""
    path = _join(inside, COMMIT)
    try:
        data = folder.read(path)
    except NotFoundError:
        return None
    try:
        document = json.loads(data)
        return Viewer(str(document["state"]), dict(map(_listed, document["files"].items())))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(
            f"{folder.address}/{path} is damaged ({error}); remove it and make the pages again"
        ) from error


def _listed(item: tuple[str, tuple[int, str]]) -> tuple[str, Content]:
    """A file of a list that anybody may have written; `ValueError` where it is none of ours."""
    name, (size, sha256) = item
    if not (_OURS.fullmatch(name) and isinstance(size, int) and is_digest(sha256)):
        raise ValueError(f"{name!a} is no file of pages")
    return name, Content(size, sha256)


def contents(folder: Folder) -> dict[str, Content]:
    """Every file of pages that were made whole, by its path below the archive's root."""
    found: dict[str, Content] = {}
    for inside in folders(folder):
        if viewer := read(folder, inside):
            found |= {_join(inside, name): content for name, content in viewer.files.items()}
            found[_join(inside, COMMIT)] = content_of(folder.read(_join(inside, COMMIT)))
    return found


def state_of(payload: Mapping[str, Content]) -> str:
    """A digest of the records of an archive; its pages are no records."""
    state = hashlib.sha256()
    for path, content in sorted(payload.items()):
        if not path.startswith(f"{VIEWER}/"):
            state.update(f"{content.sha256} {path}\n".encode())
    return state.hexdigest()


def publish(folder: Folder, inside: str, made: Path, state: str) -> dict[str, Content]:
    """Put the files of a local folder in place, instead of what is there; the page comes last.

    Killed at any moment, the folder holds pages as a whole, or no page to be opened.
    """
    for name in sorted(folder.names(inside), key=_order, reverse=True):
        folder.remove(_join(inside, name))
    names = sorted((path.name for path in made.iterdir()), key=_order)
    files = {name: _content(made / name) for name in names}
    (made / COMMIT).write_text(
        json.dumps({"state": state, "files": files}, indent=1), encoding="utf-8", newline="\n"
    )
    for name in (*names, COMMIT):
        if name in (PAGE, COMMIT):
            folder.settle([_join(inside, name)])
        folder.publish(made / name, _join(inside, name))
    folder.settle([_join(inside, COMMIT)])
    return files


def _content(file: Path) -> Content:
    """Size and digest of a file; it may be a whole film."""
    with file.open("rb") as data:
        return Content(*hashed(data))


def _order(name: str) -> tuple[int, str]:
    """Puts files in the order in which they come; they go the other way round."""
    return {FIRST: 0, PAGE: 2, COMMIT: 3}.get(name, 1), name


def _join(inside: str, name: str) -> str:
    return f"{inside}/{name}" if inside else name
