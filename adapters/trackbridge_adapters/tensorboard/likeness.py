"""What TensorBoard is shown of rows of `series`: each in the form that it has for it, else a text.

Who writes asks here, and who reads: the rows that stand beside a value are taken only where they
give again what is shown. So what they are shown as is a part of the format (decision 0040).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from trackbridge.adapter import ORIGIN, Row
from trackbridge.errors import IntegrityError
from trackbridge_adapters.tensorboard import beside, carried, encode
from trackbridge_adapters.tensorboard.encode import Shown
from trackbridge_adapters.tensorboard.folders import KIND
from trackbridge_adapters.tensorboard.restored import Said

EMBEDDED = ("image", "audio")
"""Kinds whose bytes are in the event file, and nowhere else."""
LARGEST = 64 << 20
"""Bytes of pictures or sounds of one event: TensorBoard keeps them in memory."""


class Likeness:
    """Of the rows of one run; `home` has its files, but those that are in an event."""

    def __init__(self, home: Path, said: Said) -> None:
        self._home, self._said = home, said

    @classmethod
    def beside(cls, folder: Path) -> Likeness:
        """Of a run that was written before."""
        origin = carried.origin(folder)
        is_ours = origin is None or origin.key.kind != KIND
        return cls(folder / ORIGIN, Said({} if origin is None or is_ours else origin.row))

    def of(self, row: Row) -> Shown:
        """Of a row that no file is embedded of."""
        kind, value = row.get("kind"), encode.parsed(row.get("value"))
        other = self.media(kind, self.files(_several(value))) if kind in EMBEDDED else None
        other = other or encode.shown(kind, value, [])
        return other or self._said.tensor(row["key"], value) or encode.as_text(row)

    def media(self, kind: str | None, files: list[Path]) -> Shown | None:
        """Pictures or sounds, if all of the files are."""
        if kind not in EMBEDDED or sum(file.stat().st_size for file in files) > LARGEST:
            return None
        return encode.shown(kind, None, [file.read_bytes() for file in files])

    def files(self, paths: Iterable[str | None]) -> list[Path]:
        """Those files of the run that are there."""
        found = []
        for path in filter(None, paths):
            with suppress(IntegrityError):  # a value may name anything
                place = carried.place(self._home, "", path)
                found += [place] if place.is_file() else []
        return found

    def is_shown(self, rows: Sequence[dict[str, Any]], tensor: Any, plugin: str) -> bool:
        """Whether a tensor is what some rows are shown as; they are as `beside.rows` gives them."""
        first, places = rows[0], [row.get(beside.EMBEDDED) for row in rows]
        if None not in places:
            contents = [tensor.string_val[place] for place in places]
            expected = encode.shown(first.get("kind"), None, contents)
        elif len(rows) > 1:
            return False
        elif self._is_elsewhere(first):
            return True
        else:
            expected = self.of(first)
        if expected is None or expected.plugin != plugin:
            return False
        return bool(expected.tensor.SerializeToString() == tensor.SerializeToString())

    def _is_elsewhere(self, row: dict[str, Any]) -> bool:
        """Whether pictures are shown whose files are not beside the run, or no longer."""
        named = _several(encode.parsed(row.get("value"))) if row.get("kind") in EMBEDDED else []
        return len(self.files(named)) < len(named)


def _several(value: Any) -> list[str]:
    """The files of a value that has several pictures (`images/separated`, wandb 0.31)."""
    names = value.get("filenames") if isinstance(value, dict) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
