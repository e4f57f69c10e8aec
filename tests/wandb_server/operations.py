"""The fields that documents start from: what can be asked and what can be changed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from wandb_server import artifacts, registries, reports, runs, sweeps
from wandb_server.faults import Faults
from wandb_server.filters import chosen as runs_by
from wandb_server.graphql import Node, Refused
from wandb_server.paging import connection, identity
from wandb_server.state import Project, Run, State, User

FEATURES = (
    *("LARGE_FILENAMES", "ARTIFACT_TAGS", "CLIENT_IDS", "ARTIFACT_REGISTRY_SEARCH"),
    *("STRUCTURED_CONSOLE_LOGS", "ARTIFACT_COLLECTION_MEMBERSHIP_FILES"),
    *("USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION", "TOTAL_COUNT_IN_FILE_CONNECTION"),
    *("PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP", "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE"),
    *("ARTIFACT_COLLECTIONS_FILTERING_SORTING", "MARK_RUN_FILES_UPLOADED"),
    *("SWEEPS_QUERY_FILTERING", "FILESTREAM_GZIP", "ARTIFACT_DIGEST_ALGORITHM"),
)


def _input(function: Callable[..., Any]) -> Callable[..., Any]:
    """A mutation's field: its one argument is an object."""
    return lambda input: function(**input)


def root(state: State, faults: Faults, user: User) -> Node:
    """What a user's documents start from, questions and changes alike."""
    return _queries(state, faults, user) | _mutations(state, user)


def _queries(state: State, faults: Faults, user: User) -> Node:
    def project(name: str | None = None, entityName: str | None = None) -> Node | None:
        found = state.project(entityName, name, user)
        return _project(state, faults, user, found) if found else None

    def projects(
        entityName: str | None = None, after: str | None = None, first: int | None = None
    ) -> Node:
        entity = entityName or user.entities[0]
        names = [name for place, name in state.projects if place == entity]
        found = [each for name in names if (each := state.project(entity, name, user))]
        return connection(found, lambda each: _project(state, faults, user, each), after, first)

    features = [{"name": name, "isEnabled": True} for name in FEATURES]
    return {
        "viewer": lambda: _user(user),
        "serverInfo": {"features": features, "cliVersionInfo": {}, "latestLocalVersionInfo": None},
        "project": project,
        "model": project,
        "models": projects,
        "entity": lambda name: _entity(state, name),
        "organization": lambda name: registries.organization(state, name),
        "artifact": lambda id: artifacts.node(state, artifacts.find(state, id)),
        "artifactCollection": lambda id: _collection(state, id),
        "clientIDMapping": lambda clientID: {"serverID": state.clients.get(clientID)},
    }


def _collection(state: State, found: str) -> Node | None:
    for project in state.projects.values():
        for each in project.collections.values():
            if each.id == found:
                return artifacts.collection_node(state, each)
    return None


def _artifacts_of(state: State, project: Project) -> Node:
    """What a project has of artifacts."""

    def member(name: str) -> Any:
        name, _, alias = name.partition(":")
        found = project.collections.get(name)
        return found.member(alias or "latest") if found else None

    def membership(name: str) -> Node | None:
        found = member(name)
        return artifacts.membership_node(state, found) if found else None

    def artifact(name: str) -> Node | None:
        found = member(name)
        return artifacts.node(state, found.artifact) if found else None

    def kind(name: str) -> Node | None:
        known = name in artifacts.types(project)
        return artifacts.type_node(state, project, name) if known else None

    return artifacts.collections_of(state, project) | {
        "artifactTypes": artifacts.project_types(state, project),
        "artifactType": kind,
        "artifactCollectionMembership": membership,
        "artifact": artifact,
    }


def _user(user: User) -> Node:
    return {
        "__typename": "User",
        "id": identity("User", user.name),
        "name": user.name,
        "username": user.name,
        "email": f"{user.name}@example.com",
        "entity": user.entities[0],
        "admin": False,
        "flags": "{}",
        "deletedAt": None,
        "photoUrl": None,
        "apiKeys": connection([], dict),
        "teams": connection(user.entities, lambda name: {"name": name}),
    }


def _entity(state: State, name: str) -> Node | None:
    if name not in state.entities:
        return None
    found = state.entities[name]
    organization = found and {
        "__typename": "Organization",
        "name": found.name,
        "orgEntity": {"__typename": "Entity", "name": found.entity},
        "coreWeaveOrganizationId": None,
    }
    return {
        "__typename": "Entity",
        "id": identity("Entity", name),
        "name": name,
        "organization": organization,
        "user": None,
        "isTeam": True,
        "xxhashDigestsEnabled": False,
        **registries.fields(state, name),
    }


