"""What the client does not do of artifacts: before and after it uploads a chunk of runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cache

from trackbridge.adapter import RunRef
from trackbridge.errors import NotFoundError
from trackbridge_adapters.wandb.service import changes
from trackbridge_adapters.wandb.service.claims import Claimed, Claims
from trackbridge_adapters.wandb.service.draft import Draft
from trackbridge_adapters.wandb.service.identity import Alias, Version
from trackbridge_adapters.wandb.service.node import SETTLING, RunNode
from trackbridge_adapters.wandb.service.pages import Node, Pages, Place
from trackbridge_adapters.wandb.service.registry import LATEST
from trackbridge_adapters.wandb.service.versions import own_aliases, said
from trackbridge_adapters.wandb.service.wire import Wire


class Settling:
    """Of a chunk: `begin` before its drafts are complete, `end` once all its runs are there.

    A version whose files another run has logged before is that other run's: this one uses it,
    and what it says otherwise of it is noted. An alias is that of the version for which the run
    that began last claims it, whichever run comes when. It is given once: where somebody moves it
    afterwards it stays, until a run comes that claims it anew. What is given up goes to whoever
    claims it too, or is taken away.

    A run is marked as not settled on its upload, with what it had before: a process that is killed
    leaves it unfinished, and the next call settles what changed since then.
    """

    def __init__(
        self,
        wire: Wire,
        claims: Claims,
        drafts: Mapping[RunRef, Draft],
        there: Mapping[RunRef, RunNode],
    ) -> None:
        """`there` are those of the runs that are there before."""
        self._wire, self._claims, self._drafts = wire, claims, drafts
        self._before = {ref: _before(run) for ref, run in there.items()}
        self.refs = {
            ref
            for ref, draft in drafts.items()
            if draft.rows["artifacts"] or draft.inputs or self._before.get(ref)
        }
        """Runs of the chunk that have artifacts, or had or used some."""
        self._places = {Place.of(ref.project) for ref in self.refs}
        pages = Pages(wire)

        @cache
        def versions(place: Place, collection: str) -> dict[str, Node]:
            """Those of a collection by their digests, whoever logged them."""
            found = pages.versions(place, collection)
            return {node["digest"]: node for node in found if node["state"] == "COMMITTED"}

        self._versions = versions

    def begin(self) -> None:
        """See to it that no alias is given on the upload that is another's, or was given before."""
        self._claims.look(self._places)
        wanted = {alias for draft in self._drafts.values() for alias in draft.aliases}
        last = self._claims.last(wanted, self._drafts.keys())
        for draft in self._drafts.values():
            last |= {a: max(last.get(a, draft.began), draft.began) for a in draft.aliases}
        for ref, draft in self._drafts.items():
            draft.last = {alias for alias in draft.aliases if last[alias] == draft.began}
            draft.before = self._before.get(ref, {})
            draft.settling = ref in self.refs

    def end(self, runs: Collection[RunNode]) -> None:
        """`runs` are the chunk's by `refs`, as they are now."""
        self._claims.look(self._places)
        nodes: dict[Version, Node] = {}
        doubtful, fresh = set[Alias](), set[Version]()
        dropped: dict[Alias, Version] = {}
        for run in runs:
            self._claims.note(run)
            known = self._known(run)
            self._note_others(run, known)
            nodes |= known
            before = self._before.get(run.ref, {})
            doubtful |= self._drafts[run.ref].given
            doubtful |= {version.called(LATEST) for version in known.keys() - before.keys()}
            if not self._drafts[run.ref].is_shell:  # which will be ended another time
                dropped |= _dropped(before, _claimed(run))
            fresh |= {Version.of(node) for node in run.node["outputArtifacts"]} - before.keys()
        given_up = self._given_up(dropped, nodes)
        self._give(doubtful | given_up.keys(), nodes)
        self._take(given_up)
        for run in runs:
            self._link(run)
        for told, version in self._claims.users(fresh & nodes.keys(), self._drafts.keys()):
            place = Place.of(told.ref.project)
            with suppress(NotFoundError):  # somebody deleted that run meanwhile
                changes.use_artifact(self._wire, place, told.name, nodes[version]["id"])
        for run in runs:
            config = run.config_with({"artifacts": run.origin.get("artifacts"), SETTLING: None})
            changes.change_run(self._wire, run.place, run.name, config=config)

    def _link(self, run: RunNode) -> None:
        """Note what a run used as its inputs, as far as it is in the target and not its own."""
        there = set(map(Version.of, run.node["inputArtifacts"]))
        there |= {Version.told(run.place, each) for each in run.origin.get("artifacts", ())}
        for version in self._drafts[run.ref].inputs:
            node = None
            if version not in there:
                node = self._versions(version.place, version.collection).get(version.digest)
            if node is not None:
                changes.use_artifact(self._wire, run.place, run.name, node["id"])

    def _give(self, aliases: Collection[Alias], nodes: Mapping[Version, Node]) -> None:
        """Aliases to those that claim them; `nodes` are versions that were read already."""
        lacking: dict[str, list[Alias]] = defaultdict(list)
        for alias, holders in self._claims.holders(aliases).items():
            for version in holders:
                node = self._node(version, nodes)
                if node is not None:
                    if alias.name not in own_aliases(node):
                        lacking[node["id"]].append(alias)
                    break
        for found, those in lacking.items():
            changes.add_aliases(self._wire, found, those)

    def _given_up(
        self, dropped: Mapping[Alias, Version], nodes: Mapping[Version, Node]
    ) -> dict[Alias, str]:
        """Those of dropped aliases that nobody has moved since, with the ids of their versions."""
        found = {}
        for alias, version in dropped.items():
            node = self._node(version, nodes)
            if node is not None and alias.name in own_aliases(node):
                found[alias] = node["id"]
        return found

    def _take(self, given_up: Mapping[Alias, str]) -> None:
        """Aliases away that no run claims any more; `latest` is the server's own."""
        vain: dict[str, list[Alias]] = defaultdict(list)
        for alias, holders in self._claims.holders(given_up.keys()).items():
            if not holders and alias.name != LATEST:
                vain[given_up[alias]].append(alias)
        for found, those in vain.items():
            changes.delete_aliases(self._wire, found, those)

    def _node(self, version: Version, nodes: Mapping[Version, Node]) -> Node | None:
        others = {} if version in nodes else self._versions(version.place, version.collection)
        return nodes.get(version) or others.get(version.digest)

    def _known(self, run: RunNode) -> dict[Version, Node]:
        """The versions that a run has, after those that others made are noted as its inputs."""
        told = {Version.told(run.place, each) for each in run.origin.get("artifacts", ())}
        nodes = [*run.node["inputArtifacts"], *run.node["outputArtifacts"]]
        there = {Version.of(node): node for node in nodes}
        known = {version: there[version] for version in told & there.keys()}
        for version in sorted(told - there.keys()):
            node = self._versions(run.place, version.collection).get(version.digest)
            if node is not None:
                changes.use_artifact(self._wire, run.place, run.name, node["id"])
                known[version] = node
        return known

    def _note_others(self, run: RunNode, known: Mapping[Version, Node]) -> None:
        """Its entry tells what a version of another run says otherwise than its own would."""
        rows = self._drafts[run.ref].rows["artifacts"]
        for told, row in zip(run.origin.get("artifacts", ()), rows):
            node = known.get(Version.told(run.place, told))
            if node is None:
                continue
            for name in ("description", "metadata"):
                if (row.get(name) or "") != said(node, name):
                    told[name] = row.get(name) or ""


def _claimed(run: RunNode) -> Claimed:
    """Versions that a run has, each with the aliases that it claims for it."""
    found: Claimed = {}
    for version, node in run.brought():
        own = Version.of(node)
        found.setdefault(own, set()).update(map(own.called, version.record.aliases))
    return found


def _before(run: RunNode) -> Claimed:
    """What a run had when it was settled last."""
    if SETTLING not in run.origin:
        return _claimed(run)
    found: Claimed = {}
    for each in run.origin[SETTLING]:
        version = Version.told(run.place, each)
        found[version] = set(map(version.called, each["aliases"]))
    return found


def _dropped(before: Claimed, now: Claimed) -> dict[Alias, Version]:
    """Aliases that a run does not claim any more for a version."""
    return {
        alias: version for version in before for alias in before[version] - now.get(version, set())
    }
