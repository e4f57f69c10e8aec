"""JSON of many numbers, lists and texts at once, letter by letter as Python writes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

SAMPLE = 1 << 10
"""Numbers that are looked at to tell whether they repeat."""
LEAST, MOST = 1e-4, 1e10
"""Between these, Arrow writes a number that is not whole as Python does."""


def floats(values: npt.NDArray[np.float64]) -> pa.Array:
    """Each number as JSON."""
    bits = values.view(np.int64)
    sample = bits[:: len(bits) // SAMPLE + 1]
    if len(np.unique(sample)) > len(sample) // 2:
        return _floats(values)
    known = pa.array(bits).dictionary_encode()
    return _floats(known.dictionary.to_numpy().view(np.float64)).take(known.indices)


def integers(values: npt.NDArray[Any]) -> pa.Array:
    """Each number as JSON; booleans too."""
    return pa.array(values).cast(pa.string())


def counts(values: npt.NDArray[np.float64]) -> pa.Array:
    """Numbers that are whole, as integers."""
    return integers(values.astype(np.int64))


def lists(texts: pa.Array, offsets: npt.NDArray[Any]) -> pa.Array:
    """JSON lists of elements that are JSON; those of a list are between two offsets."""
    parts = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), texts)
    return joined("[", pc.binary_join(parts, ", "), "]")


def nested(texts: pa.Array, shape: Sequence[int]) -> pa.Array:
    """JSON of arrays of one shape without zeros; their elements, row by row, are JSON."""
    for size in reversed(shape):
        texts = lists(texts, np.arange(0, len(texts) + 1, size))
    return texts


def joined(*parts: pa.Array | str) -> pa.Array:
    """What stands side by side in columns, as one column."""
    return pc.binary_join_element_wise(*parts, "")


def _floats(values: npt.NDArray[np.float64]) -> pa.Array:
    size = np.abs(values)
    with np.errstate(invalid="ignore"):
        whole = (values == np.rint(values)) & (size < MOST) & (size > 0)
        other = ~(whole | ((size >= LEAST) & (size < MOST)))
    texts = pa.array(values).cast(pa.string())
    if whole.any():
        texts = joined(texts, pc.if_else(pa.array(whole), ".0", ""))
    if other.any():
        written = pa.array(map(json.dumps, values[other].tolist()), pa.string())
        texts = pc.replace_with_mask(texts, pa.array(other), written)
    return texts