def _project(state: State, faults: Faults, user: User, project: Project) -> Node:
    def chosen(condition: str | None, order: str | None = None) -> list[Run]:
        return runs_by(list(project.runs.values()), condition, order)

    def all_runs(
        filters: str | None = None,
        order: str | None = None,
        after: str | None = None,
        first: int | None = None,
    ) -> Node:
        if faults.page_limit is not None and (first or 0) > faults.page_limit:
            raise Refused(f"at most {faults.page_limit} runs at once, not {first}")
        show = lambda run: runs.node(state, run, user)  # noqa: E731
        return connection(chosen(filters, order), show, after, first)

    def run(name: str, missingOk: bool = False) -> Node | None:
        found = project.runs.get(name)
        return runs.node(state, found, user) if found else None

    def show_sweep(found: Any) -> Node:
        return sweeps.node(state, found, user)

    def sweep(sweepName: str) -> Node | None:
        found = project.sweeps.get(sweepName)
        return show_sweep(found) if found else None

    def all_sweeps(
        filters: str | None = None, after: str | None = None, first: int | None = None
    ) -> Node:
        return connection(list(project.sweeps.values()), show_sweep, after, first)

    return {
        "__typename": "Project",
        "id": project.id,
        "internalId": identity("ProjectInternalId", project.number),
        "name": project.name,
        "entityName": project.entity,
        "entity": lambda: _entity(state, project.entity),
        "description": project.description,
        "access": project.access,
        "createdAt": project.created_at,
        "updatedAt": project.created_at,
        "isBenchmark": False,
        "readOnly": False,
        "user": lambda: _user(project.user),
        "runCount": lambda filters=None: len(chosen(filters)),
        "runs": all_runs,
        "run": run,
        "bucket": run,
        "allViews": partial(reports.of_project, project),
        "sweep": sweep,
        "sweeps": all_sweeps,
        "totalSweeps": len(project.sweeps),
        "triggers": [{"id": name} for name in project.automations],
        **_artifacts_of(state, project),
    }


def _mutations(state: State, user: User) -> Node:
    def upsert_bucket(**given: Any) -> Node:
        run, made = runs.upsert(state, user, given)
        return {"bucket": runs.node(state, run, user), "inserted": made}

    def upsert_model(**given: Any) -> Node:
        made = state.project(given.get("entityName"), given["name"], user) is None
        project = state.make_project(given.get("entityName"), given["name"], user)
        if given.get("description") is not None:
            project.description = given["description"]
        project.access = given.get("access") or project.access
        shown = registries.node(state, project, artifacts.project_types(state, project))
        return {"project": shown, "model": shown, "inserted": made}

    def create_files(entityName: str, projectName: str, runName: str, files: list[str]) -> Node:
        return runs.create_files(state, state.run(entityName, projectName, runName, user), files)

    return {
        "upsertBucket": _input(upsert_bucket),
        "createRunFiles": _input(create_files),
        "markRunFilesUploaded": _input(lambda **_: {"success": True}),
        "deleteFiles": _input(partial(runs.delete_files, state, user)),
        "deleteRun": _input(lambda **given: runs.delete(state, user, **given)),
        "createArtifact": _input(partial(artifacts.create, state, user)),
        "createArtifactManifest": _input(partial(artifacts.create_manifest, state)),
        "createArtifactFiles": _input(partial(artifacts.create_files, state)),
        "commitArtifact": _input(partial(artifacts.commit, state)),
        "useArtifact": _input(partial(artifacts.use, state, user)),
        "linkArtifact": _input(partial(artifacts.link, state, user)),
        "addAliases": _input(partial(artifacts.change_aliases, state, True)),
        "deleteAliases": _input(partial(artifacts.change_aliases, state, False)),
        "updateArtifact": _input(partial(artifacts.update, state)),
        "deleteArtifact": _input(partial(artifacts.remove, state)),
        "upsertSweep": _input(partial(sweeps.upsert, state, user)),
        "createAgent": _input(partial(sweeps.create_agent, state, user)),
        "agentHeartbeat": _input(partial(sweeps.heartbeat, state, user)),
        "upsertView": _input(partial(reports.upsert, state, user)),
        "notifyScriptableRunAlert": _input(partial(reports.alert, state, user)),
        "upsertModel": _input(upsert_model),
        "stopRun": _input(lambda id: _stop(state, user, id)),
    }


def _stop(state: State, user: User, found: str) -> Node:
    state.run_by_id(found, user).stopped = True
    return {"success": True}
