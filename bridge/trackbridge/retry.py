"""The one policy for faults that may pass: idempotent steps are tried again, with patience."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from trackbridge.errors import LONGEST, TransientError

Result = TypeVar("Result")

ATTEMPTS = 6
LOGGER = logging.getLogger("trackbridge")
NOTICED = 1.0
"""Seconds of waiting that a person is told of."""
_backoff = wait_random_exponential(multiplier=0.5, max=60)


def _wait(state: RetryCallState) -> float:
    """The server's own wish where it has one, else exponential with jitter."""
    error = state.outcome.exception() if state.outcome else None
    wish = error.retry_after if isinstance(error, TransientError) else None
    return _backoff(state) if wish is None else wish


def _may_pass_soon(error: BaseException) -> bool:
    return isinstance(error, TransientError) and (error.retry_after or 0.0) <= LONGEST


def _say(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if state.upcoming_sleep >= NOTICED:
        LOGGER.warning("%s (trying again in %.0f s)", error, state.upcoming_sleep)


def persist(step: Callable[[], Result], attempts: int = ATTEMPTS) -> Result:
    """The result of `step`, which must be safe to repeat.

    The last `TransientError` is raised, or the first with which a server asks for a long pause.
    """
    policy = Retrying(
        stop=stop_after_attempt(attempts),
        wait=_wait,
        before_sleep=_say,
        retry=retry_if_exception(_may_pass_soon),
        reraise=True,
    )
    return policy(step)
