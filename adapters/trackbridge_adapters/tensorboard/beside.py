"""What an event says beside what TensorBoard shows, in fields that every other program skips.

A `Summary.Value` that we wrote has the rows of `series` that it stands for in the fields `ROWS`,
one each, as JSON (decision 0040); so what TensorBoard is shown may be a likeness: a table as its
text, a histogram in its buckets. Of an image or sound the bytes are those that TensorBoard shows.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

from trackbridge.adapter import Row
from trackbridge_adapters.tensorboard import wire
from trackbridge_adapters.tensorboard.encode_points import message
from trackbridge_adapters.tensorboard.facts import Content, content_of
from trackbridge_adapters.tensorboard.protos import Summary
from trackbridge_adapters.tensorboard.values import Place

ROWS = 1001
"""Number of the field of a `Summary.Value`, which may be repeated."""
START = b"\x08\x01\x1a\x0btrackbridge"
"""A `SessionLog` that says that a session starts: what our files begin with."""
COLUMNS = ("key", "step", "row", "kind", "value", "path")
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
EMBEDDED = "embedded"
"""Place of the row's file among the strings of the tensor."""


def told(row: Row, embedded: int | None = None) -> bytes:
    """A field that has a row of `series`; `embedded`: where its file is in the value's tensor."""
    known = {name: row[name] for name in COLUMNS if row.get(name) is not None}
    if row.get("time") is not None:
        known["time"] = (row["time"] - EPOCH) // timedelta(microseconds=1)
    if embedded is not None:
        known[EMBEDDED] = embedded
    content = json.dumps(known, ensure_ascii=False).encode()
    return message(ROWS, content)


def rows(data: bytes) -> list[dict[str, Any]]:
    """The rows that a value has beside it; `WireError` or `ValueError` where they are none.

    Each has the columns of `series`, and `EMBEDDED` where its file is in the tensor.
    """
    found = []
    for field in wire.fields(data, 0, len(data)):
        if field.number == ROWS and field.wire == wire.BYTES:
            row = json.loads(data[field.start : field.stop])
            if not isinstance(row, dict) or not isinstance(row.get("key"), str):
                raise ValueError(f"no row of a series: {row!r}")
            time = row.get("time")
            row["time"] = None if time is None else EPOCH + timedelta(microseconds=int(time))
            found.append(row)
    return found


def columns(row: dict[str, Any]) -> Row:
    return {name: row.get(name) for name in (*COLUMNS, "time")}


def content(row: dict[str, Any], place: Place) -> Content | None:
    """Where the bytes of a row's file are, if they are in its event."""
    if EMBEDDED not in row or not row.get("path"):
        return None
    parts = Summary.Value.FromString(place.data).tensor.string_val
    data = bytes(parts[row[EMBEDDED]])
    return content_of(place.file, place.offset + place.data.find(data), data, None)
