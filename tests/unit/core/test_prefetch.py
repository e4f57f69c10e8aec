"""Reading ahead gives the same items, hands errors over and leaves no thread behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from trackbridge.prefetch import DEPTH, prefetched, together


def _threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "trackbridge-prefetch"]


@pytest.fixture(autouse=True)
def _none_left() -> Iterator[None]:
    yield
    assert _threads() == []


def test_items_come_in_order() -> None:
    with prefetched(iter(range(100))) as items:
        assert list(items) == list(range(100))


def test_none_and_empty_are_items_like_others() -> None:
    with prefetched(iter([None, "", 0])) as items:
        assert list(items) == [None, "", 0]
    with prefetched(iter([])) as items:
        assert list(items) == []


@pytest.mark.parametrize("error", [ValueError("torn"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_is_raised_where_its_item_would_have_come(error: BaseException) -> None:
    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise error

    taken = []
    with prefetched(failing()) as items, pytest.raises(type(error)) as caught:
        for item in items:
            taken.append(item)
    assert taken == [1, 2]
    assert caught.value is error


def test_an_error_of_the_consumer_ends_the_thread() -> None:
    with pytest.raises(ZeroDivisionError), prefetched(iter(range(10**9))) as items:
        next(items)
        raise ZeroDivisionError


def test_leaving_early_ends_the_thread_though_nobody_takes_its_items() -> None:
    with prefetched(iter(range(10**9))) as items:
        assert next(items) == 0
    with prefetched(iter(range(10**9))):
        pass


def test_an_error_that_nobody_waits_for_ends_the_thread() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError

    with prefetched(failing()) as items:
        next(items)


def test_it_reads_ahead_but_not_without_bound() -> None:
    taken = []
    reached = threading.Event()

    def counted() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            if number == DEPTH:
                reached.set()
            yield number

    with prefetched(counted()) as items:
        assert reached.wait(timeout=30), "nothing was read ahead"
        next(items)
        assert len(taken) <= DEPTH + 3


# Many at a time


@pytest.mark.parametrize("count", [1, 2, 8])
def test_work_on_many_items_gives_each_with_its_result_in_order(count: int) -> None:
    with together(lambda item: item * item, range(100), count) as done:
        assert list(done) == [(item, item * item) for item in range(100)]


def test_so_many_items_are_worked_on_at_once_and_no_more() -> None:
    together_now = threading.Barrier(4, timeout=20)
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(40):
            taken.append(item)
            yield item

    def meet(item: int) -> int:
        together_now.wait()
        return item

    with together(meet, items(), 4) as done:
        for (item, _), number in zip(done, range(40)):
            assert item == number
            assert len(taken) <= number + 2 * 4


@pytest.mark.parametrize("count", [1, 4])
def test_an_error_comes_in_the_place_of_its_item_and_ends_all_work(count: int) -> None:
    begun: list[int] = []

    def fail(item: int) -> int:
        begun.append(item)
        if item == 10:
            raise ValueError("ten")
        return item

    seen = []
    with pytest.raises(ValueError, match="ten"), together(fail, range(100), count) as done:
        for item, _ in done:
            seen.append(item)
    assert seen == list(range(10))
    assert len(begun) <= 11 + 2 * count
    assert not [t for t in threading.enumerate() if t.name.startswith("trackbridge-files")]
