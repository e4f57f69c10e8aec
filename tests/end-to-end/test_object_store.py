"""Archives in an object store, over HTTP: written, sealed, checked, read back where they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import s3_server
from click.testing import CliRunner, Result
from s3fs import S3FileSystem

from trackbridge import retry
from trackbridge.cli import main

PLACE = "s3://records/of a team/archive"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server.server(tmp_path_factory.mktemp("s3")) as address:
        yield address


@pytest.fixture
def bucket(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket, and a client of another make that looks into it."""
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()  # they keep what the environment was
    made = boto3.resource("s3").create_bucket(Bucket="records")
    yield made
    made.objects.all().delete()
    made.delete()
    S3FileSystem.clear_instance_cache()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_records_go_into_an_object_store_and_come_home(
    bucket: Any, copied: Callable[[str], Path], tmp_path: Path
) -> None:
    source, key = str(copied("mlflow-3.17/mlflow.db")), tmp_path / "key"
    assert run("export", source, PLACE, "--workers", "2").exit_code == 0
    again = run("export", source, PLACE)
    assert again.exit_code == 0 and " 0 copied, 0 updated" in again.stdout
    assert run("audit", "keygen", str(key), "--no-passphrase").exit_code == 0
    assert run("audit", "seal", PLACE, "--key", str(key)).exit_code == 0
    checked = run("audit", "check", PLACE, "--public-key", f"{key}.pub")
    assert checked.exit_code == 0, checked.output
    assert run("verify", source, f"archive:{PLACE}").exit_code == 0
    home = run("import", PLACE, str(tmp_path / "home" / "mlflow.db"))
    assert home.exit_code == 0, home.output
    assert run("verify", source, str(tmp_path / "home" / "mlflow.db")).exit_code == 0
    pages = run("audit", "view", PLACE, "--output", str(tmp_path / "pages"))
    assert pages.exit_code == 0 and (tmp_path / "pages" / "index.html").exists()


def test_an_object_that_was_changed_there_is_named(
    bucket: Any, copied: Callable[[str], Path], tmp_path: Path
) -> None:
    key = tmp_path / "key"
    for call in (
        ("export", str(copied("wandb-0.31/wandb")), PLACE),
        ("audit", "keygen", str(key), "--no-passphrase"),
        ("audit", "seal", PLACE, "--key", str(key)),
    ):
        done = run(*call)
        assert done.exit_code == 0, done.output
    changed = next(o for o in bucket.objects.all() if "/data/metrics/" in o.key)
    data = bytearray(changed.get()["Body"].read())
    data[len(data) // 2] ^= 1
    changed.put(Body=bytes(data))
    said = run("audit", "check", PLACE, "--json")
    assert said.exit_code == 1
    (problem,) = json.loads(said.stdout)["problems"]
    assert problem["path"] == changed.key.removeprefix("of a team/archive/")


def test_a_bucket_that_is_not_there_is_said_in_a_line(
    bucket: Any, copied: Callable[[str], Path]
) -> None:
    done = run("export", str(copied("mlflow-3.17/mlflow.db")), "s3://no-such-bucket/out")
    assert done.exit_code != 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ") and "no-such-bucket" in line


def test_a_server_that_does_not_answer_is_said_in_a_line(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(retry, "ATTEMPTS", 1)
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        S3FileSystem.clear_instance_cache()
        done = run("audit", "check", PLACE)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ") and "127.0.0.1:9" in line
