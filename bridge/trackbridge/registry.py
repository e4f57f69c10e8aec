"""Store addresses and the adapters they belong to: the only place that loads adapters."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from trackbridge.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from trackbridge.adapter import Adapter, Reader, Writer

GROUP = "trackbridge.adapters"
IN_PROCESS = "memory"
"""Scheme of stores that live in this process: no path or URL can mean one."""
NO_OPTIONS: Mapping[str, str] = {}
_BARE_HOST = re.compile(r"[\w.-]{2,}:\d+(/.*)?")
"""What means a server, though it says not how to talk to it."""


@cache
def targets() -> dict[str, str]:
    """Scheme of each known adapter -> `module:attribute`, built-in ones and installed ones.

    Two adapters of one name are a `ConfigError` that names both.
    """
    from importlib.metadata import entry_points  # not for trainings, which name built-in ones

    from trackbridge_adapters import BUILTIN

    found = dict(BUILTIN)
    for point in entry_points(group=GROUP):
        known = found.setdefault(point.name, point.value)
        if known != point.value:
            raise ConfigError(
                f"two adapters are called {point.name!r}: {known} and {point.value}; "
                "uninstall one of the packages"
            )
    return found


@cache
def load(name: str) -> Adapter:
    """The adapter of that scheme."""
    known = targets()
    if name not in known:
        raise ConfigError(f"no adapter is called {name!r}; {_known()}")
    return _loaded(name, known[name])


def _loaded(name: str, place: str) -> Adapter:
    module, _, attribute = place.partition(":")
    try:
        return cast("Adapter", getattr(import_module(module), attribute))
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"the adapter {name} ({place}) cannot be loaded: {error}; "
            "install what it needs, or uninstall its package"
        ) from error


def resolve(address: str) -> tuple[Adapter, str]:
    """Adapter and location that an address means; a bare path or URL is sniffed by content."""
    scheme, colon, location = address.partition(":")
    if colon and scheme in targets():
        _refuse_bare_host(scheme, location)
        return load(scheme), location
    found = [adapter for adapter in map(load, _schemes()) if adapter.recognizes(address)]
    if len(found) == 1:
        return found[0], address
    if found:
        choices = ", ".join(f"{adapter.name}:{address}" for adapter in found)
        raise ConfigError(f"{address}: could be several stores; say which one: {choices}")
    raise NotFoundError(_unknown(address))


def open_reader(address: str, options: Mapping[str, str] = NO_OPTIONS) -> Reader:
    """The store at an address, for reading."""
    adapter, location = resolve(address)
    return adapter.reader(location, options)


def open_writer(address: str, options: Mapping[str, str] = NO_OPTIONS) -> Writer:
    """The store at an address, for writing.

    A bare path where nothing is yet gets the adapter that its name suggests.
    """
    adapter, location = resolve_target(address)
    return adapter.writer(location, options)


def resolve_target(address: str) -> tuple[Adapter, str]:
    """Like `resolve`, for a store that may not exist yet."""
    try:
        return resolve(address)
    except NotFoundError:
        if _exists(address):
            raise
    _refuse_unknown_scheme(address)
    suggested = [adapter for adapter in map(load, _schemes()) if adapter.suggests(address)]
    if len(suggested) == 1:
        return suggested[0], address
    fitting = [adapter.name for adapter in suggested] or _schemes()
    names = ", ".join(f"{name}:{address}" for name in fitting)
    raise ConfigError(f"{address}: nothing is there yet; say what to make of it: {names}")


def check_store(address: str) -> None:
    """`ConfigError` for an address of a target that no adapter knows; quick where one does.

    Trainings begin with it: of an address with a scheme of ours, an adapter that says with `check`
    what it knows is loaded alone, and not for servers.
    """
    from trackbridge_adapters import BUILTIN

    if not isinstance(address, str) or not address.strip():
        raise ConfigError(f"{address!r}: no address of a store; name one, like archive:./out")
    scheme, colon, location = address.partition(":")
    if colon and scheme in BUILTIN and not location:
        raise ConfigError(f"{address}: names no store; write {scheme}: and where it is")
    if not (colon and scheme in BUILTIN and scheme != IN_PROCESS):
        resolve_target(address)
        return
    _refuse_bare_host(scheme, location)
    if ":" in location and not location.startswith(("http://", "https://")):
        _check(scheme, location)


def check_target(address: str) -> None:
    """`BridgeError` for an address that `check_store` takes, and that can be no target.

    As far as the adapters of ours tell by the address alone.
    """
    from trackbridge_adapters import BUILTIN

    scheme, colon, location = address.partition(":")
    if colon and scheme in BUILTIN and scheme != IN_PROCESS:
        _check(scheme, location)


def _check(scheme: str, location: str) -> None:
    from trackbridge_adapters import BUILTIN

    adapter = _loaded(scheme, BUILTIN[scheme])
    if hasattr(adapter, "check"):
        adapter.check(location)


def taking(option: str, value: str, address: str) -> dict[str, str]:
    """An option for the store at an address, if its adapter says that it knows it."""
    adapter, _ = resolve_target(address)
    return {option: value} if option in getattr(adapter, "options", ()) else {}


def called_by_ending(ending: str) -> list[str]:
    """Schemes of stores that new paths with that ending (`.db`) become."""
    return [name for name in _schemes() if load(name).suggests(f"store{ending}")]


def exporting() -> list[str]:
    """Schemes of stores that `export` makes beside archives, as their adapters say."""
    return [name for name in _schemes() if getattr(load(name), "exports", False)]


def identity(address: str) -> str:
    """The same text for every spelling of a store's place: links, `..` and the scheme resolved.

    A folder on the way that does not exist yet counts like one that does, since making it must
    not make two places one. Of a URL neither user nor driver (`scheme+driver`) count.
    """
    scheme, colon, location = address.partition(":")
    if not colon or scheme not in targets():
        location = address
    url, slashes, path = location.partition(":///")
    if slashes:
        location = f"/{path}" if url == "file" else path
    if scheme == IN_PROCESS:
        return address
    if "://" in location:
        return _url_identity(location)
    return os.path.realpath(location)


def _url_identity(url: str) -> str:
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    host, colon, port = place.rpartition("@")[2].partition(":")
    host = "127.0.0.1" if host.lower() == "localhost" else host.lower()
    return f"{scheme.partition('+')[0]}://{host}{colon}{port}{slash}{path.rstrip('/')}"


def path_of(understood: str) -> str | None:
    """The path on this machine that an address means (`Reader.address`); None: it is elsewhere."""
    place = identity(understood)
    return None if "://" in place or is_in_process(understood) else place


def is_in_process(understood: str) -> bool:
    """Whether a store lives in this process, so that no other one sees it."""
    return understood.partition(":")[0] == IN_PROCESS or "memory://" in understood


def from_anywhere(address: str, understood: str) -> str:
    """An address for a process that has another working folder."""
    if path_of(understood) is None:
        return address
    scheme, colon, location = address.partition(":")
    if not colon or scheme not in targets():
        scheme, colon, location = "", "", address
    url, slashes, path = location.partition(":///")
    if slashes and url != "file":
        return f"{scheme}{colon}{url}:///{_whole(path)}"
    return address if "://" in location else f"{scheme}{colon}{_whole(location)}"


def _whole(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def same_place(one: str, other: str) -> bool:
    """Whether two addresses mean one store, hard links included."""
    places = identity(one), identity(other)
    if places[0] == places[1]:
        return True
    here, there = map(Path, places)
    return here.exists() and there.exists() and here.samefile(there)


def _refuse_unknown_scheme(address: str) -> None:
    """Tell a slip in an address's scheme from a path; one letter is a drive."""
    scheme, colon, rest = address.partition(":")
    is_url = rest.startswith("//")
    if colon and scheme.replace("-", "").isalnum() and len(scheme) > 1 and not is_url:
        raise ConfigError(f"{address}: no adapter is called {scheme!r}; {_known()}")


