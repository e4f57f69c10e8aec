"""Databases are made by MLflow and written only at the revision that it knows."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from mlflow.store.db.utils import _get_latest_schema_revision

from trackbridge.adapter import Query, RunKey
from trackbridge.columns import batches
from trackbridge.errors import ConfigError
from trackbridge.fit import fit_rows
from trackbridge.losses import Losses
from trackbridge.testing import MadeRun, samples
from trackbridge.testing.base import rows_of
from trackbridge.testing.compare import same_rows
from trackbridge.testing.made import store
from trackbridge_adapters.mlflow import ADAPTER, head

FIXTURES = Path(__file__).parents[3] / "fixtures"
KEY = RunKey("toy", "", "p", "r")


def test_the_head_that_is_read_out_of_the_scripts_is_the_one_that_mlflow_names() -> None:
    assert head.revision() == _get_latest_schema_revision()


def test_a_database_of_another_revision_is_refused_with_the_way_to_upgrade_it(
    template: Path, tmp_path: Path
) -> None:
    path = tmp_path / "old.db"
    path.write_bytes((FIXTURES / "mlflow-2.9" / "mlflow.db").read_bytes())
    before = path.read_bytes()
    with pytest.raises(ConfigError) as caught:
        ADAPTER.writer(str(path), {}).open([KEY])
    message = str(caught.value)
    assert head.revision() in message
    assert f"mlflow db upgrade sqlite:///{path}" in message
    with sqlite3.connect(path) as database:
        (found,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
    database.close()
    assert found in message
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", ["2.9", "2.22"])
def test_an_older_mlflow_is_written_at_its_own_revision(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old.db"
    path.write_bytes((FIXTURES / f"mlflow-{version}" / "mlflow.db").read_bytes())
    with sqlite3.connect(path) as database:
        (found,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
    database.close()
    monkeypatch.setattr(head, "revision", lambda: found)
    monkeypatch.setattr(head, "has_models", lambda: False)
    writer = ADAPTER.writer(str(path), {})
    assert "artifacts" not in writer.capabilities.holds
    made = samples.everything()
    model = {"kind": "model", "version": "m-1", "direction": "logged", "metadata": '{"status": 2}'}
    native = MadeRun(KEY._replace(kind="mlflow"), {"artifacts": [{**model, "collection": "c"}]})
    written = store(writer, [made, native])
    refs = [writer.target(run.key) for run in (made, native)]
    same_rows(written, ADAPTER.reader(str(path), {}).read_runs(refs), writer)
    with writer.open([]) as sink:
        for table, rows in samples.shared("a project", "a", 1).items():
            for batch in batches(table, fit_rows(table, rows, writer.capabilities, Losses())):
                sink.write(batch)
        sink.commit()
    shared = rows_of(writer.read_shared(Query()))
    assert "model a" in {row["name"] for row in shared["models"]}
    assert ("doubler", "3") in {(row["name"], row["version"]) for row in shared["model_versions"]}


def test_a_file_that_is_no_database_of_mlflow_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE t (a)")
    database.close()
    with pytest.raises(ConfigError, match="without MLflow's tables"):
        ADAPTER.writer(str(path), {}).open([KEY])


def test_without_mlflow_the_extra_to_install_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head.revision.cache_clear()
    monkeypatch.setattr(head.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'trackbridge\[mlflow\]'"):
        head.revision()
    monkeypatch.undo()
    assert head.revision()


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%41"])
def test_a_place_that_mlflow_cannot_address_is_refused_before_anything_is_made(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    odd, plain = str(tmp_path / name / "t.db"), str(tmp_path / "t.db")
    monkeypatch.chdir(tmp_path / name)
    for location, options in (
        (odd, {}),
        ("t.db", {}),
        (plain, {"artifact_root": str(tmp_path / name)}),
    ):
        with pytest.raises(ConfigError, match=f"{re.escape(repr(name[1]))}; rename"):
            ADAPTER.writer(location, options)
    assert not list((tmp_path / name).iterdir())


def test_new_stores_are_suggested_by_their_name() -> None:
    assert ADAPTER.suggests("new.db") and ADAPTER.suggests("sqlite:///x")
    assert not ADAPTER.suggests("out") and not ADAPTER.suggests("wandb")
