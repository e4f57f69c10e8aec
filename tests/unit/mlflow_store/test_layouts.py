"""A folder means the store in it: MLflow's database, its file store, or the person says which."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from trackbridge.adapter import Query
from trackbridge.errors import ConfigError
from trackbridge.registry import open_reader, open_writer

FIXTURE = Path(__file__).parents[3] / "fixtures" / "mlflow-3.17"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """What a database and the files of its runs look like where MLflow puts them by default."""
    shutil.copyfile(FIXTURE / "mlflow.db", tmp_path / "mlflow.db")
    shutil.copytree(FIXTURE / "mlartifacts", tmp_path / "mlruns")
    return tmp_path


@pytest.mark.parametrize("prefix", ["", "mlflow:"])
def test_a_folder_with_a_database_and_the_files_of_its_runs_means_the_database(
    layout: Path, prefix: str
) -> None:
    reader = open_reader(f"{prefix}{layout}")
    assert reader.address == open_reader(f"{layout}/mlflow.db").address
    assert [*reader.list_runs(Query())]
    assert open_writer(f"{prefix}{layout}").address == reader.address


@pytest.mark.parametrize("prefix", ["", "mlflow:"])
@pytest.mark.parametrize("opened", [open_reader, open_writer])
def test_a_folder_with_a_database_and_a_file_store_asks_which_one_is_meant(
    layout: Path, prefix: str, opened: Callable[[str], object]
) -> None:
    shutil.copytree(FIXTURE / "mlruns", layout / "mlruns", dirs_exist_ok=True)
    with pytest.raises(ConfigError) as caught:
        opened(f"{prefix}{layout}")
    assert str(caught.value) == (
        f"{layout}: could be several stores; say which one: "
        f"mlflow:{layout}/mlflow.db, mlflow:{layout}/mlruns"
    )
    for store in ("mlflow.db", "mlruns"):
        assert [*open_reader(f"mlflow:{layout}/{store}").list_runs(Query())]


def test_another_database_beside_a_file_store_is_none_of_mlflows(tmp_path: Path) -> None:
    shutil.copytree(FIXTURE / "mlruns", tmp_path / "mlruns")
    shutil.copyfile(FIXTURE.parent / "damaged/db-not-mlflow/mlflow.db", tmp_path / "mlflow.db")
    assert open_reader(str(tmp_path)).address == open_reader(f"{tmp_path}/mlruns").address


def test_a_folder_without_any_of_them_says_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "mlruns" / "1").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"without MLflow's experiments or a mlflow\.db"):
        open_reader(f"mlflow:{tmp_path}")
