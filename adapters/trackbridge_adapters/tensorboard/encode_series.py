"""Points that are no scalars as events: as TensorBoard has a form for them, or as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from trackbridge.adapter import Row
from trackbridge_adapters.tensorboard import beside, encode
from trackbridge_adapters.tensorboard.encode import Shown
from trackbridge_adapters.tensorboard.likeness import EMBEDDED, Likeness
from trackbridge_adapters.tensorboard.restored import Said


class Series:
    """The events of a run's rows of `series`; `home` has their files until they are embedded."""

    def __init__(self, home: Path, metrics: Mapping[str, Any], rows: list[Row], said: Said) -> None:
        self._home, self._said = home, said
        self._likeness = Likeness(home, said)
        self._taken = dict.fromkeys(metrics, "scalars")
        """The plugin that shows each tag: the first event of a tag says it for all."""
        self._rows = sorted(rows, key=_place)

    def records(self) -> Iterator[bytes]:
        done: set[Path] = set()
        for _, group in groupby(self._rows, key=_event):
            rows = list(group)
            files = [file for row in rows for file in self._likeness.files([row["path"]])]
            shown = (
                self._likeness.media(rows[0]["kind"], files) if len(files) == len(rows) else None
            )
            if shown is not None:
                yield self._record(rows, shown, embedded=True)
                done.update(files)
                continue
            for row in rows:
                yield self._record([row], self._likeness.of(row))
        for path in done:
            path.unlink()
            _tidy(path.parent, self._home)

    def _record(self, rows: list[Row], shown: Shown, *, embedded: bool = False) -> bytes:
        """An event that stands for some rows."""
        first = {"images": 2, "audio": 0}.get(shown.plugin, 0)
        stride = 2 if shown.plugin == "audio" else 1
        told = b"".join(
            beside.told(row, first + stride * number if embedded else None)
            for number, row in enumerate(rows)
        )
        row = rows[0]
        time, step = encode.seconds(row.get("time")), row.get("step") or 0
        tag, about = self._tag(row["key"], shown.plugin), self._said.metadata(row["key"])
        return encode.event(time, step, tag, shown, told, about)

    def _tag(self, key: str, plugin: str) -> str:
        """The tag that a key is shown under: one of its own for each plugin."""
        tag = key
        while self._taken.setdefault(tag, plugin) != plugin:
            tag += f" ({plugin})"
        return tag


def _place(row: Row) -> tuple[Any, ...]:
    step, time = row.get("step"), row.get("time")
    return row["key"], row["kind"], step or 0, encode.seconds(time)


def _event(row: Row) -> tuple[Any, ...]:
    """What rows have in common that share an event: pictures of one step, and of no other kind."""
    if row["kind"] in EMBEDDED:
        return _place(row)
    return (*_place(row), id(row))


def _tidy(folder: Path, home: Path) -> None:
    while folder != home and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
