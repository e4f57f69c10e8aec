"""How runs from elsewhere are shown as W&B's users would have logged them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from trackbridge.adapter import Presentation, Row, RunKey
from trackbridge_adapters.wandb import ADAPTER

KEY = RunKey("mlflow", "", "an experiment", "0123456789abcdef0123456789abcdef")
STARTED = datetime(2026, 3, 1, 12, 30, 5, 123456, timezone.utc)


def present(key: RunKey = KEY, run: Row | None = None, **tables: list[Row]) -> Presentation:
    rows = {"runs": [{"deleted": False, **(run or {})}], **tables}
    return ADAPTER.writer("/nowhere", {}).present(key, rows)


def shown_run(**run: Any) -> Row:
    [row] = present(run=run).tables["runs"]
    return row


def params_of(shown: Presentation) -> dict[str, tuple[str, str]]:
    return {row["key"]: (row["type"], row["value"]) for row in shown.tables["params"]}


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("1", "integer", "1"),
        ("-0.50", "float", "-0.50"),
        ("1e-5", "float", "1e-5"),
        ("True", "boolean", "true"),
        ("false", "boolean", "false"),
        ("01", "string", "01"),
        ("1.", "string", "1."),
        ("NaN", "string", "NaN"),
        (" 1", "string", " 1"),
        ("null", "string", "null"),
        ("[1]", "string", "[1]"),
        ("", "string", ""),
    ],
)
def test_a_param_that_is_exactly_a_number_or_truth_value_becomes_one(
    text: str, kind: str, value: str
) -> None:
    shown = present(params=[{"key": "a.b", "value": text, "type": "string"}])
    assert params_of(shown) == {"a.b": (kind, value)}


def test_params_of_wandb_stay_as_they_are() -> None:
    row = {"key": "a", "path": None, "value": "1", "type": "string"}
    shown = present(RunKey("wandb", "", "team/p", "x"), params=[row])
    assert shown.tables["params"] == [row]


def test_tags_become_entries_of_the_config_and_short_ones_labels() -> None:
    tags = [
        {"key": "team", "value": "vision"},
        {"key": "mlflow.user", "value": "me"},
        {"key": "note", "value": "x" * 80},
        {"key": "bare", "value": None},
    ]
    shown = present(tags=tags)
    assert [row["key"] for row in shown.tables["tags"]] == ["team:vision", "bare"]
    assert params_of(shown) == {
        "mlflow.tags.team": ("string", "vision"),
        "mlflow.tags.mlflow.user": ("string", "me"),
        "mlflow.tags.note": ("string", "x" * 80),
    }
    paths = {json.loads(row["path"])[2] for row in shown.tables["params"]}
    assert paths == {"team", "mlflow.user", "note"}


def test_entries_that_are_ours_or_the_trackers_are_not_shown() -> None:
    rows = [{"key": key, "value": "1", "type": "string"} for key in ("_wandb", "trackbridge", "a")]
    assert set(params_of(present(params=rows))) == {"a"}
    assert [row["key"] for row in present(summary=rows).tables["summary"]] == ["a"]


@pytest.mark.parametrize(
    ("status", "expected", "code"),
    [
        ("finished", "finished", None),
        (None, "finished", None),
        ("failed", "failed", 1),
        ("killed", "failed", 1),
        ("running", "crashed", None),
        ("scheduled", "crashed", None),
        ("crashed", "crashed", None),
    ],
)
def test_a_status_is_what_an_exit_record_can_say(
    status: str | None, expected: str, code: int | None
) -> None:
    shown = present(run={"status": status})
    [row] = shown.tables["runs"]
    assert row["status"] == expected
    others = [f"status shown as {expected}"] if status != expected else []
    assert [loss.kind for loss in shown.losses] == others
    assert json.loads(row["extra"] or "{}").get("exit_code") == code


def test_the_end_is_rounded_to_whole_seconds_after_the_start() -> None:
    ended = STARTED + timedelta(seconds=3, microseconds=999_999)
    row = shown_run(status="finished", started=STARTED, ended=ended)
    assert (row["started"], row["ended"]) == (STARTED, STARTED + timedelta(seconds=3))
    assert shown_run(status="finished", started=STARTED)["ended"] == STARTED
    assert shown_run(status="running", started=STARTED, ended=ended)["ended"] is None
    assert shown_run(status="finished", ended=ended)["ended"] is None
    early = STARTED - timedelta(days=1)
    assert shown_run(status="finished", started=STARTED, ended=early)["ended"] == STARTED


def test_a_nested_run_is_in_the_group_of_its_parent() -> None:
    row = shown_run(parent_run_id="parent")
    assert (row["group"], row["job_type"]) == ("parent", "child")
    row = shown_run(parent_run_id="parent", group="g", job_type="eval")
    assert (row["group"], row["job_type"]) == ("g", "eval")


def test_files_become_one_artifact_and_models_one_each() -> None:
    paths = ["a.txt", "model/MLmodel", "model/data/model.pkl", "model/nested/MLmodel", "modelx/b"]
    shown = present(files=[{"owner": "", "path": path, "size": 1} for path in paths])
    kinds = {row["collection"]: row["kind"] for row in shown.tables["artifacts"]}
    stem = f"run-{KEY.run_id}"
    assert kinds == {f"{stem}-mlflow-artifacts": "mlflow-artifacts", f"{stem}-model": "model"}
    assert shown.files["", "model/data/model.pkl"] == (f"{stem}-model:v0", "data/model.pkl")
    assert shown.files["", "model/nested/MLmodel"] == (f"{stem}-model:v0", "nested/MLmodel")
    assert shown.files["", "modelx/b"] == (f"{stem}-mlflow-artifacts:v0", "modelx/b")
    places = {(row["owner"], row["path"]) for row in shown.tables["files"]}
    assert places == set(shown.files.values())


def test_files_of_wandb_stay_where_they_are() -> None:
    files = [{"owner": "", "path": "a.txt", "size": 1}]
    shown = present(RunKey("wandb", "", "team/p", "x"), files=files)
    assert (shown.files, shown.tables["artifacts"], shown.contents) == ({}, [], {})


def test_a_file_that_a_series_shows_stays_with_the_run() -> None:
    series = [{"key": "x", "step": 0, "kind": "image", "value": None, "path": "media/x.png"}]
    shown = present(series=series, files=[{"owner": "", "path": "media/x.png", "size": 1}])
    assert shown.files == {}
    [row] = shown.tables["series"]
    assert json.loads(row["value"]) == {"_type": "image-file", "path": "media/x.png"}


@pytest.mark.parametrize(
    ("kind", "value", "shown_kind", "shown_value"),
    [
        ("text", '"a"', "text", '"a"'),
        ("text", "no json", "text", '"no json"'),
        ("histogram", '{"bins": [1]}', "histogram", '{"bins": [1], "_type": "histogram"}'),
        ("json", '{"a": 1}', "json", '{"a": 1, "_type": "json"}'),
        ("integer", str(2**53 + 1), "integer", str(2**53 + 1)),
    ],
)
def test_points_that_are_no_numbers_are_read_as_what_they_are(
    kind: str, value: str, shown_kind: str, shown_value: str
) -> None:
    shown = present(series=[{"key": "x", "step": 0, "kind": kind, "value": value}])
    assert [(r["kind"], r["value"]) for r in shown.tables["series"]] == [(shown_kind, shown_value)]


def test_a_point_that_would_be_read_as_a_number_is_not_shown() -> None:
    assert (
        present(series=[{"key": "x", "step": 0, "kind": "integer", "value": "5"}]).tables["series"]
        == []
    )


def test_data_sets_become_artifacts_that_the_run_used() -> None:
    inputs = [{"name": "my data", "digest": "d1", "kind": "local", "context": "training"}]
    shown = present(inputs=inputs)
    [row] = shown.tables["artifacts"]
    assert (row["direction"], row["kind"]) == ("used", "dataset")
    assert json.loads(row["metadata"])["digest"] == "d1"
    assert shown.tables["inputs"] == []


def test_versions_are_counted_in_the_run() -> None:
    artifacts = [
        {"collection": "data set", "version": version, "kind": "dataset", "direction": "logged"}
        for version in ("v10", "v9")
    ]
    files = [{"owner": f"data set:{v}", "path": "a", "size": 1} for v in ("v9", "v10")]
    shown = present(artifacts=artifacts, files=files)
    [collection] = {row["collection"] for row in shown.tables["artifacts"]}
    assert " " not in collection
    assert shown.files == {
        ("data set:v9", "a"): (f"{collection}:v0", "a"),
        ("data set:v10", "a"): (f"{collection}:v1", "a"),
    }


def test_machine_and_program_are_in_the_file_that_wandb_shows() -> None:
    run = {"host": "h", "user": "me", "program": "train.py", "git_commit": "c0ffee"}
    shown = present(run=run)
    [row] = shown.tables["runs"]
    assert {name: row[name] for name in run} == run
    assert json.loads(shown.contents["", "wandb-metadata.json"]) == {
        "git": {"commit": "c0ffee"},
        "host": "h",
        "program": "train.py",
        "username": "me",
    }


def test_extra_fields_of_another_shape_do_not_disturb() -> None:
    extra = {
        "telemetry": 5,
        "settings": [1],
        "saved": {"a": 1},
        "starting_step": "x",
        "exit_code": "y",
    }
    key = RunKey("wandb", "", "team/p", "x")
    [row] = present(key, run={"extra": json.dumps(extra), "status": "failed"}).tables["runs"]
    assert json.loads(row["extra"]) == {"exit_code": 1}


def test_presenting_what_was_presented_changes_nothing() -> None:
    tables: dict[str, list[Row]] = {
        "params": [{"key": "a", "value": "1", "type": "string"}],
        "tags": [{"key": "t", "value": "v"}],
        "metric_defs": [{"key": "loss", "glob": False, "summary": "max,min", "hidden": False}],
        "alerts": [{"title": "t", "level": "INFO", "definition": '{"text": "x"}'}],
    }
    key = RunKey("wandb", "", "team/p", "x")
    once = present(key, run={"status": "finished"}, **tables)
    twice = present(key, run=once.tables["runs"][0], **{t: once.tables[t] for t in tables})
    assert {t: twice.tables[t] for t in ("runs", *tables)} == {
        t: once.tables[t] for t in ("runs", *tables)
    }


def test_a_run_that_was_deleted_has_a_label_that_says_so() -> None:
    shown = present(run={"deleted": True}, tags=[{"key": "bare", "value": None}])
    assert [row["key"] for row in shown.tables["tags"]] == ["deleted", "bare"]
    shown = present(run={"deleted": True}, tags=[{"key": "deleted", "value": None}])
    assert [row["key"] for row in shown.tables["tags"]] == ["deleted"]
