"""What an adapter's author gives the contract suite, and what its tests have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings

from trackbridge.adapter import Adapter, Batch, Query, Reader, Row, RunInfo, RunRef, Writer
from trackbridge.errors import ConfigError, NotFoundError
from trackbridge.testing.compare import same_rows
from trackbridge.testing.made import MadeRun
from trackbridge.testing.plain import SEEDS, PlainRun

tries = settings(deadline=None, suppress_health_check=list(HealthCheck))
"""For tests with `given`: the number of examples is that of the profile in force."""

SECRET = "the content of a file outside of the store"

OUTSIDE = (
    "../secret.txt",
    "../../secret.txt",
    "a/../../secret.txt",
    "..\\secret.txt",
    "/etc/hostname",
)
"""Paths that lead out of a store, or would where one is careless."""


@dataclass(frozen=True)
class Seeded:
    """A store that its own client has written; `folder` is all that may hold a part of it."""

    location: str
    folder: Path
    runs: Sequence[PlainRun]


class ContractBase:
    """What a subclass of `AdapterContract` has to say of its store."""

    adapter: ClassVar[Adapter]
    options: ClassVar[Mapping[str, str]] = {}
    """Options that the store is opened with."""
    secrets: ClassVar[Collection[str]] = ()
    """Parts of `location` and `options` that must not be in the store's address."""
    writable: ClassVar[bool] = True
    """False: `Adapter.writer` raises `UnsupportedError`."""
    recognizable: ClassVar[bool] = True
    """False: locations are no paths or URLs that the adapter could tell by their content."""
    known_gaps: ClassVar[Mapping[str, str]] = {}
    """Name of a test -> why it fails today. The day it passes, the gap has to be taken out."""

    def location(self, folder: Path) -> str:
        """A place for a store in an empty folder that is the test's own; nothing is made yet."""
        return str(folder / "store")

    def seed(self, location: str, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
        """Write runs with the store's own client, never through the adapter.

        Returns them with what the client chose by itself: ids and, where it does not let one
        choose, times. What the store has no place for is left out silently.
        """
        raise NotImplementedError("an adapter's contract needs `seed`: see its docstring")

    def peek(self, location: str, run: RunRef) -> PlainRun:
        """A run as the store's own client shows it, never through the adapter."""
        raise NotImplementedError("an adapter's contract needs `peek`: see its docstring")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        taken = [name for name in vars(cls) if _is_contract(name, cls.__mro__[1:])]
        if taken:
            raise TypeError(
                f"{cls.__name__} overrides contract tests: {', '.join(taken)}; "
                "an adapter that cannot pass one names it in `known_gaps`"
            )
        unknown = [name for name in cls.known_gaps if not hasattr(cls, name)]
        if unknown:
            raise TypeError(f"{cls.__name__}.known_gaps names no test: {', '.join(unknown)}")

    @pytest.fixture(autouse=True)
    def _known_gap(self, request: pytest.FixtureRequest) -> None:
        reason = self.known_gaps.get(request.function.__name__)
        if reason is not None:
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    @pytest.fixture
    def seeded(self, tmp_path_factory: pytest.TempPathFactory) -> Seeded:
        """A seeded store; all tests of a class share it, since none of them may change it."""
        made = vars(type(self)).get("_seeded")
        if made is None:
            made = self.make_seeded(tmp_path_factory.mktemp("seeded"))
            type(self)._seeded = made  # type: ignore[attr-defined]
        assert isinstance(made, Seeded)
        return made

    def make_seeded(self, above: Path) -> Seeded:
        """A seeded store somewhere below a folder, with secrets around it."""
        folder = above / "around"
        folder.mkdir()
        for place in (above, folder):
            (place / "secret.txt").write_text(SECRET)
        location = self.location(folder)
        return Seeded(location, above, self.seed(location, SEEDS))

    def read(self, location: str) -> Reader:
        """A new reader."""
        return self.adapter.reader(location, self.options)

    def write(self, location: str) -> Writer:
        """A new writer."""
        return self.adapter.writer(location, self.options)

    def visible(self, location: str) -> list[RunInfo]:
        """What a new reader sees; nothing where there is no store yet."""
        try:
            return listed(self.read(location))
        except (NotFoundError, ConfigError):
            return []

    def rows(self, location: str, run: MadeRun, table: str) -> list[Row]:
        """Native rows of a run."""
        reader, ref = self.read(location), self.write(location).target(run.key)
        return rows_of(reader.read_runs([ref], [table])).get(table, [])

    def check_rows(self, location: str, written: Sequence[Batch], *runs: MadeRun) -> None:
        """A new reader gives exactly these rows of the runs."""
        __tracebackhide__ = True
        reader, writer = self.read(location), self.write(location)
        refs = [writer.target(run.key) for run in runs]
        same_rows(written, reader.read_runs(refs), reader)


def _is_contract(name: str, bases: Iterable[type]) -> bool:
    return name.startswith("test_") and any(
        name in vars(base)
        and issubclass(base, ContractBase)
        and base.__module__.startswith(__package__)
        for base in bases
    )


def listed(reader: Reader, query: Query = Query()) -> list[RunInfo]:  # noqa: B008
    """All runs that a query means."""
    return list(reader.list_runs(query))


def rows_of(batches: Iterable[Batch]) -> dict[str, list[dict[str, Any]]]:
    """Rows by table, in the order in which they come."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for batch in batches:
        rows.setdefault(batch.table, []).extend(batch.data.to_pylist())
    return rows


def snapshot(folder: Path) -> dict[str, str]:
    """Digest of each file below a folder, links and folders by name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder or broken link"
        for path in sorted(folder.rglob("*"))
    }
