"""Addresses find their adapter, and what is wrong with one is said in a line."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType

import pytest

import trackbridge_adapters
from trackbridge import registry
from trackbridge.doctor import examine
from trackbridge.errors import BridgeError, ConfigError, NotFoundError, UnsupportedError

Install = Callable[..., None]


class Adapter:
    """An adapter that knows paths by their end and opens nothing."""

    def __init__(self, name: str, ending: str = "", suggested: str = "nothing") -> None:
        self.name, self.ending, self.suggested = name, ending, suggested

    def recognizes(self, location: str) -> bool:
        return bool(self.ending) and location.endswith(self.ending) and Path(location).exists()

    def suggests(self, location: str) -> bool:
        return location.endswith(self.suggested)

    def reader(self, location: str, options: object) -> tuple[str, str, object]:
        return (self.name, location, options)

    writer = reader


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes just the given adapters known."""
    module = ModuleType("adapters_of_a_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def adapters(*some: Adapter) -> None:
        table = {}
        for number, adapter in enumerate(some):
            setattr(module, f"A{number}", adapter)
            table[adapter.name] = f"{module.__name__}:A{number}"
        monkeypatch.setattr(trackbridge_adapters, "BUILTIN", table)
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: EntryPoints())
        _forget()

    yield adapters
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    registry.targets.cache_clear()
    registry.load.cache_clear()


def test_an_address_with_a_scheme_means_that_adapter(install: Install) -> None:
    install(Adapter("one"), Adapter("two"))
    assert registry.open_reader("two:x:y/z", {"a": "b"}) == ("two", "x:y/z", {"a": "b"})  # type: ignore[comparison-overlap]


def test_a_bare_path_means_the_adapter_that_recognizes_it(install: Install, tmp_path: Path) -> None:
    install(Adapter("one", ".one"), Adapter("two", ".two"))
    (tmp_path / "store.two").touch()
    address = str(tmp_path / "store.two")
    assert registry.open_reader(address) == ("two", address, {})  # type: ignore[comparison-overlap]
    assert registry.open_writer(address) == ("two", address, {})  # type: ignore[comparison-overlap]


def test_a_path_that_could_be_several_stores_is_an_error_that_lists_them(
    install: Install, tmp_path: Path
) -> None:
    install(Adapter("one", "x"), Adapter("two", "x"), Adapter("three"))
    (tmp_path / "x").touch()
    with pytest.raises(ConfigError) as caught:
        registry.open_reader(f"{tmp_path}/x")
    assert str(caught.value) == (
        f"{tmp_path}/x: could be several stores; say which one: one:{tmp_path}/x, two:{tmp_path}/x"
    )


def test_a_path_where_nothing_is_is_said_to_be_so(install: Install, tmp_path: Path) -> None:
    install(Adapter("one"))
    with pytest.raises(NotFoundError, match="no such file or folder"):
        registry.open_reader(f"{tmp_path}/nothing")


def test_a_path_that_is_no_store_is_said_to_be_so(install: Install, tmp_path: Path) -> None:
    install(Adapter("one"), Adapter("two"))
    (tmp_path / "letter.txt").touch()
    for open_ in (registry.open_reader, registry.open_writer):
        with pytest.raises(NotFoundError, match=r"not a store that any adapter knows.*one:, two:"):
            open_(f"{tmp_path}/letter.txt")


def test_a_folder_of_tables_is_named_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a.csv").touch()
    with pytest.raises(NotFoundError, match=f"a folder of CSV files is csv:{tmp_path}; if it is"):
        registry.open_reader(str(tmp_path))


def test_a_new_path_is_given_to_the_adapter_that_its_name_suggests(
    install: Install, tmp_path: Path
) -> None:
    install(Adapter("one", suggested=".db"), Adapter("two", suggested=".out"))
    address = f"{tmp_path}/new.out"
    assert registry.open_writer(address) == ("two", address, {})  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("suggested", [".other", ".db"])
