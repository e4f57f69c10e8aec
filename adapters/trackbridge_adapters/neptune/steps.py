"""Steps with fractions as whole numbers, so that nothing of them is lost (decision 0041)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trackbridge.adapter import RunRef
from trackbridge.columns import split
from trackbridge_adapters.neptune.parts import (
    Part,
    labelled,
    millionths,
    of_runs,
    of_types,
    path_codes,
)

MILLION = 1_000_000
_COLUMNS = ["project_id", "run_id", "attribute_path", "attribute_type", "step"]


@dataclass(frozen=True)
class Scale:
    """Which series of a run have a step that is no whole number: theirs are millionths."""

    fine: frozenset[str] = frozenset()

    def of(self, steps: npt.NDArray[np.int64], paths: npt.NDArray[np.bool_] | None) -> pa.Array:
        """Steps of the run model; `paths` says of each row whether its series is a fine one."""
        whole = steps // MILLION
        return pa.array(whole if paths is None else np.where(paths, steps, whole))

    def marks(self, codes: npt.NDArray[np.int64], texts: list[str]) -> npt.NDArray[np.bool_] | None:
        """Whether each row's series is a fine one; None where none is."""
        if self.fine.isdisjoint(texts):
            return None
        return np.array([text in self.fine for text in texts], bool)[codes]

    def step(self, path: str, millionth: int) -> int:
        """One step of a series."""
        return millionth if path in self.fine else millionth // MILLION


def scales(
    parts: Iterable[Part], refs: Collection[RunRef], types: Collection[str]
) -> dict[RunRef, Scale]:
    """The scales of some runs; nothing but paths and steps is read.

    What cannot be read is not told here: whoever reads the values too will tell it.
    """
    fine: dict[RunRef, set[str]] = {ref: set() for ref in refs}
    for part in parts:
        for group in part.groups:
            if not group.may_have(types) or fine.keys().isdisjoint(group.runs):
                continue
            for data in part.batches(group, _COLUMNS, []):
                found = _fractions(of_types(of_runs(data, group, fine), group, types))
                for ref, paths in found.items():
                    fine[ref] |= paths
    return {ref: Scale(frozenset(paths)) for ref, paths in fine.items()}


def _fractions(data: pa.RecordBatch) -> Mapping[RunRef, set[str]]:
    """Series of each run that have a step in this batch which is no whole number."""
    steps = millionths(data.column("step"))
    broken = steps - steps // MILLION * MILLION != 0
    if not broken.any():
        return {}
    found = {}
    for ref, rows in split(labelled(data.filter(pa.array(broken)))):
        codes, texts = path_codes(rows)
        found[ref] = {texts[code] for code in np.unique(codes) if code >= 0}
    return found


def step_text(millionth: int) -> str:
    """A step as people write it."""
    sign, (whole, rest) = "-" * (millionth < 0), divmod(abs(millionth), MILLION)
    return f"{sign}{whole}.{rest:06d}".rstrip("0").rstrip(".")
