"""Compares two stores run by run, each run on its own where a chunk cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from trackbridge import items, shared
from trackbridge.adapter import Query, Reader, RunInfo, Writer
from trackbridge.choose import EVERY_RUN, chosen
from trackbridge.errors import (
    BridgeError,
    ConfigError,
    TransientError,
    UnsupportedError,
)
from trackbridge.filing import WHOLE, FileChoice
from trackbridge.gone import Search
from trackbridge.placing import NO_RENAMES, Placing, check_renames
from trackbridge.plan import chunked
from trackbridge.progress import SILENCE, Progress
from trackbridge.proof import Comparison, Difference, compare_chunk
from trackbridge.receipts import Receipts
from trackbridge.registry import NO_OPTIONS, open_reader, open_writer
from trackbridge.retry import persist

ABSENT = "not in the target"
"""What is said of a run that is not there."""


def verify(
    source: str,
    target: str,
    query: Query = EVERY_RUN,
    *,
    where: str | None = None,
    renames: Mapping[str, str] = NO_RENAMES,
    files: FileChoice = WHOLE,
    source_options: Mapping[str, str] = NO_OPTIONS,
    target_options: Mapping[str, str] = NO_OPTIONS,
    progress: Progress | None = None,
) -> Comparison:
    """Compare every run of the source with its copy in the target, value by value.

    Runs belong together by their key or, where no key was written, by project and id. The runs,
    projects and files are compared that `migrate` would move with the same options; what of that
    was left at the source is in the losses. Deleted runs are meant too, as there.
    """
    reader = open_reader(source, source_options)
    writer, other = _open_target(target, target_options)
    progress = progress or SILENCE
    meant = persist(lambda: chosen(reader, query, where))
    check_renames(renames, meant.runs, writer)
    others = persist(lambda: list(other.list_runs(EVERY_RUN)))
    here = persist(lambda: shared.births(reader, meant.wide, meant.listed))
    placing = Placing(here, others, writer, renames)
    runs = [placing.run(info) for info in meant.runs]
    partners = partners_of(others)
    pairs = {info: partners.get(info.key) or partners.get(info.ref) for info in runs}
    result = Comparison()
    result.losses.merge(meant.losses())
    for info, partner in pairs.items():
        if partner is None:
            result += Comparison(total=1, missing=1, differences=[_missing(info)])
        elif (elsewhere := placing.elsewhere(info)) is not None:
            what = f"{elsewhere!r}, not {info.key.label!r}"
            result.differences.append(Difference("/".join(info.ref), "runs", "project", what))
    progress.begin(len(runs), sum(info.points for info in runs))
    for chunk in chunked(info for info, partner in pairs.items() if partner):
        matched = [(info, partner) for info in chunk.runs if (partner := pairs[info])]
        result += compare_apart(reader, other, matched, writer, files)
        progress.points(chunk.points)
        progress.runs(len(chunk.runs))
    there = [(info.ref, info.key) for info in others]
    if writer is not None:
        there += [(writer.target(key), key) for _, key in here]
    renamed = persist(lambda: shared.renamed(other))
    named = partial(placing.project, renamed=renamed)
    origins = shared.Origins(here, placing.renamed(runs, renamed))
    rows = persist(lambda: shared.read_for(reader, meant.query, origins, named, result.losses))
    origins_there = shared.Origins(there)
    theirs = persist(lambda: shared.read(other, EVERY_RUN, origins_there))
    lacking = shared.lacking(rows, theirs)
    result.differences += [
        Difference("", table, " ".join(map(str, name)), "not in the target as in the source")
        for table, name in lacking
    ]
    labels = items.Labels(origins, writer, origins_there, named)
    result.items = items.compare(reader, other, meant.query, labels)
    result.differences += items.differences(result.items)
    search = Search(Receipts(reader.address, other.address).latest(), meant, reader, other)
    result.gone = search.everything(here, others, rows, origins, origins_there)
    return result


def _open_target(address: str, options: Mapping[str, str]) -> tuple[Writer | None, Reader]:
    """The target as its writer, if it has one: then its native form can be held to account."""
    reader = open_reader(address, options)
    try:
        writer = open_writer(address, options)
    except (UnsupportedError, ConfigError):
        return None, reader
    return writer, writer


def partners_of(runs: Iterable[RunInfo]) -> dict[Any, RunInfo]:
    """Runs of a target by the keys and by the refs that runs of a source may know them by."""
    found: dict[Any, RunInfo] = {}
    for info in runs:
        found[info.key] = info
        found[info.ref] = info
    return found


def _missing(info: RunInfo) -> Difference:
    return Difference("/".join(info.ref), "runs", None, ABSENT)


def compare_apart(
    source: Reader,
    target: Reader,
    pairs: Sequence[tuple[RunInfo, RunInfo]],
    writer: Writer | None = None,
    files: FileChoice = WHOLE,
) -> Comparison:
    """As `compare_chunk`; a run that cannot be read is a difference of its own."""
    try:
        return persist(lambda: compare_chunk(source, target, pairs, writer, files))
    except (ConfigError, TransientError):
        raise
    except BridgeError as error:
        if len(pairs) == 1:
            run = "/".join(pairs[0][0].ref)
            return Comparison(total=1, differences=[Difference(run, "runs", None, str(error))])
    result, middle = Comparison(), len(pairs) // 2
    for half in (pairs[:middle], pairs[middle:]):
        result += compare_apart(source, target, half, writer, files)
    return result
