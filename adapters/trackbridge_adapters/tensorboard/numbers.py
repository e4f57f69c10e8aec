"""Histograms as JSON, quickly: most of their numbers are the same from step to step."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from trackbridge.adapter import Row

Floats = npt.NDArray[np.float64]
REMEMBERED = 1 << 16
EXACT = 2.0**53


class _Texts(dict[float, str]):
    """Numbers as text; those that were asked for lately are remembered."""

    def __missing__(self, number: float) -> str:
        if len(self) >= REMEMBERED:
            self.clear()
        text = self[number] = repr(number)
        return text


_TEXTS = _Texts()


def histogram(bins: Floats, counts: Floats, about: dict[str, Any]) -> Row:
    """A point of `series`: edges and counts, in the words of W&B."""
    more = "".join(f", {json.dumps(name)}: {json.dumps(value)}" for name, value in about.items())
    value = f'{{"_type": "histogram", "bins": {_array(bins)}, "values": {_counts(counts)}{more}}}'
    return {"kind": "histogram", "value": value, "path": None}


def _array(values: Floats) -> str:
    is_plain = np.isfinite(values).all() and not (np.signbit(values) & (values == 0)).any()
    if not is_plain:  # zeros of either sign, and NaN, are not what a dictionary tells apart
        return json.dumps(values.tolist())
    return f"[{', '.join(map(_TEXTS.__getitem__, values.tolist()))}]"


def _counts(values: Floats) -> str:
    """Counts as integers, where they are."""
    if (np.isfinite(values) & (np.abs(values) <= EXACT) & (values == np.rint(values))).all():
        return json.dumps(values.astype(np.int64).tolist())
    return json.dumps(values.tolist())
