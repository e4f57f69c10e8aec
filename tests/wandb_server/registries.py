"""Registries: projects `wandb-registry-*` of an organization's entity, with what is linked.

Before there were any, portfolios lay in projects of teams, such as `model-registry`.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from wandb_server import artifacts
from wandb_server.filters import meets
from wandb_server.graphql import Node
from wandb_server.paging import connection, identity
from wandb_server.state import Project, State


def node(state: State, project: Project, types: Any) -> Node:
    """A registry as RegistryFragment asks for it."""
    organization = state.entities.get(project.entity)
    shown = organization and {"__typename": "Organization", "name": organization.name}
    entity = {"__typename": "Entity", "name": project.entity, "organization": shown}
    return artifacts.project_node(project) | {
        "entity": entity,
        "entityName": project.entity,
        "description": project.description,
        "createdAt": project.created_at,
        "updatedAt": project.created_at,
        "access": project.access,
        "views": "{}",
        "allowAllArtifactTypesInRegistry": True,
        "artifactTypes": types,
    }


def organization(state: State, name: str) -> Node | None:
    """By its display name."""
    found = [each for each in state.entities.values() if each and each.name == name]
    if not found:
        return None
    entity = found[0].entity
    return {
        "__typename": "Organization",
        "id": identity("Organization", name),
        "name": name,
        "advancedRegistryFeatures": {"advancedSearch": False},
        "orgEntity": {
            "__typename": "Entity",
            "id": identity("Entity", entity),
            "name": entity,
            "entityType": "ORGANIZATION",
            "projects": partial(_projects, state, entity),
            **fields(state, entity),
        },
    }


def fields(state: State, entity: str) -> Node:
    """What an entity tells of the portfolios in its projects."""
    return {
        "artifactCollections": partial(_collections, state, entity),
        "artifactMemberships": partial(_memberships, state, entity),
    }


def _chosen(state: State, entity: str, filters: str | None) -> list[Project]:
    condition = json.loads(filters) if filters else {}
    found = [project for (place, _), project in state.projects.items() if place == entity]

    def get(project: Project) -> Any:
        return {"name": project.name, "id": project.number}.get

    return [project for project in found if meets(get(project), condition)]


def _projects(
    state: State,
    entity: str,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> Node:
    def show(project: Project) -> Node:
        return node(state, project, artifacts.project_types(state, project))

    return connection(_chosen(state, entity, filters), show, after, first)


def _portfolios(
    state: State, entity: str, projects: str | None, filters: str | None
) -> list[artifacts.Collection]:
    found = [
        each
        for project in _chosen(state, entity, projects)
        for each in project.collections.values()
        if each.kind == "ArtifactPortfolio"
    ]
    return artifacts.chosen(found, filters)


def _collections(
    state: State,
    entity: str,
    projectFilters: str | None = None,
    filters: str | None = None,
    collectionTypes: list[str] | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> Node:
    found = _portfolios(state, entity, projectFilters, filters)
    return connection(found, partial(artifacts.collection_node, state), after, first)


def _memberships(
    state: State,
    entity: str,
    projectFilters: str | None = None,
    collectionFilters: str | None = None,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> Node:
    condition = json.loads(filters) if filters else {}

    def get(member: artifacts.Membership) -> Any:
        artifact = member.artifact
        found = {"state": artifact.state, "alias": member.aliases, "version": f"v{member.index}"}
        return (found | {"tag": artifact.tags}).get

    portfolios = _portfolios(state, entity, projectFilters, collectionFilters)
    members = [member for each in portfolios for member in each.members]
    found = [member for member in members if meets(get(member), condition)]
    return connection(found, partial(artifacts.membership_node, state), after, first)
