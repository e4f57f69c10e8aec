"""What `status`, `replay` and `parity` say of folders that people name."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from unit.dual.logged import as_nobody, begin, finished

from trackbridge.cli import main
from trackbridge.dual import place, spawn

COMMANDS = ("status", "replay", "parity")
UNIX = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users who may not read")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Where runs go, though no forwarder brings them there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(spawn, "forwarder", lambda *_: None)
    monkeypatch.setattr(spawn, "lock_path", lambda name: tmp_path / name)
    return f"archive:{tmp_path / 'out'}"


def cli(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@UNIX
@pytest.mark.parametrize("mode", [0o000, 0o300])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_of_journals_that_may_not_be_read_is_named_with_the_way_out(
    command: str, mode: int, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(tmp_path, to=store)
    root = tmp_path / "journals"
    monkeypatch.setenv(place.DIR, str(root))
    cli(command)  # what is imported here may be root's alone to read
    root.chmod(mode)
    try:
        with as_nobody(tmp_path):
            result = cli(command)
    finally:
        root.chmod(0o755)
    assert (result.exit_code, result.stdout) == (2, "")
    [text] = result.stderr.splitlines()
    assert f"{root}: cannot be read (Permission denied); call this as the user who" in text


@UNIX
@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_that_may_not_be_read_is_named_beside_the_others(
    command: str, tmp_path: Path, store: str
) -> None:
    locked, _ = (finished(tmp_path, name, to=store) for name in ("one", "two"))
    cli(command, tmp_path / "journals")
    locked.chmod(0)
    try:
        with as_nobody(tmp_path):
            result = cli(command, tmp_path / "journals")
            [told, _] = json.loads(cli("status", "--json", tmp_path / "journals").stdout)["runs"]
    finally:
        locked.chmod(0o755)
    assert f"{locked}: cannot be read (Permission denied)" in result.output
    assert f"{locked.name} to " not in result.output
    assert f"{locked.name} in " not in result.output
    assert (told["run"], told["state"]) == (locked.name, "unreadable")


def test_a_run_that_names_no_store_has_a_line_too(tmp_path: Path) -> None:
    finished(tmp_path)
    [told] = json.loads(cli("status", "--json", tmp_path / "journals").stdout)["runs"]
    assert (told["state"], told["store"], told["logged"]) == ("local", "", 122)
    assert "local" in cli("status", tmp_path / "journals").stdout.splitlines()[1]


def test_calls_that_were_lost_are_counted_once_for_a_run_of_several_stores(tmp_path: Path) -> None:
    run = begin(tmp_path)
    run.save(tmp_path / "nowhere")
    run.log({"loss": 1.0})
    run.finish()
    stores = [f"archive:{tmp_path / name}" for name in ("one", "two")]
    words = [word for store in stores for word in ("--to", store)]
    assert cli("replay", tmp_path / "journals", *words).exit_code == 0
    told = cli("parity", tmp_path / "journals", *words).stdout
    assert told.count("1 call could not be kept") == 1
    assert f"vision/{run.id}: 1 call could not be kept" in told.splitlines()


@pytest.mark.parametrize("store", ["mlfow:x", "wandb:team/project/run", "journal:./x"])
@pytest.mark.parametrize("command", ["replay", "parity"])
def test_a_store_that_is_none_is_told_once_before_anything_is_done(
    command: str, store: str, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        finished(tmp_path, name)
    out = f"archive:{tmp_path / 'out'}"
    result = cli(command, tmp_path / "journals", "--to", out, "--to", store)
    assert result.exit_code != 0 and result.stdout == ""
    [text] = result.stderr.splitlines()
    assert text.startswith("Error: ") and store in text
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo terminals")
@pytest.mark.parametrize("columns", [80, 400])
def test_a_narrow_terminal_breaks_no_cell(columns: int, tmp_path: Path, store: str) -> None:
    import fcntl
    import pty
    import termios

    stores = ["archive:./out", "mlflow:http://tracking.example.org:5000"]
    run_id, name = "resnet-50-2026-11-29-seed-17", "resnet-50-baseline-of-november"
    finished(tmp_path, name, to=stores, run_id=run_id)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    program = [sys.executable, "-m", "trackbridge", "status", str(tmp_path / "journals")]
    environment = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
    subprocess.run(program, stdout=theirs, stderr=subprocess.DEVNULL, env=environment, check=True)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # so a terminal says that nobody writes to it any more
        while more := os.read(ours, 1 << 16):
            shown += more
    os.close(ours)
    lines = click.unstyle(shown.decode()).splitlines()
    assert max(map(len, lines)) <= columns
    for word in (f"vision/{run_id}", name, *stores, "stopped"):
        assert any(word in text for text in lines)
    assert lines[0].startswith("run ") == (columns == 400)
