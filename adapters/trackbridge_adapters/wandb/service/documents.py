"""Documents by which a server is asked for runs and what they have.

Field names are those of the client's own documents (wandb 0.31: wandb/apis/public, wandb-core).
"""

from __future__ import annotations

from collections.abc import Iterable

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

LAST_EVENT = """
query TrackbridgeLastEvent($entity: String!, $project: String!, $run: String!) {
  project(name: $project, entityName: $entity) { run(name: $run) { eventsTail } }
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


def streams(wanted: Iterable[str]) -> str:
    """A document for streams of several runs, by their names in `STREAMED`."""
    asked = [STREAMED[name] for name in wanted]
    declared, fields = ", ".join(asks[0] for asks in asked), " ".join(asks[1] for asks in asked)
    return (
        "query TrackbridgeStreams($entity: String!, $project: String!, $filters: JSONString, "
        f"$first: Int, {declared}) {{ project(name: $project, entityName: $entity) {{ runs("
        f"filters: $filters, first: $first) {{ edges {{ node {{ name {fields} }} }} }} }} }}"
    )


def rest(name: str) -> str:
    """A document for what a run's page did not give of one of `LISTS`."""
    return (
        "query TrackbridgeMore($entity: String!, $project: String!, $run: String!, "
        "$after: String, $first: Int) { project(name: $project, entityName: $entity) { "
        f"run(name: $run) {{ {name}(after: $after, first: $first) "
        f"{{ {LISTS[name]} {MORE} }} }} }} }}"
    )
