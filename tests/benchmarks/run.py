"""Prints our figures beside the limit of the machine and the naive client: `nox -s bench`.

Every figure is taken in a process of its own, after its imports, on the same data in one run;
databases to be written are there, but empty. What is said to take one core has no more.
`--points N` scales the data (default 2,000,000), `--only WORD` picks works by name.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import calls
import databases
import limits
import rest
import service
import stores

HERE = Path(__file__).resolve()
FIXTURES = HERE.parents[2] / "fixtures"
CACHE = "XDG_CACHE_HOME"
"""Where the empty database of MLflow is kept, on Linux."""

SMALL_RUNS = 3_000
Measured = dict[str, float]
Cells = tuple[str, str, str, str]
Row = Callable[[str, str, list[tuple[str, int]], int], None]


def sqlite_to_archive(work: Path) -> float:
    """Ours: an MLflow database into an archive, proofs included."""
    return _migrate(f"mlflow:{work}/points.db", f"archive:{work}/archive")


def archive_to_sqlite(work: Path) -> float:
    """Ours: the archive back into an MLflow database, proofs included."""
    stores.mlflow_database(work / "back.db", runs=0, points=0)
    return _migrate(_archive(work), f"mlflow:{work}/back.db")


def verify(work: Path) -> float:
    """Ours: database against archive."""
    import trackbridge

    addresses = f"mlflow:{work}/points.db", _archive(work)
    _import_everything()
    begun = time.perf_counter()
    result = trackbridge.verify(*addresses)
    assert result.holds, result.differences[:3]
    return time.perf_counter() - begun


def many_runs(work: Path) -> float:
    """Ours: 10,000 runs of 5 points into an archive."""
    return _migrate(f"mlflow:{work}/runs.db", f"archive:{work}/archive-of-runs")


def wandb_to_archive(work: Path) -> float:
    """Ours: run folders into an archive."""
    return _migrate(f"wandb-files:{work}/wandb", f"archive:{work}/archive-of-folders")


def files_to_sqlite(work: Path) -> float:
    """Ours: a file store into a new database, the whole command, proofs and start-up included.

    Any call but a machine's first: MLflow has made an empty database once, and it was kept.
    """
    from trackbridge_adapters.mlflow import empty

    empty.create(work / "kept-now.db", str(work / "artifacts"))
    return _migrate_files(work / "files", work / "from-files.db")


def first_files_to_sqlite(work: Path) -> float:
    """The same, the first time on a machine: MLflow is started to make an empty database."""
    shutil.rmtree(os.environ[CACHE], ignore_errors=True)
    return _migrate_files(work / "files", work / "first-from-files.db")


def small_files_to_sqlite(work: Path) -> float:
    """Ours: a file store of many small runs, as in `files_to_sqlite`."""
    from trackbridge_adapters.mlflow import empty

    empty.create(work / "kept-now.db", str(work / "artifacts"))
    return _migrate_files(work / "small-files", work / "from-small-files.db")


def _migrate_files(source: Path, target: Path) -> float:
    target.unlink(missing_ok=True)
    command = [sys.executable, "-m", "trackbridge", "migrate", f"mlflow:{source}/mlruns"]
    begun = time.perf_counter()
    subprocess.run([*command, f"mlflow:{target}"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def sqlite_to_files(work: Path) -> float:
    """Ours: an MLflow database into a file store, proofs included."""
    return _migrate(f"mlflow:{work}/points.db", f"mlflow:{work}/files-written")


def postgres_to_archive(work: Path) -> float:
    """Ours: a database of MLflow's on PostgreSQL into an archive, proofs included."""
    address = databases.uri(work, "postgres_from_sqlite")
    return _migrate(f"mlflow:{address}", f"archive:{work}/archive-of-postgres")


def archive_to_postgres(work: Path) -> float:
    """Ours: the archive into MLflow on PostgreSQL, proofs included."""
    return _migrate(_archive(work), f"mlflow:{databases.uri(work, 'postgres_back')}")


def archive_to_mysql(work: Path) -> float:
    """Ours: a smaller archive into MLflow on MySQL or MariaDB, proofs included."""
    return _migrate(f"archive:{work}/archive-small", f"mlflow:{databases.uri(work, 'mysql_back')}")


def _archive(work: Path) -> str:
    """The archive of the points, made where an earlier work has not made it."""
    if not (work / "archive").exists():
        sqlite_to_archive(work)
    return f"archive:{work}/archive"


def _migrate(source: str, target: str) -> float:
    import trackbridge

    _import_everything()
    begun = time.perf_counter()
    report = trackbridge.migrate(source, target)
    assert report.verified and report.copied == report.total, report.failures[:3]
    return time.perf_counter() - begun


