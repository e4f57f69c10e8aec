"""Databases of every schema revision that MLflow ever had are read, and never altered."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from alembic import command
from alembic.script import ScriptDirectory
from mlflow.store.db.utils import _get_alembic_config
from mlflow.store.tracking.dbmodels.initial_models import Base
from servers import MYSQL, POSTGRES

from trackbridge.adapter import Batch, Query
from trackbridge_adapters.mlflow import ADAPTER

RUN = "0123456789abcdef0123456789abcdef"
ROWS = (
    "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage)"
    " VALUES (7, 'old', '/nowhere/7', 'active')",
    "INSERT INTO runs (run_uuid, name, source_type, source_name, user_id, status, start_time,"
    " end_time, source_version, lifecycle_stage, artifact_uri, experiment_id) VALUES"
    f" ('{RUN}', 'first', 'LOCAL', 'train.py', 'ann', 'FINISHED', 1500000000000,"
    f" 1500000060000, 'c0ffee', 'active', '/nowhere/7/{RUN}/artifacts', 7)",
    f"INSERT INTO params ({{key}}, value, run_uuid) VALUES ('lr', '0.1', '{RUN}')",
    f"INSERT INTO tags ({{key}}, value, run_uuid) VALUES ('team', 'vision', '{RUN}')",
    *(
        f"INSERT INTO metrics ({{key}}, value, timestamp, run_uuid)"
        f" VALUES ('loss', {time / 7}, {1500000000000 + time}, '{RUN}')"
        for time in range(3)
    ),
)
"""What the first revision holds; the migrations carry it on."""


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/old.db"
    databases = POSTGRES if request.param == "postgres" else MYSQL
    return databases.uri(databases.empty())


def revisions(uri: str) -> Iterator[str]:
    """The database at one revision after the other, from the first to the installed head."""
    logging.getLogger("alembic").setLevel(logging.ERROR)
    engine = sqlalchemy.create_engine(uri)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        key = "`key`" if uri.startswith("mysql") else '"key"'
        for row in ROWS:
            connection.exec_driver_sql(row.replace("{key}", key))
    engine.dispose()
    config = _get_alembic_config(uri)
    config.set_main_option("sqlalchemy.url", uri)
    every = list(ScriptDirectory.from_config(config).walk_revisions())
    for script in reversed(every):
        command.upgrade(config, script.revision)
        yield script.revision


def read(uri: str) -> dict[str, Any]:
    reader = ADAPTER.reader(uri, {})
    (info,) = reader.list_runs(Query())
    batches: list[Batch] = [*reader.read_runs([info.ref]), *reader.read_shared(Query())]
    found: dict[str, Any] = {"points": info.points, "name": info.name}
    for batch in batches:
        found.setdefault(batch.table, []).extend(batch.data.to_pylist())
    return found


def state(uri: str) -> Any:
    """Everything in an SQLite file; of a server, its revision."""
    if uri.startswith("sqlite"):
        path = Path(uri.removeprefix("sqlite:///"))
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            dump = list(database.iterdump())
        database.close()
        return dump, path.read_bytes()
    engine = sqlalchemy.create_engine(uri)
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").fetchall()
    engine.dispose()
    return found


@pytest.mark.slow
def test_a_run_of_2018_reads_alike_at_every_revision_since(uri: str) -> None:
    first = None
    count = 0
    for revision in revisions(uri):
        before = state(uri)
        found = read(uri)
        assert state(uri) == before, revision
        assert found["points"] == 3
        values = [row["value"] for row in found["metrics"]]
        assert values in ([0.0, 1 / 7, 2 / 7], [float(np.float32(n / 7)) for n in range(3)])
        assert [(row["key"], row["value"]) for row in found["params"]] == [("lr", "0.1")]
        assert ("team", "vision") in [(row["key"], row["value"]) for row in found["tags"]]
        projects = {row["project"]: row["project_id"] for row in found["projects"]}
        assert projects["old"] == "7"
        (run,) = found["runs"]
        first = first or run
        changed = {name for name, value in run.items() if value != first[name]}
        assert changed <= {"git_commit"}, revision
        assert run["ended"].timestamp() == 1_500_000_060
        count += 1
    assert count > 40
