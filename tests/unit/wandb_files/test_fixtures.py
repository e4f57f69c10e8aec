"""The reader against what each version of the SDK was given."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.wandb_files.stores import STORES, damage, expected_runs, open_store, read, refs

from trackbridge.adapter import FileRef, Row, RunRef
from trackbridge.errors import NotFoundError

PARTS = sorted(expected_runs(STORES[0]))
FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@pytest.fixture(params=STORES, ids=lambda path: path.name)
def store(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def tables_of(store: Path, part: str) -> dict[str, list[Row]]:
    return read(open_store(store), RunRef("example/fixtures", expected_runs(store)[part]["id"]))


def leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Leaves of a value of expected.json, as W&B flattens them."""
    if isinstance(value, dict) and value and not {"kind", "float"} & set(value):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    else:
        yield path, value


def same(one: Any, other: Any) -> bool:
    """Equality in which NaN equals itself, but True does not equal 1.

    Old SDKs write an empty text as an empty list.
    """
    if one == [] and other == "":
        return True
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def number(value: Any) -> Any:
    return FLOATS[value["float"]] if isinstance(value, dict) and "float" in value else value


def points_given(run: dict[str, Any]) -> dict[tuple[int, str], Any]:
    return {
        (step, ".".join(path)): number(value)
        for step, key, whole in run["rows"]
        for path, value in leaves(whole, (key,))
        if not key.startswith("_")
    }


def points_read(tables: dict[str, list[Row]]) -> dict[tuple[int, str], Any]:
    metrics = [row for row in tables["metrics"] if not row["system"]]
    read = {(row["step"], row["key"]): row["value"] for row in metrics}
    read |= {(row["step"], row["key"]): json.loads(row["value"]) for row in tables["series"]}
    return {place: value for place, value in read.items() if not place[1].startswith("_")}


def compare(given: dict[Any, Any], found: dict[Any, Any]) -> None:
    assert set(found) == set(given)
    for place, value in given.items():
        assert same(found[place], value), place


def resumed_points(store: Path) -> dict[tuple[int, str], Any]:
    """Of both parts; a second part begun within a second overwrites the first (0.19)."""
    first, second = (expected_runs(store)[part] for part in ("resumed-a", "resumed-b"))
    given = points_given(second)
    return given if first["folder"] == second["folder"] else points_given(first) | given


@pytest.mark.parametrize("part", [p for p in PARTS if p not in ("killed", "media", "resumed-b")])
def test_every_logged_value_is_read_at_its_step(store: Path, part: str) -> None:
    given = points_given(expected_runs(store)[part])
    if part == "resumed-a":
        given = resumed_points(store)
    compare(given, points_read(tables_of(store, part)))


def test_a_point_has_the_time_at_which_it_was_logged(store: Path) -> None:
    first, last = expected_runs(store)["history"]["logged_between"]
    for row in tables_of(store, "history")["metrics"]:
        assert math.floor(first) - 1 <= row["time"].timestamp() <= last


def test_rows_count_the_log_calls(store: Path) -> None:
    tables = tables_of(store, "history")
    points = tables["metrics"] + tables["series"]
    steps = {row["row"]: row["step"] for row in points}
    assert [steps[row] for row in sorted(steps)] == [0, 1, 2, 3, 4, 5, 10, 1000, 123_456_789_012]
    assert sorted(steps) == list(range(9))


def test_resumed_runs_are_one_run_whose_rows_go_on(store: Path) -> None:
    tables = tables_of(store, "resumed-a")
    loss = sorted((r["row"], r["step"]) for r in tables["metrics"] if r["key"] == "loss")
    steps = sorted(step for step, _ in resumed_points(store))
    assert loss == list(enumerate(steps))
    assert {"key": "part", "path": None, "type": "string", "value": "resumed-b"} in tables["params"]


