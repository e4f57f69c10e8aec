"""What is registered of the artifacts of some projects, as registered models and their versions.

Versions are linked to collections (portfolios), which lie in registries, projects of the
organization, or as before registries in projects of the entity itself, such as `model-registry`.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from trackbridge.adapter import Row
from trackbridge_adapters.wandb import tables
from trackbridge_adapters.wandb.service.entries import moment
from trackbridge_adapters.wandb.service.node import RunNode
from trackbridge_adapters.wandb.service.pages import Node, Place, named
from trackbridge_adapters.wandb.service.shared_pages import (
    LINKED,
    OF_ENTITY,
    OF_ORGANIZATION,
    SharedPages,
)
from trackbridge_adapters.wandb.service.versions import artifact_place

MANY = 500
"""Registered versions in one answer: an organization may have very many."""
LATEST = "latest"
"""An alias that servers give by themselves; elsewhere it is a reserved word."""
REPLACED = re.compile(r".-r\d+$")
"""How ids of runs end that were replaced, see `pages.generations`, and maybe others."""
At = tuple[str, int]
"""A registered version: name of the model, and number."""
Ids = Mapping[tuple[Place, str], str]
"""Ids that runs are reported under, where those on the server are other ones."""


class Registry:
    """What is registered of the artifacts of an entity; asked for once, for we never change it."""

    def __init__(self, pages: SharedPages, entity: str) -> None:
        self._pages, self._entity = pages, entity
        self._collections: dict[str, Node] = {}
        self._members: dict[At, Node] | None = None

    def read(self, meant: Collection[str]) -> tuple[list[Row], list[Row]]:
        """Rows of models and versions that came out of the projects that are meant."""
        if self._members is None:
            self._members = self._everything()
        members = {at: node for at, node in self._members.items() if str(_origin(node)) in meant}
        ids = _ids(self._pages, members.values())
        numbers = defaultdict[str, dict[int, Node]](dict)
        for (name, number), node in members.items():
            numbers[name][number] = node
        models = [_model(name, self._collections[name], some) for name, some in numbers.items()]
        return models, [_version(at, node, ids) for at, node in members.items()]

    def _everything(self) -> dict[At, Node]:
        found: dict[At, Node] = {}
        for collections, members in self._registries():
            self._collections |= {_name(node): node for node in collections}
            for node in members:
                name = _name(node["artifactCollection"])
                own = node["artifact"] and _origin(node).entity == self._entity
                if own and name in self._collections:
                    found[name, node["versionIndex"] or 0] = node
        return dict(sorted(found.items()))

    def _registries(self) -> Iterator[tuple[list[Node], Iterable[Node]]]:
        """Collections of registries, and what is linked to them."""
        pages, where = self._pages, {"entity": self._entity}
        told = pages.first(OF_ENTITY, where)
        portfolios = list(pages.nodes(OF_ENTITY, "portfolios", told, where))
        if portfolios:
            these = {
                **where,
                "projects": _one_of(node["project"]["name"] for node in portfolios),
                "names": _one_of(node["name"] for node in portfolios),
            }
            found = pages.first(LINKED, these)
            yield portfolios, pages.nodes(LINKED, "linked", found, these, MANY)
        for name in _organizations(told):
            here = {"organization": name}
            found = pages.first(OF_ORGANIZATION, here)
            registered = list(pages.nodes(OF_ORGANIZATION, "registered", found, here))
            yield registered, pages.nodes(OF_ORGANIZATION, "members", found, here, MANY)


def _organizations(found: Node) -> list[str]:
    """The organization of a team, or all of a user's."""
    entity = found.get("organizations") or {}
    user = entity.get("user") or {}
    some = [entity.get("organization"), *(user.get("organizations") or ())]
    return list(dict.fromkeys(each["name"] for each in some if each))


def _one_of(names: Iterable[str]) -> str:
    return json.dumps({"name": {"$in": sorted(set(names))}})


def _name(collection: Node) -> str:
    """As in the path of a link, with a sign between the parts that any registry can have."""
    project = collection["project"]["name"].replace(".", "%2E")  # in no name of a project is a %
    return f"{project}.{collection['name']}"


def _origin(member: Node) -> Place:
    """The project that a version was logged to."""
    entity, project, _ = artifact_place(member["artifact"])
    return Place(entity, project)


def _run(member: Node) -> tuple[Place, str] | None:
    """Place and id on the server of the run that made a version."""
    by = member["artifact"]["createdBy"]
    if not by or by["__typename"] != "Run":
        return None
    return Place(by["project"]["entity"]["name"], by["project"]["name"]), by["name"]


def _ids(pages: SharedPages, members: Iterable[Node]) -> Ids:
    doubtful = defaultdict[Place, set[str]](set)
    for member in members:
        run = _run(member)
        if run and REPLACED.search(run[1]):
            doubtful[run[0]].add(run[1])
    return {
        (place, node["name"]): RunNode(place, node).ref.run_id
        for place, names in doubtful.items()
        for node in pages.runs(place, named(names))
    }


def _model(name: str, collection: Node, members: Mapping[int, Node]) -> Row:
    aliases = {
        each["alias"]: f"v{number}"
        for number, member in members.items()
        for each in member["aliases"] or ()
        if each["alias"].lower() != LATEST
    }
    tags = [edge["node"]["name"] for edge in (collection["tags"] or {}).get("edges") or ()]
    entity, project, own = artifact_place({"artifactSequence": collection})
    return {
        "name": name,
        "created": moment(collection["createdAt"]),
        "updated": moment(collection["updatedAt"]),
        "description": collection["description"] or None,
        "aliases": _packed(aliases),
        "tags": _packed(dict.fromkeys(tags, "")),
        "extra": tables.compact(
            {
                "kind": (collection["defaultArtifactType"] or {}).get("name"),
                "collection": f"{entity}/{project}/{own}",
            }
        ),
    }


def _version(at: At, member: Node, ids: Ids) -> Row:
    artifact, run = member["artifact"], _run(member)
    source = f"{'/'.join(artifact_place(artifact))}:v{artifact['versionIndex'] or 0}"
    extra: dict[str, Any] = {
        "artifact": source,
        "digest": artifact["digest"],
        "kind": (artifact["artifactType"] or {}).get("name"),
        "aliases": sorted(each["alias"] for each in member["aliases"] or ()),
        "metadata": artifact["metadata"] if run is None else None,  # else it stands in the run
    }
    return {
        "name": at[0],
        "version": f"v{at[1]}",
        "run_id": run and ids.get(run, run[1]),
        "source": source,
        "status": "READY" if artifact["state"] == "COMMITTED" else artifact["state"],
        "created": moment(member["createdAt"]),
        "updated": moment(artifact["updatedAt"]),
        "description": artifact["description"] or None,
        "tags": _packed({tag["name"]: "" for tag in artifact["tags"] or ()}),
        "extra": tables.compact(extra),
    }


def _packed(values: Mapping[str, str]) -> str | None:
    return json.dumps(values, sort_keys=True, ensure_ascii=False) if values else None
