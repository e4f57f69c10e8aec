"""Receipts: small files that say which runs have been moved and proven, so that a job resumes."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import fsspec
import platformdirs

from trackbridge import __version__
from trackbridge.errors import ConfigError
from trackbridge.registry import identity

STATE = "TRACKBRIDGE_STATE"
"""Environment variable: folder or fsspec address for the state of all jobs."""


@dataclass(frozen=True)
class Receipt:
    """Proof that a run, in the state that `fingerprint` stands for, is in the target.

    `target` is the fingerprint that it had there: another one means that it was touched since.
    """

    key: str
    fingerprint: str
    target: str
    digests: Mapping[str, str]
    damage: Sequence[str] = ()
    """What is damaged of the run in the source."""
    extent: Sequence[int] | None = None
    """By which choice (`FileChoice.extent`) some of its files were left; None: all were moved."""
    missing: Sequence[Sequence[str]] = ()
    """Owner and path of its files that had no bytes in the source."""


class Receipts:
    """The receipts of one job: one file per chunk, put in place by an atomic rename.

    Nothing is shared but the folder, so any number of machines can work on one job.
    """

    def __init__(self, source: str, target: str) -> None:
        places = f"{identity(source)}\n{identity(target)}"
        job = hashlib.sha256(places.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        root = os.environ.get(STATE) or platformdirs.user_state_path("trackbridge").as_posix()
        try:
            self._files, path = fsspec.core.url_to_fs(root)
        except (ValueError, ImportError) as error:
            raise ConfigError(f"{STATE}={root}: {error}") from error
        self._folder = f"{path.rstrip('/')}/jobs/{job}"
        self._job = {"source": source, "target": target}

    def __iter__(self) -> Iterator[Receipt]:
        """Every receipt of the job, the oldest first; a torn or foreign file counts as none."""
        try:
            paths = sorted(self._files.ls(self._folder, detail=False))
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unusable(error) from error
        found: list[tuple[float, list[Receipt]]] = []
        for path in (path for path in paths if path.endswith(".json")):
            try:
                document = json.loads(self._files.cat_file(path))
                receipts = [Receipt(**item) for item in document["runs"]]
                found.append((float(document["written"]), receipts))
            except (ValueError, KeyError, TypeError, OSError):
                continue
        for _, receipts in sorted(found, key=lambda item: item[0]):
            yield from receipts

    def latest(self) -> dict[str, Receipt]:
        """The newest receipt of each run, by its key: what older ones say is no longer so."""
        return {receipt.key: receipt for receipt in self}

    def add(self, chunk: str, receipts: list[Receipt]) -> None:
        """Keep the receipts of a chunk; a chunk of the same id is replaced."""
        document = {
            "trackbridge": __version__,
            "written": time.time(),
            **self._job,
            "runs": [vars(receipt) for receipt in receipts],
        }
        path, new = f"{self._folder}/{chunk}.json", f"{self._folder}/{chunk}.{os.getpid()}.new"
        try:
            self._files.makedirs(self._folder, exist_ok=True)
            self._files.pipe_file(new, json.dumps(document, sort_keys=True).encode())
            self._files.mv(new, path)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"the state of this job cannot be kept in {self._folder}: {error.strerror or error}; "
            f"free some room or set {STATE} to another folder"
        )
