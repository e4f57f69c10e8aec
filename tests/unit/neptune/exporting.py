"""Writes exports as neptune-exporter does: its schema, its layout, its names of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    {
        "project_id": pa.string(),
        "run_id": pa.string(),
        "attribute_path": pa.string(),
        "attribute_type": pa.string(),
        "step": pa.decimal128(18, 6),
        "timestamp": pa.timestamp("ms", tz="UTC"),
        "int_value": pa.int64(),
        "float_value": pa.float64(),
        "string_value": pa.string(),
        "bool_value": pa.bool_(),
        "datetime_value": pa.timestamp("ms", tz="UTC"),
        "string_set_value": pa.list_(pa.string()),
        "file_value": pa.struct({"path": pa.string()}),
        "histogram_value": pa.struct(
            {
                "type": pa.string(),
                "edges": pa.list_(pa.float64()),
                "values": pa.list_(pa.float64()),
            }
        ),
    }
)
"""model.py of neptune-exporter, the same in all versions."""
Rows = list[dict[str, Any]]


def folder_name(text: str) -> str:
    """What it calls a folder or a part."""
    plain = "".join(sign if sign.isalnum() or sign in "_-" else "_" for sign in text)
    return f"{plain}-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def single(path: str, kind: str, value: Any) -> dict[str, Any]:
    column = "file_value" if kind in ("file", "file_set", "artifact") else f"{kind}_value"
    return {
        "attribute_path": path,
        "attribute_type": kind,
        column: {"path": value} if column == "file_value" and value is not None else value,
    }


def point(
    path: str, kind: str, step: Any, value: Any, time: datetime | None = None
) -> dict[str, Any]:
    columns = {
        "float_series": "float_value",
        "string_series": "string_value",
        "histogram_series": "histogram_value",
        "file_series": "file_value",
    }
    return {
        "attribute_path": path,
        "attribute_type": kind,
        "step": None if step is None else Decimal(str(step)).quantize(Decimal("0.000001")),
        "timestamp": time,
        columns[kind]: {"path": value} if kind == "file_series" else value,
    }


def whole_steps(count: int) -> pa.Array:
    """0, 1, 2, ... as a column of steps."""
    return pa.array(range(count)).cast(pa.decimal128(25, 6)).cast(SCHEMA.field("step").type)


def part(root: Path, project: str, run: str, number: int = 0) -> Path:
    """Where a part of a run lies."""
    return root / "data" / folder_name(project) / f"{folder_name(run)}_part_{number}.parquet"


def write(
    root: Path,
    project: str,
    run: str,
    batches: Iterable[Rows],
    number: int = 0,
    schema: pa.Schema = SCHEMA,
) -> Path:
    """A part of a run; each batch becomes a row group."""
    path = part(root, project, run, number)
    labels = {"project_id": project, "run_id": run}
    write_part(path, [[{**labels, **row} for row in rows] for rows in batches], schema)
    return path


def write_part(path: Path, batches: Sequence[Rows], schema: pa.Schema = SCHEMA) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema, compression="snappy") as writer:
        for rows in batches:
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))


def put(root: Path, project: str, place: str, content: bytes) -> None:
    """A file that was downloaded."""
    path = root / "files" / folder_name(project) / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
