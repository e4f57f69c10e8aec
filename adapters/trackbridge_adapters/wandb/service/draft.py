"""A run on its way to a server: a run folder that says in its config what the server cannot."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from trackbridge.adapter import SIDECAR, Batch, Row, RunKey, RunRef
from trackbridge.digest import Digests
from trackbridge_adapters.wandb import calls, draft, names, runfiles
from trackbridge_adapters.wandb.encode import aliases_of
from trackbridge_adapters.wandb.records import Record
from trackbridge_adapters.wandb.service import console
from trackbridge_adapters.wandb.service.capabilities import CONSOLE
from trackbridge_adapters.wandb.service.claims import Began, Claimed, began
from trackbridge_adapters.wandb.service.identity import Alias, Version, others
from trackbridge_adapters.wandb.service.node import SETTLING, TEXTS, TIMES, TWINS, RunNode
from trackbridge_adapters.wandb.service.pages import Place

STDOUT = 1
POINTS = ("metrics", "series")
"""Tables of log calls."""


class Draft(draft.Draft):
    """Rows of the history that the server has already are not written: the client appends rows.

    Samples of the system and console lines it writes from the first one on (measured, 0.31).
    """

    def __init__(self, out: Path, key: RunKey, ref: RunRef) -> None:
        super().__init__(out, key, ref)
        self._origin = ref.run_id
        self._place = Place.of(ref.project)
        self._known = 0
        self._entries: list[dict[str, Any]] = []
        self.last: set[Alias] = set()
        """Aliases that no run which began later claims."""
        self.before: Claimed = {}
        """What the run had before."""
        self.settling = False
        """Whether there will be something to settle."""
        self.twins: list[Any] = []
        """What the run said before of the same run in other stores."""
        self.inputs: list[Version] = []
        """Versions that the run used, where they would be in the target."""
        self.given: set[Alias] = set()
        """Aliases that are given on the upload: the last ones that it did not have before."""

    @property
    def name(self) -> str:
        """The run's id on the server."""
        return self.ref.run_id

    @name.setter
    def name(self, name: str) -> None:
        self.ref = self.ref._replace(run_id=name)

    def go_on(self, run: RunNode) -> None:
        """Write only what is not there: a sidecar that is no longer needed becomes empty."""
        self.name, self._known = run.name, run.lines
        place = self.folder / runfiles.FOLDER / SIDECAR
        if run.file(SIDECAR) and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()

    def write_again(self, folder: Path, name: str, known: int = 0) -> None:
        """Write a run, which is in its folder already, without the rows that are known there."""
        for path in folder.glob(f"{self._file_name}*"):
            path.unlink()
        self.folder, self.name, self._known = folder, name, known
        self.complete()

    def fields(self) -> dict[str, Any]:
        """What has to be set of a run that is there: the client leaves alone what is empty."""
        [row] = self.rows["runs"]
        return fields(row, self.rows["tags"])

    @property
    def is_shell(self) -> bool:
        """Whether it has nothing but a row in `runs`."""
        return not any(self.streams.values()) and not any(
            rows for table, rows in self.rows.items() if table != "runs"
        )

    def covers(self, run: RunNode) -> bool:
        """Whether there is nothing that an upload would leave there and that is not its own."""
        files = {row["path"] for row in self.rows["files"] if not row.get("owner")}
        records = [record.artifact for record in super()._artifacts()]
        versions = {Version(run.place, record.name, record.digest) for record in records}
        there = [*run.outputs, *run.node["inputArtifacts"]]
        return (
            files.issuperset(file["path"] for file in run.files())
            and len(self._lines) >= run.console_lines
            and self._samples >= run.samples
            and (not run.lines or self._is_flat == run.is_flat)
            and not any(others(there, versions.union(self.inputs)))
        )

    def points(self, calls_first: int) -> Digests:
        """Of its first log calls."""
        found = Digests()
        for table in POINTS:
            for data in self.streams[table]:
                first = pc.less(data.column("row"), calls_first)  # null for the system's
                found.add(Batch(table, data.filter(first)))
        return found

    @property
    def _names(self) -> set[str]:
        """Its metrics, but for the system's."""
        names = set[str]()
        for data in self.streams["metrics"]:
            own = data.filter(pc.invert(data.column("system").fill_null(False)))
            names.update(own.column("key").unique().to_pylist())
        return names

    @property
    def _is_flat(self) -> bool:
        series = (data.column("key").unique().to_pylist() for data in self.streams["series"])
        return calls.is_flat(self.key.kind, self._names.union(*series), self._special)

    @property
    def _samples(self) -> int:
        """How many samples of the system it has, which are numbered by their steps."""
        found = set[int]()
        for data in self.streams["metrics"]:
            found.update(data.filter(data.column("system")).column("step").unique().to_pylist())
        return len(found)

    @property
    def _rows(self) -> int:
        """How many log calls it has."""
        columns = [data.column("row") for table in POINTS for data in self.streams[table]]
        last = (pc.max(column).as_py() for column in columns)  # None for samples of the system
        return max((row + 1 for row in last if row is not None), default=0)

    @property
    def began(self) -> Began:
        return began(self.rows["runs"][0].get("started"), self._origin)

    @property
    def collections(self) -> set[str]:
        return {row["collection"] for row in self.rows["artifacts"]}

    @property
    def aliases(self) -> set[Alias]:
        """What it claims for its versions."""
        return {
            Alias(self._place, row["collection"], name)
            for row in self.rows["artifacts"]
            for name in aliases_of(row)
        }

    def _artifacts(self) -> Iterator[Any]:
        self._entries = []
        for record in super()._artifacts():
            artifact = record.artifact
            self._entries.append(_entry(artifact))
            version = Version(self._place, artifact.name, artifact.digest)
            new = self.last - self.before.get(version, set())
            names = [name for name in artifact.aliases if version.called(name) in new]
            self.given |= set(map(version.called, names))
            del artifact.aliases[:]
            artifact.aliases.extend(names)
            yield record

    def _told(self, artifacts: list[Any]) -> dict[str, Any]:
        [row] = self.rows["runs"]
        told = {**told_of(row), "id": self._origin, "rows": self._rows}
        if self._lines:
            told["console"] = console.count(self._lines)
        if artifacts:
            told["artifacts"] = self._entries
        if self.inputs:
            told["inputs"] = [version.entry(self._place) for version in self.inputs]
        if self.twins:
            told[TWINS] = self.twins
        if self.settling:
            told[SETTLING] = list(_entries(self.before, self._place))
        if self.key.kind != "wandb":  # the client is told last values too, which are not its own
            told |= own_and_last(self.rows["summary"], self._names)
        return told

    def _history(self, own: calls.Calls, special: Mapping[str, names.Path] | None) -> Iterator[Any]:
        yield from islice(super()._history(own, special), self._known, None)

    @cached_property
    def _lines(self) -> list[str]:
        """What was shown on the console, line by line, so that the server's pages show it."""
        return console.shown(self.folder / runfiles.FOLDER / CONSOLE)

    def _console(self) -> Iterator[Any]:
        for line in self._lines:
            record = Record()
            record.output_raw.output_type = STDOUT
            record.output_raw.line = f"{line}\n"
            yield record


