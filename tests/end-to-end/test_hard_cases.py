"""Values at the edge of what MLflow takes, and beyond it, pass through every lane and come home."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import mlflow_servers
import pytest
from mlflow.tracking import MlflowClient
from servers import MYSQL, POSTGRES, dropped  # noqa: F401

import trackbridge
from trackbridge.adapter import Row, RunKey
from trackbridge.registry import open_writer
from trackbridge.testing import MadeRun
from trackbridge.testing.made import store
from trackbridge_adapters.mlflow import empty

START = 1_700_000_000_000
EXPERIMENT = "123456789012345678"
"""Of a file store: it does not fit into the columns of database servers."""
LONGEST = 250
"""Characters of a key (mlflow/utils/validation.py, `MAX_ENTITY_KEY_LENGTH`, 3.17)."""
SERIES = {
    "k" * LONGEST: [(0.5, START, 0), (0.25, START + 1, 1)],
    f"system/{'s' * (LONGEST - 7)}": [(1.0, START, 0), (2.0, START + 1, 1)],
    "größe/漢 - x.y": [(1.0, START, 0)],
    "doubled": [(1.0, START, 0), (1.0, START, 0), (1.0, START, 0), (2.0, START + 1, 1)],
    "not finite": [(v, START + n, n) for n, v in enumerate([math.nan, math.inf, -math.inf, -0.0])],
    "NaN doubled": [(math.nan, START, 0), (math.nan, START, 0), (0.0, START, 0)],
    "steps": [
        (1.0, START, -(2**63)),
        (2.0, START, -5),
        (3.0, START, 2**53 + 1),
        (4.0, START, 2**63 - 1),
    ],
    "again": [(1.0, START, 3), (2.0, START + 5, 3), (3.0, START - 5, 3), (2.0, START + 5, 3)],
    "small": [(5e-324, START, 0), (1.7976931348623157e308, START, 1), (0.1 + 0.2, START, 2)],
}
"""(value, time, step), as lines of a file store."""
TEXTS = {
    "p" * LONGEST: "of the longest key",
    "long": "漢" * 6000,
    "crlf": "first\r\nsecond\rthird\n",
    "nul": "a\0b",
    "unicode": "Ünïcödé ✓ 🎉 \u202e \u2028 \ufeff",
    "empty": "",
    "blanks": "  around \t",
}


@pytest.fixture(scope="module")
def places(
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Callable[[Path, str], None],
    dropped: None,  # noqa: F811
) -> Iterator[Callable[[str], str]]:
    """Addresses of new, empty stores of every kind; there is one server."""
    folder = tmp_path_factory.mktemp("hard")
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(empty, "create", empty_database)

        def rest() -> str:
            (folder / "server").mkdir()
            empty_database(folder / "server" / "server.db", str(folder / "server" / "artifacts"))
            options = mlflow_servers.proxied(folder / "server")
            return stack.enter_context(mlflow_servers.server(folder / "server", *options))

        served: list[str] = []

        def new(kind: str) -> str:
            place = tmp_path_factory.mktemp("store")
            if kind == "REST":
                served.append(served[0] if served else rest())
                return f"mlflow:{served[0]}?workspace=w{len(served)}"
            return {
                "SQLite": lambda: f"mlflow:sqlite:///{place}/mlflow.db",
                "PostgreSQL": lambda: f"mlflow:{POSTGRES.new(place)}",
                "MariaDB": lambda: f"mlflow:{MYSQL.new(place)}",
                "mlruns": lambda: f"mlflow:{place}/mlruns",
                "archive": lambda: f"archive:{place}/archive",
            }[kind]()

        yield new


def file_store(folder: Path) -> Path:
    """A store of files with one run, written as MLflow writes it."""
    run = folder / "mlruns" / EXPERIMENT / ("a" * 32)
    for name in ("metrics", "params", "tags", "artifacts"):
        (run / name).mkdir(parents=True)
    (run.parent / "meta.yaml").write_text(
        f"artifact_location: {run.parent}\ncreation_time: {START}\n"
        f"experiment_id: '{EXPERIMENT}'\nlast_update_time: {START}\n"
        "lifecycle_stage: active\nname: many digits\n",
        encoding="utf-8",
    )
    (run / "meta.yaml").write_text(
        f"artifact_uri: {run}/artifacts\nend_time: {START + 60_000}\nentry_point_name: ''\n"
        f"experiment_id: '{EXPERIMENT}'\nlifecycle_stage: active\nrun_id: {'a' * 32}\n"
        f"run_name: hard\nrun_uuid: {'a' * 32}\nsource_name: ''\nsource_type: 4\n"
        f"source_version: ''\nstart_time: {START}\nstatus: 3\ntags: []\nuser_id: alice\n",
        encoding="utf-8",
    )
    for key, points in SERIES.items():
        lines = "".join(f"{time} {value!r} {step}\n" for value, time, step in points)
        written(run / "metrics" / key, lines)
    for key, value in TEXTS.items():
        written(run / "params" / key, value)
        written(run / "tags" / key, value)
    written(run / "artifacts" / "größe 🎉" / "crlf.txt", "a\r\nb")
    return folder / "mlruns"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def written(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def beyond() -> MadeRun:
    """A run of elsewhere with what no store of MLflow's takes as it is."""
    keys = [
        "漢" * LONGEST,
        "k" * 300,
        "K" * 300,
        "a//b",
        "../up",
        "/root",
        "system/x",
        "a:b",
        "~",
        "é",
        "e\u0301",
    ]
    late = datetime(2023, 11, 14, 22, 13, 20, 123456, timezone.utc)

    def point(key: str, step: int | None = 0, value: float = 1.0, **more: Any) -> Row:
        row = {"key": key, "step": step, "time": late, "value": value, "system": False}
        return {**row, **more}

    early = datetime(1960, 1, 1, tzinfo=timezone.utc)
    return MadeRun(
        RunKey("toy", "", "beyond / größe\0", "a run \0"),
        {
            "runs": [
                {
                    "name": "n" * 400,
                    "status": "finished",
                    "deleted": False,
                    "notes": "\0\r\n" * 9000,
                }
            ],
            "params": [{"key": key, "value": "x\0\r\n", "type": "string"} for key in keys]
            + [{"key": "long", "value": "漢" * 20_000, "type": "string"}],
            "tags": [{"key": key, "value": None} for key in keys]
            + [{"key": "long", "value": "🎉" * 20_000}],
            "metrics": [point(key, step, step / 3) for key in keys for step in range(2)]
            + [point(key, system=True, value=2.0) for key in ["s" * LONGEST, "s" * 244, *keys]]
            + [point("doubled"), point("doubled"), point("doubled", value=math.nan)]
            + [point("edges", step) for step in (-(2**63), -1, 2**63 - 1)]
            + [point("early", time=early), point("early", 1)]
            + [point("odd", n, float(v)) for n, v in enumerate(["nan", "inf", "-inf", "-0.0"])],
            "summary": [{"key": "best", "value": "NaN", "type": "float"}],
        },
        {("", "größe / 🎉 /a;b%20#?.txt"): b"\0\r\n", ("", "f" * 120): b""},
    )


