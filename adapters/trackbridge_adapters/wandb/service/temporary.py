"""Errors of the system about files on their way elsewhere, in the project's terms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trackbridge.errors import ConfigError


@contextmanager
def temporary_errors() -> Iterator[None]:
    """Names of such files say nothing to a person; what is read meanwhile has errors of ours."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"a temporary file cannot be written ({error.strerror or error}); make room, or name"
            " another folder in TMPDIR"
        ) from error
