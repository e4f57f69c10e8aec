"""What a server hides, folds or cuts is an error, and never taken for what is not there."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from servers import MYSQL, POSTGRES
from sqlalchemy import make_url

import trackbridge
from trackbridge import registry
from trackbridge.adapter import Query
from trackbridge.errors import ConfigError, IntegrityError
from trackbridge_adapters.mlflow import empty
from trackbridge_adapters.mlflow.server import Server

SOURCE = f"mlflow:{Path(__file__).parents[3]}/fixtures/mlflow-3.17/mlflow.db"
CORE = ("experiments", "experiment_tags", "runs", "tags", "params", "metrics")
ROLE = f"trackbridge_reader_{os.getpid()}"
LAX = "init_command=SET%20sql_mode%3D%27%27"
"""Option of PyMySQL's for a server that cuts what does not fit, and says nothing."""
_numbers = count()


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """A database of PostgreSQL's with runs in it, and a role without any right."""
    uri = POSTGRES.new(tmp_path / "a")
    trackbridge.migrate(SOURCE, f"mlflow:{uri}")
    POSTGRES.run(f"CREATE ROLE {ROLE} LOGIN")
    yield str(make_url(uri).database)
    POSTGRES.run(f"DROP OWNED BY {ROLE}", str(make_url(uri).database))
    POSTGRES.run(f"DROP ROLE {ROLE}")


@pytest.fixture
def mysql(tmp_path: Path) -> Iterator[str]:
    """The same of MySQL's."""
    uri = MYSQL.new(tmp_path / "a")
    trackbridge.migrate(SOURCE, f"mlflow:{uri}")
    MYSQL.run(f"CREATE USER {ROLE}@'%'")
    MYSQL.run(f"CREATE USER {ROLE}@localhost")
    yield str(make_url(uri).database)
    MYSQL.run(f"DROP USER {ROLE}@'%', {ROLE}@localhost")


def as_reader(uri: str) -> str:
    return f"mlflow:{make_url(uri).set(username=ROLE).render_as_string(hide_password=False)}"


def grant(name: str, what: str) -> None:
    for host in ("'%'", "localhost"):
        MYSQL.run(f"GRANT SELECT ON {name}.{what} TO {ROLE}@{host}")


def test_postgres_is_read_by_a_user_who_may_do_nothing_else(postgres: str, tmp_path: Path) -> None:
    POSTGRES.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {ROLE}", postgres)
    target = f"mlflow:sqlite:///{tmp_path}/b.db"
    assert trackbridge.migrate(as_reader(POSTGRES.uri(postgres)), target).verified
    assert trackbridge.verify(SOURCE, target).holds


def test_tables_of_postgres_that_may_not_be_read_are_an_error(
    postgres: str, tmp_path: Path
) -> None:
    POSTGRES.run(f"GRANT SELECT ON {', '.join(CORE)} TO {ROLE}", postgres)
    target = f"mlflow:sqlite:///{tmp_path}/b.db"
    with pytest.raises(ConfigError, match="lacks a permission; grant it"):
        trackbridge.migrate(as_reader(POSTGRES.uri(postgres)), target)


def test_rows_of_postgres_that_a_policy_hides_are_an_error(postgres: str) -> None:
    POSTGRES.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {ROLE}", postgres)
    POSTGRES.run("ALTER TABLE params ENABLE ROW LEVEL SECURITY", postgres)
    reader = registry.open_reader(as_reader(POSTGRES.uri(postgres)))
    with pytest.raises(ConfigError, match="row-level security"):
        list(reader.read_runs([info.ref for info in reader.list_runs(Query())]))


def test_mysql_is_read_by_a_user_who_may_do_nothing_else(mysql: str, tmp_path: Path) -> None:
    grant(mysql, "*")
    target = f"mlflow:sqlite:///{tmp_path}/b.db"
    assert trackbridge.migrate(as_reader(MYSQL.uri(mysql)), target).verified
    assert trackbridge.verify(SOURCE, target).holds


def test_mysql_is_not_read_by_a_user_who_cannot_know_of_all_tables(mysql: str) -> None:
    for table in CORE:
        grant(mysql, table)
    reader = registry.open_reader(as_reader(MYSQL.uri(mysql)))
    with pytest.raises(ConfigError, match="GRANT SELECT ON the whole database"):
        list(reader.list_runs(Query()))


def named(tmp_path: Path, table: str, *names: str) -> str:
    """The address of a database of SQLite's with rows of these names."""
    path = tmp_path / f"named-{next(_numbers)}.db"
    empty.create(path, str(tmp_path / "files"))
    with sqlite3.connect(path) as connection:
        for name in names:
            connection.execute(
                f"INSERT INTO {table} (name, creation_time, workspace) VALUES (?, 1, 'default')",
                [name],
            )
            if table == "experiments":
                connection.execute("UPDATE experiments SET lifecycle_stage = 'active'")
    return f"mlflow:sqlite:///{path}"


@pytest.mark.parametrize("other", ["demo", "Demo ", "dëmo"])
def test_experiments_whose_names_mysql_takes_for_one_are_named_with_the_way_out(
    other: str, tmp_path: Path
) -> None:
    target = f"mlflow:{MYSQL.new(tmp_path / 'a')}"
    source = named(tmp_path, "experiments", "Demo", other)
    with pytest.raises(ConfigError, match=f"'Demo' and '{other}' .* --rename-project '{other}="):
        trackbridge.migrate(source, target)


@pytest.mark.parametrize("other", ["model", "Model ", "mödel"])
def test_a_registered_model_of_somebody_else_is_not_overwritten_by_one_like_it(
    other: str, tmp_path: Path
) -> None:
    uri = MYSQL.new(tmp_path / "a")
    database = str(make_url(uri).database)
    insert = "INSERT INTO registered_models (name, description, workspace)"
    MYSQL.run(f"{insert} VALUES ('Model', 'theirs', 'default')", database)
    source = named(tmp_path, "registered_models", other)
    with pytest.raises(ConfigError, match=f"'Model' and '{other}' have the same name"):
        trackbridge.migrate(source, f"mlflow:{uri}")
    rows = MYSQL.run("SELECT name, description FROM registered_models", database)
    assert rows == [("Model", "theirs")]


def test_a_name_that_a_column_cannot_hold_is_an_error_in_lax_mode_too(tmp_path: Path) -> None:
    uri = MYSQL.new(tmp_path / "a")
    narrow = "ALTER TABLE experiments MODIFY name varchar(100) CHARACTER SET utf8mb3 NOT NULL"
    MYSQL.run(narrow, str(make_url(uri).database))
    source = named(tmp_path, "experiments", "emoji \U0001f600")
    with pytest.raises(ConfigError, match="cannot hold every character"):
        trackbridge.migrate(source, f"mlflow:{uri}?{LAX}")


def test_a_session_never_cuts_silently(tmp_path: Path) -> None:
    lax = f"{MYSQL.new(tmp_path / 'a')}?{LAX}"
    transaction = Server(lax).transaction()
    try:
        with pytest.raises(IntegrityError, match="Data too long"):
            transaction.insert("workspaces", [{"name": "w" * 64}])
    finally:
        transaction.close()
