"""What the command line has for redaction: options, the look before anything leaves, its report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trackbridge.errors import ConfigError
from trackbridge.output import counted, line

if TYPE_CHECKING:
    from trackbridge.audit.redaction.job import Redaction
    from trackbridge.audit.redaction.ledger import Found

Command = TypeVar("Command", bound=Callable[..., Any])
MOST_FILES = 10
"""Files that are named of those that are withheld, or that nobody can look into."""


@dataclass(frozen=True)
class Wish:
    """Rules that a person named, and where the salt is."""

    rules: Path
    salt: Path


def salted(command: Command) -> Command:
    return click.option(
        "--salt",
        type=click.Path(path_type=Path),
        help="File with what makes hashes and pseudonyms, made where there is none (default: the "
        "rules' name with .salt at its end). Keep it away from the archive.",
    )(command)


def wish(rules: Path | None, salt: Path | None) -> Wish | None:
    """What a person wants to be redacted; None: nothing."""
    if rules is None:
        if salt is not None:
            raise ConfigError("--salt is for --redact; name the rules")
        return None
    return Wish(rules, salt or Path(f"{rules}.salt"))


def look(
    source: str,
    target: str,
    wish: Wish,
    wishes: Mapping[str, Any],
    *,
    strict: bool,
    dry: bool,
    as_json: bool,
) -> dict[str, Any]:
    """Look through a source, and say what was found; gives how it is then moved.

    The ledger is in the archive afterwards, unless the call is a dry one. `ConfigError` where files
    are not to leave unseen.
    """
    from trackbridge.audit.redaction import job
    from trackbridge.audit.redaction.rules import load, salt_at
    from trackbridge.progress import Bars
    from trackbridge.registry import open_reader

    rules = load(wish.rules)
    open_reader(source, wishes["source_options"])
    salt, new = salt_at(wish.salt, keep=not dry)
    if new and not dry:
        line(f"{wish.salt}: a new salt; keep it, away from the archive", err=True)
    options = {name: wishes[name] for name in ("query", "where", "files", "source_options")}
    with Bars("look through") as bars:
        found = job.look_through(source, rules, salt, **options, progress=bars)
    if dry and as_json:
        click.echo(json.dumps(_document(found)))
    else:
        _print(found, err=not dry)
    if strict and found.survey.opaque:
        raise ConfigError(
            f"strict: {counted(len(found.survey.opaque), 'files')} cannot be looked into, and "
            f"nothing was exported; drop or keep them in {wish.rules}"
        )
    if not dry:
        job.begin(target, found)
    return {
        **wishes,
        "query": found.query,
        "where": None,
        "through": found.through,
        "target_options": {**wishes["target_options"], **found.target_options},
    }


def _print(found: Redaction, *, err: bool) -> None:
    survey = found.survey
    summary = list(survey.ledger.summary())
    line(f"looked into {counted(len(survey.files), 'files')}; to be taken out:", err=err)
    for each in summary:
        line(f"  {_words(each)}", err=err)
    if not summary:
        line("  nothing", err=err)
    for name in dict.fromkeys(rule.name for rule in found.policy.rules.rules):
        if name not in {each.rule for each in summary}:
            line(f"  {name}: nothing that this rule is about", err=err)
    for loss in found.losses:
        line(f"  {counted(loss.count, loss.kind)}", err=err)
    for files, what in (
        (survey.withheld, "withheld whole"),
        (survey.opaque, "not looked into, since they are no text, and left as they are"),
    ):
        if files:
            line(f"{counted(len(files), 'files')} {what}:", err=err)
            for file in files[:MOST_FILES]:
                line(f"  {'/'.join(filter(None, (*file.run, file.owner, file.path)))}", err=err)
            if len(files) > MOST_FILES:
                line(f"  and {len(files) - MOST_FILES:,} more", err=err)


def _words(found: Found) -> str:
    where = ", ".join(f"{table} {count:,}" for table, count in found.tables.items())
    runs = f" in {counted(found.runs, 'runs')}" if found.runs else ""
    example = " ".join(filter(None, (found.example.name, found.example.column)))
    return f"{found.rule}: {found.times:,}{runs} ({where}), {found.action}; such as {example}"


def _document(found: Redaction) -> dict[str, Any]:
    survey = found.survey
    return {
        "files": len(survey.files),
        "found": [
            {**each._asdict(), "example": each.example._asdict()}
            for each in survey.ledger.summary()
        ],
        "withheld": ["/".join((*f.run, f.owner, f.path)) for f in survey.withheld],
        "not_looked_into": ["/".join((*f.run, f.owner, f.path)) for f in survey.opaque],
    }
