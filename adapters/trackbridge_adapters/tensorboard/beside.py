"""What an event says beside what TensorBoard shows, in fields that every other program skips.

A `Summary.Value` that we wrote has the rows of `series` that it stands for in the fields `ROWS`,
one each, as JSON (decision 0040); so what TensorBoard is shown may be a likeness: a table as its
text, a histogram in its buckets. Of an image or sound the bytes are those that TensorBoard shows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from trackbridge.adapter import Row
from trackbridge.times import micros, moment
from trackbridge_adapters.tensorboard import wire
from trackbridge_adapters.tensorboard.contents import Content, content_of
from trackbridge_adapters.tensorboard.encode_points import message
from trackbridge_adapters.tensorboard.names import is_unicode
from trackbridge_adapters.tensorboard.values import Place

ROWS = 1001
"""Number of the field of a `Summary.Value`, which may be repeated."""
START = b"\x08\x01\x1a\x0btrackbridge"
"""A `SessionLog` that says that a session starts: what our files begin with."""
COLUMNS = ("key", "step", "row", "kind", "value", "path")
EMBEDDED = "embedded"
"""Place of the row's file among the strings of the tensor."""


def told(row: Row, embedded: int | None = None) -> bytes:
    """A field that has a row of `series`; `embedded`: where its file is in the value's tensor."""
    known = {name: row[name] for name in COLUMNS if row.get(name) is not None}
    if row.get("time") is not None:
        known["time"] = micros(row["time"])
    if embedded is not None:
        known[EMBEDDED] = embedded
    content = json.dumps(known, ensure_ascii=False).encode()
    return message(ROWS, content)


def rows(data: bytes, strings: Sequence[bytes]) -> list[dict[str, Any]]:
    """The rows that a value has beside it; `WireError` or `ValueError` where they are none.

    Each has the columns of `series`, and `EMBEDDED` where its file is among the strings of the
    value's tensor.
    """
    found = []
    for field in wire.fields(data, 0, len(data)):
        if field.number == ROWS and field.wire == wire.BYTES:
            row = json.loads(data[field.start : field.stop])
            if not isinstance(row, dict) or not _is_row(row, len(strings)):
                raise ValueError("what stands beside the value is no row of a series")
            row["time"] = _time(row.get("time"))
            found.append(row)
    return found


def columns(row: dict[str, Any]) -> Row:
    return {name: row.get(name) for name in (*COLUMNS, "time")}


def content(row: dict[str, Any], place: Place, strings: Sequence[bytes]) -> Content | None:
    """Where the bytes of a row's file are, if they are in its event."""
    if EMBEDDED not in row:
        return None
    data = bytes(strings[row[EMBEDDED]])
    return content_of(place.file, place.offset + place.data.find(data), data, None)


def _is_row(row: dict[str, Any], strings: int) -> bool:
    """Whether it is what `told` writes; the file may be anybody's."""
    texts = [row.get(name) for name in ("kind", "value", "path")]
    numbers = [row.get(name) for name in ("step", "row", "time")]
    path, embedded = row.get("path") or "", row.get(EMBEDDED)
    return (
        row.get("key") is not None
        and all(t is None or (isinstance(t, str) and is_unicode(t)) for t in (row["key"], *texts))
        and all(n is None or (type(n) is int and -(2**63) <= n < 2**63) for n in numbers)
        and not any(part in ("", ".", "..") for part in path.split("/") if path)
        and (embedded is None or (type(embedded) is int and 0 <= embedded < strings and path != ""))
    )


def _time(since_1970: int | None) -> datetime | None:
    found = moment(since_1970)
    if found is None and since_1970 is not None:
        raise ValueError("a time that is none stands beside the value")
    return found