def _import_everything() -> None:
    """Move small stores: a library is loaded when it is first used."""
    import trackbridge

    with tempfile.TemporaryDirectory() as folder:
        for store in ("mlflow-2.9/mlflow.db", "wandb-0.31/wandb"):
            trackbridge.migrate(str(FIXTURES / store), f"archive:{folder}/archive")


COMMANDS = (
    "files_to_sqlite",
    "first_files_to_sqlite",
    "small_files_to_sqlite",
    "migrate_filestore",
    "migrate_small_filestore",
)
"""Works that are done by a process of their own."""

ONE_CORE = ("wandb_to_archive", "bare_loop")

WORKS: dict[str, Callable[[Path], float]] = {
    function.__name__: function
    for function in (
        sqlite_to_archive,
        archive_to_sqlite,
        verify,
        many_runs,
        wandb_to_archive,
        files_to_sqlite,
        first_files_to_sqlite,
        small_files_to_sqlite,
        sqlite_to_files,
        postgres_to_archive,
        archive_to_postgres,
        archive_to_mysql,
        *limits.ALL,
        *databases.ALL,
        *rest.ALL,
        *service.ALL,
    )
}


def measure(name: str, work: Path) -> Measured:
    """Seconds and peak memory (MB) of one work in a process of its own."""
    command = [sys.executable, str(HERE), "--one", name, "--work", str(work)]
    environment = {
        **os.environ,
        "TRACKBRIDGE_STATE": str(work / "state"),
        CACHE: str(work / "cache"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    measured: Measured = json.loads(done.stdout.splitlines()[-1])
    return measured


def start_up(*arguments: str) -> float:
    """Seconds of a whole command, best of five."""
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        command = [sys.executable, "-m", "trackbridge", *arguments]
        subprocess.run(command, capture_output=True, check=True)
        times.append(time.perf_counter() - begun)
    return min(times)


def report(work: Path, points: int, only: str) -> None:
    """Make the data, run every work that is asked for, print the table."""
    stores.mlflow_database(work / "points.db", runs=100, points=points // 100)
    naive_points = stores.NAIVE_RUNS * (points // 100)
    rows: list[Cells] = []
    others: dict[str, Measured] = {}

    def row(title: str, ours: str, against: list[tuple[str, int]], count: int) -> None:
        if only not in ours:
            return
        mine = measure(ours, work)
        rate = count / mine["seconds"]
        texts = []
        for name, amount in against:
            if name not in others:
                others[name] = measure(name, work)
            other = amount / others[name]["seconds"]
            texts.append(f"{rate / other:.2f} x {name} ({other:,.0f}/s)")
        memory = f"{mine['megabytes']:.0f} MB"
        rows.append((title, f"{rate:,.0f}/s", memory, "; ".join(texts)))

    reading = [("adbc_to_parquet", points), ("client_history", naive_points)]
    row("MLflow SQLite -> archive, points", "sqlite_to_archive", reading, points)
    writing = [("adbc_ingest", points), ("client_log_batch", limits.LOGGED_POINTS)]
    row("archive -> MLflow SQLite, points", "archive_to_sqlite", writing, points)
    row("verify, points", "verify", [("two_reads", points)], points)
    if only in "many_runs":
        stores.mlflow_database(work / "runs.db", runs=10_000, points=5, keys=5)
        row("MLflow SQLite -> archive, runs of 5 points", "many_runs", [], 10_000)
    if only in "postgres_to_archive archive_to_postgres archive_to_mysql":
        _report_servers(work, points, row)
    row("MLflow SQLite -> file store, points", "sqlite_to_files", [], points)
    if only in "first_files_to_sqlite":
        count = stores.file_store(work / "files" / "mlruns", 200, 10, 100, points // 2)
        against = [("migrate_filestore", count)]
        row("file store -> MLflow SQLite, points, command", "files_to_sqlite", against, count)
        row("the same, first call on a machine", "first_files_to_sqlite", against, count)
    if only in "small_files_to_sqlite":
        stores.file_store(work / "small-files" / "mlruns", SMALL_RUNS, 2, 10)
        against = [("migrate_small_filestore", SMALL_RUNS)]
        title = "file store -> MLflow SQLite, runs of 20 points, command"
        row(title, "small_files_to_sqlite", against, SMALL_RUNS)
    if only in "wandb_to_archive":
        records = stores.run_folder(work / "wandb", records=points // 20)
        row(
            ".wandb -> archive, records, one core",
            "wandb_to_archive",
            [("bare_loop", records)],
            records,
        )
    rows += rest_rows(work, only, points)
    if only in "service_exports service_upload":
        with service.server(work):
            exported = service.RUNS * service.ROWS * service.KEYS
            against = [("read_parquet", exported), ("fetch_parquet", exported)]
            row("W&B exports, points", "service_exports", against, exported)
            logged = service.LOGGED_RUNS * service.LOGGED_ROWS
            title, against = "to a W&B server, log calls", [("folders_and_sync", logged)]
            row(title, "service_upload", against, logged)
    if only in "log_calls":
        rows += calls.rows(work)
    for title, arguments in (("--help", ["--help"]), ("ls", ["ls", f"{work}/points.db"])):
        if only in "start_up":
            rows.append((f"trackbridge {title}", f"{start_up(*arguments):.2f} s", "", ""))
    print(f"{os.cpu_count()} cores, {points:,} points")
    for cells in rows:
        print("| " + " | ".join(cells) + " |")


def _report_servers(work: Path, points: int, row: Row) -> None:
    small = points // 10
    stores.mlflow_database(work / "small.db", runs=10, points=small // 10)
    (work / "mysql-points").write_text(str(small))
    databases.make(work)
    try:
        _migrate(
            f"mlflow:{work}/points.db", f"mlflow:{databases.uri(work, 'postgres_from_sqlite')}"
        )
        databases.settle(work)
        _migrate(f"mlflow:{work}/small.db", f"archive:{work}/archive-small")
        reading, writing = [("select_to_parquet", points)], [("copy_in", points)]
        row("MLflow PostgreSQL -> archive, points", "postgres_to_archive", reading, points)
        row("archive -> MLflow PostgreSQL, points", "archive_to_postgres", writing, points)
        row("archive -> MLflow MySQL, points", "archive_to_mysql", [("executemany", small)], small)
    finally:
        databases.drop()


def rest_rows(work: Path, only: str, points: int) -> Iterator[Cells]:
    """The REST lane beside MLflow's client, on servers of the database that is named."""
    runs = max(stores.NAIVE_RUNS, points // rest.LESS // rest.POINTS)
    database = work / "rest.db"
    for ours in rest.AGAINST:
        if only in ours:
            if not database.exists():
                stores.mlflow_database(database, runs=runs, points=rest.POINTS)
            yield rest_row(work, ours, "SQLite", f"sqlite:///{database}", runs * rest.POINTS)
    if only in "rest_write":
        uri = databases.POSTGRES.new(work / "rest-postgres")
        try:
            yield rest_row(work, "rest_write", "PostgreSQL", uri, 0)
        finally:
            databases.POSTGRES.drop()


def rest_row(work: Path, ours: str, kind: str, uri: str, stored: int) -> Cells:
    """One work beside the client's, with CPU of server and client for a point.

    All share the machine's cores: a server with its database can fill them alone.
    """
    naive = rest.AGAINST[ours]
    written = rest.LOGGED_RUNS * rest.LOGGED_POINTS
    counts = {
        "rest_read": stored,
        "rest_client_history": stores.NAIVE_RUNS * rest.POINTS,
        "rest_write": written,
        "rest_client_log_batch": written,
    }
    figures = {}
    with rest.server(work, uri):
        for name in (naive, ours):
            seconds = measure(name, work)["seconds"]
            used = json.loads((work / rest.PROCESSOR).read_text())
            cost = {who: 1e6 * time_used / counts[name] for who, time_used in used.items()}
            words = ", ".join(f"{who} {micros:.0f} us" for who, micros in cost.items())
            words += f", {sum(used.values()) / seconds:.1f} cores busy"
            figures[name] = counts[name] / seconds, words
    (rate, words), (other, others) = figures[ours], figures[naive]
    against = f"{rate / other:.2f} x {naive} ({other:,.0f}/s; CPU a point: {others})"
    title = f"MLflow server on {kind}, {ours}, points"
    return title, f"{rate:,.0f}/s", f"CPU a point: {words}", against


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=2_000_000)
    parser.add_argument("--only", default="")
    parser.add_argument("--one", choices=sorted(WORKS))
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    if options.one:
        if options.one in ONE_CORE and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        seconds = WORKS[options.one](options.work)
        whose = resource.RUSAGE_CHILDREN if options.one in COMMANDS else resource.RUSAGE_SELF
        peak = resource.getrusage(whose).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "megabytes": peak}))
        return
    with tempfile.TemporaryDirectory() as folder:
        report(Path(folder), options.points, options.only)


if __name__ == "__main__":
    main()
