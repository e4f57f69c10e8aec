"""What a program logs with MLflow reads from its journals as from MLflow itself."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from unit.mirror_mlflow.programs import (
    BEGIN,
    LOGS,
    MIRROR,
    begun,
    differences,
    done,
    logged,
    mirrored,
    rows,
)

from trackbridge import migrate
from trackbridge.adapter import Query
from trackbridge.registry import open_reader

RICH = """
    import numpy as np
    import pandas as pd
    import matplotlib; matplotlib.use("agg")
    import matplotlib.pyplot as plt

    with mlflow.start_run(run_name="rich", tags={"a": "b"}, description="notes"):
        mlflow.log_param("lr", 0.1)
        mlflow.log_params({"x.y": 1, "empty": "", "z": "ü" * 100})
        for step in range(20):
            mlflow.log_metrics({f"m{k}": step * k * 0.5 for k in range(5)}, step=step)
        mlflow.log_metrics({"late": 1, "zero": 0}, step=3, timestamp=1_600_000_000_123)
        mlflow.log_metric("nan", float("nan"))
        mlflow.log_metric("numpy", np.float32(0.1), step=2)
        mlflow.set_tags({"gone": "1", "stay": 2, "mlflow.note.content": "other notes"})
        mlflow.delete_tag("gone")
        mlflow.log_text("hi", "a/b.txt")
        mlflow.log_dict({"a": 1}, "d.json")
        mlflow.log_table({"c": [1, 2]}, "t.json")
        mlflow.log_table({"c": [3]}, "t.json")
        picture = np.zeros((4, 4, 3), np.uint8)
        mlflow.log_image(picture, "plain.png")
        mlflow.log_image(picture, key="shown", step=2)
        figure = plt.figure(); plt.plot([1, 2])
        mlflow.log_figure(figure, "figure.png")
        os.makedirs("some/deep", exist_ok=True)
        for name in ("one.txt", "deep/two.txt"):
            open(f"some/{name}", "w").write(name)
        mlflow.log_artifacts("some", "folder")
        mlflow.log_artifact("some", "as folder")
        data = mlflow.data.from_pandas(pd.DataFrame({"a": [1]}), name="data")
        mlflow.log_input(data, context="training", tags={"t": "u"})
        mlflow.log_input(data, context="again")
        with mlflow.start_run(nested=True, run_name="child"):
            mlflow.log_metric("c", 1.0)
    try:
        with mlflow.start_run(log_system_metrics=True):
            mlflow.log_metric("last", 1.0)
            raise SystemExit(3)
    except SystemExit:
        pass
