"""Traces of a file store arrive as MLflow's client shows them there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from mlflow.entities import AssessmentError, AssessmentSource, Expectation, Feedback
from mlflow.tracking import MlflowClient

from trackbridge.adapter import Query
from trackbridge.comparison import verify
from trackbridge.engine import migrate
from trackbridge.forecast import forecast
from trackbridge.testing.base import rows_of
from trackbridge_adapters.mlflow import ADAPTER

OLD = "0123456789abcdef0123456789abcdef"
HUMAN = AssessmentSource("HUMAN", "alice")


@dataclass(frozen=True)
class Traced:
    """A file store, its traces by name, and the run in which one was made."""

    path: Path
    traces: dict[str, str]
    run: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("traced")
    path = folder / "mlruns"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        patch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
        mlflow.set_tracking_uri(path.as_uri())
        client = MlflowClient(path.as_uri())
        client.create_experiment("away", (folder / "elsewhere").as_uri())
        mlflow.set_experiment("trace ü")
        with mlflow.start_run() as run:
            traces = {"plain": _trace("in a run")}
        traces["judged"] = _trace("größe")
        _judge(traces["judged"])
        mlflow.set_experiment("away")
        traces["away"] = _trace("files are elsewhere")
        traces["old"] = _as_before_3(path, traces["plain"])
        yield Traced(path, traces, run.info.run_id)
        mlflow.set_tracking_uri(None)


def _trace(text: str) -> str:
    with mlflow.start_span("question", attributes={"text": text}) as span:
        span.set_inputs({"q": text})
        with mlflow.start_span("answer") as inner:
            inner.set_outputs([1, 2.5, None])
    number: str = span.trace_id
    mlflow.set_trace_tag(number, "team", text)
    return number


def _judge(trace: str) -> None:
    error = AssessmentError("CODE", "why", "trace\nback")
    judged = [
        Feedback("number", 1, source=HUMAN, rationale="r"),
        Feedback("flag", False, metadata={"b": "1", "a": "2"}),
        Feedback("many", {"x": ["y", 0.5]}),
        Feedback("failed", None, error=error),
        Expectation("list", [1, {"a": None}], source=HUMAN),
        Expectation("word", "yes"),
    ]
    logged = [mlflow.log_assessment(trace, each) for each in judged]
    first = logged[0].assessment_id
    mlflow.override_feedback(trace_id=trace, assessment_id=first, value=2, source=HUMAN)


def _as_before_3(path: Path, trace: str) -> str:
    """A copy of a trace in the form of MLflow 2.14 to 2.22 (entities/trace_info.py, 2.22)."""
    (folder,) = path.glob(f"*/traces/{trace}")
    there = shutil.copytree(folder, folder.with_name(OLD))
    info = {
        "request_id": OLD,
        "experiment_id": folder.parent.parent.name,
        "timestamp_ms": 1_700_000_000_123,
        "execution_time_ms": 45,
        "status": "ERROR",
    }
    (there / "trace_info.yaml").write_text(yaml.safe_dump(info))
    location = there / "tags" / "mlflow.artifactLocation"
    location.write_text(location.read_text().replace(trace, OLD))
    return OLD


def shown(address: str, trace: str) -> dict[str, Any]:
    """What MLflow's client says of a trace, but for what is true of one store alone."""
    found = json.loads(MlflowClient(address).get_trace(trace).to_json())
    info = found["info"]
    info.pop("trace_location", None)
    info["tags"].pop("mlflow.artifactLocation", None)
    info["assessments"] = sorted(info.get("assessments", []), key=lambda a: a["assessment_id"])
    for assessment in info["assessments"]:
        assessment.setdefault("valid", True)  # file stores do not say so of expectations
    return dict(found)


@pytest.mark.parametrize("by_archive", [False, True], ids=["directly", "by an archive"])
def test_mlflow_shows_of_a_trace_what_it_showed_in_the_file_store(
    made: Traced, tmp_path: Path, by_archive: bool
) -> None:
    here, target = f"mlflow:{made.path}", tmp_path / "target.db"
    if by_archive:
        assert migrate(here, f"archive:{tmp_path}/archive").failures == []
        here = f"archive:{tmp_path}/archive"
    report = migrate(here, f"mlflow:{target}")
    assert (report.failures, report.items["traces"].copied) == ([], 4)
    assert [loss.kind for loss in report.losses if "traces" in loss.kind] == []
    compared = verify(here, f"mlflow:{target}")
    assert compared.holds and compared.items["traces"].equal == 4
    for name, trace in made.traces.items():
        theirs = shown(made.path.as_uri(), trace)
        assert len(theirs["info"]["assessments"]) == (7 if name == "judged" else 0)
        assert shown(f"sqlite:///{target}", trace) == theirs, name
    again = migrate(here, f"mlflow:{target}")
    assert (again.items["traces"].skipped, again.items["traces"].copied) == (4, 0)


