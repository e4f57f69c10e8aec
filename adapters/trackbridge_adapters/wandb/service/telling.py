"""What is told of runs that are on a server: where they are, alerts, the same run elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from trackbridge.adapter import RunKey
from trackbridge.errors import NotFoundError
from trackbridge.optional import Twin
from trackbridge_adapters.wandb.service import changes
from trackbridge_adapters.wandb.service.login import pages
from trackbridge_adapters.wandb.service.node import TWINS, RunNode
from trackbridge_adapters.wandb.service.pages import Place

if TYPE_CHECKING:
    from trackbridge_adapters.wandb.service.running import Running
    from trackbridge_adapters.wandb.service.writer import WritableService


def alert(writer: WritableService, key: RunKey, title: str, text: str, level: str) -> None:
    where, name = _found(writer, key)
    changes.alert(writer.wire, where, name, title, text, level)


def place(writer: WritableService, key: RunKey) -> Twin:
    """With the page that the client prints, and the id that is part of its address."""
    where, name = _found(writer, key)
    page = "/".join(quote(part, safe="") for part in (*where, "runs", name))
    server = writer.wire.login.base_url
    return Twin(f"wandb:{server}/{where}", str(where), name, f"{pages(server)}/{page}")


def link(writer: WritableService, key: RunKey, twins: Sequence[Twin]) -> None:
    running = writer.running.get(writer.target(key))
    told = [twin._asdict() for twin in twins]
    if running is None:
        run = _brought(writer, key)
        if run.origin.get(TWINS, []) != told:
            config = run.config_with({TWINS: told or None})
            changes.change_run(writer.wire, run.place, run.name, config=config)
        return
    running.tell_twins(told)
    config = running.fields()["config"]
    if config != running.told.get("config"):
        where = Place.of(running.ref.project)
        changes.change_run(writer.wire, where, running.name, config=config)
        running.told["config"] = config


def _found(writer: WritableService, key: RunKey) -> tuple[Place, str]:
    """Where a run is, with its id on the server."""
    running: Running | None = writer.running.get(writer.target(key))
    if running is not None:
        return Place.of(running.ref.project), running.name
    run = _brought(writer, key)
    return run.place, run.name


def _brought(writer: WritableService, key: RunKey) -> RunNode:
    """A run as it is on the server now; its latest generation."""
    ref = writer.target(key)
    found = [run for run in writer.runs([ref]) if run.carried and (run.ref, run.key) == (ref, key)]
    if not found:
        raise NotFoundError(f"{writer.address}: no run {ref.run_id} in {ref.project} yet")
    return found[-1]
