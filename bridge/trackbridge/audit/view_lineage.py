"""Which runs made and used the same things: what leads from one run to another."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from trackbridge.adapter import Row


class Lineage:
    """Gathers what each run made and used: artifacts, datasets and the like.

    A thing is known by its name and its digest; where no digest is known, it is whatever has
    the name.
    """

    def __init__(self) -> None:
        self._made: dict[str, set[int]] = defaultdict(set)
        self._used: dict[str, set[int]] = defaultdict(set)
        self._called: dict[str, set[str]] = defaultdict(set)
        """Things by the name that they are called by, with version and without digest."""

    def add(self, run: int, artifacts: list[Row], inputs: list[Row]) -> None:
        """Take what a run (by its number) has; each row is told which thing it is."""
        for row in artifacts:
            name = f"{row['collection']}:{row['version']}" if row["version"] else row["collection"]
            row["thing"] = _thing(row["collection"], row["digest"]) or name
            self._called[name].add(row["thing"])
            (self._used if row["direction"] == "used" else self._made)[row["thing"]].add(run)
        for row in inputs:
            row["thing"] = _thing(row["name"], row["digest"]) or row["name"] or ""
            self._called[row["name"] or ""].add(row["thing"])
            self._used[row["thing"]].add(run)

    def document(self) -> list[dict[str, Any]]:
        """The things that lead from one run to another, with the numbers of those runs."""
        found = []
        for thing in sorted({*self._made, *self._used}):
            same = {thing, *self._called.get(thing, ())}
            made = set().union(*(self._made.get(each, ()) for each in same))
            used = set().union(*(self._used.get(each, ()) for each in same))
            if len(made | used) > 1:
                found.append({"thing": thing, "made": sorted(made), "used": sorted(used)})
        return found


def _thing(name: str | None, digest: str | None) -> str | None:
    return f"{name}@{digest}" if digest else None
