"""Whatever happens to the mirror, wandb does what it does without it."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.mirror_wandb.programs import BEFORE, both, keys, rows, run

pytest.importorskip("wandb")

CODE = """
run = wandb.init(project="p", config={"k": 1})
for step in range(3):
    run.log({"a": step})
print("logged")
run.finish(exit_code=4)
raise SystemExit(5)
"""
PATCHED = """
from wandb.sdk.interface.interface_sock import InterfaceSock
print("patched", hasattr(InterfaceSock._publish, "__wrapped__"))
"""


@pytest.mark.parametrize("switch", [{"TRACKBRIDGE_DISABLED": "1"}, {"RANK": "1"}])
def test_switched_off_it_patches_nothing(tmp_path: Path, switch: dict[str, str]) -> None:
    done = run(tmp_path, PATCHED + CODE, **switch)
    assert (done.returncode, done.stdout) == (5, "patched False\nlogged\n")
    assert not (tmp_path / "trackbridge").exists()
    assert keys(f"wandb-files:{tmp_path / 'wandb'}")


def test_the_first_of_a_group_is_mirrored(tmp_path: Path) -> None:
    done = run(tmp_path, PATCHED + CODE, RANK="0")
    assert (done.returncode, done.stdout) == (5, "patched True\nlogged\n")
    assert keys(f"journal:{tmp_path / 'trackbridge'}")


def test_of_a_disabled_run_nothing_is_kept(tmp_path: Path) -> None:
    done = run(tmp_path, CODE, WANDB_MODE="disabled")
    assert (done.returncode, done.stdout) == (5, "logged\n")
    assert not (tmp_path / "trackbridge").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(tmp_path, CODE, TRACKBRIDGE_DIR=str(tmp_path / "file" / "trackbridge"))
    assert (done.returncode, done.stdout) == (5, "logged\n")
    theirs = rows(f"wandb-files:{tmp_path / 'wandb'}")
    assert len(theirs["metrics"]) == 3


@pytest.mark.parametrize("strict", ["", "import warnings; warnings.simplefilter('error')\n"])
@pytest.mark.parametrize(
    "place",
    [
        "mirrored.Mirrored.take",
        "mirrored.Mirrored.__init__",
        "mirrored.Mirrored.close",
        "rows.Rows.add",
        "patching.Mirroring.begin",
        "patching.hook",
    ],
)
def test_a_mirror_that_raises_changes_nothing(tmp_path: Path, place: str, strict: str) -> None:
    head = (
        "from trackbridge_adapters.wandb.mirror import mirrored, patching, rows\n"
        "def broken(*args, **options):\n    raise RuntimeError('broken')\n"
        f"{place} = broken\n"
    )
    done = run(tmp_path, CODE, head + BEFORE + strict)
    assert (done.returncode, done.stdout) == (5, "logged\n")
    theirs = rows(f"wandb-files:{tmp_path / 'wandb'}")
    assert [row["value"] for row in theirs["metrics"]] == ["0.0", "1.0", "2.0"]
    assert [row["status"] for row in theirs["runs"]] == ["failed"]


def test_calls_that_could_not_be_mirrored_are_counted(tmp_path: Path) -> None:
    head = (
        "from trackbridge_adapters.wandb.mirror import rows\n"
        "def broken(*args, **options):\n    raise RuntimeError('broken')\n"
        "rows.Rows.add = broken\n"
    )
    run(tmp_path, CODE, head + BEFORE)
    journals = list((tmp_path / "trackbridge").rglob("*.journal"))
    assert b'"t":"lost"' in b"".join(path.read_bytes() for path in journals)
    assert both(tmp_path)[1]["params"] == both(tmp_path)[0]["params"]


def test_a_run_that_cannot_begin_leaves_no_journal(tmp_path: Path) -> None:
    code = """
    try:
        wandb.init(project="p", id="a/b#c")
    except Exception as error:
        print(type(error).__name__)
    """
    mirrored = run(tmp_path / "mirrored", code)
    plain = run(tmp_path / "plain", code, head="import wandb\n")
    assert mirrored.stdout == plain.stdout != ""
    assert not (tmp_path / "mirrored" / "trackbridge").exists()


def test_a_second_call_changes_nothing(tmp_path: Path) -> None:
    run(tmp_path, CODE, BEFORE + "trackbridge.mirror('wandb')\n")
    theirs, ours = both(tmp_path)
    assert ours["metrics"] == theirs["metrics"]
    assert len(ours["metrics"]) == 3