def test_a_new_path_that_suggests_none_or_several_asks_for_a_scheme(
    install: Install, tmp_path: Path, suggested: str
) -> None:
    install(Adapter("one", suggested=suggested), Adapter("two", suggested=suggested))
    with pytest.raises(ConfigError, match=r"nothing is there yet; say what to make of it: one:/"):
        registry.open_writer(f"{tmp_path}/new.db")


def test_an_empty_folder_may_become_a_store(install: Install, tmp_path: Path) -> None:
    install(Adapter("one", suggested="out"))
    (tmp_path / "out").mkdir()
    assert registry.open_writer(f"{tmp_path}/out")[0] == "one"  # type: ignore[index]


def test_a_scheme_that_nobody_knows_is_told_from_a_path(install: Install) -> None:
    install(Adapter("one"))
    for opened in (registry.open_reader, registry.open_writer):
        with pytest.raises(
            ConfigError, match=r"^typo:\./x: no adapter is called 'typo'; known: one"
        ):
            opened("typo:./x")


def test_a_slip_in_a_scheme_is_told_also_before_a_url() -> None:
    for opened in (registry.open_reader, registry.open_writer, registry.check_store):
        with pytest.raises(ConfigError, match=r"^mlfow:http://x:5: no adapter is called 'mlfow'"):
            opened("mlfow:http://x:5")


