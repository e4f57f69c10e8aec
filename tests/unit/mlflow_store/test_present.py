"""What users of MLflow see of a run from elsewhere."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackbridge.adapter import Presentation, Row, RunKey
from trackbridge_adapters.mlflow.artifacts import inside, thumbnail
from trackbridge_adapters.mlflow.places import layout
from trackbridge_adapters.mlflow.translate import present

KEY = RunKey("toy", "", "vision", "r1")
NATIVE = KEY._replace(kind="mlflow")
TIME = datetime(2026, 3, 1, tzinfo=timezone.utc)


def shown(key: RunKey = KEY, parent: str | None = None, **tables: list[Row]) -> Presentation:
    tables.setdefault("runs", [{}])
    return present(key, tables, parent, has_models=True)


def tags(presentation: Presentation) -> dict[str, Any]:
    return {row["key"]: row["value"] for row in presentation.tables["tags"]}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("finished", "finished"),
        ("running", "running"),
        ("crashed", "failed"),
        (None, "finished"),
        ("some other word", "finished"),
    ],
)
def test_states_are_those_that_mlflow_knows_and_the_original_is_a_tag(
    before: str | None, after: str
) -> None:
    found = shown(runs=[{"status": before}])
    assert found.tables["runs"][0]["status"] == after
    assert tags(found).get("toy.state") == before
    assert [loss.kind for loss in found.losses] == ["status shown as finished"] * (before is None)


def test_nothing_is_named_after_a_kind_of_store_that_is_not_the_runs() -> None:
    rows: dict[str, list[Row]] = {
        "runs": [{"group": "g", "job_type": "j", "sweep_id": "s", "host": "h", "status": "failed"}],
        "tags": [{"key": "label", "value": None}, {"key": "k", "value": "v"}],
        "inputs": [{"name": "weights:v1", "kind": "model"}],
    }
    assert tags(shown(**rows)) == {
        "toy.project": "vision",
        "toy.run_id": "r1",
        "toy.state": "failed",
        "toy.group": "g",
        "toy.job_type": "j",
        "toy.sweep": "s",
        "toy.host": "h",
        "toy.tag.label": "true",
        "toy.input.weights:v1": "model",
        "k": "v",
    }


def test_columns_that_mlflow_shows_through_tags_get_their_tags() -> None:
    run = {"name": "n", "notes": "x" * 9000, "user": "ann", "git_commit": "c", "program": "p.py"}
    found = shown(runs=[run], parent="a" * 32)
    row, values = found.tables["runs"][0], tags(found)
    assert values["mlflow.parentRunId"] == row["parent_run_id"] == "a" * 32
    assert values["mlflow.source.type"] == "LOCAL"
    assert values["mlflow.note.content"] == row["notes"]
    assert len(row["notes"]) == 8000 and "[cut: 9000 characters]" in row["notes"]
    assert (values["mlflow.runName"], values["mlflow.user"]) == ("n", "ann")


def test_a_tag_of_mlflows_own_run_stays_and_decides_what_its_column_shows() -> None:
    found = shown(
        NATIVE,
        runs=[{"notes": "of the column", "git_commit": "c"}],
        tags=[
            {"key": "mlflow.note.content", "value": "of the tag"},
            {"key": "empty", "value": None},
        ],
    )
    assert found.tables["runs"][0]["notes"] == "of the tag"
    assert tags(found) == {
        "mlflow.note.content": "of the tag",
        "mlflow.source.git.commit": "c",
        "empty": None,
    }


def test_what_is_unreadable_in_a_source_is_no_part_of_the_run_in_the_target() -> None:
    extra = json.dumps({"damage": ["x"], "source_type": "LOCAL", "deleted_time": 5})
    row = shown(NATIVE, runs=[{"extra": extra}]).tables["runs"][0]
    assert json.loads(row["extra"]) == {"source_type": "LOCAL", "deleted_time": 5}


def test_params_that_would_have_one_name_stay_two_whatever_their_order() -> None:
    rows = [
        {"key": "a.b", "path": '["a", "b"]', "value": "1", "type": "integer"},
        {"key": "a.b", "path": None, "value": "x", "type": "string"},
    ]
    for given_rows in (rows, rows[::-1]):
        params = {p["key"]: p["value"] for p in shown(params=given_rows).tables["params"]}
        assert len(params) == 2
        assert params["a.b"] == "x"
        assert set(params.values()) == {"1", "x"}


def test_numbers_of_the_summary_are_metrics_and_the_rest_is_named_as_a_loss() -> None:
    rows = [
        {"key": "best", "value": "0.5", "type": "float"},
        {"key": "nan", "value": "NaN", "type": "float"},
        {"key": "huge", "value": "9" * 400, "type": "integer"},
        {"key": "_step", "value": "3", "type": "integer"},
        {"key": "text", "value": "x", "type": "string"},
    ]
    found = shown(summary=rows, runs=[{"ended": TIME}]).tables
    assert [(p["key"], p["step"], p["time"]) for p in found["metrics"]] == [
        ("summary/best", 0, TIME),
        ("summary/nan", 0, TIME),
    ]
    assert [row["key"] for row in found["summary"]] == ["huge", "_step", "text"]


def test_a_summary_that_says_what_its_metric_ends_with_is_not_shown_again() -> None:
    rows = [
        {"key": key, "value": value, "type": "float"}
        for key, value in (("loss", "0.5"), ("acc", "0.9"), ("nan", "NaN"))
    ]
    last = [{"key": "loss", "value": 0.5}, {"key": "acc", "value": 0.1}]
    last.append({"key": "nan", "value": float("nan")})
    found = shown(summary=rows, metrics=last).tables
    assert [point["key"] for point in found["metrics"]] == ["summary/acc"]


def test_the_measures_of_media_in_a_summary_are_not_shown() -> None:
    rows = [
        {"key": "pic._type", "path": '["pic", "_type"]', "value": "image-file", "type": "string"},
        {"key": "pic.width", "path": '["pic", "width"]', "value": "64", "type": "integer"},
        {"key": "deep.acc", "path": '["deep", "acc"]', "value": "1", "type": "integer"},
    ]
    found = shown(summary=rows).tables
    assert [point["key"] for point in found["metrics"]] == ["summary/deep.acc"]


def test_a_dataset_with_the_same_digest_but_other_content_is_another_dataset() -> None:
    rows = [
        {"name": "d", "digest": "1", "kind": "dataset", "source": source} for source in ("a", "b")
    ]
    found = shown(inputs=rows + rows).tables["inputs"]
    assert len({(row["name"], row["digest"]) for row in found}) == len(found) == 2
    assert all(len(row["digest"]) <= 36 for row in found)
    assert all(json.loads(row["extra"]) == {"toy.digest": "1"} for row in found)


def test_images_and_tables_go_where_mlflow_looks_for_them() -> None:
    image = {"kind": "image", "step": 2, "time": TIME}
    listed = json.dumps({"filenames": ["media/a.png", "media/b.png"]})
    series = [
        {**image, "key": "val/img", "path": "media/x.png"},
        {**image, "key": "many", "path": None, "value": listed},
        {**image, "key": "photo", "path": "media/x.jpg"},
        {**image, "key": "broken", "path": None, "value": "{"},
        {"kind": "table", "key": "t", "step": 0, "time": TIME, "path": "media/t.table.json"},
    ]
    paths = ["media/x.png", "media/a.png", "media/b.png", "media/x.jpg", "media/t.table.json"]
    found = shown(series=series, files=[{"owner": "", "path": path} for path in paths])
    there = [found.files.get(("", path), ("", path))[1] for path in paths]
    assert there[0].startswith("images/val~img+step+2+timestamp+1772323200000+")
    assert there[1].startswith("images/many+step+2+") and there[1] != there[2]
    assert all(thumbnail(path) for path in there[:3])
    assert there[3] == "media/x.jpg", "the image grid knows PNG and WebP only"
    assert json.loads(tags(found)["mlflow.loggedArtifacts"]) == [
        {"path": there[4], "type": "table"}
    ]
    assert tags(found)["mlflow.loggedImages"] == "True"


def test_files_that_lie_elsewhere_are_listed_and_not_shown_as_files() -> None:
    rows = [{"owner": "data:v0", "path": "x.csv", "reference": "s3://bucket/x.csv"}]
    found = shown(files=rows)
    assert found.tables["files"] == []
    listed = json.loads(found.contents["", "artifacts.json"])
    assert listed["references"] == {"data:v0": {"x.csv": "s3://bucket/x.csv"}}


PART = st.one_of(
    st.sampled_from(
        ["..", ".", "a", "A", "a:b", "C:", "x\\y", "nul\0", "media", "output.log", "artifacts"]
    ),
    st.text(min_size=1, max_size=300).filter(lambda text: "/" not in text),
)
PATH = st.lists(PART, min_size=1, max_size=3).map("/".join)
OWNER = st.sampled_from(["", "model:v0", "..:..", "a/b:v1"])


@given(
    files=st.sets(st.tuples(OWNER, PATH), max_size=6),
    kind=st.sampled_from(["toy", "mlflow"]),
)
def test_every_file_gets_a_safe_place_of_its_own(
    files: set[tuple[str, str]], kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [{"owner": owner, "path": path} for owner, path in sorted(files)]
    found = layout(kind, {"files": rows}, has_models=True)
    places = [found.moved.get((r["owner"], r["path"]), ("", r["path"]))[1] for r in rows]
    assert len(set(places)) == len(files)
    for path in places:
        inside(tmp_path_factory.getbasetemp(), path)
        assert all(len(part.encode()) <= 255 for part in path.split("/"))
    assert {row["path"] for row in found.rows} == set(places)
