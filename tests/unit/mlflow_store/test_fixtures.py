"""Stores that MLflow 1.30 to 3.17 wrote read as these versions themselves showed them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from trackbridge.adapter import FileRef, Query, Reader, RunRef
from trackbridge.errors import BridgeError, ConfigError, IntegrityError
from trackbridge.testing.base import rows_of
from trackbridge_adapters.mlflow import ADAPTER

FIXTURES = Path(__file__).parents[3] / "fixtures"
VERSIONS = ("1.30", "2.9", "2.22", "3.17")
STORES = [(version, name) for version in VERSIONS for name in ("mlflow.db", "mlruns")]

Rows = dict[str, list[dict[str, Any]]]


class Store:
    """A store as the adapter reads it and as its SDK dumped it."""

    def __init__(self, version: str, name: str) -> None:
        folder = FIXTURES / f"mlflow-{version}"
        kind = "db" if name == "mlflow.db" else name
        self.expected = json.loads((folder / f"expected-{kind}.json").read_text("utf-8"))
        self.reader = ADAPTER.reader(str(folder / name), {})
        self.infos = {info.ref.run_id: info for info in self.reader.list_runs(Query())}
        refs = [info.ref for info in self.infos.values()]
        self.runs: dict[str, Rows] = defaultdict(lambda: defaultdict(list))
        for batch in self.reader.read_runs(refs):
            for row in batch.data.to_pylist():
                self.runs[row["run_id"]][batch.table].append(row)
        self.shared: Rows = defaultdict(list)
        for batch in self.reader.read_shared(Query()):
            self.shared[batch.table] += batch.data.to_pylist()

    def pairs(self) -> Iterator[tuple[dict[str, Any], Rows]]:
        assert {run["info"]["run_id"] for run in self.expected["runs"]} == set(self.infos)
        for run in self.expected["runs"]:
            yield run, self.runs[run["info"]["run_id"]]


@pytest.fixture(scope="module", params=STORES, ids=lambda store: "-".join(store))
def store(request: pytest.FixtureRequest) -> Store:
    return Store(*request.param)


def test_runs_have_the_state_and_the_times_that_the_sdk_showed(store: Store) -> None:
    names = {e["experiment_id"]: e["name"] for e in store.expected["experiments"]}
    for run, rows in store.pairs():
        info, (row,) = run["info"], rows["runs"]
        assert row["project"] == names[info["experiment_id"]]
        assert row["status"] == info["status"].lower()
        assert milliseconds(row["started"]) == info["start_time"]
        assert milliseconds(row["ended"]) == info["end_time"]
        assert row["deleted"] is (info["lifecycle_stage"] == "deleted")
        assert row["user"] == info["user_id"]
        assert row["name"] == run["tags"]["mlflow.runName"]
        assert row["parent_run_id"] == run["tags"].get("mlflow.parentRunId")
        assert "damage" not in (row["extra"] or "")


def test_params_and_tags_are_verbatim(store: Store) -> None:
    for run, rows in store.pairs():
        assert {row["key"]: row["value"] for row in rows["params"]} == run["params"]
        assert {row["key"]: row["value"] for row in rows["tags"]} == run["tags"]


def test_every_point_arrives_with_its_time_and_step(store: Store) -> None:
    for run, rows in store.pairs():
        found = sorted(
            (
                f"system/{row['key']}" if row["system"] else row["key"],
                repr(row["value"] + 0.0),
                milliseconds(row["time"]),
                row["step"],
            )
            for row in rows["metrics"]
        )
        expected = sorted(
            (key, repr(float(value) + 0.0), time, step)
            for key, points in run["metrics"].items()
            for value, time, step in points
        )
        assert found == expected
        assert store.infos[run["info"]["run_id"]].points == len(expected)


def test_datasets_arrive_with_all_their_tags(store: Store) -> None:
    for run, rows in store.pairs():
        expected = []
        for used in run.get("inputs", {}).get("dataset_inputs", []):
            tags, data = used["tags"], used["dataset"]
            if isinstance(tags, list):
                tags = {tag["key"]: tag["value"] for tag in tags}
            names = ("name", "digest", "source_type", "source", "schema", "profile")
            expected.append(([data[name] for name in names], tags))
        found = [
            (
                [row[name] for name in ("name", "digest", "kind", "source", "schema", "profile")],
                {**json.loads(row["extra"] or "{}"), "mlflow.data.context": row["context"]},
            )
            for row in rows["inputs"]
        ]
        assert sorted(found, key=repr) == sorted(expected, key=repr)


def test_artifacts_have_the_bytes_that_the_sdk_saw(store: Store) -> None:
    for run, rows in store.pairs():
        found = {row["path"]: row for row in rows["files"] if row["owner"] == ""}
        assert found.keys() == run["artifacts"].keys()
        for path, row in found.items():
            content = read(store.reader, row)
            assert row["size"] == len(content) == run["artifacts"][path]["size"]
            assert hashlib.sha256(content).hexdigest() == run["artifacts"][path]["sha256"]


def test_experiments_and_registered_models_arrive(store: Store) -> None:
    projects = {row["project_id"]: row for row in store.shared["projects"]}
    assert projects.keys() == {e["experiment_id"] for e in store.expected["experiments"]}
    for experiment in store.expected["experiments"]:
        row = projects[experiment["experiment_id"]]
        tags = {**json.loads(row["tags"] or "{}")}
        if row["notes"] is not None:
            tags["mlflow.note.content"] = row["notes"]
        assert (row["project"], tags) == (experiment["name"], experiment["tags"])
        assert row["deleted"] is (experiment["lifecycle_stage"] == "deleted")
    versions = {(row["name"], row["version"]): row for row in store.shared["model_versions"]}
    for version in store.expected.get("model_versions", []):
        row = versions[version["name"], str(version["version"])]
        assert (row["run_id"], row["stage"]) == (version["run_id"], version["current_stage"])
        assert json.loads(row["tags"] or "{}") == version["tags"]
        assert milliseconds(row["created"]) == version["creation_timestamp"]
    models = {row["name"]: row for row in store.shared["models"]}
    for model in store.expected.get("registered_models", []):
        row = models[model["name"]]
        assert row["description"] == model.get("description")
        aliases = {name: str(number) for name, number in model.get("aliases", {}).items()}
        assert json.loads(row["aliases"] or "{}") == aliases


def test_logged_models_are_artifacts_of_the_run_that_made_them(store: Store) -> None:
    rows = [row for run in store.runs.values() for row in run["artifacts"]]
    made = {row["version"]: row for row in rows if "status" in (row["metadata"] or "")}
    assert made.keys() == {m["model_id"] for m in store.expected.get("logged_models", [])}
    for model in store.expected.get("logged_models", []):
        row = made[model["model_id"]]
        metadata = json.loads(row["metadata"])
        assert (row["run_id"], row["collection"]) == (model["source_run_id"], model["name"])
        assert (row["direction"], row["kind"]) == ("logged", "model")
        assert metadata["status"] == model["status"]
        assert metadata.get("tags", {}) == model["tags"]
        assert metadata.get("params", {}) == model["params"]
        points = {(p["key"], p["value"], p["step"]) for p in metadata.get("metrics", [])}
        assert points == {(p["key"], p["value"], p["step"]) for p in model["metrics"] or []}
        owner = f"{model['name']}:{model['model_id']}"
        files = [f for f in store.runs[row["run_id"]]["files"] if f["owner"] == owner]
        found = {f["path"]: hashlib.sha256(read(store.reader, f)).hexdigest() for f in files}
        assert found == {path: f["sha256"] for path, f in model["files"].items()}
    # with a database, `search_runs` of 3.17 leaves them out
    expected = {
        (run["info"]["run_id"], model["model_id"])
        for run in store.expected["runs"]
        for model in run.get("inputs", {}).get("model_inputs", [])
    }
    used = [row for row in rows if row["direction"] == "used"]
    assert {(row["run_id"], row["version"]) for row in used} >= expected


def not_read(reader: Reader) -> list[dict[str, int]]:
    rows = rows_of(reader.read_shared(Query()))["projects"]
    found = (json.loads(row["extra"] or "{}").get("not_read") for row in rows)
    return [counts for counts in found if counts is not None]


@pytest.mark.parametrize("run", [None, "of nowhere"])
def test_logged_models_without_a_run_are_counted_in_a_file_store(
    run: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    place = tmp_path / "mlruns"
    client = MlflowClient(str(place))
    number = client.create_experiment("p", str(tmp_path / "files"))
    client.create_logged_model(number, "made", client.create_run(number).info.run_id)
    reader = ADAPTER.reader(str(place), {})
    assert not_read(reader) == []
    client.create_logged_model(number, "stray", run)
    assert not_read(reader) == [{"logged models without a run": 1}]


@pytest.mark.parametrize("store_name", STORES, ids=lambda store: "-".join(store))
def test_reading_changes_no_byte_and_leaves_no_file(
    store_name: tuple[str, str], tmp_path: Path
) -> None:
    version, name = store_name
    copy = tmp_path / "copy"
    shutil.copytree(FIXTURES / f"mlflow-{version}", copy)
    before = contents(copy)
    reader = ADAPTER.reader(str(copy / name), {})
    refs = [info.ref for info in reader.list_runs(Query())]
    assert [*reader.read_runs(refs), *reader.read_shared(Query())]
    assert contents(copy) == before


def test_a_store_that_was_moved_finds_its_artifacts_by_their_tail(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "mlflow-2.22", tmp_path / "elsewhere")
    reader = ADAPTER.reader(str(tmp_path / "elsewhere" / "mlflow.db"), {})
    assert sum(info.files for info in reader.list_runs(Query())) > 5


# Damaged stores


def damaged(name: str) -> tuple[Reader, dict[str, Any]]:
    folder = FIXTURES / "damaged" / name
    expected = json.loads((folder / "expected.json").read_text("utf-8"))
    return ADAPTER.reader(str(folder / "mlruns"), {}), expected


def read_all(reader: Reader) -> dict[str, Rows]:
    runs: dict[str, Rows] = defaultdict(lambda: defaultdict(list))
    for batch in reader.read_runs([info.ref for info in reader.list_runs(Query())]):
        for row in batch.data.to_pylist():
            runs[row["run_id"]][batch.table].append(row)
    return runs


def faults(rows: Rows) -> list[str]:
    found: list[str] = json.loads(rows["runs"][0]["extra"] or "{}").get("damage", [])
    return found


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mlruns-bad-metric-line", "metrics/values: line 5: no point: 'this is no point'"),
        ("mlruns-blank-metric-line", "metrics/values: line 5: no point: ''"),
        ("mlruns-truncated-metric-line", "metrics/values: line 8: cut off: '170000'"),
        ("mlruns-truncated-to-two-fields", "metrics/values: line 8: cut off: '1700000007000 0.1'"),
        ("mlruns-duplicate-metric-line", None),
    ],
)
def test_of_a_broken_metric_every_good_line_arrives(name: str, reason: str | None) -> None:
    reader, expected = damaged(name)
    runs = read_all(reader)
    rows = runs[expected["metrics_run"]]
    steps = [row["step"] for row in rows["metrics"] if row["key"] == "values"]
    assert steps == expected["steps_of_values"]
    assert faults(rows) == ([reason] if reason else [])
    assert faults(runs[expected["texts_run"]]) == []
    assert len({row["key"] for row in rows["metrics"]}) > 8


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mlruns-empty-meta", "meta.yaml: empty or not readable"),
        ("mlruns-missing-meta", "meta.yaml: No such file or directory"),
    ],
)
def test_a_run_without_its_meta_file_is_a_run_still(name: str, reason: str) -> None:
    reader, expected = damaged(name)
    runs = read_all(reader)
    rows = runs[expected["texts_run"]]
    assert len(runs) == 2
    assert len(rows["params"]) > 5
    assert faults(rows) == [reason]
    (row,) = rows["runs"]
    assert row["status"] is None and row["started"] is None
    assert row["name"].startswith("texts"), "the tag says it"


def test_odd_bytes_in_a_param_are_shown_and_named() -> None:
    reader, expected = damaged("mlruns-latin1-param")
    rows = read_all(reader)[expected["texts_run"]]
    values = {row["key"]: row["value"] for row in rows["params"]}
    assert values["latin1"] == r"gr\xf6\xdfe"
    assert faults(rows) == ["params/latin1: not UTF-8, odd bytes shown as \\xNN"]


def test_stray_files_of_a_file_manager_are_no_runs_and_no_params() -> None:
    reader, _ = damaged("mlruns-ds-store")
    runs = read_all(reader)
    assert len(runs) == 2
    for rows in runs.values():
        assert faults(rows) == []
        assert not [row for row in rows["params"] + rows["metrics"] if "DS_Store" in row["key"]]


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("db-not-mlflow", ConfigError, "without MLflow's tables"),
        ("db-text", ConfigError, "not an SQLite database"),
        ("db-truncated", IntegrityError, "damaged database"),
    ],
)
def test_a_file_that_is_no_whole_database_of_mlflow_is_refused_in_one_line(
    name: str, kind: type[BridgeError], reason: str
) -> None:
    path = FIXTURES / "damaged" / name / "mlflow.db"
    with pytest.raises(kind, match=reason) as caught:
        list(ADAPTER.reader(str(path), {}).list_runs(Query()))
    assert "\n" not in str(caught.value)
    assert ADAPTER.recognizes(str(path)) is (kind is IntegrityError)  # too damaged to be told apart


def read(reader: Reader, row: dict[str, Any]) -> bytes:
    place = FileRef(RunRef(row["project"], row["run_id"]), row["owner"], row["path"])
    with reader.open_file(place) as file:
        return file.read()


def milliseconds(time: datetime | None) -> int | None:
    return None if time is None else round(time.timestamp() * 1000)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }
