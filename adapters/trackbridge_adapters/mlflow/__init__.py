"""MLflow's stores: databases, `mlruns` folders and tracking servers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from trackbridge.errors import ConfigError, UnsupportedError

if TYPE_CHECKING:
    from trackbridge.adapter import Reader, Writer
    from trackbridge.dual.mirroring import Mirror

SQLITE = "sqlite:///"
DATABASES = ("postgresql", "mysql")
"""Servers of databases, by the scheme of their URIs; a driver may follow it after `+`."""
OVER_REST = ("http", "https", "databricks", "arn")
"""Schemes of what MLflow's own client talks to over REST; SageMaker's are ARNs."""
OTHERS = ("mssql", "oracle")
ENDINGS = (".db", ".sqlite", ".sqlite3")
"""Names of files that are to become databases."""
DEFAULTS = ("mlflow.db", "mlruns")
"""Where MLflow keeps its data in a folder that it is called in: a database or a file store."""

OPTIONS = frozenset({"artifact_root"})


class MlflowAdapter:
    """`mlflow:sqlite:///path.db`, `mlflow:postgresql://host/db`, `mlflow:path/mlruns`.

    And tracking servers: `mlflow:http://host`.
    """

    name = "mlflow"

    def check(self, location: str) -> None:
        """`ConfigError` for what can be no place of a store, whatever is there; reads nothing."""
        if not (is_over_rest(location) or _is_server(location)):
            _path(location)

    def recognizes(self, location: str) -> bool:
        from trackbridge_adapters.mlflow import database

        if location.startswith(SQLITE) or _is_server(location):
            return True
        if is_over_rest(location):
            from trackbridge_adapters.mlflow import probe

            return probe.is_server(location)
        path = Path(location)
        if path.is_file():
            return database.is_mlflow(path)
        return bool(_stores(path))

    def suggests(self, location: str) -> bool:
        return location.startswith(SQLITE) or Path(location).suffix in ENDINGS

    def reader(self, location: str, options: Mapping[str, str]) -> Reader:
        from trackbridge_adapters.mlflow.database import Database, check_header
        from trackbridge_adapters.mlflow.server import Server
        from trackbridge_adapters.mlflow.sql import SqlReader

        if is_over_rest(location):
            from trackbridge_adapters.mlflow.rest import RestReader

            _refuse_artifact_root(options)
            return RestReader(location)
        root = _artifact_root(options)
        if _is_server(location):
            return SqlReader(Server(location), root)
        path = _store(location)
        if path.is_dir():
            from trackbridge_adapters.mlflow.files import FileReader
            from trackbridge_adapters.mlflow.folders import is_store

            if not is_store(path):
                raise ConfigError(
                    f"{location}: a folder, but without MLflow's experiments or a mlflow.db"
                )
            return FileReader(path)
        check_header(path)
        return SqlReader(Database(path), root)

    def writer(self, location: str, options: Mapping[str, str]) -> Writer:
        if is_over_rest(location):
            from trackbridge_adapters.mlflow.rest_write import RestWriter

            _refuse_artifact_root(options)
            return RestWriter(location)
        from trackbridge_adapters.mlflow import head
        from trackbridge_adapters.mlflow.database import Database
        from trackbridge_adapters.mlflow.server import Server
        from trackbridge_adapters.mlflow.sql_write import SqlWriter

        root = _artifact_root(options)
        if _is_server(location):
            return SqlWriter(Server(location), root)
        path = _store(location)
        if path.is_dir() or not (path.exists() or self.suggests(location)):
            from trackbridge_adapters.mlflow.files_write import FileWriter

            if root is not None:
                raise ConfigError(f"{location}: a file store has its files in its runs' folders")
            return FileWriter(path)
        head.check_place(path)
        return SqlWriter(Database(path, owned=True), root)

    def mirror(self, mirror: Mirror) -> None:
        from trackbridge_adapters.mlflow.mirror import install

        install(mirror)


ADAPTER = MlflowAdapter()


def _is_server(location: str) -> bool:
    scheme, separator, _ = location.partition("://")
    return bool(separator) and scheme.partition("+")[0] in DATABASES


def is_over_rest(location: str) -> bool:
    """Whether a location is that of a server; one letter before a colon is a drive."""
    return location.partition(":")[0] in OVER_REST and (":" in location or location == "databricks")


def _refuse_artifact_root(options: Mapping[str, str]) -> None:
    if _artifact_root(options) is not None:
        raise ConfigError("artifact_root: a server chooses for itself where its files lie")


def _path(location: str) -> Path:
    """The file or folder that a location names."""
    if location.startswith(SQLITE):
        return Path(unquote(location.removeprefix(SQLITE)))
    scheme = urlsplit(location).scheme
    kind = scheme.partition("+")[0]
    if kind in OTHERS:
        raise UnsupportedError(
            f"{scheme}: MLflow stores of this kind are not supported yet;"
            " use sqlite:///file.db, postgresql://, mysql://, http:// or a folder mlruns"
        )
    if kind == "file":
        return Path(unquote(urlsplit(location).path))
    if kind == "sqlite":
        file = location.partition(":")[2].lstrip("/")
        raise ConfigError(
            f"mlflow:{location}: a database file has three slashes before its path, and four if"
            f" that begins with one; write mlflow:{SQLITE}{file}"
        )
    if "://" in location:
        raise ConfigError(
            f"mlflow:{location}: MLflow knows no stores of the kind {scheme}; use sqlite:///file.db,"
            " postgresql://, mysql://, http:// or a folder mlruns"
        )
    if not location:
        raise ConfigError(
            "mlflow: names no store; write mlflow:sqlite:///mlflow.db or mlflow:./mlruns"
        )
    return Path(location)


def _store(location: str) -> Path:
    """The database or the folder of a file store that a location means, itself or in it."""
    path = _path(location)
    found = _stores(path)
    if len(found) > 1:
        choices = ", ".join(f"mlflow:{store}" for store in found)
        raise ConfigError(f"{location}: could be several stores; say which one: {choices}")
    return found[0] if found else path


def _stores(folder: Path) -> list[Path]:
    """The stores that a folder can mean: the one that it is, else those that are in it."""
    from trackbridge_adapters.mlflow import database, folders

    if folders.is_store(folder):
        return [folder]
    file, store = (folder / name for name in DEFAULTS)
    found = [file] if file.is_file() and database.is_mlflow(file) else []
    return [*found, store] if folders.is_store(store) else found


def _artifact_root(options: Mapping[str, str]) -> str | None:
    unknown = sorted(options.keys() - OPTIONS)
    if unknown:
        raise ConfigError(f"mlflow: no option {unknown[0]!r}; known: {', '.join(sorted(OPTIONS))}")
    root = options.get("artifact_root")
    if root is None:
        return None
    split = urlsplit(root)
    if len(split.scheme) > 1 and split.scheme != "file":
        return root.rstrip("/")
    return str(Path(unquote(split.path) if split.scheme == "file" else root).absolute())
