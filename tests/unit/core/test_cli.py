"""The command line: one JSON object, one line per error, exit codes that say what happened."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from unit.core.faults import Faults
from unit.core.samples import POOR, points, sample
from unit.core.stores import NOTHING_CHANGES, edit, native, seed, stores

from trackbridge import __version__, registry
from trackbridge.cli import main
from trackbridge.errors import IntegrityError, TransientError
from trackbridge.registry import IN_PROCESS
from trackbridge_adapters import BUILTIN, memory

ROOT = Path(__file__).parents[3]
MANUAL = ROOT / "docs" / "commands.md"
EVIL = "evil\x1b]0;title\x07\r\x08\x9b\n\u202e"
"""Would set the title, ring, overwrite the line and turn the text around."""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="trackbridge", color=True)


def document(*arguments: str) -> Any:
    """The JSON object that a command prints, and nothing else on stdout."""
    result = run(*arguments, "--json")
    lines = result.stdout.splitlines()
    assert len(lines) == 1, result.output
    found = json.loads(lines[0])
    assert isinstance(found, dict)
    return found


def shape(value: Any) -> Any:
    """A JSON value with its leaves left out."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else None


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    """Addresses of a store with two runs, and of an empty one that cannot hold everything."""
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, [sample("run1"), sample("run2")])
        yield f"memory:{home}", f"memory:{away}"


LOSSES = [{"kind": None, "count": None, "example": None}]
MIGRATED = {
    "runs": dict.fromkeys(("total", "copied", "updated", "skipped", "failed")),
    **dict.fromkeys(("points", "files", "bytes", "verified", "failures", "seconds")),
    "damage": [None],
    "losses": LOSSES,
    "items": {},
    "gone": None,
}
PLANNED = {
    **dict.fromkeys(("runs", "points", "files", "bytes", "estimate_seconds", "api_calls")),
    **dict.fromkeys(("skipped", "compared", "failures", "assumed")),
    "damage": [None],
    "losses": LOSSES,
    "items": {},
}
COMPARED = {
    "runs": dict.fromkeys(("total", "equal", "different", "missing")),
    "series": dict.fromkeys(("total", "equal")),
    "items": {},
    "differences": None,
    "losses": None,
    "gone": None,
}


def test_migrate_prints_one_object_with_just_the_documented_keys(pair: tuple[str, str]) -> None:
    found = document("migrate", *pair)
    assert shape(found) == MIGRATED
    assert found["runs"] == {"total": 2, "copied": 2, "updated": 0, "skipped": 0, "failed": 0}
    assert found["verified"] is True
    assert (found["points"], found["files"], found["bytes"]) == (30, 4, 520)


def test_failures_are_named_in_the_object(pair: tuple[str, str], wrong: Faults) -> None:
    wrong.first("read_runs", IntegrityError("a"), IntegrityError("torn"))
    found = document("migrate", pair[0].replace("memory", "faulty"), pair[1])
    assert shape(found["failures"]) == [dict.fromkeys(("run", "error"))]
    assert found["failures"] == [{"run": "p/x//p/run1", "error": "torn"}]
    assert found["runs"]["failed"] == 1
    assert found["verified"] is False


@pytest.mark.parametrize("command", [("plan",), ("migrate", "--dry-run")])
def test_plan_prints_one_object_and_writes_nothing(
    pair: tuple[str, str], command: tuple[str, ...], state: Path
) -> None:
    found = document(*command, *pair)
    assert shape(found) == PLANNED
    assert (found["runs"], found["points"], found["files"]) == (2, 30, 4)
    assert not memory.STORES[pair[1].removeprefix("memory:")].runs
    assert not state.exists()


def test_plan_forecasts_the_losses_that_migrate_reports(pair: tuple[str, str]) -> None:
    def counted(found: Any) -> dict[str, int]:
        losses = {loss["kind"]: loss["count"] for loss in found["losses"]}
        return {kind: count for kind, count in losses.items() if not kind.startswith("files")}

    assert counted(document("plan", *pair)) == counted(document("migrate", *pair)) != {}


