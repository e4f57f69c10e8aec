"""What goes wrong on purpose, a limit on requests, and a log of what was asked.

Operations are named as the client's documents name them (`UpsertBucket`, `Runs`, ...); what is no
GraphQL is called `file_stream`, `upload`, `download` (signed addresses), `file` (addresses that
need an API key).
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

How = Literal["status", "hang", "drop", "lose", "kill"]
"""`drop` closes the connection before anything is done, `lose` after it is done; `kill` takes half
of the body in and then the whole server down."""


@dataclass
class Fault:
    operation: str
    how: How = "status"
    times: int | None = 1  # None: for ever
    skip: int = 0  # so many pass first
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    about: str = ""  # a text that stands in the path or the variables


@dataclass(frozen=True)
class Request:
    """One that came in: `status` is None where it got no answer."""

    operation: str
    graphql: bool
    variables: Mapping[str, Any]
    status: int | None
    user: str | None
    at: float


class Faults:
    """The switches and the log of a server."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.page_limit: int | None = None
        """How many runs a page may have: a larger one is refused with 400."""
        self.released = threading.Event()
        self._faults: list[Fault] = []
        self._per_minute: int | None = None
        self._tokens = 0.0
        self._filled = 0.0
        self._lock = threading.Lock()

    def fail(self, operation: str, how: How = "status", **rest: Any) -> None:
        """From now on an operation fails, "*" every one; `rest` as in Fault."""
        with self._lock:
            self._faults.append(Fault(operation, how, **rest))

    def heal(self) -> None:
        """Nothing fails any more, and what hangs is let go."""
        with self._lock:
            self._faults.clear()
            self._per_minute = None
            self.released.set()
            self.released = threading.Event()

    def limit(self, per_minute: int | None, at_once: int | None = None) -> None:
        """A token bucket for GraphQL: so many requests a minute, so many of them at once."""
        with self._lock:
            self._per_minute = per_minute
            self._size = float(at_once or per_minute or 0)
            self._tokens, self._filled = self._size, time.monotonic()

    def next(self, operation: str, given: Mapping[str, Any]) -> Fault | None:
        """The fault that the request which just came in meets."""
        with self._lock:
            for fault in self._faults:
                if fault.operation not in (operation, "*") or fault.times == 0:
                    continue
                if fault.about and fault.about not in json.dumps(given):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    return None
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None

    def take(self) -> tuple[bool, dict[str, str]]:
        """Whether a GraphQL request is within the limit, and the headers that say so.

        The headers' names are documented by W&B (public docs, "rate limits"); units are inferred:
        requests left, and seconds until the next is let in.
        """
        with self._lock:
            if self._per_minute is None:
                return True, {}
            now, rate = time.monotonic(), self._per_minute / 60
            self._tokens = min(self._size, self._tokens + (now - self._filled) * rate)
            self._filled = now
            allowed = self._tokens >= 1
            self._tokens -= allowed
            wait = max(0, int((1 - self._tokens) / rate) + 1) if self._tokens < 1 else 0
            headers = {
                "RateLimit-Limit": str(self._per_minute),
                "RateLimit-Remaining": str(int(self._tokens)),
                "RateLimit-Reset": str(wait),
            }
            return allowed, headers if allowed else headers | {"Retry-After": str(wait)}

    def note(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)

    def forget(self) -> None:
        """Empties the log."""
        with self._lock:
            self.requests.clear()

    def counts(self) -> Counter[str]:
        """Requests by operation, refused ones among them."""
        with self._lock:
            return Counter(request.operation for request in self.requests)

    def graphql(self) -> int:
        """How many GraphQL requests came in."""
        with self._lock:
            return sum(request.graphql for request in self.requests)
