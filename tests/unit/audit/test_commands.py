"""The commands for audits, as people call them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from unit.archive.archives import runs, write

from trackbridge.audit.keys import PASSPHRASE
from trackbridge.cli import main


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PASSPHRASE, raising=False)
    write(tmp_path / "archive", runs("ab"))


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["audit", *arguments])


def test_an_archive_is_sealed_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("keygen", "k", "--no-passphrase").exit_code == 0
    assert stat.S_IMODE(Path("k").stat().st_mode) == 0o600
    done = call("seal", "archive", "--key", "k")
    assert done.exit_code == 0 and done.output.startswith(
        "archive: sealed: seal 1, 2 runs, 10 files, "
    )
    again = json.loads(call("seal", "archive:archive", "--key", "k", "--json").stdout)
    assert (again["generation"], again["new"]) == (1, False)
    known = call("check", "archive", "--public-key", "k.pub")
    assert known.exit_code == 0 and "as it was sealed: " in known.stdout
    assert "--public-key" not in known.output
    unknown = call("check", "archive")
    assert unknown.exit_code == 0 and "name the keys that you believe" in unknown.output
    (Path("archive") / "README.txt").write_text("mine")
    found = call("check", "archive", "--json")
    assert found.exit_code == 1
    [problem] = json.loads(found.stdout)["problems"]
    assert problem["path"] == "README.txt" and problem["what"].startswith("was changed")


def test_a_passphrase_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    told = call("keygen", "k")
    assert told.exit_code == 2
    assert told.output == (
        f"Error: k: no passphrase; set {PASSPHRASE}; --no-passphrase makes one without\n"
    )
    assert not Path("k").exists() and not Path("k.pub").exists()
    monkeypatch.setenv(PASSPHRASE, "größe")
    assert call("keygen", "k").exit_code == 0
    assert b"ENCRYPTED" in Path("k").read_bytes()
    assert call("seal", "archive", "--key", "k").exit_code == 0
    monkeypatch.setenv(PASSPHRASE, "wrong")
    wrong = call("seal", "archive", "--key", "k")
    assert wrong.exit_code == 2 and "not its passphrase" in wrong.output
    monkeypatch.delenv(PASSPHRASE)
    assert (
        call("seal", "archive", "--key", "k").output
        == f"Error: k: no passphrase; set {PASSPHRASE}\n"
    )


def test_keys_are_never_replaced() -> None:
    assert call("keygen", "k", "--no-passphrase").exit_code == 0
    before = Path("k").read_bytes(), Path("k.pub").read_bytes()
    again = call("keygen", "k", "--no-passphrase")
    assert again.exit_code == 2 and again.output.startswith("Error: k is there already")
    assert (Path("k").read_bytes(), Path("k.pub").read_bytes()) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["seal", "archive", "--key", "nokey"],
            "nokey: No such file or directory; `trackbridge audit keygen nokey` makes a key",
        ),
        (["seal", "archive", "--key", "archive/trackbridge.json"], "no private key in PEM form"),
        (["seal", "nowhere", "--key", "k"], "no archive there"),
        (["keygen", "nowhere/k", "--no-passphrase"], "nowhere/k: No such file or directory"),
        (["check", "nowhere"], "no archive there"),
        (["check", "archive", "--public-key", "k"], "k is no public key"),
        (["check", "archive", "--public-key", "nokey"], "nokey: No such file or directory"),
    ],
)
def test_a_mistake_gets_one_line(arguments: list[str], said: str) -> None:
    call("keygen", "k", "--no-passphrase")
    done = call(*arguments)
    assert done.exit_code == 2 and said in done.output
    assert done.output.startswith("Error: ") and done.output.count("\n") == 1


def test_an_archive_that_is_not_sealed_says_so() -> None:
    done = call("check", "archive")
    assert (done.exit_code, done.stdout) == (
        1,
        "unsealed: `trackbridge audit seal` seals an archive\n",
    )
