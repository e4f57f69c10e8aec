"""What is asked of a server about things that belong to no run.

Field names are those of the client's own documents (wandb 0.31: apis/_generated, apis/public,
sdk/artifacts/_generated, automations/_generated).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from trackbridge.errors import ConfigError
from trackbridge_adapters.wandb.service.answers import LackingError, RefusedError, TooMuchError
from trackbridge_adapters.wandb.service.pages import MORE, NESTED, Asking, Node, Pages

DECLARED = {
    "after": "String",
    "entity": "String!",
    "filters": "JSONString",
    "first": "Int",
    "names": "JSONString",
    "organization": "String!",
    "project": "String!",
    "projects": "JSONString",
}
"""Types of the variables that documents have."""


class Part(NamedTuple):
    """A field of a document's root, and the way from it to a connection, where it has one."""

    field: str
    path: tuple[str, ...] = ()


def _listed(root: str, path: str, node: str, arguments: str = "") -> Part:
    """The nodes of a connection that `path` leads to from a root."""
    *outer, name = path.split(".")
    given = f"{arguments}first: $first, after: $after"
    fields = f"{name}({given}) {{ edges {{ node {{ {node} }} }} {MORE} }}"
    for around in (*reversed(outer), root):
        fields = f"{around} {{ {fields} }}"
    return Part(fields, (*outer, name))


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
_OF_REGISTRIES = "collectionTypes: [PORTFOLIO], "

OF_PROJECT = {
    "about": Part(f"{_PROJECT} {{ id description createdAt access }}"),
    "meant": _listed(_PROJECT, "runs", "name", "filters: $filters, "),
    "sweeps": _listed(_PROJECT, "sweeps", _SWEEP),
    "reports": _listed(_PROJECT, "allViews", _REPORT, 'viewType: "runs", '),
    "drafts": _listed(_PROJECT, "allViews", "id", 'viewType: "runs/draft", '),
    "workspaces": _listed(_PROJECT, "allViews", "id", 'viewType: "project-view", '),
    "automations": Part(f"{_PROJECT} {{ triggers {{ id }} }}"),
}
COUNTED = {
    "drafts": "drafts of reports",
    "workspaces": "saved workspaces",
    "automations": "automations",
}
"""What is not read but counted, and what people call it."""
OLDER = {
    "about": Part(f"{_PROJECT} {{ id description createdAt }}"),
    "sweeps": _listed(_PROJECT, "sweeps", "id name state bestLoss config"),
    "reports": _listed(
        *(_PROJECT, "allViews", _REPORT.replace(" createdAt", "")), 'viewType: "runs", '
    ),
}
"""The form of parts that older servers know (older clients ask so, and 0.31 where it must)."""
OF_STORE = {
    "home": _listed(_PROJECT, "runs", "config", "filters: $filters, "),
    "organizations": Part(
        f"{_ENTITY} {{ organization {{ name }} user {{ organizations {{ name }} }} }}"
    ),
    "portfolios": _listed(_ENTITY, "artifactCollections", _COLLECTION, _OF_REGISTRIES),
}
LINKED = {
    "linked": _listed(
        *(_ENTITY, "artifactMemberships", _MEMBER),
        "projectFilters: $projects, collectionFilters: $names, ",
    )
}
OF_ORGANIZATION = {
    "registered": _listed(
        _ORGANIZATION, "orgEntity.artifactCollections", _COLLECTION, _OF_REGISTRIES
    ),
    "members": _listed(_ORGANIZATION, "orgEntity.artifactMemberships", _MEMBER),
}


class SharedPages(Pages):
    """Asks for parts together where the server gives so much at once, else one by one."""

    def __init__(self, wire: Asking) -> None:
        super().__init__(wire)
        self.unknown: set[str] = set()
        """Parts that the server does not know."""
        self.denied: set[str] = set()
        """Parts to be counted that it does not let this key see."""
        self._older: set[str] = set()

    def first(self, parts: Mapping[str, Part], variables: Mapping[str, Any]) -> Node:
        """What parts give, of connections the first nodes; as far as the server knows them."""
        given = {**variables, "first": NESTED, "after": None}
        wanted = parts.keys() - self.unknown - self.denied
        try:
            return self._ask({name: self._form(parts, name) for name in sorted(wanted)}, given)
        except (LackingError, RefusedError, ConfigError):  # for the sake of any of them
            pass
        found: Node = {}
        for name in parts:
            if name in wanted:
                found |= self._alone(parts, name, given)
        return found

    def _alone(self, parts: Mapping[str, Part], name: str, given: Mapping[str, Any]) -> Node:
        try:
            return self._ask({name: self._form(parts, name)}, given)
        except LackingError:
            if name in OLDER and name not in self._older:
                self._older.add(name)
                return self._alone(parts, name, given)
            self.unknown.add(name)
        except TooMuchError:
            pass  # see `nodes`
        except (RefusedError, ConfigError):
            if name not in COUNTED:
                raise
            self.denied.add(name)
        return {}

    def _form(self, parts: Mapping[str, Part], name: str) -> Part:
        return OLDER[name] if name in self._older else parts[name]

    def nodes(
        self, parts: Mapping[str, Part], name: str, found: Node, variables: Mapping[str, Any]
    ) -> Iterator[Node]:
        """All nodes of a connection of which `found` has the first, or none at all."""
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

        document = _document({name: part})
        used = _used(document, variables)
        more = self._connection(document, used, connection, name, after=after)
        yield from (node for node in more if node)

    def _ask(self, parts: Mapping[str, Part], variables: Mapping[str, Any]) -> Node:
        document = _document(parts)
        return self._wire.ask(document, _used(document, variables))


def _document(parts: Mapping[str, Part]) -> str:
    fields = " ".join(f"{name}: {part.field}" for name, part in parts.items())
    names = sorted(set(re.findall(r"\$(\w+)", fields)))
    declared = ", ".join(f"${name}: {DECLARED[name]}" for name in names)
    return f"query TrackbridgeShared({declared}) {{ {fields} }}"


def _used(document: str, variables: Mapping[str, Any]) -> Node:
    return {name: value for name, value in variables.items() if f"${name}:" in document}


def _at(found: Node | None, path: Collection[str]) -> Node:
    """A connection that is there, or an empty one: what one may not see is null."""
    for name in path:
        found = (found or {}).get(name)
    return found or {"edges": [], "pageInfo": {"endCursor": None, "hasNextPage": False}}
