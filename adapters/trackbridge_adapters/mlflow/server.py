"""Databases of MLflow's on a server, by their URI: opened, locked, made."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlencode

from trackbridge.errors import ConfigError, NotFoundError
from trackbridge_adapters.mlflow import capabilities
from trackbridge_adapters.mlflow.session import BUSY_SECONDS, Session, Transaction

if TYPE_CHECKING:
    from trackbridge_adapters.mlflow.server_session import Connection

POSTGRES = "postgresql"
MYSQL = "mysql"
DIALECTS = (POSTGRES, MYSQL)

DRIVERS = {POSTGRES: ("psycopg2", "psycopg"), MYSQL: ("pymysql", "MySQLdb")}
"""Modules through which SQLAlchemy, and so MLflow, speaks to each server, in order of trial."""
PORTS = {POSTGRES: 5432, MYSQL: 3306}
NAMES = {"MySQLdb": "mysqldb"}
"""What SQLAlchemy calls a module's driver where that is not the module's own name."""


_URI = re.compile(
    r"(?P<scheme>[\w+]+)://"
    r"(?:(?P<user>[^:/@]*)(?::(?P<password>[^@]*(?:@[^@/?]*)*?))?@)?"
    r"(?P<place>[^@/?]*)(?P<path>/[^?]*)?(?:\?(?P<query>.*))?"
)
"""Parts of a URI. As SQLAlchemy has it (engine/url.py, 2.0), and so MLflow, a password may have
signs in it that other readers of URIs, such as libpq, take for the end of it: `/`, `?`, `#`."""


class Server:
    """One database on a server, opened anew for each `session` and `transaction`."""

    has_folder = False

    def __init__(self, uri: str) -> None:
        found = _URI.fullmatch(uri)
        if found is None:
            raise ConfigError(f"{uri}: no address of a database; write {EXAMPLE}")
        scheme, user, password, place, path, query = found.groups("")
        self.dialect = scheme.partition("+")[0]
        if place and not set(place) & {":", ","}:
            place = f"{place}:{PORTS.get(self.dialect, '')}"
        who = f"{_escaped(user)}@" if user else ""
        shown = _without_secrets(query)
        self.name = self.address = f"{scheme}://{who}{place}{path}" + (f"?{shown}" if shown else "")
        if not path.strip("/"):
            raise ConfigError(f"{self.name}: names no database; write {EXAMPLE}")
        if password:
            who = f"{_escaped(user)}:{_escaped(password)}@"
        self._uri = f"{scheme}://{who}{place}{path}" + (f"?{query}" if query else "")
        self.identity = f"{self.dialect}://{place}{path}?{shown}"
        self.home = Path.cwd()
        is_postgres = self.dialect == POSTGRES
        self.capabilities = capabilities.POSTGRES if is_postgres else capabilities.MYSQL

    def exists(self) -> bool:
        """`ConfigError` where the database is there but holds something else."""
        try:
            with self.session():
                return True
        except NotFoundError:
            return False

    def create(self, root: str) -> None:
        """If somebody else makes the tables meanwhile, theirs stay."""
        from trackbridge_adapters.mlflow import empty

        with self._connection() as connection:
            connection.lock(BUSY_SECONDS)
            if not self.exists():
                with connection.making():
                    empty.initialize(self._uri_of_driver(), root, self.name)

    def own_root(self) -> Path:
        raise ConfigError(
            f"{self.name}: its artifacts are not on this machine; say where files are to go:"
            " --artifact-root PATH"
        )

    def new_root(self) -> Path:
        raise ConfigError(
            f"{self.name}: a new database; say where its files are to go: --artifact-root PATH"
        )

    @contextmanager
    def session(self) -> Iterator[Session]:
        from trackbridge_adapters.mlflow.server_session import ServerSession

        with self._connection() as connection:
            connection.begin(writing=False)
            yield ServerSession(self.name, connection)

    def transaction(self, wait: int | None = None) -> Transaction:
        from trackbridge_adapters.mlflow.server_session import ServerTransaction

        connection = self._connect()
        try:
            connection.begin(writing=True)
            connection.lock(BUSY_SECONDS if wait is None else wait)
            return ServerTransaction(self.name, connection)
        except BaseException:
            connection.close()
            raise

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        connection = self._connect()
        try:
            yield connection
        finally:
            connection.close()

    def _connect(self) -> Connection:
        connection: Connection
        if self.dialect == POSTGRES:
            from trackbridge_adapters.mlflow.postgres import PostgresConnection

            _, _, rest = self._uri.partition("://")
            connection = PostgresConnection(self.name, f"{POSTGRES}://{rest}")
        else:
            from trackbridge_adapters.mlflow.mysql import MysqlConnection

            connection = MysqlConnection(self.name, self._uri_of_driver())
        return connection

    def _uri_of_driver(self) -> str:
        """The URI with a driver that is installed, where it names none."""
        scheme, _, rest = self._uri.partition("://")
        if "+" in scheme:
            return self._uri
        found = (name for name in DRIVERS[scheme] if importlib.util.find_spec(name))
        driver = next(found, DRIVERS[scheme][0])
        return f"{scheme}+{NAMES.get(driver, driver)}://{rest}"


EXAMPLE = f"mlflow:{POSTGRES}://user@host:5432/database"


def _escaped(part: str) -> str:
    """A part of a URI, escaped or not, so that everybody reads it alike."""
    return quote(unquote(part), safe="")


def _without_secrets(query: str) -> str:
    pairs = [pair for pair in parse_qsl(query) if "pass" not in pair[0]]
    return urlencode(pairs, safe="/", quote_via=quote)
