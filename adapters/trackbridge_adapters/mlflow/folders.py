"""The folders of MLflow's file stores: experiments, runs, and the small files in them."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from trackbridge.adapter import ORIGIN, RunRef
from trackbridge_adapters.mlflow import artifacts
from trackbridge_adapters.mlflow.entities import labels, text

TRASH = ".trash"
MODELS = "models"
META = "meta.yaml"
RESERVED = frozenset({"tags", "datasets", "traces", MODELS})
"""Folders of an experiment that are no runs (store/tracking/file_store.py, 3.17)."""

PARTS = ("metrics", "params", "tags", "artifacts", "inputs", "outputs")
"""Folders of a run."""

PROBED = 50
"""Folders that are looked at to recognize a store."""

STRAY = (".DS_Store", "Thumbs.db", "desktop.ini", "._")
"""Files that file managers leave everywhere (the last is a prefix)."""

BLOCK = 1 << 16
"""Bytes that are read at a time."""

_PLAIN = re.compile(
    r"([a-z_]+): (?:(0|-?[1-9][0-9]{0,17})|(null)|(\[\])|(\{\})|'([ -&(-~]*)'"
    r"|((?:file:/|[a-z0-9]+://|/)[\w./%+~-]+)|([A-Za-z][\w./-]*(?: [\w./-]+)*|[0-9a-f]{32}))",
    re.ASCII,
)
_NO_TEXT = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})

Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class Experiment:
    """An experiment's folder; `label` tells it from others of the same name."""

    path: Path
    meta: dict[str, Any]
    damage: list[str]
    deleted: bool
    label: str = ""

    @property
    def number(self) -> str:
        return self.path.name

    @property
    def is_closed(self) -> bool:
        """Nobody may look into its folder, so its runs are not known."""
        return _is_closed(self.path)


@dataclass
class RunFolder:
    """A run's folder, and its meta.yaml once it was read."""

    path: Path
    experiment: Experiment
    _meta: dict[str, Any] | None = field(default=None)
    _damage: list[str] = field(default_factory=list)

    @cached_property
    def ref(self) -> RunRef:
        return RunRef(self.experiment.label, self.path.name)

    @property
    def meta(self) -> dict[str, Any]:
        if self._meta is None:
            self._meta = read_yaml(f"{self.path}/{META}", META, self._damage)
        return self._meta

    @property
    def damage(self) -> list[str]:
        """What of meta.yaml, the experiment's too, is unreadable."""
        return [*self.experiment.damage, *(self._damage if self.meta is not None else [])]

    def artifacts(self, home: Path) -> Path | None:
        """The folder of its artifacts: its own, unless they were put elsewhere.

        A store may have been moved, so an address that is like that of the own folder means that
        one. MLflow makes it, empty, where the experiment's artifacts lie elsewhere too.
        """
        own = self.path / "artifacts"
        uri = self.meta.get("artifact_uri")
        if not isinstance(uri, str):
            return own
        alike = uri.endswith(f"{self.path.name}/artifacts") and os.path.isdir(own)  # noqa: PTH112
        if alike and any(own.iterdir()):
            return own
        there = artifacts.local(uri, home)
        return own if alike and there and not there.is_dir() else there


def experiments(root: Path) -> list[Experiment]:
    """Every experiment of a store, deleted ones too, in the order of their ids."""
    found = []
    for parent in (root, root / TRASH):
        for path in subfolders(parent, links=True):
            if path.name in (TRASH, MODELS, ORIGIN) or path.name.startswith("."):
                continue
            if not _is_closed(path) and not _is_file(path / META) and not any(_runs(path)):
                continue
            damage: list[str] = []
            meta = read_yaml(path / META, f"experiment {path.name}: {META}", damage)
            if path.is_symlink() and str(meta.get("experiment_id")) != path.name:
                continue
            gone = parent != root or meta.get("lifecycle_stage") == "deleted"
            found.append(Experiment(path, meta, damage, gone))
    named = [(e.number, str(e.meta.get("name") or e.number), _created(e.meta)) for e in found]
    given = labels(named)
    for experiment in found:
        experiment.label = given[experiment.number]
    return sorted(found, key=lambda e: (len(e.number), e.number))


def of_store(path: str) -> str:
    """Name in the root of a file that belongs to no run: MLflow takes folders for experiments."""
    return f".{quote(path, safe='')}"


def is_store(root: Path) -> bool:
    """Whether a folder holds experiments; looks at the beginning of a few files."""
    for parent in (root, root / TRASH):
        for path in subfolders(parent)[:PROBED]:
            try:
                with (path / META).open("rb") as file:
                    head = file.read(2048)
            except OSError:
                continue
            if b"experiment_id:" in head:
                return True
    return False


