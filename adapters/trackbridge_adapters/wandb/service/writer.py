"""Writes runs to a W&B server: run folders, which the real client uploads."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from trackbridge.adapter import (
    STORE,
    Batch,
    FileRef,
    Presentation,
    Query,
    Row,
    RunInfo,
    RunKey,
    RunRef,
)
from trackbridge.columns import split
from trackbridge.digest import Digests
from trackbridge.errors import IntegrityError, NotFoundError, temporary_errors
from trackbridge.fit_text import fit_name
from trackbridge.losses import Loss
from trackbridge.optional import Twin
from trackbridge_adapters.wandb.service import changes, telling
from trackbridge_adapters.wandb.service.capabilities import WRITTEN
from trackbridge_adapters.wandb.service.claims import Claims
from trackbridge_adapters.wandb.service.draft import Draft
from trackbridge_adapters.wandb.service.extend import Extension
from trackbridge_adapters.wandb.service.identity import Version
from trackbridge_adapters.wandb.service.ledger import HIDDEN
from trackbridge_adapters.wandb.service.lineage import used
from trackbridge_adapters.wandb.service.node import TWINS, RunNode
from trackbridge_adapters.wandb.service.pages import (
    PAGE,
    Place,
    generations,
    of_any_generation,
    parts,
)
from trackbridge_adapters.wandb.service.present import present
from trackbridge_adapters.wandb.service.reader import Service
from trackbridge_adapters.wandb.service.running import Running
from trackbridge_adapters.wandb.service.settling import Settling
from trackbridge_adapters.wandb.service.shared_pages import SharedPages
from trackbridge_adapters.wandb.service.upload import (
    CALLS_OF_A_RUN,
    CALLS_OF_A_VERSION,
    is_read,
    upload,
)
from trackbridge_adapters.wandb.service.wire import Wire
from trackbridge_adapters.wandb.writer import PROJECT, RUN_ID, SAFE_ID, UNIQUE

CALLS_OF_A_JOB = 20
"""For what is listed, and for what belongs to no run (measured)."""
LINKED = "inputs shown only where their version is in the target"
NAME = replace(PROJECT, reserved=(".",))
"""Of projects, which are parts of addresses here."""


class WritableService(Service):
    """A project on a W&B server, or all projects of an entity, for reading and for writing."""

    capabilities = WRITTEN

    advice = ""

    def __init__(self, wire: Wire, entity: str, project: str) -> None:
        super().__init__(wire, entity, project)
        self.claims = Claims(SharedPages(wire))
        self._deleted: set[tuple[Place, str]] = set()
        """What this writer has deleted, should a list still have it."""
        self.inputs: dict[RunKey, list[Version]] = {}
        """Versions that runs used which are about to be written."""
        self.running: dict[RunRef, Running] = {}
        """Runs that this writer has extended last."""
        self._homes: dict[tuple[str, ...], Counter[str]] = {}
        """Projects of runs, by those they were born in, as far as a list or a new name tells."""

    def calls(self, runs: Sequence[RunInfo], versions: int) -> int:
        """What the client sends, and we: to find out what is there, and to read it back."""
        uploads = CALLS_OF_A_RUN * len(runs) + CALLS_OF_A_VERSION * versions
        settled = min(len(runs), versions)  # those that have some, by one request each
        return CALLS_OF_A_JOB + uploads + settled + 3 * ceil(len(runs) / PAGE)

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        for info in super().list_runs(query):
            if info.carried:
                self._homes.setdefault(info.key[:3], Counter())[info.ref.project] += 1
            yield info

    def target(self, key: RunKey) -> RunRef:
        own = key.kind == "wandb" and not key.instance
        entity, slash, rest = key.label.partition("/")
        label = rest if slash and (own or entity == self._entity) else key.label
        project = self._project or fit_name(label, NAME)
        place = str(Place(self._entity, project))
        if key.label != key.project:
            self._homes.setdefault(key[:3], Counter([place]))
        born = key.project.rpartition("/")[2]
        verbatim = RUN_ID if own and born in (project, label) else UNIQUE
        if not key.instance and verbatim.fullmatch(key.run_id) and key.run_id != HIDDEN:
            return RunRef(place, key.run_id)
        mark = hashlib.sha256(str(key).encode()).hexdigest()[:8]
        return RunRef(place, f"{fit_name(key.run_id, SAFE_ID)}-{mark}")

    def present(self, key: RunKey, tables: Mapping[str, list[Row]]) -> Presentation:
        """What the run used is noted for the sink, which gets no such rows: none are read back."""
        shown = present(key, self.target(key), tables)
        found = list(used(key, tables.get("inputs", ()), partial(self._home, key)))
        self.inputs[key] = [version for _, version in found]
        if found:
            linked = [row for row, _ in found]
            shown.tables["inputs"] = [row for row in tables["inputs"] if row not in linked]
            loss = Loss(LINKED, len(linked), f"{key.run_id}: {linked[0]['name']}")
            shown.losses = [*shown.losses, loss]
        return shown

    def _home(self, key: RunKey, project: str) -> str:
        """Where runs of a project lie, or would, that is one of those beside a run's own."""
        other = RunKey(*key[:2], project, key.run_id)
        if project == key.project:
            return self.target(key).project
        known = self._homes.get(other[:3])  # somebody may have moved some
        return known.most_common(1)[0][0] if known else self.target(other).project

    def open(self, keys: Sequence[RunKey]) -> Sink:
        runs = {key: self.target(key) for key in keys}
        for ref in runs.values():
            self._files.forget_sidecar(ref)
            self.running.pop(ref, None)
        there = list(self.runs(list(runs.values())))
        self._check_ours(there, runs)
        return Sink(self, runs, there)

    def extend(self, keys: Sequence[RunKey]) -> Extension:
        """What is there of a run is asked for once, and again after an error: see `Extension`."""
        runs = {key: self.target(key) for key in keys}
        unknown = {key: ref for key, ref in runs.items() if ref not in self.running}
        there = list(self.runs(list(unknown.values())))
        self._check_ours(there, unknown)
        latest = {run.ref: run for run in there}
        for key, ref in unknown.items():
            self._files.forget_sidecar(ref)
            if ref in latest:
                run = latest[ref]
                event = self._pages.last_event(run.place, run.name) if run.samples else None
                self.running[ref] = Running.of(key, run, event)
            else:
                taken = {run.name for run in there if str(run.place) == ref.project}
                self.running[ref] = Running.new(key, ref, taken)
        return Extension(self.wire, self.running, runs.values())

    def alert(self, key: RunKey, title: str, text: str, level: str) -> None:
        telling.alert(self, key, title, text, level)

    def place(self, key: RunKey) -> Twin:
        return telling.place(self, key)

    def link(self, key: RunKey, twins: Sequence[Twin]) -> None:
        telling.link(self, key, twins)

    def runs(self, refs: Sequence[RunRef]) -> Iterator[RunNode]:
        """Those of some runs that are there, in all of their generations, the latest last."""
        for place in sorted({ref.project for ref in refs}):
            names = [ref.run_id for ref in refs if ref.project == place]
            for part in parts(names, PAGE):
                yield from self._runs(Place.of(place), of_any_generation(part))

    def put_shared(self, rows: Sequence[Row], files: Mapping[str, bytes]) -> None:
        """Store what belongs to no run: rows of `projects`, and files by their paths."""
        self.shared.write(rows, files)
        if files:
            self.advice = (
                f"the run {HIDDEN} in the table of {self._store_place} keeps what the server does "
                "not show of projects; leave it there"
            )

    def _check_ours(self, there: Iterable[RunNode], runs: Mapping[RunKey, RunRef]) -> None:
        """What is where these runs are to lie has to be these runs, written by an earlier call."""
        keys = {ref: key for key, ref in runs.items()}
        for run in there:
            if run.ref in keys and not (run.carried and run.key == keys[run.ref]):
                what = f"is run {run.key}" if run.carried else "was not written by Trackbridge"
                raise IntegrityError(
                    f"{self.address}: run {run.ref.run_id} in {run.ref.project} {what}; "
                    "choose another project"
                )

    def points(self, run: RunNode) -> Digests:
        """Of the log calls that the server has of a run."""
        found = Digests()
        for batch in self._read(run.place, [run], {"metrics", "series"}):
            found.add(Batch(batch.table, batch.data.filter(batch.data.column("row").is_valid())))
        return found

    def delete(self, run: RunNode) -> None:
        changes.delete_run(self.wire, run.node)
        self._deleted.add((run.place, run.name))

    def _check_replaced(self, runs: Sequence[RunNode]) -> None:
        """None may be there beside what it has replaced: it is moved again, and that is deleted.

        For whoever was killed before that has left no receipt, and such runs are read.
        """
        whole: dict[tuple[RunRef, RunKey], RunNode] = {}
        for run in reversed(runs):
            later = whole.get((run.ref, run.key))
            if later and run.carried and (run.place, run.name) not in self._deleted:
                raise IntegrityError(
                    f"{self.address}: run {run.name} in {run.place} was replaced by {later.name} "
                    "and not deleted yet; the same migration does so when it is called again"
                )
            if not run.unfinished:
                whole[run.ref, run.key] = run

    def _check_any(self, places: Collection[Place]) -> None:
        """None need be there: they are made with their first runs."""

    def _runs(self, place: Place, filters: Mapping[str, Any]) -> Iterator[RunNode]:
        """None where there is no such project: it is made with its first run."""
        found = super()._runs(place, filters)
        try:
            first = next(found, None)
        except NotFoundError:
            return
        if first is not None:
            yield first
            yield from found


