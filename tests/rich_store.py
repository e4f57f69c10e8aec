"""Writes a store with all that MLflow keeps, through the client of the installed MLflow.

Usage: python rich_store.py FOLDER    (a database `mlflow.db` may be in it, at the head)
Every run, version and trace has a name of its own, by which it is found where ids differ.
"""

from __future__ import annotations

import math
import os
import sys
import warnings
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import AssessmentSource, Metric, Param, RunTag, SpanType
from mlflow.tracking import MlflowClient

START = 1_700_000_000_000
"""When the runs begin, in milliseconds."""
MAIN, OTHER, GONE = "vision / größe", "second", "deleted experiment"
MODEL = "the classifier"
FEATURES = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 1.0]])
QUESTIONS = np.array([[0.5, 0.5], [2.5, 1.5]])
"""What the model is asked to predict."""


def experiment(client: MlflowClient, folder: Path, name: str) -> str:
    number = len(client.search_experiments(view_type=3))
    where = str(folder / "mlartifacts" / str(number))
    return client.create_experiment(name, where, tags={"team": "größe", "mlflow.note.content": "#"})


def run(client: MlflowClient, where: str, name: str, number: int, **tags: str) -> str:
    """A finished run with one of everything small, whose values depend on its number."""
    user = {"mlflow.user": "alice", "mlflow.source.name": "train.py"}
    begun = START + 1000 * number
    run_id = client.create_run(where, begun, tags={**user, **tags}, run_name=name).info.run_id
    loss = [Metric("loss", 1 / (step + number + 1), begun + step, step) for step in range(20)]
    best = [Metric("best acc", 0.1 * (number % 4), begun, 3)]
    params = [Param("lr", str(0.1**number)), Param("optimizer / größe", "adam")]
    client.log_batch(run_id, [*loss, *best], params, [RunTag("team", f"team {number % 2}")])
    client.set_terminated(run_id, end_time=begun + 60_000)
    return run_id


def write_runs(client: MlflowClient, where: str) -> None:
    """Runs in families and states; metrics of every kind."""
    for number in range(4):
        run(client, where, f"run {number}", number)
    parent = run(client, where, "parent", 5, **{"mlflow.note.content": "# Note\r\n**größe**"})
    child = run(client, where, "child", 6, **{"mlflow.parentRunId": parent})
    run(client, where, "grandchild", 7, **{"mlflow.parentRunId": child})
    client.delete_run(run(client, where, "deleted", 8))
    failed = client.create_run(where, START + 1, run_name="failed").info.run_id
    client.set_terminated(failed, "FAILED", end_time=START + 2)
    client.create_run(where, START + 2, run_name="running")
    odd = client.create_run(where, START + 3, run_name="odd metrics").info.run_id
    series = {
        "repeated": [(1.0, 1, 0), (2.0, 2, 0), (3.0, 3, 0), (4.0, 3, 1)],
        "odd values": [
            (value, 1 + n, n) for n, value in enumerate([math.nan, math.inf, -math.inf, 1])
        ],
        "steps": [(1.0, 1, -5), (2.0, 2, 0), (3.0, 3, 2**53 + 1), (4.0, 4, 2**62)],
        "system/cpu_utilization_percentage": [(12.5 + n, n, n) for n in range(5)],
    }
    metrics = [Metric(key, v, START + t, s) for key, rows in series.items() for v, t, s in rows]
    client.log_batch(odd, metrics)
    client.set_terminated(odd, end_time=START + 60_000)


