"""Addresses that people paste: each that names no project is told how to write it."""

from __future__ import annotations

import pytest

from trackbridge.errors import BridgeError, ConfigError
from trackbridge.registry import open_reader, open_writer, resolve
from trackbridge_adapters.wandb.service import Location

HOST = "http://w.example.org:8080"


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("team", (None, "team", "")),
        ("team/p", (None, "team", "p")),
        ("home", (None, "home", "")),
        ("team/projects", (None, "team", "projects")),
        (f"{HOST}/team", (HOST, "team", "")),
        (f"{HOST}/team/my%20p?nw=x", (HOST, "team", "my p")),
    ],
)
def test_an_address_names_an_entity_or_a_project(
    text: str, location: tuple[str | None, str, str]
) -> None:
    assert Location.parse(text) == location


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("team/p/abc", "names a run; write wandb:team/p and --run abc"),
        ("team/my p/runs/abc", "names a run; write wandb:team/my%20p and --run abc"),
        (f"{HOST}/team/p/runs/abc", f"names a run; write wandb:{HOST}/team/p and --run abc"),
        (f"{HOST}/team/p/runs/abc/logs?nw=x", f"write wandb:{HOST}/team/p and --run abc"),
        (f"{HOST}/team/p/workspace", f"names a page of a project; write wandb:{HOST}/team/p"),
        (HOST, f"a server, but no project on it; write wandb:{HOST}/ENTITY/PROJECT, or"),
        (f"{HOST}/", f"a server, but no project on it; write wandb:{HOST}/ENTITY/PROJECT, or"),
        (f"{HOST}/home", f"a server, but no project on it; write wandb:{HOST}/ENTITY/PROJECT, or"),
        (f"{HOST}/team/projects", f"names a page of an entity; write wandb:{HOST}/team"),
        ("", "'wandb:' names no project; write wandb:ENTITY/PROJECT, or"),
        (":team/p", "names no project; write wandb:ENTITY/PROJECT, or"),
        ("w.example.org:8080/team/p", "a server is wandb:http://w.example.org:8080/team/p"),
    ],
)
def test_anything_else_is_told_how_to_write_it(text: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_reader(f"wandb:{text}")
    assert hint in str(caught.value)
    assert "::" not in str(caught.value).replace(f"wandb:{text}", "")


def test_a_runs_page_is_recognized_on_any_server() -> None:
    adapter, _ = resolve(f"{HOST}/team/p/runs/abc")
    assert adapter.name == "wandb"


@pytest.mark.parametrize("path", ["/team/p", "/team/my%20p?nw=x", "/team", "/home", "/", ""])
def test_a_page_of_the_server_that_wandb_is_set_to_is_recognized(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BridgeError, match="does not say what kind of store"):
        resolve(f"http://127.0.0.1:9{path}")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9/")
    adapter, location = resolve(f"http://127.0.0.1:9{path}")
    assert (adapter.name, location) == ("wandb", f"http://127.0.0.1:9{path}")
    for other in ("http://127.0.0.1:8/team/p", "team/p"):
        with pytest.raises(BridgeError):
            resolve(other)


def test_a_setting_that_names_no_server_is_no_obstacle_to_other_stores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "nonsense")
    with pytest.raises(BridgeError, match="does not say what kind of store"):
        resolve("http://127.0.0.1:9/team/p")


def test_the_address_of_a_server_alone_says_what_to_write() -> None:
    with pytest.raises(BridgeError, match="does not say what kind of store is there; prefix it"):
        resolve("http://127.0.0.1:9")


@pytest.mark.parametrize("name", ["a:b", "a%23b", "x" * 129])
def test_a_project_that_cannot_be_made_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "f00dfeed" * 5)
    open_reader(f"wandb:{HOST}/team/{name}")
    with pytest.raises(ConfigError, match=r"takes no project of that name .* would do"):
        open_writer(f"wandb:{HOST}/team/{name}")


@pytest.mark.parametrize("rate", ["abc", "0", "-1", "nan", "1,5"])
def test_a_limit_that_is_no_number_greater_than_0_is_said_to_be_so(rate: str) -> None:
    with pytest.raises(ConfigError, match=f"--max-rps {rate}: .* a number greater than 0"):
        open_reader(f"wandb:{HOST}/team/p", {"max_rps": rate})
