"""Receipts lie wherever fsspec reaches, and are kept by whoever has proven something."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from trackbridge.errors import ConfigError, TransientError
from trackbridge.receipts import Receipt, Receipts

NEEDS = "needs a server that speaks S3's protocol: .[dev]"
boto3 = pytest.importorskip("boto3", reason=NEEDS)
s3fs = pytest.importorskip("s3fs", reason=NEEDS)
pytest.importorskip("moto", reason=NEEDS)

PLACES = ["{}/state", "file://{}/state", "memory://state-of-tests", "s3://records/state"]
PROOF = [Receipt("x//p/run1", "here", "there", {"runs": "00"})]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    import s3_server

    with s3_server.server(tmp_path_factory.mktemp("s3")) as address:
        yield address


@pytest.fixture(params=PLACES)
def place(
    request: pytest.FixtureRequest, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The address of the state."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", store)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = boto3.resource("s3").create_bucket(Bucket="records")
    place = request.param.format(tmp_path)
    monkeypatch.setenv("TRACKBRIDGE_STATE", place)
    yield place
    bucket.objects.all().delete()
    system, path = fsspec.core.url_to_fs(place)
    if system.exists(path):
        system.rm(path, recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


def test_what_is_added_is_there_for_everybody(place: str) -> None:
    ours = Receipts("memory:a", "memory:b")
    theirs = pickle.loads(pickle.dumps(ours))
    assert ours.latest() == theirs.latest() == {}
    ours.add("one", PROOF)
    assert list(theirs.latest()) == ["x//p/run1"]
    theirs.add("two", [Receipt("x//p/run2", "here", "there", {})])
    assert list(ours.latest()) == ["x//p/run1", "x//p/run2"]
    system, path = fsspec.core.url_to_fs(place, use_listings_cache=False)
    assert sorted(found.rpartition("/")[2] for found in system.find(path)) == [
        "one.json",
        "two.json",
    ]


def test_a_worker_keeps_receipts_where_the_caller_sees_them(place: str) -> None:
    ours = Receipts("memory:a", "memory:b")
    theirs = pickle.loads(pickle.dumps(ours))
    ours.share()
    assert theirs.add_for_others("one", PROOF)
    assert ours.has("one")
    assert list(ours.latest()) == ["x//p/run1"]


def test_a_worker_that_sees_no_folder_of_the_job_leaves_them_to_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKBRIDGE_STATE", str(tmp_path / "state"))
    theirs = Receipts("memory:a", "memory:b")
    assert not theirs.add_for_others("one", PROOF)
    assert not (tmp_path / "state").exists()


def test_an_object_store_that_does_not_answer_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trackbridge.retry.ATTEMPTS", 1)
    monkeypatch.setenv("TRACKBRIDGE_STATE", "s3://records/state")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises((TransientError, ConfigError), match="s3://records/state") as caught:
        Receipts("memory:a", "memory:b").latest()
    assert "\n" not in str(caught.value)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize("fault", [OSError(16, "Please reduce your request rate"), EOFError("cut")])
def test_a_receipt_that_cannot_be_read_for_a_while_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    monkeypatch.setenv("TRACKBRIDGE_STATE", f"memory://{tmp_path.as_posix()}")
    monkeypatch.setattr("trackbridge.retry._backoff", lambda _: 0.0)
    receipts = Receipts("memory:a", "memory:b")
    receipts.add("older", [Receipt("x//p/run1", "before", "there", {})])
    receipts.add("newer", PROOF)
    cat, faults = MemoryFileSystem.cat_file, [fault]

    def faulty(system: MemoryFileSystem, path: str, *args: object, **more: object) -> object:
        if faults and path.endswith("newer.json"):
            raise faults.pop()
        return cat(system, path, *args, **more)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", faulty)
    if isinstance(fault, OSError):
        assert receipts.latest()["x//p/run1"].fingerprint == "here"
    else:
        with pytest.raises(ConfigError, match="cut"):
            receipts.latest()
    assert not faults
