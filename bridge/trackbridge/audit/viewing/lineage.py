"""Which runs made and used the same things: what leads from one run to another."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from trackbridge.adapter import Row

MOST_RUNS = 100
"""Runs that are named of those that made or used a thing."""


class Lineage:
    """Gathers what each run made and used: artifacts, datasets and the like.

    A thing is known by its name and its digest; where no digest is known, it is whatever has
    the name.
    """

    def __init__(self) -> None:
        self._made: dict[str, set[int]] = defaultdict(set)
        self._used: dict[str, set[int]] = defaultdict(set)
        self._same: dict[str, set[str]] = defaultdict(set)
        """Things that may be one: with a digest, and by the same name without."""

    def add(self, run: int, artifacts: list[Row], inputs: list[Row]) -> None:
        """Take what a run (by its number) has; each row is told which thing it is."""
        for row in artifacts:
            name = f"{row['collection']}:{row['version']}" if row["version"] else row["collection"]
            row["thing"] = self._thing(name, row["collection"], row["digest"])
            (self._used if row["direction"] == "used" else self._made)[row["thing"]].add(run)
        for row in inputs:
            name = row["name"] or ""
            row["thing"] = self._thing(name, name, row["digest"])
            self._used[row["thing"]].add(run)

    def _thing(self, name: str, without_version: str, digest: str | None) -> str:
        if not digest:
            return name
        thing = f"{without_version}@{digest}"
        self._same[name].add(thing)
        self._same[thing].add(name)
        return thing

    def document(self) -> list[dict[str, Any]]:
        """The things that lead from one run to another, with the numbers of those runs."""
        found = []
        for thing in sorted({*self._made, *self._used}):
            same = {thing, *self._same.get(thing, ())}
            made = set().union(*(self._made.get(each, ()) for each in same))
            used = set().union(*(self._used.get(each, ()) for each in same))
            if len(made | used) > 1:
                runs = {"made": sorted(made), "used": sorted(used)}
                named = {how: some[:MOST_RUNS] for how, some in runs.items()}
                more = {how: len(some) - len(named[how]) for how, some in runs.items()}
                found.append({"thing": thing, **named, "more": more})
        return found
