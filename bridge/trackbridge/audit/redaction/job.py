"""Looks through a store before anything of it leaves, and exports what may."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from trackbridge.adapter import FileRef, ItemRef, Query, Reader, RunInfo, RunRef
from trackbridge.audit.redaction.detect import homes
from trackbridge.audit.redaction.ledger import FOLDER, REDACTED
from trackbridge.audit.redaction.reader import Policy, Redacted, Survey
from trackbridge.audit.redaction.rules import Rules, Salt
from trackbridge.audit.seal import open_archive
from trackbridge.choose import EVERY_RUN, chosen
from trackbridge.errors import ConfigError
from trackbridge.filing import WHOLE, FileChoice
from trackbridge.items import kinds
from trackbridge.losses import Loss
from trackbridge.plan import chunked
from trackbridge.progress import SILENCE, Progress
from trackbridge.registry import NO_OPTIONS, open_reader, resolve
from trackbridge.retry import persist
from trackbridge.schema import ITEM_FILES, POINTS
from trackbridge.sidecar import Overlay

TOLD = ("runs", "params", "tags")
"""Tables whose home folders tell who the people are."""
ITEMS_AT_A_TIME = 500
MOST_LOOKS = 3
"""Times that a store is read, though what was found leads to more."""


@dataclass(frozen=True)
class Redaction:
    """What is to be exported, and what was found in it."""

    policy: Policy
    survey: Survey
    query: Query
    """What is meant, in the terms of the redacted store."""
    losses: list[Loss]

    @property
    def target_options(self) -> dict[str, str]:
        """What the archive's writer has to be told, so that it takes redacted records."""
        return {REDACTED: self.policy.rules_id}

    @property
    def through(self) -> Callable[[Reader], Reader]:
        """Makes of the source what may leave of it."""
        return partial(Redacted, self.policy, self.survey)


def look_through(
    source: str,
    rules: Rules,
    salt: Salt,
    query: Query = EVERY_RUN,
    *,
    where: str | None = None,
    files: FileChoice = WHOLE,
    source_options: Mapping[str, str] = NO_OPTIONS,
    progress: Progress | None = None,
) -> Redaction:
    """Read all that is meant of a store, and say what is to be taken out of it.

    Files are read whole, and all of it again where credentials are found: each is then looked for
    wherever else it may stand. Nothing is written.
    """
    reader = open_reader(source, source_options)
    meant = persist(lambda: chosen(reader, query, where))
    progress = progress or SILENCE
    progress.begin(len(meant.runs), sum(info.points for info in meant.runs))
    policy = persist(lambda: _policy(reader, rules, salt, meant.runs))
    for number in range(1, MOST_LOOKS + 1):
        looking = _Looking(Redacted(policy, None, reader), files, progress)
        redacted_query = looking.store.query(meant.query)
        looking.run(redacted_query, {looking.store.placed(info).ref for info in meant.runs})
        if number == MOST_LOOKS or looking.store.secrets <= policy.secrets:
            break
        # what is known now may have been passed over before
        policy = replace(policy, secrets=frozenset(looking.store.secrets))
    return Redaction(policy, looking.survey, redacted_query, looking.store.losses.list())


def _policy(reader: Reader, rules: Rules, salt: Salt, runs: Iterable[RunInfo]) -> Policy:
    """The names of people and hosts that the records have, which are then looked for everywhere."""
    people, hosts = set[str](), set[str]()
    for chunk in chunked(runs):
        for batch in Overlay(reader, chunk.runs).read(TOLD):
            for row in batch.data.to_pylist():
                people |= {row.get("user")} if row.get("user") else set()
                hosts |= {row.get("host")} if row.get("host") else set()
                for value in row.values():
                    if isinstance(value, str):
                        people.update(homes(value))
    for batch in reader.read_shared(Query()):
        if batch.table == "model_versions":
            people.update(filter(None, batch.data.column("user").to_pylist()))
    people |= {name.rpartition("\\")[2].partition("@")[0] for name in people}
    hosts |= {host.partition(".")[0] for host in hosts}
    people, hosts = people.difference(rules.allow), hosts.difference(rules.allow)
    return Policy(rules, salt, frozenset(people), frozenset(hosts))


