"""Whatever happens to the mirror, a program and MLflow are as they are without it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from unit.mirror_mlflow.programs import BEGIN, MIRROR, Result, done, logged, mirrored, rows, run

PROGRAM = """
    with mlflow.start_run(run_name="r"):
        print(mlflow.log_param("lr", 0.1))
        mlflow.log_metrics({"a": 1.0, "b": 2.0}, step=1, timestamp=1_700_000_000_000)
        mlflow.set_tag("t", "v")
        mlflow.log_text("text", "text.txt")
    print(len(mlflow.search_runs()))
    sys.exit(7)
"""
UNTOUCHED = """
    from mlflow.tracking._tracking_service.client import TrackingServiceClient as Client
    assert Client.set_tag.__code__.co_filename.endswith("_tracking_service/client.py")
"""
BREAKS = """
import warnings
from trackbridge_adapters.mlflow.mirror.runs import MirroredRun, Runs
def broken(*args, **options): raise RuntimeError("broken")
"""


def _behaviour(result: Result) -> tuple[int, str]:
    return result.returncode, result.stdout


@pytest.mark.parametrize("name", ["TRACKBRIDGE_DISABLED", "RANK"])
def test_nothing_is_mirrored_where_it_is_switched_off(
    name: str, database: str, tmp_path: Path
) -> None:
    result = run(UNTOUCHED + PROGRAM, database, tmp_path, environment={name: "1"})
    assert _behaviour(result) == (7, "0.1\n1\n")
    assert not (tmp_path / "trackbridge").exists()


def test_a_folder_that_cannot_be_written_to_is_told_of_at_the_end(
    database: str, tmp_path: Path
) -> None:
    (tmp_path / "trackbridge").write_text("a file")
    result = run(PROGRAM, database, tmp_path)
    assert _behaviour(result) == (7, "0.1\n1\n")
    assert "calls could not be kept" in result.stderr
    assert len(rows(logged(database, tmp_path), "metrics")) == 2


@pytest.mark.parametrize("warnings", ["default", "error"])
@pytest.mark.parametrize(
    "broken",
    [
        *("MirroredRun.metrics", "MirroredRun.params", "MirroredRun.tags", "MirroredRun.update"),
        *("MirroredRun.describe", "Runs.begin", "Runs.known", "Runs.leave"),
    ],
)
def test_a_mistake_of_the_mirror_changes_nothing(
    broken: str, warnings: str, database: str, tmp_path: Path
) -> None:
    begin = f"{BEGIN}{BREAKS}{broken} = broken\nwarnings.simplefilter('{warnings}', UserWarning)\n"
    result = run(PROGRAM, database, tmp_path, begin=begin)
    assert _behaviour(result) == (7, "0.1\n1\n")
    found = logged(database, tmp_path)
    assert len(rows(found, "metrics")) == 2
    assert [row["status"] for row in rows(found, "runs")] == ["finished"]
    assert warnings == "error" or "broken" in result.stderr


def test_a_mistake_is_counted_in_the_journal(database: str, tmp_path: Path) -> None:
    run(PROGRAM, database, tmp_path, begin=f"{BEGIN}{BREAKS}MirroredRun.params = broken\n")
    program = "with mlflow.start_run(): mlflow.log_metric('a', 'text')"
    assert run(program, database, tmp_path).returncode == 1
    extras = [row.get("extra", "") for row in rows(mirrored(tmp_path), "runs")]
    assert any("log_metric: ValueError" in extra for extra in extras)


def test_what_a_store_does_not_answer_to_is_kept_and_raised(database: str, tmp_path: Path) -> None:
    """The server goes away in the middle of a run: a point that it never got is in the journal."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{probe.getsockname()[1]}"
    program = f"""
        mlflow.start_run()
        mlflow.log_metric("a", 1.0)
        from mlflow.store.tracking.rest_store import RestStore
        from mlflow.tracking._tracking_service import utils
        from mlflow.utils.rest_utils import MlflowHostCreds
        gone = RestStore(lambda: MlflowHostCreds("{nowhere}"))
        utils._tracking_store_registry.get_store = lambda *args, **options: gone
        try:
            MlflowClient().log_metric(mlflow.active_run().info.run_id, "b", 2.0)
        except mlflow.exceptions.MlflowException as error:
            print(type(error).__name__, flush=True)
        os._exit(0)
    """
    fast = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "2"}
    assert done(program, database, tmp_path, environment=fast) == "MlflowException\n"
    assert [row["key"] for row in rows(mirrored(tmp_path), "metrics")] == ["a", "b"]


def test_a_run_that_the_store_does_not_know_is_not_begun(database: str, tmp_path: Path) -> None:
    program = """
        try:
            MlflowClient().log_metric("0" * 32, "a", 1.0)
        except mlflow.exceptions.MlflowException as error:
            print(error.error_code)
    """
    assert done(program, database, tmp_path) == "RESOURCE_DOES_NOT_EXIST\n"
    assert not (tmp_path / "trackbridge").exists()


def test_methods_look_as_they_are(database: str, tmp_path: Path) -> None:
    program = """
        import inspect
        from mlflow.tracking._tracking_service.client import TrackingServiceClient as Client
        print(inspect.signature(Client.set_tag), Client.set_tag.__name__)
        try:
            Client(sys.argv[1]).set_tag()
        except TypeError as error:
            print(error)
    """
    plain = done(program, database, tmp_path, begin=BEGIN.replace(MIRROR, ""))
    assert done(program, database, tmp_path) == plain


def test_mlflow_is_not_imported_before_the_program_does(tmp_path: Path) -> None:
    program = "assert 'mlflow' not in sys.modules"
    done(program, "", tmp_path, begin=f"import sys\n{MIRROR}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_lock_that_is_held_in_a_fork_is_free_in_the_child(database: str, tmp_path: Path) -> None:
    program = """
        from trackbridge_adapters.mlflow import mirror
        lock = mirror._installed[0]._runs._lock
        import threading
        held = threading.Event()
        def hold():
            with lock:
                held.set(); time.sleep(300)
        threading.Thread(target=hold, daemon=True).start()
        held.wait()
        child = os.fork()
        if not child:
            with mlflow.start_run(): mlflow.log_metric("a", 1.0)
            os._exit(0)
        print(os.waitpid(child, 0)[1], flush=True)
        os._exit(0)
    """
    assert done(program, database, tmp_path).split()[-1] == "0"
    assert len(rows(mirrored(tmp_path), "metrics")) == 1
