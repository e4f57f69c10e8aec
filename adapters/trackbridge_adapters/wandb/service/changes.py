"""What is changed on a server by ourselves, beside what the client uploads.

Documents as the client has them (wandb 0.31: wandb/sdk/artifacts/_generated, wandb-core).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from trackbridge.errors import NotFoundError
from trackbridge_adapters.wandb.service.answers import no_entity
from trackbridge_adapters.wandb.service.identity import Alias
from trackbridge_adapters.wandb.service.pages import Node, Place
from trackbridge_adapters.wandb.service.wire import Wire

ADD_ALIASES = """
mutation TrackbridgeAddAliases($input: AddAliasesInput!) {
  addAliases(input: $input) { success }
}"""

DELETE_ALIASES = """
mutation TrackbridgeDeleteAliases($input: DeleteAliasesInput!) {
  deleteAliases(input: $input) { success }
}"""

USE_ARTIFACT = """
mutation TrackbridgeUseArtifact($input: UseArtifactInput!) {
  useArtifact(input: $input) { artifact { id } }
}"""

CHANGE_RUN = """
mutation TrackbridgeChangeRun($input: UpsertBucketInput!) {
  upsertBucket(input: $input) { bucket { id } inserted }
}"""

DELETE_RUN = """
mutation TrackbridgeDeleteRun($input: DeleteRunInput!) {
  deleteRun(input: $input) { clientMutationId }
}"""

CREATE_FILES = """
mutation TrackbridgeCreateRunFiles($input: CreateRunFilesInput!) {
  createRunFiles(input: $input) { runID uploadHeaders files { name uploadUrl } }
}"""

DELETE_FILES = """
mutation TrackbridgeDeleteFiles($files: [ID!]!) {
  deleteFiles(input: { files: $files }) { success }
}"""

ALERT = """
mutation NotifyScriptableRunAlert(
  $entityName: String!, $projectName: String!, $runName: String!, $title: String!, $text: String!,
  $severity: AlertSeverity = INFO, $waitDuration: Duration
) {
  notifyScriptableRunAlert(input: {
    entityName: $entityName, projectName: $projectName, runName: $runName, title: $title,
    text: $text, severity: $severity, waitDuration: $waitDuration
  }) { success }
}"""

SEVERITIES = ("INFO", "WARN", "ERROR")
WAIT = 60_000
"""For so long (ms) a server tells nobody of another alert of the same title: the client's own."""

DESCRIBE = """
mutation TrackbridgeDescribe($input: UpsertModelInput!) {
  upsertModel(input: $input) { inserted }
}"""


def add_aliases(wire: Wire, artifact: str, aliases: Iterable[Alias]) -> None:
    """Gives a version aliases, which others of their collection lose."""
    wire.ask(ADD_ALIASES, {"input": {"artifactID": artifact, "aliases": _named(aliases)}})


def delete_aliases(wire: Wire, artifact: str, aliases: Iterable[Alias]) -> None:
    """Takes aliases away from a version that has them."""
    wire.ask(DELETE_ALIASES, {"input": {"artifactID": artifact, "aliases": _named(aliases)}})


def _named(aliases: Iterable[Alias]) -> list[dict[str, str]]:
    return [
        {
            "entityName": place.entity,
            "projectName": place.project,
            "artifactCollectionName": collection,
            "alias": name,
        }
        for place, collection, name in aliases
    ]


def use_artifact(wire: Wire, place: Place, run: str, artifact: str) -> None:
    """Notes a version as an input of a run."""
    where = {"entityName": place.entity, "projectName": place.project, "runName": run}
    wire.ask(USE_ARTIFACT, {"input": {**where, "artifactID": artifact}})


def change_run(wire: Wire, place: Place, run: str, **fields: Any) -> None:
    """Sets fields of a run, which is made where it is not there."""
    where = {"entityName": place.entity, "modelName": place.project, "name": run}
    _make(wire, place, CHANGE_RUN, {**where, **fields})


def alert(wire: Wire, place: Place, run: str, title: str, text: str, level: str) -> None:
    """Has the server tell people that something is up with a run, as the client does."""
    where = {"entityName": place.entity, "projectName": place.project, "runName": run}
    severity = level if level in SEVERITIES else SEVERITIES[0]
    told = {"title": title, "text": text, "severity": severity, "waitDuration": WAIT}
    wire.ask(ALERT, {**where, **told})


def describe(wire: Wire, place: Place, text: str) -> None:
    """Sets the description of a project, which is made where it is not there."""
    where = {"entityName": place.entity, "name": place.project}
    _make(wire, place, DESCRIBE, {**where, "description": text})


def _make(wire: Wire, place: Place, document: str, told: dict[str, Any]) -> None:
    """Changes what is made where it is not there: only the entity can be what is not found."""
    try:
        wire.ask(document, {"input": told})
    except NotFoundError as error:
        raise no_entity(wire.login, place.entity) from error


def delete_run(wire: Wire, node: Node) -> None:
    """Artifacts that the run logged stay."""
    wire.ask(DELETE_RUN, {"input": {"id": node["id"], "deleteArtifacts": False}})


def put_file(wire: Wire, place: Place, run: str, name: str, data: Any) -> None:
    where = {"entityName": place.entity, "projectName": place.project, "runName": run}
    found = wire.ask(CREATE_FILES, {"input": {**where, "files": [name]}})["createRunFiles"]
    wire.put(found["files"][0]["uploadUrl"], data, found["uploadHeaders"] or ())


def stream(wire: Wire, place: Place, run: str, files: Mapping[str, Any]) -> None:
    """Puts lines where they belong in the streams of a run; with none it says that the run goes on.

    The same again changes nothing. `files` are as in core/internal/filestream (wandb 0.31).
    """
    where = "/".join(quote(part, safe="") for part in (*place, run))
    wire.post(f"files/{where}/file_stream", {"files": files} if files else {})


def delete_files(wire: Wire, ids: list[str]) -> None:
    """Removes files of runs."""
    wire.ask(DELETE_FILES, {"files": ids})
