"""Runs on a W&B server that name the same run in other stores, and alerts of such runs."""

from __future__ import annotations

import itertools
from typing import Any

import linked
import pytest
from wandb_server import Server
from wandb_server.client import script

import trackbridge
from trackbridge.errors import NotFoundError
from trackbridge.optional import Alerting
from trackbridge.registry import open_writer
from trackbridge.testing import samples
from trackbridge.testing.extending import extend
from trackbridge_adapters.wandb.service.login import pages
from trackbridge_adapters.wandb.service.writer import WritableService

pytest.importorskip("wandb")
NUMBERS = itertools.count()


def told(server: Server, run_id: str) -> Any:
    """What the config of a run says, as the server keeps it."""
    entry = server.run(f"team/p/{run_id}").config["trackbridge"]["value"]
    return entry.get("twins", [])


def test_a_run_names_its_twins_and_is_the_same_run(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    run, target = samples.simple("abc"), f"wandb:{server.address}/team/p"
    name = f"twins {next(NUMBERS)}"
    place = linked.check(name, target, run, lambda: told(server, open_id(target, run)))
    page = f"{server.address}/team/p/runs/{place.run_id}"
    assert place == (target, "team/p", open_id(target, run), page)


def open_id(target: str, run: linked.MadeRun) -> str:
    return linked.writing(target).place(run.key).run_id


def test_a_run_that_goes_on_names_its_twins_and_is_gone_on_with(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    target, run = f"wandb:{server.address}/team/p", samples.simple("abc")
    writer = open_writer(target)
    assert isinstance(writer, WritableService)
    extend(writer, [run], 0, 1)
    place = writer.place(run.key)
    writer.link(run.key, linked.TWINS)
    assert told(server, place.run_id) == [each._asdict() for each in linked.TWINS]
    extend(writer, [run], 1, 2)
    assert told(server, place.run_id) == [each._asdict() for each in linked.TWINS]
    name = f"memory:going on {next(NUMBERS)}"
    linked.store(open_writer(name), [run])
    assert trackbridge.migrate(name, target).verified
    assert writer.place(run.key) == place
    assert told(server, place.run_id) == [each._asdict() for each in linked.TWINS]


def test_pages_are_those_that_the_client_prints(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = 'with wandb.init(project="p", id="r1") as run: result = run.url'
    assert script(server, program) == f"{pages(server.address)}/team/p/runs/r1"
    from wandb.util import api_to_app_url

    for base in ("https://api.forge.coreweave.com", "https://api.host.com", "http://host:8080"):
        assert pages(base) == api_to_app_url(base)
    assert pages("https://api.wandb.ai") == "https://wandb.ai"
    monkeypatch.setenv("WANDB_APP_URL", "http://localhost:3000/")
    assert pages("http://host:8080") == "http://localhost:3000"


def test_an_alert_is_the_clients_own(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    script(
        server,
        """
        with wandb.init(project="p", id="r1") as run:
            run.alert("title", "text", level="WARN")
        """,
    )
    target, run = f"wandb:{server.address}/team/p", samples.simple("abc")
    writer = open_writer(target)
    assert isinstance(writer, Alerting)
    with pytest.raises(NotFoundError):
        writer.alert(run.key, "title", "text", "WARN")
    name = f"memory:alerting {next(NUMBERS)}"
    linked.store(open_writer(name), [run])
    trackbridge.migrate(name, target)
    writer.alert(run.key, "title", "text", "WARN")
    writer.alert(run.key, "odd", "", "whatever")
    own, odd = (
        dict(alert, createdAt=None) for alert in server.run(f"team/p/{open_id(target, run)}").alerts
    )
    [theirs] = server.run("team/p/r1").alerts
    assert own == dict(theirs, createdAt=None)
    assert odd["severity"] == "INFO"
