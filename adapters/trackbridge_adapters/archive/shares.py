"""Points of one run that several writers take: files in a folder of their own until a commit.

A share is called by its content, so whoever writes the same points again, after a kill or at the
same time, writes the same file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from trackbridge.adapter import Batch, RunRef
from trackbridge.errors import IntegrityError, NotFoundError, TransientError
from trackbridge_adapters.archive.chunks import Part, share_path, uncommitted
from trackbridge_adapters.archive.parts import PartWriter

if TYPE_CHECKING:
    from trackbridge_adapters.archive.writer import ArchiveWriter


class Share(NamedTuple):
    """What a commit has to know of one."""

    run: RunRef
    part: Part

    def dumps(self) -> str:
        return json.dumps(self)

    @classmethod
    def loads(cls, token: str) -> Share:
        run, part = json.loads(token)
        return cls(RunRef(*run), Part(*part))


def put(store: ArchiveWriter, run: RunRef, batches: Iterable[Batch]) -> Share:
    """Write rows of `metrics` of a run; a share without rows has no file."""
    with store.folder.scratch("share") as scratch:
        staged = scratch / "metrics.parquet"
        writer = PartWriter(staged, "metrics")
        try:
            for batch in batches:
                writer.write(batch.data)
            part = writer.close()
        finally:
            writer.abandon()
        strangers = writer.counts.keys() - {run}
        if strangers:
            raise IntegrityError(f"{store.address}: {run} was given rows of {min(strangers)}")
        if part.rows:  # also where it is among the tables already: it may have come to harm
            store.folder.publish(staged, uncommitted(part.sha256))
    return Share(run, part)


def bring(store: ArchiveWriter, shares: Sequence[Part]) -> None:
    """Put shares among the tables, right before a commit that names them.

    `TransientError` where one is at neither place: another writer replaced the run meanwhile.
    """
    brought = []
    for share in shares:
        path = share_path(share.sha256)
        with suppress(NotFoundError):  # another writer of the same run has brought it
            store.folder.move(uncommitted(share.sha256), path)
            brought.append(path)
    store.folder.settle(brought)
    check_shares(store, shares)


def check_shares(store: ArchiveWriter, shares: Sequence[Part]) -> None:
    """`TransientError` where one has gone from the tables."""
    for share in shares:
        path = share_path(share.sha256)
        if store.folder.size(path) != share.size:
            raise TransientError(f"{store.address}/{path} was taken out by another writer")
