"""Where the files of a run or model lie: in a folder of this machine, or in a storage elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import urlsplit

from trackbridge.adapter import SIDECAR
from trackbridge_adapters.mlflow import artifacts
from trackbridge_adapters.mlflow.artifacts import PROXY, Entry
from trackbridge_adapters.mlflow.repository import Repository

TRACKING = "MLFLOW_TRACKING_URI"
"""Environment variable: the server that `mlflow-artifacts:` refers to."""

REQUESTS = 16
"""Storages that are asked at a time."""


class Listing(NamedTuple):
    """The files of one place in order, and size and time of what Trackbridge keeps beside them."""

    entries: list[Entry]
    sidecar: tuple[int, int] | None = None


class Folder:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        """Whether it is there, with whatever files."""
        return self.path.is_dir()

    def listing(self, damage: list[str], *, carried: bool = False) -> Listing:
        """`carried`: it is that of a run that Trackbridge has brought, so the sidecar is ours."""
        sidecar = artifacts.sidecar(self.path) if carried else None
        return Listing(list(artifacts.walk(self.path, damage, carried=carried)), sidecar)

    def opened(self, path: str) -> BinaryIO | None:
        """A file; None where there is none."""
        return artifacts.opened(self.path, path)


class Elsewhere:
    """A storage that MLflow's artifact repositories reach."""

    def __init__(self, uri: str) -> None:
        self._repository = repository(uri)

    def exists(self) -> bool:
        return True

    def listing(self, damage: list[str], *, carried: bool = False) -> Listing:
        found = [Entry(path, size or 0, 0) for path, size in self._repository.walk(damage)]
        if not carried:
            return Listing(found)
        ours = next(((entry.size, 0) for entry in found if entry.path == SIDECAR), None)
        return Listing([entry for entry in found if entry.path != SIDECAR], ours)

    def opened(self, path: str) -> BinaryIO | None:
        return self._repository.opened(path)


Storage = Folder | Elsewhere


def repository(uri: str) -> Repository:
    """The files below a URI of a storage elsewhere."""
    return Repository(uri, os.environ.get(TRACKING) if urlsplit(uri).scheme == PROXY else None)


def find(uri: str | None, home: Path) -> Storage | None:
    """What an artifact URI means; None where that cannot be reached from here.

    `home` is the folder of the store, below which a tree that was moved is found.
    """
    folder = artifacts.local(uri, home)
    if folder is not None:
        return Folder(folder)
    if not uri:
        return None
    if urlsplit(uri).scheme == PROXY and not os.environ.get(TRACKING, "").startswith("http"):
        return None
    return Elsewhere(uri)


def is_elsewhere(root: str) -> bool:
    """Whether a root or an artifact location is no path of a machine."""
    scheme = urlsplit(root).scheme
    return len(scheme) > 1 and scheme != "file"  # one letter is a drive


def is_store(location: str | None) -> bool:
    """Whether a location is in a store of objects, or the like, that any machine may reach."""
    return is_elsewhere(location or "") and urlsplit(location or "").scheme != PROXY


class Wanted(NamedTuple):
    """A place to be listed: `damage` gets what could not be; `carried` as in `listing`."""

    storage: Storage
    damage: list[str]
    carried: bool


def listed(wanted: Iterable[list[Wanted]]) -> Iterator[list[Listing]]:
    """The listings of each group of places, in order; storages elsewhere are asked together."""
    groups = list(wanted)
    if not any(isinstance(place.storage, Elsewhere) for group in groups for place in group):
        yield from map(_listings, groups)
        return
    with ThreadPoolExecutor(REQUESTS) as pool:
        yield from pool.map(_listings, groups)


def _listings(group: list[Wanted]) -> list[Listing]:
    return [place.storage.listing(place.damage, carried=place.carried) for place in group]
