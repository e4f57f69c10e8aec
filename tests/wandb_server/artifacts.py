"""Artifacts: versions in collections, their aliases and manifests, who made and who used them.

A version is a member of the sequence that it was logged to, and of each portfolio (a collection of
a registry) that it was linked to; a membership has a version number and aliases of its own.
"""

from __future__ import annotations

import base64
import json
import mimetypes
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from wandb_server.filters import meets
from wandb_server.graphql import Node, Refused
from wandb_server.paging import connection, identity
from wandb_server.state import Project, Run, State, User, now


@dataclass(eq=False)
class Collection:
    project: Project
    name: str
    kind: str  # ArtifactSequence, ArtifactPortfolio
    type: str
    number: int
    created_at: str = field(default_factory=now)
    description: str | None = None
    tags: list[str] = field(default_factory=list)
    members: list[Membership] = field(default_factory=list)

    @property
    def id(self) -> str:
        return identity(self.kind, self.number)

    def member(self, alias: str) -> Membership | None:
        for each in self.members:
            if alias in (f"v{each.index}", *each.aliases):
                return each
        return None


@dataclass(eq=False)
class Membership:
    collection: Collection
    artifact: Artifact
    index: int
    aliases: list[str] = field(default_factory=list)
    created_at: str = field(default_factory=now)

    def give(self, aliases: list[str]) -> None:
        """An alias belongs to one version of a collection: it moves here from where it was."""
        for each in self.collection.members:
            each.aliases = [alias for alias in each.aliases if alias not in aliases]
        self.aliases += aliases


@dataclass(eq=False)
class Artifact:
    sequence: Collection
    number: int
    digest: str
    given: dict[str, Any]
    created_by: Run | User
    state: str = "PENDING"
    tags: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)  # to be given on commit
    manifest: str | None = None  # key in the storage
    members: list[Membership] = field(default_factory=list)
    used_by: list[Run] = field(default_factory=list)
    created_at: str = field(default_factory=now)
    births: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return identity("Artifact", self.number)

    @property
    def version(self) -> int | None:
        found = [each.index for each in self.members if each.collection is self.sequence]
        return found[0] if found else None


def blob(entity: str, digest: str) -> str:
    """Where the bytes of a file lie: by entity and MD5 (hex), so that equal files are kept once."""
    return f"wandb_artifacts/{entity}/{digest}"


def place(artifact: Artifact, digest: str) -> str:
    """Where the bytes of one of its files lie, whose digest is as in a manifest (base64)."""
    return blob(artifact.sequence.project.entity, base64.b64decode(digest).hex())


def logged(state: State, run: Run) -> list[Artifact]:
    """Versions that a run made and that are whole (inferred: pending ones are not listed)."""
    found = state.artifacts.values()
    return [each for each in found if each.created_by is run and each.state == "COMMITTED"]


def entries(state: State, artifact: Artifact) -> dict[str, Node]:
    """The manifest's entries by path."""
    content = state.storage.read(artifact.manifest) if artifact.manifest else None
    found: dict[str, Node] = json.loads(content)["contents"] if content else {}
    return found


# ---- nodes


def project_node(project: Project) -> Node:
    return {
        "__typename": "Project",
        "id": project.id,
        "internalId": identity("ProjectInternalId", project.number),
        "name": project.name,
        "entity": {
            "__typename": "Entity",
            "id": identity("Entity", project.entity),
            "name": project.entity,
        },
    }


def _tags(names: list[str]) -> list[Node]:
    return [{"__typename": "Tag", "id": identity("Tag", name), "name": name} for name in names]


def _alias(member: Membership, alias: str) -> Node:
    return {
        "__typename": "ArtifactAlias",
        "id": identity("ArtifactAlias", member.collection.number, alias),
        "alias": alias,
        "artifactCollection": lambda: _short(member.collection),
    }


def _short(collection: Collection) -> Node:
    return {
        "__typename": collection.kind,
        "id": collection.id,
        "name": collection.name,
        "project": project_node(collection.project),
    }