def runs(experiment: Experiment, ids: Collection[str] = ()) -> Iterator[RunFolder]:
    """The runs of an experiment by id, or some of them; one without a meta.yaml is a run too."""
    for path in _runs(experiment.path, ids):
        yield RunFolder(path, experiment)


def read_yaml(path: Path | str, where: str, damage: list[str]) -> dict[str, Any]:
    """A mapping out of a file; of one that was cut off, what is before the cut."""
    try:
        content = read(path).decode("utf-8", "backslashreplace")
    except OSError as error:
        damage.append(f"{where}: {error.strerror}")
        return {}
    plain = plain_yaml(content)
    if plain is not None:
        return plain
    lines = content.splitlines(keepends=True)
    whole = len(lines)
    while lines:
        try:
            value = yaml.load("".join(lines), Loader)
        except yaml.YAMLError:
            lines.pop()
            continue
        if isinstance(value, dict):
            if len(lines) < whole:
                damage.append(f"{where}: line {len(lines) + 1}: not readable from here on")
            return value
        break
    damage.append(f"{where}: empty or not readable")
    return {}


def plain_yaml(content: str) -> dict[str, Any] | None:
    """A mapping out of lines that mean what they say, as almost all do that MLflow writes.

    None for anything else: the parser of YAML is slow. What it gives is what that would give.
    """
    found: dict[str, Any] = {}
    for line in content.split("\n"):
        match = _PLAIN.fullmatch(line)
        if match is None:
            if line:
                return None
            continue
        key, number, null, none, nothing, quoted, uri, word = match.groups()
        if key in _NO_TEXT or (word and word.lower() in _NO_TEXT):
            return None
        if number:
            found[key] = int(number)
        elif null:
            found[key] = None
        elif none or nothing:
            found[key] = [] if none else {}
        else:
            found[key] = quoted if quoted is not None else uri or word
    return found or None


def read(path: Path | str) -> bytes:
    """A whole file."""
    return b"".join(blocks(path, BLOCK))


def blocks(path: Path | str, size: int) -> Iterator[bytes]:
    """The bytes of a file; for thousands of small ones in half the time that streams take."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        while block := os.read(file, size):
            yield block
    finally:
        os.close(file)


def values(folder: Path | str, where: str, damage: list[str]) -> Iterator[tuple[str, str]]:
    """Name and text of the files below a folder; names have forward slashes."""
    for name, path in files(folder, where, damage):
        label = text(name, where, damage) or ""
        try:
            content = read(path)
        except OSError as error:
            damage.append(f"{where}/{label}: {error.strerror}")
            continue
        yield label, text(content, f"{where}/{label}", damage) or ""


def files(
    folder: Path | str, where: str = "", damage: list[str] | None = None, prefix: str = ""
) -> Iterator[tuple[str, str]]:
    """Name and path of the files below a folder in order, without stray ones."""
    for entry in _entries(folder, f"{where}/{prefix}".rstrip("/"), damage):
        if entry.name in STRAY or entry.name.startswith(STRAY[-1]):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from files(entry.path, where, damage, f"{prefix}{entry.name}/")
        elif entry.is_file():
            yield prefix + entry.name, entry.path


def subfolders(
    parent: Path, where: str = "", damage: list[str] | None = None, *, links: bool = False
) -> list[Path]:
    """The folders in a folder by name, and links to some if wanted; none where it is missing."""
    found = _entries(parent, where, damage)
    return [Path(entry.path) for entry in found if entry.is_dir(follow_symlinks=links)]


def _entries(folder: Path | str, where: str, damage: list[str] | None) -> list[os.DirEntry[str]]:
    """What is in a folder, by name; that nobody may look into it is damage."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        if damage is not None:
            damage.append(f"{where}: {error.strerror}")
        return []


def _runs(experiment: Path, ids: Collection[str] = ()) -> Iterator[Path]:
    found = subfolders(experiment, links=True)
    if ids:
        wanted = set(ids)
        found = [path for path in found if path.name in wanted]
    for path in found:
        if path.name in RESERVED or path.name.startswith("."):
            continue
        if path.is_symlink():
            if str(read_yaml(path / META, META, []).get("run_id")) == path.name:
                yield path
        elif (
            _is_file(f"{path}/{META}")
            or any(os.path.isdir(f"{path}/{part}") for part in PARTS)  # noqa: PTH112 - see `_is_file`
            or _is_closed(path)
        ):
            yield path


def _is_file(path: Path | str) -> bool:
    """Whether a file is there that may be looked at, without an error where it may not."""
    return os.path.isfile(path)  # noqa: PTH113


def _is_closed(folder: Path) -> bool:
    return not os.access(folder, os.R_OK | os.X_OK)


def _created(meta: dict[str, Any]) -> int | None:
    created = meta.get("creation_time")
    return created if isinstance(created, int) else None
