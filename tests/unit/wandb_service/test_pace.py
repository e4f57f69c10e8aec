from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from trackbridge_adapters.wandb.service import pace as paces
from trackbridge_adapters.wandb.service.pace import LONGEST, Pace, wish

HOST = "wandb.example.org:8443"
NOW = 1_800_000_000.0
NOTHING_LEFT = {"RateLimit-Limit": "1000", "RateLimit-Remaining": "0", "RateLimit-Reset": "30"}
SOME_LEFT = {"RateLimit-Limit": "1000", "RateLimit-Remaining": "5", "RateLimit-Reset": "30"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the file lies that all workers share, on every system."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _: tmp_path / "cache")
    return tmp_path / "cache" / "pace"


class Time:
    """Passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = NOW
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds

    def pace(self, per_second: float | None = None, host: str = HOST) -> Pace:
        return Pace(host, per_second, clock=lambda: self.now, sleep=self.sleep)

    def after(self, *paces: Pace) -> float:
        """The seconds that pass until each of these may go."""
        start = self.now
        for pace in paces:
            pace.wait()
        return round(self.now - start, 6)


@pytest.fixture
def time() -> Time:
    return Time()


# a limit that is known


def test_a_seconds_worth_goes_at_once_and_then_as_many_as_are_allowed(time: Time) -> None:
    pace = time.pace(5)
    assert time.after(*[pace] * 5) == 0
    assert time.after(*[pace] * 10) == 2


def test_rates_below_one_hold(time: Time) -> None:
    pace = time.pace(0.8)
    assert time.after(pace) == 0
    assert time.after(*[pace] * 4) == 5


def test_what_is_not_used_is_not_saved_up(time: Time) -> None:
    pace = time.pace(2)
    pace.wait()
    time.now += 1000
    assert time.after(*[pace] * 4) == 1


def test_all_workers_of_a_host_take_from_one_bucket(time: Time) -> None:
    workers = [time.pace(4) for _ in range(4)]
    assert time.after(*workers) == 0
    assert time.after(*workers, *workers) == 2


def test_hosts_have_buckets_of_their_own(time: Time) -> None:
    assert time.after(*[time.pace(1, f"host{number}") for number in range(9)]) == 0


WAITING = """
import sys
from trackbridge_adapters.wandb.service.pace import Pace

def wait(host, now, times):
    pace = Pace(host, 100, clock=lambda: now, sleep=lambda _: sys.exit("had to wait"))
    for _ in range(times):
        pace.wait()
"""
"""At a clock that stands still."""


@pytest.mark.skipif(sys.platform != "linux", reason="the folder is moved with XDG_CACHE_HOME")
def test_processes_and_threads_share_a_bucket_and_lose_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    code = f"{WAITING}\nwait({HOST!r}, {NOW!r}, 30)"
    workers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    here: dict[str, Any] = {}
    exec(WAITING, here)
    threads = [threading.Thread(target=here["wait"], args=(HOST, NOW, 10)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]
    assert Pace(HOST, 100)._read().taken == 90


# what the server says


def test_without_a_limit_nothing_is_slowed_down_or_written(time: Time, cache: Path) -> None:
    pace = time.pace()
    assert time.after(*[pace] * 1000) == 0
    pace.heed({}, 200)
    pace.heed(SOME_LEFT, 200)
    assert not cache.exists()


def test_where_nothing_is_left_all_workers_pause_until_the_reset(time: Time) -> None:
    first, second = time.pace(), time.pace()
    assert first.heed(NOTHING_LEFT, 200) is None
    assert time.after(second) == 30
    assert time.after(time.pace(host="another")) == 0


def test_after_a_pause_one_goes_and_the_others_when_it_was_told_that_there_is_enough(
    time: Time,
) -> None:
    first, second = time.pace(), time.pace()
    first.heed(NOTHING_LEFT, 200)
    first.wait()
    assert 0 < time.after(second) <= 1
    first.heed(SOME_LEFT, 200)
    assert time.after(*[first, second] * 50) == 0


def test_a_bucket_that_gives_one_at_a_time_refuses_nobody(time: Time) -> None:
    """A server whose reset says when the next request is let in, and eight workers."""
    let_in = NOW
    workers = [time.pace() for _ in range(8)]

    def ask(worker: Pace) -> bool:
        nonlocal let_in
        worker.wait()
        allowed = time.now >= let_in - 1e-6
        let_in = time.now + 2 if allowed else let_in
        headers = {"RateLimit-Remaining": "0", "RateLimit-Reset": str(let_in - time.now)}
        worker.heed(headers, 200 if allowed else 429)
        return allowed

    assert all(ask(worker) for _ in range(10) for worker in workers)
    assert time.now == pytest.approx(NOW + 79 * 2)


def test_a_refused_request_gives_the_wish_and_closes_the_gate(time: Time) -> None:
    pace = time.pace()
    assert pace.heed({"Retry-After": "7"}, 429) == 7
    assert time.after(time.pace()) == 7


def test_a_server_that_says_nothing_of_what_is_left_is_asked_ever_quicker(time: Time) -> None:
    pace = time.pace()
    pace.heed({"Retry-After": "7"}, 429)
    waits = []
    for _ in range(100):
        waits.append(time.after(pace))
        pace.heed({}, 200)
    assert waits[0] == 7
    assert waits[1:] == sorted(waits[1:], reverse=True)
    assert waits[-1] == 0


def test_a_server_that_refuses_again_is_left_alone_for_longer(time: Time) -> None:
    pace = time.pace()
    waits = []
    for _ in range(5):
        assert pace.heed({}, 429) is None
        waits.append(time.after(pace))
    assert waits == [0.5, 1, 2, 4, 8]


def test_a_gate_that_somebody_left_closed_long_ago_is_open(time: Time) -> None:
    pace = time.pace()
    for _ in range(8):
        pace.heed({}, 429)
        pace.wait()
    time.now += 2 * LONGEST
    assert time.after(*[pace] * 100) == 0
    pace.heed({}, 429)
    assert time.after(pace) == 0.5


def test_workers_that_are_refused_together_count_as_one(time: Time) -> None:
    workers = [time.pace() for _ in range(16)]
    for worker in workers:
        worker.heed({}, 429)
    assert time.after(workers[0]) == 0.5


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"Retry-After": "3", "RateLimit-Reset": "9"}, 3),
        (429, {"retry-after": "0.5"}, 0.5),
        (429, {"RateLimit-Reset": "9"}, 9),
        (429, {}, None),
        (429, {"Retry-After": "soon"}, None),
        (429, {"Retry-After": "nan"}, None),
        (429, {"Retry-After": "-5"}, 0),
        (429, {"Retry-After": "86400"}, 86400),
        (429, {"Retry-After": formatdate(NOW + 90, usegmt=True)}, 90),
        (429, {"Retry-After": formatdate(NOW - 90, usegmt=True)}, 0),
        (
            429,
            {
                "Retry-After": formatdate(NOW - 3600, usegmt=True),
                "Date": formatdate(NOW - 3620, usegmt=True),
            },
            20,
        ),
        (503, {"Retry-After": "3"}, 3),
        (503, {"RateLimit-Reset": "9"}, None),
        (503, {}, None),
        (500, {"Retry-After": "3"}, None),
        (200, {"Retry-After": "3"}, None),
    ],
)
def test_the_wish_of_a_server_is_read(
    status: int, headers: dict[str, str], seconds: float | None
) -> None:
    assert wish(headers, status, NOW) == seconds


def test_a_server_that_is_down_slows_nobody_down(time: Time) -> None:
    pace = time.pace()
    pace.heed({}, 503)
    assert time.after(pace) == 0


def test_a_pause_holds_for_workers_with_a_limit_too(time: Time) -> None:
    pace = time.pace(100)
    pace.wait()
    pace.heed(NOTHING_LEFT, 200)
    assert time.after(pace) == 30


# files and clocks that lie


def _lies() -> Iterator[bytes]:
    yield from (b"", b"x", b"x" * 1000, struct.pack("<5d", *[float("nan")] * 5))
    for value in (1e308, -1e308, NOW + 1e6, float("inf")):
        yield from (
            struct.pack("<5d", *[value if index == place else NOW for index in range(5)])
            for place in range(5)
        )


@pytest.mark.parametrize("lie", [*_lies()])
@pytest.mark.parametrize("per_second", [None, 10.0])
def test_a_file_that_lies_keeps_nobody_longer_than_the_limit(
    time: Time, cache: Path, lie: bytes, per_second: float | None
) -> None:
    pace = time.pace(per_second)
    pace.heed(NOTHING_LEFT, 200)
    files = [path for path in cache.iterdir() if path.suffix != ".lock"]
    files[0].write_bytes(lie)
    assert time.after(pace) <= LONGEST
    pace.heed(SOME_LEFT, 200)
    assert time.after(*[pace] * 10) <= 1


@pytest.mark.parametrize("jump", [-1e6, 1e6])
@pytest.mark.parametrize("per_second", [None, 10.0])
def test_a_clock_that_jumps_does_no_harm(time: Time, jump: float, per_second: float | None) -> None:
    pace = time.pace(per_second)
    pace.wait()
    pace.heed(NOTHING_LEFT, 200)
    time.now += jump
    assert time.after(pace) <= 1


def test_without_a_folder_to_share_each_worker_keeps_its_own_pace(
    time: Time, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.parent.write_text("in the way")
    pace = time.pace(2)
    assert time.after(*[pace] * 6) == 2
    pace.heed(NOTHING_LEFT, 200)
    assert time.after(pace) == 30


def test_a_lock_that_is_never_let_go_stops_nobody(
    time: Time, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir(parents=True)
    monkeypatch.setattr(paces, "PATIENCE", 0.05)
    pace, other = time.pace(2), time.pace(2)
    with other._lock:
        assert time.after(*[pace] * 4) == 1


def test_nobody_sleeps_with_the_lock(time: Time, cache: Path) -> None:
    pace, other = time.pace(1), time.pace(1)

    def sleep(seconds: float) -> None:
        with other._lock.acquire(blocking=False):
            time.sleep(seconds)

    pace._sleep = sleep
    assert time.after(pace, pace) == 1
