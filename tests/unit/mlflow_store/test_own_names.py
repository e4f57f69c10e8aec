"""Only what Trackbridge itself writes is hidden: names that begin alike are a user's own."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from trackbridge.adapter import SIDECAR, FileRef, Query, RunKey
from trackbridge.engine import migrate
from trackbridge.fit_text import fit_name
from trackbridge.testing import MadeRun
from trackbridge.testing.base import rows_of
from trackbridge.testing.made import deliver
from trackbridge_adapters.mlflow import ADAPTER
from trackbridge_adapters.mlflow.capabilities import SQL
from trackbridge_adapters.mlflow.entities import EXTRA_TAG, KEY_TAG, VERSION_TAG

Create = Callable[[Path, Path], None]
TAGS = {"trackbridge.comment": "by hand", "trackbridgeX": "y", EXTRA_TAG: "e", VERSION_TAG: "v"}
FILES = {"trackbridge/notes.txt": "precious", "trackbridge/deep/x": "x", SIDECAR: "a zip of mine"}


def read(place: Path) -> dict[str, list[dict[str, Any]]]:
    reader = ADAPTER.reader(str(place), {})
    refs = [info.ref for info in reader.list_runs(Query())]
    return {**rows_of(reader.read_runs(refs)), **rows_of(reader.read_shared(Query()))}


def tags(rows: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    found = {row["key"]: row["value"] for row in rows["tags"]}
    return {key: value for key, value in found.items() if not key.startswith("mlflow.")}


@pytest.fixture(params=["database", "file store"])
def source(
    tmp_path: Path,
    create: Create,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A store in which a user has called things like Trackbridge's own."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    place = tmp_path / "source" / ("mlruns" if request.param == "file store" else "s.db")
    if request.param == "database":
        create(place, place.parent / "mlruns")
    client = MlflowClient(str(place) if request.param == "file store" else f"sqlite:///{place}")
    files = str(place.parent / "files") if request.param == "database" else None
    number = client.create_experiment("p", files, tags={"trackbridge.team": "me", KEY_TAG: "k"})
    run = client.create_run(number).info.run_id
    for key, value in TAGS.items():
        client.set_tag(run, key, value)
    for path, content in FILES.items():
        client.log_text(run, content, path)
    client.set_terminated(run)
    return place


def test_a_users_names_are_read(source: Path) -> None:
    rows = read(source)
    assert tags(rows) == TAGS
    assert {row["path"] for row in rows["files"]} == set(FILES)
    (project,) = [row for row in rows["projects"] if row["project"] == "p"]
    assert json.loads(project["tags"]).items() >= {"trackbridge.team": "me", KEY_TAG: "k"}.items()
    (info,) = ADAPTER.reader(str(source), {}).list_runs(Query())
    assert (info.carried, info.files) == (False, len(FILES))


def test_a_users_names_arrive_in_mlflow(source: Path, tmp_path: Path) -> None:
    for path in source.parent.rglob("sidecar.zip"):
        path.unlink()
    assert migrate(str(source), str(tmp_path / "t.db")).verified
    rows = read(tmp_path / "t.db")
    assert tags(rows) == TAGS
    assert {row["path"] for row in rows["files"]} == set(FILES) - {SIDECAR}
    (project,) = [row for row in rows["projects"] if row["project"] == "p"]
    assert json.loads(project["tags"])["trackbridge.team"] == "me"


def test_of_a_run_that_was_brought_just_the_key_and_the_sidecar_are_hidden(tmp_path: Path) -> None:
    writer = ADAPTER.writer(str(tmp_path / "t.db"), {})
    row = {"name": "r", "status": "finished", "deleted": False}
    pairs = [{"key": key, "value": value} for key, value in TAGS.items()]
    run = MadeRun(RunKey("mlflow", "", "p", "a" * 32), {"runs": [row], "tags": pairs})
    with writer.open([run.key]) as sink:
        deliver(writer, sink, [run])
        for path, content in FILES.items():
            data = io.BytesIO(content.encode())
            sink.put_file(FileRef(writer.target(run.key), "", path), data)
        sink.commit()
    rows = read(tmp_path / "t.db")
    assert tags(rows) == TAGS
    assert {row["path"] for row in rows["files"]} == set(FILES) - {SIDECAR}
    (info,) = writer.list_runs(Query())
    assert (info.carried, info.files) == (True, len(FILES) - 1)


def test_a_tag_that_would_be_taken_for_the_key_is_renamed() -> None:
    assert fit_name(KEY_TAG, SQL.names["tags"]) != KEY_TAG
    for key in TAGS:
        assert fit_name(key, SQL.names["tags"]) == key
