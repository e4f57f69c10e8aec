"""Journals move like any other store: into an archive, proven, and looked at by people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import trackbridge
from trackbridge.cli import main


def asked(*arguments: str) -> str:
    told = CliRunner().invoke(main, list(arguments))
    assert told.exit_code == 0, told.output
    return told.output


@pytest.fixture
def journals(tmp_path: Path) -> str:
    """Two runs with everything that can be logged; one of them still goes on."""
    root = tmp_path / "journals"
    (tmp_path / "weights.bin").write_bytes(b"weights")
    with trackbridge.start("vision", "first", {"lr": 0.1, "net": {"depth": 3}}, folder=root) as run:
        run.define_metric("loss", summary="min")
        for step in range(300):
            run.log({"loss": 1 / (step + 1), "accuracy": step / 300}, step=step)
        run.log({"loss": float("nan"), "inf": float("inf"), "zero": -0.0, "big": 2**60})
        run.log({"words": "text", "flag": True, "weights": np.arange(100.0), "nothing": None})
        run.log({"picture": trackbridge.Image(np.zeros((2, 3, 3), np.uint8))}, step=400)
        run.log({"table": pd.DataFrame({"a": [1, 2], "b": ["x", None]})}, step=400)
        run.log({"loss": 0.5}, step=7)
        run.log_artifact(tmp_path / "weights.bin", kind="model", aliases=["best"])
        run.save(tmp_path / "weights.bin", "kept/weights.bin")
        run.set_tags(["baseline"])
        run.alert("title", "text")
        run.summary["best"] = 0.25
    other = trackbridge.start("vision", "second", folder=root)
    other.log({"loss": 1.0})
    return f"journal:{root}"


def test_a_migrated_journal_is_equal_to_its_archive(tmp_path: Path, journals: str) -> None:
    pytest.importorskip("PIL")
    archive = f"archive:{tmp_path / 'archive'}"
    asked("migrate", journals, archive)
    asked("verify", journals, archive)


def test_journals_are_listed_and_shown(journals: str) -> None:
    pytest.importorskip("PIL")
    listed = asked("ls", journals)
    assert "first" in listed
    assert "second" in listed
    run_id = next(line.split()[1] for line in listed.splitlines() if "first" in line)
    shown = asked("show", journals, run_id)
    for line in (
        "status           finished",
        "net.depth  3    integer",
        "kept/weights.bin",
        "baseline",
    ):
        assert line in shown
    assert "loss      302 points  steps 0..299" in shown
    assert "picture  image      1 point" in shown