@pytest.mark.parametrize("location", ["127.0.0.1:5077", "host:5000", "my-host.org:80/prefix"])
def test_a_server_without_its_http_is_no_folder(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = f"^mlflow:{location}: .* mlflow:http://{location}.* mlflow:./{location}"
    for opened in (registry.open_reader, registry.open_writer, registry.check_store):
        with pytest.raises(ConfigError, match=told):
            opened(f"mlflow:{location}")
    assert not list(tmp_path.iterdir())
    registry.check_store(f"mlflow:./{location}")


@pytest.mark.parametrize(
    ("location", "way_out"),
    [
        ("sqlite://x.db", "mlflow:sqlite:///x.db"),
        ("sqlite:x.db", "mlflow:sqlite:///x.db"),
        ("sqlite://", "mlflow:sqlite:///"),
        ("htp://host:5000", "http://"),
        ("s3://bucket/mlruns", "http://"),
    ],
)
def test_a_url_that_means_no_store_of_mlflow_is_no_folder(
    location: str, way_out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for opened in (registry.open_reader, registry.open_writer, registry.check_store):
        with pytest.raises((ConfigError, UnsupportedError)) as caught:
            opened(f"mlflow:{location}")
        assert way_out in str(caught.value) and location.partition(":")[0] in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_scheme_alone_names_no_store() -> None:
    with pytest.raises(ConfigError, match=r"^wandb:: names no store"):
        registry.check_store("wandb:")


def test_an_installed_adapter_is_found(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(Adapter("one"))
    _install_entry_point(monkeypatch, "other", "adapters_of_a_test:A0")
    assert registry.load("other").name == "one"


def test_two_adapters_of_one_name_are_an_error_that_names_both(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(Adapter("one"))
    _install_entry_point(monkeypatch, "one", "another_package:ADAPTER")
    with pytest.raises(ConfigError) as caught:
        registry.open_reader("one:x")
    assert "adapters_of_a_test:A0" in str(caught.value)
    assert "another_package:ADAPTER" in str(caught.value)


def test_the_same_adapter_installed_twice_is_no_conflict(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(Adapter("one"))
    _install_entry_point(monkeypatch, "one", "adapters_of_a_test:A0")
    assert set(registry.targets()) == {"one"}


@pytest.mark.parametrize("value", ["no_such_module:ADAPTER", "adapters_of_a_test:NOTHING"])
def test_an_adapter_that_cannot_be_imported_is_named(
    install: Install, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    install(Adapter("one"))
    _install_entry_point(monkeypatch, "broken", value)
    with pytest.raises(ConfigError, match=f"adapter broken \\({value}\\) cannot be loaded"):
        registry.open_reader("broken:x")


def test_a_name_that_no_adapter_has_is_an_error_that_lists_them(install: Install) -> None:
    install(Adapter("one"), Adapter("two"))
    with pytest.raises(ConfigError, match="no adapter is called 'three'; known: one, two"):
        registry.load("three")


def _install_entry_point(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    points = EntryPoints([EntryPoint(name, value, registry.GROUP)])
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    _forget()


BUILT_IN = ["archive", "memory", "mlflow", "wandb-files"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_adapter_can_be_loaded(name: str) -> None:
    adapter = registry.load(name)
    assert adapter.name == name
    assert not adapter.recognizes("/no/such/place")
    assert not adapter.suggests("/no/such/place")


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name != "memory"])
@pytest.mark.parametrize("what", ["nothing", "an empty folder", "a text file"])
def test_opening_what_is_no_store_is_an_error_that_names_it(
    name: str, what: str, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    if what == "an empty folder":
        place.mkdir()
    if what == "a text file":
        place.write_text("dear diary")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BridgeError, match="place") as caught:
        list(registry.open_reader(f"{name}:{place}").list_runs(_every()))
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def _every() -> object:
    from trackbridge.adapter import Query

    return Query()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mlflow:postgresql://user:hunter2@127.0.0.1:1/db", "mlflow:postgresql://"),
        ("mlflow:http://user:hunter2@127.0.0.1:1", "mlflow:http://"),
        ("archive:s3://key:hunter2@bucket/out", "archive:"),
    ],
)
def test_secrets_in_an_address_are_never_shown(address: str, shown: str) -> None:
    try:
        seen = registry.open_reader(address).address
    except BridgeError as error:
        seen = str(error)
    else:
        assert seen.startswith(shown)
    assert "hunter2" not in seen


@pytest.mark.parametrize(
    "address",
    [
        "mlflow:postgresql://user:hun{}ter2@127.0.0.1:1/db",
        "postgresql://user:hun{}ter2@127.0.0.1:1/db",
        "mysql+pymysql://user:hun{}ter2@127.0.0.1:1/db",
        "mysql+none://user:hun{}ter2@127.0.0.1:1/db",
        "mysql+pymysql://user:hun{}ter2@127.0.0.1:port/db",
        "postgresql://127.0.0.1:1/db?user=u&password=hun{}ter2",
        "mysql+pymysql://127.0.0.1:1/db?what=x&password=hunter2",
        "postgresql://user:hun{}ter2@[::1/db",
        "mssql://user:hun{}ter2@127.0.0.1/db",
        "postgres://user:hun{}ter2@127.0.0.1/db",
        "http://user:hun{}ter2@127.0.0.1:1/",
    ],
)
@pytest.mark.parametrize("sign", ["", "/", "?", "#", "@", ":", "%2F", "%"])
def test_no_message_shows_a_secret_whatever_signs_are_in_it(address: str, sign: str) -> None:
    if "?" in address and sign not in ("", "%2F"):
        sign = ""  # what ends an option is no part of it
    spelled = address.format(sign)
    *_, found = examine([spelled])
    for shown in (found.name, found.what):
        assert "ter2" not in shown and "hun" not in shown


@pytest.mark.parametrize("sign", ["/", "?", "#", "@", ":", "%2F", "%", "+"])
@pytest.mark.parametrize("scheme", ["postgresql", "mysql+pymysql"])
def test_an_address_keeps_host_and_database_whatever_signs_are_in_the_password(
    scheme: str, sign: str
) -> None:
    reader = registry.open_reader(f"mlflow:{scheme}://user:hun{sign}ter2@127.0.0.1:1/db")
    assert reader.address == f"mlflow:{scheme}://user@127.0.0.1:1/db"
