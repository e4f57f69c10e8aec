"""Files of runs through MLflow's artifact repositories: listed, read, written, removed."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from trackbridge.errors import BridgeError, ConfigError, IntegrityError, TransientError
from trackbridge_adapters.mlflow.repository import Repository

FILES = {
    "notes.txt": b"hello\r\n",
    "deep/er/a name, with 漢字 & spaces.bin": bytes(range(256)) * 5000,
    "deep/empty": b"",
}


def put_all(repository: Repository) -> None:
    for path, content in FILES.items():
        repository.put(path, io.BytesIO(content))


@pytest.fixture(params=["proxied", "folder", "file"])
def repository(request: pytest.FixtureRequest, root: Path) -> Repository:
    """The files of a run behind a server's proxy, or in a folder."""
    if request.param == "proxied":
        address = request.getfixturevalue("proxied")
        run = MlflowClient(address).create_run("0")
        return Repository(run.info.artifact_uri, address)
    return Repository(str(root) if request.param == "folder" else root.as_uri())


def test_what_was_put_is_listed_with_its_size_and_read_byte_for_byte(
    repository: Repository,
) -> None:
    put_all(repository)
    damage: list[str] = []
    # a proxy does not say the size of an empty file (handlers.py, `file_size`, 3.17)
    assert {e.path: e.size or 0 for e in repository.walk(damage)} == {
        path: len(content) for path, content in FILES.items()
    }
    assert damage == []
    for path, content in FILES.items():
        file = repository.opened(path)
        assert file is not None
        with file:
            assert file.read() == content


def test_an_empty_place_has_no_files_and_no_damage(repository: Repository) -> None:
    damage: list[str] = []
    assert list(repository.walk(damage)) == []
    assert damage == []


def test_a_file_that_is_put_again_is_replaced(repository: Repository) -> None:
    repository.put("a.txt", io.BytesIO(b"old"))
    repository.put("a.txt", io.BytesIO(b"new"))
    file = repository.opened("a.txt")
    assert file is not None and file.read() == b"new"


def test_a_missing_file_is_none_and_so_is_a_folder(repository: Repository) -> None:
    put_all(repository)
    assert repository.opened("nothing") is None
    assert repository.opened("deep/nothing/at/all") is None
    assert repository.opened("deep") is None


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "a/../../b", "nul\0"])
def test_a_path_that_leads_out_is_refused(repository: Repository, path: str) -> None:
    with pytest.raises(IntegrityError, match="not a path below"):
        repository.opened(path)
    with pytest.raises(IntegrityError, match="not a path below"):
        repository.put(path, io.BytesIO(b"x"))


def test_deleting_leaves_no_files(repository: Repository) -> None:
    put_all(repository)
    repository.delete()
    assert list(repository.walk([])) == []


def test_a_download_leaves_nothing_behind_once_it_is_closed(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_all(repository)
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    file = repository.opened("notes.txt")
    assert file is not None and len(list(place.rglob("*"))) == 2
    file.close()
    assert repository.opened("nothing") is None
    assert list(place.iterdir()) == []


def test_a_scheme_that_nobody_knows_is_damage_of_that_run_alone() -> None:
    damage: list[str] = []
    assert list(Repository("gopher://host/files").walk(damage)) == []
    assert len(damage) == 1 and "gopher" in damage[0] and "\n" not in damage[0]


def test_storage_whose_client_is_missing_or_rights_are_lacking_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(BridgeError) as caught:
        Repository("s3://bucket/files").opened("a")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("s3://bucket/files: ")


def test_a_server_that_is_down_is_a_fault_that_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TransientError):
        list(Repository("mlflow-artifacts:/0/run", "http://127.0.0.1:1").walk([]))


def test_a_folder_that_cannot_be_written_is_a_mistake_of_the_user() -> None:
    with pytest.raises((ConfigError, BridgeError)):
        Repository("/proc/nowhere").put("a", io.BytesIO(b"x"))
