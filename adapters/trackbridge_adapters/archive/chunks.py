"""The chunks of an archive: the small JSON file that commits each, and which run is in which.

A chunk's files are never altered. Writing its runs again makes a new chunk, which the order of
`Chunk.rank` puts before the old one, so that at every moment a reader sees each run once: a run
lives in the highest-ranking chunk that has it. A rewritten run gets a higher `generation`; a copy
of a chunk without some of its runs keeps the generation and gets a higher `revision`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from trackbridge.adapter import ItemRef, RunInfo, RunKey, RunRef
from trackbridge.audit.bag import is_digest
from trackbridge.errors import IntegrityError, NotFoundError
from trackbridge.folder import Folder
from trackbridge.optional import ItemInfo
from trackbridge.times import micros, moment

CHUNKS = "data/chunks"
SHARES = "data/shares"
_NAME = re.compile(r"([0-9a-f]{32})-([1-9][0-9]*)")
_TABLE = re.compile(r"[a-z_]+")
_SEALED = re.compile(rb'(.*),"sha256":"([0-9a-f]{64})"}', re.DOTALL)


class Part(NamedTuple):
    """One Parquet file of a chunk."""

    rows: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """One run of a chunk: what a listing says of it."""

    info: RunInfo
    deleted: bool


@dataclass(frozen=True)
class Chunk:
    """Runs or items that were committed together, or (without either) rows of shared tables."""

    id: str
    generation: int
    revision: int
    entries: tuple[Entry, ...]
    parts: Mapping[str, Part]
    replaces: tuple[str, ...] = ()
    """Names of chunks of shared tables that hold nothing that this one does not hold anew."""
    items: tuple[ItemInfo, ...] = ()
    shares: tuple[Part, ...] = ()
    """Further files of the table metrics, where several writers took the points of one run."""

    @property
    def name(self) -> str:
        return f"{self.id}-{self.revision}"

    @property
    def of_shared(self) -> bool:
        return not (self.entries or self.items)

    @property
    def rank(self) -> tuple[int, int, str]:
        return self.generation, self.revision, self.id

    @property
    def commit(self) -> str:
        """Path of the JSON file: the chunk exists when this does."""
        return f"{CHUNKS}/{self.name}.json"

    def path(self, table: str) -> str:
        """Path of the Parquet file of a table."""
        return f"data/{table}/{self.name}.parquet"

    def files_of(self, table: str) -> Iterator[tuple[str, Part]]:
        """The Parquet files of a table, by their paths."""
        if table in self.parts:
            yield self.path(table), self.parts[table]
        if table == "metrics":
            yield from ((share_path(share.sha256), share) for share in self.shares)

    @property
    def tables(self) -> set[str]:
        """The tables that the chunk has rows of."""
        return {*self.parts, "metrics"} if self.shares else {*self.parts}

    def dumps(self) -> bytes:
        document = {
            "generation": self.generation,
            "replaces": self.replaces,
            "parts": {
                table: {"path": self.path(table), **part._asdict()}
                for table, part in sorted(self.parts.items())
            },
            "runs": [_plain(entry) for entry in self.entries],
        }
        if self.shares:
            document["shares"] = [
                {"path": share_path(share.sha256), **share._asdict()} for share in self.shares
            ]
        if self.items:
            document["items"] = [_plain_item(info) for info in self.items]
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        return text[:-1] + b',"sha256":"' + hashlib.sha256(text).hexdigest().encode() + b'"}'

    @classmethod
    def loads(cls, name: str, data: bytes, where: str) -> Chunk:
        """The inverse of `dumps`; raises `IntegrityError`, with `where` as the file's name.

        The file ends with the digest of the document that it is without it.
        """
        parsed, sealed = _NAME.fullmatch(name), _SEALED.fullmatch(data)
        try:
            if sealed is None or hashlib.sha256(sealed[1] + b"}").hexdigest() != sealed[2].decode():
                raise ValueError("not the bytes that were written")
            document = json.loads(data)
            return cls(
                parsed[1] if parsed else "",
                _number(document["generation"]),
                int(parsed[2]) if parsed else 0,
                tuple(_entry(run) for run in document["runs"]),
                dict(map(_part, document["parts"].items())),
                tuple(map(str, document["replaces"])),
                tuple(map(_item, document.get("items", ()))),
                tuple(_part(("metrics", share))[1] for share in document.get("shares", ())),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise IntegrityError(f"{where} is damaged ({error}); restore it from a copy") from error


def share_path(digest: str) -> str:
    """Where the points lie that one of several writers took: called by content, so that whoever
    takes the same ones again writes the same file."""
    return f"data/metrics/{digest}.parquet"


def uncommitted(digest: str) -> str:
    """Where they lie before a commit names them: who reads the tables by themselves sees none."""
    return f"{SHARES}/{digest}.parquet"


def chunk_id(names: Iterable[str]) -> str:
    """The id of a chunk: a digest of what it holds, in any order."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:32]


def _part(item: tuple[str, dict[str, Any]]) -> tuple[str, Part]:
    """A part of a commit that anybody may have written: its table and digest become paths."""
    table, part = item
    if not _TABLE.fullmatch(table) or not is_digest(part["sha256"]):
        raise ValueError(f"{table!a} is no part of a chunk")
    return table, Part(_number(part["rows"]), _number(part["size"]), part["sha256"])


