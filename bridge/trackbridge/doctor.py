"""Examines an installation: versions, extras, and whether named stores can be read."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from trackbridge.adapter import Query
from trackbridge.errors import BridgeError, without_secrets
from trackbridge.registry import load, open_reader, targets

CORE = ("pyarrow", "numpy", "pandas", "adbc-driver-sqlite", "protobuf", "fsspec", "joblib")


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
    for extra in _extras():
        found = _version(extra)
        yield Finding(
            extra,
            True if found else None,
            found or f'not installed; needed for some targets: pip install "trackbridge[{extra}]"',
        )


def _extras() -> list[str]:
    """Extras that are named after the package that they bring."""
    try:
        needed = requires("trackbridge") or []
    except PackageNotFoundError:  # a checkout that is not installed
        needed = []
    return sorted(
        {
            name
            for line in needed
            if "extra ==" in line
            for name in [line.split(";")[0].strip().split(">")[0].split("[")[0].strip()]
            if f'extra == "{name}"' in line or f"extra == '{name}'" in line
        }
    )


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
            yield Finding(without_secrets(store), True, f"{count} runs can be listed")
