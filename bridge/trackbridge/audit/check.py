"""Checks an archive as whoever gets it would, and whether its records refer to what is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trackbridge.audit import verify
from trackbridge.audit.seal import Archive
from trackbridge.audit.verify import Report
from trackbridge.errors import ConfigError
from trackbridge.registry import open_reader, open_writer


def check(address: str, public_keys: Sequence[Path] = ()) -> Report:
    """Everything that is wrong with a sealed archive.

    `public_keys` are files; where none is given, seals of any key are believed.
    """
    keys = [_public_key(path) for path in public_keys]
    open_reader(address)
    archive = open_writer(address)
    if not isinstance(archive, Archive):
        raise ConfigError(f"{address}: no archive; `trackbridge export` makes one of it")
    return verify.verify(archive.folder, keys)


def _public_key(path: Path) -> bytes:
    try:
        return verify.read_public_key(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} {error}") from error
