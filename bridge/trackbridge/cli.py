"""The command line: builds objects, has results printed, decides nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trackbridge import __version__
from trackbridge.cli_audit import archive_at, audit, export_at
from trackbridge.cli_dual import COMMANDS
from trackbridge.cli_redact import Wish, look, salted, wish
from trackbridge.errors import BridgeError, ConfigError, NotFoundError, without_secrets
from trackbridge.output import (
    line,
    print_comparison,
    print_forecast,
    print_report,
    print_run,
    print_runs,
    table,
)

if TYPE_CHECKING:
    from trackbridge.adapter import Query

Command = TypeVar("Command", bound=Callable[..., Any])

EXAMPLES = """\b
Examples:
  trackbridge ls ./wandb                          look before you move
  trackbridge plan ./wandb ./mlflow.db            what will move, and what cannot be shown
  trackbridge migrate ./wandb ./mlflow.db         W&B run folders to MLflow
  trackbridge migrate ./mlflow.db ./wandb-out     MLflow to run folders for `wandb sync`
  trackbridge export ./mlflow.db ./archive        to Parquet; `import` brings it back
  trackbridge export ./mlflow.db csv:./tables     to tables, for pandas or a spreadsheet
  trackbridge verify ./wandb ./mlflow.db          compare value by value

\b
A store is a path or URL, or an address that says what it is:
  mlflow:sqlite:///mlflow.db   mlflow:./mlruns   wandb-files:./wandb   archive:./out
  mlflow:http://host:5000      wandb:entity/project   csv:points.csv   jsonl:./logs
  tensorboard:./runs           neptune:./exports      journal:./trackbridge
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
    line(f"Error: {error}", err=True)
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
    return _with(
        command,
        click.option(
            "--project",
            "projects",
            multiple=True,
            metavar="NAME",
            help="Only runs of this project or experiment; repeatable.",
        ),
        click.option(
            "--run", "runs", multiple=True, metavar="ID", help="Only this run; repeatable."
        ),
        click.option(
            "--where",
            metavar="EXPR",
            help="Only runs that meet it, in MLflow's search syntax whatever the store is: "
            "\"metrics.loss < 0.1 and params.model = 'cnn' and tags.team LIKE '%nlp%'\".",
        ),
        click.option("--since", metavar="TIME", help="Only runs started since, e.g. 2024-05-01."),
        click.option(
            "--include-deleted",
            is_flag=True,
            help="Runs and projects too that are marked as deleted.",
        ),
    )


def _placement(command: Command) -> Command:
    """Options that say how runs arrive, for the commands that move or compare them."""
    return _with(
        command,
        click.option(
            "--rename-project",
            "renames",
            multiple=True,
            metavar="OLD=NEW",
            help="Call a project otherwise in the target; repeatable. Tells apart projects of "
            "one name that come from two stores.",
        ),
        click.option(
            "--artifacts",
            type=click.Choice(["copy", "reference", "skip"]),
            default="copy",
            show_default=True,
            help="Files: move them, keep only their addresses, or leave them out.",
        ),
        click.option(
            "--max-file-size",
            metavar="SIZE",
            help="Move files up to this size, e.g. 100MB; of larger ones keep the addresses.",
        ),
    )


def _politeness(command: Command) -> Command:
    return click.option(
        "--max-rps",
        metavar="N",
        help="At most so many API calls a second to a server that limits them, by all workers of "
        "this machine together, e.g. 0.8.",
    )(command)


def _reading(command: Command) -> Command:
    """Options that say how the source is read."""
    return _politeness(
        click.option(
            "--columns",
            metavar="ROLE=COLUMN,...",
            help="What the columns of a table mean, where their names do not tell: "
            "run=trial,step=iter,param=lr,metric=*; `plan` shows what they are taken for.",
        )(command)
    )


