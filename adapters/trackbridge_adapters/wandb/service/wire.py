"""Requests to one W&B server, and to the storage that it refers to."""

from __future__ import annotations

import io
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import Any, BinaryIO, cast
from urllib.parse import parse_qsl, urlsplit

import requests
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth

from trackbridge import __version__
from trackbridge.errors import (
    BRIEF,
    BridgeError,
    ConfigError,
    IntegrityError,
    NotFoundError,
    TransientError,
)
from trackbridge_adapters.wandb.service import answers
from trackbridge_adapters.wandb.service.login import Login
from trackbridge_adapters.wandb.service.pace import Pace, wish
from trackbridge_adapters.wandb.service.temporary import copied

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 120.0
"""How long a server may be silent."""
CONNECTIONS = 16
"""Kept open to a host; more may be used at a time."""
BLOCK = 1 << 18
EXPIRED = (400, 401, 403, 404, 410)
"""What storages say of signed addresses that are too old, each in its own way."""
REFUSALS = 12
"""So often a request is sent that came too early; the pace makes that some minutes.

It was not carried out, and whoever asks for hundreds of pages must not begin anew for one of them.
"""

_NAME = re.compile(r"\b(?:query|mutation)\s+(\w+)")
_UNKNOWN_HOST = re.compile(r"NameResolution|getaddrinfo|[Nn]ame or service not known|nodename nor")
_CERTIFICATE = re.compile(r"CERTIFICATE|WRONG_VERSION|doesn't match|PROTOCOL_VERSION")
_SIGNATURES = ("signature", "sig")
"""How names of parameters end by which an address carries its own credentials (S3, GCS, Azure)."""


