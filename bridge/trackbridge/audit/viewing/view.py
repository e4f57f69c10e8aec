"""Makes pages of an archive, to be looked at in a browser without network or server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple, cast

from trackbridge import __version__
from trackbridge.adapter import Query
from trackbridge.audit.bag import by_digest
from trackbridge.audit.seal import Archive, open_archive, standing
from trackbridge.audit.verify import SEALING
from trackbridge.audit.viewing import files as pages
from trackbridge.audit.viewing.contents import Contents
from trackbridge.audit.viewing.lineage import Lineage
from trackbridge.audit.viewing.page import page
from trackbridge.audit.viewing.runs import Detail, details, said
from trackbridge.audit.viewing.scripts import dumps, millis, rows, script, write
from trackbridge.audit.viewing.state import checked, redactions, seals
from trackbridge.audit.viewing.table import RunTable, plain
from trackbridge.errors import ConfigError
from trackbridge.folder import Folder, LocalFolder
from trackbridge.optional import ItemStore
from trackbridge.progress import SILENCE, Progress
from trackbridge.schema import ITEMS, SHARED

GROUP_RUNS = 100
GROUP_CHARACTERS = 1 << 20
"""The details of runs lie in files of so many, or fewer where there is much to each."""


class Viewed(NamedTuple):
    """What was made."""

    page: str
    """Where the page is."""
    runs: int
    points: int
    metrics: int
    reduced: int
    """Metrics of which extremes are drawn, since they have too many points."""
    files: int
    size: int


def view(address: str, output: Path | None = None, progress: Progress = SILENCE) -> Viewed:
    """Make pages of an archive: in it, for its next seal to cover, or in another folder.

    Pages that were made before and are not sealed are replaced. In the archive only for a time
    when nobody writes to it; what no record speaks of is removed, but never from one that was
    sealed, where it may be what shows a forgery. `ConfigError` where nothing would ever seal them,
    or where the folder holds something else; then nothing was removed.
    """
    archive = open_archive(address)
    if output is None:
        return _inside(archive, progress)
    return _outside(archive, address, output, progress)


def _inside(archive: Archive, progress: Progress) -> Viewed:
    if not isinstance(archive.folder, LocalFolder):
        raise ConfigError(f"{archive.folder.address}: pages need a folder; name one with --output")
    found = standing(archive.folder)
    if SEALING in found.there:
        raise ConfigError(
            f"{archive.folder.address}: sealing was interrupted; `trackbridge audit seal` ends it"
        )
    place = pages.folder_of(found.last + 1)
    if not found.last:
        archive.folder.remove(f"{place}/{pages.COMMIT}")  # whatever is wrong with it
        archive.sweep()
    elif found.covers(path for path in archive.payload() if not path.startswith(f"{place}/")):
        raise ConfigError(
            f"{archive.folder.address} is sealed, and pages in it would be what no seal covers; "
            "put them elsewhere with --output, or export more first and seal again"
        )
    state = {"where": "inside", "generation": found.last + 1, "seals": seals(archive)}
    return _make(archive, archive.folder, place, state, progress)


def _outside(archive: Archive, address: str, output: Path, progress: Progress) -> Viewed:
    output = output.expanduser().resolve()
    root = Path(archive.folder.address).expanduser().resolve()
    if output == root or root in output.parents:
        raise ConfigError(
            f"{output} lies in the archive; leave out --output, or name another folder"
        )
    folder = LocalFolder(str(output))
    if not pages.are_ours(folder.names("")):
        raise ConfigError(f"{output} holds other files; name a new folder")
    progress.stage("checking")
    state = {"where": "outside", "seals": seals(archive), "checked": checked(address)}
    return _make(archive, folder, "", state, progress)


def _make(
    archive: Archive, to: Folder, inside: str, state: dict[str, Any], progress: Progress
) -> Viewed:
    payload = archive.payload()
    with to.scratch("view") as scratch:
        made = scratch / "pages"
        made.mkdir()
        copies = None if inside else made
        build = _Build(archive, made, Contents(archive, by_digest(payload), copies), progress)
        records = pages.state_of(payload)
        taken_out = redactions(archive, payload)
        build.run({**state, "records": records, "redactions": taken_out})
        files = pages.publish(to, inside, made, records)
    place = "/".join(part for part in (to.address, inside, pages.PAGE) if part)
    size = sum(content.size for content in files.values())
    return Viewed(place, build.runs, build.points, build.metrics, build.reduced, len(files), size)


class _Build:
    """Writes the files of the pages into a folder of this machine."""

    def __init__(
        self, archive: Archive, folder: Path, contents: Contents, progress: Progress
    ) -> None:
        self._archive = archive
        self._folder = folder
        self._contents = contents
        self._progress = progress
        self.runs = self.points = self.metrics = self.reduced = 0

    def run(self, state: dict[str, Any]) -> None:
        infos = sorted(
            self._archive.list_runs(Query(include_deleted=True)), key=lambda info: info.ref
        )
        self.runs, self.points = len(infos), sum(info.points for info in infos)
        self._progress.begin(self.runs, self.points)
        table, lineage = RunTable(infos), Lineage()
        groups = self._write_groups(
            self._documents(details(self._archive, infos, self._progress.points), table, lineage)
        )
        shared = self._shared()
        write(
            self._folder,
            "runs",
            {
                "made": millis(datetime.now(timezone.utc)),
                "by": f"Trackbridge {__version__}",
                "name": Path(self._archive.folder.address).resolve().name,
                "points": self.points,
                "groups": groups,
                "projects": table.projects(),
                "about": shared.pop("projects"),
                "runs": table.runs(),
                "state": {**state, "metrics": self.metrics, "reduced": self.reduced},
            },
        )
        write(self._folder, "columns", table.columns())
        write(self._folder, "lineage", lineage.document())
        write(self._folder, "others", {"tables": shared, "items": self._items()})
        (self._folder / pages.PAGE).write_text(page(), encoding="utf-8", newline="\n")

    def _documents(
        self, runs: Iterator[Detail], table: RunTable, lineage: Lineage
    ) -> Iterator[str]:
        """The details of each run as JSON; the table and the lineage are told of it."""
        for detail in runs:
            tables = detail.tables
            table.add(detail.ref, detail.run, tables["tags"])
            for kind in ("params", "summary"):
                for row in tables[kind]:
                    table.cell(detail.ref, kind, row["key"], plain(row))
            for (key, system), series in detail.series.items():
                self.metrics += 1
                self.reduced += bool(series.stretches)
                if not system:
                    table.cell(detail.ref, "metrics", key, series.last)
            lineage.add(table.number[detail.ref], tables["artifacts"], tables["inputs"])
            yield dumps(detail.document(self._contents))
            self._progress.runs(1)

    def _write_groups(self, documents: Iterator[str]) -> list[int]:
        """Write details in files of some runs each; gives the number of the first run of each."""
        starts: list[int] = []
        held: list[str] = []
        size = number = 0
        for number, text in enumerate(documents):
            if held and (len(held) == GROUP_RUNS or size + len(text) > GROUP_CHARACTERS):
                self._write_group(len(starts) - 1, held)
                held, size = [], 0
            if not held:
                starts.append(number)
            held.append(text)
            size += len(text)
        if held:
            self._write_group(len(starts) - 1, held)
        return starts

    def _write_group(self, number: int, documents: list[str]) -> None:
        name = f"group-{number:05d}"
        text = script(name, f"[{','.join(documents)}]")
        (self._folder / f"{name}.js").write_text(text, encoding="utf-8", newline="\n")

    def _shared(self) -> dict[str, list[dict[str, Any]]]:
        """What belongs to no run, by table."""
        found: dict[str, list[dict[str, Any]]] = {table: [] for table in sorted(SHARED)}
        for batch in self._archive.read_shared(Query()):
            found[batch.table] += map(said, rows(batch.data))
        return found

    def _items(self) -> dict[str, int]:
        """How many items there are of each kind."""
        store = cast(ItemStore, self._archive)
        kinds = [kind for kind in ITEMS if kind in self._archive.capabilities.items]
        counts = {ITEMS[kind].words: _count(store.list_items(kind, Query())) for kind in kinds}
        return {words: count for words, count in counts.items() if count}


def _count(items: Iterator[object]) -> int:
    return sum(1 for _ in items)
