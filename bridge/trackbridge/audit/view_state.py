"""What is known of an archive's seals when pages are made of it."""

from __future__ import annotations

from typing import Any

from trackbridge.audit import verify
from trackbridge.audit.check import check
from trackbridge.audit.seal import Archive
from trackbridge.audit.verify import folder_of
from trackbridge.errors import NotFoundError

MOST_PROBLEMS = 100


def seals(archive: Archive) -> list[dict[str, Any]]:
    """Each seal and whose key it names, oldest first; what it covers is not looked at."""
    found: list[dict[str, Any]] = []
    while True:
        generation = len(found) + 1
        folder = folder_of(generation)
        try:
            key = archive.folder.read(f"{folder}/{verify.KEY}")
            envelope = archive.folder.read(f"{folder}/{verify.SEAL}")
        except NotFoundError:
            return found
        seal: dict[str, Any] = {"generation": generation}
        try:
            public = verify.read_public_key(key)
            said = verify.read_envelope(envelope, public)["predicate"]
            seal |= {"key": verify.key_id(public), "sealed": said["sealed"]}
        except ValueError as error:
            seal["problem"] = str(error)
        found.append(seal)


def checked(address: str) -> dict[str, Any]:
    """What a check of the whole archive finds; every file is read."""
    found = check(address)
    problems = [str(problem) for problem in found.report.problems]
    return {
        "problems": problems[:MOST_PROBLEMS],
        "count": len(problems),
        "files": found.report.files,
        "gaps": [str(gap) for gap in found.gaps],
    }