class _Looking:
    """Reads a store whole, and keeps what it finds."""

    def __init__(self, store: Redacted, files: FileChoice, progress: Progress) -> None:
        self.store, self.survey = store, Survey()
        self._files, self._progress = files, progress

    def run(self, query: Query, wanted: set[RunRef]) -> None:
        infos = [i for i in persist(lambda: list(self.store.list_runs(query))) if i.ref in wanted]
        for chunk in chunked(infos):
            persist(partial(self._runs, [info.ref for info in chunk.runs]))
            self._progress.runs(len(chunk.runs))
        persist(partial(self._shared, query))
        for kind in kinds(self.store):
            refs = persist(partial(self._item_refs, kind, query))
            for start in range(0, len(refs), ITEMS_AT_A_TIME):
                persist(partial(self._items, refs[start : start + ITEMS_AT_A_TIME]))

    def _runs(self, refs: list[RunRef]) -> None:
        found: list[FileRef] = []
        for batch in self.store.read_runs(refs):
            if batch.table in POINTS:
                self._progress.points(batch.data.num_rows)
            if batch.table == "files":
                found += (
                    FileRef(RunRef(row["project"], row["run_id"]), row["owner"] or "", row["path"])
                    for row in batch.data.to_pylist()
                    if not (row["reference"] or self._files.leaves(row))
                )
        self.survey.runs.update(self.store.ledgers)
        self._look(found)

    def _shared(self, query: Query) -> None:
        for _ in self.store.read_shared(query):
            pass
        self._note_others()

    def _item_refs(self, kind: str, query: Query) -> list[ItemRef]:
        return [info.ref for info in self.store.list_items(kind, query)]

    def _items(self, refs: list[ItemRef]) -> None:
        found: list[FileRef] = []
        for batch in self.store.read_items(refs):
            if batch.table == ITEM_FILES:
                for row in batch.data.to_pylist():
                    ref = ItemRef(row["kind"], row["project"], row["item_id"])
                    found.append(ref.file(row["path"]))
        self._note_others()
        self._look(found)

    def _note_others(self) -> None:
        for ledger in self.store.ledgers.values():
            self.survey.others += ledger

    def _look(self, files: Iterable[FileRef]) -> None:
        for file in files:
            look = self.store.look(file)
            if look is not None:
                self.survey.files[file] = look


def begin(address: str, redaction: Redaction) -> str:
    """Put the ledger into an archive, before anything else comes; gives its path.

    `ConfigError` where the archive holds records that were not redacted, or otherwise.
    """
    archive = open_archive(address, redaction.target_options, new=True)
    archive.check_mixing()
    runs = list(archive.list_runs(Query()))
    tables = Redacted(redaction.policy, None, archive)
    for project in sorted({info.ref.project for info in runs}):
        if tables.label(project) != project:
            raise ConfigError(
                f"{address}: its project {project!r} has a name in it that has to go now; name a "
                "new archive"
            )
    data = redaction.survey.ledger.csv()
    path = f"{FOLDER}/{redaction.policy.rules_id}-{hashlib.sha256(data).hexdigest()[:16]}.csv"
    archive.add(path, data)
    return path


def carry(source: str, target: str) -> dict[str, str]:
    """Options of an archive that is made of a redacted one: it is too, with the same ledgers.

    Nothing where the source is none.
    """
    if resolve(source)[0].name != "archive":
        return {}
    folder = open_archive(source).folder
    ledgers = folder.names(FOLDER)
    if not ledgers:
        return {}
    options = {REDACTED: ledgers[0].partition("-")[0]}
    archive = open_archive(target, options, new=True)
    archive.check_mixing()
    for name in ledgers:
        archive.add(f"{FOLDER}/{name}", folder.read(f"{FOLDER}/{name}"))
    return options