def _refuse_bare_host(scheme: str, location: str) -> None:
    """Tell a server without its `http://` from a path; other packages' adapters may know such."""
    from trackbridge_adapters import BUILTIN

    if scheme in BUILTIN and _BARE_HOST.fullmatch(location) and not os.path.lexists(location):
        raise ConfigError(
            f"{scheme}:{location}: says not what is there; a server is {scheme}:http://{location}, "
            f"a folder or file {scheme}:./{location}"
        )


def _known() -> str:
    return f"known: {', '.join(_schemes())}"


def _schemes() -> list[str]:
    """Schemes of stores that a person can name."""
    return sorted(targets().keys() - {IN_PROCESS})


def _exists(address: str) -> bool:
    path = Path(address)
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _unknown(address: str) -> str:
    names = ", ".join(f"{name}:" for name in _schemes())
    if _exists(address):
        tables = "".join(
            f"; a folder of {name.upper()} files is {name}:{address}"
            for name in exporting()
            if any(any(Path(address).glob(f"{place}.{name}")) for place in ("*", "*/*"))
        )
        return (
            f"{address}: not a store that any adapter knows{tables}; if it is one, prefix it: "
            f"{names}"
        )
    _refuse_unknown_scheme(address)
    if "://" in address:
        return (
            f"{address}: a URL alone does not say what kind of store is there; prefix it: {names}"
        )
    if Path(address).is_dir():
        return f"{address}: an empty folder, no store"
    return f"{address}: no such file or folder"
