"""A W&B server just large enough for `wandb sync`: it takes everything and remembers it."""

from __future__ import annotations

import gzip
import json
import threading
from collections import defaultdict
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
)

RUN = {
    "id": "UnVu",
    "name": "run",
    "displayName": "run",
    "historyLineCount": 0,
    "project": {
        "id": "UHJv",
        "name": "project",
        "entity": {"id": "RW50", "name": "entity", "organization": {"name": "org"}},
    },
}


class Received:
    """What has arrived: GraphQL variables by operation, streamed lines by file, uploads by name."""

    def __init__(self) -> None:
        self.operations: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.lines: dict[str, list[str]] = defaultdict(list)
        self.uploads: dict[str, bytes] = {}
        self.exit_code: int | None = None
        self.lock = threading.Lock()

    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines["wandb-history.jsonl"]]

    def system(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines["wandb-events.jsonl"]]


def answer(name: str, variables: Mapping[str, Any], base: str) -> dict[str, Any]:
    """The data of an operation; fields that are asked for and not here are null."""
    artifact = {"id": "QXJ0", "state": "PENDING", "artifactSequence": {"id": "U2Vx"}}
    upload = {"uploadUrl": f"{base}/upload/manifest", "uploadHeaders": []}
    manifest = {"id": "TWFu", "file": {"id": "RmlsZQ", **upload}}
    files = [
        {
            "node": {
                "id": "RmlsZQ",
                "name": spec["name"],
                "displayName": spec["name"],
                "storagePath": spec["name"],
                "uploadUrl": f"{base}/upload/artifact/{spec['artifactManifestID']}/{spec['name']}",
                "uploadHeaders": [],
                "artifact": {"id": spec["artifactID"]},
            }
        }
        for spec in variables.get("input", {}).get("artifactFiles", [])
    ]
    run_files = [
        {"name": path, "uploadUrl": f"{base}/upload/files/{path}"}
        for path in variables.get("files", [])
    ]
    return {
        "viewer": {"id": "VXNl", "entity": "entity", "username": "user", "flags": "{}"},
        "serverInfo": {"features": [], "latestLocalVersionInfo": None},
        "upsertBucket": {"bucket": RUN, "inserted": True},
        "model": {"bucket": None},
        "createRunFiles": {"runID": "UnVu", "uploadHeaders": [], "files": run_files},
        "createArtifact": {"artifact": artifact},
        "createArtifactManifest": {"artifactManifest": manifest},
        "updateArtifactManifest": {"artifactManifest": manifest},
        "createArtifactFiles": {"files": {"edges": files}},
        "commitArtifact": {"artifact": {"id": "QXJ0", "digest": "x"}},
        "useArtifact": {"artifact": {"id": "QXJ0"}},
        "notifyScriptableRunAlert": {"success": True},
    }


Fragments = Mapping[str, FragmentDefinitionNode]


def project(selection: SelectionSetNode | None, value: Any, fragments: Fragments) -> Any:
    """The selected fields of a plain value."""
    if isinstance(value, list):
        return [project(selection, item, fragments) for item in value]
    if selection is None or not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for node in selection.selections:
        if isinstance(node, FieldNode):
            name = node.alias.value if node.alias else node.name.value
            part = value.get(node.name.value)
            found[name] = project(node.selection_set, part, fragments)
        elif isinstance(node, FragmentSpreadNode):
            found |= project(fragments[node.name.value].selection_set, value, fragments)
        elif isinstance(node, InlineFragmentNode):
            found |= project(node.selection_set, value, fragments)
    return found


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: Any) -> None:
        pass

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _reply(self, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        document = json.loads(self._body())
        received = self.server.received
        with received.lock:
            if self.path == "/graphql":
                self._graphql(document)
            else:
                for name, part in (document.get("files") or {}).items():
                    received.lines[name] += part["content"]
                if document.get("complete"):
                    received.exit_code = document.get("exitcode")
                self._reply({"exitcode": None, "limits": {}})

    def _graphql(self, document: dict[str, Any]) -> None:
        nodes = parse(document["query"]).definitions
        [operation] = [node for node in nodes if isinstance(node, OperationDefinitionNode)]
        found = [node for node in nodes if isinstance(node, FragmentDefinitionNode)]
        fragments = {node.name.value: node for node in found}
        name = operation.name.value if operation.name else ""
        variables = document.get("variables") or {}
        self.server.received.operations[name].append(variables)
        data = answer(name, variables, self.server.base)
        self._reply({"data": project(operation.selection_set, data, fragments)})

    def do_PUT(self) -> None:
        body = self._body()
        with self.server.received.lock:
            self.server.received.uploads[unquote(self.path.removeprefix("/upload/"))] = body
        self._reply({})


class Server(ThreadingHTTPServer):
    """Listens at a free port of this machine while the context is open."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received = Received()
        self.base = f"http://127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()
