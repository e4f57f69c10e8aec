"""Database servers in the benchmarks: databases to work on, and what bare drivers do with them."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from servers import MYSQL, POSTGRES, Databases

NAMES = ("from_sqlite", "back", "bare")
"""Databases on each server: what is read, and those that ours and the bare driver write."""


def make(work: Path) -> None:
    """Empty databases of MLflow's; their URIs are written down for the works' processes."""
    uris = {
        f"{kind}_{name}": databases.new(work / f"{kind}-{name}")
        for kind, databases in (("postgres", POSTGRES), ("mysql", MYSQL))
        for name in NAMES
    }
    (work / "databases.json").write_text(json.dumps(uris))


def drop() -> None:
    POSTGRES.drop()
    MYSQL.drop()


def settle(work: Path) -> None:
    """Vacuum, as a server does by itself: who first reads fresh rows tidies up after them."""
    POSTGRES.run("VACUUM ANALYZE", uri(work, "postgres_from_sqlite").rpartition("/")[2])


def uri(work: Path, name: str) -> str:
    found: str = json.loads((work / "databases.json").read_text())[name]
    return found


def select_to_parquet(work: Path) -> float:
    """The limit of reading: ADBC SELECT from PostgreSQL and write_table of the same rows."""
    import adbc_driver_postgresql.dbapi
    import pyarrow.parquet as pq
    from limits import SELECT

    address = uri(work, "postgres_from_sqlite").replace("+psycopg2", "")
    begun = time.perf_counter()
    with adbc_driver_postgresql.dbapi.connect(address) as connection, connection.cursor() as cursor:
        cursor.execute(SELECT)
        table = cursor.fetch_arrow_table()
    pq.write_table(table, work / "selected.parquet", compression="zstd")
    return time.perf_counter() - begun


def copy_in(work: Path) -> float:
    """The limit of writing: ADBC ingest into PostgreSQL, with MLflow's keys and indexes."""
    import adbc_driver_postgresql.dbapi
    import pyarrow as pa

    table = _points(work)
    table = table.set_column(5, "is_nan", table.column("is_nan").cast(pa.bool_()))
    _reserve(POSTGRES, uri(work, "postgres_bare"), table)
    address = uri(work, "postgres_bare").replace("+psycopg2", "")
    begun = time.perf_counter()
    with adbc_driver_postgresql.dbapi.connect(address) as connection:
        with connection.cursor() as cursor:
            cursor.adbc_ingest("metrics", table, mode="append")
        connection.commit()
    return time.perf_counter() - begun


def executemany(work: Path) -> float:
    """The limit of writing: the driver's executemany into MySQL or MariaDB."""
    import sqlalchemy

    table = _points(work).slice(0, int((work / "mysql-points").read_text()))
    _reserve(MYSQL, uri(work, "mysql_bare"), table)
    columns = ", ".join(f"`{name}`" for name in table.column_names)
    query = f"INSERT INTO metrics ({columns}) VALUES (%s, %s, %s, %s, %s, %s)"
    rows = list(zip(*(column.to_pylist() for column in table.columns)))
    with sqlalchemy.create_engine(uri(work, "mysql_bare")).connect() as connection:
        begun = time.perf_counter()
        connection.exec_driver_sql(query, rows)
        connection.commit()
    return time.perf_counter() - begun


def _points(work: Path):  # type: ignore[no-untyped-def]
    import pyarrow.parquet as pq
    from limits import adbc_to_parquet

    if not (work / "bare.parquet").exists():
        adbc_to_parquet(work)
    return pq.read_table(work / "bare.parquet")


def _reserve(databases: Databases, address: str, table) -> None:  # type: ignore[no-untyped-def]
    """Rows of `runs` that the points refer to."""
    from sqlalchemy import make_url

    runs = ", ".join(f"('{run}')" for run in table.column("run_uuid").unique().to_pylist())
    databases.run(f"INSERT INTO runs (run_uuid) VALUES {runs}", make_url(address).database or "")


ALL = (select_to_parquet, copy_in, executemany)
