"""Calls to MLflow's REST API, with the credentials, headers and plugins of MLflow's own client."""

from __future__ import annotations

import os
import re
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from inspect import signature
from typing import Any, BinaryIO, NoReturn, TypeVar, cast
from urllib.parse import parse_qs, urlsplit, urlunsplit

from trackbridge.disk import BLOCK
from trackbridge.errors import (
    BRIEF,
    BridgeError,
    ConfigError,
    IntegrityError,
    NotFoundError,
    TransientError,
    UnsupportedError,
    temporary_errors,
)
from trackbridge_adapters.mlflow.repository import (
    BUSY,
    HTTP_RETRIES,
    one_line,
    retry_after,
)

Json = dict[str, Any]
Item = TypeVar("Item")
Result = TypeVar("Result")

RETRIES = 2
PAUSING = frozenset({429, 503})
"""States with which a server asks for fewer requests, and may say how long to wait."""
RETRIED = frozenset({408, 500, 502, 504})
"""Those that MLflow's client asks again after by itself; it would wait as long as a server says."""
RESPECT = "respect_retry_after_header"
READING, WRITING = 16, 6
"""Requests that are under way at a time.

One that writes takes two of the 15 connections to its database that a worker of a server has (by
SQLAlchemy's default), the second while it holds the first: with 15 under way none would end. So
two migrations leave room for others on a server of one worker.
"""
EXHAUSTED = "QueuePool limit"
"""What a worker says, as if the request were wrong, when no connection came free in 30 seconds."""
CONNECT_SECONDS = 10
ANSWER_SECONDS = 120
"""MLflow waits as long for an answer (environment_variables.py, MLFLOW_HTTP_REQUEST_TIMEOUT)."""
CREDENTIALS_SECONDS = 30
"""How long credentials are used: MLflow asks for new ones with every request, and some expire."""
WORKSPACE = "X-MLFLOW-WORKSPACE"
WORKSPACES = "/api/3.0/mlflow/workspaces"
"""Where workspaces are made; what is asked there is in none of them."""

IMPORTING = threading.Lock()
"""Held while MLflow is imported: threads that begin with different parts of it get half of them."""

LACKING = frozenset({"ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED", "FEATURE_DISABLED"})
"""Codes by which a server says that it does not know a call (protos/databricks.proto, 3.17)."""
_UNKNOWN_WORKSPACE = re.compile(r"Workspace '.*' not found")


class LackingError(UnsupportedError):
    """The server is older than this call, or has none of it."""


class BrokenError(TransientError):
    """The server failed at an answer, which may pass; some do that at what their store lacks."""


class NoWorkspaceError(NotFoundError):
    """The server is there, but not the workspace."""