def test_media_are_series_with_the_file_that_holds_the_content(store: Path) -> None:
    run = expected_runs(store)["media"]
    reader = open_store(store)
    ref = RunRef("example/fixtures", run["id"])
    series = {(row["step"], row["key"]): row for row in read(reader, ref)["series"]}
    kinds = {"images": "image", "plotly": "plot"}
    for (step, key), given in points_given(run).items():
        if not isinstance(given, dict):
            continue
        row = series[step, key]
        assert row["kind"] == kinds.get(given["kind"], given["kind"])
        if "sha256" in given:
            with reader.open_file(FileRef(ref, "", row["path"])) as data:
                assert hashlib.sha256(data.read()).hexdigest() == given["sha256"]
        if given["kind"] == "histogram":
            assert json.loads(row["value"])["bins"] == given["bins"]
        if given["kind"] == "table":
            with reader.open_file(FileRef(ref, "", row["path"])) as data:
                assert json.load(data)["data"] == given["data"]


@pytest.mark.parametrize(("table", "given"), [("params", "config"), ("summary", "summary")])
@pytest.mark.parametrize("part", [p for p in PARTS if p not in ("killed", "media", "resumed-a")])
def test_config_and_summary_are_read_leaf_by_leaf(
    store: Path, part: str, table: str, given: str
) -> None:
    run = expected_runs(store)[part]
    tree = {key: value for key, value in run[given].items() if key not in INTERNAL}
    found = {}
    for row in tables_of(store, part)[table]:
        path = tuple(json.loads(row["path"])) if row["path"] else (row["key"],)
        value = row["value"] if row["type"] == "string" else json.loads(row["value"])
        if path[0] not in INTERNAL:
            found[path] = value
    compare({path: number(value) for path, value in leaves(tree, ())} if tree else {}, found)


INTERNAL = ("_wandb", "_runtime", "_timestamp")


@pytest.mark.parametrize("part", PARTS)
def test_the_run_is_described_as_it_was_started(store: Path, part: str) -> None:
    run, tables = expected_runs(store)[part], tables_of(store, part)
    [row] = tables["runs"]
    for column in ("name", "notes", "group", "job_type", "sweep_id"):
        if run[column] is not None and (column, store.name) != ("sweep_id", "wandb-0.12"):
            assert row[column] == run[column]
    assert [tag["key"] for tag in tables["tags"]] == run["tags"]
    assert row["status"] == {0: "finished", 1: "failed", None: "crashed"}[run["exit_code"]]
    assert (row["ended"] is None) == (run["exit_code"] is None)
    assert (row["host"], row["user"], row["python"]) == ("example-host", "alice", "3.11.7")
    program = "train.py" if part == "files" else "/srv/example/make/wandb_store.py"
    assert row["program"] == program
    assert abs(row["started"].timestamp() - run["logged_between"][0]) < 60


def test_an_integer_beyond_doubles_keeps_its_digits(store: Path) -> None:
    rows = {row["key"]: row for row in tables_of(store, "config")["params"]}
    assert (rows["big"]["type"], rows["big"]["value"]) == ("integer", str(2**53 + 1))


def test_metric_definitions_are_read(store: Path) -> None:
    given = expected_runs(store)["defined"]["metric_defs"]
    rows = tables_of(store, "defined")["metric_defs"]
    found = {row["key"]: row for row in rows if "expanded_from_glob" not in (row["extra"] or "")}
    assert set(found) == {definition["name"] for definition in given}
    for definition in given:
        row = found[definition["name"]]
        assert row["glob"] == ("*" in definition["name"])
        assert row["x_axis"] == definition.get("step_metric")
        assert set((row["summary"] or "").split(",")) == set(
            definition.get("summary", "").split(",")
        )
        assert row["hidden"] == definition.get("hidden", False)
        assert row["goal"] == definition.get("goal")


def test_alerts_are_read(store: Path) -> None:
    given = expected_runs(store)["console"]["alerts"]
    rows = tables_of(store, "console")["alerts"]
    assert [(r["title"], r["level"]) for r in rows] == [(a["title"], a["level"]) for a in given]
    assert [json.loads(r["definition"])["text"] for r in rows] == [a["text"] for a in given]


