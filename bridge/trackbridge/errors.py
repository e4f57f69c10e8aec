"""The error tree: what a user or a retry policy has to tell apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PASSWORD = re.compile(r"(://[^\s:/?#@]*):(?!\d*(?:[/\s]|$))\S*@")
"""In a URL; digits alone are a port. All up to the last `@`, for signs that should be escaped."""
_OPTION = re.compile(r"([?&;][^=&;\s]*(?:pass|secret|token)[^=&;\s]*=)[^&;:\s]+", re.IGNORECASE)


LONGEST = 300.0
"""Seconds that nobody waits longer than at a time: a server that wishes more is an error."""
BRIEF = 60.0
"""Seconds; a server that wishes a longer pause is told of, and not waited for within a request."""


def without_secrets(text: str) -> str:
    """A text in which URLs have no passwords, as a person may read it."""
    return _OPTION.sub(r"\1***", _PASSWORD.sub(r"\1@", text))


class BridgeError(Exception):
    """Everything that Trackbridge raises on purpose.

    The message is one line for a person: the thing, the reason, the way out; without secrets.
    """

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


class ConfigError(BridgeError):
    """The call cannot work as written: wrong address, option, version or missing extra."""


class NotFoundError(BridgeError):
    """A store, project, run or file that was named does not exist."""


class UnsupportedError(BridgeError):
    """The adapter does not claim the capability that was asked of it."""


class IntegrityError(BridgeError):
    """Data is damaged, or what was read back is not what was written."""


class DuplicatePointsError(IntegrityError):
    """The target holds a point only once and was given it twice.

    The engine answers by writing the chunk again with repeated points kept in the sidecar.
    """


class TransientError(BridgeError):
    """A fault that may pass. `retry_after` is the server's own wish in seconds, if it had one."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        if retry_after is not None and retry_after > BRIEF:
            message = f"{message} (asks to be left alone for {retry_after:,.0f} s)"
        super().__init__(message)
        self.retry_after = retry_after


@contextmanager
def temporary_errors(_: Path | None = None) -> Iterator[None]:
    """Turns errors of the system about files on their way elsewhere into one for a person.

    The names of such files, as of the one that may be given, say nothing.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"a temporary file cannot be written ({error.strerror or error}); make room, or name"
            " another folder in TMPDIR"
        ) from error
