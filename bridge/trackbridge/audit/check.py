"""Checks an archive as whoever gets it would, and whether its records refer to what is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from trackbridge.audit import verify
from trackbridge.audit.references import Gap, References
from trackbridge.audit.seal import open_archive
from trackbridge.audit.timestamp import certificates, read
from trackbridge.audit.verify import Found, Problem, Report, folder_of
from trackbridge.errors import BridgeError, ConfigError
from trackbridge.folder import Folder

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


class Stamp(NamedTuple):
    """The time stamp of a seal."""

    generation: int
    time: datetime
    trusted: bool
    """Whether a root that was named vouches for it."""


class Checked(NamedTuple):
    """What a check has found."""

    report: Report
    gaps: list[Gap]
    """What the records refer to and never had."""
    stamps: list[Stamp]


class _Place:
    """A folder as `verify` knows them: a file that cannot be read is an `OSError`."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def tree(self) -> Iterator[tuple[str, Found]]:
        return self._folder.tree()

    def open(self, path: str) -> BinaryIO:
        try:
            return self._folder.open(path)
        except BridgeError as error:
            raise OSError(str(error)) from error

    def read(self, path: str) -> bytes:
        with self.open(path) as file:
            return file.read()

    def sealed_by(self, generation: int) -> bytes:
        """The tag manifest of a generation, put aside or not."""
        aside = f"{folder_of(generation)}/{verify.TAG_MANIFEST}"
        return self.read(verify.TAG_MANIFEST if self._folder.size(aside) is None else aside)


def check(
    address: str, public_keys: Sequence[Path] = (), tsa_roots: Sequence[Path] = ()
) -> Checked:
    """Everything that is wrong with a sealed archive.

    `public_keys` and `tsa_roots` (certificates of authorities for time stamps) are PEM files;
    where none is given, any are believed.
    """
    keys = [_public_key(path) for path in public_keys]
    roots = [root for path in tsa_roots for root in certificates(path)]
    archive = open_archive(address)
    place = _Place(archive.folder)
    report = verify.verify(place, keys)
    problems, stamps, gaps = list(report.problems), [], []
    for seal in (seal for seal in report.seals if seal.stamped):
        try:
            stamps.append(_stamp(place, seal.generation, roots))
        except (ValueError, OSError) as error:
            token = f"{folder_of(seal.generation)}/{verify.TOKEN}"
            problems.append(Problem(token, f"is no time stamp of the seal: {error}"))
    if report.digests:
        try:
            references = References(archive, report.digests)
            gaps = [*references.gaps()]
            problems += references.problems
        except BridgeError as error:
            problems.append(Problem("", f"its records cannot be read: {error}"))
    return Checked(report._replace(problems=problems), gaps, stamps)


def _stamp(place: _Place, generation: int, roots: Sequence[Certificate]) -> Stamp:
    token = place.read(f"{folder_of(generation)}/{verify.TOKEN}")
    return Stamp(generation, read(token, place.sealed_by(generation), roots), bool(roots))


def _public_key(path: Path) -> bytes:
    try:
        return verify.read_public_key(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} {error}") from error
