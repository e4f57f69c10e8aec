"""Reports, which W&B keeps as views of a project, and the alerts of runs."""

from __future__ import annotations

from typing import Any

from wandb_server.graphql import Node
from wandb_server.paging import connection, identity
from wandb_server.state import Project, State, User, now

KEPT = ("type", "name", "displayName", "description", "spec")


def upsert(state: State, user: User, **given: Any) -> Node:
    """`upsertView`, as wandb-workspaces saves a report (field names from its public source)."""
    project = state.make_project(given.get("entityName"), given.get("projectName"), user)
    made = given.get("id") not in project.views
    key = identity("View", next(state.numbers)) if made else given["id"]
    view = project.views.setdefault(key, {"id": key, "createdAt": now(), "user": user.name})
    view |= {name: given[name] for name in KEPT if given.get(name) is not None}
    view["updatedAt"] = now()
    return {"view": node(view), "inserted": made}


def node(view: dict[str, Any]) -> Node:
    name = view["user"]
    user = {"username": name, "photoUrl": None, "email": f"{name}@example.com"}
    return {
        "__typename": "View",
        **dict.fromkeys(KEPT),
        **view,
        "user": {"__typename": "User", "name": name, **user},
    }


def of_project(
    project: Project,
    viewType: str = "runs",
    viewName: str | None = None,
    first: int | None = None,
    after: str | None = None,
) -> Node:
    """`allViews` of a type, or those of a name among them."""
    found = [
        view
        for view in project.views.values()
        if view.get("type", "runs") == viewType and viewName in (None, view.get("name"))
    ]
    return connection(found, node, after, first)


def alert(state: State, user: User, **given: Any) -> Node:
    """`notifyScriptableRunAlert`: kept with the run; no document of the client reads it back."""
    run = state.run(given["entityName"], given["projectName"], given["runName"], user)
    kept = ("title", "text", "severity", "waitDuration")
    run.alerts.append({name: given.get(name) for name in kept} | {"createdAt": now()})
    return {"success": True}