def fields(row: Row, tags: Iterable[Row]) -> dict[str, Any]:
    """Fields of a run that its users see and change."""
    return {
        "displayName": row["name"],
        "notes": row.get("notes") or "",
        "groupName": row.get("group") or "",
        "jobType": row.get("job_type") or "",
        "tags": [tag["key"] for tag in tags],
    }


def told_of(row: Row) -> dict[str, Any]:
    """What our entry tells of a row of `runs`."""
    told = {name: row[name] for name in TEXTS if row.get(name)}
    return told | {name: row[name].isoformat() for name in TIMES if row.get(name)}


def own_and_last(summary: Iterable[Row], metrics: Iterable[str]) -> dict[str, Any]:
    """What our entry tells of a summary that has last values of metrics besides the run's own."""
    return {"summary": list(map(path_of, summary)), "last": sorted(metrics)}


def path_of(row: Row) -> list[str]:
    """Where a row of `params` or `summary` is in its tree."""
    path: list[str] = json.loads(row["path"]) if row.get("path") else [row["key"]]
    return path


def _entries(claimed: Claimed, place: Place) -> Iterator[dict[str, Any]]:
    for version, aliases in claimed.items():
        yield {**version.entry(place), "aliases": sorted(alias.name for alias in aliases)}


def _entry(record: Any) -> dict[str, Any]:
    """By what a version that the run logged is found again, and what may change of it there."""
    entry = {"collection": record.name, "digest": record.digest, "aliases": list(record.aliases)}
    return {**entry, "direction": "used"} if record.use_after_commit else entry
