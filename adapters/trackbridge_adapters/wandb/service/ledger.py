"""What a target keeps that belongs to no run, in files that no two writers share.

A server has no request that changes a file only if nobody else did meanwhile. So each write makes
a new file of the run `HIDDEN`: with all that is kept, and with the names of the files which it was
read from. Those count no more, and are deleted. Where two writers have begun with the same files,
both of theirs count, and what they say is put together.
"""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from trackbridge.adapter import ORIGIN
from trackbridge.errors import ConfigError, IntegrityError, NotFoundError, TransientError
from trackbridge_adapters.wandb.service import changes
from trackbridge_adapters.wandb.service.answers import LackingError, RefusedError
from trackbridge_adapters.wandb.service.pages import PASSES, Node, Place
from trackbridge_adapters.wandb.service.shared_pages import HOME, SharedPages
from trackbridge_adapters.wandb.service.wire import Wire

HIDDEN = "trackbridge-store"
"""Id of the run that holds what belongs to no run."""
NOTE = "Kept by Trackbridge: what this server does not show of the projects brought to it."
SHOWN = {"displayName": HIDDEN, "notes": NOTE, "state": "finished"}
FOLDER = f"{ORIGIN}/store/"


@dataclass(frozen=True)
class State:
    """What is kept, as some files say it."""

    files: Mapping[str, str] = field(default_factory=dict)
    """Texts by path; bytes that are no UTF-8 stand in them as surrogates."""
    projects: Mapping[str, str | None] = field(default_factory=dict)
    """Projects that were brought -> what an empty description of each stands for."""
    after: frozenset[str] = frozenset()
    """Names of the files that it was read from."""


class Ledger:
    """That of the project `home`."""

    def __init__(self, wire: Wire, home: Place) -> None:
        self._wire, self._home = wire, home
        self._pages = SharedPages(wire)
        self._variables = {**home._asdict(), "run": HIDDEN}
        self._base: State | None = None

    def open(self, path: str) -> BinaryIO:
        """A file; what is written next stands in the place of what was opened last."""
        self._base = self.read()
        if path not in self._base.files:
            raise NotFoundError(f"{self._home}: no {path}")
        return io.BytesIO(self._base.files[path].encode("utf-8", "surrogateescape"))

    def read(self) -> State:
        missed: set[str] = set()
        for _ in range(PASSES):
            try:
                return self._put_together(self._listed())
            except _NotGivenError as error:
                if error.name in missed:
                    raise self._lost(error) from error
                missed.add(error.name)  # a writer has replaced it since it was listed
        raise TransientError(f"{self._home}: its run {HIDDEN} changes faster than it can be read")

    def _lost(self, error: _NotGivenError) -> IntegrityError:
        return IntegrityError(
            f"{self._home}: the bytes of {error.name}, a file of its run {HIDDEN}, are missing on"
            f" the server ({error}): in it is kept what the server does not show of the projects"
            " that were brought to it; restore them there, or delete that file and migrate again"
            " from where these projects came"
        )

    def write(self, files: Mapping[str, bytes], projects: Mapping[str, str | None]) -> None:
        """Keep some files and projects beside what is kept already."""
        base = self._base or self.read()
        texts = {path: data.decode("utf-8", "surrogateescape") for path, data in files.items()}
        new = State({**base.files, **texts}, {**base.projects, **projects}, base.after)
        if new == base and len(base.after) == 1:
            return
        name = f"{FOLDER}{uuid.uuid4().hex}.json"
        told = {"files": new.files, "projects": new.projects, "after": sorted(new.after)}
        changes.change_run(self._wire, self._home, HIDDEN, **SHOWN)
        data = io.BytesIO(json.dumps(told, sort_keys=True).encode())
        changes.put_file(self._wire, self._home, HIDDEN, name, data)
        self._base = State(new.files, new.projects, frozenset([name]))
        self._delete(base.after)

    def _delete(self, names: Collection[str]) -> None:
        """Remove what counts no more; where that is not allowed, it is only longer to read."""
        found = [node["id"] for node in self._listed() if node["name"] in names] if names else []
        if found:
            with suppress(LackingError, RefusedError, ConfigError):
                changes.delete_files(self._wire, found)

    def _listed(self) -> list[Node]:
        """Files with all their bytes, the latest last."""
        first = self._pages.first(HOME, self._variables)
        nodes = self._pages.nodes(HOME, "home", first, self._variables)
        ours = (node for node in nodes if node["name"].startswith(FOLDER) and node["sizeBytes"])
        return sorted(ours, key=lambda node: (node["updatedAt"] or "", node["name"]))

    def _put_together(self, nodes: Collection[Node]) -> State:
        found = {node["name"]: self._told(node) for node in nodes}
        gone = {name for told in found.values() for name in told["after"]}
        files: dict[str, str] = {}
        projects: dict[str, str | None] = {}
        for name, told in found.items():
            if name not in gone:
                files |= {p: _both(files.get(p, text), text) for p, text in told["files"].items()}
                projects |= told["projects"]
        return State(files, projects, frozenset(found))

    def _told(self, node: Node) -> dict[str, Any]:
        try:
            with self._wire.open(node["directUrl"]) as data:
                content = data.read()
        except (NotFoundError, RefusedError) as error:  # as storages say it
            raise _NotGivenError(node["name"], error) from error
        try:
            told = json.loads(content)
            return {"files": {}, "projects": {}, "after": (), **told}
        except (ValueError, TypeError) as error:
            where = f"{self._home}: {node['name']} of the run {HIDDEN}"
            raise IntegrityError(
                f"{where} is damaged ({error}); delete it if it is not ours"
            ) from error


class _NotGivenError(Exception):
    """A file was listed, and the server does not give it."""

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(str(error))
        self.name = name


def _both(older: str, newer: str) -> str:
    """What two writers say who did not know of each other."""
    try:
        documents = json.loads(older), json.loads(newer)
    except ValueError:
        return newer
    return newer if older == newer else json.dumps(_united(*documents), sort_keys=True)


def _united(older: Any, newer: Any) -> Any:
    """Fields of both, and elements of both, those of the newer one last."""
    if isinstance(older, dict) and isinstance(newer, dict):
        both = {name: _united(older[name], newer[name]) for name in older.keys() & newer.keys()}
        return {**older, **newer, **both}
    if isinstance(older, list) and isinstance(newer, list):
        known = {json.dumps(each, sort_keys=True) for each in newer}
        return [*(e for e in older if json.dumps(e, sort_keys=True) not in known), *newer]
    return newer
