"""Trainings of several processes: the first logs, or each in one group."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dual_logging import Training, training
from unit.dual.looking import leaves, points, read, read_all, status

from trackbridge.adapter import Query
from trackbridge.registry import open_reader

pytest.importorskip("torch")
pytestmark = pytest.mark.slow

OUT = "archive:./out"
DISTRIBUTED = """
import os, signal, sys
import torch, torch.distributed as dist
dist.init_process_group("gloo")
rank, word = dist.get_rank(), sys.argv[1]
total = torch.tensor(1.0 + rank)
dist.all_reduce(total)
"""
OWN = f"""{DISTRIBUTED}
import trackbridge
with trackbridge.start("p", config={{"rank": rank}}, to="{OUT}", ranks=word) as run:
    for step in range(5):
        run.log({{"loss": total / (step + 1), "rank": rank}})
    print("rank", rank, "logs" if run.folder else "is silent")
dist.destroy_process_group()
"""
MLFLOW = f"""{DISTRIBUTED}
if rank == 0:
    import mlflow
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.start_run(run_name=word)
    for step in range(5):
        mlflow.log_metric("loss", total.item() / (step + 1), step=step)
    if word == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    mlflow.end_run()
print("rank", rank, "of", word)
dist.barrier()
dist.destroy_process_group()
sys.exit(5 if word == "fails" else 0)
"""
OF_ACCELERATE = """
import mlflow
from accelerate import Accelerator
mlflow.set_tracking_uri("sqlite:///mlflow.db")
accelerator = Accelerator(cpu=True, log_with="mlflow")
accelerator.init_trackers("p", {"lr": 0.1})
for step in range(5):
    accelerator.log({"loss": 1.0 / (step + 1)}, step=step)
accelerator.end_training()
"""
WANDB = f"""{DISTRIBUTED}
import wandb
if rank == 0:
    with wandb.init(project="p", mode="offline") as run:
        for step in range(5):
            run.log({{"loss": total.item() / (step + 1)}})
dist.barrier()
dist.destroy_process_group()
"""
LOSSES = [3 / (step + 1) for step in range(5)]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ACCELERATE = [
    *(sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--cpu"),
    *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
]
"""On CPUs of one machine, that is one process."""
Result = subprocess.CompletedProcess[str]


@pytest.fixture
def trained(tmp_path: Path) -> Iterator[Training]:
    with training(tmp_path / "work", OMP_NUM_THREADS="1", WANDB_SILENT="true") as found:
        yield found


def trained_by(
    trained: Training, launcher: list[str], program: str, word: str, mirror: str = ""
) -> Result:
    """What a training of two processes says and ends with, perhaps under `trackbridge run`."""
    (trained.folder / "train.py").write_text(program)
    ours = [sys.executable, "-m", "trackbridge", "run", "--mirror", mirror, "--to", OUT, "--"]
    return subprocess.run(
        [*(ours if mirror else ()), *launcher, "train.py", word],
        cwd=trained.folder,
        env=trained.told(),
        capture_output=True,
        text=True,
        timeout=300,
    )


def arrived(trained: Training) -> int:
    trained.wait("done")
    return len(list(open_reader(f"archive:{trained.folder / 'out'}").list_runs(Query())))


def test_the_first_process_alone_logs(trained: Training) -> None:
    found = trained_by(trained, TORCHRUN, OWN, "first")
    assert found.returncode == 0, found.stderr
    assert sorted(found.stdout.splitlines()) == ["rank 0 logs", "rank 1 is silent"]
    tables = read(trained.journals)
    assert [value for *_, value in points(tables)] == pytest.approx(LOSSES)
    assert (leaves(tables), status(tables)) == ({"rank": 0}, ("finished", 0))
    assert arrived(trained) == 1


def test_each_process_has_a_run_in_a_group_of_the_training(trained: Training) -> None:
    for _ in range(2):
        found = trained_by(trained, TORCHRUN, OWN, "all")
        assert found.returncode == 0, found.stderr
        assert "goes on" not in found.stderr
    runs = read_all(trained.journals)
    groups = [(run["runs"][0]["group"], leaves(run)["rank"]) for run in runs.values()]
    names = {group for group, _ in groups}
    assert len(names) == 2 and None not in names
    assert sorted(groups) == sorted((name, rank) for name in names for rank in range(2))
    for ref, run in runs.items():
        assert ref.run_id == f"{run['runs'][0]['group']}-{leaves(run)['rank']}"
        assert [value for *_, value in points(run)] == pytest.approx(LOSSES)
    assert arrived(trained) == 4


@pytest.mark.parametrize("word", ["ends", "fails", "killed"])
def test_a_launched_training_that_logs_with_mlflow_is_mirrored_once(
    trained: Training, word: str
) -> None:
    plain = trained_by(trained, TORCHRUN, MLFLOW, word)
    (trained.folder / "mlflow.db").unlink()
    found = trained_by(trained, TORCHRUN, MLFLOW, word, mirror="mlflow")
    assert found.returncode == plain.returncode == int(word != "ends"), found.stderr
    assert sorted(found.stdout.splitlines()) == sorted(plain.stdout.splitlines())
    tables = read(trained.journals)
    assert [value for *_, value in points(tables)] == LOSSES
    assert tables["runs"][0]["name"] == word
    assert arrived(trained) == 1
    ended = read(trained.journals)["runs"][0]["status"]
    assert ended == ("crashed" if word == "killed" else "finished")


@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_a_training_with_accelerate_is_mirrored_once(
    trained: Training, launcher: list[str]
) -> None:
    pytest.importorskip("accelerate")
    found = trained_by(trained, launcher, OF_ACCELERATE, "ends", mirror="mlflow")
    assert found.returncode == 0, found.stderr
    tables = read(trained.journals)
    assert [step for _, step, _ in points(tables)] == list(range(5))
    assert leaves(tables) == {"lr": "0.1"}
    assert arrived(trained) == 1


def test_a_launched_training_that_logs_with_wandb_is_mirrored_once(trained: Training) -> None:
    pytest.importorskip("wandb")
    found = trained_by(trained, TORCHRUN, WANDB, "ends", mirror="wandb")
    assert found.returncode == 0, found.stderr
    assert [value for *_, value in points(read(trained.journals))] == LOSSES
    assert arrived(trained) == 1


def test_a_launcher_that_is_ended_by_a_signal_ends_so(trained: Training) -> None:
    """`trackbridge run` has become the launcher, so that whoever started it signals that."""
    waits = f"{DISTRIBUTED}\nimport time\nprint('begun', flush=True)\ntime.sleep(300)\n"
    (trained.folder / "train.py").write_text(waits)
    ours = [sys.executable, "-m", "trackbridge", "run", "--mirror", "mlflow", "--to", OUT, "--"]
    codes = []
    for begin in ([], ours):
        process = subprocess.Popen(
            [*begin, *TORCHRUN, "train.py", "x"],
            cwd=trained.folder,
            env=trained.told(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
        codes.append(process.returncode)
    assert codes[0] == codes[1] != 0


def test_processes_that_lightning_starts_itself_log_once(trained: Training) -> None:
    pytest.importorskip("lightning")
    from unit.dual.test_frameworks import EXAMPLES

    program = EXAMPLES["Lightning"].replace(
        'accelerator="cpu"', 'accelerator="cpu", devices=2, strategy="ddp"'
    )
    found = trained_by(trained, [sys.executable], program, "")
    assert found.returncode == 0, found.stderr
    assert [step for _, step, _ in points(read(trained.journals))] == list(range(8))
