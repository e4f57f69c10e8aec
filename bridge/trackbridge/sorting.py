"""Which runs have to be moved, by what a target has and what receipts say of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from trackbridge.adapter import Reader, RunInfo, Writer
from trackbridge.damage import is_back
from trackbridge.filing import FileChoice
from trackbridge.placing import Placing, word
from trackbridge.receipts import Receipt


@dataclass
class Sorted:
    """Runs of a source by what is to become of them."""

    waiting: list[RunInfo] = field(default_factory=list)
    """Those that have to be moved."""
    doubtful: list[RunInfo] = field(default_factory=list)
    """Those in the target that have to be looked at: no receipt says that they are as they were."""
    proven: list[tuple[RunInfo, Receipt]] = field(default_factory=list)
    """Those that are in the target in their present state, and were not touched there."""
    mistaken: list[tuple[RunInfo, str]] = field(default_factory=list)
    """Those that would be taken for others, and why: they are not moved."""


class Sorting:
    """Sorts runs, whose keys say where they are to lie, for a target with the runs `there`."""

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        there: Iterable[RunInfo],
        known: Mapping[str, Receipt],
        placing: Placing,
        files: FileChoice,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._there = {str(info.key): info for info in there}
        self._places = {info.ref: info for info in self._there.values()}
        self._born = {
            (info.key.kind, info.key.instance, info.key.run_id): info
            for info in self._there.values()
        }
        self._known, self._placing, self._files = known, placing, files

    def sort(self, runs: Collection[RunInfo]) -> Sorted:
        found = Sorted()
        here = {str(info.key) for info in runs}
        copies: dict[str, list[RunInfo]] = {}
        for info in runs:
            copies.setdefault(str(info.key), []).append(info)
        for info in runs:
            key = str(info.key)
            there, receipt = self._there.get(key), self._known.get(key)
            mistaken = _doubled(info, copies[key]) or self._mistaken(info, here)
            if mistaken:
                found.mistaken.append((info, mistaken))
            elif there is None or (receipt and self._is_old(receipt, info)):
                found.waiting.append(info)
            elif receipt is None or receipt.target != there.fingerprint:
                found.doubtful.append(info)
            elif is_back(self._reader, info, receipt.missing):
                found.waiting.append(info)
            else:
                found.proven.append((info, receipt))
        return found

    def _is_old(self, receipt: Receipt, info: RunInfo) -> bool:
        """Whether the run has changed since, or more of its files are wanted than were then."""
        more = receipt.extent is not None and self._files.extent > tuple(receipt.extent)
        return more or receipt.fingerprint != info.fingerprint

    def _mistaken(self, info: RunInfo, here: Collection[str]) -> str | None:
        """Why a run must not be taken for one that is in the target, or the other way round.

        A run keeps its start, so one that began at another time is another run; and one of the same
        id and start in another project is the same, whose project was renamed. What is where it is
        to lie has to be this run.
        """
        there = self._there.get(str(info.key))
        if there is not None:
            elsewhere = self._placing.elsewhere(info)
            if elsewhere is not None:
                return (
                    f"is in the target already, in project {elsewhere!r}; rename that one there, "
                    "or take an empty target"
                )
            if starts_alike(info, there) is not False:
                return None
            return (
                f"another run of this project and id, started {there.started}, is in the target "
                "already, from elsewhere; take a target of its own for this one"
            )
        other = self._places.get(self._writer.target(info.key))
        if other is not None:
            what = f"is run {other.key}" if other.carried else "was not written by Trackbridge"
            return (
                f"run {other.ref.run_id} in {other.ref.project} {what}; take another target, or "
                "another project for this one (--rename-project)"
            )
        there = self._born.get((info.key.kind, info.key.instance, info.key.run_id))
        if there is None or str(there.key) in here or not starts_alike(info, there):
            return None
        return (
            f"is in the target already, in project {there.ref.project!r}: its project was renamed "
            "at the source; rename it back, or move it into an empty target"
        )


def _doubled(info: RunInfo, copies: Iterable[RunInfo]) -> str | None:
    """Why a run must not be moved that is in its store twice, as it was brought there twice."""
    for other in copies:
        if other is not info:
            return (
                f"is the same run as {'/'.join(other.ref)}, and a target can have it once; take "
                f"one of them (--project {word(info.ref.project)})"
            )
    return None


def starts_alike(one: RunInfo, other: RunInfo, *, exactly: bool = False) -> bool | None:
    """Whether two runs began at one time; None if one is silent.

    Two records of one run may be of two clocks, that of the training and that of a server that it
    was logged to, so a second more or less is the same time: but where the clock is known to be
    the same one, `exactly`, as far as both stores keep it.
    """
    if one.started is None or other.started is None:
        return None
    least = timedelta(0) if exactly else timedelta(seconds=1)
    apart = abs(one.started - other.started)
    return apart < max(least, _grain(one.started), _grain(other.started))


def _grain(time: datetime) -> timedelta:
    """What a store rounds its times to, by one of them: stores keep seconds or parts of them."""
    micros = next(micros for micros in (1_000_000, 1_000, 1) if time.microsecond % micros == 0)
    return timedelta(microseconds=micros)
