"""How results are printed: tables for people, one JSON object for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from trackbridge.adapter import RunInfo
    from trackbridge.choose import Chosen
    from trackbridge.engine import Report
    from trackbridge.forecast import Forecast
    from trackbridge.gone import Gone
    from trackbridge.losses import Loss
    from trackbridge.optional import Assumption
    from trackbridge.proof import Comparison, Tally

Sections = dict[str, list[list[str]]]
"""What is shown of one run: rows of cells by title."""

LOSSES = {
    True: "not shown natively by the target (kept beside each run, restored on the way back):",
    False: "not moved, or not kept as it was:",
}
"""What is said of losses, by whether they are kept."""

GONE = {False: "not found at the source any more", True: "marked as deleted at the source"}
"""What has become of things at the source, by whether they are marked."""

MOST_DIFFERENCES = 50
MOST_LINES = 20
"""Lines about damage, and about failures, that are printed; `--json` has all."""
LONGEST = 300
"""Characters of a cell of `show` that are printed; the same holds."""
MOST_GONE = 3
"""Names of what was deleted at the source that are printed; the same holds."""


def print_forecast(found: Forecast, as_json: bool) -> None:
    """What a migration would do."""
    if as_json:
        losses = [_loss_document(loss) for loss in found.losses]
        document = {**asdict(found), "bytes": found.size, "losses": losses}
        document["assumed"] = [assumed._asdict() for assumed in found.assumed]
        del document["size"], document["advice"]
        click.echo(json.dumps(document))
        return
    click.echo(
        f"{counted(found.runs, 'runs')}, {counted(found.points, 'points')}, "
        f"{counted(found.files, 'files')}, {readable(found.size)}; "
        f"about {_duration(found.estimate_seconds)}"
    )
    _print_assumptions(found.assumed)
    if found.skipped:
        click.echo(f"in the target already, proven and unchanged: {counted(found.skipped, 'runs')}")
    if found.compared:
        click.echo(f"in the target, to be compared first: {counted(found.compared, 'runs')}")
    if found.api_calls:
        click.echo(f"about {counted(found.api_calls, 'API calls')}")
    for kind, number in found.items.items():
        click.echo(counted(number, _words(kind)))
    _print_losses(found.losses)
    if found.advice:
        line(f"note: {found.advice}", err=True)
    _lines("damaged", found.damage)
    _lines("would fail", [f"run {failure.run}: {failure.error}" for failure in found.failures])


def _print_assumptions(assumed: Iterable[Assumption]) -> None:
    """What the source is read as, part by part."""
    for where, some in groupby(assumed, key=lambda assumption: assumption.where):
        click.echo(f"{where} is read as:")
        table((), ((f"  {assumption.what}", assumption.meaning) for assumption in some))


def print_report(report: Report, target: str, as_json: bool) -> None:
    """What a migration did; damage and failures go to stderr."""
    if as_json:
        click.echo(json.dumps(_report_document(report)))
    else:
        click.echo(
            f"{counted(report.total, 'runs')}: {report.copied:,} copied, "
            f"{report.updated:,} updated, {report.skipped:,} already there, "
            f"{_failed(report):,} failed; {counted(report.points, 'points')}, "
            f"{counted(report.files, 'files')}, {readable(report.size)} "
            f"in {_duration(report.seconds)}"
        )
        for kind, tally in report.items.items():
            click.echo(
                f"{counted(tally.total, _words(kind))}: {tally.copied:,} copied, "
                f"{tally.updated:,} updated, {tally.skipped:,} already there, "
                f"{len(tally.failures)} failed"
            )
        _print_losses(report.losses)
        if report.verified and report.total:
            line(_proof(report, target))
        _print_gone(report.gone, target)
    if report.advice:
        line(f"note: {report.advice}", err=True)
    _lines("damaged", report.damage)
    _lines("failed", [f"run {failure.run}: {failure.error}" for failure in report.failures])


def _lines(what: str, texts: list[str]) -> None:
    for text in texts[:MOST_LINES]:
        line(f"{what}: {text}", err=True)
    if len(texts) > MOST_LINES:
        line(f"{what}: and {len(texts) - MOST_LINES} more; `--json` lists them all", err=True)


def _proof(report: Report, target: str) -> str:
    moved = report.copied + report.updated
    if not moved:
        return (
            f"nothing to do: {counted(report.skipped, 'runs')} proven to be in {target} before, "
            "and unchanged on both sides (`trackbridge verify` compares again)"
        )
    if not report.skipped:
        return f"verified: every run was read back from {target} and is equal"
    return (
        f"verified: {counted(moved, 'runs')} read back from {target}, and equal; "
        f"{report.skipped:,} proven before, and unchanged at the source (`trackbridge verify` "
        "compares again)"
    )


def _report_document(report: Report) -> dict[str, Any]:
    return {
        "runs": {
            "total": report.total,
            "copied": report.copied,
            "updated": report.updated,
            "skipped": report.skipped,
            "failed": _failed(report),
        },
        "items": {kind: _moved(tally) for kind, tally in report.items.items()},
        "points": report.points,
        "files": report.files,
        "bytes": report.size,
        "losses": [_loss_document(loss) for loss in report.losses],
        "verified": report.verified,
        "failures": [asdict(failure) for failure in report.failures],
        "damage": report.damage,
        "gone": [asdict(gone) for gone in report.gone],
        "seconds": round(report.seconds, 3),
    }


def _failed(report: Report) -> int:
    """Failures but for those of items, which are counted by their kinds."""
    return len(report.failures) - sum(len(tally.failures) for tally in report.items.values())


def _words(kind: str) -> str:
    """What people call things of a kind."""
    from trackbridge.schema import ITEMS  # Arrow comes with it, which help does not need

    return ITEMS[kind].words if kind in ITEMS else kind.replace("_", " ")


def _moved(tally: Tally) -> dict[str, int]:
    numbers = ("total", "copied", "updated", "skipped")
    return {**{n: getattr(tally, n) for n in numbers}, "failed": len(tally.failures)}


def _print_losses(losses: Iterable[Loss]) -> None:
    losses = list(losses)
    for kept, title in LOSSES.items():
        some = [loss for loss in losses if loss.kept == kept]
        if some:
            click.echo(title)
            table((), ((f"  {loss.kind}", f"{loss.count:,}", loss.example) for loss in some))


def _loss_document(loss: Loss) -> dict[str, Any]:
    return {"kind": loss.kind, "count": loss.count, "example": loss.example}


def _print_gone(found: Iterable[Gone], target: str) -> None:
    for gone in found:
        some = [
            f"{name} ({gone.called[name]})" if name in gone.called else name
            for name in gone.names[:MOST_GONE]
        ]
        names = ", ".join(some) + (", ..." if len(gone.names) > MOST_GONE else "")
        line(
            f"{GONE[gone.marked]}: {counted(len(gone.names), _words(gone.kind))} in {target} that "
            f"came from this source: {names}; left alone: remove yourself what is not wanted in "
            "the target either"
        )


def print_comparison(result: Comparison, target: str, as_json: bool) -> None:
    """Whether two stores are equal, and what is not."""
    if as_json:
        document = {
            "runs": {
                "total": result.total,
                "equal": result.equal,
                "different": result.different,
                "missing": result.missing,
            },
            "series": {"total": result.series, "equal": result.series_equal},
            "items": {
                kind: {"total": tally.total, "equal": tally.equal, "held": tally.held}
                for kind, tally in result.items.items()
                if tally.total
            },
            "differences": [asdict(difference) for difference in result.differences],
            "losses": [_loss_document(loss) for loss in result.losses.list()],
            "gone": [asdict(gone) for gone in result.gone],
        }
        click.echo(json.dumps(document))
        return
    for difference in result.differences[:MOST_DIFFERENCES]:
        line(str(difference))
    if len(result.differences) > MOST_DIFFERENCES:
        more = len(result.differences) - MOST_DIFFERENCES
        click.echo(f"and {more} more differences; `--json` lists them all")
    click.echo(
        f"{counted(result.total, 'runs')}: {result.equal:,} equal, {result.different:,} different, "
        f"{result.missing:,} missing; {counted(result.series, 'metric series')}: "
        f"{result.series_equal:,} equal"
    )
    for kind, tally in result.items.items():
        words = counted(tally.total, _words(kind))
        if tally.total and tally.held:
            click.echo(f"{words}: {tally.equal:,} equal")
        elif tally.total:
            click.echo(f"{words}: not compared, the target holds none")
    losses = result.losses.list()
    if losses:
        click.echo("not compared, since they were not to be moved:")
        table((), ((f"  {loss.kind}", f"{loss.count:,}", loss.example) for loss in losses))
    _print_gone(result.gone, target)


def print_runs(meant: Chosen, as_json: bool) -> None:
    """A listing, and how many deleted runs are not in it."""
    runs, deleted = meant.runs, len(meant.deleted)
    if as_json:
        click.echo(json.dumps({"runs": [_described(info) for info in runs]}))
        return
    header: tuple[str, ...] = ("project", "run", "status", "started", "points", "name")
    rows = [_columns(info) for info in runs]
    if any(info.native_id for info in runs):
        header = (*header, "id on the server")
        rows = [(*row, info.native_id or info.ref.run_id) for row, info in zip(rows, runs)]
    table(header, rows)
    hidden = f"; not shown: {deleted:,} deleted (--include-deleted)" if deleted else ""
    every = len(meant.listed)
    some = f"{len(runs):,} of " if every > len(runs) + deleted else ""
    click.echo(f"{some}{counted(every if some else len(runs), 'runs')}{hidden}", err=True)


def _columns(info: RunInfo) -> tuple[str, ...]:
    started = f"{info.started:%Y-%m-%d %H:%M}" if info.started else "-"
    status = f"{info.status or '-'}{' (deleted)' if info.deleted else ''}"
    points = f"{'~' if info.estimated else ''}{info.points:,}"
    return (info.ref.project, info.ref.run_id, status, started, points, info.name or "")


def _described(info: RunInfo) -> dict[str, Any]:
    return {
        "project": info.ref.project,
        "run_id": info.ref.run_id,
        "native_id": info.native_id,
        "key": str(info.key),
        "name": info.name,
        "status": info.status,
        "deleted": info.deleted,
        "started": info.started.isoformat() if info.started else None,
        "points": info.points,
        "estimated": info.estimated,
        "files": info.files,
        "bytes": info.size,
    }


def print_run(shown: Sections, as_json: bool) -> None:
    """One run, section by section."""
    if as_json:
        click.echo(json.dumps(shown))
        return
    for title, rows in shown.items():
        click.secho(title, bold=True)
        readable = READABLE[title](rows) if title in READABLE else rows
        table((), ([f"  {_cut(first)}", *map(_cut, rest)] for first, *rest in readable))


def _with_extra_apart(rows: Iterable[list[str]]) -> Iterator[list[str]]:
    """Facts of a run, each native field with no column of its own in a row of its own."""
    for name, value in rows:
        if name != "extra":
            yield [name, value]
            continue
        for field, inner in json.loads(value).items():
            text = inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False)
            yield [f"extra.{field}", text]


def _with_aliases(rows: Iterable[list[str]]) -> Iterator[list[str]]:
    """Artifacts by the name that they are asked for, and by the aliases that are as good."""
    for collection, version, kind, direction, digest, aliases in rows:
        name = f"{collection}:{version}" if version else collection
        yield [name, ", ".join(json.loads(aliases or "[]")), kind, direction, digest]


READABLE = {"run": _with_extra_apart, "artifacts": _with_aliases}
"""How sections are put for people, by title."""


def _cut(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}... ({counted(len(text), 'characters')})"


def counted(number: int, plural: str) -> str:
    """So many things, in words."""
    singular = plural if plural.endswith("series") else plural.removesuffix("s")
    return f"{number:,} {singular if number == 1 else plural}"


def line(text: str, *, err: bool = False) -> None:
    """One line, whatever is in the names and messages that it quotes."""
    click.echo(_visible(text), err=err)


def table(header: tuple[str, ...], rows: Iterable[Iterable[Any]]) -> None:
    """Left-aligned columns; control characters in data must not steer the terminal."""
    lines = [[_visible(cell) for cell in row] for row in rows]
    every = [list(header), *lines] if header else lines
    if not every:
        return
    widths = [min(60, max(len(row[i]) for row in every)) for i in range(len(every[0]))]
    for number, row in enumerate(every):
        text = "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
        click.echo(click.style(text, bold=True) if header and number == 0 else text)


def _visible(cell: Any) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(cell))


def readable(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
