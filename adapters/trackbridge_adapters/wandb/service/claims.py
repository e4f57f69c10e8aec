"""Who claims which alias, and who used what: what runs that were brought say of artifacts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

from trackbridge.adapter import RunRef
from trackbridge_adapters.wandb.service.entries import moment, origin_of
from trackbridge_adapters.wandb.service.identity import Alias, Version
from trackbridge_adapters.wandb.service.node import RunNode
from trackbridge_adapters.wandb.service.pages import Place
from trackbridge_adapters.wandb.service.shared_pages import SharedPages

FIRST = datetime.min.replace(tzinfo=timezone.utc)

Began = tuple[datetime, str]
"""The order of runs: by the moment in which they began, those of one moment by their ids."""


Claimed = dict[Version, set[Alias]]
"""Versions of a run, each with the aliases that the run claims for it."""


def began(started: datetime | None, run_id: str) -> Began:
    return started or FIRST, run_id


class Told(NamedTuple):
    """What a run tells of artifacts in our entry of its config."""

    ref: RunRef
    name: str
    began: Began
    artifacts: Collection[Mapping[str, Any]]
    inputs: Collection[Version]

    @classmethod
    def of(cls, place: Place, name: str, origin: Mapping[str, Any]) -> Told:
        """`name` is the run's id on the server."""
        ref = RunRef(str(place), str(origin["id"]))
        start = began(moment(origin.get("started")), ref.run_id)
        inputs = [Version.told(place, each) for each in origin.get("inputs", ())]
        return cls(ref, name, start, origin.get("artifacts", ()), inputs)

    def claims(self) -> Iterator[tuple[Alias, Version]]:
        """In the order in which the run logged the versions."""
        place = Place.of(self.ref.project)
        for each in self.artifacts:
            version = Version.told(place, each)
            for name in each["aliases"]:
                yield version.called(name), version


class Claims:
    """Known of all runs of the projects that were looked at, for as long as a writer lives.

    Runs that another process brings again are known as they were, those that it makes as they are.
    """

    def __init__(self, pages: SharedPages) -> None:
        self._pages = pages
        self._told: dict[RunRef, Told] = {}
        self._since: dict[Place, str] = {}

    def look(self, places: Iterable[Place]) -> None:
        """Find out of runs that were made since the last look."""
        for place in places:
            since = self._since.get(place)
            filters = {"createdAt": {"$gte": since}} if since else {}
            for node in self._pages.told(place, filters):
                origin = origin_of(node["config"], node["name"])
                if origin:
                    self._note(Told.of(place, node["name"], origin))
                self._since[place] = node["createdAt"][: len("2026-01-01T00:00:00")]

    def note(self, run: RunNode) -> None:
        """Take down what a run tells now, one that was known before."""
        self._note(Told.of(run.place, run.name, run.origin))

    def last(self, aliases: Collection[Alias], but: Collection[RunRef]) -> dict[Alias, Began]:
        """When the last run began that claims an alias, of all runs but some."""
        found: dict[Alias, Began] = {}
        for told in self._in_order():
            if told.ref not in but:
                found |= {name: told.began for name, _ in told.claims() if name in aliases}
        return found

    def holders(self, aliases: Collection[Alias]) -> dict[Alias, list[Version]]:
        """Versions that runs claim an alias for, that of the run which began last first."""
        found: dict[Alias, list[Version]] = {alias: [] for alias in aliases}
        for told in self._in_order():
            for name, version in told.claims():
                if name in aliases:
                    found[name].insert(0, version)
        return found

    def users(
        self, versions: Collection[Version], but: Collection[RunRef]
    ) -> Iterator[tuple[Told, Version]]:
        """All runs but some that say that they used one of these."""
        for told in self._in_order():
            if told.ref not in but:
                yield from ((told, version) for version in told.inputs if version in versions)

    def _in_order(self) -> list[Told]:
        return sorted(self._told.values(), key=lambda told: told.began)

    def _note(self, told: Told) -> None:
        if told.artifacts or told.inputs:
            self._told[told.ref] = told
        else:
            self._told.pop(told.ref, None)
