"""Mirrors a tracker's own library: what a program logs with it goes into journals too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trackbridge.dual import place, spawn
from trackbridge.dual.followed import Followed
from trackbridge.dual.run import Run
from trackbridge.dual.starting import Addresses, addresses, begin, check_ranks, rank_of_process
from trackbridge.errors import ConfigError
from trackbridge.optional import Mirroring


class Mirror:
    """Begins the journals of mirrored runs, for the adapter that has its library in hand.

    Relative paths begin at `cwd`, wherever the program has gone by then.
    """

    def __init__(
        self, to: Addresses, folder: str | Path | None, cwd: str | Path | None = None
    ) -> None:
        """`ConfigError` for an address that no adapter knows."""
        self._cwd = place.here() / (cwd or "")
        self._root = place.root(self._cwd) if folder is None else self._cwd / folder
        self._to = addresses(to)

    def begin(self, project: str, run_id: str, key: Sequence[str]) -> Run:
        """The journal of a run, which goes on if it is there; `key` is the run's own `RunKey`.

        Nothing is said of the run yet: its fields are the library's to know.
        """
        return begin(project, run_id, self._to, self._root, key=key, kind=Run, cwd=self._cwd)[0]

    def follow(self, project: str, run_id: str, key: Sequence[str]) -> Followed:
        """The same for a library that says itself how its runs are, whichever process ends."""
        return begin(project, run_id, self._to, self._root, key=key, kind=Followed, cwd=self._cwd)[
            0
        ]


def mirror(
    library: str,
    to: Addresses = (),
    *,
    ranks: str = "first",
    folder: str | Path | None = None,
    cwd: str | Path | None = None,
) -> None:
    """Have everything that is logged with a tracker's library go to the stores `to` as well.

    `library` is the name of its adapter. What the library does and returns stays as it is.
    Called before or after the library is imported, and before its first run. Of the processes of
    a distributed training the first alone is mirrored, or `all`; other `ranks` are a `ConfigError`.
    Relative paths begin at `cwd`, or else where the program is now.
    """
    check_ranks(ranks)
    if spawn.is_disabled() or (rank_of_process() and ranks == "first"):
        return
    mirroring(library).mirror(Mirror(to, folder, cwd))


def mirroring(library: str) -> Mirroring:
    """The adapter that mirrors a library; `ConfigError` where there is none."""
    from trackbridge.registry import load

    adapter = load(library)
    if not isinstance(adapter, Mirroring):
        raise ConfigError(f"{library}: this library cannot be mirrored")
    return adapter
