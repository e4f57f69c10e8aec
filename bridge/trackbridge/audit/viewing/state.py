"""What is known of an archive's seals and redactions when pages are made of it."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from typing import Any

from trackbridge.audit import verify
from trackbridge.audit.check import check
from trackbridge.audit.redaction.ledger import FOLDER as LEDGERS
from trackbridge.audit.seal import Archive
from trackbridge.audit.verify import folder_of
from trackbridge.errors import IntegrityError, NotFoundError

MOST_PROBLEMS = 100
MOST_RULES = 200


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


def redactions(archive: Archive, paths: Iterable[str]) -> list[dict[str, Any]]:
    """What was taken out before the records left, by rule, as the ledgers among `paths` say."""
    times: Counter[tuple[str, str]] = Counter()
    for path in paths:
        if path.startswith(f"{LEDGERS}/"):
            try:
                text = archive.folder.read(path).decode("utf-8", "surrogatepass")
                for row in csv.DictReader(io.StringIO(text, newline="")):
                    times[row["rule"], row["action"]] += int(row["count"])
            except (KeyError, TypeError, ValueError, csv.Error) as error:
                raise IntegrityError(f"{archive.folder.address}/{path} is damaged") from error
    rules = times.most_common(MOST_RULES)
    return [{"rule": rule, "action": action, "times": n} for (rule, action), n in rules]


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
