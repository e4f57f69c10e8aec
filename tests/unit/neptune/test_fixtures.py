"""What the exporter's own code wrote is read as it was put in."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from unit.neptune import reading

from trackbridge.adapter import Query, RunKey, RunRef
from trackbridge.registry import open_reader

HOME = Path(__file__).parents[3] / "fixtures" / "neptune-export"
EXPORT = HOME / "exports"
TRUTH: dict[str, dict[str, dict[str, Any]]] = json.loads(
    (HOME / "expected.json").read_text(encoding="utf-8")
)
THIRD, SECOND = "lab/segmentation", "lab/tabular"
RUNS = [
    *(RunRef(project, run) for project in (THIRD, SECOND) for run in TRUTH[project]),
    *(RunRef(SECOND, run) for kind in ("models", "model_versions") for run in TRUTH[kind]),
]
NOT_EXPORTED = {"git_ref", "run_state"}
CONSOLE = ("stdout", "stderr")
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

by_run = pytest.mark.parametrize("ref", RUNS, ids=lambda ref: ref.run_id)


def attributes(ref: RunRef, *kinds: str) -> Iterator[tuple[str, str, Any]]:
    """Path, type and value of what was put into a run."""
    homes = (TRUTH[ref.project], TRUTH["models"], TRUTH["model_versions"])
    [found] = (home[ref.run_id] for home in homes if ref.run_id in home)
    for path, attribute in found.items():
        if attribute["type"] not in NOT_EXPORTED and (not kinds or attribute["type"] in kinds):
            yield path, attribute["type"], attribute["value"]


def plain(value: Any) -> Any:
    return math.nan if value == {"float": "nan"} else value


def at(milliseconds: int) -> datetime:
    return EPOCH + timedelta(milliseconds=milliseconds)


def test_every_run_model_and_version_is_listed_with_its_ids() -> None:
    infos = list(open_reader(str(EXPORT)).list_runs(Query()))
    assert sorted(info.ref for info in infos) == sorted(RUNS)
    for info in infos:
        assert info.key == RunKey("neptune", "", *info.ref)
        [(_, _, sys_id)] = [a for a in attributes(info.ref) if a[0] == "sys/id"]
        assert sys_id in info.ids
        assert not info.estimated
    assert {i.ref.run_id for i in infos if i.deleted} == {"run/a #3", "TAB-3"}


@by_run
def test_a_listing_counts_points_and_files_exactly(ref: RunRef) -> None:
    reader = open_reader(str(EXPORT))
    [info] = [i for i in reader.list_runs(Query(run_ids=[ref.run_id])) if i.ref == ref]
    found = reading.tables(EXPORT, ref)
    assert info.points == len(found.get("metrics", [])) + len(found.get("series", []))
    assert info.files == len(found.get("files", []))
    assert info.size == sum(row["size"] for row in found.get("files", []))


@by_run
def test_single_values_are_params_or_columns(ref: RunRef) -> None:
    found = reading.tables(EXPORT, ref)
    params, run = reading.params(found), reading.row(found)
    columns = {
        "sys/name": run["group"] or run["name"],
        "sys/description": run["notes"],
        "sys/owner": run["user"],
        "sys/hostname": run["host"],
        "sys/forking/parent": run["parent_run_id"],
        "sys/trashed": run["deleted"],
        "sys/archived": run["deleted"],
    }
    labels = [row["key"] for row in found["tags"]]
    for path, kind, value in attributes(ref, "int", "float", "string", "bool"):
        read = columns[path] if path in columns else params.pop(path)
        assert (read, type(read)) == (value, type(value)), (path, kind)
    for path, _, value in attributes(ref, "string_set"):
        if path == "sys/tags":
            assert sorted(label for label in labels if "/" not in label) == value
        elif path == "sys/group_tags":
            assert [label for label in labels if "/" in label] == [f"group/{v}" for v in value]
            assert reading.extra(found)["group_tags"] == value
        else:
            assert sorted(params.pop(path)) == value
            assert path in reading.extra(found)["types"]["string_set"]
    for path, _, value in attributes(ref, "datetime"):
        moment = datetime.fromisoformat(value)
        assert path in reading.extra(found)["types"]["datetime"]
        if path == "sys/creation_time":
            assert run["started"] == moment
        else:
            assert datetime.fromisoformat(params.pop(path)) == moment
        if path == "sys/ping_time":
            assert run["ended"] == moment
    assert not params, "nothing that was not put in"
    assert not reading.damage(found)


@by_run
def test_points_are_read_with_every_step_time_and_value(ref: RunRef) -> None:
    found = reading.tables(EXPORT, ref)
    fine = reading.extra(found).get("steps_in_millionths", [])
    for path, _, points in attributes(ref, "float_series"):
        unit = 10**6 if path in fine else 1
        rows = [row for row in found["metrics"] if row["key"] == path]
        read = {row["step"]: (row["time"], repr(row["value"])) for row in rows}
        put = {
            int(Decimal(str(step)) * unit): (at(time), repr(float(plain(value))))
            for step, value, time in points
        }
        assert read == put, path
        assert len(rows) == len(points)
        assert all(row["system"] is path.startswith("monitoring/") for row in rows)
    keys = {path for path, _, _ in attributes(ref, "float_series")}
    assert {row["key"] for row in found.get("metrics", [])} == keys


@by_run
def test_texts_and_histograms_are_series(ref: RunRef) -> None:
    found = reading.tables(EXPORT, ref)
    fine = reading.extra(found).get("steps_in_millionths", [])
    for path, kind, points in attributes(ref, "string_series", "histogram_series"):
        if path.endswith(CONSOLE):
            continue
        unit = 10**6 if path in fine else 1
        rows = [row for row in found["series"] if row["key"] == path]
        read = [(row["step"], row["time"], row["kind"], json.loads(row["value"])) for row in rows]
        put = [
            (
                int(Decimal(str(step)) * unit),
                at(time),
                "text" if kind == "string_series" else "histogram",
                value if kind == "string_series" else histogram(value),
            )
            for step, value, time in points
        ]
        assert sorted(read, key=repr) == sorted(put, key=repr)


def histogram(value: dict[str, Any]) -> dict[str, Any]:
    return {
        "_type": "histogram",
        "values": value["values"],
        "bins": value["edges"],
        "type": value["type"],
    }


@by_run
def test_console_output_is_in_the_order_of_time_and_its_steps_are_kept(ref: RunRef) -> None:
    found = reading.tables(EXPORT, ref)
    put, notes = [], {note["path"]: note for note in reading.extra(found).get("console", [])}
    for path, _, points in attributes(ref, "string_series"):
        if path.endswith(CONSOLE):
            end = "\n" if notes[path].get("line_ends") == "added" else ""
            put += [(at(time), path.rpartition("/")[2], text + end) for _, text, time in points]
            steps = [
                first + distance * number
                for first, distance, count in notes[path]["steps"]
                for number in range(count)
            ]
            assert steps == [round(step * 10**6) for step, _, _ in points]
    rows = found.get("logs", [])
    assert [(row["time"], row["stream"], row["text"]) for row in rows] == sorted(put)
    assert [row["line"] for row in rows] == list(range(len(rows)))


@by_run
def test_files_have_their_bytes(ref: RunRef) -> None:
    found = reading.tables(EXPORT, ref)
    paths = {row["path"] for row in found.get("files", [])}
    for path, kind, value in attributes(ref, "file", "file_set", "artifact"):
        [name] = [p for p in paths if p == path or p.startswith((f"{path}/", f"{path}."))]
        paths.remove(name)
        data = reading.content(EXPORT, ref, name)
        if kind == "artifact":
            assert json.loads(data) == value
        else:
            assert data == bytes.fromhex(value)
    for path, _, points in attributes(ref, "file_series"):
        rows = [row for row in found["series"] if row["key"] == path]
        unit = 10**6 if any(step % 1 for step, _, _ in points) else 1
        contents = {int(step * unit): bytes.fromhex(value) for step, value, _ in points}
        read = {row["step"]: reading.content(EXPORT, ref, row["path"]) for row in rows}
        assert read == contents
        assert {row["kind"] for row in rows} == {"image"}
        paths -= {row["path"] for row in rows}
    assert not paths


def test_runs_have_the_status_that_is_known_of_them() -> None:
    states = {i.ref.run_id: i.status for i in open_reader(str(EXPORT)).list_runs(Query())}
    assert (states["TAB-1"], states["TAB-2"], states["brave-owl"]) == ("finished", "failed", None)


def test_a_fork_names_its_parent_and_where_it_left_it() -> None:
    found = reading.tables(EXPORT, RunRef(THIRD, "brave-owl-2"))
    assert reading.row(found)["parent_run_id"] == "brave-owl"
    assert reading.extra(found)["fork_step"] == 20.0


def test_registered_models_are_runs_too_and_their_versions_name_these() -> None:
    shared: dict[str, list[dict[str, Any]]] = {}
    for batch in open_reader(str(EXPORT)).read_shared(Query()):
        shared.setdefault(batch.table, []).extend(batch.data.to_pylist())
    assert [(row["name"], row["description"]) for row in shared["models"]] == [
        ("TAB-GBM", "for tables")
    ]
    assert [(row["version"], row["stage"], row["run_id"]) for row in shared["model_versions"]] == [
        ("1", "Archived", "TAB-GBM-1"),
        ("2", "Production", "TAB-GBM-2"),
    ]
    version = reading.row(reading.tables(EXPORT, RunRef(SECOND, "TAB-GBM-2")))
    assert (version["job_type"], version["parent_run_id"]) == ("model version", "TAB-GBM")


def test_the_folders_in_an_export_can_be_named_themselves() -> None:
    for folder, count in (("data", len(TRUTH[THIRD]) + len(TRUTH[SECOND])), ("model_data", 3)):
        reader = open_reader(f"neptune:{EXPORT / folder}")
        infos = list(reader.list_runs(Query()))
        assert len([i for i in infos if i.ref.run_id in str(TRUTH)]) >= count
        assert all(info.size for info in infos if info.files)
    [project] = (EXPORT / "data").glob("lab_seg*")
    infos = list(open_reader(str(project)).list_runs(Query(run_ids=["brave-owl"])))
    assert [(info.files, info.size > 300) for info in infos] == [(6, True)]