def write_fluently(client: MlflowClient, where: str) -> None:
    """A run with datasets, files, images, a table and a model, as training code logs them."""
    from mlflow.models import infer_signature
    from sklearn.linear_model import LogisticRegression

    frame = pd.DataFrame(FEATURES, columns=["a", "b"])
    with mlflow.start_run(experiment_id=where, run_name="trained") as active:
        mlflow.log_params({"depth": 3, "text": "first\r\nsecond"})
        data = mlflow.data.from_pandas(frame, name="training data")
        mlflow.log_input(data, context="training", tags={"split": "größe"})
        mlflow.log_input(mlflow.data.from_numpy(FEATURES, name="checks"), context="testing")
        mlflow.log_text("größe\r\n", "notes/deep/größe.txt")
        mlflow.log_dict({"a": [1, None]}, "configuration.json")
        mlflow.log_table({"question": ["why?", "漢"], "score": [0.5, 1.0]}, "table.json")
        for step in range(4):
            image = np.full((24, 32, 3), 60 * step, np.uint8)
            mlflow.log_image(image, key="samples", step=step, synchronous=True)
        mlflow.log_image(np.zeros((8, 8, 3), np.uint8), "single.png")
        model = LogisticRegression().fit(FEATURES, [0, 0, 1, 1])
        logged = mlflow.sklearn.log_model(
            model,
            name="classifier",
            signature=infer_signature(FEATURES, model.predict(FEATURES)),
            pip_requirements=["scikit-learn"],
            params={"penalty": "l2"},
            tags={"stage": "größe"},
        )
        for step in range(3):
            mlflow.log_metric("acc", 0.5 + step / 10, step, model_id=logged.model_id, dataset=data)
    register(client, active.info.run_id, logged.model_id)


def register(client: MlflowClient, run_id: str, model_id: str) -> None:
    """A registered model with versions, one of them of a run that is deleted."""
    client.create_registered_model(MODEL, {"team": "größe"}, "a model\nof ours")
    client.create_model_version(MODEL, f"models:/{model_id}", run_id, {"number": "one"})
    trained = client.get_run(run_id)
    lost = run(client, trained.info.experiment_id, "its version stays", 9)
    client.create_model_version(MODEL, f"models:/{model_id}", lost, description="of a lost run")
    client.delete_run(lost)
    client.set_registered_model_alias(MODEL, "champion", "1")
    client.set_registered_model_alias(MODEL, "größe", "2")
    with warnings.catch_warnings():  # stages are deprecated
        warnings.simplefilter("ignore")
        client.transition_model_version_stage(MODEL, "2", "Production")


def write_items(client: MlflowClient, where: list[str]) -> None:
    """A prompt, traces with spans and assessments, an evaluation dataset."""
    from mlflow.genai.datasets import create_dataset

    mlflow.genai.register_prompt("greeting", "Hello {{name}}, größe", commit_message="first")
    mlflow.genai.register_prompt("greeting", "Good day {{name}}", tags={"tone": "formal"})
    mlflow.genai.set_prompt_alias("greeting", "production", 2)
    mlflow.set_experiment(experiment_id=where[0])
    made = []
    for number in range(3):
        with mlflow.start_span(f"question {number}", span_type=SpanType.CHAIN) as span:
            span.set_inputs({"question": "why?", "lines": "a\r\nb"})
            with mlflow.start_span("inner", span_type=SpanType.TOOL) as inner:
                inner.set_outputs({"found": [1, None, 2.5]})
            span.set_outputs("because")
            mlflow.update_current_trace(tags={"team": "größe"})
            made.append(span.trace_id)
    mlflow.flush_trace_async_logging()
    source = AssessmentSource(source_type="HUMAN", source_id="alice")
    mlflow.log_feedback(trace_id=made[0], name="correct", value=0.5, source=source)
    mlflow.log_expectation(trace_id=made[0], name="answer", value=["because", 1], source=source)
    data = create_dataset(name="questions", experiment_id=where, tags={"team": "größe"})
    data.merge_records(
        [
            {"inputs": {"q": "why?", "a": 1.5}, "expectations": {"answer": "because"}},
            {"inputs": {"q": "漢"}, "tags": {"split": "test"}},
        ]
    )


def main() -> None:
    folder = Path(sys.argv[1])
    uri = f"sqlite:///{folder}/mlflow.db"
    os.environ["MLFLOW_TRACKING_URI"] = uri
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    where = [experiment(client, folder, name) for name in (MAIN, OTHER, GONE)]
    write_runs(client, where[0])
    write_fluently(client, where[0])
    run(client, where[1], "elsewhere", 10)
    run(client, where[2], "in a deleted experiment", 11)
    write_items(client, where[:2])
    client.delete_experiment(where[2])


if __name__ == "__main__":
    main()