class Sink:
    """A chunk of runs: folders on this machine until it is committed."""

    def __init__(
        self,
        writer: WritableService,
        runs: Mapping[RunKey, RunRef],
        there: Iterable[RunNode],
    ) -> None:
        """`there` are runs that have one of the ids which these may get, others' among them."""
        self._writer, self._runs = writer, runs
        with temporary_errors():
            self._out = Path(tempfile.mkdtemp(prefix="trackbridge-"))
        self._drafts = {ref: Draft(self._out, key, ref) for key, ref in runs.items()}
        self._there: dict[RunRef, dict[str, RunNode]] = defaultdict(dict)
        """Generations of each run that are there, by their ids on the server, the latest last."""
        self._owners = {ref: ref for ref in self._drafts}
        """Ids on the server -> the run that has it: a later generation's may be another run's."""
        for run in there:
            self._there[run.ref][run.name] = run
            self._owners[run.ref._replace(run_id=run.name)] = run.ref
        self._shared: dict[str, bytes] = {}
        self._projects: list[Row] = []

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._out, ignore_errors=True)

    def write(self, batch: Batch) -> None:
        if batch.table == "projects":
            self._projects += batch.data.to_pylist()
            return
        for ref, part in split(batch.data):
            self._drafts[ref].write(batch.table, part)

    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        if file.run != STORE:
            with temporary_errors():
                self._drafts[file.run].put_file(file, data)
            return
        self._shared[file.path] = data.read()

    def commit(self) -> Mapping[RunKey, RunRef]:
        folders: dict[RunRef, Path] = {}
        for draft in self._drafts.values():
            draft.inputs = self._writer.inputs.pop(draft.key, [])
        before = {ref: list(runs.values())[-1] for ref, runs in self._there.items()}
        settling = Settling(self._writer.wire, self._writer.claims, self._drafts, before)
        settling.begin()
        for ref, draft in self._drafts.items():
            self._prepare(ref, draft)
            with temporary_errors():
                draft.complete()
                folders[ref] = draft.place([])
        versions = {ref: len(draft.rows["artifacts"]) for ref, draft in self._drafts.items()}
        lanes = [[(folders[ref], versions[ref]) for ref in lane] for lane in self._lanes()]
        while deleted := upload(lanes, self._writer.wire):
            self._write_again(folders, deleted)
        settling.end(self._written(settling.refs))
        for ref, draft in self._drafts.items():
            for name, run in self._there[ref].items():
                if name != draft.name:
                    self._writer.delete(run)
        self._writer.put_shared(self._projects, self._shared)
        return dict(self._runs)

    def _write_again(self, folders: Mapping[RunRef, Path], deleted: Collection[Path]) -> None:
        """What an upload has left: deleted runs under other ids, others without what is there."""
        left = {ref: folder for ref, folder in folders.items() if not is_read(folder)}
        gone = [ref for ref, folder in left.items() if folder in deleted]
        halves = self._written(left.keys() - gone)
        with temporary_errors():
            for run in halves:
                self._drafts[run.ref].write_again(left[run.ref], run.name, run.lines)
            for ref in gone:
                draft = self._drafts[ref]
                draft.write_again(left[ref], self._free(ref, draft.name))

    def _written(self, refs: Collection[RunRef]) -> list[RunNode]:
        """Some runs of the chunk as they are now."""
        found = self._writer.runs(list(refs))
        return [run for run in found if run.ref in refs and run.name == self._drafts[run.ref].name]

    def _prepare(self, ref: RunRef, draft: Draft) -> None:
        """Lets a run go on from what is there, if that is its beginning; else it is made anew."""
        last = None
        if there := list(self._there[ref].values()):
            latest = there[-1]
            if latest.carried:
                draft.twins = latest.origin.get(TWINS, [])
            if self._begins(latest, draft):
                draft.go_on(latest)
                fields = draft.fields()
                changes.change_run(self._writer.wire, latest.place, draft.name, **fields)
                return
            last = latest.name
        draft.name = self._free(ref, last)

    def _free(self, ref: RunRef, last: str | None) -> str:
        """The next id after its last one that no other run has; it is kept for this one then."""
        names = generations(ref.run_id)
        for name in names[names.index(last) + 1 :] if last else names:
            if self._owners.setdefault(ref._replace(run_id=name), ref) == ref:
                return name
        raise IntegrityError(
            f"{self._writer.address}: run {ref.run_id} was replaced too often; take another project"
        )

    def _begins(self, run: RunNode, draft: Draft) -> bool:
        """Whether a run that is there is the beginning of one that is to be written.

        So is one of which nothing but a marked shell is to be left: it will be ended another time.
        """
        if draft.is_shell:
            return True
        if not draft.covers(run):
            return False
        return self._writer.points(run)[run.ref] == draft.points(run.lines)[run.ref]

    def _lanes(self) -> list[list[RunRef]]:
        """Runs that share a collection go one after the other: versions keep their order."""
        lanes: list[tuple[set[str], list[RunRef]]] = []
        for ref in sorted(self._drafts, key=lambda ref: self._drafts[ref].began):
            wanted = {f"{ref.project}:{name}" for name in self._drafts[ref].collections}
            joined = [lane for lane in lanes if lane[0] & wanted]
            lanes = [lane for lane in lanes if not lane[0] & wanted]
            names = wanted.union(*(lane[0] for lane in joined))
            lanes.append((names, [*(ref for lane in joined for ref in lane[1]), ref]))
        return [refs for _, refs in lanes]
