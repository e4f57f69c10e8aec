"""Databases are made by MLflow and written only at the revision that it knows."""

from __future__ import annotations

import errno
import re
import sqlite3
from pathlib import Path

import pytest
from mlflow.store.db.utils import _get_latest_schema_revision
from mlflow.tracking import MlflowClient

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


def test_a_new_database_is_as_mlflow_makes_it(template: Path) -> None:
    (experiment,) = MlflowClient(f"sqlite:///{template}").search_experiments()
    assert experiment.name == "Default"
    assert experiment.artifact_location == f"{template.parent}/mlruns/0"
    assert sorted(path.name for path in template.parent.iterdir()) == ["empty.db"]


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


GIVEN = "import json, sys; uri, root = json.load(sys.stdin)"


def test_a_database_that_cannot_be_made_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real `create`
    monkeypatch.setattr(head, "_CREATE", f"{GIVEN}; open(uri[10:], 'w'); sys.exit('no')")
    with pytest.raises(ConfigError, match="MLflow could not create the database: no"):
        head.create(tmp_path / "new.db", tmp_path)
    assert not list(tmp_path.iterdir())


MADE = f"{GIVEN}; open(uri[10:], 'w').write('mine')"
OVERTAKEN = f"{MADE}; open(root, 'w').write('theirs')"


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize(("script", "content"), [(MADE, "mine"), (OVERTAKEN, "theirs")])
def test_a_database_that_somebody_else_makes_at_the_same_time_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, content: str, links: bool
) -> None:
    monkeypatch.undo()  # the real `create`
    monkeypatch.setattr(head, "_CREATE", script)

    def refuse(here: Path, there: Path) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    if not links:
        monkeypatch.setattr(head.os, "link", refuse)
    head.create(tmp_path / "new.db", tmp_path / "new.db")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"new.db": content}


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
