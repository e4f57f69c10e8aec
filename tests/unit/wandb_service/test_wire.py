from __future__ import annotations

import base64
import gzip
import io
import json
import pickle
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from requests.adapters import HTTPAdapter
from requests.exceptions import ProxyError, RequestException, SSLError

from trackbridge.errors import (
    BridgeError,
    ConfigError,
    IntegrityError,
    NotFoundError,
    TransientError,
)
from trackbridge_adapters.wandb.service import wire as wires
from trackbridge_adapters.wandb.service.answers import LackingError, RefusedError, TooMuchError
from trackbridge_adapters.wandb.service.login import Login
from trackbridge_adapters.wandb.service.wire import Wire

from .conftest import SECRET

VIEWER = "query Viewer { viewer { username } }"
BASIC = base64.b64encode(f"api:{SECRET}".encode())
SIGNED = "/bucket/file?X-Amz-Signature=5ec2e7"
Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused request is an error at once, but where a test says otherwise."""
    monkeypatch.setattr(wires, "REFUSALS", 1)


@pytest.fixture
def wire(server: Any) -> Wire:
    server.user.key = SECRET
    return Wire(Login(server.address, SECRET))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wires, "ANSWER_SECONDS", 0.2)


def failure(act: Callable[[], object]) -> BridgeError:
    """What an act raises, which shows no secret in any form that a person meets."""
    with pytest.raises(BridgeError) as caught:
        act()
    error = caught.value
    text = "".join(traceback.format_exception(error)) + repr(error)
    for secret in (SECRET, BASIC.decode(), "5ec2e7"):
        assert secret not in text
    assert "\n" not in str(error)
    return error


def asked(made: Any, document: str = VIEWER) -> BridgeError:
    return failure(lambda: Wire(made.login).ask(document, {}))


def says(*messages: str, data: object = None) -> bytes:
    return json.dumps({"errors": [{"message": said} for said in messages], "data": data}).encode()


# asking


def test_the_data_of_an_answer_is_given(wire: Wire) -> None:
    assert wire.ask(VIEWER, {}) == {"viewer": {"username": "tester"}}


def test_a_request_says_who_asks_what(canned: Make) -> None:
    made = canned(b'{"data": {}}')
    Wire(made.login).ask("query Runs($n: Int) { x }", {"n": 3})
    head, _, body = made.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /graphql HTTP/1.1")
    assert b"Authorization: Basic " + BASIC in head
    assert b"User-Agent: trackbridge/" in head
    assert json.loads(body) == {
        "query": "query Runs($n: Int) { x }",
        "variables": {"n": 3},
        "operationName": "Runs",
    }


def test_a_document_without_a_name_is_sent_without_one(canned: Make) -> None:
    made = canned(b'{"data": {}}')
    Wire(made.login).ask("{ x }", {})
    assert b"operationName" not in made.requests[0]


def test_a_request_that_came_too_early_is_sent_again(
    wire: Wire, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "REFUSALS", 4)
    server.faults.fail("Viewer", status=429, headers={"Retry-After": "0"}, times=3)
    assert wire.ask(VIEWER, {})["viewer"]["username"] == "tester"
    assert wire.requests == server.faults.counts()["Viewer"] == 4


def test_requests_are_counted_refused_ones_too(wire: Wire, server: Any) -> None:
    server.faults.fail("Viewer", skip=1)
    wire.ask(VIEWER, {})
    failure(lambda: wire.ask(VIEWER, {}))
    assert wire.requests == 2


def test_threads_share_a_wire(wire: Wire, server: Any) -> None:
    with ThreadPoolExecutor(24) as pool:
        found = list(pool.map(lambda _: wire.ask(VIEWER, {}), range(96)))
    assert found == [{"viewer": {"username": "tester"}}] * 96
    assert wire.requests == server.faults.graphql() == 96


def test_a_wire_arrives_in_another_process_with_its_key(wire: Wire) -> None:
    wire.ask(VIEWER, {})
    copy = pickle.loads(pickle.dumps(wire))
    assert copy.ask(VIEWER, {}) == {"viewer": {"username": "tester"}}
    assert copy.requests == 1


def test_no_repr_shows_the_key() -> None:
    wire = Wire(Login("http://127.0.0.1:1", SECRET))
    assert SECRET not in repr(wire) + repr(wire.login)


# answers that are none


def test_a_wrong_key_is_named_with_the_way_out(server: Any) -> None:
    error = failure(lambda: Wire(Login(server.address, SECRET)).ask(VIEWER, {}))
    assert type(error) is ConfigError
    assert str(error) == (
        f"{server.address}: does not accept the API key (401); run"
        f" `wandb login --relogin --host {server.address}` or set WANDB_API_KEY"
    )


def test_a_forbidden_request_says_what_the_server_says(canned: Make) -> None:
    error = asked(canned(says("permission denied to team x"), "403 Forbidden"))
    assert type(error) is ConfigError
    assert "permission denied to team x" in str(error)


def test_a_refused_request_carries_the_wish_of_the_server(wire: Wire, server: Any) -> None:
    server.faults.fail("Viewer", status=429, headers={"Retry-After": "7"})
    error = failure(lambda: wire.ask(VIEWER, {}))
    assert isinstance(error, TransientError)
    assert error.retry_after == 7


def test_a_long_wait_that_a_server_wishes_is_an_error_at_once(wire: Wire, server: Any) -> None:
    server.faults.fail("Viewer", status=429, headers={"Retry-After": "3600"})
    wire._pace._sleep = lambda seconds: pytest.fail(f"slept {seconds} s")
    error = failure(lambda: wire.ask(VIEWER, {}))
    assert isinstance(error, TransientError) and error.retry_after == 3600
    assert "asks to be left alone for 3,600 s" in str(error)


def test_a_refused_request_makes_all_wires_of_the_server_pause(wire: Wire, server: Any) -> None:
    server.faults.fail("Viewer", status=429, headers={"Retry-After": "30"})
    failure(lambda: wire.ask(VIEWER, {}))
    waits: list[float] = []

    class SleptError(Exception):
        pass

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        raise SleptError

    other = Wire(wire.login)
    other._pace._sleep = sleep
    with pytest.raises(SleptError):
        other.ask(VIEWER, {})
    assert 0 < waits[0] <= 30
    assert other.requests == 0


def test_files_are_not_paced(wire: Wire, server: Any) -> None:
    server.faults.fail("Viewer", status=429, headers={"Retry-After": "30"})
    failure(lambda: wire.ask(VIEWER, {}))
    wire._pace._sleep = lambda seconds: pytest.fail(f"slept {seconds} s")
    wire.put(server.state.storage.url("k", "PUT"), io.BytesIO(b"content"), [])
    assert wire.open(server.state.storage.url("k")).read() == b"content"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_states_that_may_pass_are_transient(wire: Wire, server: Any, status: int) -> None:
    server.faults.fail("Viewer", status=status)
    error = failure(lambda: wire.ask(VIEWER, {}))
    assert isinstance(error, TransientError)
    assert error.retry_after is None


@pytest.mark.parametrize("how", ["drop", "lose", "kill"])
def test_a_connection_that_breaks_off_is_transient(wire: Wire, server: Any, how: str) -> None:
    server.faults.fail("Viewer", how)
    assert isinstance(failure(lambda: wire.ask(VIEWER, {})), TransientError)
    server.down.wait() if how == "kill" else None


@pytest.mark.usefixtures("impatient")
def test_a_server_that_hangs_is_transient(wire: Wire, server: Any) -> None:
    server.faults.fail("Viewer", "hang")
    error = failure(lambda: wire.ask(VIEWER, {}))
    assert isinstance(error, TransientError)
    assert "did not answer in time" in str(error)


def test_a_server_that_does_not_run_is_transient(wire: Wire, server: Any) -> None:
    server.stop()
    error = failure(lambda: wire.ask(VIEWER, {}))
    assert isinstance(error, TransientError)
    assert "nothing answers there" in str(error)


@pytest.mark.parametrize(
    ("kind", "cause", "said"),
    [
        (ConfigError, SSLError("[SSL: CERTIFICATE_VERIFY_FAILED]"), "REQUESTS_CA_BUNDLE"),
        (ConfigError, SSLError("[SSL: WRONG_VERSION_NUMBER]"), "does not speak https"),
        (TransientError, SSLError("EOF occurred in violation of protocol"), "broke off"),
        (TransientError, ProxyError(f"http://user:{SECRET}@proxy"), "HTTPS_PROXY"),
        (ConfigError, ProxyError("Tunnel failed: 407 Proxy Authentication"), "asks who you are"),
        (
            ConfigError,
            RequestException("[Errno -2] Name or service not known"),
            "no host is called",
        ),
        (TransientError, RequestException("Temporary failure in name resolution"), "broke off"),
    ],
)
def test_what_keeps_a_request_from_its_server_is_told(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, kind: type, cause: Exception, said: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise cause

    monkeypatch.setattr(HTTPAdapter, "send", fail)
    error = failure(lambda: wire.ask(VIEWER, {}))
    assert type(error) is kind
    assert said in str(error)


def test_a_missing_file_of_certificates_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    error = failure(lambda: Wire(Login("https://127.0.0.1:1", SECRET)).ask(VIEWER, {}))
    assert type(error) is ConfigError
    assert "/nowhere/ca.pem" in str(error)


def test_a_truncated_answer_is_transient(canned: Make) -> None:
    assert isinstance(asked(canned(b'{"data": {"x', Content_Length="500")), TransientError)


@pytest.mark.parametrize("body", [b"", b'{"data": {"x', b'{"data": null}'])
def test_an_empty_or_broken_answer_is_transient(canned: Make, body: bytes) -> None:
    assert isinstance(asked(canned(body)), TransientError)


def test_a_page_for_people_is_no_answer(canned: Make) -> None:
    made = canned(b"<html>Log in</html>", Content_Type="text/html")
    error = asked(made)
    assert type(error) is ConfigError
    assert made.address in str(error)


def test_a_page_of_a_gateway_that_fails_is_transient(canned: Make) -> None:
    assert isinstance(asked(canned(b"<html>", "502 Bad Gateway")), TransientError)


@pytest.mark.parametrize("body", [b"[1]", b'{"data": 3}', b'{"hello": {}}'])
def test_another_kind_of_server_is_told(canned: Make, body: bytes) -> None:
    assert type(asked(canned(body))) is ConfigError


def test_a_place_without_an_endpoint_is_told(canned: Make) -> None:
    error = asked(canned(b"404 page not found", "404 Not Found"))
    assert type(error) is ConfigError
    assert "no W&B server answers there" in str(error)


def test_a_server_that_moved_is_named_and_gets_no_key(canned: Make) -> None:
    other = canned(b'{"data": {}}')
    made = canned(status="301 Moved", Location=f"{other.address}/graphql?sig=5ec2e7")
    error = asked(made)
    assert type(error) is ConfigError
    assert f"{other.address}/graphql" in str(error)
    assert other.requests == []


def test_what_does_not_exist_is_not_found(wire: Wire) -> None:
    document = """mutation UpsertBucket { upsertBucket(input: {modelName: "p", name: "r",
      entityName: "nobody"}) { bucket { name } } }"""
    error = failure(lambda: wire.ask(document, {}))
    assert type(error) is NotFoundError
    assert "entity nobody not found" in str(error)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (TransientError, "rate limit exceeded"),
        (TransientError, "Error 1213: Deadlock found when trying to get lock"),
        (TransientError, "context deadline exceeded"),
        (TooMuchError, "at most 100 runs at once, not 1000"),
        (TooMuchError, "query complexity 5000 is over 1000"),
        (TooMuchError, "response too large"),
        (LackingError, 'Cannot query field "organization" on type "Entity".'),
        (LackingError, 'Unknown argument "after" on field "Project.runs".'),
        (ConfigError, "permission denied"),
        (ConfigError, "user is not logged in"),
        (NotFoundError, "project p not found"),
        (NotFoundError, "could not find run r"),
        (RefusedError, "invalid cursor"),
    ],
)
@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
def test_errors_are_told_apart_by_what_they_say(
    canned: Make, kind: type[BridgeError], said: str, status: str
) -> None:
    error = asked(canned(says(said), status))
    assert type(error) is kind
    assert said in str(error) or "API key" in str(error)


def test_data_beside_errors_never_passes_for_whole(canned: Make) -> None:
    error = asked(canned(says("something odd", data={"viewer": {"username": "x"}})))
    assert type(error) is RefusedError


def test_an_error_among_others_is_not_read_as_not_found(canned: Make) -> None:
    assert type(asked(canned(says("run r not found", "something odd")))) is RefusedError
    assert type(asked(canned(says("run r not found", "timeout")))) is TransientError
    failing = canned(says("run r not found"), "500 Internal Server Error")
    assert type(asked(failing)) is TransientError


def test_a_page_that_is_too_large_for_the_server_is_told(wire: Wire, server: Any) -> None:
    server.faults.page_limit = 10
    document = """query Runs($first: Int) { project(name: "p", entityName: "team") {
      runs(first: $first) { totalCount } } }"""
    upsert = """mutation UpsertBucket { upsertBucket(input: {modelName: "p", entityName: "team",
      name: "r"}) { bucket { name } } }"""
    wire.ask(upsert, {})
    error = failure(lambda: wire.ask(document, {"first": 100}))
    assert type(error) is TooMuchError


def test_messages_are_short_and_without_secrets(canned: Make) -> None:
    said = f"key {SECRET} at\n https://x/y?signature=5ec2e7 " + "long " * 100
    error = asked(canned(says(said)))
    assert "key *** at https://x/y long" in str(error)
    assert len(str(error)) < 300


# files


def test_a_file_of_the_server_is_read_whole(wire: Wire, server: Any) -> None:
    content = bytes(range(256)) * 5000
    server.state.storage.write("k", content)
    with wire.open(server.state.storage.url("k")) as file:
        assert file.read(3) == content[:3]
        assert file.read() == content[3:]
        assert file.read(1) == b""


def test_an_address_without_a_host_is_one_of_the_server_and_gets_the_key(canned: Make) -> None:
    made = canned(b"content")
    assert Wire(made.login).open("/files/team/p/r/config.yaml").read() == b"content"
    assert made.requests[0].startswith(b"GET /files/team/p/r/config.yaml")
    assert b"Authorization: Basic " + BASIC in made.requests[0]


def test_another_port_gets_no_key_and_no_password_of_a_netrc(
    canned: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login x password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    own, other = canned(b""), canned(b"content")
    assert Wire(own.login).open(other.address + SIGNED).read() == b"content"
    own.answer = (
        f"HTTP/1.1 307 Moved\r\nLocation: {other.address}{SIGNED}\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    assert Wire(own.login).open("/files/a").read() == b"content"
    Wire(own.login).put(other.address + SIGNED, io.BytesIO(b"x"), [])
    assert len(other.requests) == 3
    assert b"authorization" not in b"".join(other.requests).lower()


def test_headers_of_a_user_go_to_the_server_alone(canned: Make) -> None:
    own, other = canned(b'{"data": {}}'), canned(b"content")
    wire = Wire(replace(own.login, headers=(("X-Gate", "opensesame"), ("Authorization", "mine"))))
    wire.ask("query Q { viewer { id } }", {})
    wire.open("/files/a").read()
    for request in own.requests:
        assert b"X-Gate: opensesame" in request
        assert b"Authorization: Basic " + BASIC in request
    wire.open(own.address + SIGNED).read()
    assert b"opensesame" not in own.requests[-1]
    own.answer = (
        f"HTTP/1.1 307 Moved\r\nLocation: {other.address}{SIGNED}\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    wire.open("/files/a").read()
    wire.open(other.address + SIGNED).read()
    wire.put(other.address + SIGNED, io.BytesIO(b"x"), [])
    assert len(other.requests) == 3
    assert b"opensesame" not in b"".join(other.requests)
    assert "opensesame" not in repr(wire.login)


def test_a_header_that_cannot_be_sent_is_not_shown(canned: Make) -> None:
    wire = Wire(replace(canned(b"").login, headers=(("X-Gate", "open\nsesame"),)))
    with pytest.raises(ConfigError) as caught:
        wire.ask("query Q { viewer { id } }", {})
    assert "sesame" not in str(caught.value)


def test_a_signed_address_beside_the_server_gets_no_key(canned: Make) -> None:
    made = canned(b"content")
    Wire(made.login).open(made.address + SIGNED).read()
    assert b"authorization" not in made.requests[0].lower()


def test_a_compressed_file_is_decoded(canned: Make) -> None:
    content = b"abc" * 100000
    made = canned(gzip.compress(content), Content_Encoding="gzip")
    assert Wire(made.login).open("/f").read() == content


@pytest.mark.parametrize("read", [lambda file: file.read(), lambda file: list(file)])
@pytest.mark.parametrize("size", [10, 1 << 20])
def test_a_download_that_breaks_off_never_looks_like_an_end(
    canned: Make, read: Callable[[Any], object], size: int
) -> None:
    made = canned(b"x" * size, Content_Length=str(size + 1))
    with Wire(made.login).open(SIGNED) as file:
        for _ in range(2):
            error = failure(lambda: read(file))
            assert isinstance(error, TransientError)
            assert str(error) == f"{made.address}/bucket/file: broke off a download"


def test_chunks_that_break_off_are_no_end(canned: Make) -> None:
    made = canned(b"5\r\nhello\r\n", Content_Length="", Transfer_Encoding="chunked")
    with Wire(made.login).open("/f") as file:
        assert isinstance(failure(file.read), TransientError)


@pytest.mark.parametrize("status", ["400 Bad", "403 Forbidden", "404 Not Found", "410 Gone"])
def test_a_file_that_is_not_there_is_told_from_one_that_is_not_given(
    canned: Make, status: str
) -> None:
    made = canned(b"<Error/>", status)
    error = failure(lambda: Wire(made.login).open(SIGNED))
    missing = status.startswith(("404", "410"))
    assert type(error) is (NotFoundError if missing else RefusedError)
    assert ("expired" in str(error)) != missing


@pytest.mark.parametrize("status", ["400 Bad", "403 Forbidden", "404 Not Found", "410 Gone"])
def test_an_address_for_uploads_that_has_expired_is_asked_for_anew(
    canned: Make, status: str
) -> None:
    made = canned(b"<Error/>", status)
    error = failure(lambda: Wire(made.login).put(SIGNED, io.BytesIO(b"x"), []))
    assert type(error) is TransientError
    assert "expired" in str(error)


@pytest.mark.parametrize("status", ["429 Slow", "503 Slow"])
def test_storage_that_is_busy_is_transient(canned: Make, status: str) -> None:
    made = canned(status=status, Retry_After="9")
    for act in (
        lambda: Wire(made.login).open(SIGNED),
        lambda: Wire(made.login).put(SIGNED, io.BytesIO(b"x"), []),
    ):
        error = failure(act)
        assert isinstance(error, TransientError)
        assert error.retry_after == 9


def test_a_key_that_is_refused_for_a_file_is_named(canned: Make) -> None:
    error = failure(lambda: Wire(canned(status="401 Who").login).open("/files/x"))
    assert type(error) is ConfigError


def test_an_unusable_address_is_told(canned: Make) -> None:
    wire = Wire(canned().login)
    for url in ("gs://bucket/x?sig=5ec2e7", "http://[x?sig=5ec2e7"):
        assert isinstance(failure(lambda url=url: wire.open(url)), ConfigError)  # type: ignore[misc]


# uploads


def test_a_stream_is_uploaded_with_its_length_and_headers(canned: Make, tmp_path: Path) -> None:
    made = canned()
    path = tmp_path / "file"
    path.write_bytes(b"skipped" + b"x" * 100000)
    with path.open("rb") as data:
        data.seek(7)
        Wire(made.login).put(SIGNED, data, ["Content-Type: text/x", "x-goog:a:b"])
    head, _, body = made.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /bucket/file?X-Amz-Signature=5ec2e7")
    for line in (b"Content-Length: 100000", b"Content-Type: text/x", b"x-goog: a:b"):
        assert line in head.split(b"\r\n")
    assert b"chunked" not in head.lower()
    assert body == b"x" * 100000


class Pipe(io.RawIOBase):
    """A stream that can only be read."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._content.readinto(buffer)


