"""What a server knows: users, entities, projects and what is in them. Behaviour is elsewhere."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from wandb_server.graphql import Refused
from wandb_server.paging import identity
from wandb_server.storage import Storage


def now() -> str:
    """As the service writes times: UTC, no offset (inferred from the client's parser)."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


@dataclass
class User:
    name: str
    key: str
    entities: list[str]  # the first is the default one


@dataclass(frozen=True)
class Organization:
    name: str
    entity: str  # what registries belong to


@dataclass
class File:
    """A file of a run; `size` is None until its bytes are here."""

    name: str
    key: str  # in the storage
    size: int | None = None
    md5: str | None = None
    updated_at: str = ""


@dataclass(eq=False)
class Run:
    project: Project
    name: str  # the run id
    user: User
    number: int
    display_name: str
    created_at: str
    heartbeat_at: str
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)  # group, job type, notes, ...
    state: str = "running"
    exit_code: int | None = None
    stopped: bool = False
    history: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    console: dict[int, str] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    used: list[Any] = field(default_factory=list)  # artifact versions
    sweep: str | None = None
    exported: int = 0  # so many rows of the history are in parquet files
    revision: int = 0  # grows when the history does

    @property
    def id(self) -> str:
        return identity("Run", "v1", self.name, self.project.name, self.project.entity)


@dataclass(eq=False)
class Project:
    entity: str
    name: str
    number: int
    user: User
    created_at: str = field(default_factory=now)
    description: str = ""
    access: str = "PRIVATE"
    runs: dict[str, Run] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)  # names, which no other run gets
    sweeps: dict[str, Any] = field(default_factory=dict)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    collections: dict[str, Any] = field(default_factory=dict)
    automations: list[str] = field(default_factory=list)  # ids; tests put them there

    @property
    def id(self) -> str:
        return identity("Project", "v1", self.name, self.entity)


@dataclass
class State:
    storage: Storage
    users: list[User] = field(default_factory=list)
    entities: dict[str, Organization | None] = field(default_factory=dict)
    projects: dict[tuple[str, str], Project] = field(default_factory=dict)
    artifacts: dict[str, Any] = field(default_factory=dict)  # versions by id
    clients: dict[str, str] = field(default_factory=dict)  # ids made by clients -> ours
    export_finished: bool = False
    """Whether a run's history is exported to parquet when the run ends."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def project(self, entity: str | None, name: str | None, user: User) -> Project | None:
        """None where it is not there, or not for this user to see."""
        entity = entity or user.entities[0]
        if entity not in self._visible(user):
            return None
        return self.projects.get((entity, name or "uncategorized"))

    def _visible(self, user: User) -> set[str]:
        organizations = (self.entities.get(entity) for entity in user.entities)
        return {*user.entities, *(each.entity for each in organizations if each)}

    def make_project(self, entity: str | None, name: str | None, user: User) -> Project:
        """The project, made where it is not there yet."""
        entity, name = entity or user.entities[0], name or "uncategorized"
        if entity not in self._visible(user):
            raise Refused(f"entity {entity} not found during upsertBucket", 404)
        found = self.projects.get((entity, name))
        if found is None:
            found = Project(entity, name, next(self.numbers), user)
            self.projects[entity, name] = found
        return found

    def run(self, entity: str | None, project: str | None, name: str, user: User) -> Run:
        found = self.project(entity, project, user)
        if found is None or name not in found.runs:
            raise Refused(f"run {entity}/{project}/{name} not found", 404)
        return found.runs[name]

    def run_by_id(self, found: str, user: User) -> Run:
        visible = self._visible(user)
        for (entity, _), project in self.projects.items():
            for run in project.runs.values() if entity in visible else ():
                if run.id == found:
                    return run
        raise Refused(f"run {found} not found", 404)
