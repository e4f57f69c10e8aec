"""The HTTP side: requests in, answers out, started and stopped."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from wandb_server import artifacts, graphql, operations, runs
from wandb_server.faults import Faults, Request
from wandb_server.graphql import Refused
from wandb_server.state import Organization, Run, State, User
from wandb_server.storage import PREFIX, Storage

KEY = "0123456789abcdef" * 2 + "01234567"


class Server:
    """A W&B server on a free port of 127.0.0.1, and the switches that make it fail.

    What was uploaded lies under `folder`, all else in memory: it outlives `stop` and `kill`, and
    `start` goes on with it at the same address.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults = Faults()
        self.errors: list[str] = []
        """Tracebacks of the server itself: nothing that a test should meet."""
        self.state = State(Storage(folder))
        self.down = threading.Event()
        """Set while the server does not run, for tests that start it again after a kill."""
        self._http: _Listener | None = None
        self._port = 0
        self.user = self.add_user("tester", KEY, "team", "tester")

    def add_user(self, name: str, key: str, *entities: str) -> User:
        """Someone with an API key, and entities of which the first is the default."""
        user = User(name, key, [])
        self.state.users.append(user)
        for entity in entities:
            self.add_entity(entity, user)
        return user

    def add_entity(self, name: str, user: User | None = None) -> None:
        """A team of the one organization there is, which a user (the first) can write to."""
        (user or self.user).entities.append(name)
        self.state.entities[name] = Organization("Organization", "organization-org")
        self.state.entities["organization-org"] = self.state.entities[name]

    def run(self, path: str) -> Run:
        """By entity/project/run."""
        entity, project, name = path.split("/")
        return self.state.projects[entity, project].runs[name]

    def export(self, path: str, rows: int | None = None) -> None:
        """Puts a run's history, or its first rows, into parquet files; the rest stays live."""
        run = self.run(path)
        run.exported = len(run.history) if rows is None else rows

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def environment(self, user: User | None = None) -> dict[str, str]:
        """For the processes of clients: this server, nobody else, and folders of their own."""
        home = self.folder / "client"
        folders = {"WANDB_DIR": "dir", "WANDB_CACHE_DIR": "cache", "WANDB_CONFIG_DIR": "config"}
        folders |= {"WANDB_DATA_DIR": "data", "WANDB_ARTIFACT_DIR": "artifacts", "HOME": "home"}
        for name in folders.values():
            (home / name).mkdir(parents=True, exist_ok=True)
        return {
            "WANDB_BASE_URL": self.address,
            "WANDB_API_KEY": (user or self.user).key,
            "WANDB_MODE": "online",
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_SILENT": "true",
            "DO_NOT_TRACK": "true",
            **{variable: str(home / name) for variable, name in folders.items()},
        }

    def start(self) -> None:
        self._http = _Listener(self, self._port)
        self._port = self._http.server_address[1]
        self.state.storage.base = self.address
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()
        self.down.clear()

    def stop(self) -> None:
        """Takes no more connections and breaks those that are open; a no-op where it is down."""
        http, self._http = self._http, None
        if http is None:
            return
        self.faults.released.set()
        http.shutdown()
        http.server_close()
        http.break_off()
        self._thread.join()
        self.faults.released = threading.Event()
        self.down.set()


