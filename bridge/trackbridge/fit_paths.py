"""Fits names into stores where they are paths of files. Pure functions."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable

import pyarrow as pa

from trackbridge.adapter import Names, RunRef
from trackbridge.columns import groups
from trackbridge.losses import Losses

PART_BYTES = 255
"""Longest name of a file or folder on the usual file systems."""


class Paths:
    """Names of one kind in one run: no two of them stand in each other's way.

    They differ in more than case, and none is the folder of another one. Whichever comes later
    is renamed.
    """

    def __init__(self, limits: Names) -> None:
        self._limits = limits
        self._given: dict[str, str] = {}
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def place(self, name: str) -> str:
        """The name of a file, which fits the limits already; always the same for the same name."""
        if name not in self._given:
            free = name
            while not self._is_free(_folded(free)):
                free = marked(free.replace("/", "_"), free, self._limits)
            self._given[name] = free
            self._files.add(_folded(free))
            self._folders.update(_above(_folded(free)))
        return self._given[name]

    def _is_free(self, path: str) -> bool:
        taken = path in self._files or path in self._folders
        return not taken and self._files.isdisjoint(_above(path))


def settled(
    data: pa.RecordBatch, paths_of: Callable[[RunRef, bool], Paths], losses: Losses
) -> pa.RecordBatch:
    """Points under names that are kept apart; `paths_of` is asked by run and `system`."""
    names = ["project", "run_id", "key", "system"]
    group, first = groups(data, *names)
    before, after = [], []
    for row in data.select(names).take(pa.array(first, pa.int64())).to_pylist():
        paths = paths_of(RunRef(row["project"], row["run_id"]), row["system"])
        before.append(row["key"])
        after.append(paths.place(row["key"]))
    if before == after:
        return data
    for old, new in zip(before, after):
        if old != new:
            losses.add("metrics renamed", f"{old[:80]!r} -> {new[:80]!r}")
    texts = pa.array(after, pa.string()).dictionary_encode()
    keys = pa.DictionaryArray.from_arrays(texts.indices.take(pa.array(group)), texts.dictionary)
    return data.set_column(data.schema.get_field_index("key"), "key", keys)


def plain(name: str) -> str:
    """A path whose parts are plain names, with room for a mark behind the last one."""
    return "/".join(map(_part, name.split("/")))


def marked(clean: str, name: str, limits: Names) -> str:
    """A cleaned name with a hash of the original; of a path, with room for it in the last part."""
    mark = "_" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    kept = clean if limits.length is None else clean[: limits.length - len(mark)]
    if limits.paths:
        above, slash, last = kept.rpartition("/")
        raw = last.encode("utf-8", "surrogatepass")[: PART_BYTES - len(mark)]
        kept = above + slash + raw.decode("utf-8", "ignore")
    return kept + mark


def _folded(name: str) -> str:
    """What a file system may take a name for."""
    return unicodedata.normalize("NFC", name).casefold()


def _above(path: str) -> list[str]:
    """The folders that a path lies in."""
    return [path[:end] for end, sign in enumerate(path) if sign == "/"]


def _part(part: str) -> str:
    if not part or part.startswith("."):
        part = f"_{part}"
    raw = part.encode("utf-8", "surrogatepass")
    if len(raw) <= PART_BYTES:
        return part
    return raw[: PART_BYTES - 15].decode("utf-8", "ignore")
