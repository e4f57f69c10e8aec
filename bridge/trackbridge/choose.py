"""Which runs of a store a person means."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches

from trackbridge.adapter import Query, Reader, RunInfo
from trackbridge.errors import NotFoundError
from trackbridge.losses import Loss, Losses
from trackbridge.where import parse

EVERY_RUN = Query()
NEAR = 4
"""Names that a hint lists at most."""
NOTHING = ("",)
"""Names that no project and no run has: in a query, an empty list would mean every one."""


@dataclass(frozen=True)
class Chosen:
    """The runs that are meant, and what a query left out of those that it named."""

    query: Query
    """In the store's own terms, for what belongs to no run but to those that are meant."""
    runs: list[RunInfo]
    deleted: list[RunInfo]
    """Runs that are left out since they are marked as deleted."""
    wide: Query
    listed: list[RunInfo]
    """What was listed for which query: the above, and runs that do not meet the expression."""

    @property
    def is_complete(self) -> bool:
        """Whether every run of the projects that are named is meant, but for deleted ones."""
        return not self.query.run_ids and self.query.since is None

    @property
    def advice(self) -> str:
        """What a person should know where no run is meant; else nothing."""
        if self.runs:
            return ""
        if others := len(self.listed) - len(self.deleted):
            return f"of {others:,} none meets the expression; see `show` and `ls`"
        return "no run of the source is meant; `trackbridge ls` lists what is there"

    def losses(self) -> list[Loss]:
        """What is left out without having been asked for, so that nobody overlooks it."""
        losses = Losses()
        losses.add(
            "deleted runs left out", "--include-deleted moves them", len(self.deleted), kept=False
        )
        return losses.list()


def chosen(reader: Reader, query: Query, where: str | None = None) -> Chosen:
    """The runs that a query means and that meet the expression `where`, if there is one.

    A run may be named by any of its `ids`. `NotFoundError` for a project or run
    that is named in vain; no run has to meet the expression.
    """
    clauses = [] if where is None else parse(where)
    wide = replace(query, include_deleted=True)
    listed = list(reader.list_runs(wide))
    unknown = set(query.run_ids) - {info.ref.run_id for info in listed}
    if unknown:
        wide = replace(wide, run_ids=[*_native(reader, wide, unknown)])
        listed = list(reader.list_runs(wide))
    query = replace(wide, include_deleted=query.include_deleted)
    deleted = [] if query.include_deleted else [info for info in listed if info.deleted]
    runs = [info for info in listed if query.include_deleted or not info.deleted]
    _refuse_vain(reader, query, runs, deleted)
    if clauses:
        from trackbridge.sift import sift

        runs, deleted = sift(reader, runs, clauses), sift(reader, deleted, clauses)
        projects = sorted({info.ref.project for info in runs})
        run_ids = [info.ref.run_id for info in runs]
        query = replace(query, projects=projects or NOTHING, run_ids=run_ids or NOTHING)
    return Chosen(query, runs, deleted, wide, listed)


def _refuse_vain(
    reader: Reader, query: Query, runs: Collection[RunInfo], deleted: Collection[RunInfo]
) -> None:
    for field, what, named in ((0, "project", query.projects), (1, "run", query.run_ids)):
        gone = {info.ref[field] for info in deleted}
        vain = sorted(set(named) - {info.ref[field] for info in runs})
        if not vain:
            continue
        hint = "`trackbridge ls` lists what is there"
        if gone & set(vain):
            hint = f"{min(gone & set(vain))!r} is deleted; --include-deleted means it too"
        elif what == "project":
            every = reader.list_runs(EVERY_RUN)
            shown = (info for info in every if query.include_deleted or not info.deleted)
            there = {info.ref.project for info in shown}
            hint = f"there are {near(vain[0], there)}; {hint}"
        raise NotFoundError(
            f"{reader.address}: no {what} {', '.join(map(repr, vain))} among the runs that "
            f"are meant; {hint}"
        )


def near(name: str, there: Collection[str]) -> str:
    """Some of the names, first those that the person may have meant."""
    close = get_close_matches(name, there, NEAR, 0.4)
    some = [*close, *sorted(set(there) - set(close))]
    return ", ".join(map(repr, some[:NEAR])) + (" ..." if len(some) > NEAR else "") or "none"


def _native(reader: Reader, query: Query, unknown: set[str]) -> Iterator[str]:
    """The ids of the query, those that are unknown in the store's own terms where it has them."""
    meant: dict[str, list[str]] = {}
    for info in reader.list_runs(replace(query, run_ids=())):
        for run_id in info.ids & unknown:
            meant.setdefault(run_id, []).append(info.ref.run_id)
    for run_id in query.run_ids:
        yield from meant.get(run_id, [run_id])
