"""What is asked of a server about things that belong to no run.

Field names are those of the client's own documents (wandb 0.31: apis/_generated, apis/public,
sdk/artifacts/_generated, automations/_generated).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from trackbridge.errors import ConfigError, NotFoundError
from trackbridge_adapters.wandb.service.answers import LackingError, RefusedError, TooMuchError
from trackbridge_adapters.wandb.service.documents import MORE, NESTED
from trackbridge_adapters.wandb.service.pages import (
    NO_MORE,
    PAGE,
    Asking,
    Node,
    Pages,
    Place,
)

AT_ONCE = 10
"""Projects in one answer, with what they have."""
DECLARED = {
    "after": "String",
    "entity": "String!",
    "filters": "JSONString",
    "first": "Int",
    "names": "JSONString",
    "organization": "String!",
    "project": "String!",
    "projects": "JSONString",
    "run": "String!",
}
"""Types of the variables that documents have."""


class Part(NamedTuple):
    """What is asked of a field of a document's root; `path` leads from it to a connection.

    In `fields`, `@` stands for the arguments by which a page of the connection is chosen.
    """

    root: str
    fields: str
    path: tuple[str, ...] = ()


def _listed(root: str, alias: str, field: str, node: str, around: str = "") -> Part:
    """A connection as a part; its field is written up to where the page is to be chosen."""
    fields = f"{alias}: {field}@) {{ edges {{ node {{ {node} }} }} {MORE} }}"
    if around:
        return Part(root, f"{around} {{ {fields} }}", (around, alias))
    return Part(root, fields, (alias,))


_PROJECT = "project(name: $project, entityName: $entity)"
_ENTITY = "entity(name: $entity)"
_ORGANIZATION = "organization(name: $organization)"
_WHERE = "name project { name entity { name } }"
_SWEEP = (
    "id name displayName method state description bestLoss config createdAt updatedAt "
    "runCount runCountExpected"
)
_REPORT = "id name displayName description user { username } spec createdAt updatedAt"
_COLLECTION = (
    f"id {_WHERE} description createdAt updatedAt defaultArtifactType {{ name }} "
    "tags { edges { node { name } } }"
)
_MEMBER = (
    f"versionIndex createdAt aliases {{ alias }} artifactCollection {{ {_WHERE} }} "
    "artifact { id versionIndex digest description metadata state createdAt updatedAt "
    f"artifactType {{ name }} tags {{ name }} artifactSequence {{ {_WHERE} }} "
    f"createdBy {{ __typename ... on Run {{ {_WHERE} }} }} }}"
)
_PORTFOLIOS = "artifactCollections(collectionTypes: [PORTFOLIO], "

OF_PROJECT = {
    "about": Part(_PROJECT, "id description createdAt access"),
    "sweeps": _listed(_PROJECT, "sweeps", "sweeps(", _SWEEP),
    "reports": _listed(_PROJECT, "reports", 'allViews(viewType: "runs", ', _REPORT),
    "drafts": _listed(_PROJECT, "drafts", 'allViews(viewType: "runs/draft", ', "id"),
    "workspaces": _listed(_PROJECT, "workspaces", 'allViews(viewType: "project-view", ', "id"),
    "automations": Part(_PROJECT, "triggers { id }"),
}
MEANT = {"meant": _listed(_PROJECT, "meant", "runs(filters: $filters, ", "name")}
"""Whether there are runs that meet a filter."""
TOLD = {
    "told": _listed(
        *(_PROJECT, "told", 'runs(filters: $filters, order: "+created_at", '),
        "name createdAt config",
    )
}
OLDER = {
    "about": Part(_PROJECT, "id description createdAt"),
    "sweeps": _listed(_PROJECT, "sweeps", "sweeps(", "id name state bestLoss config"),
    "reports": _listed(
        *(_PROJECT, "reports", 'allViews(viewType: "runs", ', _REPORT.replace(" createdAt", ""))
    ),
}
"""The form of parts that older servers know (older clients ask so, and 0.31 where it must)."""
_KEPT = f"files(@) {{ edges {{ node {{ id name sizeBytes updatedAt directUrl }} }} {MORE} }}"
HOME = {"home": Part(_PROJECT, f"run(name: $run) {{ {_KEPT} }}", ("run", "files"))}
"""Files of a run."""
OF_ENTITY = {
    "organizations": Part(_ENTITY, "organization { name } user { organizations { name } }"),
    "portfolios": _listed(_ENTITY, "portfolios", _PORTFOLIOS, _COLLECTION),
}
_FILTERED = "artifactMemberships(projectFilters: $projects, collectionFilters: $names, "
LINKED = {"linked": _listed(_ENTITY, "linked", _FILTERED, _MEMBER)}
OF_ORGANIZATION = {
    "registered": _listed(_ORGANIZATION, "registered", _PORTFOLIOS, _COLLECTION, "orgEntity"),
    "members": _listed(_ORGANIZATION, "members", "artifactMemberships(", _MEMBER, "orgEntity"),
}


COUNTED = {
    "drafts": "drafts of reports",
    "workspaces": "saved workspaces",
    "automations": "automations",
}
"""What is not read but counted, and what people call it."""
LISTED = {
    "sweeps": "sweeps",
    "reports": "reports",
    **dict.fromkeys((*OF_ENTITY, *LINKED, *OF_ORGANIZATION), "registered versions"),
}
"""What is read, if the server knows how to tell of it, and what people call it."""


class SharedPages(Pages):
    """Asks for parts together where the server gives so much at once, else one by one."""

    def __init__(self, wire: Asking) -> None:
        super().__init__(wire)
        self.unknown: set[str] = set()
        """Parts that the server does not know."""
        self.denied: set[str] = set()
        """Parts that it does not let this key see."""
        self._older: set[str] = set()

    def every_project(self, entity: str) -> Iterator[tuple[Place, Node]]:
        """The projects of an entity, each with what `first` gives of it."""
        parts = self._known(OF_PROJECT)
        fields = " ".join(_paged(part, f"first: {NESTED}") for part in parts.values())
        document = (
            "query TrackbridgeShared($entity: String!, $after: String, $first: Int) { "
            "models(entityName: $entity, after: $after, first: $first) { "
            f"edges {{ node {{ name entityName {fields} }} }} {MORE} }} }}"
        )
        given: set[Place] = set()
        try:
            for node in self._connection(
                document, {"entity": entity}, lambda data: dict(data["models"]), entity, AT_ONCE
            ):
                place = Place(node["entityName"], node["name"])
                given.add(place)
                yield place, dict.fromkeys(parts, node)
        except (LackingError, RefusedError, ConfigError):  # for the sake of any part
            for place in self.projects(entity):
                if place not in given:
                    yield place, self.first(OF_PROJECT, place._asdict())

    def told(self, place: Place, filters: Node) -> Iterator[Node]:
        """What runs that meet a filter say of themselves, in the order in which they were made."""
        variables = {**place._asdict(), "filters": json.dumps(filters)}
        found = self.first(TOLD, variables)
        yield from self.nodes(TOLD, "told", found, variables, PAGE)

    def first(self, parts: Mapping[str, Part], variables: Mapping[str, Any]) -> Node:
        """What parts give, of connections the first nodes; as far as the server knows them."""
        known = self._known(parts)
        try:
            return self._ask(known, variables)
        except (LackingError, RefusedError, ConfigError, NotFoundError):  # for any one's sake
            pass
        found: Node = {}
        for name in known:
            found |= self._alone(parts, name, variables)
        return found

    def _alone(self, parts: Mapping[str, Part], name: str, variables: Mapping[str, Any]) -> Node:
        try:
            return self._ask({name: self._form(parts, name)}, variables)
        except LackingError:
            if name in OLDER and name not in self._older:
                self._older.add(name)
                return self._alone(parts, name, variables)
            self.unknown.add(name)
        except NotFoundError:
            return {name: None}
        except TooMuchError:
            pass  # see `nodes`
        except (RefusedError, ConfigError):
            if name not in LISTED.keys() | COUNTED.keys():
                raise
            self.denied.add(name)
        return {}

    def _form(self, parts: Mapping[str, Part], name: str) -> Part:
        return OLDER[name] if name in self._older else parts[name]

    def _known(self, parts: Mapping[str, Part]) -> dict[str, Part]:
        left = self.unknown | self.denied
        return {name: self._form(parts, name) for name in parts if name not in left}

    def nodes(
        self,
        parts: Mapping[str, Part],
        name: str,
        found: Node,
        variables: Mapping[str, Any],
        size: int | None = None,
    ) -> Iterator[Node]:
        """All nodes of a connection of which `found` has the first, or none at all.

        `size` is that of further pages, where it is not to be as that of pages of runs.
        """
        part, after = self._form(parts, name), None
        if name in self.unknown | self.denied:
            return
        if name in found:
            page = _at(found[name], part.path)
            yield from (edge["node"] for edge in page["edges"] if edge["node"])
            if not page["pageInfo"]["hasNextPage"]:
                return
            after = page["pageInfo"]["endCursor"]

        def connection(data: Node) -> Node:
            return _at(data[name], part.path)

        document = _document({name: part}, "first: $first, after: $after")
        used = _used(document, variables)
        more = self._connection(document, used, connection, name, size, after)
        yield from (node for node in more if node)

    def left_out(self) -> dict[str, int]:
        """What people call the parts that could not be read, each once: nobody knows how many."""
        found = [
            f"{LISTED[name]} that this server does not list"
            for name in self.unknown & LISTED.keys()
        ]
        called = {**LISTED, **COUNTED}
        found += [f"{called[name]} that this API key may not see" for name in self.denied]
        return dict.fromkeys(found, 1)

    def _ask(self, parts: Mapping[str, Part], variables: Mapping[str, Any]) -> Node:
        document = _document(parts, f"first: {NESTED}")
        return self._wire.ask(document, _used(document, variables))


def _document(parts: Mapping[str, Part], page: str) -> str:
    fields = " ".join(
        f"{name}: {part.root} {{ {_paged(part, page)} }}" for name, part in parts.items()
    )
    names = sorted(set(re.findall(r"\$(\w+)", fields)))
    declared = ", ".join(f"${name}: {DECLARED[name]}" for name in names)
    return f"query TrackbridgeShared({declared}) {{ {fields} }}"


def _paged(part: Part, page: str) -> str:
    return part.fields.replace("@", page)


def _used(document: str, variables: Mapping[str, Any]) -> Node:
    return {name: value for name, value in variables.items() if f"${name}:" in document}


def _at(found: Node | None, path: Collection[str]) -> Node:
    """A connection that is there, or an empty one: what one may not see is null."""
    for name in path:
        found = (found or {}).get(name)
    return found or NO_MORE