def collections_of(state: State, project: Project, type: str | None = None) -> Node:
    """The fields that give the collections of a project, all or of one type, and one of them."""

    def every(
        after: str | None = None,
        first: int | None = None,
        filters: str | None = None,
        order: str | None = None,
    ) -> Node:
        found = [each for each in project.collections.values() if type in (None, each.type)]
        show = partial(collection_node, state)
        return connection(chosen(found, filters), show, after, first)

    def one(name: str) -> Node | None:
        found = project.collections.get(name)
        return collection_node(state, found) if found else None

    return {"artifactCollections": every, "artifactCollection": one}


def type_node(state: State, project: Project, name: str) -> Node:
    return collections_of(state, project, name) | {
        "__typename": "ArtifactType",
        "id": identity("ArtifactType", project.number, name),
        "name": name,
        "description": None,
        "createdAt": project.created_at,
    }


def types(project: Project) -> list[str]:
    """The types of all that a project has."""
    return sorted({each.type for each in project.collections.values()})


def project_types(state: State, project: Project) -> Any:
    """`artifactTypes`."""
    names = types(project)

    def field(after: str | None = None, first: int | None = None, includeAll: bool = False) -> Node:
        return connection(names, lambda name: type_node(state, project, name), after, first)

    return field


def chosen(found: list[Collection], filters: str | None) -> list[Collection]:
    """Collections by name, tag or type."""
    condition = json.loads(filters) if filters else {}

    def get(each: Collection) -> Any:
        return {"name": each.name, "tag": each.tags, "description": each.description}.get

    return [each for each in found if meets(get(each), condition)]


def collection_node(state: State, collection: Collection) -> Node:
    def versions(
        after: str | None = None,
        first: int | None = None,
        order: str | None = None,
        filters: str | None = None,
    ) -> Node:
        members = [each for each in collection.members if each.artifact.state == "COMMITTED"]
        return connection(
            members[::-1],
            lambda each: node(state, each.artifact),
            after,
            first,
            version=lambda each: f"v{each.index}",
        )

    def aliases(after: str | None = None, first: int | None = None) -> Node:
        pairs = [(each, alias) for each in collection.members for alias in each.aliases]
        return connection(pairs, lambda pair: _alias(*pair), after, first)

    def membership(aliasName: str) -> Node | None:
        found = collection.member(aliasName)
        return membership_node(state, found) if found else None

    return _short(collection) | {
        "description": collection.description,
        "createdAt": collection.created_at,
        "updatedAt": None,
        "digestAlgorithm": "MANIFEST_MD5",
        "state": "READY",
        "defaultArtifactType": {"__typename": "ArtifactType", "name": collection.type},
        "tags": connection(_tags(collection.tags), dict),
        "artifacts": versions,
        "aliases": aliases,
        "artifactMembership": membership,
        "latestArtifact": lambda: _latest(state, collection),
    }


def _latest(state: State, collection: Collection) -> Node | None:
    return node(state, collection.members[-1].artifact) if collection.members else None


def membership_node(state: State, member: Membership) -> Node:
    return {
        "__typename": "ArtifactCollectionMembership",
        "id": identity("Membership", member.collection.number, member.index),
        "versionIndex": member.index,
        "createdAt": member.created_at,
        "aliases": [_alias(member, alias) for alias in member.aliases],
        "artifactCollection": lambda: collection_node(state, member.collection),
        "artifact": lambda: node(state, member.artifact),
        "files": lambda **given: _files(state, member.artifact, **given),
    }


