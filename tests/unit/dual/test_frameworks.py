"""Frameworks log to journals: each example of the manual as it stands, and their own loggers."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dual_logging import ROOT, Training, training
from unit.dual.looking import Tables, leaves, points, read, series, status

PAGE = (ROOT / "docs" / "frameworks.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(
    r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```", re.MULTILINE | re.DOTALL
)
EXAMPLES: dict[str, str] = dict(EXAMPLE.findall(PAGE))
QUIET = {"HF_HUB_OFFLINE": "1", "KERAS_BACKEND": "torch", "TQDM_DISABLE": "1"}


def needs(*packages: str) -> None:
    """Skip where one is not installed; they are not imported here, which takes seconds."""
    for package in packages:
        try:
            importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{package} is not installed")


@pytest.fixture
def trained(tmp_path: Path) -> Iterator[Training]:
    with training(tmp_path / "work", **QUIET) as found:
        yield found


def example(trained: Training, name: str) -> Tables:
    """What is in the journal after an example has run."""
    trained.run(EXAMPLES[name])
    return read(trained.journals)


def test_every_example_has_a_test() -> None:
    assert set(EXAMPLES) == {"PyTorch", "Lightning", "Transformers", "Keras", "scikit-learn"}


def test_losses_of_pytorch_are_numbers_of_each_step(trained: Training) -> None:
    needs("torch")
    tables = example(trained, "PyTorch")
    found = points(tables)
    assert [(row, step) for row, step, _ in found] == [(n, n) for n in range(20)]
    assert found[-1][2] < found[0][2]
    assert series(tables)["weights"][0] == "histogram"
    assert leaves(tables) == {"lr": 0.1, "layers": 1}
    assert [row["collection"] for row in tables["artifacts"]] == ["model"]
    assert status(tables) == ("finished", 0)


def test_what_is_logged_is_delivered(trained: Training) -> None:
    needs("scikit-learn")
    example(trained, "scikit-learn")
    [found] = trained.wait("done")
    assert (found.delivered, found.store) == (10, "archive:./runs")


def test_the_lightning_logger_keeps_metrics_hyperparameters_and_tests(trained: Training) -> None:
    needs("torch", "lightning")
    tables = example(trained, "Lightning")
    losses = points(tables)
    assert [step for _, step, _ in losses] == list(range(16))
    assert losses[-1][2] < losses[0][2]
    assert [step for _, step, _ in points(tables, "test_loss")] == [16]
    assert [value for _, _, value in points(tables, "epoch")] == [0.0] * 8 + [1.0] * 8 + [2.0]
    assert leaves(tables) == {"lr": 0.1}
    assert status(tables) == ("finished", 0)


def test_the_lightning_logger_says_that_a_training_failed(trained: Training) -> None:
    needs("torch", "lightning")
    broken = EXAMPLES["Lightning"].replace('self.log("loss", loss)', 'raise OSError("no disk")')
    process = trained.begin(broken)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and "OSError: no disk" in err
    assert status(read(trained.journals))[0] == "failed"


def test_the_callback_of_transformers_keeps_arguments_and_global_steps(trained: Training) -> None:
    needs("torch", "transformers", "accelerate")
    tables = example(trained, "Transformers")
    assert [step for _, step, _ in points(tables)] == [5, 10, 15, 20]
    assert [step for _, step, _ in points(tables, "eval_loss")] == [20]
    assert [step for _, step, _ in points(tables, "train_runtime")] == [20]
    config = leaves(tables)
    assert (config["learning_rate"], config["max_steps"]) == (0.1, 20)
    assert status(tables) == ("finished", 0)


def test_the_callback_of_keras_keeps_epochs_and_the_optimizer(trained: Training) -> None:
    needs("torch", "keras")
    tables = example(trained, "Keras")
    for key in ("loss", "val_loss"):
        assert [(row, step) for row, step, _ in points(tables, key)] == [(n, n) for n in range(3)]
    config = leaves(tables)
    assert (config["epochs"], config["optimizer.name"]) == (3, "sgd")
    assert config["optimizer.learning_rate"] == pytest.approx(0.1)
    assert status(tables) == ("finished", 0)


def test_scikit_learn_has_parameters_losses_a_summary_and_the_model(trained: Training) -> None:
    needs("scikit-learn")
    tables = example(trained, "scikit-learn")
    assert [step for _, step, _ in points(tables)] == list(range(5))
    [(*_, last)] = points(tables, "accuracy")[-1:]
    assert leaves(tables, "summary") == {"accuracy": last}
    assert leaves(tables)["loss"] == "log_loss"
    assert [row["kind"] for row in tables["artifacts"]] == ["model"]


def mirrored(trained: Training, library: str, program: str) -> Tables:
    """What is in the journal of a program that `trackbridge run` starts."""
    (trained.folder / "train.py").write_text(program)
    command = [sys.executable, "-m", "trackbridge", "run", "--mirror", library]
    found = subprocess.run(
        [*command, "--to", "archive:./runs", "--", sys.executable, "train.py"],
        cwd=trained.folder,
        env=trained.told(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0 and trained.journals.exists(), found.stderr
    return read(trained.journals)


def test_a_logger_of_lightning_for_wandb_is_mirrored(trained: Training) -> None:
    needs("torch", "lightning", "wandb")
    theirs = "from lightning.pytorch.loggers import WandbLogger\nlogger = WandbLogger(project='p')"
    program = re.sub(r"logger = Lightning.*", theirs, EXAMPLES["Lightning"])
    tables = mirrored(trained, "wandb", program)
    assert [value for *_, value in points(tables, "trainer/global_step")] == [
        *map(float, range(17)),
    ]
    assert len(points(tables)) == 16
    assert leaves(tables)["lr"] == 0.1
    assert status(tables) == ("finished", 0)


def test_a_logger_of_lightning_for_mlflow_is_mirrored(trained: Training) -> None:
    needs("torch", "lightning", "mlflow")
    theirs = (
        "from lightning.pytorch.loggers import MLFlowLogger\n"
        "logger = MLFlowLogger('p', tracking_uri='sqlite:///mlflow.db')"
    )
    program = re.sub(r"logger = Lightning.*", theirs, EXAMPLES["Lightning"])
    tables = mirrored(trained, "mlflow", program)
    assert [step for _, step, _ in points(tables)] == list(range(16))
    assert leaves(tables)["lr"] == "0.1"
    assert status(tables)[0] == "finished"


@pytest.mark.parametrize(("library", "key"), [("wandb", "train/loss"), ("mlflow", "loss")])
def test_what_transformers_reports_is_mirrored(trained: Training, library: str, key: str) -> None:
    needs("torch", "transformers", "accelerate", library)
    program = EXAMPLES["Transformers"].replace('report_to="none"', f'report_to="{library}"')
    program = re.sub(r"tracked = .*", "", program).replace(", callbacks=[tracked]", "")
    program = program.replace("trainer.evaluate()\n", "")  # in MLflow that is another run
    if library == "mlflow":
        program = "import mlflow\nmlflow.set_tracking_uri('sqlite:///mlflow.db')\n" + program
    tables = mirrored(trained, library, program)
    assert len(points(tables, key)) == 4
    assert status(tables)[0] == "finished"


def test_autologging_of_mlflow_is_mirrored(trained: Training) -> None:
    needs("mlflow", "scikit-learn")
    program = (
        "import mlflow\n"
        "from sklearn.datasets import make_classification\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "mlflow.set_tracking_uri('sqlite:///mlflow.db')\n"
        "mlflow.sklearn.autolog()\n"
        "LogisticRegression(C=0.5).fit(*make_classification(100, random_state=0))\n"
    )
    tables = mirrored(trained, "mlflow", program)
    assert leaves(tables)["C"] == "0.5"
    assert points(tables, "training_score")
    assert tables["inputs"]
    assert status(tables)[0] == "finished"
