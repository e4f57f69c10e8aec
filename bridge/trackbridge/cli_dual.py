"""The commands of dual logging: they build objects, have results printed, decide nothing."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trackbridge.errors import ConfigError
from trackbridge.output import counted, line, table

if TYPE_CHECKING:
    from trackbridge.dual.replay import Delivered
    from trackbridge.dual.status import Status

JOURNALS = click.argument("journals", nargs=-1, type=click.Path(exists=True))
TO = click.option(
    "--to",
    multiple=True,
    metavar="STORE",
    help="Another store than those the run named; repeatable.",
)
SLOW_SECONDS = 5.0
"""A store that takes longer over what it is asked is named."""
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@click.command()
@JOURNALS
@JSON
def status(journals: tuple[str, ...], as_json: bool) -> None:
    """Show how far the runs in JOURNALS are delivered; nothing is asked of back ends.

    Without JOURNALS, those in TRACKBRIDGE_DIR or ./trackbridge are meant.
    """
    from trackbridge.dual.status import status as look

    found = list(look(journals))
    if as_json:
        click.echo(json.dumps({"runs": [asdict(each) for each in found]}))
        return
    titles = ("run", "name", "status", "logged", "store", "state", "delivered", "lag")
    _fitting_table(
        titles,
        (
            (s.run, s.name, s.status, s.logged, s.store, s.state, s.delivered, _seconds(s.lag))
            for s in found
        ),
    )
    for each in found:
        if each.error:
            line(f"{_named(each)}: {each.error}", err=True)
        if each.waiting is not None and each.waiting >= SLOW_SECONDS:
            doing = "being written for" if each.state == "closing" else "waiting for an answer for"
            line(f"{_named(each)}: {doing} {each.waiting:.0f} s", err=True)
    if any(each.state == "stopped" for each in found):
        line("stopped: nobody is at work with it; `trackbridge replay` delivers it", err=True)


@click.command()
@JOURNALS
@TO
@JSON
def replay(journals: tuple[str, ...], to: tuple[str, ...], as_json: bool) -> None:
    """Deliver what is left of the runs in JOURNALS, and prove it.

    Without JOURNALS, those in TRACKBRIDGE_DIR or ./trackbridge are meant. Values, steps and times
    arrive as they were logged, each once, however often this is called.
    """
    from trackbridge.dual.replay import replay as deliver

    found = []
    for each in deliver(journals, to):
        found.append(each)
        if not as_json:
            what = f" ({each.why})" if each.why else f", {counted(each.points, 'points')}"
            line(f"{_named(each)}: {each.what}{what}", err=each.what == "failed")
    if as_json:
        click.echo(json.dumps({"runs": [asdict(each) for each in found]}))
    sys.exit(1 if any(each.what in ("failed", "waiting") for each in found) else 0)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--mirror",
    "libraries",
    multiple=True,
    required=True,
    metavar="LIBRARY",
    help="The tracker that the program logs with, wandb or mlflow; repeatable.",
)
@click.option(
    "--to",
    multiple=True,
    required=True,
    metavar="STORE",
    help="Where what it logs is to go as well; repeatable.",
)
@click.option(
    "--ranks",
    type=click.Choice(["first", "all"]),
    default="first",
    help="Which processes of a distributed training are mirrored.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    libraries: tuple[str, ...], to: tuple[str, ...], ranks: str, command: tuple[str, ...]
) -> None:
    """Run COMMAND so that what it logs with a tracker goes to other stores too.

    \b
    trackbridge run --mirror wandb --to mlflow:http://host:5000 -- python train.py --lr 0.1
    trackbridge run --mirror mlflow --to wandb:team/project -- torchrun --nproc-per-node 8 train.py

    The program's code, output and exit code stay as they are.
    """
    from trackbridge.dual.launch import launch
    from trackbridge.dual.mirroring import mirroring
    from trackbridge.registry import resolve_target

    for library in libraries:
        mirroring(library)
    for store in to:
        resolve_target(store)
    launch(command, libraries, to, ranks)


@click.command()
@JOURNALS
@TO
@click.option(
    "--html",
    type=click.Path(dir_okay=False, writable=True),
    metavar="FILE",
    help="Write a page with plots too, in one file that needs no network.",
)
@JSON
def parity(journals: tuple[str, ...], to: tuple[str, ...], html: str | None, as_json: bool) -> None:
    """Report whether what the runs in JOURNALS logged has arrived in their stores.

    Without JOURNALS, those in TRACKBRIDGE_DIR or ./trackbridge are meant. Every value is compared;
    of runs that go on, those that were delivered. Exit code 0 means that nothing is wrong.
    """
    from trackbridge.dual import parity_text
    from trackbridge.dual.parity import parity as look

    found = look(journals, to)
    if html:
        from trackbridge.dual.parity_page import page

        _write(html, page(found))
    if as_json:
        click.echo(json.dumps(parity_text.document(found)))
    else:
        _fitting_table(parity_text.HEADER, parity_text.rows(found))
        for text in parity_text.lines(found):
            line(text)
    sys.exit(0 if parity_text.holds(found) else 1)


def _write(file: str, text: str) -> None:
    """Put a page where a person wants it."""
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written ({error.strerror or error})") from error


def _fitting_table(header: tuple[str, ...], rows: Iterable[Iterable[object]]) -> None:
    """A table; on a terminal that is too narrow for it, lines that break between cells alone."""
    lines = [[str(cell) for cell in row] for row in rows]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    wide = sum(max(map(len, column)) + 2 for column in zip(header, *lines)) - 2
    if room is None or wide <= room:
        table(header, lines)
        return
    for first, *rest in lines:
        text = first
        for cell in (f"{title} {cell}" for title, cell in zip(header[1:], rest) if cell):
            if len(text) + 2 + len(cell) > room:
                line(text)
                text = f"  {cell}"
            else:
                text += f"  {cell}"
        line(text)


def _named(each: Status | Delivered) -> str:
    """A run and its store; one that cannot be read has none."""
    return f"{each.run} to {each.store}" if each.store else each.run


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


COMMANDS = (run, status, replay, parity)
