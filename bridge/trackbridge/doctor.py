"""Examines an installation: versions, optional packages, and whether named stores can be read."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from trackbridge.adapter import Query
from trackbridge.errors import BridgeError, without_secrets
from trackbridge.output import counted
from trackbridge.registry import load, open_reader, targets

CORE = ("pyarrow", "numpy", "pandas", "adbc-driver-sqlite", "protobuf", "fsspec", "joblib")
OPTIONAL = re.compile(r"(?P<package>[\w.-]+).*extra == ['\"](?P<extra>[\w-]+)['\"]")
COLLECTIONS = ("all", "dev")
"""Extras that only gather those of others, and what developers need."""


@dataclass(frozen=True)
class Finding:
    """One check; `good` is None for what is merely not installed."""

    name: str
    good: bool | None
    what: str


def examine(stores: Iterable[str]) -> list[Finding]:
    """Every check, in the order in which a person would make them."""
    return [*_installation(), *_adapters(), *_stores(stores)]


def _installation() -> Iterator[Finding]:
    yield Finding("python", True, f"{platform.python_version()} on {platform.system()}")
    for name in ("trackbridge", *CORE):
        found = _version(name)
        yield Finding(name, found is not None, found or "missing: reinstall trackbridge")
    for package, extra in _optional():
        found = _version(package)
        yield Finding(
            package,
            True if found else None,
            found or f'not installed; for {extra} alone: pip install "trackbridge[{extra}]"',
        )


def _optional() -> list[tuple[str, str]]:
    """Packages that only some stores or engines need, with the extras that bring them."""
    try:
        needed = requires("trackbridge") or []
    except PackageNotFoundError:  # a checkout that is not installed
        needed = []
    found = (OPTIONAL.match(line) for line in needed)
    pairs = [(each["package"], each["extra"]) for each in found if each]
    return sorted(pair for pair in pairs if pair[1] not in COLLECTIONS)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _adapters() -> Iterator[Finding]:
    for name, target in sorted(targets().items()):
        try:
            load(name)
        except (BridgeError, ImportError, AttributeError) as error:
            yield Finding(f"adapter {name}", False, f"{target}: {error}")
        else:
            yield Finding(f"adapter {name}", True, target)


def _stores(stores: Iterable[str]) -> Iterator[Finding]:
    for store in stores:
        try:
            count = sum(1 for _ in open_reader(store).list_runs(Query()))
        except BridgeError as error:
            yield Finding(without_secrets(store), False, str(error))
        else:
            yield Finding(without_secrets(store), True, f"{counted(count, 'runs')} can be listed")