class Server:
    """A tracking server; `uri` is one that MLflow's own client takes.

    `http://host?workspace=name` means one workspace of a server.
    """

    def __init__(self, location: str) -> None:
        self.uri, self.workspace = _split(location)
        shown = _without_secrets(self.uri)
        self.name = f"{shown}?workspace={self.workspace}" if self.workspace else shown
        self._credentials: Any = None
        self._until = 0.0
        self._provider: Callable[[], Any] | None = None

    def get(self, path: str, /, **params: Any) -> Json:
        """The answer to a GET; `path` is that behind `/api/2.0/`."""
        return self._call("GET", path, params=params)

    def post(self, path: str, body: Mapping[str, Any], method: str = "POST") -> Json:
        """The answer to a request with a JSON body."""
        return self._call(method, path, json=body)

    def create(self, path: str, body: Mapping[str, Any]) -> Json:
        """The same where asking twice makes two: MLflow's client may not send it again."""
        return self._call("POST", path, json=body, max_retries=0)

    def pages(self, path: str, body: Mapping[str, Any], field: str) -> Iterator[list[Json]]:
        """All pages of a search, each a list of what `field` has."""
        token = None
        while True:
            answer = self.post(path, {**body, **({"page_token": token} if token else {})})
            yield answer.get(field) or []
            token = answer.get("next_page_token")
            if not token:
                return

    def get_pages(self, path: str, field: str, /, **params: Any) -> Iterator[list[Json]]:
        """The same for searches that are asked for with GET."""
        token = None
        while True:
            answer = self.get(path, **params, **({"page_token": token} if token else {}))
            yield answer.get(field) or []
            token = answer.get("next_page_token")
            if not token:
                return

    def download(self, place: str, params: Mapping[str, str]) -> BinaryIO:
        """A file that the server serves at `place`, the whole path, copied to disk."""
        response = self._request("GET", place, params=params)
        with response:
            if response.status_code != 200:
                raise self._refused(response, place)
            with temporary_errors():
                copy = tempfile.TemporaryFile()  # noqa: SIM115 - it is given away
            try:
                for block in response.iter_content(BLOCK):
                    with temporary_errors():
                        copy.write(block)
                with temporary_errors():
                    copy.seek(0)  # writes what is left
            except OSError as error:  # those of requests are such
                copy.close()
                raise TransientError(f"{self.name}: broke off a download") from error
            except BaseException:
                copy.close()
                raise
            return cast(BinaryIO, copy)

    def _call(self, method: str, path: str, **kwargs: Any) -> Json:
        place = path if path.startswith("/") else f"/api/2.0/{path}"
        with self._request(method, place, **kwargs) as response:
            try:
                response.content  # noqa: B018 - reads it
            except OSError as error:  # those of requests are such
                raise TransientError(f"{self.name}: broke off an answer") from error
        if response.status_code not in (200, 201):
            raise self._refused(response, place)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self.odd()
        return _Answer(self, answer)

    def odd(self) -> BridgeError:
        """The error for an answer that is none of MLflow's."""
        return ConfigError(f"{self.name}: answers, but not as MLflow does; check host and path")

    def _request(self, method: str, path: str, **kwargs: Any) -> Any:
        """An answer whose body has not been read yet, after the pauses that a server asks for.

        Long ones are left to whoever can tell of them.
        """
        tries = int(kwargs.get("max_retries", os.environ.get(HTTP_RETRIES, RETRIES)))
        for number in range(tries):
            response = self._answer(method, path, **kwargs)
            wish = retry_after(response)
            if response.status_code not in PAUSING or (wish or 0.0) > BRIEF:
                return response
            response.close()
            time.sleep(2.0**number if wish is None else wish)
        return self._answer(method, path, **kwargs)

    def _answer(self, method: str, path: str, **kwargs: Any) -> Any:
        with IMPORTING:
            from mlflow.exceptions import MlflowException
            from mlflow.utils import rest_utils

        # MLflow's own settings make a dead host take minutes: 7 tries, 120 s for each connection
        quick = {"max_retries": RETRIES, "backoff_factor": 1}
        own: Json = {} if HTTP_RETRIES in os.environ else quick
        own["retry_codes"] = RETRIED
        if RESPECT in signature(rest_utils.http_request).parameters:  # else up to six hours
            own[RESPECT] = False
        own.update(kwargs)
        limit = os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT")
        named = self.workspace and not path.startswith(WORKSPACES)
        headers = {WORKSPACE: self.workspace} if named else {}
        try:
            response = rest_utils.http_request(
                self._credentials_now(),
                path,
                method,
                timeout=(CONNECT_SECONDS, float(limit or ANSWER_SECONDS)),
                raise_on_status=False,
                extra_headers=headers,
                stream=True,
                **own,
            )
        except MlflowException as error:
            raise self._unreachable(error) from error
        _acknowledge(response)
        return response

    def _credentials_now(self) -> Any:
        if self._credentials is None or time.monotonic() > self._until:
            self._credentials = self._ask_for_credentials()
            self._until = time.monotonic() + CREDENTIALS_SECONDS
        return self._credentials

    def _ask_for_credentials(self) -> Any:
        try:
            with IMPORTING:
                from mlflow.exceptions import MlflowException
                from mlflow.tracking._tracking_service.utils import _get_store
        except ImportError as error:
            raise ConfigError(
                "talking to an MLflow server needs MLflow: pip install 'trackbridge[mlflow]'"
            ) from error
        try:
            if self._provider is None:
                self._provider = _get_store(store_uri=self.uri).get_host_creds
            return self._provider()
        except (MlflowException, ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"{self.name}: {one_line(error)}") from error

    def _unreachable(self, error: Exception) -> BridgeError:
        reason = str(error)
        host = urlsplit(self.uri).hostname
        if any(word in reason for word in ("NameResolution", "getaddrinfo", "Invalid URL")):
            return ConfigError(f"{self.name}: no host is called {host!r}; check the address")
        if "CERTIFICATE" in reason or "SSLError" in reason:
            return ConfigError(
                f"{self.name}: its certificate is not trusted (MLFLOW_TRACKING_SERVER_CERT_PATH"
                " names one that is), or it does not speak https"
            )
        if host and "timeout" not in reason.lower():
            with suppress(OSError), socket.create_connection((host, self._port()), 3):
                return TransientError(f"{self.name}: broke off the connection")
            return TransientError(f"{self.name}: nothing answers there; is the server running?")
        return TransientError(f"{self.name}: did not answer in time")

    def _port(self) -> int:
        split = urlsplit(self.uri)
        return split.port or (443 if split.scheme == "https" else 80)

    def _refused(self, response: Any, path: str) -> BridgeError:
        """The project's error for an answer that is none."""
        state = response.status_code
        code, reason = _reason(response)
        if state in BUSY or EXHAUSTED in reason:
            kind = BrokenError if state == 500 else TransientError
            return kind(f"{self.name}: {state} {reason}", retry_after(response))
        if state == 401:
            return ConfigError(
                f"{self.name}: asks who you are; set MLFLOW_TRACKING_USERNAME and"
                " MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            )
        if state == 403 or code == "PERMISSION_DENIED":
            return ConfigError(f"{self.name}: not allowed ({path.rpartition('/')[2]}): {reason}")
        if _UNKNOWN_WORKSPACE.search(reason):
            return NoWorkspaceError(f"{self.name}: the server has no such workspace")
        if code in LACKING or state in (405, 501) or (state == 404 and not code):
            return LackingError(
                f"{self.name}: knows no {path}; is it an MLflow server, and the path right?"
            )
        if state == 404 or code == "RESOURCE_DOES_NOT_EXIST":
            return NotFoundError(f"{self.name}: {reason}")
        return IntegrityError(f"{self.name}: {path.rpartition('/')[2]} refused: {reason}")


class _Answer(Json):
    """An answer; what it has to have and lacks is an error that names the server."""

    def __init__(self, server: Server, content: Json) -> None:
        super().__init__(content)
        self._server = server

    def __missing__(self, name: str) -> NoReturn:
        raise self._server.odd()


def each(
    action: Callable[[Item], Result], items: Iterable[Item], threads: int = READING
) -> Iterator[Result]:
    """The results of `action` in the order of the items, several at a time.

    At most twice as many results as there are threads wait to be taken.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="trackbridge")
    try:
        for item in items:
            waiting.append(pool.submit(action, item))
            if len(waiting) >= 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _acknowledge(response: Any) -> None:
    """Tell the server at once that its headers are here: it sends no short body before.

    MLflow's servers of several workers do not set TCP_NODELAY on their sockets (uvicorn, 0.54,
    makes them without the protocol by which asyncio knows that it may), and Linux acknowledges
    after 40 ms.
    """
    connection = getattr(response.raw, "connection", None)
    place = getattr(connection, "sock", None)
    if place is not None and hasattr(socket, "TCP_QUICKACK"):
        with suppress(OSError, AttributeError):  # one of TLS has passed it on, or it is closed
            place.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _reason(response: Any) -> tuple[str, str]:
    """Code and message of an answer that is none; texts of other servers as they are."""
    try:
        answer = response.json()
        return str(answer.get("error_code") or ""), one_line(answer.get("message") or answer)
    except (ValueError, AttributeError):
        return "", one_line(re.sub(r"<[^>]*>", " ", response.text)) or str(response.reason)


def _split(location: str) -> tuple[str, str | None]:
    """MLflow's URI and the workspace out of a location."""
    split = urlsplit(location)
    if split.scheme not in ("http", "https"):
        return location, None
    known = parse_qs(split.query)
    strange = sorted(known.keys() - {"workspace"})
    if strange:
        raise ConfigError(f"{_without_secrets(location)}: only ?workspace= may follow an address")
    named = known.get("workspace", [os.environ.get("MLFLOW_WORKSPACE", "").strip()])[-1]
    plain = urlunsplit(split._replace(query="", fragment="")).rstrip("/")
    return plain, named or None


def _without_secrets(uri: str) -> str:
    """An address that may be shown and written down."""
    split = urlsplit(uri)
    if split.scheme not in ("http", "https"):
        return uri
    return urlunsplit(split._replace(netloc=split.netloc.rpartition("@")[2], query=""))