class Wire:
    """One server, asked with one API key; nothing is tried twice.

    Threads share its connections: nothing of a session is changed once it is made, and it takes
    no cookies, so that its pool is all they have in common, which is made for that. In another
    process it is made anew (it is cheap) and counts from 0.
    """

    def __init__(self, login: Login, per_second: float | None = None) -> None:
        self.login = login
        self.per_second = per_second
        self._pace = Pace(urlsplit(login.base_url).netloc, per_second)
        self._session = _Session(login)
        self._sent = 0
        self._counting = threading.Lock()

    def __reduce__(self) -> tuple[type[Wire], tuple[Login, float | None]]:
        return type(self), (self.login, self.per_second)

    def __repr__(self) -> str:
        return f"Wire({self.login.base_url!r})"

    @property
    def requests(self) -> int:
        """How many GraphQL requests were sent."""
        return self._sent

    def ask(self, document: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The data that a GraphQL document of one operation gives; waits until it may go.

        Raises `TooMuchError` where less may be asked for, `LackingError` where the server's
        schema has no such thing, other `RefusedError`s where it gives another reason. An answer
        with errors beside its data is an error.
        """
        body: dict[str, Any] = {"query": document, "variables": dict(variables)}
        if named := _NAME.search(document):
            body["operationName"] = named[1]
        content = json.dumps(body, allow_nan=False).encode()
        for _ in range(REFUSALS):
            response, retry_after = self._post(content)
            if response.status_code != 429 or (retry_after or 0.0) > BRIEF:
                break
        status, headers = response.status_code, response.headers
        if response.is_redirect:
            raise ConfigError(
                f"{self.login.base_url}: sends us on to {_place(headers['location'])}; if that is"
                " the W&B server, name it"
            )
        kind = headers.get("Content-Type", "")
        return answers.data(self.login, status, kind, response.content, retry_after)

    def _post(self, content: bytes) -> tuple[Response, float | None]:
        """The answer to one request, sent when it may go; with the server's wish if it refused."""
        self._pace.wait()
        with self._counting:
            self._sent += 1
        response = self._send(
            "POST",
            f"{self.login.base_url}/graphql",
            data=content,
            headers={"Content-Type": "application/json"},
            allow_redirects=False,
        )
        return response, self._pace.heed(response.headers, response.status_code)

    def post(self, path: str, document: Mapping[str, Any]) -> None:
        """Sends JSON to a page of the server that is no GraphQL, whose limits are others."""
        url = self._absolute(path)
        response = self._send(
            "POST",
            url,
            data=json.dumps(document, allow_nan=False).encode(),
            headers={"Content-Type": "application/json"},
            allow_redirects=False,
        )
        if response.status_code == 404:
            raise NotFoundError(f"{_place(url)}: answers that it is not there (404)")
        if response.status_code != 200:
            raise self._refused(response, url)

    def expect(self, calls: int) -> None:
        """Waits until somebody else may send so many requests to the server."""
        for _ in range(calls):
            self._pace.wait()

    def open(self, url: str) -> BinaryIO:
        """The bytes of a file; an address without a host is one of the server.

        A connection that breaks off is a `TransientError` of whoever reads, never an end.
        `NotFoundError` and `RefusedError` also mean that the address, if it is signed, has expired.
        """
        url = self._absolute(url)
        response = self._send("GET", url, stream=True)
        if response.status_code != 200:
            with response:
                raise self._not_given(response, url)
        return cast(BinaryIO, io.BufferedReader(_Download(response, _place(url)), BLOCK))

    def put(self, url: str, data: BinaryIO, headers: Sequence[str]) -> None:
        """Upload what is left of a stream; `headers` are `Name:Value`, as CreateRunFiles says.

        Errors of the stream stay as they are. Trying again needs a stream that stands where this
        one stood.
        """
        size = _left(data)
        if size is not None:
            self._upload(self._absolute(url), data, size, headers)
            return
        with copied(data) as copy:  # storage takes nothing without a length
            self._upload(self._absolute(url), copy, _left(copy) or 0, headers)

    def _upload(self, url: str, data: BinaryIO, size: int, headers: Sequence[str]) -> None:
        named = (header.partition(":") for header in headers)
        response = self._send(
            "PUT",
            url,
            data=_Body(data, size) if size else b"",
            headers={name.strip(): value.strip() for name, _, value in named},
            allow_redirects=False,
        )
        status, place = response.status_code, _place(url)
        if status in EXPIRED:
            raise TransientError(
                f"{place}: does not take a file ({status}); its signed address may have expired"
            )
        if status == 413:
            raise ConfigError(f"{place}: takes no file of that size (413); raise its limit")
        if not 200 <= status < 300:
            raise self._refused(response, url)

    def _absolute(self, url: str) -> str:
        url = url if "://" in url else f"{self.login.base_url}/{url.lstrip('/')}"
        try:
            _origin(url)
        except ValueError as error:
            raise _unreachable(_place(url), error) from None
        return url

    def _send(self, method: str, url: str, **rest: Any) -> Response:
        # the time to connect is also that for each part of an upload to be taken
        limits = (ANSWER_SECONDS if method == "PUT" else CONNECT_SECONDS, ANSWER_SECONDS)
        try:
            return self._session.request(
                method, url, auth=self._session.auth_for(url), timeout=limits, **rest
            )
        except (OSError, ValueError) as error:  # those of requests show whole addresses
            raise _unreachable(_place(url), error) from None

    def _refused(self, response: Response, url: str) -> BridgeError:
        """The error for an answer to a file's request that is none."""
        status, place = response.status_code, _place(url)
        if status in answers.BUSY:
            retry_after = wish(response.headers, status, time.time())
            return TransientError(f"{place}: answered {status}", retry_after)
        if status == 401 and self._session.trusts(response.url):
            return answers.key_refused(self.login, status)
        return answers.RefusedError(f"{place}: answered {status}")

    def _not_given(self, response: Response, url: str) -> BridgeError:
        status, place = response.status_code, _place(url)
        if status in (404, 410):
            return NotFoundError(f"{place}: no such file ({status})")
        if status in EXPIRED and not (status == 401 and self._session.trusts(response.url)):
            return answers.RefusedError(
                f"{place}: does not give a file ({status}); its signed address has expired, or this"
                " API key may not read it"
            )
        return self._refused(response, url)


class _Session(requests.Session):
    """Sends key and headers of a user to its own server only, and passwords of a netrc nowhere."""

    def __init__(self, login: Login) -> None:
        super().__init__()
        self._origin = _origin(login.base_url)
        self._key = HTTPBasicAuth("api", login.key)
        self._extra = dict(login.headers)
        self.headers["User-Agent"] = f"trackbridge/{__version__}"
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS))

    def trusts(self, url: str) -> bool:
        """Whether an address is one of the server, and has no credentials of its own.

        Storage beside the server, as self-hosted ones have it, refuses a key and a signature.
        """
        names = (name.lower() for name, _ in parse_qsl(urlsplit(url).query, True))
        return _origin(url) == self._origin and not any(
            name.endswith(_SIGNATURES) for name in names
        )

    def auth_for(self, url: str) -> Callable[[PreparedRequest], PreparedRequest]:
        return self._signed if self.trusts(url) else _nobody

    def _signed(self, request: PreparedRequest) -> PreparedRequest:
        for name, value in self._extra.items():
            request.headers.setdefault(name, value)
        signed: PreparedRequest = self._key(request)
        return signed

    def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
        """Called at a redirect."""
        if not self.trusts(str(prepared_request.url)):
            for name in ("Authorization", *self._extra):
                prepared_request.headers.pop(name, None)


