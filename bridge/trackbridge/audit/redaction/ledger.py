"""What was taken out where: the ledger that lies beside redacted records."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from trackbridge.audit.redaction.scrub import Hit

REDACTED = "redacted"
"""Option of an archive that is written: the rules, as `Policy.rules_id` says them."""
FOLDER = "data/redactions"
"""Where ledgers lie in an archive, each called by its own digest."""
COLUMNS = {
    "table": "table of the run model; 'content' for the bytes of a file",
    "project": "name of the experiment or project, as it is in this archive",
    "run_id": "id of the run, as it is in this archive; empty for what belongs to no run",
    "name": "key, path or line of the row, as it is in this archive",
    "column": "column that was altered; empty for whole rows and files",
    "rule": "name of the rule, or kind of what a detector found",
    "action": "drop, mask, hash or pseudonymise",
    "sha256": "salted SHA-256 (HMAC) of what stood there",
    "count": "how many times it stood there, or rows that are gone",
}


class Place(NamedTuple):
    """Where something was taken out."""

    table: str
    project: str
    run_id: str = ""
    name: str = ""
    column: str = ""


class Ledger:
    """What was taken out, counted."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Place, Hit]] = Counter()

    def add(self, place: Place, hits: Iterable[Hit], count: int = 1) -> None:
        for hit in hits:
            self._counts[place, hit] += count

    def __len__(self) -> int:
        return len(self._counts)

    def __iadd__(self, other: Ledger) -> Ledger:
        self._counts.update(other._counts)  # which adds
        return self

    def covers(self, other: Ledger) -> bool:
        """Whether all that the other one names is named here."""
        return all(self._counts[each] >= count for each, count in other._counts.items())

    def digest(self) -> str:
        """The same for the same removals, in whatever order they were noted."""
        return hashlib.sha256(self.csv()).hexdigest() if self._counts else ""

    def csv(self) -> bytes:
        """The ledger as a table; the same removals give the same bytes."""
        out = io.StringIO(newline="")
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(COLUMNS)
        rows.writerows(
            (*place, *hit, count) for (place, hit), count in sorted(self._counts.items())
        )
        return out.getvalue().encode("utf-8", "surrogatepass")

    def summary(self) -> Iterator[Found]:
        """What was found, by rule, most of it first."""
        groups: dict[tuple[str, str], list[tuple[Place, int]]] = {}
        for (place, hit), count in sorted(self._counts.items()):
            groups.setdefault((hit.rule, hit.action), []).append((place, count))
        for (rule, action), found in sorted(
            groups.items(), key=lambda item: -sum(count for _, count in item[1])
        ):
            tables = Counter[str]()
            for place, count in found:
                tables[place.table] += count
            runs = {(place.project, place.run_id) for place, _ in found if place.run_id}
            yield Found(rule, action, sum(tables.values()), len(runs), dict(tables), found[0][0])


class Found(NamedTuple):
    """What one rule or detector has found."""

    rule: str
    action: str
    times: int
    runs: int
    tables: dict[str, int]
    example: Place
