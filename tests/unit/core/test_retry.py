"""Faults that may pass are tried again with patience, others are not."""

from __future__ import annotations

import pytest

from trackbridge.errors import ConfigError, IntegrityError, NotFoundError, TransientError
from trackbridge.retry import ATTEMPTS, LONGEST, persist


class Step:
    def __init__(self, *errors: Exception) -> None:
        self.errors, self.calls = list(errors), 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_a_step_that_works_is_done_once(waits: list[float]) -> None:
    step = Step()
    assert (persist(step), step.calls, waits) == ("done", 1, [])


def test_a_fault_that_passes_is_not_noticed(waits: list[float]) -> None:
    step = Step(TransientError("429"), TransientError("503"))
    assert (persist(step), step.calls, len(waits)) == ("done", 3, 2)


def test_the_server_says_how_long_to_wait(waits: list[float]) -> None:
    persist(Step(TransientError("429", retry_after=0.0), TransientError("429", retry_after=17)))
    assert waits == [0.0, 17]


def test_waits_grow_and_are_bounded(waits: list[float]) -> None:
    persist(Step(*[TransientError("x")] * 40), attempts=41)
    assert len(waits) == 40
    assert all(0 <= wait <= 60 for wait in waits)
    assert max(waits[:3]) <= 2
    assert max(waits) > 2


def test_nobody_waits_as_long_as_a_server_may_wish(waits: list[float]) -> None:
    step = Step(TransientError("429", LONGEST), TransientError("429", retry_after=3600))
    with pytest.raises(TransientError, match="asks to be left alone for 3,600 s"):
        persist(step)
    assert (step.calls, waits) == (2, [LONGEST])


def test_a_long_wish_is_in_the_words_of_the_error() -> None:
    assert str(TransientError("busy", 3600)) == "busy (asks to be left alone for 3,600 s)"
    assert str(TransientError("busy", 7)) == "busy"


def test_the_last_error_is_raised_after_the_last_attempt(waits: list[float]) -> None:
    errors = [TransientError(str(number)) for number in range(ATTEMPTS)]
    step = Step(*errors)
    with pytest.raises(TransientError) as caught:
        persist(step)
    assert (str(caught.value), step.calls) == (str(ATTEMPTS - 1), ATTEMPTS)


@pytest.mark.parametrize("kind", [ConfigError, IntegrityError, NotFoundError, ValueError])
def test_other_errors_are_raised_at_once(kind: type[Exception], waits: list[float]) -> None:
    step = Step(kind("no"))
    with pytest.raises(kind):
        persist(step)
    assert (step.calls, waits) == (1, [])


def test_waits_that_a_person_notices_are_told(
    waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    persist(Step(TransientError("busy", retry_after=0.5), TransientError("busy", retry_after=9)))
    assert [record.getMessage() for record in caplog.records] == ["busy (trying again in 9 s)"]
