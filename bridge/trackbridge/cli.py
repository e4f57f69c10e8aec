"""The command line: builds objects, prints, decides nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import datetime, timezone
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trackbridge import __version__
from trackbridge.errors import BridgeError, ConfigError, NotFoundError

if TYPE_CHECKING:
    from trackbridge.adapter import Query, RunInfo
    from trackbridge.engine import Report
    from trackbridge.losses import Loss
    from trackbridge.proof import Comparison

Command = TypeVar("Command", bound=Callable[..., Any])

LOSSES = {
    True: "not shown natively by the target (kept beside each run, restored on the way back):",
    False: "not moved, so that the target has nothing of it:",
}
"""What is said of losses, by whether they are kept."""

MOST_DIFFERENCES = 50
MOST_LINES = 20
"""Lines about damage, and about failures, that are printed; `--json` has all."""

EXAMPLES = """\b
Examples:
  trackbridge ls ./wandb                          look before you move
  trackbridge plan ./wandb ./mlflow.db            what will move, and what cannot be shown
  trackbridge migrate ./wandb ./mlflow.db         W&B run folders to MLflow
  trackbridge migrate ./mlflow.db ./wandb-out     MLflow to run folders for `wandb sync`
  trackbridge export ./mlflow.db ./archive        to Parquet; `import` brings it back
  trackbridge verify ./wandb ./mlflow.db          compare value by value

\b
A store is a path or URL, or an address that says what it is:
  mlflow:sqlite:///mlflow.db   mlflow:./mlruns   wandb-files:./wandb   archive:./out
"""


class _Group(click.Group):
    """Turns the errors that users can act on into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ConfigError, NotFoundError) as error:
            _fail(error, 2)
        except BrokenPipeError:
            raise  # whoever reads the output has seen enough
        except (BridgeError, OSError) as error:
            _fail(error, 1)
        except KeyboardInterrupt:
            click.echo("stopped; the same command goes on where this one ended", err=True)
            ctx.exit(130)


def _fail(error: Exception, code: int) -> None:
    _line(f"Error: {error}", err=True)
    sys.exit(code)


