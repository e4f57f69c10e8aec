"""Of a broken file store all that is readable arrives, and the rest is named."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from trackbridge.adapter import Query
from trackbridge.cli import main
from trackbridge.registry import open_reader

TARGETS = {
    "sqlite": "mlflow:sqlite:///{}/mlflow.db",
    "archive": "archive:{}/archive",
    "mlruns": "mlflow:{}/mlruns",
}
LONG = "k" * 250
POINTS = {
    "loss": [(1, 0.5, 0), (2, 0.25, 1), (3, 0.125, 2)],
    "odd": [(1, float("inf"), -5), (2, float("-inf"), 2**62), (3, float("nan"), 0), (4, 1.0, 0)],
    LONG: [(1, 1.0, 0), (2, 2.0, 0)],
}
"""Time, value and step by key; steps repeat with other times."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs that MLflow itself has written, the second one to be left alone."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    root = tmp_path / "source" / "mlruns"
    client = MlflowClient(root.as_uri())
    number = client.create_experiment("e")
    for name in ("broken", "whole"):
        run = client.create_run(number, run_name=name).info.run_id
        points = [Metric(k, v, t, s) for k, rows in POINTS.items() for t, v, s in rows]
        client.log_batch(run, metrics=points)
        for key, value in (("crlf", "a\r\nb\rc"), ("long", "p" * 6000), ("nul", "a")):
            client.log_param(run, key, value)
        client.set_tag(run, "team", "x")
        client.log_text(run, "artifact", "a.txt")
        client.set_terminated(run)
    return root


def folder_of(store: Path, name: str) -> Path:
    return next(
        path.parent.parent
        for path in store.glob("*/*/tags/mlflow.runName")
        if path.read_text() == name
    )


def append(name: str, data: bytes) -> Callable[[Path], None]:
    def do(run: Path) -> None:
        path = run / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((path.read_bytes() if path.exists() else b"") + data)

    return do


def cut(name: str, count: int) -> Callable[[Path], None]:
    return lambda run: (run / name).write_bytes((run / name).read_bytes()[:-count]) and None


