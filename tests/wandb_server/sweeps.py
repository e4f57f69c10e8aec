"""Sweeps: made, walked by agents, and as nodes."""

from __future__ import annotations

import itertools
import json
import random
import string
from dataclasses import dataclass, field
from typing import Any

import yaml

from wandb_server import artifacts, runs
from wandb_server.graphql import Node, Refused
from wandb_server.paging import connection, identity
from wandb_server.state import Project, Run, State, User, now


@dataclass(eq=False)
class Sweep:
    project: Project
    name: str
    config: str  # YAML, as the client sent it
    values: dict[str, Any] = field(default_factory=dict)
    state: str = "RUNNING"
    created_at: str = field(default_factory=now)
    agents: dict[str, str] = field(default_factory=dict)  # ids -> hosts
    tried: int = 0

    @property
    def id(self) -> str:
        return identity("Sweep", self.project.number, self.name)

    @property
    def runs(self) -> list[Run]:
        return [run for run in self.project.runs.values() if run.sweep == self.name]


def upsert(state: State, user: User, **given: Any) -> Node:
    """`upsertSweep`: what is null is left alone."""
    project = state.make_project(given.get("entityName"), given.get("projectName"), user)
    found = [each for each in project.sweeps.values() if each.id == given.get("id")]
    if found:
        sweep: Sweep = found[0]
    else:
        if not given.get("config"):
            raise Refused("a sweep needs a config")
        name = "".join(random.choices(string.ascii_lowercase + string.digits, k=8))
        sweep = project.sweeps[name] = Sweep(project, name, given["config"])
    sweep.config = given.get("config") or sweep.config
    sweep.state = given.get("state") or sweep.state
    kept = ("description", "displayName", "controller", "scheduler")
    sweep.values |= {key: given[key] for key in kept if given.get(key) is not None}
    return {"sweep": node(state, sweep, user), "configValidationWarnings": []}


def create_agent(state: State, user: User, **given: Any) -> Node:
    project = state.make_project(given.get("entityName"), given.get("projectName"), user)
    if given["sweep"] not in project.sweeps:
        raise Refused(f"sweep {given['sweep']} not found", 404)
    sweep = project.sweeps[given["sweep"]]
    agent = identity("Agent", sweep.name, len(sweep.agents) + 1)
    sweep.agents[agent] = given["host"]
    return {"agent": {"id": agent}}


def heartbeat(state: State, user: User, id: str, runState: str = "{}", **_: Any) -> Node:
    """`agentHeartbeat`: the next point of the grid where the agent has no run, else nothing.

    Every method walks the grid of `values` and `value`: what is tried is not what these tests are
    about. Commands as wandb/agents/pyagent.py takes them.
    """
    found = [
        sweep
        for project in state.projects.values()
        for sweep in project.sweeps.values()
        if id in sweep.agents
    ]
    if not found:
        raise Refused("agent not found", 404)
    sweep = found[0]
    points = list(_grid(yaml.safe_load(sweep.config)))
    commands: list[Node] = []
    if not json.loads(runState or "{}"):
        if sweep.tried < len(points) and sweep.state == "RUNNING":
            commands = [_run_command(state, user, sweep, points[sweep.tried])]
            sweep.tried += 1
        else:
            sweep.state = "FINISHED"
            commands = [{"type": "exit"}]
    return {"agent": {"id": id}, "commands": json.dumps(commands)}


def _grid(config: Node) -> Any:
    parameters = config.get("parameters") or {}
    choices = [each.get("values") or [each.get("value")] for each in parameters.values()]
    for values in itertools.product(*choices):
        yield dict(zip(parameters, values))


def _run_command(state: State, user: User, sweep: Sweep, point: Node) -> Node:
    args = {name: {"value": value} for name, value in point.items()}
    given = {
        "name": "".join(random.choices(string.ascii_lowercase + string.digits, k=8)),
        "entityName": sweep.project.entity,
        "modelName": sweep.project.name,
        "sweep": sweep.name,
        "config": json.dumps(args),
        "state": "pending",
    }
    run, _ = runs.upsert(state, user, given)
    program = yaml.safe_load(sweep.config).get("program")
    return {
        "type": "run",
        "run_id": run.name,
        "run_storage_id": run.id,
        "program": program,
        "args": args,
    }


def node(state: State, sweep: Sweep, user: User) -> Node:
    config = yaml.safe_load(sweep.config)

    def its_runs(
        after: str | None = None, first: int | None = None, order: str | None = None
    ) -> Node:
        return connection(sweep.runs, lambda run: runs.node(state, run, user), after, first)

    return {
        "__typename": "Sweep",
        "id": sweep.id,
        "name": sweep.name,
        "displayName": sweep.values.get("displayName") or config.get("name"),
        "method": config.get("method"),
        "state": sweep.state,
        "description": sweep.values.get("description"),
        "bestLoss": None,
        "config": sweep.config,
        "createdAt": sweep.created_at,
        "updatedAt": sweep.created_at,
        "heartbeatAt": sweep.created_at,
        "earlyStopJobRunning": False,
        "controller": sweep.values.get("controller"),
        "scheduler": sweep.values.get("scheduler"),
        "controllerRunName": None,
        "runCount": len(sweep.runs),
        "runCountExpected": len(list(_grid(config))),
        "runs": its_runs,
        "project": lambda: artifacts.project_node(sweep.project),
    }
