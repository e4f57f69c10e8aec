"""Console lines of a run that was brought to a server, told from those that came later.

The client sends lines of ours as they are (0.31) or as a terminal shows them, and leaves out some
that are blank: which ones is another matter in each version (measured, 0.27 and 0.31). So lines
are counted in which something is to be seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from trackbridge_adapters.wandb.service.pages import Node

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_MOVES = re.compile(r"\x1b\[[0-9;?]*[A-Za-ln-z]|\x1b[^\[]|\b")
"""What moves the cursor of a terminal, so that lines become others."""


def shown(place: Path) -> list[str]:
    """The lines of a file that go to the page of logs; none that cannot be seen comes last."""
    if not place.is_file():
        return []
    with place.open(encoding="utf-8", errors="replace", newline="\n") as file:
        lines = [_plain(line) for line in file]
    while lines and not _is_seen(lines[-1]):
        lines.pop()
    return lines


def count(lines: Iterable[str]) -> int:
    """By how many lines those of ours are known."""
    return sum(map(_is_seen, lines))


def later(lines: Iterable[Node], ours: int) -> Iterator[Node]:
    """The lines that came after so many of ours."""
    for node in lines:
        if ours:
            ours -= _is_seen(node["line"])
        else:
            yield node


def _plain(line: str) -> str:
    """A line without its end, as it was when its last part was written over it."""
    return _MOVES.sub("", line.rstrip("\r\n")).rpartition("\r")[2]


def _is_seen(line: str) -> bool:
    return any(c.isprintable() and not c.isspace() for c in _COLOUR.sub("", line))