def put(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda run: (run / name).write_bytes(data) and None


BROKEN: dict[str, tuple[Callable[[Path], None], str | None, set[str]]] = {
    "a duplicate line": (append("metrics/loss", b"3 0.125 2\n"), None, set()),
    "a truncated last line": (append("metrics/loss", b"4 0.0"), "metrics/loss: line 4", set()),
    "a cut number": (cut("metrics/loss", 3), "metrics/loss: line 3", {"loss"}),
    "a blank line": (append("metrics/loss", b"\n5 1.0 5\n"), "metrics/loss: line 4", {"loss"}),
    "a line of rubbish": (append("metrics/loss", b"\xff\xfe\n"), "metrics/loss: line 4", set()),
    "an empty metric": (put("metrics/nothing", b""), None, set()),
    "a stray file": (put("params/.DS_Store", b"\0\1Bud1"), None, set()),
    "a stray file among metrics": (put("metrics/.DS_Store", b"\0\1Bud1"), None, set()),
    "a param that is not UTF-8": (
        put("params/nul", b"gr\xf6\xdfe"),
        "params/nul: not UTF-8",
        {"nul"},
    ),
    "a NUL in a tag": (put("tags/team", b"a\0b"), None, {"team"}),
    "no meta.yaml": (lambda run: (run / "meta.yaml").unlink(), "meta.yaml: No such file", {"runs"}),
    "an empty meta.yaml": (put("meta.yaml", b""), "meta.yaml: empty", {"runs"}),
    "a meta.yaml that was cut off": (cut("meta.yaml", 130), None, {"runs"}),
    "a meta.yaml of rubbish": (put("meta.yaml", b"\x80\x01["), "meta.yaml: empty", {"runs"}),
    "a metric that is a folder": (append("metrics/deep/er", b"1 1.0 0\n"), None, set()),
    "points without a step": (put("metrics/old", b"1 0.5\n2 0.25\n"), None, set()),
    "a line about a dataset": (append("metrics/loss", b"4 1.0 3 data d1\n"), None, {"loss"}),
    "a time beyond all times": (
        append("metrics/loss", b"99999999999999999999 1.0 3\n"),
        "metrics/loss: line 4",
        set(),
    ),
    "an input without its dataset": (
        lambda run: append(
            "inputs/x/meta.yaml", b"source_id: gone\nsource_type: DATASET\ntags: {}\n"
        )(_made(run, "inputs/x")),
        "datasets/gone/meta.yaml",
        {"inputs"},
    ),
}
"""How it is broken, what the report says of it, and names whose values may differ."""


def _made(run: Path, folder: str) -> Path:
    (run / folder).mkdir(parents=True)
    return run


def values(address: str) -> dict[str, dict[str, Any]]:
    """What a store holds of each run, by its name."""
    reader = open_reader(address)
    found: dict[str, dict[str, Any]] = {}
    for info in reader.list_runs(Query()):
        held: dict[str, Any] = {}
        for batch in reader.read_runs([info.ref]):
            for row in batch.data.to_pylist():
                if batch.table == "metrics":
                    point = (row["step"], row["time"], repr(row["value"]))
                    held.setdefault(row["key"], set()).add(point)
                elif batch.table in ("params", "tags"):
                    held[row["key"]] = row["value"]
                elif batch.table == "files" and row["path"] == "a.txt":
                    held["a.txt"] = row["size"]
        name = held.get("mlflow.runName", info.name) or ""
        found[name] = held
    return found


def migrate(source: Path, target: str, *options: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(main, ["migrate", str(source), target, "--json", *options])
    assert result.stdout, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return result.exit_code, document


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("kind", TARGETS)
def test_what_is_readable_arrives_and_what_is_not_is_named(
    how: str, kind: str, store: Path, tmp_path: Path, quick_databases: None
) -> None:
    breaking, named, changed = BROKEN[how]
    whole = values(f"mlflow:{store}")
    breaking(folder_of(store, "broken"))
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    (tmp_path / "target").mkdir()
    target = TARGETS[kind].format(tmp_path / "target")
    code, report = migrate(store, target)
    assert (code, report["verified"], report["runs"]["copied"]) == (0, True, 2), report
    if named is None:
        assert report["damage"] == [] or how == "a meta.yaml that was cut off"
    else:
        (damage,) = report["damage"]
        assert named in str(damage)
    strict, _ = migrate(store, TARGETS[kind].format(tmp_path / "strict"), "--strict")
    assert strict == (1 if report["damage"] else 0)
    found = values(target)
    infinite = {"odd"} if kind == "sqlite" else set()
    for name, held in whole.items():
        kept = held.keys() - infinite - (changed if name == "broken" else set())
        assert {key: found[name][key] for key in kept} == {key: held[key] for key in kept}
    if how == "a duplicate line":
        assert len(found["broken"]["loss"]) == 3
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before
    assert CliRunner().invoke(main, ["verify", str(store), target]).exit_code == 0


def test_an_experiment_of_eighteen_digits_keeps_its_number_in_sqlite(
    store: Path, tmp_path: Path, quick_databases: None
) -> None:
    (number,) = (path.name for path in store.iterdir() if len(path.name) == 18)
    assert migrate(store, f"mlflow:sqlite:///{tmp_path}/t/mlflow.db")[0] == 0
    client = MlflowClient(f"sqlite:///{tmp_path}/t/mlflow.db")
    assert client.get_experiment(number).name == "e"


@pytest.mark.parametrize(
    "closed", ["metrics/loss", "params/long", "metrics", "tags", "meta.yaml", ""]
)
def test_what_may_not_be_read_is_named_and_the_rest_arrives(
    closed: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything, so the system is asked to refuse."""
    run = folder_of(store, "broken")
    whole = values(f"mlflow:{store}")
    refuse(monkeypatch, run / closed)
    code, report = migrate(store, f"archive:{tmp_path}/archive", "--strict")
    assert (code, report["verified"]) == (1, True)
    assert closed in str(report["damage"]) and "Permission denied" in str(report["damage"])
    found = values(f"archive:{tmp_path}/archive")
    assert found["whole"] == whole["whole"]
    if closed == "metrics/loss":
        assert found["broken"] == {k: v for k, v in whole["broken"].items() if k != "loss"}


class _BadSector(io.RawIOBase):
    """A file that can be opened, and whose bytes the disk does not give."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("reason", ["Permission denied", "Input/output error"])
def test_a_file_that_cannot_be_read_stops_its_run_alone(
    kind: str,
    reason: str,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quick_databases: None,
) -> None:
    run = folder_of(store, "broken")
    file, opened = run / "artifacts" / "a.txt", io.open
    if reason == "Permission denied":
        refuse(monkeypatch, file)
    else:
        monkeypatch.setattr(
            io,
            "open",
            lambda path, *a, **k: _BadSector() if path == file else opened(path, *a, **k),
        )
    (tmp_path / "target").mkdir()
    code, report = migrate(store, TARGETS[kind].format(tmp_path / "target"))
    assert (code, report["runs"]["copied"]) == (1, 1)
    (failure,) = report["failures"]
    assert failure["run"] == f"e/{run.name}"
    assert f"a.txt: cannot be read ({reason})" in failure["error"]


def test_an_experiment_that_may_not_be_looked_into_is_named(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / "77" / "a").mkdir(parents=True)
    (store / "77" / "meta.yaml").write_text("experiment_id: '77'\nname: closed\n")
    refuse(monkeypatch, store / "77")
    code, report = migrate(store, f"archive:{tmp_path}/archive")
    assert (code, report["runs"]["copied"]) == (0, 2)
    assert [(loss["kind"], loss["example"]) for loss in report["losses"]] == [
        ("experiments without permission not moved", "77")
    ]


def refuse(monkeypatch: pytest.MonkeyPatch, closed: Path) -> None:
    """Files and folders below a path may not be opened."""
    access = os.access

    def is_inside(path: Any) -> bool:
        return isinstance(path, (str, Path)) and Path(path).is_relative_to(closed)

    def refusing(function: Any) -> Any:
        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            if is_inside(path):
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *arguments, **named)

        return call

    for place, name in ((os, "open"), (os, "scandir"), (io, "open")):
        monkeypatch.setattr(place, name, refusing(getattr(place, name)))
    monkeypatch.setattr(os, "access", lambda path, mode: not is_inside(path) and access(path, mode))


def test_links_to_folders_of_runs_and_experiments_are_followed_as_mlflow_does(
    store: Path, tmp_path: Path
) -> None:
    whole = values(f"mlflow:{store}")
    run = folder_of(store, "broken")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in (run, run.parent):
        path.rename(elsewhere / path.name)
        path.symlink_to(elsewhere / path.name)
    (store / "alias").symlink_to(elsewhere / run.parent.name)
    assert values(f"mlflow:{store}") == whole
