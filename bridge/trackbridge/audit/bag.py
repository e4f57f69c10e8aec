"""The files that make an archive a bag (BagIt 1.0, RFC 8493)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

BYTES = "data/bytes"
"""Folder of the bytes of files, each called by its digest."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Content(NamedTuple):
    """Bytes of a file, as they were when it was written."""

    size: int
    sha256: str


def content_of(data: bytes) -> Content:
    """Size and digest of bytes."""
    return Content(len(data), hashlib.sha256(data).hexdigest())


def is_digest(text: object) -> bool:
    """Whether it is a SHA-256 as archives write it, which may be the name of a file."""
    return isinstance(text, str) and _SHA256.fullmatch(text) is not None


def content_path(digest: str) -> str:
    """Where the bytes with a digest lie."""
    return f"{BYTES}/{digest[:2]}/{digest}"


def by_digest(payload: Mapping[str, Content]) -> dict[str, str]:
    """Where the bytes with a digest lie, of those that are called by it."""
    return {c.sha256: path for path, c in payload.items() if path.endswith(c.sha256)}


def manifest(digests: Mapping[str, str]) -> bytes:
    """A manifest: SHA-256 digest of each path, in the order of the paths."""
    lines = (f"{digest}  {_encoded(path)}\n" for path, digest in sorted(digests.items()))
    return "".join(lines).encode()


def fetch(elsewhere: Mapping[str, tuple[str, int]]) -> bytes:
    """The file fetch.txt: URL and bytes of each path that is not in the bag, in their order."""
    lines = (f"{url} {size} {_encoded(path)}\n" for path, (url, size) in sorted(elsewhere.items()))
    return "".join(lines).encode()


def info(payload: Collection[Content], software: str, when: datetime) -> bytes:
    """The file bag-info.txt."""
    size = sum(content.size for content in payload)
    fields = {
        "Bag-Software-Agent": software,
        "Bagging-Date": when.date().isoformat(),
        "Payload-Oxum": f"{size}.{len(payload)}",
    }
    return "".join(f"{label}: {text}\n" for label, text in fields.items()).encode()


def _encoded(path: str) -> str:
    """A path as manifests have it: three signs are encoded."""
    return path.replace("%", "%25").replace("\n", "%0A").replace("\r", "%0D")