def test_one_is_not_many(tmp_path: Path) -> None:
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        rows = {"files": [{"owner": "", "path": "a/b.txt"}], "metrics": points("loss", 1)}
        seed(home, [sample(**rows)])
        pair = f"memory:{home}", f"memory:{away}"
        commands = ("plan", "migrate", "migrate", "plan", "verify")
        said = "".join(run(command, *pair).output for command in commands)
        for command in (("ls", pair[0]), ("doctor", pair[0]), ("show", pair[0], "run1")):
            said += run(*command).output
    assert "1 run, 1 point, 1 file, 0 B;" in said
    assert "1 run: 1 copied" in said
    assert "1 run: 1 equal, 0 different, 0 missing; 1 metric series: 1 equal" in said
    assert not re.search(r"\b1 (runs|points|files|bytes|API calls)\b", said)


def test_verify_prints_one_object_with_just_the_documented_keys(pair: tuple[str, str]) -> None:
    run("migrate", *pair)
    found = document("verify", *pair)
    assert shape(found) == COMPARED
    assert found["runs"] == {"total": 2, "equal": 2, "different": 0, "missing": 0}
    assert found["series"] == {"total": 6, "equal": 6}
    edit(pair[1].removeprefix("memory:"), "tags", [])
    found = document("verify", *pair)
    assert shape(found["differences"]) == [dict.fromkeys(("run", "table", "key", "what"))]


@pytest.mark.parametrize("command", [("ls",), ("show", "x//p/run1"), ("doctor",)])
def test_looking_prints_one_object_too(pair: tuple[str, str], command: tuple[str, ...]) -> None:
    assert document(command[0], pair[0], *command[1:])


def test_the_manual_names_every_key(pair: tuple[str, str]) -> None:
    manual = MANUAL.read_text(encoding="utf-8")
    for keys in (MIGRATED, PLANNED, COMPARED, MIGRATED["runs"], COMPARED["runs"], LOSSES[0]):
        for key in keys or ():
            assert f'"{key}"' in manual, key


