"""Checks an archive as whoever gets it would, and whether its records refer to what is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from trackbridge.audit import verify
from trackbridge.audit.references import Gap, References
from trackbridge.audit.seal import Archive
from trackbridge.audit.verify import Report
from trackbridge.errors import BridgeError, ConfigError
from trackbridge.registry import open_reader, open_writer


class Checked(NamedTuple):
    """What a check has found."""

    report: Report
    gaps: list[Gap]
    """What the records refer to and never had."""


def check(address: str, public_keys: Sequence[Path] = ()) -> Checked:
    """Everything that is wrong with a sealed archive.

    `public_keys` are files; where none is given, seals of any key are believed.
    """
    keys = [_public_key(path) for path in public_keys]
    open_reader(address)
    archive = open_writer(address)
    if not isinstance(archive, Archive):
        raise ConfigError(f"{address}: no archive; `trackbridge export` makes one of it")
    report = verify.verify(archive.folder, keys)
    if not report.digests:
        return Checked(report, [])
    try:
        references = References(archive, report.digests)
    except BridgeError:  # what stands in the way is a problem already
        return Checked(report, [])
    return Checked(
        report._replace(problems=[*report.problems, *references.problems]), [*references.gaps()]
    )


def _public_key(path: Path) -> bytes:
    try:
        return verify.read_public_key(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} {error}") from error
