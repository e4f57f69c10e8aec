"""Fits texts into what a store can hold: names, lengths, NUL. Pure functions."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from trackbridge.adapter import Capabilities, Names
from trackbridge.fit_paths import marked, plain
from trackbridge.losses import Losses

NUL, SHOWN_NUL = "\0", "\u2400"
OBJECTS = frozenset({"extra", "tags", "aliases", "metadata"})
"""Columns of JSON that adapters take apart, so that an escaped NUL in them becomes one."""

_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_ALIKE = str.maketrans({"ß": "s", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ł": "l", "þ": "th"})
"""Letters that no decomposition takes apart, as collations of databases sort them."""


def fit_name(name: str, limits: Names) -> str:
    """The name itself where it is allowed, else a cleaned one with a hash of the original.

    Depends on nothing but the name, so the order of runs never changes a name; two names stay
    two, unless one was made to look like the other cleaned: then the proof of the run fails.
    """
    clean = re.sub(f"[^{limits.alphabet}]", "_", name) if limits.alphabet else name
    if limits.shortest and not _is_shortest(clean):
        clean = clean.replace("/", "_").replace(".", "_")
    if limits.paths:
        clean = plain(clean)
    if (f"{clean}/" if limits.paths else clean).startswith(limits.reserved):
        clean = f"_{clean}"
    fits = limits.length is None or len(clean) <= limits.length
    if clean == name and fits and (name or not limits.alphabet):
        return name
    return marked(clean, name, limits)


def _is_shortest(path: str) -> bool:
    """Whether a path stays below its folder and has no part that could be left out."""
    parts = path.split("/")
    return not path.startswith("..") and all(part not in ("", ".", "..") for part in parts)


def fit_value(value: str, length: int | None) -> str:
    """The value, cut with a visible mark where it is longer than `length` characters."""
    if length is None or len(value) <= length:
        return value
    mark = f" ... [cut: {len(value)} characters]"
    return (value[: max(0, length - len(mark))] + mark)[:length]


def apart(names: Iterable[str], limits: Names) -> dict[str, str]:
    """Those of a run's names that have to change where the store folds them, with the new ones.

    Of names that are one to it, the first in order stays as it is, whatever order they come in.
    """
    changed: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(set(names)):
        shown = name
        while _folded(shown) in taken:
            mark = "_" + hashlib.sha256(shown.encode("utf-8", "surrogatepass")).hexdigest()[:8]
            room = None if limits.length is None else limits.length - len(mark)
            room = room and room - limits.before_system  # the name may be that of a system metric
            shown = name[:room] + mark
        taken.add(_folded(shown))
        if shown != name:
            changed[name] = shown
    return changed


def fit_texts(table: str, row: dict[str, Any], caps: Capabilities, losses: Losses) -> None:
    """Change the texts of a row of a small table to what the store holds."""
    if table in caps.names and row.get("key") is not None:
        key = fit_name(row["key"], caps.names[table])
        if key != row["key"]:
            losses.add(f"{table} renamed", f"{row['key'][:80]!r} -> {key[:80]!r}")
            row["key"] = key
    for column, length in caps.lengths.get(table, {}).items():
        name, dot, _ = column.partition(".")
        if not row.get(name):
            continue
        limits = caps.lengths[table]
        text = _fit_members(row[name], name, limits) if dot else fit_value(row[name], length)
        if text != row[name]:
            what = table if name == "value" else f"{table}.{name}"
            losses.add(f"{what} cut", f"{row.get('key') or name}: {len(row[name])} characters")
            row[name] = text
    if not caps.nul:
        _hide_nul(table, row, losses)


def _fit_members(content: str, column: str, limits: Mapping[str, int]) -> str:
    """A JSON object with its texts cut."""
    members = json.loads(content)
    if not isinstance(members, dict):
        return content
    other = limits.get(f"{column}.*")
    fitted = {
        name: fit_value(value, limits.get(f"{column}.{name}", other))
        if isinstance(value, str)
        else value
        for name, value in members.items()
    }
    if fitted == members:
        return content
    return json.dumps(fitted, sort_keys=True, ensure_ascii=False)


def _hide_nul(table: str, row: dict[str, Any], losses: Losses) -> None:
    for name, value in row.items():
        if not isinstance(value, str):
            continue
        shown = value.replace(NUL, SHOWN_NUL)
        if name in OBJECTS and "u0000" in value:
            shown = _ESCAPED_NUL.sub(rf"\1{SHOWN_NUL}", shown)
        if shown != value:
            losses.add("NUL shown as \u2400", f"{table}.{name}: {shown[:80]}")
            row[name] = shown


def _folded(name: str) -> str:
    """The same text for all names that some collation might take for one; for some more too."""
    plain = unicodedata.normalize("NFKD", name.casefold().translate(_ALIKE))
    letters = "".join(c for c in plain if c.isascii() and c.isprintable())
    return re.sub(r"(.)\1+", r"\1", letters).rstrip()