@pytest.mark.parametrize(
    "command",
    ["ls {0}", "show {0} run1", "plan {0} {1}", "migrate {0} {1}", "verify {0} {1}"],
)
def test_every_command_that_reads_tells_stores_how_often_they_may_be_asked(
    pair: tuple[str, str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, told = registry.load("memory"), []
    reader, writer = adapter.reader, adapter.writer

    def opening(opener: Any) -> Any:
        def opened(location: str, options: Any) -> Any:
            told.append(options)
            return opener(location, {})

        return opened

    arguments = [*command.format(*pair).split(), "--max-rps", "0.8"]
    unlimited = run(*arguments)
    assert unlimited.exit_code == 2
    assert f"--max-rps: of no use for {pair[0]}" in unlimited.stderr
    monkeypatch.setattr(adapter, "options", ("max_rps",), raising=False)
    monkeypatch.setattr(adapter, "reader", opening(reader))
    monkeypatch.setattr(adapter, "writer", opening(writer))
    result = run(*arguments)
    assert result.exit_code == (1 if command.startswith("verify") else 0), result.output
    assert len(told) >= command.count("{")
    assert all(options == {"max_rps": "0.8"} for options in told)


def test_what_is_long_or_nested_is_shown_to_people_in_short_and_to_programs_whole() -> None:
    extra = {"os": "Linux", "args": ["--lr", "0.1"], "damage": []}
    rows = {
        "runs": [{"name": "n", "extra": json.dumps(extra)}],
        "params": [{"key": "prompt", "value": "ab" * 4500, "type": "string"}],
        "artifacts": [
            {
                "collection": "net",
                "version": "v1",
                "kind": "model",
                "aliases": '["best", "latest"]',
            },
            {"collection": "data", "version": None, "kind": "dataset"},
        ],
    }
    with stores(NOTHING_CHANGES) as (home,):
        seed(home, [sample(**rows)])
        shown = run("show", f"memory:{home}", "run1").stdout
        whole = document("show", f"memory:{home}", "run1")
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert {"extra.os Linux", 'extra.args ["--lr", "0.1"]', "extra.damage []"} <= {*lines}
    assert f"prompt {'ab' * 150}... (9,000 characters) string" in lines
    assert {"net:v1 best, latest model", "data dataset"} <= {*lines}
    assert ["prompt", "ab" * 4500, "string"] in whole["params"]
    assert ["net", "v1", "model", "", "", '["best", "latest"]'] in whole["artifacts"]
    assert ["extra", json.dumps(extra)] in whole["run"]


# Exit codes


def test_zero_means_all_done_and_verified(pair: tuple[str, str]) -> None:
    for command in ("plan", "migrate", "migrate", "verify"):
        assert run(command, *pair).exit_code == 0
    assert run("ls", pair[0]).exit_code == run("show", pair[0], "run1").exit_code == 0


def test_one_means_that_something_failed(pair: tuple[str, str], wrong: Faults) -> None:
    wrong.first("read_runs", IntegrityError("a"), IntegrityError("torn"))
    result = run("migrate", pair[0].replace("memory", "faulty"), pair[1])
    assert result.exit_code == 1
    assert "failed: run p/x//p/run1: torn" in result.stderr
    assert "verified" not in result.stdout


def test_one_means_that_something_differs(pair: tuple[str, str]) -> None:
    result = run("verify", *pair)
    assert result.exit_code == 1
    assert "run p/x//p/run1: runs: not in the target" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("2 runs: 0 equal, 0 different, 2 missing")


def test_one_means_that_a_server_did_not_answer(
    pair: tuple[str, str], wrong: Faults, waits: list[float]
) -> None:
    wrong.first("list_runs", *[TransientError("the server is down")] * 99)
    result = run("migrate", pair[0].replace("memory", "faulty"), pair[1])
    *waits_told, error = result.stderr.splitlines()
    assert (result.exit_code, error) == (1, "Error: the server is down")
    assert all(line.startswith("the server is down (trying again in ") for line in waits_told)


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--strict",), 1)])
def test_damage_in_the_source_is_an_error_only_if_that_was_asked_for(
    options: tuple[str, ...], code: int
) -> None:
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, [sample(runs=[{"name": "n", "extra": '{"damage": ["f at byte 7: torn"]}'}])])
        result = run("migrate", f"memory:{home}", f"memory:{away}", *options)
        assert result.exit_code == code
        assert result.stderr.startswith("damaged: run p/run1: f at byte 7: torn\n")


# Mistakes


@pytest.fixture
def places(tmp_path: Path, pair: tuple[str, str]) -> dict[str, str]:
    """Sources that something is wrong with, by what it is."""
    (tmp_path / "letter.txt").write_text("dear diary")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.db").write_bytes(b"SQLite format 3\x00" + bytes(range(256)) * 40)
    (tmp_path / "both").mkdir()
    return {
        "no such path": str(tmp_path / "nothing"),
        "not a store": str(tmp_path / "letter.txt"),
        "an empty folder": str(tmp_path / "empty"),
        "an unreadable database": f"mlflow:sqlite:///{tmp_path}/broken.db",
        "an unknown store": "memory:nothing",
        "a good one": pair[0],
    }


MISTAKES = ["no such path", "not a store", "an empty folder", "an unreadable database"]
COMMANDS = ["migrate", "export", "plan", "verify"]


def _one_line(result: Result, code: int = 2) -> str:
    """The line of a mistake: no traceback, nothing on stdout."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.exception is None or isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


@pytest.mark.parametrize("mistake", [*MISTAKES, "an unknown store"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_source_is_one_line_and_leaves_no_target(
    places: dict[str, str],
    pair: tuple[str, str],
    tmp_path: Path,
    command: str,
    mistake: str,
    state: Path,
) -> None:
    before = sorted(tmp_path.rglob("*"))
    target = pair[1] if command == "verify" else f"archive:{tmp_path}/out"
    line = _one_line(run(command, places[mistake], target))
    assert Path(places[mistake]).name.removeprefix("memory:") in line
    assert sorted(tmp_path.rglob("*")) == before
    assert not state.exists()


@pytest.mark.parametrize("mistake", [*MISTAKES, "an unknown store"])
@pytest.mark.parametrize("command", ["ls", "show"])
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_looking_at_a_wrong_store_is_one_line(
    places: dict[str, str], command: str, mistake: str, options: tuple[str, ...]
) -> None:
    name = ["run1"] if command == "show" else []
    _one_line(run(command, places[mistake], *name, *options))


@pytest.mark.parametrize(
    "options", [("--project", "nope"), ("--run", "nope"), ("--run", "x//p/run1", "--run", "nope")]
)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_or_project_that_is_not_there_is_one_line(
    pair: tuple[str, str], tmp_path: Path, command: str, options: tuple[str, ...]
) -> None:
    target = pair[1] if command == "verify" else f"archive:{tmp_path}/out"
    line = _one_line(run(command, pair[0], target, *options))
    assert "'nope'" in line
    assert "`trackbridge ls`" in line
    assert not (tmp_path / "out").exists()


def test_a_run_to_show_that_is_not_there_is_one_line(pair: tuple[str, str]) -> None:
    assert "no run 'nope'" in _one_line(run("show", pair[0], "nope"))


def test_a_store_to_compare_with_that_is_not_there_is_one_line(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    assert "out" in _one_line(run("verify", pair[0], f"archive:{tmp_path}/out"))
    assert "nothing" in _one_line(run("verify", pair[0], "memory:nothing"))


def test_a_path_that_could_be_several_stores_is_one_line_with_the_addresses(
    places: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("mlflow", "archive"):
        monkeypatch.setattr(registry.load(name), "recognizes", lambda location: True)
    line = _one_line(run("migrate", str(tmp_path / "both"), f"archive:{tmp_path}/out"))
    assert f"archive:{tmp_path}/both, mlflow:{tmp_path}/both" in line


def test_a_new_target_that_could_be_anything_asks_what_it_shall_be(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    line = _one_line(run("migrate", pair[0], f"{tmp_path}/something"))
    assert f"archive:{tmp_path}/something" in line
    assert not (tmp_path / "something").exists()


def test_the_same_store_twice_is_one_line(pair: tuple[str, str]) -> None:
    assert "are the same store" in _one_line(run("migrate", pair[0], pair[0]))


@pytest.mark.parametrize(
    "arguments",
    [
        ("migrate", "--since", "yesterday", "A", "B"),
        ("migrate", "A"),
        ("migrate", "A", "B", "--nonsense"),
        ("migrate", "A", "B", "--workers", "0"),
        ("nonsense",),
    ],
)
def test_wrong_usage_is_two_and_says_how_it_goes(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines()[0].startswith("Usage: trackbridge")
    assert result.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize("time", ["2024-05-01", "2024-05-01T12:30", "2024-05-01 12:30:01+02:00"])
def test_since_takes_a_day_or_a_moment(pair: tuple[str, str], time: str) -> None:
    assert run("migrate", *pair, "--since", time).exit_code == 0


def test_since_selects_by_start(pair: tuple[str, str]) -> None:
    assert document("ls", pair[0], "--since", "2024-05-01")["runs"] != []
    assert document("ls", pair[0], "--since", "2024-05-02")["runs"] == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_file_that_may_not_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "locked.db").write_bytes(b"SQLite format 3\x00")
    (tmp_path / "locked.db").chmod(0)
    assert "locked.db" in _one_line(run("ls", f"{tmp_path}/locked.db"))


# What names may do to a terminal


def _harmless(result: Result) -> None:
    seen = (result.stdout + result.stderr).replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert not re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", seen)


def test_names_in_a_store_cannot_steer_the_terminal() -> None:
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        tables: dict[str, Any] = {
            "runs": [{"name": EVIL, "extra": json.dumps({"damage": [EVIL]}), "notes": EVIL}],
            "params": [{"key": EVIL, "value": EVIL * 9, "type": "string"}],
            "tags": [{"key": EVIL, "value": EVIL}],
            "metrics": [*points(EVIL), *points("loss")],
        }
        seed(home, [sample(EVIL, project=EVIL, **tables)])
        addresses = f"memory:{home}", f"memory:{away}"
        (shown,) = (info["run_id"] for info in document("ls", addresses[0])["runs"])
        _harmless(run("ls", addresses[0]))
        _harmless(run("show", addresses[0], shown))
        _harmless(run("plan", *addresses))
        result = run("migrate", *addresses)
        _harmless(result)
        assert result.exit_code == 0
        edit(away, "metrics", native(away, "metrics")[1:])
        edit(away, "tags", [])
        result = run("verify", *addresses)
        _harmless(result)
        assert result.exit_code == 1


def test_names_in_errors_cannot_steer_the_terminal(pair: tuple[str, str], wrong: Faults) -> None:
    _harmless(run("show", pair[0], EVIL))
    _harmless(run("ls", EVIL))
    wrong.first("read_runs", IntegrityError(EVIL), IntegrityError(EVIL))
    result = run("migrate", pair[0].replace("memory", "faulty"), pair[1])
    assert result.exit_code == 1
    _harmless(result)
    wrong.first("list_runs", IntegrityError(EVIL))
    _harmless(run("ls", pair[0].replace("memory", "faulty")))


# Help


def test_every_command_has_help() -> None:
    for name, command in sorted(main.commands.items()):
        result = run(name, "--help")
        assert result.exit_code == 0
        assert result.stdout.startswith(f"Usage: trackbridge {name} ")
        assert (command.get_short_help_str() or "").endswith(".")
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help, f"{name} {option.name}"


def test_only_who_writes_to_what_may_be_a_database_is_offered_a_place_for_its_files() -> None:
    offering = {
        name
        for name, command in main.commands.items()
        if any("--artifact-root" in option.opts for option in command.params)
    }
    assert offering == {"migrate", "import"}


def test_every_command_and_option_stands_in_the_manual() -> None:
    manual = MANUAL.read_text(encoding="utf-8")
    for name, command in main.commands.items():
        assert re.search(rf"^## .*\b{name}\b", manual, re.MULTILINE), name
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.opts[0] in manual, f"{name} {option.opts[0]}"


def test_the_manual_names_no_command_that_there_is_not() -> None:
    manual = MANUAL.read_text(encoding="utf-8")
    headings = re.findall(r"^## ([a-z]\w*)\b", manual, re.MULTILINE)
    assert set(headings) <= set(main.commands)


def test_help_shows_examples_that_name_real_commands() -> None:
    text = run("--help").stdout
    named = set(re.findall(r"^ +trackbridge (\w+)", text, re.MULTILINE))
    assert named
    assert named <= set(main.commands)


def test_help_and_the_manual_name_stores_of_every_kind() -> None:
    [addresses] = re.findall(r"## Stores\n(.*)", MANUAL.read_text(encoding="utf-8"))
    shown = run("--help").stdout
    ours = {name for name, place in BUILTIN.items() if place.startswith("trackbridge_adapters.")}
    for scheme in ours - {IN_PROCESS}:
        assert f" {scheme}:" in shown
        assert f"`{scheme}:" in addresses


def test_the_version_is_printed() -> None:
    assert run("--version").stdout == f"trackbridge, version {__version__}\n"


# As a process


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT / "bridge"), str(ROOT / "adapters")]
    return subprocess.run(
        [sys.executable, "-m", "trackbridge", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_mistake_is_one_line_in_a_process_too(tmp_path: Path) -> None:
    done = process("migrate", f"{tmp_path}/nothing", f"archive:{tmp_path}/out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"Error: {tmp_path}/nothing: no such file or folder\n"


def test_an_archive_of_a_process_can_be_read_by_another(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    assert run("export", pair[0], str(tmp_path / "out")).exit_code == 0
    done = process("ls", str(tmp_path / "out"), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["runs"]) == 2
    done = process("verify", f"{tmp_path}/out", f"archive:{tmp_path}/out")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "nobody watches: no progress"


def test_output_survives_a_terminal_that_knows_no_unicode(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    with stores(NOTHING_CHANGES) as (home,):
        seed(home, [sample("ünï 漢字")])
        assert run("export", f"memory:{home}", str(tmp_path / "out")).exit_code == 0
    done = process("ls", str(tmp_path / "out"), PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr


def test_a_reader_that_stops_reading_is_no_error(pair: tuple[str, str], tmp_path: Path) -> None:
    run("export", pair[0], str(tmp_path / "out"))
    paths = [str(ROOT / "bridge"), str(ROOT / "adapters")]
    done = subprocess.run(
        f"{sys.executable} -m trackbridge show {tmp_path}/out run1 | head -c 1",
        shell=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr


def test_a_run_may_be_named_by_the_id_that_it_was_born_with(pair: tuple[str, str]) -> None:
    result = run("ls", pair[0], "--run", "run2", "--json")
    [found] = json.loads(result.stdout)["runs"]
    assert (found["run_id"], found["key"]) == ("x//p/run2", "x//p/run2")


def test_an_error_of_the_system_that_an_adapter_let_through_is_one_line(
    pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, query: object) -> object:
        raise OSError(28, "No space left on device", "/full/disk")

    monkeypatch.setattr(memory.MemoryStore, "list_runs", fail)
    assert "No space left on device" in _one_line(run("ls", pair[0]), 1)


def test_strict_says_why_the_exit_code_is_one() -> None:
    damage = json.dumps({"damage": ["torn"]})
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, [sample(runs=[{"name": "n", "extra": damage}])])
        result = run("migrate", f"memory:{home}", f"memory:{away}", "--strict")
    assert result.exit_code == 1
    assert "strict: what is damaged in the source makes the exit code 1" in result.stderr


def test_an_address_of_an_unknown_kind_names_the_known_ones(pair: tuple[str, str]) -> None:
    line = _one_line(run("migrate", pair[0], "josnl:out"))
    assert "no adapter is called 'josnl'; known: archive, " in line


def test_an_archive_is_not_made_under_the_name_of_another_store(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    line = _one_line(run("export", pair[0], f"{tmp_path}/big.db"))
    assert "is called like a store of mlflow" in line
    assert f"an archive is archive:{tmp_path}/big" in line


def test_of_an_archive_in_memory_it_is_said_that_it_ends(pair: tuple[str, str]) -> None:
    result = run("export", pair[0], "archive:memory://ends")
    assert result.exit_code == 0
    assert "archive:memory://ends is in the memory of this process" in result.stderr


@pytest.mark.parametrize("command", ["export", "import"])
def test_an_archive_that_is_another_store_is_named_with_the_command_for_it(command: str) -> None:
    addresses = ["memory:a", "mlflow:sqlite:///b.db"]
    result = run(command, *(addresses if command == "export" else addresses[::-1]))
    assert result.exit_code == 2
    assert "mlflow:sqlite:///b.db: no archive; `trackbridge export` makes one" in result.stderr
