"""Where work is done, and what cannot be done elsewhere, is said before anything is."""

from __future__ import annotations

import sys
from pathlib import Path

import many_runs
import pytest
from mlflow_servers import free_port

import trackbridge
from trackbridge.errors import ConfigError, TransientError
from trackbridge.registry import from_anywhere
from trackbridge.workers import POOLS, pool_of


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"engine": "slurm"}, "no engine is called 'slurm'; there are processes, dask"),
        ({"engine_address": "tcp://host:1"}, "tcp://host:1: processes of this machine have no"),
    ],
)
def test_an_engine_that_makes_no_sense_is_said(
    tmp_path: Path, options: dict[str, str], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        trackbridge.migrate(str(many_runs.store(tmp_path, 1)), f"archive:{tmp_path}/out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("engine", ["dask", "ray", "spark"])
def test_a_package_that_is_missing_is_named_with_its_extra(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("distributed", "ray", "pyspark", "pyspark.sql"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=rf"pip install 'trackbridge\[{engine}\]'"):
        pool_of(engine, None, None).check()


@pytest.mark.parametrize(
    ("engine", "address"),
    [
        ("dask", "tcp://127.0.0.1:{}"),
        ("ray", "ray://127.0.0.1:{}"),
        ("ray", "127.0.0.1:{}"),
        ("spark", "spark://127.0.0.1:{},127.0.0.1:{}"),
        ("spark", "sc://127.0.0.1:{}/;token=hush"),
    ],
)
def test_an_address_where_nobody_listens_is_said_at_once(
    engine: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(POOLS[engine], "needs", "")
    address = address.replace("{}", str(free_port()))
    with pytest.raises(TransientError, match=r"nobody answers \(127.0.0.1:") as caught:
        pool_of(engine, address, None).check()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("end", ["source", "target"])
def test_stores_of_this_process_are_not_given_to_others(end: str, tmp_path: Path) -> None:
    source, target = str(many_runs.store(tmp_path, 1)), "archive:memory://workers/out"
    if end == "source":
        trackbridge.migrate(source, target)
        source, target = target, f"archive:{tmp_path}/out"
    with pytest.raises(ConfigError, match="is in the memory of this process alone; leave out"):
        trackbridge.migrate(source, target, workers=2)


def test_a_target_with_one_writer_says_so(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="the target that takes one writer is MLflow's")
    source = str(many_runs.store(tmp_path, 1))
    target = f"mlflow:sqlite:///{tmp_path}/mlflow.db"
    assert trackbridge.migrate(source, target, workers=4).verified
    (record,) = caplog.records
    assert record.message == f"{target} takes one writer: this process moves all"


@pytest.mark.parametrize(
    ("address", "understood", "expected"),
    [
        ("./out", "archive:./out", "{}/out"),
        ("archive:out", "archive:out", "archive:{}/out"),
        ("mlflow:sqlite:///a.db", "mlflow:sqlite:///a.db", "mlflow:sqlite:///{}/a.db"),
        ("mlflow:sqlite:////x/a.db", "mlflow:sqlite:////x/a.db", "mlflow:sqlite:////x/a.db"),
        ("archive:file:///x/out", "archive:file:///x/out", "archive:file:///x/out"),
        ("archive:s3://b/out", "archive:s3://b/out", "archive:s3://b/out"),
        ("mlflow:http://h:5000", "mlflow:http://h:5000", "mlflow:http://h:5000"),
        ("wandb:team/project", "wandb:https://api.wandb.ai/team/project", "wandb:team/project"),
    ],
)
def test_addresses_for_workers_mean_the_same_from_any_folder(
    address: str, understood: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert from_anywhere(address, understood) == expected.format(tmp_path)