def _files(
    state: State,
    artifact: Artifact,
    names: list[str] | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Node:
    """Files of an artifact; references have none here (inferred: the client needs their names)."""
    found = sorted(entries(state, artifact).items())
    picked = [(name, entry) for name, entry in found if not names or name in names]
    return connection(picked, lambda item: _file(state, artifact, *item), after, first)


def _file(state: State, artifact: Artifact, name: str, entry: Node) -> Node:
    reference = entry.get("ref")
    if reference:
        key = blob(artifact.sequence.project.entity, reference)
    else:
        key = place(artifact, entry["digest"])
    return {
        "__typename": "File",
        "id": identity("File", artifact.number, name),
        "name": name,
        "displayName": name,
        "url": reference or state.storage.url(key),
        "directUrl": reference or state.storage.url(key),
        "sizeBytes": entry.get("size", 0),
        "storagePath": key,
        "mimetype": mimetypes.guess_type(name)[0],
        "updatedAt": artifact.created_at,
        "digest": entry["digest"],
        "md5": None if reference else entry["digest"],
    }


def node(state: State, artifact: Artifact) -> Node:
    """A version as documents see it."""

    def manifest() -> Node | None:
        if artifact.manifest is None:
            return None
        file = {"__typename": "File", "directUrl": state.storage.url(artifact.manifest)}
        return {"__typename": "ArtifactManifest", "id": artifact.id, "file": file}

    def maker() -> Node:
        by = artifact.created_by
        return _run(by) if isinstance(by, Run) else {"__typename": "User", "name": by.name}

    contents = entries(state, artifact) if artifact.state == "COMMITTED" else {}
    members = artifact.members
    return {
        "__typename": "Artifact",
        "id": artifact.id,
        "artifactSequence": lambda: collection_node(state, artifact.sequence),
        "versionIndex": artifact.version,
        "artifactType": {"__typename": "ArtifactType", "name": artifact.sequence.type},
        "description": artifact.given.get("description"),
        "metadata": artifact.given.get("metadata"),
        "ttlDurationSeconds": artifact.given.get("ttlDurationSeconds") or -2,
        "ttlIsInherited": True,
        "tags": _tags(artifact.tags),
        "historyStep": artifact.given.get("historyStep"),
        "state": artifact.state,
        "size": sum(entry.get("size", 0) for entry in contents.values()),
        "digest": artifact.digest,
        "digestAlgorithm": "MANIFEST_MD5",
        "commitHash": None,
        "fileCount": len(contents),
        "createdAt": artifact.created_at,
        "updatedAt": None,
        "aliases": [_alias(each, alias) for each in members for alias in each.aliases],
        "artifactMemberships": connection(members, lambda each: membership_node(state, each)),
        "currentManifest": manifest,
        "files": lambda **given: _files(state, artifact, **given),
        "createdBy": maker,
        "usedBy": connection(artifact.used_by, _run),
    }


def _run(run: Run) -> Node:
    project = project_node(run.project)
    return {"__typename": "Run", "id": run.id, "name": run.name, "project": project}


# ---- changes


def find(state: State, id: str) -> Artifact:
    if id not in state.artifacts:
        raise Refused(f"artifact {id} not found", 404)
    found: Artifact = state.artifacts[id]
    return found


def collection(state: State, project: Project, name: str, kind: str, type: str) -> Collection:
    """The collection, made where it is not there yet."""
    found = project.collections.get(name)
    if found is None:
        found = Collection(project, name, kind, type, next(state.numbers))
        project.collections[name] = found
    made: Collection = found
    if made.type != type:
        raise Refused(f"artifact collection {name} has type {made.type}, not {type}", 409)
    return made


def create(state: State, user: User, **given: Any) -> Node:
    """`createArtifact`: what has the digest of a version that is whole *is* that version.

    Its aliases go to the version at once where it is whole, else when it is committed.
    """
    project = state.make_project(given["entityName"], given["projectName"], user)
    name = given["artifactCollectionName"]
    sequence = collection(state, project, name, "ArtifactSequence", given["artifactTypeName"])
    run = project.runs.get(given.get("runName") or "")
    aliases = [each["alias"] for each in given.get("aliases") or []]
    for each in sequence.members:
        same = each.artifact.digest == given["digest"]
        if same and given.get("enableDigestDeduplication"):
            each.give(aliases)
            artifact = each.artifact
            break
    else:
        digest, number = given["digest"], next(state.numbers)
        artifact = Artifact(sequence, number, digest, given, run or user, aliases=aliases)
        artifact.tags = [each["tagName"] for each in given.get("tags") or []]
        state.artifacts[artifact.id] = artifact
    for client in ("clientID", "sequenceClientID"):
        if given.get(client):
            state.clients[given[client]] = artifact.id if client == "clientID" else sequence.id
    return {"__typename": "CreateArtifactPayload", "artifact": node(state, artifact)}


def create_manifest(state: State, artifactID: str, name: str, **_: Any) -> Node:
    """`createArtifactManifest`: where to put it; without its bytes nothing is committed."""
    artifact = find(state, artifactID)
    artifact.manifest = f"manifests/{artifact.number}/{name}"
    file = {
        "id": identity("File", artifact.number, name),
        "uploadUrl": state.storage.url(artifact.manifest, "PUT"),
        "uploadHeaders": [],
    }
    return {"artifactManifest": {"id": artifact.id, "file": file}}


def create_files(state: State, artifactFiles: list[Node], **_: Any) -> Node:
    """`createArtifactFiles`: no address to put bytes to where the entity has them already."""

    def show(spec: Node) -> Node:
        artifact = find(state, spec["artifactID"])
        key = place(artifact, spec.get("digest") or spec["md5"])  # md5: before 0.31
        return {
            "__typename": "File",
            "id": identity("File", artifact.number, spec["name"]),
            "name": spec["name"],
            "displayName": spec["name"],
            "storagePath": key,
            "uploadUrl": None if state.storage.has(key) else state.storage.url(key, "PUT"),
            "uploadHeaders": [],
            "uploadMultipartUrls": None,
            "artifact": {"__typename": "Artifact", "id": artifact.id},
        }

    return {"files": connection(artifactFiles, show)}


def commit(state: State, artifactID: str) -> Node:
    """`commitArtifact`: the version gets its number and aliases, and is `latest` (inferred)."""
    artifact = find(state, artifactID)
    if artifact.state != "COMMITTED":
        if not (artifact.manifest and state.storage.has(artifact.manifest)):
            raise Refused(f"artifact {artifactID} has no manifest", 409)
        artifact.state = "COMMITTED"
        _join(artifact.sequence, artifact, ["latest", *artifact.aliases])
    return {"artifact": node(state, artifact)}


def _join(collection: Collection, artifact: Artifact, aliases: list[str]) -> Membership:
    index = max((each.index for each in collection.members), default=-1) + 1
    member = Membership(collection, artifact, index)
    collection.members.append(member)
    artifact.members.append(member)
    member.give(list(dict.fromkeys(aliases)))
    return member


def use(state: State, user: User, **given: Any) -> Node:
    """`useArtifact`: the artifact is an input of the run."""
    run = state.run(given["entityName"], given["projectName"], given["runName"], user)
    artifact = find(state, given["artifactID"])
    if artifact not in run.used:
        run.used.append(artifact)
        artifact.used_by.append(run)
    return {"artifact": node(state, artifact)}


def link(state: State, user: User, **given: Any) -> Node:
    """`linkArtifact`: the version becomes a member of a portfolio, which is made if need be."""
    client = given.get("clientID")
    artifact = find(state, given.get("artifactID") or state.clients.get(client or "", ""))
    project = state.make_project(given["entityName"], given["projectName"], user)
    name = given["artifactPortfolioName"]
    portfolio = collection(state, project, name, "ArtifactPortfolio", artifact.sequence.type)
    aliases = ["latest", *(each["alias"] for each in given.get("aliases") or [])]
    for member in portfolio.members:
        if member.artifact is artifact:
            member.give(aliases)
            break
    else:
        member = _join(portfolio, artifact, aliases)
    shown = membership_node(state, member)
    return {"versionIndex": member.index, "artifactMembership": shown}


def change_aliases(state: State, add: bool, artifactID: str, aliases: list[Node]) -> Node:
    artifact = find(state, artifactID)
    for given in aliases:
        for each in artifact.members:
            where = each.collection
            wanted = (given.get("entityName"), given.get("projectName"))
            if where.name != given["artifactCollectionName"] or (
                any(wanted) and wanted != (where.project.entity, where.project.name)
            ):
                continue
            if add:
                each.give([given["alias"]])
            else:
                each.aliases = [alias for alias in each.aliases if alias != given["alias"]]
    return {"success": True}


def update(state: State, artifactID: str, **given: Any) -> Node:
    """`updateArtifact`: description, metadata, tags."""
    artifact = find(state, artifactID)
    kept = ("description", "metadata", "ttlDurationSeconds")
    artifact.given |= {key: given[key] for key in kept if given.get(key) is not None}
    artifact.tags += [each["tagName"] for each in given.get("tagsToAdd") or []]
    gone = [each["tagName"] for each in given.get("tagsToDelete") or []]
    artifact.tags = [tag for tag in dict.fromkeys(artifact.tags) if tag not in gone]
    return {"artifact": node(state, artifact)}


def remove(state: State, artifactID: str, **_: Any) -> Node:
    artifact = find(state, artifactID)
    artifact.state = "DELETED"
    for each in artifact.members:
        each.collection.members.remove(each)
    artifact.members.clear()
    return {"artifact": node(state, artifact)}
