"""Deliveries of several runs to one back end: what is wrong with one holds up no other."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import trackbridge
from trackbridge import cli_dual
from trackbridge.adapter import Writer
from trackbridge.cli import main
from trackbridge.dual import delivery as module
from trackbridge.dual import spawn, standing
from trackbridge.dual.delivery import Delivery, Lane
from trackbridge.dual.replay import replay
from trackbridge.dual.starting import start
from trackbridge.dual.status import status
from trackbridge.errors import ConfigError, IntegrityError, TransientError

PATIENCE = 60.0


class Watched(Delivery):
    """A delivery whose rounds are counted, or fail; it is written whole when that is allowed."""

    def __init__(self, folder: Path, store: str) -> None:
        super().__init__(folder, store)
        self.rounds = 0
        self.error: Exception | None = None
        self.closing, self.may_close = threading.Event(), threading.Event()

    def round(self, writer: Writer) -> None:
        self.rounds += 1
        if self.error:
            raise self.error

    def close(self) -> None:
        self.closing.set()
        assert self.may_close.wait(PATIENCE)
        super().close()


@pytest.fixture
def lane(tmp_path: Path) -> Iterator[Lane]:
    found = Lane(f"archive:{tmp_path}/out")
    yield found
    for delivery in found._deliveries:
        found.drop(delivery)


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Watched, Watched]:
    """Two runs on their way to one store."""
    monkeypatch.setattr(module, "ROUND_SECONDS", 0.01)
    return watched(tmp_path, "one"), watched(tmp_path, "two")


def watched(tmp_path: Path, run_id: str) -> Watched:
    with start("p", run_id=run_id, folder=tmp_path / "journals") as run:
        run.log({"loss": 1.0})
        assert run.folder
        folder = run.folder
    return Watched(folder, f"archive:{tmp_path}/out")


def wait(until: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_run_that_is_written_whole_for_long_stops_no_rounds_of_others(
    lane: Lane, pair: tuple[Watched, Watched]
) -> None:
    long, other = pair
    long.has_ended = True
    lane.add(long)
    assert long.closing.wait(PATIENCE)
    lane.add(other)
    wait(lambda: other.rounds > 3)
    long.may_close.set()
    wait(lambda: long.standing.state == "done")


def test_a_run_whose_rounds_fail_stops_no_rounds_of_others_and_has_pauses(
    lane: Lane, pair: tuple[Watched, Watched]
) -> None:
    odd, other = pair
    odd.error = ValueError("of this run alone")
    lane.add(odd)
    lane.add(other)
    wait(lambda: other.rounds > 10)
    assert odd.standing.error.startswith("ValueError: of this run alone") and odd.rounds < 3


def test_a_back_end_that_does_not_answer_is_asked_once_a_round(
    lane: Lane, pair: tuple[Watched, Watched]
) -> None:
    one, other = pair
    one.error = TransientError("nobody there")
    lane.add(one)
    lane.add(other)
    wait(lambda: one.rounds)
    assert not other.rounds
    one.error = None
    wait(lambda: other.rounds)


def test_what_a_back_end_refuses_is_a_line_of_the_log_for_each_reason(
    lane: Lane, pair: tuple[Watched, Watched], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = pair
    for delivery in pair:
        delivery.error = ConfigError("403: may not write there")
        lane.add(delivery)
    wait(lambda: one.rounds and other.rounds)
    one.error = ConfigError("400: no such name")
    one.pause.end()
    wait(lambda: one.standing.error.startswith("400"))
    other.error, rounds = TransientError("nobody there"), other.rounds
    other.pause.end()
    wait(lambda: other.rounds > rounds)
    wait(lambda: other.standing.error == "nobody there")
    to = f"to {lane.store}: "
    named = one.folder.name, one.folder.name
    reasons = "403: may not write there", "400: no such name"
    assert caplog.messages == [f"{run} {to}{why}" for run, why in zip(named, reasons)]


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_back_end_that_never_answers_is_told_while_it_is_waited_for(
    has_ended: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setattr(spawn, "is_tended", lambda told: True)
    monkeypatch.setattr(spawn, "forwarder", lambda *_: None)
    monkeypatch.setattr(cli_dual, "SLOW_SECONDS", 0.0)
    journals = tmp_path / "journals"
    with socket.create_server(("127.0.0.1", 0)) as server:
        store = f"mlflow:http://127.0.0.1:{server.getsockname()[1]}"
        run = start("p", run_id="one", folder=journals, to=store)
        run.log({"loss": 1.0})
        assert run.folder
        [before] = status([journals])
        assert before.waiting is None
        delivery, lane = Delivery(run.folder, store), Lane(store)
        delivery.has_ended = has_ended
        lane.add(delivery)
        accepted, _ = server.accept()
        wait(lambda: standing.load(delivery.folder, store).asked)
        [told] = status([journals])
        assert told.waiting is not None and told.error == ""
        shown = CliRunner().invoke(main, ["status", str(journals)])
        assert f"p/one to {store}: waiting for an answer for " in shown.stderr
        accepted.close()
    lane.drop(delivery)
    wait(lambda: delivery.standing.error)
    run.finish(wait=0)
    [after] = status([journals])
    assert after.waiting is None and after.error


def test_another_run_of_that_id_is_not_written_over_though_it_began_in_the_same_second(
    tmp_path: Path,
) -> None:
    store, folders = f"archive:{tmp_path}/out", []
    for number in range(2):
        with start("p", run_id="same", folder=tmp_path / f"journals{number}") as run:
            run.log({"loss": float(number)})
            assert run.folder
            folders.append(run.folder)
    Delivery(folders[0], store).close()
    with pytest.raises(IntegrityError, match="another run of this project and id"):
        Delivery(folders[1], store).close()
    Delivery(folders[0], store).close()
    assert trackbridge.verify(f"journal:{tmp_path}/journals0", store).holds


def test_a_run_that_was_deleted_in_its_store_is_delivered_again(tmp_path: Path) -> None:
    one = watched(tmp_path, "one")
    journals = [tmp_path / "journals"]
    assert [each.what for each in replay(journals, [one.store])] == ["delivered"]
    assert [each.what for each in replay(journals, [one.store])] == ["skipped"]
    shutil.rmtree(tmp_path / "out")
    assert [each.what for each in replay(journals, [one.store])] == ["delivered"]
    assert trackbridge.verify(f"journal:{tmp_path}/journals", one.store).holds


def test_a_store_that_was_named_before_is_owed_what_it_lacks(tmp_path: Path) -> None:
    one = watched(tmp_path, "one")
    one.fail(TransientError("nobody there"))
    journals = [tmp_path / "journals"]
    with start("p", run_id="one", folder=journals[0], resume=True) as run:
        run.log({"loss": 2.0})
    assert [each.store for each in status(journals)] == [one.store]
    assert [(each.store, each.what) for each in replay(journals)] == [(one.store, "delivered")]
    assert [(each.store, each.state) for each in status(journals)] == [(one.store, "done")]


def test_a_replay_waits_for_no_forwarder_that_has_done_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = watched(tmp_path, "one")
    journals, stores = [tmp_path / "journals"], [one.store, f"archive:{tmp_path}/other"]
    assert [each.what for each in replay(journals, stores[:1])] == ["delivered"]
    monkeypatch.setattr(spawn, "is_tended", lambda told: True)
    assert [each.what for each in replay(journals, stores)] == ["skipped", "waiting"]
