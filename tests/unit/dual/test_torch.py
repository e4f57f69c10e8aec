"""Tensors of PyTorch are logged as they are at that moment, also by workers that load data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dual_logging import ROOT
from unit.dual.looking import leaves, points, read, series, status

import trackbridge

pytest.importorskip("torch", reason="torch is not installed")
import torch

WORKERS = """
import sys, torch, trackbridge
class Data(torch.utils.data.Dataset):
    def __init__(self, run): self.run = run
    def __len__(self): return 8
    def __getitem__(self, i):
        self.run.log({"loaded": torch.tensor(float(i))})
        return torch.tensor(float(i))
if __name__ == "__main__":
    with trackbridge.start("p", run_id="r", config={"a": 1}, folder="root") as run:
        run.log({"loss": 0.0})
        loader = torch.utils.data.DataLoader(
            Data(run), num_workers=2, multiprocessing_context=sys.argv[1]
        )
        for batch in loader:
            run.log({"loss": batch.mean()})
        run.log({"loss": 8.0})
"""


def logged(folder: Path, data: dict[str, Any]) -> Any:
    with trackbridge.start("p", run_id="r", folder=folder) as run:
        run.log(data)
    return read(folder)


@pytest.mark.parametrize(
    "kind", ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int8"]
)
def test_tensors_without_dimensions_are_numbers_whatever_their_type(
    tmp_path: Path, kind: str
) -> None:
    value = torch.tensor(2.0).to(getattr(torch, kind))
    tables = logged(tmp_path, {"a": value, "b": value.reshape(1, 1)})
    assert points(tables, "a") == points(tables, "b") == [(0, 0, 2.0)]


def test_losses_of_a_graph_are_numbers_and_the_graph_goes_on(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.tensor(2.0))
    loss = weight * 3
    tables = logged(tmp_path, {"loss": loss, "weight": weight})
    loss.backward()  # type: ignore[no-untyped-call]
    assert weight.grad == 3
    assert (points(tables), points(tables, "weight")) == ([(0, 0, 6.0)], [(0, 0, 2.0)])


def test_a_change_in_place_after_the_call_changes_nothing(tmp_path: Path) -> None:
    with trackbridge.start("p", run_id="r", folder=tmp_path) as run:
        total, many = torch.tensor(1.0), torch.zeros(4)
        run.log({"total": total, "many": many})
        total += 5
        many += 5
    tables = read(tmp_path)
    assert points(tables, "total") == [(0, 0, 1.0)]
    _, histogram = series(tables)["many"]
    assert max(histogram["bins"]) < 1


def test_what_is_no_number_costs_the_rest_of_the_call_nothing(tmp_path: Path) -> None:
    odd = {"meta": torch.tensor(1.0, device="meta"), "sparse": torch.eye(2).to_sparse()}
    tables = logged(tmp_path, {**odd, "flag": torch.tensor(True), "loss": torch.tensor(1.0)})
    assert points(tables) == [(0, 0, 1.0)]
    assert series(tables)["flag"] == ("boolean", True)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_that_load_data_log_to_the_run_of_their_parent(tmp_path: Path, method: str) -> None:
    if sys.platform == "win32" and method == "fork":
        pytest.skip("no forks here")
    (tmp_path / "train.py").write_text(WORKERS)
    command = [sys.executable, "train.py", method]
    paths = [str(ROOT / "bridge"), str(ROOT / "adapters")]
    code = f"import sys; sys.path[:0] = {paths}\n"
    (tmp_path / "train.py").write_text(code + WORKERS)
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert (found.returncode, found.stderr) == (0, "")
    tables = read(tmp_path / "root")
    assert sorted(value for *_, value in points(tables, "loaded")) == [*map(float, range(8))]
    assert [value for *_, value in points(tables)] == [0.0, *map(float, range(8)), 8.0]
    rows = [row["row"] for row in tables["metrics"]]
    assert len(rows) == len(set(rows)) == 18
    assert (leaves(tables), status(tables)) == ({"a": 1}, ("finished", 0))