def _number(told: object) -> int:
    if not isinstance(told, int):
        raise TypeError(f"{told!a} is no number")
    return told


def _plain(entry: Entry) -> dict[str, Any]:
    info = entry.info
    return {
        "key": info.key,
        "ref": info.ref,
        "name": info.name,
        "status": info.status,
        "started": micros(info.started),
        "deleted": entry.deleted,
        "points": info.points,
        "files": info.files,
        "size": info.size,
        "fingerprint": info.fingerprint,
    }


def _entry(document: dict[str, Any]) -> Entry:
    deleted, when = document.pop("deleted"), moment(document.pop("started"))
    key, ref = RunKey(*document.pop("key")), RunRef(*document.pop("ref"))
    for count in ("points", "files", "size"):
        _number(document[count])
    return Entry(RunInfo(ref=ref, key=key, started=when, carried=True, **document), deleted)


def _plain_item(info: ItemInfo) -> dict[str, Any]:
    return {**vars(info), "started": micros(info.started)}


def _item(document: dict[str, Any]) -> ItemInfo:
    ref, when = ItemRef(*document.pop("ref")), moment(document.pop("started"))
    return ItemInfo(ref=ref, started=when, **document)


class Home(NamedTuple):
    """Where a run lives."""

    chunk: Chunk
    entry: Entry


class ItemHome(NamedTuple):
    """Where an item lives."""

    chunk: Chunk
    info: ItemInfo


class Index:
    """The chunks that are there, as of the last `refresh`."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.chunks: dict[str, Chunk] = {}
        self.homes: dict[RunRef, Home] = {}
        self.item_homes: dict[ItemRef, ItemHome] = {}
        self.outdated: dict[str, Chunk] = {}
        """Chunks some of whose runs or items live elsewhere: what a clean-up has not come to."""

    def refresh(self) -> None:
        """Load what was committed since; a chunk that vanishes meanwhile has a successor."""
        while not self._load():
            pass

    def living(self, chunk: Chunk) -> dict[RunRef, Entry]:
        """The runs that live in the chunk."""
        return {
            entry.info.ref: entry
            for entry in chunk.entries
            if self.homes[entry.info.ref].chunk is chunk
        }

    def living_items(self, chunk: Chunk) -> dict[ItemRef, ItemInfo]:
        """The items that live in the chunk."""
        return {i.ref: i for i in chunk.items if self.item_homes[i.ref].chunk is chunk}

    def shared(self) -> list[Chunk]:
        """The chunks of shared tables, the ones that win last."""
        found = [chunk for chunk in self.chunks.values() if chunk.of_shared]
        replaced = {name for chunk in found for name in chunk.replaces}
        return sorted((c for c in found if c.name not in replaced), key=lambda c: c.rank)

    def needs(self, name: str) -> bool:
        """Whether a reader has to go to the chunk for anything."""
        chunk = self.chunks.get(name)
        if chunk is None:
            return False
        return bool(self.living(chunk) or self.living_items(chunk)) or chunk in self.shared()

    def next_revision(self, of: str, *before: Chunk) -> int:
        """A revision for a chunk of that id that comes after all there are and those given."""
        same = [chunk for chunk in self.chunks.values() if chunk.id == of]
        return 1 + max((chunk.revision for chunk in [*same, *before]), default=0)

    def _load(self) -> bool:
        """Whether the listing was still true when everything was loaded."""
        stems = (name.removesuffix(".json") for name in self._folder.names(CHUNKS))
        names = {stem for stem in stems if _NAME.fullmatch(stem)}
        self._forget(self.chunks.keys() - names)
        for name in sorted(names - self.chunks.keys()):
            path = f"{CHUNKS}/{name}.json"
            try:
                data = self._folder.read(path)
            except NotFoundError as error:
                if f"{name}.json" in self._folder.names(CHUNKS) and not self._folder.size(path):
                    where = f"{self._folder.address}/{path}"
                    raise IntegrityError(f"{where} is no file that can be read") from error
                return False
            self.add(Chunk.loads(name, data, f"{self._folder.address}/{path}"))
        return True

    def _forget(self, names: Iterable[str]) -> None:
        gone = {name: self.chunks.pop(name) for name in names}
        self.outdated = {n: chunk for n, chunk in self.outdated.items() if n not in gone}
        if any(self.living(chunk) or self.living_items(chunk) for chunk in gone.values()):
            there, self.chunks, self.outdated = self.chunks, {}, {}
            self.homes, self.item_homes = {}, {}
            for chunk in there.values():
                self.add(chunk)

    def add(self, chunk: Chunk) -> None:
        """Take note of a chunk that is committed."""
        self.chunks[chunk.name] = chunk
        for entry in chunk.entries:
            home = self.homes.setdefault(entry.info.ref, Home(chunk, entry))
            if self._wins(chunk, home.chunk):
                self.homes[entry.info.ref] = Home(chunk, entry)
        for info in chunk.items:
            where = self.item_homes.setdefault(info.ref, ItemHome(chunk, info))
            if self._wins(chunk, where.chunk):
                self.item_homes[info.ref] = ItemHome(chunk, info)

    def _wins(self, chunk: Chunk, other: Chunk) -> bool:
        """Whether what both have lives in the first; the loser is outdated."""
        if chunk is other:
            return False
        loser = min(chunk, other, key=lambda c: c.rank)
        self.outdated[loser.name] = loser
        return loser is other
