"""Artifacts that a run logged or used: their versions, their files, and where the bytes lie."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from trackbridge_adapters.wandb.records import CLASSES


def is_inside(path: str) -> bool:
    """Whether a relative path with forward slashes stays below where it is put."""
    if "\0" in path or any(part in ("", ".") for part in path.split("/")):
        return False
    anchored = os.name == "nt" and PureWindowsPath(path).anchor
    return not anchored and ".." not in re.split(r"[/\\]", path)


@dataclass
class Version:
    """One version of an artifact; `number` is local to the run."""

    record: Any
    number: int
    entries: list[Any]

    @property
    def owner(self) -> str:
        return f"{self.record.name}:v{self.number}"


def versions(records: list[Any], staging: Staging, damage: list[str]) -> list[Version]:
    """The versions in the order in which the run logged them; what is unreadable is damage."""
    found = numbered(records)
    for version in found:
        record, version.entries = version.record, []
        for entry in _entries(record.manifest, version.owner, staging, damage):
            if is_inside(entry.path):
                version.entries.append(entry)
            else:
                damage.append(f"artifact {version.owner}: {entry.path!r} leads out of it")
    return found


def numbered(records: list[Any]) -> list[Version]:
    """The versions with the entries that are in the records themselves."""
    counts: Counter[str] = Counter()
    found = []
    for record in records:
        found.append(Version(record, counts[record.name], list(record.manifest.contents)))
        counts[record.name] += 1
    return found


def _entries(manifest: Any, owner: str, staging: Staging, damage: list[str]) -> Iterator[Any]:
    """Entries of a manifest; very large ones lie in a file of JSON lines beside the record."""
    yield from manifest.contents
    path = manifest.manifest_file_path
    if not path:
        return
    place = next((p for p in staging.moved(path) if p.is_file()), None)
    if place is None:
        damage.append(f"artifact {owner}: the manifest {path} is missing")
        return
    try:
        with gzip.open(place, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield entry_of_json(json.loads(line))
    except (OSError, EOFError, ValueError) as error:
        damage.append(f"artifact {owner}: the manifest {path} is damaged: {error}")


def entry_of_json(fields: dict[str, Any]) -> Any:
    entry = CLASSES["ArtifactManifestEntry"](
        path=fields["path"],
        digest=fields.get("digest") or "",
        ref=fields.get("ref") or "",
        size=fields.get("size") or 0,
        local_path=fields.get("local_path") or "",
        birth_artifact_id=fields.get("birthArtifactID") or "",
    )
    for key, value in (fields.get("extra") or {}).items():
        entry.extra.add(key=key, value_json=json.dumps(value))
    return entry


class Staging:
    """Where the bytes of artifacts lie that the runs of a folder logged."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._bases = list(dict.fromkeys(_bases(folders)))

    def place_of(self, entry: Any) -> Path | None:
        """The bytes that the manifest means, or None.

        A copy in a staging area or cache is taken by its size; any other file by its digest
        alone, because it may have changed, and because a foreign manifest may name any file.
        """
        for place in [*self.moved(entry.local_path), *self._cached(entry.digest)]:
            there = place.is_file() and place.stat().st_size == entry.size
            if there and (self._holds(place) or _md5(place) == entry.digest):
                return place
        return None

    def moved(self, recorded: str) -> Iterator[Path]:
        """A recorded absolute path, then the same tail in the places where staging areas are."""
        if not recorded:
            return
        yield Path(recorded)
        _, mark, tail = recorded.replace("\\", "/").rpartition("/artifacts/")
        if mark and is_inside(tail):
            yield from (base / "artifacts" / tail for base in self._bases)

    def _cached(self, digest: str) -> Iterator[Path]:
        """Where wandb's cache has a file by its MD5."""
        try:
            name = base64.b64decode(digest, validate=True).hex()
        except ValueError:
            return
        yield from (base / "artifacts/obj/md5" / name[:2] / name[2:] for base in self._bases)

    def _holds(self, place: Path) -> bool:
        return any(place.is_relative_to(base / "artifacts") for base in self._bases)


def _bases(folders: Iterable[Path]) -> Iterator[Path]:
    """Folders in which wandb keeps a folder `artifacts`: its data and its cache."""
    for store in dict.fromkeys(folder.parent for folder in folders):
        yield store.parent
        yield store
        yield from sorted(p for p in store.parent.iterdir() if (p / "artifacts").is_dir())
    home = Path.home()
    for variable, default in (("DATA", ".local/share/wandb"), ("CACHE", ".cache/wandb")):
        yield Path(os.environ.get(f"WANDB_{variable}_DIR") or home / default)


def _md5(place: Path) -> str:
    state = hashlib.md5(usedforsecurity=False)
    with place.open("rb") as stream:
        while block := stream.read(1 << 20):
            state.update(block)
    return base64.b64encode(state.digest()).decode()