"""
CLIENT = """
    from concurrent.futures import ThreadPoolExecutor
    from mlflow.entities import Metric, Param, RunTag

    client = MlflowClient()
    number = client.get_experiment_by_name(sys.argv[2]).experiment_id

    def work(index):
        run = client.create_run(number, run_name=f"r{index}", tags={"i": str(index)}).info.run_id
        for step in range(50):
            client.log_metric(run, "one", step / 3, step=step)
        at = 1_700_000_000_000
        points = [Metric("two", v, at + v // 3, v // 2) for v in range(10)]
        client.log_batch(run, points, [Param("p", 1)], [RunTag("t", "v")])
        client.log_batch(run, metrics=[Metric("same", v, at, 0) for v in range(3)])
        client.log_param(run, "q", None)
        client.update_run(run, name=f"renamed {index}")
        client.set_tag(run, "mlflow.source.name", "train.py")
        if index % 2:
            client.set_terminated(run, "KILLED", end_time=at + 5_000)
            client.log_metric(run, "after", 1.0)
        return run

    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(work, range(6)))
    client.delete_run(runs[0])
    client.delete_run(runs[1])
    client.restore_run(runs[1])
"""
LATER = """
    with mlflow.start_run(run_name="async") as run:
        for step in range(20):
            mlflow.log_metrics({"a": step, "b": step / 7}, step=step)
            mlflow.log_metric("c", step, step=step)
        mlflow.log_params({"p": 1})
        mlflow.set_tag("t", "v")
        mlflow.log_metric("d", 1.0, synchronous=False)
        import numpy as np
        mlflow.log_image(np.zeros((4, 4, 3), np.uint8), key="late", step=1, synchronous=False)
"""
LEARNING = """
    import numpy as np
    from sklearn.linear_model import LinearRegression, LogisticRegression

    given = np.random.default_rng(0).normal(size=(20, 2))
    mlflow.sklearn.autolog()
    with mlflow.start_run():
        LogisticRegression().fit(given, given[:, 0] > 0)
    mlflow.sklearn.autolog(disable=True)
    with mlflow.start_run():
        mlflow.log_metrics({"loss": 0.5, "other": 2.0})
        mlflow.log_metrics({"loss": 0.25}, step=1)
        model = LinearRegression().fit(given, given[:, 0])
        told = mlflow.sklearn.log_model(
            model, name="model", params={"a": "b"}, registered_model_name=sys.argv[2]
        )
        mlflow.log_metric("of the model", 1.0, step=1, model_id=told.model_id)
        mlflow.log_metrics({"of two": 1.5}, step=2, model_id=told.model_id)
        mlflow.set_logged_model_tags(told.model_id, {"kept": "1", "gone": "2"})
        mlflow.delete_logged_model_tag(told.model_id, "gone")
    with mlflow.start_run() as user:
        from mlflow.entities import LoggedModelInput
        MlflowClient().log_inputs(user.info.run_id, models=[LoggedModelInput(told.model_id)])
"""


@pytest.mark.parametrize("program", [RICH, CLIENT], ids=["fluent", "client"])
def test_runs_read_from_journals_as_from_mlflow(program: str, store: str, tmp_path: Path) -> None:
    done(program, store, tmp_path)
    assert differences(store, tmp_path) == []


def test_what_is_logged_asynchronously_is_there(store: str, tmp_path: Path) -> None:
    done(LATER, store, tmp_path, environment={"MLFLOW_ENABLE_ASYNC_LOGGING": "true"})
    found = mirrored(tmp_path)
    assert differences(store, tmp_path) == []
    assert len(rows(found, "metrics")) == 61


def test_models_and_what_autologging_logs_are_there(store: str, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    done(LEARNING, store, tmp_path)
    found = mirrored(tmp_path)
    assert differences(store, tmp_path) == []
    assert [row["direction"] for row in rows(found, "artifacts")].count("used") == 1


def test_a_deleted_run_is_marked(database: str, tmp_path: Path) -> None:
    done(CLIENT, database, tmp_path)
    journals = open_reader(f"journal:{tmp_path / 'trackbridge'}")
    every = {info.name: info.deleted for info in journals.list_runs(Query())}
    assert every == {f"renamed {index}": index == 0 for index in range(6)}
    shown = {info.name for info in journals.list_runs(Query(include_deleted=False))}
    assert shown == {f"renamed {index}" for index in range(1, 6)}


def test_a_run_goes_on_in_another_process(database: str, tmp_path: Path) -> None:
    first = "with mlflow.start_run() as run: mlflow.log_metric('a', 1.0); print(run.info.run_id)"
    run_id = done(first, database, tmp_path).split()[0]
    again = """
        with mlflow.start_run(sys.argv[3]):
            mlflow.log_metric("a", 2.0, step=1)
            mlflow.set_tag("again", "yes")
    """
    done(again, database, tmp_path, run_id)
    found = mirrored(tmp_path)
    assert differences(database, tmp_path) == []
    assert len(rows(found, "metrics")) == 2


def test_a_child_of_a_fork_logs_to_the_run_too(database: str, tmp_path: Path) -> None:
    program = """
        with mlflow.start_run() as run:
            mlflow.log_metric("a", 1.0)
            child = os.fork()
            if not child:
                MlflowClient().log_metric(run.info.run_id, "b", 2.0)
                os._exit(0)
            os.waitpid(child, 0)
            mlflow.log_metric("a", 2.0, step=1)
    """
    done(program, database, tmp_path)
    assert differences(database, tmp_path) == []


def test_of_a_run_that_began_unseen_all_but_earlier_points_is_there(
    database: str, tmp_path: Path
) -> None:
    begin = f"import os, sys\nimport mlflow\nfrom mlflow import MlflowClient\n{LOGS}"
    program = f"""
        with mlflow.start_run(run_name="old", tags={{"a": "b"}}):
            mlflow.log_param("p", 1)
            mlflow.log_metric("before", 1.0)
            mlflow.log_text("before", "before.txt")
            {MIRROR.strip()}
            mlflow.log_metric("after", 2.0)
            mlflow.log_text("after", "after.txt")
    """
    done(program, database, tmp_path, begin=begin)
    [[key, found]], [[same, there]] = mirrored(tmp_path).items(), logged(database, tmp_path).items()
    assert key == same
    assert {name: found[name] for name in ("runs", "params", "tags")} == {
        name: there[name] for name in ("runs", "params", "tags")
    }
    assert [row["key"] for row in rows({key: found}, "metrics")] == ["after"]
    assert [row["path"] for row in rows({key: found}, "files")] == ["after.txt"]


def test_a_run_that_nobody_ends_is_running_as_in_mlflow(database: str, tmp_path: Path) -> None:
    program = """
        client = MlflowClient()
        number = client.get_experiment_by_name(sys.argv[2]).experiment_id
        client.log_metric(client.create_run(number).info.run_id, "a", 1.0)
    """
    done(program, database, tmp_path)
    found = mirrored(tmp_path)
    assert differences(database, tmp_path) == []
    assert [row["status"] for row in rows(found, "runs")] == ["running"]


def test_a_param_that_is_refused_for_having_a_value_keeps_it(database: str, tmp_path: Path) -> None:
    program = """
        with mlflow.start_run():
            mlflow.log_param("p", 1)
            try:
                mlflow.log_param("p", 2)
            except mlflow.exceptions.MlflowException:
                print("refused")
    """
    assert "refused" in done(program, database, tmp_path)
    assert differences(database, tmp_path) == []


def test_what_a_call_returned_from_survives_a_kill(database: str, tmp_path: Path) -> None:
    program = """
        mlflow.start_run()
        for step in range(1000):
            mlflow.log_metric("a", 1.0, step=step, synchronous=False)
        print("logged", flush=True)
        time.sleep(300)
    """
    process = begun(program, database, tmp_path)
    assert process.stdout is not None
    while "logged" not in process.stdout.readline():
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert len(rows(mirrored(tmp_path), "metrics")) == 1000


def test_a_migration_finds_the_run_that_its_journal_has_brought(
    database: str, tmp_path: Path
) -> None:
    program = """
        with mlflow.start_run(run_name="r"):
            mlflow.log_metrics({"a": 1, "b": 0.5})
            mlflow.log_text("text", "text.txt")
    """
    done(program, database, tmp_path)
    target = f"mlflow:sqlite:///{tmp_path / 'copy.db'}"
    brought = migrate(f"journal:{tmp_path / 'trackbridge'}", target)
    assert (brought.copied, brought.verified) == (1, True)
    again = migrate(f"mlflow:{database}", target)
    assert (again.copied, again.failures) == (0, [])
    assert len(list(open_reader(target).list_runs(Query(projects=[tmp_path.name])))) == 1


def test_the_mirror_may_come_after_the_import(database: str, tmp_path: Path) -> None:
    begin = BEGIN.replace(MIRROR, "").replace(LOGS, MIRROR + MIRROR + LOGS)
    done("with mlflow.start_run(): mlflow.log_metric('a', 1.0)", database, tmp_path, begin=begin)
    found = mirrored(tmp_path)
    assert differences(database, tmp_path) == []
    assert len(rows(found, "metrics")) == 1
