"""Asks a server for runs and what they have, a page at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, Protocol

from trackbridge.errors import NotFoundError, TransientError
from trackbridge_adapters.wandb.service import documents
from trackbridge_adapters.wandb.service.answers import LackingError, TooMuchError

Node = dict[str, Any]

PAGE = 100
"""Runs, files or artifacts in one answer; fewer where the server refuses so many."""
MOST_ROWS = 2**31 - 1
"""An integer of GraphQL has 32 bits."""
MOST_GENERATIONS = 20
"""So often a run may be replaced."""
PASSES = 5
"""So often a list of runs is read that changes meanwhile."""
NO_MORE: Node = {"edges": [], "pageInfo": {"endCursor": None, "hasNextPage": False}}
"""A connection that is not there, as one without nodes."""


class Asking(Protocol):
    """What can be asked: see `wire.Wire`."""

    def ask(self, document: str, variables: Mapping[str, Any]) -> dict[str, Any]: ...


class Place(NamedTuple):
    """A project."""

    entity: str
    project: str

    def __str__(self) -> str:
        return "/".join(self)

    @classmethod
    def of(cls, label: str) -> Place:
        """The project that a label names."""
        entity, _, project = label.partition("/")
        return cls(entity, project)


class Pages:
    """Reads connections page by page; remembers how many runs the server gives at once."""

    def __init__(self, wire: Asking) -> None:
        self.lacking: set[str] = set()
        """Names in `documents.NEW` that the server turned out not to have."""
        self._wire = wire
        self._first = PAGE

    def projects(self, entity: str) -> Iterator[Place]:
        variables = {"entity": entity}
        for node in self._connection(
            documents.PROJECTS, variables, lambda data: data["models"], entity
        ):
            yield Place(node["entityName"], node["name"])

    def runs(self, place: Place, filters: Mapping[str, Any]) -> Iterator[Node]:
        """Runs in the order in which they were made, each with the whole of its lists.

        Where runs are deleted meanwhile, later ones may slip from a page into the one before it.
        The list is read again then, for those that were not given yet.
        """
        variables = {**place._asdict(), "filters": json.dumps(filters)}
        given: set[str] = set()
        before: set[str] | None = None
        for _ in range(PASSES):
            names, counts = set[str](), list[int]()

            def connection(data: Node, counts: list[int] = counts) -> Node:
                project = _there(data["project"], str(place))
                counts.append(project.get("runCount") or 0)
                return dict(project["runs"])

            for node in self._of_any_server(variables, connection, str(place)):
                names.add(node["name"])
                if node["name"] not in given:
                    given.add(node["name"])
                    for name in documents.LISTS:
                        node[name] = list(self._whole(place, node, name))
                    yield node
            if names == before or (counts[-1] <= len(names) and counts == sorted(counts)):
                return
            before = names
        raise TransientError(f"{place}: its list of runs changes faster than it can be read")

    def _of_any_server(
        self, variables: Mapping[str, Any], connection: Callable[[Node], Node], what: str
    ) -> Iterator[Node]:
        """Runs, without the fields that the server lacks; nothing was given before it says so."""
        while True:
            document = documents.RUNS
            for name in self.lacking:
                document = document.replace(documents.NEW[name], "")
            try:
                yield from self._connection(document, variables, connection, what)
                return
            except LackingError as error:
                found = {name for name in documents.NEW.keys() - self.lacking if name in str(error)}
                if not found:
                    raise
                self.lacking |= found

    def streams(
        self, place: Place, names: Collection[str], wanted: Collection[str], **most: int
    ) -> Iterator[Node]:
        """Streams of some runs at once, by the names in `documents.STREAMED`.

        `most` are `events` and `lines` of the console that no run has more of, and the steps that
        history is to `begin` with and to be `beyond`.
        """
        document = documents.streams(wanted)
        variables = {**place._asdict(), "filters": json.dumps(named(names)), **most}
        variables |= {"rows": min(most["beyond"] - most["begin"], MOST_ROWS), "first": len(names)}
        used = {name: value for name, value in variables.items() if f"${name}:" in document}
        data = self._wire.ask(document, used)
        for edge in _there(data["project"], str(place))["runs"]["edges"]:
            yield edge["node"]

    def history(self, place: Place, run: str, first: int, beyond: int) -> list[str]:
        """Rows within a range of steps, the upper end exclusive, as JSON.

        As many as there are steps are asked for, as the client does: fewer would be a sample.
        """
        variables = {**place._asdict(), "run": run, "minStep": first, "maxStep": beyond}
        variables["rows"] = min(beyond - first, MOST_ROWS)
        return list(self._run(documents.HISTORY, variables)["history"])

    def events(self, place: Place, run: str, count: int) -> list[str]:
        """Samples of the system as JSON; evenly fewer where there are more than `count`."""
        return list(
            self._run(documents.EVENTS, {**place._asdict(), "run": run, "events": count})["events"]
        )

    def last_event(self, place: Place, run: str) -> str | None:
        """The last sample of the system as JSON, if there is one.

        The client asks for a list of texts, as JSON, when it resumes a run (wandb 0.31).
        """
        found = self._run(documents.LAST_EVENT, {**place._asdict(), "run": run})
        tail = json.loads(found["eventsTail"] or "[]")
        return tail[-1] if tail else None

    def console(self, place: Place, run: str) -> Iterator[Node]:
        variables = {**place._asdict(), "run": run}

        def connection(data: Node) -> Node:
            return dict(_run_of(data, variables)["logLines"])

        yield from self._connection(documents.CONSOLE, variables, connection, run, 10 * PAGE)

    def versions(self, place: Place, collection: str) -> Iterator[Node]:
        """Versions of a collection of artifacts, none where there is no such one."""
        variables = {**place._asdict(), "collection": collection}

        def connection(data: Node) -> Node:
            there = (data["project"] or {}).get("artifactCollection")
            return NO_MORE if there is None else dict(there["artifacts"])

        yield from self._connection(documents.VERSIONS, variables, connection, collection)

    def _run(self, document: str, variables: Mapping[str, Any]) -> Node:
        return _run_of(self._wire.ask(document, variables), variables)

    def _whole(self, place: Place, node: Node, name: str) -> Iterator[Node]:
        """All nodes of a connection that came along with a run, as far as it went."""
        begun = node[name]
        yield from (edge["node"] for edge in begun["edges"])
        if begun["pageInfo"]["hasNextPage"]:
            document = documents.rest(name)
            variables = {**place._asdict(), "run": node["name"]}

            def connection(data: Node) -> Node:
                return dict(_run_of(data, variables)[name])

            after = begun["pageInfo"]["endCursor"]
            yield from self._connection(document, variables, connection, node["name"], after=after)

    def _connection(
        self,
        document: str,
        variables: Mapping[str, Any],
        connection: Callable[[Node], Node],
        what: str,
        first: int | None = None,
        after: str | None = None,
    ) -> Iterator[Node]:
        """The nodes of a connection, of which the server may refuse large pages."""
        while True:
            size = first or self._first
            try:
                found = connection(
                    self._wire.ask(document, {**variables, "after": after, "first": size})
                )
            except TooMuchError:
                if size == 1:
                    raise
                first = None if first is None else size // 2
                self._first = min(self._first, size // 2)
                continue
            yield from (edge["node"] for edge in found["edges"])
            if not found["pageInfo"]["hasNextPage"]:
                return
            after = _beyond(after, found["pageInfo"]["endCursor"], what)


def named(names: Collection[str]) -> Node:
    """A filter for runs by their ids on the server."""
    return {"name": {"$in": sorted(names)}}


def generations(run_id: str) -> list[str]:
    """Ids on the server of a run that was brought there, the later ones after it was replaced.

    A run's history can only grow, and the id of a deleted run is not given again.
    """
    return [run_id, *(f"{run_id}-r{number}" for number in range(2, MOST_GENERATIONS + 1))]


def of_any_generation(run_ids: Collection[str]) -> Node:
    """A filter for runs by their ids where they were brought, however often they were replaced."""
    return named([name for run_id in run_ids for name in generations(run_id)])


def parts(names: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(names)
    while part := list(islice(rest, size)):
        yield part


def _there(found: Node | None, what: str) -> Node:
    if found is None:
        raise NotFoundError(f"{what}: no such project, or not yours to see")
    return found


def _run_of(data: Node, variables: Mapping[str, Any]) -> Node:
    what = f"{variables['entity']}/{variables['project']}"
    found = _there(data["project"], what)["run"]
    if found is None:
        raise NotFoundError(f"{what}: no run {variables['run']!r} any more")
    return dict(found)


def _beyond(before: str | None, cursor: str | None, what: str) -> str:
    """The next cursor, which must be another one, or pages would never end."""
    if cursor is None or cursor == before:
        raise NotFoundError(f"{what}: the server says that there is more, and not where")
    return cursor
