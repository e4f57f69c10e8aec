"""What the page on tables shows is run as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import trackbridge
from trackbridge.adapter import RunKey
from trackbridge.cli import main
from trackbridge.testing import samples
from trackbridge.testing.made import store
from trackbridge_adapters.archive import ADAPTER
from trackbridge_adapters.tables.mapping import ROLES

PAGE = (Path(__file__).parents[3] / "docs" / "tables.md").read_text(encoding="utf-8")
SESSIONS = re.findall(r"^```console\n(.*?)^```", PAGE, re.M | re.S)
PYTHON = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


def shown(session: str) -> list[tuple[str, str]]:
    """Commands of a session, with what is shown below each."""
    parts = re.split(r"^\$ ", session, flags=re.M)[1:]
    return [(line, rest) for line, _, rest in (part.partition("\n") for part in parts)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every command of the page was called, and did what it shows."""
    folder = tmp_path_factory.mktemp("page")
    commands = [each for session in SESSIONS for each in shown(session)]
    tables = dict(commands)
    (folder / "points.csv").write_text(tables["cat points.csv"])
    run = samples.everything()
    run.key = RunKey("some-kind", "", "vision", "a")
    run.tables["runs"][0]["deleted"] = False
    store(ADAPTER.writer(str(folder / "out-of"), {}), [run])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TRACKBRIDGE_STATE", str(folder / "state"))
        for command, expected in commands:
            program, *arguments = shlex.split(command)
            if program != "trackbridge":
                continue
            if arguments[:2] == ["export", "./mlflow.db"]:
                arguments[1] = "archive:out-of"
            done = CliRunner().invoke(main, arguments)
            assert done.exit_code == 0, (command, done.output)
            if expected:
                assert done.stdout == expected, command
    return folder


def test_the_commands_do_what_the_page_shows(made: Path) -> None:
    assert {path.name for path in made.iterdir()} >= {"mlflow.db", "out", "tables"}


def test_the_python_of_the_page_runs(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    monkeypatch.setattr("platformdirs.user_data_path", lambda name: made / "data")
    names: dict[str, Any] = {}
    for example in PYTHON:
        exec(example, names)
    assert names["report"].verified
    assert names["report"].points == 3
    logged = names["metrics"][~names["metrics"]["system"]]
    assert len(logged) == len(trackbridge.open("csv:tables").metrics()) > 0
    assert (names["params"]["type"] != "").all()
    assert all(
        (made / "tables" / "files" / stored).is_file() for stored in names["files"]["stored"]
    )


def test_the_page_names_every_role() -> None:
    for role in ROLES:
        assert f"`{role}`" in PAGE, role