@pytest.mark.parametrize("content", [b"", b"x" * 3000000])
@pytest.mark.parametrize("kind", [io.BytesIO, Pipe])
def test_an_upload_has_a_length_whatever_the_stream(
    canned: Make, content: bytes, kind: Callable[[bytes], Any]
) -> None:
    made = canned()
    Wire(made.login).put(SIGNED, kind(content), [])
    head, _, body = made.requests[0].partition(b"\r\n\r\n")
    assert f"content-length: {len(content)}".encode() in head.lower().split(b"\r\n")
    assert body == content


def test_what_was_uploaded_is_there(wire: Wire, server: Any) -> None:
    wire.put(server.state.storage.url("k", "PUT"), io.BytesIO(b"content"), [])
    assert wire.open(server.state.storage.url("k")).read() == b"content"


@pytest.mark.parametrize("how", ["drop", "lose", "kill"])
def test_an_upload_that_breaks_off_is_transient(wire: Wire, server: Any, how: str) -> None:
    server.faults.fail("upload", how)
    url = server.state.storage.url("k", "PUT")
    error = failure(lambda: wire.put(url, io.BytesIO(b"x" * 1000000), []))
    assert isinstance(error, TransientError)
    server.down.wait() if how == "kill" else None


class Torn(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise OSError(5, "Input/output error")


def test_a_file_that_cannot_be_read_is_no_fault_of_the_connection(canned: Make) -> None:
    error = failure(lambda: Wire(canned().login).put(SIGNED, Torn(b"x" * 10), []))
    assert type(error) is IntegrityError
