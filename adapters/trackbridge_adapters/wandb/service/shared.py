"""Projects, sweeps and reports of a server, and what is registered of them, as shared tables."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence

from trackbridge.adapter import Batch, Query, Row
from trackbridge.columns import batches
from trackbridge_adapters.wandb import tables
from trackbridge_adapters.wandb.service import changes, registry
from trackbridge_adapters.wandb.service.entries import moment, origin_of
from trackbridge_adapters.wandb.service.ledger import HIDDEN, Ledger
from trackbridge_adapters.wandb.service.pages import (
    PAGE,
    Node,
    Place,
    of_any_generation,
    parts,
)
from trackbridge_adapters.wandb.service.shared_pages import (
    COUNTED,
    MEANT,
    OF_PROJECT,
    SharedPages,
)
from trackbridge_adapters.wandb.service.wire import Wire

HOLDS = {
    "projects": ("project_id", "notes", "created", "source", "extra"),
    "sweeps": ("name", "definition"),
    "reports": ("title", "definition"),
    "models": ("created", "updated", "description", "aliases", "tags", "extra"),
    "model_versions": (
        *("run_id", "source", "status", "created", "updated"),
        *("description", "tags", "extra"),
    ),
}
"""What is read of projects that were born on a server."""


class Shared:
    """What belongs to no run, in the projects of an entity.

    The ledger at `home` names the projects that were brought: their descriptions are the source's,
    all else of them is the server's own.
    """

    def __init__(self, wire: Wire, home: Place, project: str) -> None:
        """`project` is the only one that is looked at; empty for all of the entity's."""
        self._wire, self._home, self._project = wire, home, project
        self._pages, self._server = SharedPages(wire), wire.login.base_url
        self._registry = registry.Registry(self._pages, home.entity)
        self.ledger = Ledger(wire, home)

    def read(self, query: Query) -> Iterator[Batch]:
        """Rows of the projects that are there and that the query means."""
        projects: list[Row] = []
        ours = self.ledger.read().projects
        for place, found in self._meant(query):
            row = self._row(place, found)
            projects.append(_brought(row, ours[str(place)]) if str(place) in ours else row)
            yield from self._sweeps(place, found)
            yield from self._reports(place, found)
        meant = {row["project"] for row in projects}
        models, versions = self._registry.read(meant) if meant else ([], [])
        yield from batches("models", models)
        yield from batches("model_versions", versions)
        left = self._pages.left_out()
        for row in projects:  # last, for only now it is known what the server does not tell
            extra = row["extra"]
            row["extra"] = tables.compact({**extra, "not_read": {**extra["not_read"], **left}})
        yield from batches("projects", projects)

    def write(self, rows: Sequence[Row], files: Mapping[str, bytes]) -> None:
        """Describe projects, which are made where they are not there, and keep files.

        Noted is what an empty description of each stands for: no notes (null), or empty ones.
        """
        if not rows and not files:
            return
        self.ledger.write(files, {row["project"]: row["notes"] and None for row in rows})
        for row in rows:  # after the file that says whose they are
            changes.describe(self._wire, Place.of(row["project"]), row["notes"] or "")

    def _meant(self, query: Query) -> Iterator[tuple[Place, Node]]:
        """Projects that are there and meant, each with what is told first of it."""
        for place, found in self._asked(query):
            if found.get("about") and (not query.run_ids or self._has_runs(place, query.run_ids)):
                yield place, found

    def _asked(self, query: Query) -> Iterator[tuple[Place, Node]]:
        if not self._project and not query.projects:
            every = self._pages.every_project(self._home.entity)
            yield from (one for one in every if not self._is_ours_alone(one[0]))
            return
        labels = set(query.projects)
        if self._project:
            here = str(Place(self._home.entity, self._project))
            labels = {here} & (labels or {here})
        for place in map(Place.of, sorted(labels)):
            if place.entity == self._home.entity and not self._is_ours_alone(place):
                yield place, self._pages.first(OF_PROJECT, place._asdict())

    def _is_ours_alone(self, place: Place) -> bool:
        """Whether a project is there for the sake of `HIDDEN` and nothing else."""
        if self._project or place != self._home:
            return False
        return not self._has_any(place, {"name": {"$ne": HIDDEN}})

    def _has_runs(self, place: Place, run_ids: Collection[str]) -> bool:
        """Whether one of these runs is there, whatever it is called there."""
        for part in parts(sorted(set(run_ids)), PAGE):
            for node in self._pages.told(place, of_any_generation(part)):
                origin = origin_of(node["config"], node["name"])
                if origin.get("id", node["name"]) in part:
                    return True
        return False

    def _has_any(self, place: Place, filters: Node) -> bool:
        variables = {**place._asdict(), "filters": json.dumps(filters)}
        found = self._pages.first(MEANT, variables)
        return any(self._pages.nodes(MEANT, "meant", found, variables))

    def _nodes(self, place: Place, name: str, found: Node) -> Iterator[Node]:
        return self._pages.nodes(OF_PROJECT, name, found, place._asdict())

    def _row(self, place: Place, found: Node) -> Row:
        """A row whose `extra` is yet to be made text."""
        about = found["about"]
        return {
            "project": str(place),
            "project_id": about["id"],
            "notes": about["description"] or None,
            "created": moment(about["createdAt"]),
            "deleted": False,
            "source": f"{self._server}/{place}",
            "extra": {"access": about.get("access"), "not_read": self._counted(place, found)},
        }

    def _counted(self, place: Place, found: Node) -> dict[str, int]:
        """How much there is of what is not read."""
        counts = {
            COUNTED[name]: sum(1 for _ in self._nodes(place, name, found))
            for name in ("drafts", "workspaces")
        }
        automations = (found.get("automations") or {}).get("triggers")
        counts[COUNTED["automations"]] = len(automations or ())
        return {name: count for name, count in counts.items() if count}

    def _sweeps(self, place: Place, found: Node) -> Iterator[Batch]:
        rows = [
            {
                "project": str(place),
                "sweep_id": node["name"],
                "name": node.get("displayName") or None,
                "definition": _whole(node),
            }
            for node in self._nodes(place, "sweeps", found)
        ]
        yield from batches("sweeps", rows)

    def _reports(self, place: Place, found: Node) -> Iterator[Batch]:
        rows = [
            {
                "project": str(place),
                "report_id": node["id"],
                "title": node["displayName"] or node["name"] or None,
                "definition": _whole(node),
            }
            for node in self._nodes(place, "reports", found)
        ]
        yield from batches("reports", rows)


def _brought(row: Row, empty: str | None) -> Row:
    """A project as it was brought, without what the server says of it by itself."""
    left = {"not_read": row["extra"]["not_read"]}
    return {**row, "notes": row["notes"] or empty, "created": None, "extra": left}


def _whole(node: Node) -> str:
    """A node as the server gives it: configs and specs in it are the texts that they were."""
    return json.dumps(node, sort_keys=True, ensure_ascii=False)
