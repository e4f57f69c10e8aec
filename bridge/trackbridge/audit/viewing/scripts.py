"""Data as scripts that a page loads: the only way to files beside it where there is no server.

Each script is one call, `take(name, document)`. What the document holds never becomes code: it is
JSON in a string, which the page parses.
"""

from __future__ import annotations

import base64
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trackbridge.adapter import Row
from trackbridge.times import EPOCH


def script(name: str, text: str) -> str:
    """A script that hands a JSON text to the page."""
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"take({json.dumps(name)},JSON.parse('{quoted}'))\n"


def write(folder: Path, name: str, document: Any) -> None:
    """Write `<name>.js`."""
    (folder / f"{name}.js").write_text(
        script(name, dumps(document)), encoding="utf-8", newline="\n"
    )


def dumps(document: Any) -> str:
    """JSON on one line, for `script`; raises `ValueError` for numbers that JSON has not."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def packed(numbers: npt.NDArray[np.float64]) -> str | dict[str, float]:
    """Numbers as base64 of their bytes (64-bit floats, little-endian), or as what they count."""
    count = len(numbers)
    if count > 2 and np.isfinite(numbers).all() and np.abs(numbers).max() < 2**53:
        by = numbers[1] - numbers[0]
        if np.array_equal(numbers, numbers[0] + by * np.arange(count)):
            return {"from": float(numbers[0]), "by": float(by), "count": count}
    return base64.b64encode(numbers.astype("<f8").tobytes()).decode()


def rows(data: pa.RecordBatch) -> list[Row]:
    """Rows with their times as pages count them, in milliseconds since 1970, of whatever year."""
    columns = [
        pc.divide(c.cast(pa.int64()).cast(pa.float64()), 1000)
        if pa.types.is_timestamp(c.type)
        else c
        for c in data.columns
    ]
    found: list[Row] = pa.RecordBatch.from_arrays(columns, names=data.schema.names).to_pylist()
    return found


def millis(time: datetime | None) -> float | None:
    """A time as pages count it: milliseconds since 1970."""
    return None if time is None else (time - EPOCH).total_seconds() * 1000
