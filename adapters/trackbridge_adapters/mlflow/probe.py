"""Whether a tracking server of MLflow's is behind an address; asked without importing MLflow."""

from __future__ import annotations

import http.client
import re
import urllib.request
from urllib.parse import urlsplit, urlunsplit

SECONDS = 5
_VERSION = re.compile(r"\d+\.\d+\.\d+[\w.+-]*")


def is_server(location: str) -> bool:
    """Whether it tells a version as `/version` of MLflow's servers does (since 1.9)."""
    split = urlsplit(location)
    if split.scheme not in ("http", "https"):
        return True  # addresses that only MLflow has
    bare = split.netloc.rpartition("@")[2]
    plain = urlunsplit((split.scheme, bare, f"{split.path.rstrip('/')}/version", "", ""))
    try:
        with urllib.request.urlopen(plain, timeout=SECONDS) as answer:
            return bool(_VERSION.fullmatch(answer.read(100).decode("utf-8", "replace").strip()))
    except (OSError, ValueError, http.client.HTTPException):
        return False
