"""What goes wrong with a server is one clear line that names the way out."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from faulty import answering
from mlflow_servers import free_port

from trackbridge.adapter import Query
from trackbridge.cli import main
from trackbridge.errors import BridgeError, ConfigError, NotFoundError, TransientError
from trackbridge_adapters.mlflow import ADAPTER, rest_runs
from trackbridge_adapters.mlflow.rest_ids import Experiments, Ids
from trackbridge_adapters.mlflow.rest_registry import Registry
from trackbridge_adapters.mlflow.rest_server import Server

QUEUED = (
    '{"error_code": "BAD_REQUEST", "message": "QueuePool limit of size 5 overflow 10 reached,'
    ' connection timed out, timeout 30.00"}'
)
KNOWN = '{"error_code": "%s", "message": "of the server\\nin lines"}'


def failure(address: str) -> BridgeError:
    """The error of a listing, which is one line without secrets."""
    with pytest.raises(BridgeError) as caught:
        list(ADAPTER.reader(address, {}).list_runs(Query()))
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.fixture(autouse=True)
def _no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def test_a_server_that_is_down_may_come_back() -> None:
    error = failure(f"http://127.0.0.1:{free_port()}")
    assert isinstance(error, TransientError)
    assert "is the server running?" in str(error)


def test_a_host_that_does_not_exist_is_a_mistake_in_the_address() -> None:
    error = failure("http://no-such-host.invalid:5000")
    assert isinstance(error, ConfigError) and "no-such-host.invalid" in str(error)


@pytest.mark.parametrize(
    ("state", "body", "kind", "words"),
    [
        (401, "", ConfigError, "MLFLOW_TRACKING_USERNAME"),
        (403, KNOWN % "PERMISSION_DENIED", ConfigError, "of the server in lines"),
        (404, "<html><p>Not Found</p></html>", ConfigError, "is it an MLflow server"),
        (404, KNOWN % "RESOURCE_DOES_NOT_EXIST", NotFoundError, "of the server"),
        (200, "<html>hello</html>", ConfigError, "not as MLflow does"),
        (400, KNOWN % "INVALID_PARAMETER_VALUE", BridgeError, "refused: of the server"),
        (400, QUEUED, TransientError, "QueuePool limit of size 5"),
        (500, KNOWN % "INTERNAL_ERROR", TransientError, "500 of the server"),
        (503, "", TransientError, "503"),
    ],
)
def test_an_answer_that_is_none_is_named(
    state: int, body: str, kind: type[BridgeError], words: str
) -> None:
    with answering(state, body.encode()) as (address, _):
        error = failure(address)
    assert isinstance(error, kind) and words in str(error)


def test_a_server_that_is_asked_too_often_says_how_long_to_wait() -> None:
    with answering(429, b"", Retry_After="7") as (address, _):
        error = failure(address)
    assert isinstance(error, TransientError) and error.retry_after == 7.0


@pytest.mark.parametrize("state", [429, 503])
@pytest.mark.parametrize("tries", [None, "2"])
def test_a_long_wait_that_a_server_wishes_is_an_error_at_once(
    state: int, tries: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    if tries:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", tries)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"slept {seconds} s"))
    with answering(state, b"", Retry_After="3600") as (address, asked):
        with pytest.raises(TransientError, match=r"left alone for 3,600 s") as caught:
            Server(address).get("mlflow/runs/get")
        assert len(asked) == 1
    assert caught.value.retry_after == 3600


def test_a_short_wait_that_a_server_wishes_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    with answering(429, b"", Retry_After="7") as (address, asked):
        with pytest.raises(TransientError):
            Server(address).get("mlflow/runs/get")
        assert len(asked) == 3
    assert slept == [7, 7]


def test_an_answer_that_lacks_what_it_is_to_have_is_named() -> None:
    with answering(200, b"{}") as (address, _):
        server = Server(address)
        for step in (
            lambda: rest_runs.create(server, "1", {"user": "", "started": None, "name": ""}, {}),
            lambda: Ids(server).get("a" * 32),
            lambda: Registry(server, Ids(server), Experiments(server)).experiment("project"),
        ):
            with pytest.raises(ConfigError, match=f"^{address}: answers, but not as MLflow does"):
                step()


def test_a_password_in_the_address_is_never_shown() -> None:
    with answering(403, b"") as (address, _):
        place = address.replace("http://", "http://ann:s3cret@")
        reader = ADAPTER.reader(place, {})
        assert reader.address == f"mlflow:{address}"
        assert "s3cret" not in str(failure(place))


def test_only_a_workspace_may_follow_an_address() -> None:
    assert Server("http://host?workspace=team").workspace == "team"
    with pytest.raises(ConfigError, match="workspace"):
        Server("http://host?token=x")


def test_an_artifact_root_cannot_be_chosen_for_a_server() -> None:
    with pytest.raises(ConfigError, match="chooses for itself"):
        ADAPTER.writer("http://127.0.0.1:1", {"artifact_root": "/tmp/x"})


def test_doctor_tells_a_dead_server_from_a_good_one(proxied: str) -> None:
    dead = f"mlflow:http://127.0.0.1:{free_port()}"
    result = CliRunner().invoke(main, ["doctor", f"mlflow:{proxied}", dead])
    assert result.exit_code == 1
    assert "runs can be listed" in result.output
    assert "is the server running?" in result.output


def test_a_server_is_recognized_without_a_scheme_of_ours(proxied: str) -> None:
    assert ADAPTER.recognizes(proxied)
    with answering(200, b"hello") as (address, _):
        assert not ADAPTER.recognizes(address)
