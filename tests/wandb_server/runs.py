"""Runs: made and changed, streamed into, and as the nodes that documents select from."""

from __future__ import annotations

import fnmatch
import json
import mimetypes
from functools import partial
from typing import Any

from wandb_server import artifacts, history
from wandb_server.graphql import Node, Refused
from wandb_server.paging import connection, identity
from wandb_server.state import File, Run, State, User, now
from wandb_server.storage import md5

VALUES = (
    *("groupName", "jobType", "description", "notes", "commit", "host", "jobProgram", "jobRepo"),
)


def upsert(state: State, user: User, given: dict[str, Any]) -> tuple[Run, bool]:
    """The run of an `upsertBucket`, and whether it was made. Fields that are null are left alone.

    `id` is the id of storage; with `name` alone, the run of the project named so.
    """
    if given.get("id"):
        run, made = state.run_by_id(given["id"], user), False
    else:
        project = state.make_project(given.get("entityName"), given.get("modelName"), user)
        made = given["name"] not in project.runs
        if given["name"] in project.deleted:
            what = f"run {project.entity}/{project.name}/{given['name']}"
            raise Refused(f"{what} was previously created and deleted; try a new run name", 409)
        if made:
            time, number = now(), len(project.runs) + 1
            title = given.get("displayName") or f"run-{number}"
            project.runs[given["name"]] = Run(
                project, given["name"], user, number, title, time, time
            )
        run = project.runs[given["name"]]
    run.values |= {key: given[key] for key in VALUES if given.get(key) is not None}
    run.display_name = given.get("displayName") or run.display_name
    run.sweep = given.get("sweep") or run.sweep
    if given.get("tags") is not None:
        run.tags = list(given["tags"])
    if given.get("config") is not None:
        run.config = json.loads(given["config"])
    if given.get("summaryMetrics") is not None:
        run.summary = json.loads(given["summaryMetrics"])
    if made or given.get("state"):
        run.state = given.get("state") or "running"
    run.heartbeat_at = now()
    return run, made


def stream(state: State, run: Run, given: dict[str, Any]) -> Node:
    """Takes a file_stream request in. Lines go where `offset` says, so a repeated one is harmless.

    Body and answer as in core/internal/filestream (wandb, 2026).
    """
    for name, part in (given.get("files") or {}).items():
        offset, lines = part.get("offset", 0), part["content"]
        if name == "wandb-history.jsonl":
            _put(run.history, offset, lines)
            run.revision += 1
            run.exported = min(run.exported, offset)
        elif name == "wandb-events.jsonl":
            _put(run.events, offset, lines)
        elif name == "wandb-summary.json":
            run.summary = json.loads(lines[-1])
        elif name == "output.log":
            run.console |= {offset + at: line for at, line in enumerate(lines)}
    run.heartbeat_at = now()
    if given.get("preempting"):
        run.state = "preempting"
    if given.get("complete"):
        run.exit_code = given.get("exitcode")
        run.state = "failed" if run.exit_code else "finished"
        if state.export_finished:
            run.exported = len(run.history)
    elif run.state != "preempting":
        run.state = "running"
    return {"exitcode": run.exit_code, "limits": {}, "stopped": run.stopped}


def _put(lines: list[str], offset: int, new: list[str]) -> None:
    lines += [""] * (offset - len(lines))
    lines[offset : offset + len(new)] = new


def upload_key(run: Run, name: str) -> str:
    return f"runs/{run.project.entity}/{run.project.name}/{run.name}/{name}"


def create_files(state: State, run: Run, names: list[str]) -> Node:
    """`createRunFiles`: where to put the bytes."""
    for name in names:
        run.files.setdefault(name, File(name, upload_key(run, name)))
    urls = [
        {"name": name, "uploadUrl": state.storage.url(upload_key(run, name), "PUT")}
        for name in names
    ]
    return {"runID": run.id, "uploadHeaders": [], "files": urls}


def uploaded(state: State, key: str, content: bytes) -> None:
    """Bytes have come for a run's file."""
    _, entity, project, name, path = key.split("/", 4)
    file = state.projects[entity, project].runs[name].files.setdefault(path, File(path, key))
    file.size, file.md5, file.updated_at = len(content), md5(content), now()


def _where(run: Run, file: File) -> str:
    return f"{run.project.entity}/{run.project.name}/{run.name}/{file.name}"


def _file(state: State, run: Run, file: File) -> Node:
    where = _where(run, file)

    def url(upload: bool = False) -> str:
        signed = state.storage.url(file.key, "PUT")
        return signed if upload else f"{state.storage.base}/files/{where}"

    return {
        "__typename": "File",
        "id": identity("File", where),
        "name": file.name,
        "displayName": file.name,
        "url": url,
        "directUrl": state.storage.url(file.key),
        "uploadUrl": state.storage.url(file.key, "PUT"),
        "sizeBytes": file.size,
        "mimetype": mimetypes.guess_type(file.name)[0],
        "updatedAt": file.updated_at,
        "md5": file.md5,
        "digest": file.md5,  # inferred: of a run's files only md5 is seen in the client's documents
        "storagePath": file.key,
    }