def _nobody(request: PreparedRequest) -> PreparedRequest:
    return request  # with no auth at all, requests looks for one in the netrc


class _Download(io.RawIOBase):
    """The body of an answer, decoded; it has an end only where it is whole."""

    def __init__(self, response: Response, place: str) -> None:
        self._response, self._place = response, place
        self._blocks = response.iter_content(BLOCK)
        self._rest = memoryview(b"")
        self._broken = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(self._next())
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def close(self) -> None:
        self._response.close()
        super().close()

    def _next(self) -> bytes:
        if not self._broken:
            try:
                block: bytes = next(self._blocks, b"")
            except OSError:  # those of requests are such; they show whole addresses
                self._broken = True
            else:
                self._broken = not block and self._is_short()
        if self._broken:
            raise TransientError(f"{self._place}: broke off a download")
        return block

    def _is_short(self) -> bool:
        length = self._response.headers.get("Content-Length", "")
        return length.isdigit() and self._response.raw.tell() < int(length)


class _Body:
    """So many bytes of a stream, in the form that requests takes."""

    def __init__(self, data: BinaryIO, size: int) -> None:
        self._data, self._left = data, size
        self.len = size

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(BLOCK), b"")

    def read(self, size: int) -> bytes:
        try:
            block = self._data.read(min(size, self._left))
        except (OSError, ValueError) as error:  # not one of the connection
            raise IntegrityError(f"a file to be uploaded cannot be read ({error})") from error
        if self._left and not block:
            raise IntegrityError("a file to be uploaded is shorter than it was")
        self._left -= len(block)
        return block


def _left(data: BinaryIO) -> int | None:
    """How many bytes of a stream are to come; None where it cannot tell."""
    try:
        here = data.tell()
        end = data.seek(0, os.SEEK_END)
        data.seek(here)
    except (OSError, AttributeError):
        return None
    return end - here


def _unreachable(place: str, error: OSError | ValueError) -> BridgeError:
    """The error for a request without an answer; of its reason only what holds no secret."""
    reason = str(error)
    if isinstance(error, requests.exceptions.SSLError) and _CERTIFICATE.search(reason):
        return ConfigError(
            f"{place}: its certificate is not trusted (REQUESTS_CA_BUNDLE names a file with one"
            " that is), or it does not speak https"
        )
    if isinstance(error, requests.exceptions.ProxyError):
        if " 407 " in reason:
            return ConfigError(f"{place}: the proxy on the way asks who you are; see HTTPS_PROXY")
        return TransientError(f"{place}: the proxy on the way to it fails; see HTTPS_PROXY")
    if _UNKNOWN_HOST.search(reason) and "Temporary" not in reason:
        host = urlsplit(place).hostname
        return ConfigError(f"{place}: no host is called {host!r}; check the address")
    if isinstance(error, ValueError):
        return ConfigError(f"{place}: no address that can be asked; check it, and HTTPS_PROXY")
    if isinstance(error, requests.TooManyRedirects):
        return ConfigError(f"{place}: sends us round in circles; check the address")
    if isinstance(error, requests.Timeout):
        return TransientError(f"{place}: did not answer in time")
    if not isinstance(error, requests.RequestException):
        return ConfigError(f"{place}: {error}; check REQUESTS_CA_BUNDLE")
    if "Failed to establish" in reason or "refused" in reason:
        return TransientError(f"{place}: nothing answers there; is the server running?")
    return TransientError(f"{place}: broke off the connection")


def _place(url: str) -> str:
    """An address that may be shown: signatures stand in the query."""
    scheme, _, rest = re.split("[?#]", url, maxsplit=1)[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _origin(url: str) -> tuple[str, str | None, int | None]:
    split = urlsplit(url)
    port = split.port or {"http": 80, "https": 443}.get(split.scheme)
    return split.scheme, split.hostname, port
