"""Steps with fractions as whole numbers, so that nothing of them is lost (decision 0041)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trackbridge.adapter import RunRef
from trackbridge.columns import split
from trackbridge_adapters.neptune.parts import (
    Group,
    Part,
    labelled,
    millionths,
    of_runs,
    of_types,
    path_codes,
)

MILLION = 1_000_000


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
    parts: Iterable[Part],
    refs: Collection[RunRef],
    types: Collection[str],
    keys: Collection[str] | None = None,
) -> dict[RunRef, Scale]:
    """The scales of some runs, as far as they concern these series; paths and steps are read.

    What cannot be read is not told here: whoever reads the values too will tell it.
    """
    fine: dict[RunRef, set[str]] = {ref: set() for ref in refs}
    for part in parts:
        for group in part.groups:
            if not group.may_have(types) or fine.keys().isdisjoint(group.runs):
                continue
            if keys is not None and not group.may_have_path(keys):
                continue
            if _is_plain(group, types) and not _has_fractions(part, group):
                continue
            columns = [*group.telling(types), "attribute_path", "step"]
            for data in part.batches(group, columns, []):
                rows = of_types(of_runs(data, group, fine), group, types)
                for ref, paths in _fractions(rows, group):
                    fine[ref] |= paths
    return {ref: Scale(frozenset(paths)) for ref, paths in fine.items()}


def _is_plain(group: Group, types: Collection[str]) -> bool:
    """Whether all steps of a group are of one run, and of series that are looked for."""
    return group.run is not None and group.type in types


def _has_fractions(part: Part, group: Group) -> bool:
    """Whether any step of a group is no whole number: most have none, so paths are not read."""
    return any(
        broken(millionths(data.column("step"))).any() for data in part.batches(group, ["step"], [])
    )


def _fractions(data: pa.RecordBatch, group: Group) -> Iterator[tuple[RunRef, set[str]]]:
    """Series of each run that have a step in this batch which is no whole number."""
    of_series = broken(millionths(data.column("step")))
    if not of_series.any():
        return
    if group.run:
        yield group.run, _named(data, of_series)
        return
    for ref, rows in split(labelled(data.filter(pa.array(of_series)))):
        yield ref, _named(rows, np.ones(rows.num_rows, bool))


def _named(data: pa.RecordBatch, rows: npt.NDArray[np.bool_]) -> set[str]:
    """The series that some rows are of."""
    codes, texts = path_codes(data)
    used = np.bincount(codes[rows & (codes >= 0)], minlength=len(texts))
    return {texts[code] for code in np.flatnonzero(used)}


def broken(steps: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which steps are no whole numbers."""
    found: npt.NDArray[np.bool_] = steps - steps // MILLION * MILLION != 0
    return found


def step_text(millionth: int) -> str:
    """A step as people write it."""
    sign, (whole, rest) = "-" * (millionth < 0), divmod(abs(millionth), MILLION)
    return f"{sign}{whole}.{rest:06d}".rstrip("0").rstrip(".")
