"""What the JSON records of a journal are like, so that nothing else is taken for one.

A record of a kind that is not known here says nothing to this version, and is no damage.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

Record = dict[str, Any]
VERSION = 1
"""Of the framing and of what records say; a reader refuses what is newer."""
_LISTS = (list, tuple)
"""What becomes a list in JSON."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def parse(payload: bytes) -> Record | None:
    """The record that a payload is; none where it is no record that can be understood."""
    try:
        record = json.loads(payload)
        if b"\\u" in payload:  # a lone half of a surrogate pair is no text
            json.dumps(record, ensure_ascii=False).encode()
        return record if is_sound(record) else None
    except (ValueError, RecursionError):
        return None


def leads_out(path: str) -> bool:
    """Whether the name of a file could mean one outside of the folder it belongs to."""
    parts = path.split("/")
    return not path or path.startswith("/") or "\0" in path or ".." in parts


def is_sound(record: Any) -> bool:
    """Whether it is a record that can be understood, as it was read or is to be written."""
    if not isinstance(record, dict) or not isinstance(kind := record.get("t"), str):
        return False
    try:
        if kind != "keys" and not is_int(record["at"]):
            return False
        check = _CHECKS.get(kind)
        return check is None or check(record)
    except (ValueError, TypeError, KeyError):
        return False


def is_int(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _is_texts(value: Any) -> bool:
    return isinstance(value, _LISTS) and all(isinstance(text, str) for text in value)


def _is_list_of(kind: type, value: Any) -> bool:
    return isinstance(value, _LISTS) and all(isinstance(part, kind) for part in value)


def _is_begin(record: Record) -> bool:
    """The rest of a header of a newer version is that one's to know."""
    if not is_int(record["version"]):
        return False
    key, to = record.get("key", [""] * 4), record.get("to", [])
    numbers = is_int(record.get("pid")) and is_int(record.get("ahead", 0))
    is_named = _is_texts(record.get("run")) and len(record["run"]) == 2 and numbers
    sound = is_named and _is_texts(to) and _is_texts(key) and len(key) == 4
    return sound or record["version"] > VERSION


def _is_keys(record: Record) -> bool:
    return is_int(record["id"]) and _is_texts(record["keys"])


def _is_series(record: Record) -> bool:
    places = all(is_int(record[name]) for name in ("row", "step"))
    return places and isinstance(record["items"], _LISTS) and all(map(_is_item, record["items"]))


def _is_whole(record: Record) -> bool:
    """A row that is told anew: it has a number for each key, and `again` points were there."""
    keys, values = record["keys"], record["values"]
    numbers = _is_texts(keys) and isinstance(values, _LISTS) and len(values) == len(keys)
    are_numbers = numbers and all(type(value) in (int, float) for value in values)
    return are_numbers and is_int(record["again"]) and _is_series(record)


def _is_item(item: Any) -> bool:
    key, kind, value, path = item
    named = path is None or (isinstance(path, str) and not leads_out(path))
    return named and _is_texts([key, kind, value])


def _is_file(file: Any) -> bool:
    sha256, size = file["sha256"], file["size"]
    named = isinstance(file["path"], str) and not leads_out(file["path"])
    held = sha256 is None or bool(_SHA256.fullmatch(sha256))
    owned = isinstance(file.get("owner") or "", str)
    return named and owned and held and (size is None or (is_int(size) and size >= 0))


def _is_artifact(record: Record) -> bool:
    row = record["row"]
    texts = [row["collection"], row.get("version") or "", row.get("direction") or ""]
    return _is_texts(texts) and all(map(_is_file, record["files"]))


def _is_change(record: Record) -> bool:
    drop, put = record.get("drop", []), record.get("set", {})
    return _is_texts(drop) and isinstance(put, dict)


def _is_put(record: Record) -> bool:
    return isinstance(record["table"], str) and _is_list_of(dict, record["rows"])


def _is_drop(record: Record) -> bool:
    return isinstance(record["table"], str) and _is_texts(record["keys"])


def _is_logs(record: Record) -> bool:
    lines = ((stream, at, text) for stream, at, text in record["rows"])
    return all(_is_texts([s, t]) and (a is None or is_int(a)) for s, a, t in lines)


def _is_end(record: Record) -> bool:
    code = record.get("exit_code")
    told = record["status"] is None or isinstance(record["status"], str)
    return told and (code is None or is_int(code))


_CHECKS: dict[str, Callable[[Record], bool]] = {
    "begin": _is_begin,
    "keys": _is_keys,
    "series": _is_series,
    "whole": _is_whole,
    "file": lambda record: _is_file(record["file"]),
    "artifact": _is_artifact,
    "config": _is_change,
    "summary": _is_change,
    "put": _is_put,
    "drop": _is_drop,
    "set": lambda record: isinstance(record["row"], dict),
    "logs": _is_logs,
    "lost": lambda record: is_int(record["calls"]) and isinstance(record["why"], str),
    "end": _is_end,
}
"""Kinds -> whether a record of it is sound; all but `keys` have a time, `at`."""