def test_console_output_is_read_raw_where_it_was_recorded_raw(store: Path) -> None:
    rows = tables_of(store, "console")["logs"]
    text = "".join(row["text"] for row in rows if row["stream"] == "stdout")
    if len(rows) > 1:
        assert text == "".join(expected_runs(store)["console"]["console"])
    assert [row["line"] for row in rows] == list(range(len(rows)))


def test_system_metrics_are_samples_without_a_row(store: Path) -> None:
    system = [row for row in tables_of(store, "stats")["metrics"] if row["system"]]
    assert {row["row"] for row in system} == {None}
    assert {row["step"] for row in system} == set(range(max(r["step"] for r in system) + 1))
    assert "proc.memory.rssMB" in {row["key"] for row in system}


def test_artifacts_are_read_with_their_files_and_references(store: Path) -> None:
    run = expected_runs(store)["artifacts"]
    reader, ref = open_store(store), RunRef("example/fixtures", run["id"])
    tables = read(reader, ref)
    remote = [given for given in run["artifacts"] if "id" in given]
    local = [given for given in run["artifacts"] if "id" not in given]
    assert [row["name"] for row in tables["inputs"]] == [given["name"] for given in remote]
    assert len(tables["artifacts"]) == len(local)
    counts: dict[str, int] = {}
    for given in local:
        number = counts[given["name"]] = counts.get(given["name"], -1) + 1
        owner = f"{given['name']}:v{number}"
        [row] = [
            row
            for row in tables["artifacts"]
            if (row["collection"], row["version"]) == (given["name"], f"v{number}")
        ]
        assert (row["kind"], row["digest"]) == (given["type"], given["digest"])
        assert row["direction"] == given["direction"]
        assert (row["description"] or None) == given["description"]
        assert json.loads(row["metadata"] or "{}") == given["metadata"]
        assert set(given["aliases"]) <= set(json.loads(row["aliases"]))
        files = {row["path"]: row for row in tables["files"] if row["owner"] == owner}
        references = {p: row["reference"] for p, row in files.items() if row["reference"]}
        assert references == given.get("references", {})
        assert set(files) == set(given["files"]) | set(references)
        for path, content in given["files"].items():
            assert files[path]["size"] == content["size"]
            check_bytes(reader, FileRef(ref, owner, path), content["sha256"], tables)


def check_bytes(reader: Any, file: FileRef, sha256: str, tables: dict[str, list[Row]]) -> None:
    """The bytes are right; or they are missing, since the fixture was moved, and that is named."""
    try:
        with reader.open_file(file) as data:
            assert hashlib.sha256(data.read()).hexdigest() == sha256
    except NotFoundError:
        assert any(file.path in text for text in damage(tables))


def test_files_of_the_run_are_read_or_named_as_missing(store: Path) -> None:
    run = expected_runs(store)["files"]
    reader, ref = open_store(store), RunRef("example/fixtures", run["id"])
    tables = read(reader, ref)
    assert set(run["files"]) <= {row["path"] for row in tables["files"] if not row["owner"]}
    for path, content in run["files"].items():
        check_bytes(reader, FileRef(ref, "", path), content["sha256"], tables)


def test_a_killed_run_is_read_up_to_where_it_ends(store: Path) -> None:
    run, tables = expected_runs(store)["killed"], tables_of(store, "killed")
    given, found = points_given(run), points_read(tables)
    assert found
    compare({place: given[place] for place in found}, found)
    last = max(step for step, _ in found)
    assert {step for step, _ in found} == set(range(last + 1))


def test_a_store_lists_each_run_once(store: Path) -> None:
    given = {run["id"] for run in expected_runs(store).values()}
    assert refs(open_store(store)) == [RunRef("example/fixtures", run) for run in sorted(given)]
