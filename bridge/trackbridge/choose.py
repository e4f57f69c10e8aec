"""Which runs of a store a person means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches

from trackbridge.adapter import Query, Reader, RunInfo
from trackbridge.errors import NotFoundError

EVERY_RUN = Query()


def chosen(reader: Reader, query: Query) -> tuple[Query, list[RunInfo]]:
    """The query in the store's own terms, and the runs that it means.

    A run may also be named by the id that it was born with. `NotFoundError` for a project or run
    that is named in vain.
    """
    runs = list(reader.list_runs(query))
    unknown = set(query.run_ids) - {info.ref.run_id for info in runs}
    if unknown:
        query = replace(query, run_ids=[*_native(reader, query, unknown)])
        runs = list(reader.list_runs(query))
    for what, named, seen in (
        ("project", query.projects, {info.ref.project for info in runs}),
        ("run", query.run_ids, {info.ref.run_id for info in runs}),
    ):
        vain = sorted(set(named) - seen)
        if vain:
            hint = "`trackbridge ls` lists what is there"
            if what == "project":
                there = {info.ref.project for info in reader.list_runs(EVERY_RUN)}
                hint = f"there are {_near(vain[0], there)}; {hint}"
            raise NotFoundError(
                f"{reader.address}: no {what} {', '.join(map(repr, vain))} among the runs that "
                f"are meant; {hint}"
            )
    return query, runs


def _near(name: str, there: set[str]) -> str:
    """Those of the names that the person may have meant."""
    near = get_close_matches(name, there, 3, 0.4) or sorted(there)[:3]
    return ", ".join(map(repr, near)) or "none"


def _native(reader: Reader, query: Query, unknown: set[str]) -> Iterator[str]:
    """The ids of the query, those that are unknown in the store's own terms where it has them."""
    born: dict[str, list[str]] = {}
    for info in reader.list_runs(replace(query, run_ids=())):
        born.setdefault(info.key.run_id, []).append(info.ref.run_id)
    for run_id in query.run_ids:
        yield from born.get(run_id, [run_id]) if run_id in unknown else [run_id]
