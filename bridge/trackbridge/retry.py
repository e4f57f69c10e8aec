"""The one policy for faults that may pass: idempotent steps are tried again, with patience."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from trackbridge.errors import TransientError

Result = TypeVar("Result")

ATTEMPTS = 6
LOGGER = logging.getLogger("trackbridge")
LONGEST = 300.0
"""Seconds that nobody waits longer than at a time, whatever a server wishes."""
NOTICED = 1.0
"""Seconds of waiting that a person is told of."""
_backoff = wait_random_exponential(multiplier=0.5, max=60)


def _wait(state: RetryCallState) -> float:
    """The server's own wish where it has one, in reason, else exponential with jitter."""
    error = state.outcome.exception() if state.outcome else None
    wish = error.retry_after if isinstance(error, TransientError) else None
    return _backoff(state) if wish is None else min(wish, LONGEST)


def _say(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if state.upcoming_sleep >= NOTICED:
        LOGGER.warning("%s (trying again in %.0f s)", error, state.upcoming_sleep)


def persist(step: Callable[[], Result], attempts: int = ATTEMPTS) -> Result:
    """The result of `step`, which must be safe to repeat; the last `TransientError` is raised."""
    policy = Retrying(
        stop=stop_after_attempt(attempts),
        wait=_wait,
        before_sleep=_say,
        retry=retry_if_exception_type(TransientError),
        reraise=True,
    )
    return policy(step)
