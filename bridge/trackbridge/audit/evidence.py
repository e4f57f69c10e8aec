"""Which files of an archive speak to the clauses of a regulation or standard.

It names evidence and what there is none of. Whether the evidence suffices is for people to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Any, NamedTuple

import pyarrow.compute as pc
import yaml

from trackbridge.audit import verify
from trackbridge.audit.describe import CRATE, DICTIONARY, README
from trackbridge.audit.seal import Archive, open_archive


class Evidence(NamedTuple):
    """Files that speak to something, and what they say in short."""

    path: str
    what: str


class Clause(NamedTuple):
    """What a clause asks for in our words, and what there is."""

    id: str
    asks: str
    found: list[Evidence]
    """Empty: not covered."""


class EvidenceMap(NamedTuple):
    """A profile held against an archive."""

    name: str
    source: str
    address: str
    dated: str
    """When the source was published."""
    clauses: list[Clause]


def profiles() -> list[str]:
    """Names of the profiles there are."""
    folder = resources.files("trackbridge.audit").joinpath("profiles")
    return sorted(each.name.removesuffix(".yaml") for each in folder.iterdir())


def evidence_map(address: str, profile: str) -> EvidenceMap:
    """For each clause of a profile the files that speak to it."""
    archive = open_archive(address)
    folder = resources.files("trackbridge.audit").joinpath("profiles")
    told: dict[str, Any] = yaml.safe_load(folder.joinpath(f"{profile}.yaml").read_text("utf-8"))
    there = _Evidence(archive)
    clauses = []
    for clause in told["clauses"]:
        found = [each for kind in clause["evidence"] for each in there.of(kind)]
        clauses.append(Clause(clause["id"], clause["asks"], found))
    return EvidenceMap(told["name"], told["source"], told["address"], str(told["dated"]), clauses)


class _Evidence:
    """Evidence of each kind that profiles speak of, looked for once."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._paths = {path for path, _ in archive.folder.tree()}
        self._found: dict[str, list[Evidence]] = {}

    def of(self, kind: str) -> list[Evidence]:
        if kind not in self._found:
            self._found[kind] = list(getattr(self, f"_{kind}")())
        return self._found[kind]

    def _records(self) -> Iterator[Evidence]:
        yield from self._table("runs", "runs")

    def _params(self) -> Iterator[Evidence]:
        yield from self._table("params", "parameters")

    def _metrics(self) -> Iterator[Evidence]:
        yield from self._table("metrics", "points of metrics")
        yield from self._table("summary", "final values")

    def _system(self) -> Iterator[Evidence]:
        yield from self._table("metrics", "samples of the system", ("system",), equal=True)

    def _inputs(self) -> Iterator[Evidence]:
        yield from self._table("inputs", "datasets and artifacts that runs used")

    def _models(self) -> Iterator[Evidence]:
        yield from self._table("models", "registered models")
        yield from self._table("model_versions", "versions of models")

    def _evaluations(self) -> Iterator[Evidence]:
        yield from self._table("evaluation_datasets", "datasets for evaluations")
        yield from self._table("assessments", "judgements of traces")

    def _logs(self) -> Iterator[Evidence]:
        yield from self._table("logs", "lines of console output")
        yield from self._table("traces", "traces")

    def _times(self) -> Iterator[Evidence]:
        yield from self._table("runs", "runs with start and end", ("started", "ended"))

    def _users(self) -> Iterator[Evidence]:
        yield from self._table("runs", "runs that name who ran them", ("user",))

    def _code(self) -> Iterator[Evidence]:
        yield from self._table("runs", "runs that name the program", ("program",))
        yield from self._table("runs", "runs that name the commit", ("git_commit",))

    def _environment(self) -> Iterator[Evidence]:
        yield from self._table("runs", "runs that name the version of Python", ("python",))
        yield from self._table("runs", "runs that name the machine", ("host",))

    def _description(self) -> Iterator[Evidence]:
        yield from self._file(README, "how to read and check the archive")
        yield from self._file(DICTIONARY, "what each table and column means")

    def _provenance(self) -> Iterator[Evidence]:
        yield from self._file(CRATE, "each run with its inputs, outputs, program and user")

    def _manifest(self) -> Iterator[Evidence]:
        yield from self._file(verify.MANIFEST, "SHA-256 of every record and file")

    def _seal(self) -> Iterator[Evidence]:
        for path in self._seals():
            yield Evidence(path, "a signature over all that was there")
            yield from self._file(path.replace(verify.SEAL, verify.TOKEN), "when that was")

    def _chain(self) -> Iterator[Evidence]:
        seals = self._seals()
        if len(seals) > 1:
            yield Evidence(seals[-1], f"the last of {len(seals)} seals, each naming the one before")

    def _seals(self) -> list[str]:
        return sorted(p for p in self._paths if p.endswith(f"/{verify.SEAL}"))

    def _file(self, path: str, what: str) -> Iterator[Evidence]:
        if path in self._paths:
            yield Evidence(path, what)

    def _table(
        self, table: str, what: str, columns: tuple[str, ...] = (), *, equal: bool | None = None
    ) -> Iterator[Evidence]:
        """Rows of a table that have something in all of these columns (or just `equal`)."""
        some = every = 0
        for rows in self._archive.living(table):
            every += rows.num_rows
            for column in columns:
                values = rows.column(column)
                rows = rows.filter(values.is_valid() if equal is None else pc.equal(values, equal))
            some += rows.num_rows
        if some:
            of = f" of {every:,}" if some < every else ""
            yield Evidence(f"data/{table}/", f"{some:,}{of} {what}")
