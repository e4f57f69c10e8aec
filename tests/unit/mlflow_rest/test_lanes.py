"""Requests of a lane are made in order, those of several at a time."""

from __future__ import annotations

import threading
import time
from collections import defaultdict

import pytest

from trackbridge_adapters.mlflow.rest_log import WAITING, Lanes
from trackbridge_adapters.mlflow.rest_server import WRITING


def test_a_lane_keeps_its_order() -> None:
    lanes, seen = Lanes(), defaultdict(list)
    for number in range(3 * WAITING):
        lane = number % 5
        lanes.put(lane, lambda lane=lane, number=number: seen[lane].append(number))  # type: ignore[misc]
    lanes.close()
    assert dict(seen) == {lane: list(range(lane, 3 * WAITING, 5)) for lane in range(5)}


def test_as_many_lanes_as_allowed_work_at_a_time() -> None:
    lanes, meeting = Lanes(), threading.Barrier(WRITING)
    for lane in range(WRITING):
        lanes.put(lane, lambda: meeting.wait(30))
    lanes.close()


def test_one_slow_lane_holds_up_no_other() -> None:
    lanes, slow = Lanes(), threading.Event()
    lanes.put("slow", lambda: slow.wait(30))
    fast = threading.Event()
    for number in range(2 * WAITING):
        lanes.put(number % 3, fast.set if number == 2 * WAITING - 1 else lambda: None)
    assert fast.wait(30)
    slow.set()
    lanes.close()


def test_after_an_error_nothing_more_is_done() -> None:
    lanes, done = Lanes(), []

    def fail() -> None:
        raise ValueError("no")

    lanes.put("a", fail)
    while lanes._error is None:
        time.sleep(0.001)
    for number in range(2 * WAITING):
        lanes.put(number, lambda: done.append(1))
    with pytest.raises(ValueError, match="no"):
        lanes.close()
    assert not done