@click.group(cls=_Group, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trackbridge")
def main() -> None:
    """Move experiment-tracking data between stores: lossless, proven, restartable.

    Sources are never altered. Every run is read back from its target and compared value by
    value before it counts. A command that was interrupted is finished by calling it again.
    """


def _selection(command: Command) -> Command:
    """Options that say which runs are meant."""
    for option in (
        click.option("--since", metavar="TIME", help="Only runs started since, e.g. 2024-05-01."),
        click.option(
            "--run", "runs", multiple=True, metavar="ID", help="Only this run; repeatable."
        ),
        click.option(
            "--project",
            "projects",
            multiple=True,
            metavar="NAME",
            help="Only runs of this project or experiment; repeatable.",
        ),
    ):
        command = option(command)
    return command


def _json(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def _movement(command: Command) -> Command:
    """Options of the commands that write."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        return command(*args, **kwargs)

    for option in (
        click.option("--strict", is_flag=True, help="Damage in the source makes the exit code 1."),
        click.option("--dry-run", is_flag=True, help="Only say what would be done, like `plan`."),
        click.option(
            "--workers",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            help="Processes, for targets that take several writers.",
        ),
        click.option(
            "--artifact-root",
            metavar="PATH",
            help="Where a database target keeps files (default: as the target itself would).",
        ),
    ):
        run = option(run)
    return _selection(_json(run))  # type: ignore[return-value]


@main.command()
@click.argument("source")
@click.argument("target")
@_movement
def migrate(source: str, target: str, **options: Any) -> None:
    """Copy runs from SOURCE to TARGET and prove that they arrived.

    Runs that are there already and have not changed are skipped; changed ones are brought up to
    date. What TARGET cannot show is named, kept beside the run, and comes back on the way home.
    """
    _migrate(source, target, **options)


@main.command()
@click.argument("source")
@click.argument("archive")
@_movement
def export(source: str, archive: str, **options: Any) -> None:
    """Copy runs from SOURCE into a Parquet ARCHIVE (a folder or any fsspec URL)."""
    _migrate(source, _archive(archive), **options)


@main.command(name="import")
@click.argument("archive")
@click.argument("target")
@_movement
def import_(archive: str, target: str, **options: Any) -> None:
    """Copy runs from a Parquet ARCHIVE into TARGET."""
    _migrate(_archive(archive), target, **options)


@main.command()
@click.argument("source")
@click.argument("target")
@_selection
@_json
def plan(source: str, target: str, as_json: bool, **selection: Any) -> None:
    """Say what migrating SOURCE to TARGET would move, and what TARGET could not show.

    Reads everything but the files' contents; writes nothing.
    """
    _plan(source, target, as_json, _query(**selection))


@main.command()
@click.argument("source")
@click.argument("target")
@_selection
@_json
def verify(source: str, target: str, as_json: bool, **selection: Any) -> None:
    """Compare every run of SOURCE with its copy in TARGET, value by value.

    The exit code is 0 only if every run is there and equal.
    """
    from trackbridge.compare import verify as compare
    from trackbridge.progress import Bars

    with Bars("verify") as bars:
        result = compare(source, target, _query(**selection), progress=bars)
    _print_comparison(result, as_json)
    sys.exit(0 if result.holds else 1)


@main.command()
@click.argument("store")
@_selection
@_json
def ls(store: str, as_json: bool, **selection: Any) -> None:
    """List the runs of STORE."""
    from trackbridge.choose import chosen
    from trackbridge.registry import open_reader
    from trackbridge.retry import persist

    _, runs = persist(lambda: chosen(open_reader(store), _query(**selection)))
    if as_json:
        click.echo(json.dumps({"runs": [_described(info) for info in runs]}))
        return
    header = ("project", "run", "status", "started", "points", "name")
    _table(header, (_columns(info) for info in runs))
    click.echo(f"{len(runs)} runs", err=True)


@main.command()
@click.argument("store")
@click.argument("run")
@_json
def show(store: str, run: str, as_json: bool) -> None:
    """Show one RUN of STORE: what it is, its params and tags, its metrics, its files."""
    from trackbridge.show import summarize

    shown = summarize(store, run)
    if as_json:
        click.echo(json.dumps(shown))
        return
    for title, rows in shown.items():
        if rows:
            click.secho(title, bold=True)
            _table(
                (), ([f"  {cell}" if i == 0 else cell for i, cell in enumerate(r)] for r in rows)
            )


@main.command()
@click.argument("stores", nargs=-1)
@_json
def doctor(stores: tuple[str, ...], as_json: bool) -> None:
    """Check this installation, and whether the named STORES can be read."""
    from trackbridge.doctor import examine

    findings = examine(stores)
    if as_json:
        click.echo(json.dumps({"checks": [asdict(finding) for finding in findings]}))
    else:
        marks = {True: "ok", False: "FAIL", None: "-"}
        _table((), ((marks[f.good], f.name, f.what) for f in findings))
    sys.exit(1 if any(finding.good is False for finding in findings) else 0)


def _migrate(
    source: str,
    target: str,
    *,
    as_json: bool,
    workers: int,
    dry_run: bool,
    strict: bool,
    artifact_root: str | None,
    **selection: Any,
) -> None:
    from trackbridge.engine import migrate as move
    from trackbridge.progress import Bars

    query = _query(**selection)
    if dry_run:
        _plan(source, target, as_json, query)
        return
    options = {"artifact_root": artifact_root} if artifact_root else {}
    with Bars("migrate") as bars:
        report = move(source, target, query, workers=workers, target_options=options, progress=bars)
    _print_report(report, target, as_json)
    if strict and report.damage:
        _line("strict: what is damaged in the source makes the exit code 1", err=True)
    sys.exit(0 if report.verified and not (strict and report.damage) else 1)


def _plan(source: str, target: str, as_json: bool, query: Query) -> None:
    from trackbridge.forecast import forecast
    from trackbridge.progress import Bars

    with Bars("plan") as bars:
        found = forecast(source, target, query, progress=bars)
    if as_json:
        losses = [_loss_document(loss) for loss in found.losses]
        document = {**asdict(found), "bytes": found.size, "losses": losses}
        del document["size"]
        click.echo(json.dumps(document))
        return
    click.echo(
        f"{found.runs} runs, {found.points:,} points, {found.files} files, {_size(found.size)}; "
        f"about {_duration(found.estimate_seconds)}"
    )
    _print_losses(found.losses)


def _print_report(report: Report, target: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_report_document(report)))
    else:
        click.echo(
            f"{report.total} runs: {report.copied} copied, {report.updated} updated, "
            f"{report.skipped} already there, {len(report.failures)} failed; "
            f"{report.points:,} points, {report.files} files, {_size(report.size)} "
            f"in {_duration(report.seconds)}"
        )
        _print_losses(report.losses)
        if report.verified and report.total:
            _line(_proof(report, target))
    _lines("damaged", report.damage)
    _lines("failed", [f"run {failure.run}: {failure.error}" for failure in report.failures])


def _lines(what: str, texts: list[str]) -> None:
    for text in texts[:MOST_LINES]:
        _line(f"{what}: {text}", err=True)
    if len(texts) > MOST_LINES:
        _line(f"{what}: and {len(texts) - MOST_LINES} more; `--json` lists them all", err=True)


def _proof(report: Report, target: str) -> str:
    if not report.skipped:
        return f"verified: every run was read back from {target} and is equal"
    moved = report.copied + report.updated
    return (
        f"verified: {moved} runs were read back from {target} and are equal; {report.skipped} were "
        "proven before and have not changed at the source (`trackbridge verify` compares again)"
    )


def _report_document(report: Report) -> dict[str, Any]:
    return {
        "runs": {
            "total": report.total,
            "copied": report.copied,
            "updated": report.updated,
            "skipped": report.skipped,
            "failed": len(report.failures),
        },
        "points": report.points,
        "files": report.files,
        "bytes": report.size,
        "losses": [_loss_document(loss) for loss in report.losses],
        "verified": report.verified,
        "failures": [asdict(failure) for failure in report.failures],
        "damage": report.damage,
        "seconds": round(report.seconds, 3),
    }


def _print_losses(losses: Iterable[Loss]) -> None:
    losses = list(losses)
    for title, kept in (
        (
            "not shown natively by the target (kept beside each run, restored on the way back):",
            True,
        ),
        ("not moved, the target has nothing of it:", False),
    ):
        some = [loss for loss in losses if loss.kept == kept]
        if some:
            click.echo(title)
            _table((), ((f"  {loss.kind}", f"{loss.count:,}", loss.example) for loss in some))


def _loss_document(loss: Loss) -> dict[str, Any]:
    return {"kind": loss.kind, "count": loss.count, "example": loss.example}


def _print_comparison(result: Comparison, as_json: bool) -> None:
    if as_json:
        document = {
            "runs": {
                "total": result.total,
                "equal": result.equal,
                "different": result.different,
                "missing": result.missing,
            },
            "series": {"total": result.series, "equal": result.series_equal},
            "differences": [asdict(difference) for difference in result.differences],
        }
        click.echo(json.dumps(document))
        return
    for difference in result.differences[:MOST_DIFFERENCES]:
        _line(str(difference))
    if len(result.differences) > MOST_DIFFERENCES:
        more = len(result.differences) - MOST_DIFFERENCES
        click.echo(f"and {more} more differences; `--json` lists them all")
    click.echo(
        f"{result.total} runs: {result.equal} equal, {result.different} different, "
        f"{result.missing} missing; {result.series} metric series: {result.series_equal} equal"
    )


def _archive(address: str) -> str:
    return address if address.startswith("archive:") else f"archive:{address}"


def _query(projects: tuple[str, ...], runs: tuple[str, ...], since: str | None) -> Query:
    from trackbridge.adapter import Query

    return Query(projects=projects, run_ids=runs, since=_time(since) if since else None)


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time; write it like 2024-05-01T12:30") from None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def _columns(info: RunInfo) -> tuple[str, ...]:
    started = f"{info.started:%Y-%m-%d %H:%M}" if info.started else "-"
    status = info.status or "-"
    points = f"{'~' if info.estimated else ''}{info.points:,}"
    return (info.ref.project, info.ref.run_id, status, started, points, info.name or "")


def _described(info: RunInfo) -> dict[str, Any]:
    return {
        "project": info.ref.project,
        "run_id": info.ref.run_id,
        "key": str(info.key),
        "name": info.name,
        "status": info.status,
        "started": info.started.isoformat() if info.started else None,
        "points": info.points,
        "estimated": info.estimated,
        "files": info.files,
        "bytes": info.size,
    }


def _line(text: str, *, err: bool = False) -> None:
    """One line, whatever is in the names and messages that it quotes."""
    click.echo(_visible(text), err=err)


def _table(header: tuple[str, ...], rows: Iterable[Iterable[Any]]) -> None:
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


def _size(count: float) -> str:
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
