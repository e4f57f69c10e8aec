"""A store is never migrated into itself, however its place is spelled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import trackbridge
from trackbridge.errors import ConfigError
from trackbridge.registry import identity, same_place

SOURCE = Path(__file__).parents[3] / "fixtures" / "mlflow-3.17" / "mlflow.db"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a real database in the working folder, so that it may be damaged."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    place = tmp_path / "data" / "mlflow.db"
    place.write_bytes(SOURCE.read_bytes())
    (tmp_path / "link.db").symlink_to(place)
    os.link(place, tmp_path / "hard.db")
    return place


SPELLINGS = [
    "data/mlflow.db",
    "./data/../data/mlflow.db",
    "new/folder/../../data/mlflow.db",
    "data",
    "mlflow:data",
    "mlflow:data/mlflow.db",
    "mlflow:sqlite:///data/mlflow.db",
    "link.db",
    "hard.db",
]


@pytest.mark.parametrize("spelling", [*SPELLINGS, "{absolute}", "mlflow:sqlite:///{absolute}"])
def test_the_source_under_another_name_is_refused_and_left_alone(
    store: Path, spelling: str
) -> None:
    if spelling.endswith("data"):  # which the writer understands, and that needs MLflow
        pytest.importorskip("mlflow")
    before = store.read_bytes()
    with pytest.raises(ConfigError, match="same store"):
        trackbridge.migrate("data/mlflow.db", spelling.format(absolute=store))
    assert store.read_bytes() == before


def test_places_that_only_look_alike_are_two(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert not same_place(f"{tmp_path}/a/x.db", f"{tmp_path}/x.db")
    assert identity("archive:s3://bucket/out") == identity("s3://bucket/out")
    assert identity("file:///srv/x") == identity("/srv/x")


@pytest.mark.parametrize(
    "other",
    [
        "mlflow:postgresql+psycopg2://bob:secret@127.0.0.1:5432/tracking",
        "postgresql://localhost:5432/tracking/",
    ],
)
def test_a_url_means_one_place_whoever_asks_and_by_whatever_driver(other: str) -> None:
    assert same_place("mlflow:postgresql://ann@127.0.0.1:5432/tracking", other)
    assert not same_place("mlflow:postgresql://ann@127.0.0.1:5432/other", other)
