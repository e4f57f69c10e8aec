"""Files that belong to no run: in a folder beside the database, else in tags of an experiment."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

from trackbridge import disk
from trackbridge.adapter import ORIGIN
from trackbridge_adapters.mlflow.artifacts import inside
from trackbridge_adapters.mlflow.session import Session, Transaction

PREFIX = f"{ORIGIN}.file."
"""What the names of such tags begin with; their ends number the pieces."""

EXPERIMENT = 0
"""The default experiment, which every database of MLflow's has."""

PIECE = 5000
"""Width of `experiment_tags.value` until mlflow 2.20, in characters."""

WHERE = 'WHERE experiment_id = ? AND "key" LIKE ? ORDER BY "key"'


def read(session: Session, path: str) -> bytes | None:
    """The bytes of a file; None where there is none."""
    values = [EXPERIMENT, f"{PREFIX}{path}.%"]
    pieces = session.select("experiment_tags", ["value"], WHERE, values)
    if not pieces:
        return None
    return zlib.decompress(base64.b64decode("".join(piece for (piece,) in pieces)))


def write(transaction: Transaction, path: str, content: bytes) -> None:
    """Give a file these bytes."""
    text = base64.b64encode(zlib.compress(content)).decode()
    pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    old = 'DELETE FROM experiment_tags WHERE experiment_id = ? AND "key" LIKE ?'
    transaction.execute(old, [EXPERIMENT, f"{PREFIX}{path}.%"])
    if not transaction.fetch("SELECT 1 FROM experiments WHERE experiment_id = ?", [EXPERIMENT]):
        row = {"experiment_id": EXPERIMENT, "name": "Default", "lifecycle_stage": "active"}
        transaction.insert("experiments", [{**row, "workspace": "default"}])
    transaction.insert(
        "experiment_tags",
        [
            {"experiment_id": EXPERIMENT, "key": f"{PREFIX}{path}.{number:06}", "value": piece}
            for number, piece in enumerate(pieces)
        ],
    )


def write_beside(folder: Path, path: str, content: bytes) -> None:
    """Give a file in a folder these bytes, at once."""
    file = inside(folder, path)
    draft = file.with_name(f".{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(file)
    except OSError as error:
        raise disk.translated(file, error) from error
