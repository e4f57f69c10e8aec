"""`trackbridge run`: a program is what it is without it, and what it logs goes further too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from dual_logging import ROOT, Training, training
from unit.dual.looking import points, read_all

from trackbridge.adapter import Query
from trackbridge.dual import launch
from trackbridge.registry import open_reader

OUT = "archive:./out"
TELLS = """
import os, signal, sys
print(sys.argv[1:], sys.path, sorted(sys.flags), "sitecustomize" in sys.modules)
print([(name, signal.getsignal(getattr(signal, name))) for name in ("SIGPIPE", "SIGINT")])
print(sorted(os.environ.items()))
print("said", file=sys.stderr)
sys.exit(int(os.environ.get("ENDS", 0)))
"""
"""What a program can see of how it was started."""
LOGS = """
import os, signal, sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
with mlflow.start_run(run_name=sys.argv[2]):
    mlflow.log_param("lr", 0.1)
    for step in range(5):
        mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
    if "dies" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
print("logged")
"""


@pytest.fixture
def trained(tmp_path: Path) -> Iterator[Training]:
    paths = os.pathsep.join([str(ROOT / "bridge"), str(ROOT / "adapters")])
    with training(tmp_path / "work", TRACKBRIDGE_PATIENCE="300", PYTHONPATH=paths) as found:
        (found.folder / "tells.py").write_text(TELLS)
        (found.folder / "logs.py").write_text(LOGS)
        yield found


Result = subprocess.CompletedProcess[str]


def plain(trained: Training, *command: str, **environment: str) -> Result:
    """What a program says and ends with."""
    told = {**os.environ, **trained.environment, **environment}
    return subprocess.run(
        command, cwd=trained.folder, env=told, capture_output=True, text=True, timeout=240
    )


def mirrored(
    trained: Training, *command: str, to: str = OUT, libraries: str = "mlflow", **environment: str
) -> Result:
    """The same of a program that `trackbridge run` starts."""
    mirrors = [part for library in libraries.split() for part in ("--mirror", library)]
    begin = [sys.executable, "-m", "trackbridge", "run", *mirrors, "--to", to, "--"]
    return plain(trained, *begin, *command, **environment)


def bare(folder: Path) -> str:
    """A Python that does not know Trackbridge."""
    venv.create(folder, symlinks=os.name == "posix")
    return str(folder / ("bin/python" if os.name == "posix" else "Scripts/python.exe"))


def database(trained: Training) -> str:
    return f"sqlite:///{trained.folder / 'mlflow.db'}"


def logged(address: str) -> list[str | None]:
    return sorted(info.name for info in open_reader(address).list_runs(Query()))


def without_ours(out: str) -> str:
    """Output of `TELLS` without what is known to be added to the environment."""
    *lines, environment = out.splitlines()
    kept = {name: text for name, text in eval(environment) if name != launch.MIRRORED}
    paths = kept["PYTHONPATH"].split(os.pathsep)
    kept["PYTHONPATH"] = os.pathsep.join(path for path in paths if path != str(launch.HERE))
    return "\n".join([*lines, str(sorted(kept.items()))])


@pytest.mark.parametrize(
    "command",
    [("tells.py", "--lr", "0.1", "--to", "x"), ("-m", "tells", "a b"), ("-c", TELLS, "--help")],
)
def test_a_program_sees_what_it_sees_without_us(
    trained: Training, command: tuple[str, ...]
) -> None:
    expected = plain(trained, sys.executable, *command, ENDS="7")
    found = mirrored(trained, sys.executable, *command, ENDS="7")
    assert (found.returncode, found.stderr) == (7, expected.stderr)
    assert without_ours(found.stdout) == without_ours(expected.stdout)
    assert not trained.journals.exists()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_program_that_is_no_python_has_its_signals_as_they_were(trained: Training) -> None:
    command = ("grep", "Sig[IB]", "/proc/self/status")
    assert mirrored(trained, *command).stdout == plain(trained, *command).stdout != ""


@pytest.mark.parametrize("module", ["os", "no_such_module"])
def test_a_sitecustomize_of_the_user_runs_too(
    trained: Training, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    """Also one that fails: Python says so, and goes on."""
    own = trained.folder / "own" / "sitecustomize.py"
    own.parent.mkdir()
    own.write_text(f"print('own', __name__, __file__)\nimport {module}\n")
    paths = os.pathsep.join([str(own.parent), trained.environment["PYTHONPATH"]])
    monkeypatch.setenv("PYTHONPATH", paths)
    expected = plain(trained, sys.executable, "tells.py", PYTHONPATH=paths)
    added = launch.environment(["mlflow"], [OUT], "first")
    found = plain(trained, sys.executable, "tells.py", **added)
    assert without_ours(found.stdout) == without_ours(expected.stdout)
    assert found.stdout.startswith("own sitecustomize ")
    assert found.stderr == expected.stderr
    assert ("Error in sitecustomize" in found.stderr) == (module == "no_such_module")


def test_a_python_that_does_not_know_us_says_so_in_one_line(
    trained: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    added = launch.environment(["mlflow"], [OUT], "first")
    python = bare(tmp_path / "bare")
    expected = plain(trained, python, "tells.py", PYTHONPATH="", ENDS="7")
    found = plain(trained, python, "tells.py", ENDS="7", **added)
    assert found.returncode == 7
    first, *rest = found.stderr.splitlines()
    assert "is not mirrored: No module named 'trackbridge'" in first
    assert rest == ["said"]
    assert without_ours(found.stdout) == without_ours(expected.stdout)


@pytest.mark.parametrize("told", ["{", '{"libraries": ["none"], "to": [], "ranks": "first"}', "[]"])
def test_whatever_is_wrong_with_us_a_program_and_its_sitecustomize_run(
    trained: Training, told: str
) -> None:
    (trained.folder / "own").mkdir()
    (trained.folder / "own" / "sitecustomize.py").write_text("print('own')\n")
    paths = [launch.HERE, trained.folder / "own", trained.environment["PYTHONPATH"]]
    added = {"PYTHONPATH": os.pathsep.join(map(str, paths)), launch.MIRRORED: told}
    found = plain(trained, sys.executable, "tells.py", ENDS="7", **added)
    assert (found.returncode, found.stdout.splitlines()[0]) == (7, "own")
    ours, said = found.stderr.splitlines()
    assert "is not mirrored" in ours and said == "said"


def test_nothing_is_mirrored_where_it_is_switched_off(trained: Training, tmp_path: Path) -> None:
    found = mirrored(
        trained, sys.executable, "logs.py", database(trained), "off", TRACKBRIDGE_DISABLED="1"
    )
    assert (found.returncode, found.stdout) == (0, "logged\n"), found.stderr
    assert "trackbridge" not in found.stderr
    assert not trained.journals.exists()
    found = mirrored(trained, bare(tmp_path / "bare"), "tells.py", TRACKBRIDGE_DISABLED="1")
    assert (found.returncode, found.stderr) == (0, "said\n")


def test_programs_that_a_program_starts_are_mirrored_and_forwarders_are_not(
    trained: Training,
) -> None:
    """The forwarder writes to MLflow: were it mirrored, that would be runs in journals."""
    starts = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))"
    other = f"mlflow:sqlite:///{trained.folder / 'other.db'}"
    begin = (sys.executable, "-c", starts, "logs.py", database(trained))
    for name in ("one", "two"):
        found = mirrored(trained, *begin, name, to=other)
        assert (found.returncode, found.stdout) == (0, "logged\n"), found.stderr
    trained.wait("done")
    runs = read_all(trained.journals).values()
    assert sorted(run["runs"][0]["name"] for run in runs) == ["one", "two"]
    assert [points(run) for run in runs] == [[(None, n, 1 / (n + 1)) for n in range(5)]] * 2
    assert logged(other) == logged(f"mlflow:{database(trained)}") == ["one", "two"]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_program_that_is_killed_ends_so_and_its_run_is_delivered(trained: Training) -> None:
    found = mirrored(trained, sys.executable, "logs.py", database(trained), "killed", "dies")
    assert (found.returncode, found.stdout) == (-signal.SIGKILL, "")
    trained.wait("done")
    assert logged(f"archive:{trained.folder / 'out'}") == ["killed"]


def test_places_are_where_the_program_was_started_wherever_it_goes(trained: Training) -> None:
    goes = "import os; os.makedirs('a/b'); os.chdir('a/b')\n" + LOGS
    found = mirrored(trained, sys.executable, "-c", goes, database(trained), "moved")
    assert found.returncode == 0, found.stderr
    trained.wait("done")
    assert logged(f"archive:{trained.folder / 'out'}") == ["moved"]
    assert list((trained.folder / "a" / "b").iterdir()) == []


def test_both_libraries_are_mirrored_at_once(trained: Training) -> None:
    pytest.importorskip("wandb")
    code = LOGS + (
        "import wandb\n"
        "with wandb.init(project='p', name='of wandb', mode='offline') as run:\n"
        "    for step in range(5): run.log({'loss': 1.0 / (step + 1)})\n"
    )
    program = (sys.executable, "-c", code, database(trained), "of mlflow")
    found = mirrored(trained, *program, libraries="mlflow wandb")
    assert found.returncode == 0, found.stderr
    trained.wait("done")
    assert logged(f"archive:{trained.folder / 'out'}") == ["of mlflow", "of wandb"]
    for run in read_all(trained.journals).values():
        assert [value for _, _, value in points(run)] == [1 / (n + 1) for n in range(5)]
