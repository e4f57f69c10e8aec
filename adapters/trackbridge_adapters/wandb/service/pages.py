"""What is asked of a server, a page of runs at a time.

Field names are those of the client's own documents (wandb 0.31: wandb/apis/public, wandb-core).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, Protocol

from trackbridge.errors import NotFoundError, TransientError
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
NESTED = 50
"""Files or artifacts that come along with each run; longer lists cost requests of their own."""

FILE = "edges { node { name sizeBytes md5 updatedAt directUrl } } "
ARTIFACT = (
    "edges { node { id versionIndex digest description metadata state size "
    "artifactType { name } tags { name } "
    "artifactSequence { name project { name entity { name } } } "
    "aliases { alias artifactCollection { name project { name entity { name } } } } "
    "currentManifest { file { directUrl } } } } "
)
MORE = "pageInfo { endCursor hasNextPage }"

RUN = f"""
fragment TrackbridgeRun on Run {{
  id name displayName state createdAt heartbeatAt notes group jobType sweepName commit tags
  config summaryMetrics historyKeys historyLineCount eventsLineCount logLineCount
  user {{ name username }}
  files(first: {NESTED}) {{ {FILE} {MORE} }}
  parquetHistory(liveKeys: ["_step"]) {{ parquetUrls liveData }}
  outputArtifacts(first: {NESTED}) {{ {ARTIFACT} {MORE} }}
  inputArtifacts(first: {NESTED}) {{ {ARTIFACT} {MORE} }}
}}"""

NEW = {
    "parquetHistory": 'parquetHistory(liveKeys: ["_step"]) { parquetUrls liveData }',
    "eventsLineCount": "eventsLineCount",
    "logLineCount": "logLineCount",
    "runCount": "runCount(filters: $filters)",
}
"""Fields of runs and their lists that servers of some years ago may lack, as they are asked for."""

RUNS = f"""
query TrackbridgeRuns(
  $entity: String!, $project: String!, $filters: JSONString, $after: String, $first: Int
) {{
  project(name: $project, entityName: $entity) {{
    {NEW["runCount"]}
    runs(filters: $filters, order: "+created_at", after: $after, first: $first) {{
      edges {{ node {{ ...TrackbridgeRun }} }} {MORE}
    }}
  }}
}}{RUN}"""

STREAMED = {
    "events": ("$events: Int!", "events(samples: $events)"),
    "history": (
        "$begin: Int64!, $beyond: Int64!, $rows: Int!",
        "history(minStep: $begin, maxStep: $beyond, samples: $rows)",
    ),
    "console": (
        "$lines: Int!",
        "console: logLines(first: $lines) { edges { node { number line level timestamp } } }",
    ),
}
"""What is asked of several runs at once, as far as they have it: variables, and the field."""

HISTORY = """
query TrackbridgeHistory(
  $entity: String!, $project: String!, $run: String!,
  $minStep: Int64!, $maxStep: Int64!, $rows: Int!
) {
  project(name: $project, entityName: $entity) {
    run(name: $run) { history(minStep: $minStep, maxStep: $maxStep, samples: $rows) }
  }
}"""

EVENTS = """
query TrackbridgeEvents($entity: String!, $project: String!, $run: String!, $events: Int!) {
  project(name: $project, entityName: $entity) { run(name: $run) { events(samples: $events) } }
}"""

CONSOLE = f"""
query TrackbridgeConsole(
  $entity: String!, $project: String!, $run: String!, $after: String, $first: Int
) {{
  project(name: $project, entityName: $entity) {{
    run(name: $run) {{
      logLines(after: $after, first: $first) {{
        edges {{ node {{ number line level timestamp }} }} {MORE}
      }}
    }}
  }}
}}"""

LISTS = {
    "files": FILE,
    "outputArtifacts": ARTIFACT,
    "inputArtifacts": ARTIFACT,
}
"""Connections of a run of which a page gives only the first nodes."""

PROJECTS = f"""
query TrackbridgeProjects($entity: String!, $after: String, $first: Int) {{
  models(entityName: $entity, after: $after, first: $first) {{
    edges {{ node {{ name entityName }} }} {MORE}
  }}
}}"""


VERSIONS = f"""
query TrackbridgeVersions(
  $entity: String!, $project: String!, $collection: String!, $after: String, $first: Int
) {{
  project(name: $project, entityName: $entity) {{
    artifactCollection(name: $collection) {{
      artifacts(after: $after, first: $first) {{ {ARTIFACT} {MORE} }}
    }}
  }}
}}"""

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
        """Names in `NEW` that the server turned out not to have."""
        self._wire = wire
        self._first = PAGE

    def projects(self, entity: str) -> Iterator[Place]:
        variables = {"entity": entity}
        for node in self._connection(PROJECTS, variables, lambda data: data["models"], entity):
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
                    for name in LISTS:
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
            document = RUNS
            for name in self.lacking:
                document = document.replace(NEW[name], "")
            try:
                yield from self._connection(document, variables, connection, what)
                return
            except LackingError as error:
                found = {name for name in NEW.keys() - self.lacking if name in str(error)}
                if not found:
                    raise
                self.lacking |= found

    def streams(
        self, place: Place, names: Collection[str], wanted: Collection[str], **most: int
    ) -> Iterator[Node]:
        """Streams of some runs at once, by `STREAMED`.

        `most` are `events` and `lines` of the console that no run has more of, and the steps that
        history is to `begin` with and to be `beyond`.
        """
        declared = ", ".join(STREAMED[name][0] for name in wanted)
        fields = " ".join(STREAMED[name][1] for name in wanted)
        document = (
            "query TrackbridgeStreams($entity: String!, $project: String!, $filters: JSONString, "
            f"$first: Int, {declared}) {{ project(name: $project, entityName: $entity) {{ runs("
            f"filters: $filters, first: $first) {{ edges {{ node {{ name {fields} }} }} }} }} }}"
        )
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
        return list(self._run(HISTORY, variables)["history"])

    def events(self, place: Place, run: str, count: int) -> list[str]:
        """Samples of the system as JSON; evenly fewer where there are more than `count`."""
        return list(self._run(EVENTS, {**place._asdict(), "run": run, "events": count})["events"])

    def console(self, place: Place, run: str) -> Iterator[Node]:
        variables = {**place._asdict(), "run": run}

        def connection(data: Node) -> Node:
            return dict(_run_of(data, variables)["logLines"])

        yield from self._connection(CONSOLE, variables, connection, run, 10 * PAGE)

    def versions(self, place: Place, collection: str) -> Iterator[Node]:
        """Versions of a collection of artifacts, none where there is no such one."""
        variables = {**place._asdict(), "collection": collection}

        def connection(data: Node) -> Node:
            there = (data["project"] or {}).get("artifactCollection")
            return NO_MORE if there is None else dict(there["artifacts"])

        yield from self._connection(VERSIONS, variables, connection, collection)

    def _run(self, document: str, variables: Mapping[str, Any]) -> Node:
        return _run_of(self._wire.ask(document, variables), variables)

    def _whole(self, place: Place, node: Node, name: str) -> Iterator[Node]:
        """All nodes of a connection that came along with a run, as far as it went."""
        begun = node[name]
        yield from (edge["node"] for edge in begun["edges"])
        if begun["pageInfo"]["hasNextPage"]:
            document = (
                "query TrackbridgeMore($entity: String!, $project: String!, $run: String!, "
                "$after: String, $first: Int) { project(name: $project, entityName: $entity) { "
                f"run(name: $run) {{ {name}(after: $after, first: $first) "
                f"{{ {LISTS[name]} {MORE} }} }} }} }}"
            )
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
