"""Takes out of an archive what was replaced, and what killed writers have left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trackbridge.audit.bag import BYTES, Content, content_of
from trackbridge.audit.redaction.ledger import FOLDER as LEDGERS
from trackbridge.audit.viewing import files as pages
from trackbridge.errors import TransientError
from trackbridge_adapters.archive.chunks import SHARES, Chunk, chunk_id
from trackbridge_adapters.archive.draft import Draft
from trackbridge_adapters.archive.marker import MARKER
from trackbridge_adapters.archive.parts import CONTENTS, SCHEMAS
from trackbridge_adapters.archive.reader import content_path

if TYPE_CHECKING:
    from trackbridge_adapters.archive.writer import ArchiveWriter


def take_out(store: ArchiveWriter, old: Chunk, scratch: Path) -> None:
    """Put a copy in the place of a chunk, without the runs or items that live elsewhere.

    Until the old chunk's commit is gone, the copy has the higher rank. Another writer may do the
    same at the same time; it makes the same copy.
    """
    if old.commit in store.sealed:
        return  # what is sealed stays: ranks tell which of two chunks counts
    living, items = store.index.living(old), store.index.living_items(old)
    if living or items:
        draft = Draft(store.folder, scratch / old.name)
        try:
            for table in old.tables:
                for data in store.rows(old, table, living or items):
                    draft.write(table, data)
        except TransientError:
            if store.index.needs(old.name):
                raise
        else:
            names = [str(entry.info.key) for entry in living.values()] or map(str, items)
            name = chunk_id(names)
            revision = store.index.next_revision(name, old)
            kept = tuple(living.values()), draft.finish(), (), tuple(items.values())
            draft.publish(Chunk(name, old.generation, revision, *kept))
        finally:
            draft.abandon()
    remove(store, old)


def remove(store: ArchiveWriter, chunk: Chunk) -> None:
    """Remove a chunk that no reader needs: the commit last, so that a kill leaves a trace.

    What is sealed stays, and what another chunk has too.
    """
    if chunk.commit in store.sealed:
        return
    others = (other for other in store.index.chunks.values() if other.name != chunk.name)
    needed = {share for other in others for share in other.shares}
    for table in chunk.tables:
        for path, part in chunk.files_of(table):
            if part not in needed and path not in store.sealed:
                store.folder.remove(path)
    store.folder.remove(chunk.commit)


def sweep(store: ArchiveWriter) -> None:
    """Remove all that no reader needs. Only for a time when nobody writes."""
    index = store.index
    index.refresh()
    shared = index.shared()
    with store.folder.scratch("sweep") as scratch:
        for chunk in [*index.chunks.values()]:
            if chunk.name in index.outdated or (chunk.of_shared and chunk not in shared):
                take_out(store, chunk, scratch)
    index.refresh()
    store.folder.clear_scratch()
    needed = contents(store)
    bytes_folders = [f"{BYTES}/{name}" for name in store.folder.names(BYTES)]
    tables = [f"data/{table}" for table in SCHEMAS]
    for folder in [*tables, SHARES, *bytes_folders, *pages.folders(store.folder)]:
        for name in store.folder.names(folder):
            if f"{folder}/{name}" not in needed and f"{folder}/{name}" not in store.sealed:
                store.folder.remove(f"{folder}/{name}")


def contents(store: ArchiveWriter) -> dict[str, Content]:
    """Every file that a commit speaks of, with the digest of when it was written; the commits.

    Pages that show the archive are among them, and ledgers of what was taken out.

    No Parquet file is read but those of the table contents.
    """
    found = {MARKER: content_of(store.folder.read(MARKER)), **pages.contents(store.folder)}
    for path in store.folder.sizes(LEDGERS):
        found[path] = content_of(store.folder.read(path))
    for chunk in store.index.chunks.values():
        found[chunk.commit] = content_of(store.folder.read(chunk.commit))
        for path, part in (file for table in chunk.tables for file in chunk.files_of(table)):
            found[path] = Content(part.size, part.sha256)
        if CONTENTS in chunk.parts:
            for data in store.rows(chunk, CONTENTS, None):
                digests = data.column("sha256").to_pylist()
                for digest, size in zip(digests, data.column("size").to_pylist()):
                    found[content_path(digest)] = Content(size, digest)
    return found
