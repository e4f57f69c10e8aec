"""What belongs to no run (traces, datasets, scorers, stray models) arrives as MLflow showed it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from trackbridge import items
from trackbridge.adapter import Query
from trackbridge.comparison import verify
from trackbridge.engine import Report, migrate
from trackbridge.forecast import forecast
from trackbridge.gone import Gone
from trackbridge_adapters.mlflow import ADAPTER, sql_left

FIXTURES = Path(__file__).parents[3] / "fixtures"
SCRIPT = FIXTURES / "make" / "genai_store.py"
EVERY = Query()
KINDS = {"traces": 8, "evaluation_datasets": 2, "scorers": 2, "stray_models": 2}
"""What genai-3.17 holds."""

PLACES = {
    ("trace_tags", "value"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
}
"""Columns that say where files lie, which is elsewhere in every store."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    shutil.copytree(FIXTURES / "genai-3.17", tmp_path / "source")
    return tmp_path / "source" / "mlflow.db"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target" / "target.db"


def rows(path: Path, table: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        found = [dict(row) for row in database.execute(f'SELECT * FROM "{table}"')]
    for row in found:
        for name in {name for where, name in PLACES if where == table}:
            if table != "trace_tags" or row["key"] == "mlflow.artifactLocation":
                row[name] = row[name] and "somewhere"
        for name in ("inputs", "outputs", "expectations", "tags", "source"):
            if table == "evaluation_dataset_records" and row[name]:
                row[name] = json.loads(row[name])
    return sorted(found, key=repr)


def execute(path: Path, query: str, *values: Any) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(query, values)


def shown(database: Path, experiments: str = "1,2") -> dict[str, Any]:
    """What MLflow's own client says of a store, as `expected.json` was made."""
    command = [sys.executable, str(SCRIPT), str(database.parent), experiments]
    done = subprocess.run(
        command, env={**os.environ}, cwd=database.parent, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def tallies(report: Report) -> dict[str, tuple[int, int, int]]:
    assert report.failures == []
    return {kind: (t.copied, t.updated, t.skipped) for kind, t in report.items.items()}


@pytest.mark.parametrize("by_archive", [False, True], ids=["directly", "by an archive"])
def test_mlflow_shows_of_a_copy_what_it_showed_of_the_source(
    source: Path, target: Path, tmp_path: Path, by_archive: bool
) -> None:
    here = str(source)
    if by_archive:
        here = f"archive:{tmp_path}/archive"
        assert tallies(migrate(str(source), here)) == {k: (n, 0, 0) for k, n in KINDS.items()}
        assert verify(str(source), here).holds
    report = migrate(here, f"mlflow:sqlite:///{target}")
    assert tallies(report) == {kind: (number, 0, 0) for kind, number in KINDS.items()}
    compared = verify(here, str(target))
    assert compared.holds
    assert {kind: tally.equal for kind, tally in compared.items.items()} == KINDS
    (target.parent / "mlflow.db").symlink_to(target)
    expected = json.loads((source.parent / "expected.json").read_text("utf-8"))
    found = shown(target.parent / "mlflow.db")
    for part in expected:
        assert found[part] == expected[part], part


def test_every_row_that_belongs_to_no_run_is_the_same_in_a_copy_by_an_archive(
    source: Path, target: Path, tmp_path: Path
) -> None:
    archive = f"archive:{tmp_path}/archive"
    migrate(str(source), archive)
    migrate(archive, str(target))
    tables = sql_left.MOVED - {"experiments", "experiment_tags", "runs", "tags", "inputs"}
    for table in sorted({*tables, "entity_associations"}):
        assert rows(target, table) == rows(source, table), table


def test_files_of_traces_and_of_stray_models_arrive(source: Path, target: Path) -> None:
    migrate(str(source), str(target))
    copied = {
        path.name: path.read_bytes()
        for path in target.parent.rglob("*")
        if path.is_file() and path.suffix in (".txt", ".bin", ".json")
    }
    assert copied["note ü.txt"] == b"a note\r\n"
    assert copied["weights.bin"] == bytes(range(256))
    places = [
        row["value"] for row in map(dict, _tags(target)) if row["key"] == "mlflow.artifactLocation"
    ]
    assert len(places) == KINDS["traces"]
    assert all(Path(place).is_relative_to(target.parent) for place in places)


def _tags(path: Path) -> Iterator[Any]:
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        yield from database.execute("SELECT * FROM trace_tags").fetchall()


def test_a_stray_model_with_a_file_that_cannot_be_read_is_named_and_the_other_arrives(
    source: Path, target: Path
) -> None:
    (weights,) = source.parent.rglob("weights.bin")
    link = weights.with_name("out")
    link.symlink_to("/etc/hostname")
    report = migrate(str(source), str(target))
    (failure,) = report.failures
    assert failure.run == f"stray_models {weights.parts[-3]}"
    assert "artifacts/out: a link that leaves the folder" in failure.error
    assert report.items["stray_models"].copied == 1
    link.unlink()
    report = migrate(str(source), str(target))
    assert (report.failures, report.items["stray_models"].copied) == ([], 1)


def test_a_second_migration_moves_only_what_is_new_or_changed(source: Path, target: Path) -> None:
    migrate(str(source), str(target))
    before = {table: rows(target, table) for table in sql_left.MOVED}
    again = migrate(str(source), str(target))
    assert tallies(again) == {kind: (0, 0, number) for kind, number in KINDS.items()}
    assert {table: rows(target, table) for table in sql_left.MOVED} == before
    execute(source, "UPDATE trace_tags SET value = 'blue' WHERE key = 'team' AND value = 'größe'")
    execute(source, "DELETE FROM evaluation_dataset_records WHERE inputs LIKE '%why?%'")
    report = tallies(migrate(str(source), str(target)))
    assert report["traces"] == (0, 2, 6)
    assert report["evaluation_datasets"] == (0, 1, 1)
    assert rows(target, "trace_tags") == rows(source, "trace_tags")
    assert rows(target, "evaluation_dataset_records") == rows(source, "evaluation_dataset_records")
    assert rows(target, "spans") == rows(source, "spans")


def test_lost_receipts_double_nothing(source: Path, target: Path, state: Path) -> None:
    migrate(str(source), str(target))
    before = {table: rows(target, table) for table in sql_left.MOVED}
    shutil.rmtree(state)
    report = migrate(str(source), str(target))
    assert tallies(report) == {kind: (0, 0, number) for kind, number in KINDS.items()}
    assert {table: rows(target, table) for table in sql_left.MOVED} == before


def test_what_was_changed_in_the_target_is_told_and_stays(source: Path, target: Path) -> None:
    migrate(str(source), str(target))
    execute(target, "UPDATE trace_info SET status = 'ERROR' WHERE trace_name = 'free 1'")
    report = migrate(str(source), str(target))
    (failure,) = report.failures
    assert failure.run.startswith("traces tr-")
    assert "was changed in the target after it was proven" in failure.error
    statuses = {row["trace_name"]: row["status"] for row in rows(target, "trace_info")}
    assert statuses["free 1"] == "ERROR"
    (difference,) = verify(str(source), str(target)).differences
    assert difference.table == "traces"


def test_a_migration_that_was_interrupted_between_chunks_goes_on(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "CHUNK_ITEMS", 3)
    real, calls = items._Mover._pass, []

    def torn(self: Any, chunk: Any) -> Any:
        calls.append(len(chunk))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, chunk)

    monkeypatch.setattr(items._Mover, "_pass", torn)
    with pytest.raises(KeyboardInterrupt):
        migrate(str(source), str(target))
    report = tallies(migrate(str(source), str(target)))
    assert report["traces"] == (KINDS["traces"] - 3, 0, 3)
    assert verify(str(source), str(target)).holds


def test_items_that_are_there_are_forecast_as_nothing_to_move(source: Path, target: Path) -> None:
    assert forecast(str(source), str(target)).items == KINDS
    migrate(str(source), str(target))
    assert forecast(str(source), str(target)).items == {}


def test_an_item_that_the_target_refuses_stops_no_other(source: Path, target: Path) -> None:
    migrate(str(source), str(target))
    execute(target, "DELETE FROM scorer_versions")
    execute(target, "UPDATE scorers SET scorer_id = 'of-others' WHERE scorer_name = 'polite'")
    report = migrate(str(source), str(target))
    told = sorted(failure.run for failure in report.failures)
    polite = next(r["scorer_id"] for r in rows(source, "scorers") if r["scorer_name"] == "polite")
    assert f"scorers {polite}" in told
    assert report.items["traces"].skipped == KINDS["traces"]
    names = {row["scorer_id"]: row["scorer_name"] for row in rows(target, "scorers")}
    assert names["of-others"] == "polite"


def test_traces_of_the_last_version_that_kept_them_in_files_are_shown_by_this_one(
    target: Path, tmp_path: Path
) -> None:
    source = shutil.copytree(FIXTURES / "genai-2.22", tmp_path / "source") / "mlflow.db"
    report = migrate(str(source), str(target))
    assert report.items["traces"].copied == 7
    assert report.failures == []
    expected = json.loads((source.parent / "expected.json").read_text("utf-8"))["traces"]
    (target.parent / "mlflow.db").symlink_to(target)
    found = shown(target.parent / "mlflow.db")["traces"]
    assert found.keys() == expected.keys()
    for name, trace in expected.items():
        spans = {span["name"]: span for span in found[name]["data"]["spans"]}
        assert len(spans) == len(trace["data"]["spans"])
        for span in trace["data"]["spans"]:
            assert spans[span["name"]]["attributes"] == span["attributes"]
        info = found[name]["info"]
        assert info["tags"]["mlflow.traceName"] == trace["info"]["tags"]["mlflow.traceName"]
        assert info["state"] == trace["info"]["status"]


def test_a_query_chooses_among_traces_too(source: Path, target: Path) -> None:
    reader = ADAPTER.reader(str(source), {})
    infos = {info.ref.run_id: info for info in reader.list_runs(EVERY)}
    run = next(name for name, info in infos.items() if info.name == "traced")
    report = migrate(str(source), str(target), Query(run_ids=[run]))
    assert {kind: tally.total for kind, tally in report.items.items()} == {"traces": 1}
    other = forecast(str(source), f"{target}.db", Query(projects=["traced / größe"]))
    assert other.items == {"traces": 8, "evaluation_datasets": 1, "scorers": 2}


def test_a_target_that_holds_no_traces_is_told_of_in_the_forecast_and_by_verify(
    source: Path, tmp_path: Path
) -> None:
    away = f"wandb-files:{tmp_path}/wandb"
    expected = {
        "traces not moved": 8,
        "evaluation datasets not moved": 2,
        "scorers not moved": 2,
        "logged models without a run not moved": 2,
        "secrets (encrypted) not moved": 2,
        "label_schemas not moved": 1,
    }
    losses = {loss.kind: loss.count for loss in forecast(str(source), away).losses}
    assert losses.items() >= expected.items()
    losses = {loss.kind: loss.count for loss in migrate(str(source), away).losses}
    assert losses.items() >= expected.items()
    compared = verify(str(source), away)
    assert compared.holds
    assert not any(tally.held for tally in compared.items.values())


def test_every_table_of_the_installed_mlflow_is_moved_or_derived_or_named(
    template: Path, tmp_path: Path
) -> None:
    path = tmp_path / "every.db"
    shutil.copyfile(template, path)
    with closing(sqlite3.connect(path)) as database, database:
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        tables = {name for (name,) in database.execute(names)}
        left = tables - sql_left.MOVED - sql_left.DERIVED - sql_left.IN_PART
        for table in left:
            columns = database.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchall()
            marks = ", ".join("?" for _ in columns)
            database.execute("PRAGMA ignore_check_constraints = ON")
            database.execute(f"INSERT INTO {table} VALUES ({marks})", ["1"] * len(columns))
    assert tables >= sql_left.MOVED
    assert tables >= sql_left.DERIVED
    counted = dict(ADAPTER.reader(str(path), {}).not_read(EVERY))  # type: ignore[attr-defined]
    named = {sql_left.WORDS.get(table, table) for table in left}
    assert set(counted) == named
    assert set(counted.values()) == {1}


def test_versions_keep_number_stage_alias_and_a_run_that_is_no_more(
    target: Path, tmp_path: Path
) -> None:
    source = shutil.copytree(FIXTURES / "mlflow-3.17", tmp_path / "source") / "mlflow.db"
    execute(source, "UPDATE model_versions SET run_id = 'gone' WHERE version = 1")
    run = "(SELECT run_id FROM model_versions WHERE version = 2 AND name = 'doubler')"
    execute(source, f"UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = {run}")
    archive = f"archive:{tmp_path}/archive"
    assert migrate(str(source), archive).verified
    assert migrate(archive, str(target)).verified
    for table in ("registered_models", "registered_model_tags", "registered_model_aliases"):
        assert rows(target, table) == rows(source, table), table
    own = [(row["name"], row["version"]) for row in rows(target, "model_versions")]
    tags = [
        row for row in rows(source, "model_version_tags") if (row["name"], row["version"]) in own
    ]
    assert rows(target, "model_version_tags") == tags
    columns = ("name", "version", "current_stage", "run_id", "status", "description", "user_id")
    found, expected = (
        [[row[name] for name in columns] for row in rows(path, "model_versions")]
        for path in (target, source)
    )
    kept = [row for row in expected if row[2] != "Deleted_Internal"]
    assert sorted(found, key=repr) == sorted(kept, key=repr)
    assert {row[2] for row in found} >= {"Archived", "Production", "Staging"}
    assert "gone" in {row[3] for row in found}


def test_a_trace_of_a_run_of_another_origin_is_found_under_the_run_that_it_was_born_as(
    target: Path, tmp_path: Path
) -> None:
    """An archive has runs under the ids of their birth, MLflow under ids of its own."""
    folders = FIXTURES / "wandb-0.31" / "wandb"
    assert migrate(str(folders), str(target)).copied > 0
    infos = list(ADAPTER.reader(str(target), {}).list_runs(EVERY))
    info = next(info for info in infos if info.key.run_id == "config01")
    number = next(
        r["experiment_id"] for r in rows(target, "runs") if r["run_uuid"] == info.ref.run_id
    )
    columns = "request_id, experiment_id, timestamp_ms, status"
    execute(target, f"INSERT INTO trace_info ({columns}) VALUES ('tr-1', ?, 1000, 'OK')", number)
    query = "INSERT INTO trace_request_metadata VALUES ('mlflow.sourceRun', ?, 'tr-1')"
    execute(target, query, info.ref.run_id)
    archive = f"archive:{tmp_path}/archive"
    assert migrate(str(target), archive).verified
    from trackbridge_adapters.archive import ADAPTER as ARCHIVES

    (trace,) = ARCHIVES.reader(f"{tmp_path}/archive", {}).list_items("traces", EVERY)
    assert (trace.run_id, trace.ref.project) == ("config01", info.key.project)
    back = tmp_path / "back" / "back.db"
    assert migrate(archive, str(back)).verified
    assert verify(archive, str(back)).holds
    assert rows(back, "trace_request_metadata") == rows(target, "trace_request_metadata")


def test_items_that_were_deleted_at_the_source_are_named_and_left_alone(
    source: Path, target: Path
) -> None:
    assert migrate(str(source), str(target)).gone == []
    [first, *_] = rows(source, "trace_info")
    for table, column in (
        ("assessments", "trace_id"),
        ("spans", "trace_id"),
        ("trace_tags", "request_id"),
        ("trace_request_metadata", "request_id"),
        ("trace_info", "request_id"),
    ):
        execute(source, f"DELETE FROM {table} WHERE {column} = ?", first["request_id"])
    expected = [Gone("traces", [first["request_id"]])]
    assert migrate(str(source), str(target)).gone == expected
    assert verify(str(source), str(target)).gone == expected
    assert len(rows(target, "trace_info")) == KINDS["traces"]
    execute(source, "UPDATE experiments SET lifecycle_stage = 'deleted'")
    found = migrate(str(source), str(target), Query(include_deleted=False)).gone
    assert [gone for gone in found if not gone.marked] == expected
