"""By what versions of artifacts, and names of them, are known on a server."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from trackbridge_adapters.wandb.service.pages import Node, Place
from trackbridge_adapters.wandb.service.versions import artifact_place


class Alias(NamedTuple):
    """A name that one version of a collection has."""

    place: Place
    collection: str
    name: str


class Version(NamedTuple):
    """A version of a collection: what has the same digest is the same one, whoever logs it."""

    place: Place
    collection: str
    digest: str

    @classmethod
    def of(cls, node: Node) -> Version:
        entity, project, collection = artifact_place(node)
        return cls(Place(entity, project), collection, node["digest"])

    @classmethod
    def told(cls, place: Place, entry: Mapping[str, Any]) -> Version:
        """One that a run of a project names in our entry."""
        home = Place.of(entry["project"]) if "project" in entry else place
        return cls(home, entry["collection"], entry["digest"])

    def entry(self, place: Place) -> dict[str, str]:
        """What `told` understands, of a run of that project."""
        entry = {"collection": self.collection, "digest": self.digest}
        return entry if place == self.place else {**entry, "project": str(self.place)}

    def called(self, name: str) -> Alias:
        return Alias(self.place, self.collection, name)


def others(nodes: Iterable[Node], known: Collection[Version]) -> Iterator[Node]:
    """Versions that are none of the known ones."""
    return (node for node in nodes if Version.of(node) not in known)