def _with(command: Command, *options: Callable[[Command], Command]) -> Command:
    """A command with options, which help shows in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def _json(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def _root(command: Command) -> Command:
    return click.option(
        "--artifact-root",
        metavar="PATH",
        help="Where a database target keeps files (default: as the target itself would).",
    )(command)


def _strictness(command: Command) -> Command:
    return click.option(
        "--strict",
        is_flag=True,
        help="Damage in the source, and what was deleted there since it was moved, make the exit "
        "code 1. Where records are redacted, nothing leaves while there are files that nobody can "
        "look into.",
    )(command)


def _movement(command: Command) -> Command:
    """Options of the commands that write."""
    command = _with(
        _json(command),
        click.option(
            "--workers",
            type=click.IntRange(1),
            help="So many chunks at a time, for targets that take several writers (default: one, "
            "or as many as a cluster has places).",
        ),
        click.option(
            "--engine",
            type=click.Choice(["processes", "dask", "ray", "spark"]),
            default="processes",
            show_default=True,
            help="Where that is done: on this machine, or by a cluster.",
        ),
        click.option(
            "--engine-address",
            metavar="ADDRESS",
            help="The cluster, e.g. tcp://host:8786, ray://host:10001, spark://host:7077 "
            "(default: one that is started here).",
        ),
        click.option("--dry-run", is_flag=True, help="Only say what would be done, like `plan`."),
    )
    return _selection(_placement(_strictness(_reading(command))))


@main.command()
@click.argument("source")
@click.argument("target")
@_movement
@_root
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
@click.option(
    "--redact",
    "rules",
    type=click.Path(path_type=Path),
    metavar="RULES",
    help="Take credentials, names and whatever the rules say out of everything; an empty file will "
    "do. What is found is said before anything leaves, and with --dry-run nothing does.",
)
@salted
def export(
    source: str, archive: str, rules: Path | None, salt: Path | None, **options: Any
) -> None:
    """Copy runs from SOURCE into a Parquet ARCHIVE (a folder or any fsspec URL).

    Or into plain tables, a file for each: csv:FOLDER, jsonl:FOLDER.
    """
    target = export_at(archive)
    to_archive = target.startswith("archive:")
    if rules is not None and not to_archive:
        raise ConfigError(
            f"{target}: records are redacted on their way to an archive; export that one to tables"
        )
    _migrate(source, target, wish(rules, salt), to_archive=to_archive, **options)


@audit.command()
@click.argument("archive")
@click.argument("new")
@click.option(
    "--rules",
    required=True,
    type=click.Path(path_type=Path),
    help="What is to be taken out, in YAML; an empty file means credentials and names.",
)
@_movement
@salted
def redact(archive: str, new: str, rules: Path, salt: Path | None, **options: Any) -> None:
    """Copy ARCHIVE to a NEW one, without what must not leave.

    Credentials, e-mail addresses, names of users and hosts, home folders and IP addresses are found
    by themselves. What is found is said before anything is written; a ledger in the new archive
    says what was taken out where. ARCHIVE stays as it is.
    """
    _migrate(archive_at(archive), archive_at(new), wish(rules, salt), **options)


@main.command(name="import")
@click.argument("archive")
@click.argument("target")
@_movement
@_root
def import_(archive: str, target: str, **options: Any) -> None:
    """Copy runs from a Parquet ARCHIVE into TARGET."""
    _migrate(archive_at(archive), target, **options)


@main.command()
@click.argument("source")
@click.argument("target")
@_selection
@_placement
@_reading
@_json
def plan(source: str, target: str, as_json: bool, **options: Any) -> None:
    """Say what migrating SOURCE to TARGET would move, and what TARGET could not show.

    Reads everything but the files' contents; writes nothing. Give it the options that `migrate` is
    to get.
    """
    _plan(source, target, as_json, _wishes(source, target, **options))


@main.command()
@click.argument("source")
@click.argument("target")
@_selection
@_placement
@_strictness
@_reading
@_json
def verify(
    source: str,
    target: str,
    as_json: bool,
    strict: bool,
    **options: Any,
) -> None:
    """Compare every run of SOURCE with its copy in TARGET, value by value.

    The exit code is 0 only if every run is there and equal. Give it the options that `migrate` got:
    what was not to be moved is named, and no difference.
    """
    from trackbridge.comparison import verify as compare
    from trackbridge.progress import Bars

    wishes = _wishes(source, target, **options)
    with Bars("verify") as bars:
        result = compare(source, target, **wishes, progress=bars)
    print_comparison(result, without_secrets(target), as_json)
    sys.exit(0 if result.holds and not _too_much(strict, gone=result.gone) else 1)


@main.command()
@click.argument("store")
@_selection
@_reading
@_json
def ls(
    store: str,
    as_json: bool,
    where: str | None,
    max_rps: str | None,
    columns: str | None,
    **selection: Any,
) -> None:
    """List the runs of STORE."""
    from trackbridge.choose import chosen
    from trackbridge.registry import open_reader
    from trackbridge.retry import persist

    query = _query(**selection)
    (options,) = _options(max_rps, columns, store)
    meant = persist(lambda: chosen(open_reader(store, options), query, where))
    print_runs(meant, as_json)


@main.command()
@click.argument("store")
@click.argument("run")
@_reading
@_json
def show(store: str, run: str, as_json: bool, max_rps: str | None, columns: str | None) -> None:
    """Show one RUN of STORE: what it is, its params and tags, its metrics, its files."""
    from trackbridge.retry import persist
    from trackbridge.show import summarize

    (options,) = _options(max_rps, columns, store)
    shown = persist(lambda: summarize(store, run, options))
    print_run(shown, as_json)


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
        table((), ((marks[f.good], f.name, f.what) for f in findings))
    sys.exit(1 if any(finding.good is False for finding in findings) else 0)


for command in [*COMMANDS, audit]:
    main.add_command(command)


def _migrate(
    source: str,
    target: str,
    redaction: Wish | None = None,
    *,
    to_archive: bool = False,
    as_json: bool,
    workers: int | None,
    engine: str,
    engine_address: str | None,
    dry_run: bool,
    strict: bool,
    artifact_root: str | None = None,
    **options: Any,
) -> None:
    from trackbridge.engine import migrate as move
    from trackbridge.progress import Bars
    from trackbridge.registry import is_in_process

    wishes = _wishes(source, target, **options)
    if redaction is not None:
        wishes = look(
            source, target, redaction, wishes, strict=strict, dry=dry_run, as_json=as_json
        )
    elif dry_run:
        _plan(source, target, as_json, wishes)
    if dry_run:
        return
    if to_archive and redaction is None:
        from trackbridge.audit.redaction.job import carry

        wishes["target_options"] |= carry(source, target)
    if artifact_root:
        wishes["target_options"] |= {"artifact_root": artifact_root}
    with Bars(str(click.get_current_context().info_name)) as bars:
        report = move(
            source,
            target,
            **wishes,
            workers=workers,
            engine=engine,
            engine_address=engine_address,
            progress=bars,
        )
    print_report(report, without_secrets(target), as_json)
    if is_in_process(target):
        line(f"note: {target} is in the memory of this process, and ends with it", err=True)
    doubts = _too_much(strict, damaged=report.damage, gone=report.gone)
    sys.exit(0 if report.verified and not doubts else 1)


def _too_much(strict: bool, **found: Collection[Any]) -> bool:
    """Whether a strict call takes offence at something, which is said."""
    offences = [what for what, those in found.items() if those and strict]
    if offences:
        what = " or ".join(offences)
        line(f"strict: what is {what} in the source makes the exit code 1", err=True)
    return bool(offences)


def _plan(source: str, target: str, as_json: bool, wishes: dict[str, Any]) -> None:
    from trackbridge.forecast import forecast
    from trackbridge.progress import Bars

    with Bars("plan") as bars:
        found = forecast(source, target, **wishes, progress=bars)
    print_forecast(found, as_json)


def _wishes(
    source: str,
    target: str,
    *,
    where: str | None,
    renames: tuple[str, ...],
    artifacts: str,
    max_file_size: str | None,
    max_rps: str | None,
    columns: str | None,
    **selection: Any,
) -> dict[str, Any]:
    """Arguments that planning, moving and comparing have in common."""
    from trackbridge.filing import FileChoice, parse_size
    from trackbridge.placing import parse_renames

    limit = None if max_file_size is None else parse_size(max_file_size)
    source_options, target_options = _options(max_rps, columns, source, target)
    return {
        "source_options": source_options,
        "target_options": target_options,
        "query": _query(**selection),
        "where": where,
        "renames": parse_renames(renames),
        "files": FileChoice(artifacts, limit),
    }


def _options(
    max_rps: str | None, columns: str | None, source: str, *targets: str
) -> list[dict[str, str]]:
    """Options of the source, and of the targets, as far as their adapters take them."""
    from trackbridge.registry import taking

    options = _limits(max_rps, source, *targets)
    if columns is not None:
        said = taking("columns", columns, source)
        if not said:
            raise ConfigError(f"--columns: of no use for {source}: it says what its columns mean")
        options[0] |= said
    return options


def _limits(max_rps: str | None, *stores: str) -> list[dict[str, str]]:
    """Options of each store that say how often it may be asked."""
    from trackbridge.registry import taking

    if max_rps is None:
        return [{} for _ in stores]
    limits = [taking("max_rps", max_rps, store) for store in stores]
    if not any(limits):
        raise ConfigError(
            f"--max-rps: of no use for {' and '.join(stores)}: no server that counts its API calls"
        )
    return limits


def _query(
    projects: tuple[str, ...], runs: tuple[str, ...], since: str | None, include_deleted: bool
) -> Query:
    from trackbridge.adapter import Query

    return Query(projects, runs, _time(since) if since else None, include_deleted)


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time; write it like 2024-05-01T12:30") from None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
