"""A run whose processes began it at the same time has two folders, and is delivered as one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import trackbridge
from trackbridge.cli import main
from trackbridge.dual import place
from trackbridge.dual.delivery import Delivery
from trackbridge.dual.followed import Followed
from trackbridge.dual.forwarder import Forwarder
from trackbridge.dual.frames import NONE
from trackbridge.dual.parts import grouped, parts
from trackbridge.dual.starting import begin

KEY = ("mlflow", "", "p", "one")
BEGUN = 1_700_000_000_000_000
PATIENCE = 60.0


class Twice:
    """One run of two folders, to which two processes log at once."""

    def __init__(self, tmp_path: Path) -> None:
        self.root, self.store = tmp_path / "journals", f"archive:{tmp_path}/out"
        self.root.mkdir()
        self.runs, self.folders = list[Followed](), list[Path]()
        for second in ("1", "2"):
            self.runs.append(self.begin("me", tmp_path / second))
            [folder] = place.runs(tmp_path / second)
            self.folders.append(folder.rename(self.root / f"run-20260101_00000{second}-one.abcd"))

    def begin(self, by: str, root: Path) -> Followed:
        """A process begins it, whose forwarder is called so."""
        run, _ = begin("p", "one", (), root, key=KEY, kind=Followed)
        assert run._journal
        run._journal.header.update(by=by, to=[self.store])
        run.set(status="running", started=BEGUN)
        return run

    def log(self, values: int = 10) -> None:
        """Each logs a metric of its own."""
        for name, run in zip("ab", self.runs):
            for step in range(values):
                run.append((name,), (float(step),), (), NONE, step, BEGUN + step)

    def end(self) -> None:
        for run in self.runs:
            run.set(status="finished", ended=BEGUN + 1000)
            run.leave()


@pytest.fixture
def twice(tmp_path: Path) -> Twice:
    return Twice(tmp_path)


@pytest.fixture
def forwarder(twice: Twice) -> Iterator[Forwarder]:
    found = Forwarder(twice.root, "me", {})
    yield found
    for run in found._runs.values():
        found._drop(run.deliveries.values())


def cli(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_folders_of_one_run_are_found_from_each_other(twice: Twice) -> None:
    twice.log()
    for project, run_id, name in (("other", "one", "one"), ("p", "more-one", "more-one")):
        run, _ = begin(project, run_id, (), twice.root, kind=Followed)
        run.set(status="running")
        assert run.folder
        run.folder.rename(twice.root / f"run-20260101_000003-{name}.abcd")
    assert parts(twice.folders[0]) == parts(twice.folders[1]) == twice.folders
    assert sorted(map(len, grouped(place.runs(twice.root)))) == [1, 1, 2]


def test_the_folder_that_has_deliveries_comes_first(twice: Twice) -> None:
    (twice.folders[1] / place.DELIVERY).mkdir()
    assert parts(twice.folders[0]) == twice.folders[::-1]


@pytest.mark.parametrize("which", [0, 1])
def test_each_folder_delivers_the_whole_run(twice: Twice, which: int) -> None:
    twice.log()
    twice.end()
    Delivery(twice.folders[which], twice.store).close()
    assert trackbridge.verify(f"journal:{twice.root}", twice.store).equal == 1
    other = Delivery(twice.folders[1 - which], twice.store)
    assert other.is_done(other.info().fingerprint)


def test_replay_status_and_parity_have_it_once(twice: Twice) -> None:
    twice.log()
    twice.end()
    [told] = cli("replay", twice.root).splitlines()
    assert told == f"p/one to {twice.store}: delivered, 20 points"
    [shown] = json.loads(cli("parity", "--json", *twice.folders))["runs"]
    assert (shown["verdict"], shown["sent"], shown["arrived"]) == ("equal", 20, 20)
    [shown] = json.loads(cli("status", "--json", twice.folders[1]))["runs"]
    assert (shown["state"], shown["logged"]) == ("done", 20)
    [shown] = json.loads(cli("replay", "--json", twice.folders[1]))["runs"]
    assert shown["what"] == "skipped"


def test_a_forwarder_has_it_once_whenever_the_other_folder_comes(
    twice: Twice, forwarder: Forwarder
) -> None:
    """The folder that comes later may be the one that was begun first."""
    for number in (1, 0):
        twice.folders[number].rename(twice.root / f"aside-{number}")
    for number, going in ((1, 1), (0, 1)):
        (twice.root / f"aside-{number}").rename(twice.folders[number])
        assert forwarder.look() == (going, 1)
    twice.log()
    twice.end()
    [lane] = forwarder._lanes.values()
    [delivery] = lane._deliveries
    assert delivery.info().points == 20
    end = time.monotonic() + PATIENCE
    while forwarder.look() != (0, 0):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert trackbridge.verify(f"journal:{twice.root}", twice.store).equal == 1


def test_a_forwarder_leaves_a_run_that_another_one_has_taken_over(
    twice: Twice, forwarder: Forwarder
) -> None:
    assert forwarder.look() == (1, 1)
    other = twice.begin("another", twice.root)
    assert other.folder == twice.folders[0]
    assert forwarder.look() == (0, 0)


def test_a_folder_that_cannot_be_read_is_left_alone_and_holds_up_no_other(
    twice: Twice, forwarder: Forwarder
) -> None:
    (twice.folders[1] / "0.journal").symlink_to(twice.root / "nowhere")
    assert forwarder.look() == (1, 1)
