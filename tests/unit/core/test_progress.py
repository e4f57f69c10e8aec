"""A bar says how far runs have come, and not only how many of their points were read."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from trackbridge.errors import TransientError
from trackbridge.progress import Bars
from trackbridge.retry import persist


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    found = Terminal()
    monkeypatch.setattr("trackbridge.progress.sys", SimpleNamespace(stderr=found))
    return found


def last(terminal: Terminal, bars: Bars) -> str:
    assert bars._bar is not None
    bars._bar.refresh()
    return terminal.getvalue().rstrip().split("\r")[-1]


def test_a_bar_is_full_when_all_runs_are_done(terminal: Terminal) -> None:
    with Bars("migrate") as bars:
        bars.begin(4, 1000)
        bars.points(1000)
        assert "migrate:  50%|" in last(terminal, bars)
        assert "1.00k points read, 0/4 runs done]" in last(terminal, bars)
        bars.runs(1)
        assert "migrate:  62%|" in last(terminal, bars)
        bars.runs(3)
        assert "migrate: 100%|" in last(terminal, bars)


@pytest.mark.parametrize(("estimated", "read"), [(2000, 1000), (500, 1000), (0, 0)])
def test_a_bar_is_full_whatever_the_listing_said(
    terminal: Terminal, estimated: int, read: int
) -> None:
    with Bars("plan") as bars:
        bars.begin(2, estimated)
        bars.points(read)
        bars.runs(2)
        assert "plan: 100%|" in last(terminal, bars)


def test_a_stage_is_named_in_the_place_of_a_time_left_that_nobody_knows(terminal: Terminal) -> None:
    with Bars("migrate") as bars:
        bars.begin(4, 1000)
        bars.points(1000)
        assert "<" in last(terminal, bars)
        bars.stage("writing")
        assert "0/4 runs done, writing]" in last(terminal, bars)
        assert "<" not in last(terminal, bars)
        bars.runs(2)
        assert "<" in last(terminal, bars)
        assert "2/4 runs done]" in last(terminal, bars)


def test_messages_stand_above_a_bar(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    monkeypatch.setattr("sys.stderr", terminal)
    faults = [TransientError("no answer", retry_after=9)]

    def step() -> None:
        if faults:
            raise faults.pop()

    with Bars("migrate") as bars:
        bars.begin(1, 10)
        persist(step)
    assert "\rno answer (trying again in 9 s)\n" in terminal.getvalue()


def test_nothing_to_do_is_done(terminal: Terminal) -> None:
    with Bars("plan") as bars:
        bars.begin(0, 0)
        assert "plan: 100%|" in last(terminal, bars)


def test_nobody_is_shown_a_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars("plan") as bars:
        bars.begin(2, 10)
        bars.points(10)
        bars.runs(2)
    assert capsys.readouterr().err == ""
