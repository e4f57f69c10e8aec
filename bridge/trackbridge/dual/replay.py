"""Delivers what is left of journals, without a forwarder: `trackbridge replay`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackbridge.dual import living, place, spawn, standing
from trackbridge.dual.alerts import raise_left
from trackbridge.dual.delivery import Delivery
from trackbridge.dual.journaled import opened, run_of, unreadable
from trackbridge.dual.parts import grouped, latest_header, parts
from trackbridge.errors import BridgeError, ConfigError, NotFoundError, without_secrets
from trackbridge.registry import check_store, check_target


@dataclass(frozen=True)
class Delivered:
    """What became of a run on its way to a store; `what` is delivered, skipped, waiting, failed."""

    run: str
    store: str
    what: str
    points: int = 0
    why: str = ""


def folders(journals: Iterable[str | Path]) -> list[Path]:
    """The folders of runs that are meant, each run's first: each given one, or those in it.

    Without any, those of `TRACKBRIDGE_DIR` or of `./trackbridge`. `NotFoundError` where none are,
    `ConfigError` where that cannot be seen.
    """
    given = [Path(journal).absolute() for journal in journals] or [place.root()]
    found: list[Path] = []
    for path in given:
        try:
            inside = _inside(path)
        except OSError as error:
            raise ConfigError(unreadable(error)) from error
        if not inside:
            raise NotFoundError(
                f"{path}: no journals are there; name a folder that training runs have written,"
                f" or set {place.DIR}"
            )
        found += [run[0] for run in inside]
    return list(dict.fromkeys(found))


def check(to: Iterable[str]) -> None:
    """Say of stores that a person has named what is wrong with them, once, before all else."""
    for store in to:
        check_store(store)
        check_target(store)


def _inside(path: Path) -> list[list[Path]]:
    if place.files(path):
        return [parts(path)]
    return grouped(filter(_is_one, place.runs(path)))


def _is_one(folder: Path) -> bool:
    """Whether it is a run's, or cannot be read: that is to be told."""
    try:
        return bool(place.files(folder))
    except OSError:
        return True


def replay(journals: Iterable[str | Path] = (), to: Sequence[str] = ()) -> Iterator[Delivered]:
    """Deliver every run that is not proven to be in its stores, or in those of `to`, one by one.

    Runs that go on, and those that a forwarder is at work with, are left to it. Alerts of the last
    hour that were not raised yet are raised. `BridgeError` for a store that can be no target.
    """
    check(to)
    for folder in folders(journals):
        try:
            told, info = latest_header(parts(folder)), run_of(opened(folder))
        except (BridgeError, OSError) as error:
            yield Delivered(folder.name, "", "failed", why=unreadable(error))
            continue
        run = "/".join(info.ref)
        stores = list(to) or standing.owed(folder, told.get("to", ()))
        if why := going(folder, info.status):
            yield from (Delivered(run, store, "waiting", why=why) for store in stores)
        elif spawn.is_tended(told) and not _takes_over(folder, told):
            why = "a forwarder is at work; `trackbridge status` shows how far it is"
            for store in stores:
                done = standing.load(folder, without_secrets(store)).is_proven(info.fingerprint)
                what = ("skipped", info.points) if done else ("waiting", 0, why)
                yield Delivered(run, store, *what)
        else:
            living.mark_crashed(folder)
            ran_in = "." if to else told.get("cwd", ".")
            for store in stores:
                with working_in(ran_in):
                    found = _deliver(folder, run, store)
                yield found
            for store in stores[:-1]:
                with working_in(ran_in):
                    _link(folder, store)
            with working_in(ran_in):
                raise_left(folder, stores)


def going(folder: Path, status: str | None) -> str:
    """See `living`; of a run of several folders, why more may come to any of them."""
    return next(filter(None, (living.going(part, status) for part in parts(folder))), "")


def status_of(folder: Path, status: str | None) -> str:
    """See `living`; a run of several folders goes on while any of them does."""
    told = [living.status_of(part, status) for part in parts(folder)]
    return "running" if "running" in told else told[0]


def _takes_over(folder: Path, told: Mapping[str, Any]) -> bool:
    """Whether a forwarder has made way that cannot go on: it may have credentials that are wrong.

    Trainings that go on begin another one soon.
    """
    stuck = any(standing.load(folder, store).error for store in told["to"])
    return stuck and spawn.stop(told["by"])


@contextmanager
def working_in(folder: str) -> Iterator[None]:
    """Addresses that a run was given are meant from where it ran, if that is still there."""
    before = Path.cwd()
    with suppress(OSError):
        os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _link(folder: Path, store: str) -> None:
    """Have a run name twins that it has got since; where that fails, the next call does it."""
    delivery = Delivery(folder, store)
    info = delivery.info()
    if delivery.standing.proven == info.fingerprint and not delivery.is_done(info.fingerprint):
        with suppress(BridgeError):
            delivery.close()


def _deliver(folder: Path, run: str, store: str) -> Delivered:
    delivery = Delivery(folder, store)
    info = delivery.info()
    try:
        if delivery.is_done(info.fingerprint) and delivery.is_there():
            return Delivered(run, store, "skipped", info.points)
        delivery.close()
    except BridgeError as error:
        delivery.fail(error)
        return Delivered(run, store, "failed", why=str(error))
    why = "; ".join(delivery.standing.damage[:1])
    return Delivered(run, store, "delivered", info.points, why and f"damaged: {why}")
