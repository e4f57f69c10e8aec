"""Stores with secrets in them, what is left of these in an archive, and ways to redact."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from trackbridge.adapter import Row
from trackbridge.audit.redaction import job
from trackbridge.audit.redaction.rules import Rules, Salt
from trackbridge.engine import Report, migrate
from trackbridge.registry import open_writer
from trackbridge.schema import EVERY_TABLE, NAMED_BY
from trackbridge.testing.made import MadeRun, store

SALT = Salt(b"salt" * 8)
SECRETS = {
    "credentials": "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "email": "jane.doe@corp.example",
    "user": "jdoesmith",
    "host": "gpu-box-17",
    "home": "secretperson",
    "ip": "10.20.30.40",
    "rule": "ACME-4711",
}
TEXT = (
    "clone with ghp_abcdefghijklmnopqrstuvwxyz0123456789, ask jane.doe@corp.example or jdoesmith "
    "at gpu-box-17 (10.20.30.40), data of ACME-4711 in /home/secretperson/data"
)
"""All of them in what a person might write."""
UNTOUCHED = {"status", "type", "kind", "direction", "stream", "level", "sha256", "digest"}
UNTOUCHED |= {"version", "git_commit", "python", "owner", "aliases", "media_type", "run_id"}
"""Columns with words of ours, digests, or what other rows refer to."""


def memory(runs: list[MadeRun]) -> str:
    """The address of a store that has them."""
    address = f"memory:{uuid.uuid4()}"
    store(open_writer(address), runs)
    return address


def exported(source: str, place: Path, rules: Rules, *, workers: int = 1) -> Report:
    """What `export --redact` does."""
    found = job.look_through(source, rules, SALT)
    job.begin(f"archive:{place}", found)
    return moved(source, place, found, workers=workers)


def moved(source: str, place: Path, found: job.Redaction, *, workers: int = 1) -> Report:
    """What is exported after the look."""
    return migrate(
        source,
        f"archive:{place}",
        found.query,
        through=found.through,
        target_options=found.target_options,
        workers=workers,
    )


def planted(run: MadeRun) -> MadeRun:
    """The run with the secrets in every text that people or clients may have written."""
    tables = planted_rows(run.tables)
    tables["runs"][0] |= {"user": SECRETS["user"], "host": SECRETS["host"]}
    contents = {**run.contents, ("", f"by {SECRETS['user']}/notes.md"): TEXT.encode()}
    contents["", "nb.ipynb"] = json.dumps({"cells": [{"source": [TEXT + "\n"]}]}).encode()
    contents["", "train.py"] = f"# {TEXT}\nprint(1)\n".encode()
    contents["", "rows.jsonl"] = "".join(json.dumps({"a": TEXT}) + "\n" for _ in "ab").encode()
    contents["", "console.log.gz"] = gzip.compress(TEXT.encode())
    contents["", "wide.txt"] = TEXT.encode("utf-16")
    contents["", "model.pkl"] = b"\x80\x04\x00" + TEXT.encode() + b"\x00"
    contents["", "clean.bin"] = bytes(range(256))
    tables["files"] = [row for row in tables["files"] if row.get("reference")]
    return MadeRun(
        run.key._replace(project=f"{run.key.project} of {SECRETS['user']}"), tables, contents
    )


def planted_rows(tables: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Rows with the secrets in each text."""
    return {table: [dict(_planted(table, row)) for row in rows] for table, rows in tables.items()}


def _planted(table: str, row: Row) -> Iterator[tuple[str, object]]:
    for column, value in row.items():
        is_name = column in NAMED_BY.get(table, ()) or column in UNTOUCHED
        if not isinstance(value, str) or is_name or column not in EVERY_TABLE[table].names:
            yield column, value
        elif value[:1] in ("{", "["):
            found = json.loads(value)
            yield (
                column,
                json.dumps(
                    {**found, "planted": TEXT} if isinstance(found, dict) else [*found, TEXT]
                ),
            )
        else:
            yield column, f"{value} {TEXT}"


def left(place: Path) -> dict[str, set[str]]:
    """Which secrets are in the files of an archive, in what Parquet files and packed ones hold too,
    and in the names of files."""
    found: dict[str, set[str]] = {}
    for path in sorted(place.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        texts = [data, path.name.encode(), data.replace(b"\0", b"")]
        if data[:2] == b"\x1f\x8b":
            texts.append(gzip.decompress(data))
        if path.suffix == ".parquet":
            texts.append(parquet_text(path).encode())
        whole = b"\n".join(texts).lower()
        kinds = {kind for kind, secret in SECRETS.items() if secret.lower().encode() in whole}
        if kinds:
            found[path.relative_to(place).as_posix()] = kinds
    return found


def parquet_text(path: Path) -> str:
    """All that stands in a Parquet file."""
    return json.dumps(pq.read_table(path).to_pylist(), default=str, ensure_ascii=False)
