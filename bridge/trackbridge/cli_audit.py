"""The commands for audits of archives: they build objects, have results printed, decide nothing."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from trackbridge.errors import ConfigError
from trackbridge.output import counted, line, readable

JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


def archive_at(address: str) -> str:
    """The address of an archive that a person named, with or without its scheme."""
    from trackbridge.registry import targets

    scheme = address.partition(":")[0]
    if scheme != "archive" and scheme in targets():
        raise ConfigError(
            f"{address}: no archive; `trackbridge export` makes one of a store, "
            "`trackbridge migrate` moves to other stores"
        )
    return address if address.startswith("archive:") else f"archive:{address}"


def export_at(address: str) -> str:
    """The address of what `export` makes: an archive, unless tables are named."""
    from trackbridge.registry import called_by_ending, exporting

    scheme, colon, _ = address.partition(":")
    formats = exporting()
    if colon and scheme in formats:
        return address
    folder, ending = os.path.splitext(address)  # noqa: PTH122 - of a URL too
    suffix = ending[1:]
    if suffix in formats and not colon:
        raise ConfigError(
            f"{address}: tables are a folder with a file for each: {suffix}:{folder}; an archive "
            f"is archive:{folder}"
        )
    others = called_by_ending(ending) if ending and not colon else []
    if others:
        raise ConfigError(
            f"{address}: is called like a store of {others[0]}, which `migrate` makes; an archive "
            f"is archive:{folder}"
        )
    return archive_at(address)


@click.group()
def audit() -> None:
    """Take out of archives what must not leave, look at them, seal and check them.

    \b
    trackbridge export STORE ./archive
    trackbridge audit redact ./archive ./for-others --rules rules.yaml
    trackbridge audit view ./archive
    trackbridge audit keygen ~/audit.key
    trackbridge audit seal ./archive --key ~/audit.key
    trackbridge audit check ./archive --public-key ~/audit.key.pub
    """


@audit.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--no-passphrase", is_flag=True, help="Leave the private key unprotected, for machines."
)
def keygen(path: Path, no_passphrase: bool) -> None:
    """Make a key to seal with: PATH, and PATH.pub for those who check.

    The passphrase is asked for, or taken from TRACKBRIDGE_KEY_PASSPHRASE.
    """
    from trackbridge.audit import keys

    key = keys.make(path, None if no_passphrase else _passphrase(path, new=True))
    line(f"{path}: the private key; keep it where nobody else reads it")
    line(f"{path}.pub: the public key {key.id}; give it to those who check")


@audit.command()
@click.argument("archive")
@click.option(
    "--key",
    "path",
    required=True,
    type=click.Path(path_type=Path),
    help="The private key, as `trackbridge audit keygen` makes it.",
)
@click.option(
    "--tsa",
    metavar="URL",
    help="Have an authority (RFC 3161) state when the seal was made; it is sent a digest.",
)
@JSON
def seal(archive: str, path: Path, tsa: str | None, as_json: bool) -> None:
    """Seal ARCHIVE: list the SHA-256 of every file, and sign the list.

    What is exported into it later is not sealed until this is called again; what was sealed stays
    as it is, and each seal names the one before it.
    """
    from trackbridge.audit import keys
    from trackbridge.audit.seal import seal as make

    key = keys.load(path, lambda: _passphrase(path))
    done = make(archive_at(archive), key, tsa)
    if as_json:
        found = {"generation": done.generation, "runs": done.runs, "files": done.files}
        click.echo(json.dumps({**found, "bytes": done.size, "new": done.new, "key": key.id}))
        return
    what = "sealed" if done.new else "nothing was added since it was sealed"
    line(
        f"{archive}: {what}: seal {done.generation}, {counted(done.runs, 'runs')}, "
        f"{counted(done.files, 'files')}, {readable(done.size)}"
    )
    if done.new:
        line(f"signed by key {key.id}")


@audit.command()
@click.argument("archive")
@click.option(
    "--public-key",
    "paths",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A key whose seals are believed; repeatable. Without it any key's are.",
)
@click.option(
    "--tsa-root",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Certificate of an authority whose time stamps are believed; repeatable.",
)
@JSON
def check(archive: str, paths: tuple[Path, ...], roots: tuple[Path, ...], as_json: bool) -> None:
    """Check that ARCHIVE is as it was sealed; say exactly what is wrong where.

    The exit code is 0 only if nothing is. `verify.py` in the archive looks at digests, chain and
    signatures too, and needs nothing but Python.
    """
    from trackbridge.audit.check import check as look
    from trackbridge.audit.verify import lines_of

    report, gaps, stamps = look(archive_at(archive), paths, roots)
    if as_json:
        found = {
            "problems": [each._asdict() for each in report.problems],
            "seals": [each._asdict() for each in report.seals],
            "files": report.files,
            "bytes": report.size,
            "elsewhere": report.elsewhere,
            "stamps": [{**each._asdict(), "time": each.time.isoformat()} for each in stamps],
            "gaps": [each._asdict() for each in gaps],
        }
        click.echo(json.dumps(found))
    else:
        for text in lines_of(report):
            line(text)
        for stamp in stamps:
            doubt = "" if stamp.trusted else " (by whom was not looked at: see --tsa-root)"
            line(f"seal {stamp.generation} was there at {stamp.time.isoformat()}{doubt}")
        for gap in gaps:
            line(f"not in the archive, when it was sealed: {gap}")
        if report.seals and not paths and not report.problems:
            line("name the keys that you believe with --public-key: anybody can make a seal")
    sys.exit(1 if report.problems else 0)


@audit.command(name="map")
@click.argument("archive")
@click.option(
    "--profile",
    required=True,
    metavar="NAME",
    help="eu-ai-act, fda-part-11, iso-42001 or nist-ai-rmf.",
)
@JSON
def map_(archive: str, profile: str, as_json: bool) -> None:
    """Name the files in ARCHIVE that speak to each clause of a regulation or standard.

    It shows evidence, and where there is none; whether that is enough is for people to say.
    """
    from trackbridge.audit.evidence import evidence_map, profiles

    if profile not in profiles():
        raise ConfigError(f"no profile is called {profile!r}; there are {', '.join(profiles())}")
    found = evidence_map(archive_at(archive), profile)
    if as_json:
        clauses = [
            {**clause._asdict(), "found": [each._asdict() for each in clause.found]}
            for clause in found.clauses
        ]
        click.echo(json.dumps({**found._asdict(), "clauses": clauses}))
        return
    line(f"{found.name}: {found.source}, {found.dated} ({found.address})")
    for clause in found.clauses:
        line(f"{clause.id}: {clause.asks}")
        for each in clause.found:
            line(f"  {each.path}: {each.what}")
        if not clause.found:
            line("  not covered")


@audit.command()
@click.argument("archive")
@click.option(
    "--output",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Put the pages there, and leave the archive as it is.",
)
@JSON
def view(archive: str, output: Path | None, as_json: bool) -> None:
    """Make pages that show ARCHIVE in a browser, without network or server.

    They go into the archive, where the next seal covers them.
    """
    from trackbridge.audit.viewing.view import view as make
    from trackbridge.progress import Bars

    with Bars("viewing") as bars:
        made = make(archive_at(archive), output, bars)
    if as_json:
        click.echo(json.dumps(made._asdict()))
        return
    reduced = f", {made.reduced:,} of them drawn by their extremes" if made.reduced else ""
    line(
        f"{made.page}: {counted(made.runs, 'runs')}, {counted(made.points, 'points')}, "
        f"{counted(made.metrics, 'metrics')}{reduced}; {readable(made.size)}"
    )


@audit.command()
@click.argument("store")
def prov(store: str) -> None:
    """Print where the results of the runs in STORE come from, as W3C PROV (PROV-JSON)."""
    from trackbridge.audit.prov import write
    from trackbridge.registry import open_reader

    write(open_reader(store), sys.stdout)


def _passphrase(path: Path, *, new: bool = False) -> bytes:
    """From the environment, or from whoever sits at the terminal."""
    from trackbridge.audit.keys import PASSPHRASE

    told = os.environ.get(PASSPHRASE)
    if told is None and sys.stdin.isatty():
        told = click.prompt(
            f"Passphrase of {path}", hide_input=True, confirmation_prompt=new, err=True
        )
    if not told:
        way = "; --no-passphrase makes one without" if new else ""
        raise ConfigError(f"{path}: no passphrase; set {PASSPHRASE}{way}")
    return told.encode()
