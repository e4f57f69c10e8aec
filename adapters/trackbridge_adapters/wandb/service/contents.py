"""Files of runs and of their artifacts: where their bytes are, and the bytes."""

from __future__ import annotations

import io
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple

from trackbridge.adapter import ORIGIN, SIDECAR, FileRef, RunRef
from trackbridge.errors import NotFoundError
from trackbridge.prefetch import together
from trackbridge_adapters.wandb.artifacts import Version
from trackbridge_adapters.wandb.service.answers import RefusedError
from trackbridge_adapters.wandb.service.files import Checks, entry_path, open_listed
from trackbridge_adapters.wandb.service.node import RunNode
from trackbridge_adapters.wandb.service.pages import Node
from trackbridge_adapters.wandb.service.versions import artifact_place, entries_of
from trackbridge_adapters.wandb.service.wire import Wire

TOGETHER = 8
"""Manifests that are fetched at a time."""
KEPT = 1000
"""Runs of which it is remembered where their files are."""


class Entry(NamedTuple):
    """A file of an artifact, and where its bytes are."""

    entry: Any
    url: str


class Contents:
    """Where the files of a run's artifacts are, by owner and path."""

    def __init__(self, run: RunNode) -> None:
        self.run = run
        self.versions: list[Version] = []
        self.entries: dict[tuple[str, str], Entry] = {}

    def add(self, version: Version, node: Node, manifest: bytes) -> None:
        """Take in a version whose entries are in its manifest."""
        version.entries, config = entries_of(manifest, version.owner, self.run.damage)
        self.versions.append(version)
        for entry in version.entries:
            if not entry.ref:
                url = entry_path(artifact_place(node), entry, config)
                self.entries[version.owner, entry.path] = Entry(entry, url)
            if self.run.carried:  # an id of this server's
                entry.ClearField("birth_artifact_id")


class Files:
    """The bytes of files of runs, which several threads may ask for.

    `find` gives a run as it is now. What is known of it is remembered, for addresses of files are
    good for a while, and asked for anew when they have expired.
    """

    def __init__(self, wire: Wire, address: str, find: Callable[[RunRef], RunNode]) -> None:
        self._wire, self._address, self._find = wire, address, find
        self._checks = Checks()
        self._contents: dict[RunRef, Contents] = {}
        self._asking = threading.Lock()
        self._sidecars: dict[RunRef, Node | None] = {}
        """Of runs that were listed and brought here: a request for each would be too many."""

    def listed(self, run: RunNode) -> None:
        """Take down what a listing says of a run."""
        if run.carried:
            self._sidecars[run.ref] = run.file(SIDECAR)

    def forget(self) -> None:
        """Artifacts may be others by now."""
        self._contents.clear()

    def forget_sidecar(self, ref: RunRef) -> None:
        self._sidecars.pop(ref, None)

    def open(self, file: FileRef) -> BinaryIO:
        what = f"{self._address}: run {file.run.run_id}: {'/'.join(filter(None, file[1:]))}"
        if file[1:] == ("", SIDECAR) and file.run in self._sidecars:
            node = self._sidecars[file.run]
            if node is None or not node["sizeBytes"]:
                raise NotFoundError(f"{what}: no such file")
            with suppress(NotFoundError, RefusedError):
                return self._checks.of(self._wire.open(node["directUrl"]), what, *_told(node))
        contents = self._contents_of(file.run, None)
        try:
            return self._opened(contents, file, what)
        except (NotFoundError, RefusedError):  # signed addresses expire
            return self._opened(self._contents_of(file.run, contents), file, what)

    def open_own(self, node: Node | None, what: str) -> BinaryIO:
        """A file of a run itself; one of ours without content counts as none.

        Without its bytes though, what it says would be missed unnoticed.
        """
        if node is None or (node["name"] == SIDECAR and not node["sizeBytes"]):
            raise NotFoundError(f"{what}: no such file")
        if node["sizeBytes"] == 0:  # some of these were never uploaded, and nobody gives them
            return io.BytesIO()
        url, ours = node["directUrl"], node["name"].startswith(f"{ORIGIN}/")
        data = open_listed(self._wire, url, what) if ours else self._wire.open(url)
        return self._checks.of(data, what, *_told(node))

    def with_entries(self, runs: Iterable[RunNode]) -> Iterator[Contents]:
        """Runs with what their artifacts consist of."""
        runs = list(runs)
        jobs = [(run, version, node) for run in runs for version, node in run.versions()]
        manifests: dict[RunRef, list[tuple[Version, Node, bytes]]] = defaultdict(list)
        with together(self._manifest, jobs, TOGETHER) as found:
            for (run, version, node), manifest in found:
                manifests[run.ref].append((version, node, manifest))
        for run in runs:
            contents = Contents(run)
            for version, node, manifest in manifests[run.ref]:
                contents.add(version, node, manifest)
            self._keep(contents)
            yield contents

    def _opened(self, contents: Contents, file: FileRef, what: str) -> BinaryIO:
        if not file.owner:
            return self.open_own(contents.run.file(file.path), what)
        found = contents.entries.get((file.owner, file.path))
        if found is None:
            raise NotFoundError(f"{what}: no such file")
        entry, url = found
        return self._checks.of(self._wire.open(url), what, entry.size, entry.digest)

    def _manifest(self, job: tuple[RunNode, Version, Node]) -> bytes:
        _, _, node = job
        manifest = node["currentManifest"]
        if not manifest:
            return b'{"contents": {}}'
        url = manifest["file"]["directUrl"]
        with open_listed(self._wire, url, "the manifest of an artifact") as data:
            return data.read()

    def _keep(self, contents: Contents) -> None:
        ref = contents.run.ref
        self._contents.pop(ref, None)
        if len(self._contents) >= KEPT:
            del self._contents[next(iter(self._contents))]
        self._contents[ref] = contents

    def _contents_of(self, ref: RunRef, old: Contents | None) -> Contents:
        """What is known of a run's files, but not what was known before."""
        with self._asking:
            found = self._contents.get(ref)
            if found is None or found is old:
                [found] = self.with_entries([self._find(ref)])
            return found


def _told(node: Node) -> tuple[int | None, str | None]:
    """Size and MD5 of a file of a run."""
    return node["sizeBytes"], node["md5"]
