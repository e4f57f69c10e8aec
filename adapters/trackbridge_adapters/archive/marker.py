"""The file at an archive's root that says that it is one, and of which version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from trackbridge.errors import ConfigError, IntegrityError, NotFoundError
from trackbridge.folder import Folder, open_folder
from trackbridge.packed import PackedFolder, is_packed

MARKER = "trackbridge.json"
FORMAT = "trackbridge archive"
LAYOUT = 1
"""Raised when the layout changes in a way that an older reader cannot understand."""


def open_archive(location: str, options: Mapping[str, str]) -> Folder:
    """The folder at a path or URL, or in a zip or tar file."""
    local = location.removeprefix("file://")
    if "://" not in local and is_packed(Path(local).expanduser()):
        return PackedFolder(Path(local).expanduser(), MARKER)
    return open_folder(location, options)


def is_marker(data: bytes) -> bool:
    """Whether a file's content makes its folder an archive, of whatever version."""
    with suppress(ValueError, RecursionError):
        document = json.loads(data)
        return isinstance(document, dict) and document.get("format") == FORMAT
    return False


def check(folder: Folder) -> None:
    """Raises `NotFoundError`, `IntegrityError` or `ConfigError` unless we can read the archive."""
    from trackbridge.schema import VERSION  # brings Arrow, which recognizing an archive can spare

    try:
        data = folder.read(MARKER)
    except NotFoundError as error:
        raise NotFoundError(f"{folder.address}: no archive there, it has no {MARKER}") from error
    if not is_marker(data):
        raise IntegrityError(f"{folder.address}/{MARKER} is damaged, or no archive's")
    document = json.loads(data)
    layout, schema = (document.get(each, 0) for each in ("layout", "schema"))
    if not (isinstance(layout, int) and isinstance(schema, int)):
        raise IntegrityError(f"{folder.address}/{MARKER} is damaged: its versions are no numbers")
    if layout > LAYOUT or schema > VERSION:
        raise ConfigError(
            f"{folder.address}: written by a newer Trackbridge; upgrade to read this archive"
        )


def check_target(folder: Folder) -> None:
    """The same for a folder to be written, which may also be empty or missing."""
    if folder.size(MARKER) is not None:
        check(folder)
    elif folder.names(""):
        raise ConfigError(f"{folder.address}: holds other files, no archive; choose a new folder")


def ensure(folder: Folder) -> None:
    """Make the folder an archive if it is none yet."""
    from trackbridge.schema import VERSION

    if folder.size(MARKER) is None:
        document = {"format": FORMAT, "layout": LAYOUT, "schema": VERSION}
        with folder.scratch("marker") as scratch:
            staged = scratch / MARKER
            staged.write_text(json.dumps(document) + "\n", encoding="utf-8")
            folder.publish(staged, MARKER)
            folder.settle([MARKER])
