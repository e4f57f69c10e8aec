"""Progress of long work as bars on stderr."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


class Bars:
    """Points with their rate and time left, runs in the margin; silent where nobody watches."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: tqdm[Any] | None = None
        self._runs, self._total = 0, 0

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def begin(self, runs: int, points: int) -> None:
        self._total = runs
        self._bar = tqdm(
            total=points or None,
            desc=self._title,
            unit=" points",
            unit_scale=True,
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
            postfix=f"0/{runs} runs",
        )

    def points(self, count: int) -> None:
        if self._bar is not None:
            if self._bar.total is not None and self._bar.n + count > self._bar.total:
                self._bar.total = self._bar.n + count  # the listing only estimated
            self._bar.update(count)

    def runs(self, count: int) -> None:
        self._runs += count
        if self._bar is not None:
            self._bar.set_postfix_str(f"{self._runs}/{self._total} runs")