KINDS = ["SQLite", "PostgreSQL", "MariaDB", "mlruns", "REST", "archive"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["file store", "beyond"])
def test_hard_cases_are_proven_in_every_store_and_come_home(
    which: str, kind: str, places: Callable[[str], str], tmp_path: Path
) -> None:
    if which == "file store":
        source, home = f"mlflow:{file_store(tmp_path / 'origin')}", places("mlruns")
    else:
        source, home = f"archive:{tmp_path}/origin", places("archive")
        store(open_writer(source), [beyond()])
    before = contents(tmp_path / "origin")
    target = places(kind)
    for here, there in ((source, target), (target, home)):
        report = trackbridge.migrate(here, there)
        assert report.failures == []
        assert (report.copied, report.verified) == (1, True)
        found = trackbridge.verify(source, there)
        assert found.differences == []
        assert found.equal == 1
        assert trackbridge.migrate(here, there).skipped == 1
    assert contents(tmp_path / "origin") == before


@pytest.mark.parametrize("kind", ["SQLite", "PostgreSQL", "MariaDB", "mlruns"])
def test_mlflow_reads_every_key_and_point_of_the_hard_cases(
    kind: str, places: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    target = places(kind)
    trackbridge.migrate(f"mlflow:{file_store(tmp_path)}", target)
    client = MlflowClient(target.removeprefix("mlflow:"))
    (experiment,) = [e for e in client.search_experiments() if e.name == "many digits"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics.keys() == SERIES.keys()
    assert run.data.params.keys() == TEXTS.keys()
    for key, points in SERIES.items():
        history = client.get_metric_history(run.info.run_id, key)
        shown = {(str(p.value + 0.0), p.timestamp, p.step) for p in history}
        assert shown == {(str(_shown(v, kind)), time, step) for v, time, step in points}, key
    nul = "␀" if kind == "PostgreSQL" else "\0"
    assert run.data.params == {key: text.replace("\0", nul) for key, text in TEXTS.items()}


def _shown(value: float, kind: str) -> float:
    """A value as a store shows it; zeros without a sign."""
    largest = math.inf if kind == "mlruns" else 1.7976931348623157e308
    return max(-largest, min(largest, value)) + 0.0 if value == value else value
