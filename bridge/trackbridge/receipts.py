"""Receipts: small files that say which runs have been moved and proven, so that a job resumes."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import fsspec
import platformdirs

from trackbridge import __version__
from trackbridge.adapter import RunInfo, RunRef
from trackbridge.damage import Damage
from trackbridge.errors import BridgeError, ConfigError, TransientError
from trackbridge.folder import remote_errors, url_without_secrets
from trackbridge.registry import identity
from trackbridge.retry import persist

STATE = "TRACKBRIDGE_STATE"
"""Environment variable: folder or fsspec address for the state of all jobs."""
ON_ONE_MACHINE = {"file", "local", "memory"}
"""Protocols of fsspec's by which another machine or process may mean another place."""

VANISHED = (FileNotFoundError, IsADirectoryError)
"""The errors of a file that is not there any more, or is none."""


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


def receipts_of(
    infos: Iterable[RunInfo],
    digests: Mapping[str, Mapping[str, str]],
    targets: Mapping[str, str],
    damage: Damage,
    extent: Sequence[int] | None,
    left: Collection[RunRef] | None = None,
) -> list[Receipt]:
    """Receipts for the runs that are proven: those with digests.

    `left` are those whose files were not all moved; None: any may be one.
    """
    return [
        Receipt(
            key,
            info.fingerprint,
            targets[key],
            digests[key],
            damage.of(info.key.born),
            extent if left is None or info.key.born in left else None,
            damage.missing.get(info.key.born, ()),
        )
        for info in infos
        for key in [str(info.key)]
        if key in digests
    ]


class Receipts:
    """The receipts of one job: one file per chunk, put in place at once.

    By an atomic rename on this machine, elsewhere by fsspec's `pipe_file`, which is atomic in every
    object store. Nothing is shared but the folder, so any number of machines can work on one job;
    these objects pickle.
    """

    def __init__(self, source: str, target: str) -> None:
        places = f"{identity(source)}\n{identity(target)}"
        job = hashlib.sha256(places.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        root = os.environ.get(STATE) or platformdirs.user_state_path("trackbridge").as_posix()
        self._root = url_without_secrets(root) if "://" in root else root
        try:
            # others write there too, and what was listed before is not what is there now
            self._files, path = fsspec.core.url_to_fs(root, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise ConfigError(f"{STATE}={self._root}: {error}") from error
        self._folder = f"{path.rstrip('/')}/jobs/{job}"
        self._job = {"source": source, "target": target}

    def __iter__(self) -> Iterator[Receipt]:
        """Every receipt of the job, the oldest first; a torn or foreign file counts as none."""
        found: list[tuple[float, list[Receipt]]] = []
        for data in persist(self._read):
            try:
                document = json.loads(data)
                receipts = [Receipt(**item) for item in document["runs"]]
                found.append((float(document["written"]), receipts))
            except (ValueError, KeyError, TypeError):
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
        persist(partial(self._put, self._path(chunk), json.dumps(document, sort_keys=True)))

    def share(self) -> None:
        """Make the folder of the job, by which workers know a place that they have in common."""
        if self._is_local:
            with self._errors():
                self._files.makedirs(self._folder, exist_ok=True)

    def add_for_others(self, chunk: str, receipts: list[Receipt]) -> bool:
        """In a worker, `add` where whoever gave the chunk sees it too; whether that was done."""
        try:
            if self._is_local and not self._files.isdir(self._folder):
                return False
            self.add(chunk, receipts)
        except (BridgeError, OSError):
            return False  # whoever gave the chunk keeps them, and says what is wrong
        return True

    def has(self, chunk: str) -> bool:
        """Whether there are receipts of a chunk that a worker says that it has added."""
        return not self._is_local or self._files.exists(self._path(chunk))

    @property
    def _is_local(self) -> bool:
        protocols = self._files.protocol
        return bool(ON_ONE_MACHINE & set([protocols] if isinstance(protocols, str) else protocols))

    def _path(self, chunk: str) -> str:
        return f"{self._folder}/{chunk}.json"

    def _read(self) -> list[bytes]:
        """The receipts' files; those that vanish meanwhile are left out.

        Not what a fault hides for a while: an older receipt, or none, would count in its place.
        """
        with self._errors():
            try:
                listed = self._files.ls(self._folder, detail=False)
            except FileNotFoundError:
                return []
            paths = sorted(path for path in listed if path.endswith(".json"))
            # many at a time where that is another server's, and names are no patterns to it
            found = self._files.cat_ranges(paths, None, None, on_error="return")
            for data in found:
                if isinstance(data, Exception) and not isinstance(data, VANISHED):
                    raise data
        return [data for data in found if isinstance(data, bytes)]

    def _put(self, path: str, document: str) -> None:
        with self._errors():
            self._files.makedirs(self._folder, exist_ok=True)
            if not self._is_local:
                self._files.pipe_file(path, document.encode())
                return
            new = f"{path}.{os.getpid()}-{threading.get_ident()}.new"
            self._files.pipe_file(new, document.encode())
            self._files.mv(new, path)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with remote_errors(self._root):
                yield
        except TransientError:
            raise
        except BridgeError as error:
            raise self._unusable(error.__cause__ or error) from error

    def _unusable(self, error: BaseException) -> ConfigError:
        reason = getattr(error, "strerror", None) or str(error)
        return ConfigError(
            f"the state of this job cannot be kept in {self._root}: {reason}; "
            f"free some room or set {STATE} to another folder"
        )
