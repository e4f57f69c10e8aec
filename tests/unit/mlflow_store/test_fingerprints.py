"""Fingerprints change with anything that changes of a run, and a listing stays cheap."""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from trackbridge.adapter import SIDECAR, FileRef, Query, RunInfo, RunKey
from trackbridge.testing import MadeRun
from trackbridge.testing.made import deliver
from trackbridge_adapters.mlflow import ADAPTER
from trackbridge_adapters.mlflow.sqlite import FileSession

Create = Callable[[Path, Path], None]
FIXTURES = Path(__file__).parents[3] / "fixtures"


def listed(place: Path) -> dict[str, RunInfo]:
    infos = ADAPTER.reader(str(place), {}).list_runs(Query())
    return {info.ref.run_id: info for info in infos}


def changed(place: Path, change: Callable[[], object]) -> list[str]:
    """The runs whose fingerprint has changed, also where just they are asked for."""
    before = listed(place)
    assert before == listed(place)
    change()
    after = listed(place)
    for run_id, info in after.items():
        query = Query(run_ids=[run_id])
        assert list(ADAPTER.reader(str(place), {}).list_runs(query)) == [info]
    return [run_id for run_id in after if before[run_id].fingerprint != after[run_id].fingerprint]


@pytest.fixture
def database(tmp_path: Path, create: Create) -> tuple[Path, str, str]:
    """A database, a run that has made a model, and that model; another run has made another."""
    create(tmp_path / "mlflow.db", tmp_path / "mlruns")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    for name in ("other", "one"):
        run = client.create_run("0")
        model = client.create_logged_model("0", name, run.info.run_id, {"tag": "x"})
        file = Path(model.artifact_location, "MLmodel")
        file.parent.mkdir(parents=True)
        file.write_text("flavors: {}")
    return tmp_path / "mlflow.db", run.info.run_id, model.model_id


CHANGES: dict[str, Callable[[MlflowClient, str, str], object]] = {
    "tag": lambda client, _, model: client.set_logged_model_tags(model, {"quality": "gold"}),
    "value": lambda client, _, model: client.set_logged_model_tags(model, {"tag": "y"}),
    "no tag": lambda client, _, model: client.delete_logged_model_tag(model, "tag"),
    "param": lambda client, _, model: client.log_model_params(model, {"depth": "3"}),
    "metric": lambda client, run, model: client.log_metric(run, "acc", 1.0, model_id=model),
    "bytes": lambda client, _, model: Path(
        client.get_logged_model(model).artifact_location, "MLmodel"
    ).write_text("other"),
    "file": lambda client, _, model: Path(
        client.get_logged_model(model).artifact_location, "new"
    ).write_text("new"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_of_a_logged_model_are_changes_of_its_run(
    database: tuple[Path, str, str], change: str
) -> None:
    path, run, model = database
    client = MlflowClient(f"sqlite:///{path}")
    assert changed(path, lambda: CHANGES[change](client, run, model)) == [run]


@pytest.mark.parametrize("part", ["tags/new", "params/new", "metrics/new", "artifacts/new"])
def test_changes_of_a_logged_model_in_a_file_store_are_changes_of_its_run(
    tmp_path: Path, part: str
) -> None:
    shutil.copytree(FIXTURES / "mlflow-3.17" / "mlruns", tmp_path / "mlruns")
    model = next(path.parent for path in tmp_path.glob("mlruns/*/models/*/artifacts"))

    def change() -> None:
        (model / part).parent.mkdir(exist_ok=True)
        (model / part).write_text("x")

    assert len(changed(tmp_path / "mlruns", change)) == 1


def test_files_and_bytes_of_models_are_counted_with_their_run(
    database: tuple[Path, str, str],
) -> None:
    path, run, _ = database
    assert (listed(path)[run].files, listed(path)[run].size) == (1, len("flavors: {}"))


@pytest.mark.parametrize("damage", ["deleted", "cut", "touched"])
def test_damage_to_a_sidecar_changes_the_fingerprint(tmp_path: Path, damage: str) -> None:
    writer: Any = ADAPTER.writer(str(tmp_path / "t.db"), {})
    row = {"name": "r", "status": "finished", "deleted": False}
    run = MadeRun(RunKey("toy", "", "p", "r"), {"runs": [row]})
    with writer.open([run.key]) as sink:
        deliver(writer, sink, [run])
        sink.put_file(FileRef(writer.target(run.key), "", SIDECAR), io.BytesIO(b"a sidecar"))
        sink.commit()
    (file,) = tmp_path.rglob("sidecar.zip")

    def harm() -> None:
        if damage == "deleted":
            file.unlink()
        elif damage == "cut":
            time = file.stat().st_mtime_ns
            file.write_bytes(b"a side")
            os.utime(file, ns=(time, time))
        else:
            os.utime(file, ns=(1, 1))

    assert changed(tmp_path / "t.db", harm) == [writer.target(run.key).run_id]


def test_the_sidecar_is_where_stores_written_before_have_it() -> None:
    assert SIDECAR == "trackbridge/sidecar.zip"


def test_a_listing_asks_as_many_queries_for_many_runs_as_for_one(
    database: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = FileSession.fetch

    def counted(session: FileSession, query: str, *rest: Any) -> Any:
        asked.append(query)
        return real(session, query, *rest)

    monkeypatch.setattr(FileSession, "fetch", counted)
    listed(database[0])
    few = len(asked)
    with sqlite3.connect(database[0]) as connection:
        connection.executemany(
            "INSERT INTO runs (run_uuid, experiment_id, lifecycle_stage) VALUES (?, 0, 'active')",
            [(f"{number:032x}",) for number in range(100)],
        )
    connection.close()
    asked.clear()
    assert len(listed(database[0])) == 102
    assert len(asked) == few


def test_listing_loads_no_arrow(database: tuple[Path, str, str]) -> None:
    script = (
        "import sys; from trackbridge.adapter import Query;"
        "from trackbridge_adapters.mlflow import ADAPTER;"
        "print(len(list(ADAPTER.reader(sys.argv[1], {}).list_runs(Query()))));"
        "assert 'pyarrow' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for place, runs in ((database[0], 2), (FIXTURES / "mlflow-3.17" / "mlruns", 17)):
        command = [sys.executable, "-c", script, str(place)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert int(done.stdout) == runs
