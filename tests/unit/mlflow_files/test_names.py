"""Keys are names of files: whatever they are, they are kept apart, and come home."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient
from unit.mlflow_files.runs import param, point, run, write, writer_of

from trackbridge.adapter import Names
from trackbridge.comparison import verify
from trackbridge.engine import migrate
from trackbridge.fit_paths import PART_BYTES, Paths
from trackbridge.fit_text import fit_name
from trackbridge.registry import open_writer
from trackbridge.testing.made import store

PATHS = Names(250, r"/\w.\- :", paths=True)
KEYS = [
    "loss",
    "loss/train",
    "Loss",
    "a/b/c",
    "a",
    "a/b",
    "system",
    "x//y",
    "/x",
    "x/",
    "./x",
    "../x",
    "..",
    ".",
    ".DS_Store",
    "Thumbs.db",
    "e\u0301",
    "\u00e9",
    "\u6f22" * 120,
    "k" * 250,
    "colon:key",
]


def as_paths(names: list[str], limits: Names = PATHS) -> list[str]:
    paths = Paths(limits)
    return [paths.place(fit_name(name, limits)) for name in names]


def folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


@given(
    st.lists(st.text("aA/.\u00e9e\u0301\u6f22_ ", max_size=9) | st.sampled_from(KEYS), unique=True)
)
def test_names_can_be_files_beside_each_other(names: list[str]) -> None:
    found = as_paths(names)
    everywhere = {folded(name) for name in found}
    assert len(everywhere) == len(names)
    for name in found:
        parts = name.split("/")
        assert len(name) <= 250
        assert all(part and part[0] != "." and len(part.encode()) <= PART_BYTES for part in parts)
        above = {folded("/".join(parts[:end])) for end in range(1, len(parts))}
        assert not above & everywhere


def test_names_that_are_plain_stay_as_they_are() -> None:
    plain = ["loss", "val/loss", "a b.c-d:e", "k" * 250, "gr\u00f6\u00dfe", "deep/er/still"]
    assert as_paths(plain) == plain


def test_a_name_is_the_same_however_often_it_is_asked_for() -> None:
    paths = Paths(PATHS)
    first = [paths.place(name) for name in ("a", "a/b", "A")]
    assert [paths.place(name) for name in ("a", "a/b", "A")] == first
    assert first[0] == "a"


def test_what_begins_like_a_reserved_folder_is_only_that() -> None:
    limits = Names(250, reserved=("system/",), paths=True)
    assert fit_name("systematic", limits) == "systematic"
    assert fit_name("system", limits) != "system"
    assert fit_name("system/x", limits).startswith("_system/x_")


def test_metrics_params_and_tags_of_any_name_come_home(tmp_path: Path) -> None:
    made = run(
        "a",
        metrics=[point(key, step) for key in KEYS for step in (0, 1)]
        + [point("cpu", system=True), point("cpu/0", system=True)],
        params=[param(key) for key in KEYS],
        tags=[{"key": key, "value": "v"} for key in KEYS],
    )
    store(open_writer(f"archive:{tmp_path}/archive"), [made])
    report = migrate(f"archive:{tmp_path}/archive", f"mlflow:{tmp_path}/mlruns")
    assert report.verified, report.failures
    renamed = {loss.kind for loss in report.losses}
    assert {"metrics renamed", "params renamed", "tags renamed"} <= renamed
    run_id = writer_of(tmp_path / "mlruns").target(made.key).run_id
    client = MlflowClient((tmp_path / "mlruns").as_uri())
    data = client.get_run(run_id).data
    assert len(data.metrics) == len(KEYS) + 2
    assert len(data.params) == len(KEYS)
    assert data.metrics.keys() >= {"loss", "a/b/c", "system/cpu"}
    assert all(len(client.get_metric_history(run_id, key)) for key in data.metrics)
    assert migrate(f"mlflow:{tmp_path}/mlruns", f"archive:{tmp_path}/home").verified
    assert verify(f"archive:{tmp_path}/archive", f"archive:{tmp_path}/home").holds


def test_a_name_does_not_depend_on_other_runs_of_the_chunk(tmp_path: Path) -> None:
    both = [
        run("a", metrics=[point("loss/train"), point("loss")]),
        run("b", metrics=[point("loss"), point("acc")]),
    ]
    write(writer_of(tmp_path / "mlruns"), both)
    run_id = writer_of(tmp_path / "mlruns").target(both[1].key).run_id
    metrics = MlflowClient((tmp_path / "mlruns").as_uri()).get_run(run_id).data.metrics
    assert set(metrics) == {"loss", "acc"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_params_longer_than_mlflow_logs_are_kept_whole(tmp_path: Path) -> None:
    made = run("a", params=[param("long", "p" * 20_000), param("nul", "a\0b\r\nc")])
    write(writer_of(tmp_path / "mlruns"), [made])
    run_id = writer_of(tmp_path / "mlruns").target(made.key).run_id
    params = MlflowClient((tmp_path / "mlruns").as_uri()).get_run(run_id).data.params
    assert params == {"long": "p" * 20_000, "nul": "a\0b\r\nc"}
