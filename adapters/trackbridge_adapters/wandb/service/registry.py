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
from trackbridge_adapters.wandb.service.node import RunNode, moment
from trackbridge_adapters.wandb.service.pages import Node, Place, named
from trackbridge_adapters.wandb.service.shared_pages import (
    LINKED,
    OF_ORGANIZATION,
    OF_STORE,
    SharedPages,
)
from trackbridge_adapters.wandb.service.versions import artifact_place

PARTS = ("organizations", "portfolios", *LINKED, *OF_ORGANIZATION)
LATEST = "latest"
"""An alias that servers give by themselves; elsewhere it is a reserved word."""
REPLACED = re.compile(r".-r\d")
"""How ids of runs end that were replaced, see `pages.generations`, and maybe others."""
At = tuple[str, int]
"""A registered version: name of the model, and number."""
Ids = Mapping[tuple[Place, str], str]
"""Ids that runs are reported under, where those on the server are other ones."""


def read(
    pages: SharedPages, entity: str, told: Node, meant: Collection[str]
) -> tuple[list[Row], list[Row]]:
    """Rows of models and versions that came out of the projects that are meant.

    `told` is what was told first of the store.
    """
    collections: dict[str, Node] = {}
    members: dict[At, Node] = {}
    for found, linked in _registries(pages, entity, told) if meant else ():
        collections |= {_name(node): node for node in found}
        for node in linked:
            name = _name(node["artifactCollection"])
            if node["artifact"] and name in collections and str(_origin(node)) in meant:
                members[name, node["versionIndex"]] = node
    ids = _ids(pages, members.values())
    numbers = defaultdict[str, dict[int, Node]](dict)
    for (name, number), node in sorted(members.items()):
        numbers[name][number] = node
    models = [_model(name, collections[name], some) for name, some in numbers.items()]
    return models, [_version(at, members[at], ids) for at in sorted(members)]


def _registries(
    pages: SharedPages, entity: str, told: Node
) -> Iterator[tuple[list[Node], Iterable[Node]]]:
    """Collections of registries, and what is linked to them."""
    where = {"entity": entity}
    portfolios = list(pages.nodes(OF_STORE, "portfolios", told, where))
    if portfolios:
        places = {"projects": _one_of(node["project"]["name"] for node in portfolios)}
        places["names"] = _one_of(node["name"] for node in portfolios)
        yield portfolios, pages.nodes(LINKED, "linked", {}, {**where, **places})
    for name in _organizations(told):
        here = {"organization": name}
        found = pages.first(OF_ORGANIZATION, here)
        registered = list(pages.nodes(OF_ORGANIZATION, "registered", found, here))
        yield registered, pages.nodes(OF_ORGANIZATION, "members", found, here)


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