@contextmanager
def started(folder: Path) -> Iterator[Server]:
    """A server that is stopped at the end. Its user is `tester`, his default entity `team`."""
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
    assert not server.errors, server.errors[0]


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, owner: Server, port: int) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # else it is a client that went away
            self.owner.errors.append(traceback.format_exc())

    def break_off(self) -> None:
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *args: Any) -> None:
        pass

    def parse_request(self) -> bool:
        self._read: bytes | None = None
        self._lost = self._noted = False
        self._asked: tuple[str, dict[str, Any], str | None] = ("Unreadable", {}, None)
        return super().parse_request()

    def do_POST(self) -> None:
        if urlsplit(self.path).path == "/graphql":
            self._answer_graphql()
        else:
            self._guarded("file_stream", self._stream)

    def do_PUT(self) -> None:
        self._guarded("upload", self._upload)

    def do_GET(self) -> None:
        if self.path.startswith(PREFIX):
            self._guarded("download", self._download)
        else:
            self._guarded("file", self._redirect)

    do_HEAD = do_GET

    def _body(self) -> bytes:
        if self._read is None:
            self._read = self.rfile.read(self._length())
            if len(self._read) < self._length():
                raise ConnectionResetError("whoever asked is gone")
        zipped = self.headers.get("Content-Encoding") == "gzip"
        return gzip.decompress(self._read) if zipped else self._read

    def _length(self) -> int:
        return int(self.headers.get("Content-Length") or 0)

    def _user(self) -> User:
        """Raises Refused without a key that someone has; keys come as basic authentication."""
        kind, _, value = (self.headers.get("Authorization") or "").partition(" ")
        with suppress(ValueError):
            key = base64.b64decode(value).decode().partition(":")[2] if kind == "Basic" else value
            for user in self.server.owner.state.users:
                if user.key == key:
                    return user
        raise Refused("user is not logged in", 401)

    def _reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self._note(status)  # before the answer: who has it finds the request in the log
        self.send_response(status)
        headers = {"Content_Type": "application/json", "Content_Length": str(len(body))} | headers
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, status: int, document: Any, **headers: str) -> None:
        self._reply(status, json.dumps(document, allow_nan=False).encode(), **headers)

    def _guarded(self, name: str, act: Any) -> None:
        """Carries a request out that is no GraphQL, with its faults, and notes it."""
        self._asked = (name, {"path": self.path}, None)
        try:
            if not self._meets():
                act(self._body())
        except Refused as error:
            self._json(error.status, {"error": str(error)})
        finally:
            self._note(None)

    def _note(self, status: int | None) -> None:
        if not self._noted:
            name, variables, user = self._asked
            kind = name[0].isupper()
            request = Request(name, kind, variables, status, user, time.time())
            self.server.owner.faults.note(request)
            self._noted = True

    def _meets(self) -> bool:
        """Whether a fault ends the request here."""
        fault = self.server.owner.faults.next(*self._asked[:2])
        self._lost = fault is not None and fault.how == "lose"
        if fault is None or self._lost:
            return False
        self.close_connection = True
        if fault.how == "status":
            headers = {name.replace("-", "_"): value for name, value in fault.headers.items()}
            self._body()
            self._json(fault.status, {"error": "as asked for"}, Connection="close", **headers)
        elif fault.how == "hang":
            self.server.owner.faults.released.wait()
        elif fault.how == "kill":
            if self._read is None:
                self.rfile.read(self._length() // 2)
            self.server.owner.stop()
        return True

    def _send(self, document: Any, **headers: str) -> None:
        """The answer to what was done, unless it is to be lost."""
        if self._lost:
            self.close_connection = True
        else:
            self._json(200, document, **headers)

    def _answer_graphql(self) -> None:
        owner = self.server.owner
        try:
            request = json.loads(self._body())
            given = request.get("variables") or {}
            document = graphql.read(request["query"])
            name = document.name[:1].upper() + document.name[1:]
            self._asked = (name, given, None)
            if self._meets():
                return
            allowed, headers = owner.faults.take()
            headers = {key.replace("-", "_"): value for key, value in headers.items()}
            if not allowed:
                self._json(429, _errors("rate limit exceeded"), **headers)
                return
            user = self._user()
            self._asked = (name, given, user.name)
            with owner.state.lock:
                root = operations.root(owner.state, owner.faults, user)
                data = graphql.execute(document, given, root)
            self._send({"data": data}, **headers)
        except Refused as error:
            self._json(error.status, _errors(str(error)))
        finally:
            self._note(None)

    def _stream(self, body: bytes) -> None:
        user, owner = self._user(), self.server.owner
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if len(parts) != 5 or (parts[0], parts[4]) != ("files", "file_stream"):
            raise Refused(f"no such page: {self.path}", 404)
        with owner.state.lock:
            run = owner.state.run(parts[1], parts[2], parts[3], user)
            answer = runs.stream(owner.state, run, json.loads(body))
        self._send(answer)

    def _upload(self, body: bytes) -> None:
        state = self.server.owner.state
        key = state.storage.signed("PUT", self.path)
        if key is None:
            raise Refused("signature does not match", 403)
        state.storage.write(key, body)
        if key.startswith("runs/"):
            with state.lock:
                runs.uploaded(state, key, body)
        self._send({})

    def _download(self, _: bytes) -> None:
        storage = self.server.owner.state.storage
        key = storage.signed(self.command, self.path)
        content = None if key is None else storage.read(key)
        if content is None:
            raise Refused("signature does not match" if key is None else "no such key", 403)
        kind = {"Content_Type": "application/octet-stream", "Accept_Ranges": "bytes"}
        start, end = _range(self.headers.get("Range"), len(content))
        if (start, end) != (0, len(content)) or self.headers.get("Range"):
            kind["Content_Range"] = f"bytes {start}-{end - 1}/{len(content)}"
            self._reply(206, content[start:end], **kind)
        else:
            self._reply(200, content, **kind)

    def _redirect(self, _: bytes) -> None:
        """`/files/entity/project/run/path`: a key is needed, and the bytes lie elsewhere."""
        user, owner = self._user(), self.server.owner
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        with owner.state.lock:
            key = None
            if parts[0] == "files" and len(parts) > 4:
                run = owner.state.run(parts[1], parts[2], parts[3], user)
                key = runs.upload_key(run, "/".join(parts[4:]))
            elif parts[0] == "artifactsV2" and len(parts) > 2:
                key = artifacts.blob(parts[2], parts[-2])
        if key is None or not owner.state.storage.has(key):
            raise Refused(f"no such file: {self.path}", 404)
        self._reply(307, Location=owner.state.storage.url(key))


def _errors(message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "path": []}], "data": None}


def _range(header: str | None, size: int) -> tuple[int, int]:
    """From and to (exclusive) of a `Range: bytes=a-b`."""
    if not header:
        return 0, size
    low, _, high = header.removeprefix("bytes=").partition("-")
    if not low:
        return max(0, size - int(high)), size
    return int(low), min(size, int(high) + 1) if high else size
