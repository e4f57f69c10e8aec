"""What our figures are held against: the bare libraries, and the clients that people use."""

from __future__ import annotations

import time
from pathlib import Path

import stores

LOGGED_POINTS = 20_000
SELECT = "SELECT run_uuid, key, value, timestamp, step, is_nan FROM metrics"


def adbc_to_parquet(work: Path) -> float:
    """The limit of reading: ADBC SELECT and write_table of the same rows."""
    import adbc_driver_sqlite.dbapi
    import pyarrow.parquet as pq

    begun = time.perf_counter()
    address = f"file:{work}/points.db?mode=ro"
    with adbc_driver_sqlite.dbapi.connect(address) as connection, connection.cursor() as cursor:
        cursor.execute(SELECT)
        table = cursor.fetch_arrow_table()
    pq.write_table(table, work / "bare.parquet", compression="zstd")
    return time.perf_counter() - begun


def adbc_ingest(work: Path) -> float:
    """The limit of writing: ADBC ingest of the same rows into the same table and indexes."""
    import adbc_driver_sqlite.dbapi
    import pyarrow.parquet as pq

    target = work / "ingest.db"
    stores.mlflow_database(target, runs=100, points=0)
    if not (work / "bare.parquet").exists():
        adbc_to_parquet(work)
    table = pq.read_table(work / "bare.parquet")
    begun = time.perf_counter()
    with adbc_driver_sqlite.dbapi.connect(str(target)) as connection:
        with connection.cursor() as cursor:
            cursor.adbc_ingest("metrics", table, mode="append")
        connection.commit()
    return time.perf_counter() - begun


def two_reads(work: Path) -> float:
    """The limit of verifying: reading both sides through the readers."""
    from trackbridge.adapter import Query
    from trackbridge.registry import open_reader

    begun = time.perf_counter()
    for address in (f"mlflow:{work}/points.db", f"archive:{work}/archive"):
        reader = open_reader(address)
        refs = [info.ref for info in reader.list_runs(Query())]
        for _ in reader.read_runs(refs):
            pass
    return time.perf_counter() - begun


def client_history(work: Path) -> float:
    """The naive way of reading: get_metric_history, key by key, of a few runs."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{work}/points.db")
    begun = time.perf_counter()
    for number in range(stores.NAIVE_RUNS):
        run = client.get_run(f"{number:032x}")
        for key in run.data.metrics:
            client.get_metric_history(run.info.run_id, key)
    return time.perf_counter() - begun


def client_log_batch(work: Path) -> float:
    """The naive way of writing: log_batch in its largest batches."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    target = work / "logged.db"
    stores.mlflow_database(target, runs=1, points=0)
    client = MlflowClient(f"sqlite:///{target}")
    run = client.create_run("0").info.run_id
    points = [
        Metric(f"metric_{i % 10}", 0.5, 1_700_000_000_000 + i, i // 10)
        for i in range(LOGGED_POINTS)
    ]
    begun = time.perf_counter()
    for start in range(0, LOGGED_POINTS, 1000):
        client.log_batch(run, metrics=points[start : start + 1000])
    return time.perf_counter() - begun


def migrate_filestore(work: Path) -> float:
    """MLflow's own way from a file store to a database: the whole command."""
    return _migrate_filestore(work / "files", work / "migrated.db")


def migrate_small_filestore(work: Path) -> float:
    """The same with many small runs."""
    return _migrate_filestore(work / "small-files", work / "migrated-small.db")


def _migrate_filestore(source: Path, target: Path) -> float:
    import subprocess
    import sys

    target.unlink(missing_ok=True)
    command = [sys.executable, "-m", "mlflow", "migrate-filestore", "--no-progress"]
    begun = time.perf_counter()
    subprocess.run(
        [*command, "--source", str(source), "--target", f"sqlite:///{target}"],
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - begun


def bare_loop(work: Path) -> float:
    """The limit of reading run files: framing, protobuf and JSON of every item, no more."""
    import json
    import struct
    import zlib

    from wandb.proto.wandb_internal_pb2 import Record

    begun = time.perf_counter()
    for path in work.glob("wandb/*/*.wandb"):
        data = path.read_bytes()
        position, parts = 7, b""
        while position < len(data):
            if (room := 32768 - position % 32768) < 7:
                position += room
                continue
            crc, length, kind = struct.unpack_from("<IHB", data, position)
            body = data[position + 7 : position + 7 + length]
            if zlib.crc32(bytes([kind]) + body) != crc:
                raise ValueError(f"{path}: damaged at {position}")
            position += 7 + length
            parts = parts + body if kind in (3, 4) else body
            if kind in (1, 4):
                record = Record.FromString(parts)
                for item in record.history.item:
                    json.loads(item.value_json)
    return time.perf_counter() - begun


ALL = (
    adbc_to_parquet,
    adbc_ingest,
    two_reads,
    client_history,
    client_log_batch,
    migrate_filestore,
    migrate_small_filestore,
    bare_loop,
)
