"""Every point is read, however a server cuts its answers."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import pytest
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from trackbridge.adapter import Query
from trackbridge_adapters.mlflow import rest_points
from trackbridge_adapters.mlflow.rest import RestReader
from trackbridge_adapters.mlflow.rest_server import Json, Server

Points = Counter[tuple[str, str, int, float]]


@pytest.fixture(scope="module")
def filled(proxied: str) -> tuple[str, str, Points]:
    """A server, an experiment of three runs, their points.

    `flat` says nothing of its length; the latest point of `turning` is in its middle.
    """
    client = MlflowClient(proxied)
    project = f"points {uuid.uuid4().hex[:8]}"
    number = client.create_experiment(project)
    expected: Points = Counter()
    for length in (1, 49, 120):
        run = client.create_run(number).info.run_id
        points = [Metric("rising", i * 0.5, 1000 + i, i) for i in range(length)]
        points += [Metric("flat", -1.5 * i, 1000 + i, 0) for i in range(length)]
        points += [Metric("turning", i, 1000 + i, i % 35) for i in range(length)]
        client.log_batch(run, metrics=points)
        expected.update((run, p.key, p.step, p.value) for p in points)
    return proxied, project, expected


def read(filled: tuple[str, str, Points]) -> Points:
    reader = RestReader(filled[0])
    refs = [info.ref for info in reader.list_runs(Query(projects=[filled[1]]))]
    return Counter(
        (row["run_id"], row["key"], row["step"], row["value"])
        for batch in reader.read_runs(refs, ["metrics"])
        for row in batch.data.to_pylist()
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each place was asked."""
    counted: Counter[str] = Counter()
    real = Server.get

    def get(self: Server, path: str, /, **params: Any) -> Json:
        counted[path] += 1
        return real(self, path, **params)

    monkeypatch.setattr(Server, "get", get)
    return counted


HISTORY = "mlflow/metrics/get-history"


def test_metrics_of_several_runs_come_in_one_answer_but_for_the_last(
    filled: tuple[str, str, Points], asked: Counter[str]
) -> None:
    assert read(filled) == filled[2]
    assert (asked[rest_points.BULK], asked[HISTORY]) == (3, 3)


@pytest.mark.parametrize("limit", [2, 49, 50, 51, 120])
def test_an_answer_that_may_have_been_cut_is_read_anew(
    filled: tuple[str, str, Points], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_points, "PAGE", limit)  # the server keeps to it, as to its own
    assert read(filled) == filled[2]


@pytest.mark.parametrize("most", [0, 1, 2, 35, 36, 50, 51, 86, 120])
def test_a_server_that_gives_less_than_it_says_is_noticed(
    filled: tuple[str, str, Points], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, lambda points: points[:most])
    assert read(filled) == filled[2]


def test_an_answer_whose_runs_are_mixed_is_not_believed(
    filled: tuple[str, str, Points], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, lambda points: sorted(points, key=itemgetter("timestamp")))
    assert read(filled) == filled[2]


def change(monkeypatch: pytest.MonkeyPatch, points: Callable[[list[Json]], list[Json]]) -> None:
    """Have the points of an answer without pages changed on their way."""
    real = Server.get

    def changed(self: Server, path: str, /, **params: Any) -> Json:
        answer = real(self, path, **params)
        return {"metrics": points(answer["metrics"])} if path == rest_points.BULK else answer

    monkeypatch.setattr(Server, "get", changed)


def test_a_server_without_that_call_is_asked_metric_by_metric(
    filled: tuple[str, str, Points], asked: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_points, "BULK", "/ajax-api/2.0/mlflow/metrics/no-such-call")
    assert read(filled) == filled[2]
    assert asked[HISTORY] == 9


def test_a_time_that_is_none_is_null_and_named(proxied: str) -> None:
    client = MlflowClient(proxied)
    project = f"far {uuid.uuid4().hex[:8]}"
    run = client.create_run(client.create_experiment(project)).info.run_id
    far = 2**63 - 5
    client.log_batch(run, metrics=[Metric("loss", 0.5, t, s) for s, t in enumerate((7, far, far))])
    reader = RestReader(proxied)
    refs = [info.ref for info in reader.list_runs(Query(projects=[project]))]
    rows = [
        (batch.table, row)
        for batch in reader.read_runs(refs, ["metrics", "runs"])
        for row in batch.data.to_pylist()
    ]
    times = [row["time"] and row["time"].microsecond for table, row in rows if table == "metrics"]
    assert times == [7000, None, None]
    (extra,) = (row["extra"] for table, row in rows if table == "runs")
    assert f"metrics.timestamp: 2 values cannot be read, e.g. '{far}'" in extra