def _console_line(at: int, text: str) -> Node:
    """Lines are JSON, or `ERROR time text` from older clients (filestreamwriter.go)."""
    try:
        found = json.loads(text)
        line, level, time = found["content"], found.get("level", ""), found["ts"]
        label = found.get("label", "")
    except (ValueError, TypeError, KeyError):
        level = "error" if text.startswith("ERROR ") else ""
        time, _, line = text.removeprefix("ERROR ").partition(" ")
        label = ""
    parts = {"number": at, "line": line, "level": level, "timestamp": time, "label": label}
    return {"__typename": "LogLine", "id": identity("LogLine", at), **parts}


def node(state: State, run: Run, user: User) -> Node:
    """A run as documents see it."""
    project = run.project
    show = partial(artifacts.node, state)

    def files(
        after: str | None = None,
        first: int | None = None,
        names: list[str] | None = None,
        pattern: str | None = None,
    ) -> Node:
        like = (pattern or "%").replace("%", "*").replace("_", "?")
        found = [
            file
            for file in sorted(run.files.values(), key=lambda file: file.name)
            if file.size is not None
            and (file.name in names if names else fnmatch.fnmatchcase(file.name, like))
        ]
        return connection(found, lambda file: _file(state, run, file), after, first)

    def lines(
        first: int | None = None,
        last: int | None = None,
        after: str | None = None,
        useImprovedPagination: bool = False,
    ) -> Node:
        found = sorted(run.console.items())
        found = found[-last:] if last else found
        return connection(found, lambda item: _console_line(*item), after, first)

    def outputs(after: str | None = None, first: int | None = None) -> Node:
        return connection(artifacts.logged(state, run), show, after, first)

    def inputs(after: str | None = None, first: int | None = None) -> Node:
        return connection(run.used, show, after, first)

    def wandb_config(keys: list[str]) -> str:
        own = run.config.get("_wandb", {}).get("value", {})
        return json.dumps({key: own[key] for key in keys if key in own})

    sweep = project.sweeps.get(run.sweep or "")
    events = lambda samples=500: history.sample(run.events, samples)  # noqa: E731
    return {
        "__typename": "Run",
        "id": run.id,
        "internalId": identity("RunInternalId", project.number, run.number),
        "name": run.name,
        "displayName": run.display_name,
        "state": run.state,
        "config": json.dumps(run.config),
        "summaryMetrics": json.dumps(run.summary),
        "systemMetrics": lambda: run.events[-1] if run.events else "{}",
        "tags": run.tags,
        "group": run.values.get("groupName"),
        **{name: run.values.get(name) for name in VALUES if name != "groupName"},
        "createdAt": run.created_at,
        "heartbeatAt": run.heartbeat_at,
        "updatedAt": run.heartbeat_at,
        "historyLineCount": len(run.history),
        "eventsLineCount": len(run.events),
        "logLineCount": max(run.console, default=-1) + 1,
        "historyTail": json.dumps(run.history[-1:]),
        "eventsTail": json.dumps(run.events[-1:]),
        "historyKeys": lambda: history.keys(run),
        "history": lambda **given: history.page(run, **given),
        "sampledHistory": lambda specs: history.sampled(run, specs),
        "events": events,
        "parquetHistory": lambda liveKeys: history.exports(run, state.storage, liveKeys),
        "sweepName": run.sweep,
        "sweep": lambda: sweep and {"__typename": "Sweep", "id": sweep.id, "name": sweep.name},
        "user": {"__typename": "User", "name": run.user.name, "username": run.user.name},
        "readOnly": False,
        "projectId": project.number,
        "project": lambda: artifacts.project_node(project),
        "exitcode": run.exit_code,
        "stopped": run.stopped,
        "shouldStop": run.stopped,
        "failed": run.state == "failed",
        "running": run.state == "running",
        "wandbConfig": wandb_config,
        "fileCount": sum(file.size is not None for file in run.files.values()),
        "files": files,
        "logLines": lines,
        "outputArtifacts": outputs,
        "inputArtifacts": inputs,
    }


def delete(state: State, user: User, id: str, **_: Any) -> Node:
    run = state.run_by_id(id, user)
    del run.project.runs[run.name]
    run.project.deleted.add(run.name)
    return {"clientMutationId": None}


def delete_files(state: State, user: User, files: list[str], **_: Any) -> Node:
    """`deleteFiles`, by their ids."""
    for (entity, _), project in state.projects.items():
        for run in project.runs.values() if entity in user.entities else ():
            for name, file in list(run.files.items()):
                if identity("File", _where(run, file)) in files:
                    del run.files[name]
                    state.storage.remove(file.key)
    return {"success": True}
