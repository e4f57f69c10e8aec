"""An answer that is lost or refused, a full disk: nothing is doubled, lost or called otherwise."""

from __future__ import annotations

import errno
import io
import tempfile
from typing import Any

import pytest
from faulty import answering

from trackbridge.adapter import FileRef, RunRef
from trackbridge.errors import ConfigError, IntegrityError, TransientError
from trackbridge_adapters.mlflow import rest_left, rest_models
from trackbridge_adapters.mlflow.rest_files import Place
from trackbridge_adapters.mlflow.rest_ids import Ids
from trackbridge_adapters.mlflow.rest_registry import Registry
from trackbridge_adapters.mlflow.rest_runs import Writing
from trackbridge_adapters.mlflow.rest_server import BrokenError, Json, Server
from trackbridge_adapters.mlflow.rest_spool import Spool

FILE = FileRef(RunRef("project", "a" * 32), "", "a.bin")


class FullDisk(io.BytesIO):
    """A file on a disk without room."""

    def write(self, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


class Unreadable(io.BytesIO):
    """A stream that breaks off."""

    def read(self, size: int | None = -1) -> bytes:
        raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("limit", [None, "2"])
def test_what_makes_something_is_sent_only_once(
    limit: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if limit is not None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", limit)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    with answering(503, b"") as (address, asked), pytest.raises(TransientError):
        Server(address).create("mlflow/runs/create", {})
    assert len(asked) == 1


def test_a_full_disk_is_no_broken_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", FullDisk)
    with (
        answering(200, b"content") as (address, _),
        pytest.raises(ConfigError, match=r"No space left on device.*TMPDIR"),
    ):
        Server(address).download("/get-artifact", {})


def test_a_file_that_cannot_be_read_is_no_full_disk() -> None:
    spool = Spool()
    try:
        with pytest.raises(OSError, match="Input/output error"):
            spool.put(FILE, Unreadable())
    finally:
        spool.close()


def test_a_disk_that_cannot_be_written_is_named() -> None:
    spool = Spool()
    spool.close()  # its folder is gone
    with pytest.raises(ConfigError, match="a temporary file cannot be written"):
        spool.put(FILE, io.BytesIO(b"x"))


@pytest.mark.parametrize("text", ["it's", 'a"b', "a\\b", "", "a b"])
def test_text_that_is_no_id_is_not_searched_for(text: str) -> None:
    class Experiments:
        rows = [{"experiment_id": "1"}]  # noqa: RUF012

    server: Any = None  # is not asked
    experiments: Any = Experiments()
    ids = Ids(server)
    assert list(ids.find([text], experiments)) == [None]
    assert ids.every(text, experiments) == []
    assert ids.ours(text) == text


def test_a_refusal_is_not_taken_for_a_missing_file() -> None:
    refused = b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "not so"}'
    with answering(400, refused) as (address, _):
        place = Place(Server(address), "/srv/artifacts", "a" * 32)
        with pytest.raises(IntegrityError, match="not so"):
            place.opened("a.txt")
    with answering(404, b"") as (address, _):
        assert Place(Server(address), "/srv/artifacts", "a" * 32).opened("a.txt") is None


def test_a_kind_that_the_server_fails_at_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(server: Server, number: str) -> Any:
        raise BrokenError("500")

    monkeypatch.setattr(rest_left, "KINDS", {"traces": (failing, "request_id")})
    found = rest_left.counts(Server("http://127.0.0.1:1"), ["7"])
    assert found == {"7": {"traces that could not be counted": 1}}


def test_a_run_that_is_nowhere_once_it_is_written_is_written_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Ids, "every", lambda *_: [])
    server = Server("http://127.0.0.1:1")
    nothing: Any = None
    writing = Writing(server, Ids(server), {}, Spool(), nothing)
    with pytest.raises(TransientError, match="written anew"):
        writing._agree(FILE.run, [])


def test_a_version_that_is_refused_for_another_reason_than_its_source_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def create(self: Server, path: str, body: Json) -> Json:
        asked.append(body["source"])
        word = "tag is too long" if len(asked) == 1 else "no"
        raise IntegrityError(f"create refused: {word}")

    monkeypatch.setattr(Server, "create", create)
    nothing: Any = None
    registry = Registry(Server("http://127.0.0.1:1"), nothing, nothing)
    places = [{"source": "s3://bucket/a"}, {"source": "trackbridge-missing:/a/1"}]
    row = {"name": "a", "version": "1", "description": None}
    with pytest.raises(IntegrityError, match="tag is too long"):
        registry._create_version(row, places, {})
    assert asked == ["s3://bucket/a"]


def test_runs_and_models_are_made_by_requests_that_are_sent_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []

    def create(self: Server, path: str, body: Json) -> Json:
        made.append(path)
        raise TransientError("lost")

    monkeypatch.setattr(Server, "create", create)
    server = Server("http://127.0.0.1:1")
    row = {"version": "m-1", "collection": "a", "metadata": "{}", "created": None}
    with pytest.raises(TransientError):
        rest_models.create(server, row, "a" * 32, "1")
    assert made == ["mlflow/logged-models"]
