"""Console output as a terminal shows it: what was overwritten is gone, colours are left out."""

from __future__ import annotations

import re
from collections.abc import Iterable

WIDTH = 1000
"""Columns that the cursor can be moved over where nothing is written yet."""

_PIECE = re.compile(r"\x1b\[([0-9;?]*)[ -/]*([@-~])|\x1b.?|[\r\n\b]|[^\x1b\r\n\b]+", re.DOTALL)


def shown(texts: Iterable[str]) -> str:
    """The lines that a very wide and long terminal shows in the end, each with a line end.

    Understood are carriage return, backspace and the control sequences of progress bars (ECMA-48:
    CUU, CUD, CUF, CUB, CHA, EL); other sequences change no text and are left out.
    """
    screen = _Screen()
    for piece in _PIECE.finditer("".join(texts)):
        screen.take(piece[0], piece[1], piece[2])
    return screen.text()


class _Screen:
    """Lines, and where the next character goes."""

    def __init__(self) -> None:
        self._lines = [""]
        self._row = self._column = 0

    def take(self, text: str, numbers: str | None, command: str | None) -> None:
        if command is not None:
            first = (numbers or "").split(";")[0]
            self._control(command, int(first) if first.isdigit() else None)
        elif text == "\n":
            self._go(self._row + 1, 0)
        elif text == "\r":
            self._column = 0
        elif text == "\b":
            self._column = max(0, self._column - 1)
        elif not text.startswith("\x1b"):
            line = self._lines[self._row].ljust(self._column)
            end = self._column + len(text)
            self._lines[self._row] = line[: self._column] + text + line[end:]
            self._column = end

    def text(self) -> str:
        lines = [line.rstrip() for line in self._lines]
        while lines and not lines[-1]:
            lines.pop()
        return "".join(f"{line}\n" for line in lines)

    def _control(self, command: str, number: int | None) -> None:
        count = number or 1
        if command == "A":
            self._go(self._row - count, self._column)
        elif command == "B":
            self._go(min(self._row + count, len(self._lines) - 1), self._column)
        elif command in ("C", "D", "G"):
            wanted = {"C": self._column + count, "D": self._column - count, "G": count - 1}[command]
            self._column = max(0, min(wanted, max(WIDTH, len(self._lines[self._row]))))
        elif command == "K":
            line = self._lines[self._row]
            kept = line[: self._column] if number in (None, 0) else ""
            rest = line[self._column :] if number == 1 else ""
            self._lines[self._row] = kept + (rest and " " * self._column + rest)

    def _go(self, row: int, column: int) -> None:
        self._row, self._column = max(0, row), column
        while self._row >= len(self._lines):
            self._lines.append("")