def test_a_trace_that_was_changed_is_brought_up_to_date(made: Traced, tmp_path: Path) -> None:
    path, target = shutil.copytree(made.path, tmp_path / "mlruns"), tmp_path / "target.db"
    migrate(f"mlflow:{path}", f"mlflow:{target}")
    (tags,) = path.glob(f"*/traces/{made.traces['plain']}/tags")
    (tags / "team").write_text("another")
    report = migrate(f"mlflow:{path}", f"mlflow:{target}")
    assert (report.items["traces"].updated, report.items["traces"].skipped) == (1, 3)
    trace = MlflowClient(f"sqlite:///{target}").get_trace(made.traces["plain"])
    assert trace.info.tags["team"] == "another"


def test_a_query_chooses_among_the_traces(made: Traced) -> None:
    reader = ADAPTER.reader(str(made.path), {})

    def found(**asked: Any) -> set[str]:
        infos = reader.list_items("traces", Query(**asked))  # type: ignore[attr-defined]
        names = {trace: name for name, trace in made.traces.items()}
        return {names[info.ref.id] for info in infos}

    assert found(run_ids=[made.run]) == {"plain", "old"}
    assert found(projects=["away"]) == {"away"}
    later = datetime(2024, 1, 1, tzinfo=timezone.utc)
    assert found(since=later) == {"plain", "judged", "away"}


def test_folders_that_are_no_traces_are_counted_and_harm_nothing(
    made: Traced, tmp_path: Path
) -> None:
    path = shutil.copytree(made.path, tmp_path / "mlruns")
    (info,) = path.glob(f"*/traces/{made.traces['plain']}/trace_info.yaml")
    info.write_bytes(b"")
    (info.parent.parent / "nothing").mkdir()
    (judged,) = path.glob(f"*/traces/{made.traces['judged']}/assessments")
    (judged / "broken.yaml").write_bytes(b"\xff")
    report = migrate(f"mlflow:{path}", f"mlflow:{tmp_path}/target.db")
    assert (report.failures, report.items["traces"].copied) == ([], 3)
    assert [(loss.kind, loss.count) for loss in report.losses if "read" in loss.kind] == [
        ("traces that cannot be read not moved", 2),
        ("assessments that cannot be read not moved", 1),
    ]


def test_a_target_without_traces_is_told_of(made: Traced, tmp_path: Path) -> None:
    plan = forecast(f"mlflow:{made.path}", f"mlflow:{tmp_path}/other")
    assert [(loss.kind, loss.count) for loss in plan.losses if "trace" in loss.kind] == [
        ("traces not moved", 4)
    ]


@pytest.mark.parametrize(
    "content",
    [
        "expectation:\n  serialized_value: {}\n",
        "expectation:\n  serialized_value:\n    value: '[1, '\n",
        "expectation:\n  serialized_value: cut\n",
        "feedback: {value: 1}\nsource: HUMAN\n",
        "feedback: {value: 1}\nmetadata: [1]\n",
        "feedback: {value: 1, error: cut}\n",
        "feedback: {value: 2020-01-01}\n",
    ],
)
def test_an_assessment_of_an_odd_form_is_counted_and_harms_nothing(
    made: Traced, tmp_path: Path, content: str
) -> None:
    path = shutil.copytree(made.path, tmp_path / "mlruns")
    (judged,) = path.glob(f"*/traces/{made.traces['judged']}/assessments")
    (judged / "odd.yaml").write_text(f"assessment_id: a-odd\nassessment_name: odd\n{content}")
    reader = ADAPTER.reader(str(path), {})
    rows = rows_of(reader.read_shared(Query()))["projects"]
    (counts,) = (json.loads(row["extra"]) for row in rows if row["project"] == "trace ü")
    assert counts["not_read"] == {"assessments that cannot be read": 1}
    refs = [info.ref for info in reader.list_items("traces", Query())]  # type: ignore[attr-defined]
    found = rows_of(reader.read_items(refs))  # type: ignore[attr-defined]
    assert (len(found["traces"]), len(found["assessments"])) == (4, 7)


@pytest.mark.parametrize("kind", ["mlruns", "database"])
def test_a_trace_with_a_file_that_cannot_be_read_is_named_and_the_others_arrive(
    made: Traced, tmp_path: Path, kind: str
) -> None:
    path = shutil.copytree(made.path, tmp_path / "mlruns")
    here, trace = f"mlflow:{path}", made.traces["judged"]
    (files,) = path.glob(f"*/traces/{trace}/artifacts")
    if kind == "database":
        here = f"mlflow:{tmp_path}/source/mlflow.db"
        assert migrate(f"mlflow:{path}", here).failures == []
        (files,) = (tmp_path / "source").glob(f"**/{trace}/artifacts*")
    (files / "out").symlink_to("/etc/hostname")
    target = f"mlflow:{tmp_path}/target/mlflow.db"
    report = migrate(here, target)
    assert report.items["traces"].copied == 3
    (failure,) = report.failures
    assert failure.run == f"traces {trace}"
    assert "artifacts/out: a link that leaves the folder" in failure.error
    (files / "out").unlink()
    report = migrate(here, target)
    assert (report.failures, report.items["traces"].copied) == ([], 1)
