"""Which W&B server is meant, and with which API key."""

from __future__ import annotations

import configparser
import json
import netrc
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from trackbridge.errors import ConfigError

CLOUD = "https://api.wandb.ai"
"""The server of those who name none.

wandb 0.31 calls it https://api.forge.coreweave.com, which leads to the same service
(sdk/lib/urls.py, FORGE_HOSTS); this name is known to every release.
"""
_PAGES = {
    "wandb.ai": CLOUD,
    "www.wandb.ai": CLOUD,
    "app.wandb.ai": CLOUD,
    "forge.coreweave.com": "https://api.forge.coreweave.com",
}
"""Hosts with the pages that people see -> the server behind them."""
_ALIASES = {
    "api.wandb.ai": "api.forge.coreweave.com",
    "api.forge.coreweave.com": "api.wandb.ai",
}
"""Hosts of one service: a key that was stored for one is good for the other."""

FORGE = "forge.coreweave.com"
APP_URL = "WANDB_APP_URL"
KEY, BASE_URL, TOKEN = "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE"
HEADERS = "WANDB_X_EXTRA_HTTP_HEADERS"
LENGTH = 40
"""The least that the secret part of an API key has (wandb 0.31, sdk/lib/wbauth/validation.py)."""
_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)


@dataclass(frozen=True)
class Login:
    """A server, without a slash at the end, and the key for it."""

    base_url: str
    key: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """What a user wants to be sent with each request to it, such as a gateway asks for."""


def find_login(base_url: str | None = None) -> Login:
    """The server of that address, else the one that wandb is set to, and the key for it.

    Looks where wandb 0.31 looks, in its order: environment, netrc, settings files. A
    `ConfigError` says what is missing or cannot be used; a key is in none of them.
    """
    place = normal(base_url) if base_url else configured()
    return Login(place, _key(place), _headers())


def pages(base_url: str) -> str:
    """Where people see what is on a server of that address, as wandb 0.31 says (`app_url`).

    The cloud's is called as every release knows it.
    """
    told = os.environ.get(APP_URL) or settings().get("app_url_override")
    if told:
        return told.rstrip("/")
    host = urlsplit(base_url).hostname or ""
    if base_url == CLOUD:
        return "https://wandb.ai"
    if host.endswith(FORGE):
        return f"https://{host.removeprefix('api.')}/wandb"
    for api, app in (("://api.wandb.test", "://app.wandb.test"), ("://api.wandb.", "://wandb.")):
        if api in base_url:
            return base_url.replace(api, app)
    return base_url.replace("://api.", "://app.")


def normal(base_url: str) -> str:
    """The address of the server that a person means; a `ConfigError` where it can be none."""
    split = _split(base_url)
    host = split.hostname
    if host in _PAGES:
        return _PAGES[host]
    if host in _ALIASES and split.scheme == "http":
        raise ConfigError(
            f"http://{host}: a key is not sent without encryption; use https://{host}"
        )
    return f"{split.scheme}://{split.netloc}{split.path.rstrip('/')}"


def _split(base_url: str) -> SplitResult:
    if "@" in base_url or "?" in base_url or "#" in base_url:
        raise ConfigError(
            "the address of a W&B server has no user, password or query in it; the key belongs"
            f" into {KEY}"
        )
    try:
        split = urlsplit(base_url.strip())
        split.port  # noqa: B018 - is checked when it is asked for
    except ValueError:
        split = urlsplit("")
    if split.scheme not in ("http", "https") or not split.hostname:
        raise ConfigError(
            f"{base_url!r} is no address of a W&B server; one looks like https://host or"
            " http://host:8080"
        )
    return split


def configured() -> str:
    """The server that wandb would log to."""
    return normal(os.environ.get(BASE_URL) or settings().get("base_url") or CLOUD)


def _key(place: str) -> str:
    if key := os.environ.get(KEY):
        return _checked(key, KEY)
    if (key := _netrc_key(place)) or (key := _setting_key(place)):
        return key
    if os.environ.get(TOKEN):
        raise ConfigError(
            f"{place}: {TOKEN} is set, but identity tokens are not supported; set {KEY} instead"
        )
    looked = ", ".join(map(str, [KEY, _netrc_file(), *_settings_files()]))
    raise ConfigError(
        f"{place}: no API key found (looked in {looked}); run `wandb login --host {place}`"
        f" or set {KEY}"
    )


def _headers() -> tuple[tuple[str, str], ...]:
    text = os.environ.get(HEADERS)
    if not text:
        with suppress(ConfigError):  # files that are needed for server or key were read before
            text = settings().get("x_extra_http_headers")
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ConfigError(
            f"{HEADERS}, or x_extra_http_headers in wandb's settings: no JSON object of texts;"
            ' write it like {"X-Name": "value"}'
        )
    return tuple(found.items())


def _checked(key: str, source: object) -> str:
    """The key, which has the form that wandb asks for."""
    if problem := _problem(key):
        raise ConfigError(
            f"{source}: the API key {problem}; copy it again from the server's settings page"
        )
    return key


def _problem(key: str) -> str | None:
    if _JWT.fullmatch(key):
        return None
    secret = key.partition("-")[2] or key  # keys of self-hosted servers have a prefix
    if not re.fullmatch(r"[!-~]+", key) or not re.fullmatch(r"[\w-]+", secret):
        return "may only have letters, digits, underscores and dashes"
    if len(secret) < LENGTH:
        return f"has {len(secret)} characters where there have to be {LENGTH} or more"
    return None


def _netrc_key(place: str) -> str | None:
    """Entries are by host with port, as wandb writes them; `default` counts if it holds a key."""
    path = _netrc_file()
    try:
        hosts = netrc.netrc(str(path)).hosts
    except FileNotFoundError:
        return None
    except netrc.NetrcParseError as error:  # its message may have a password in it
        where = f"line {error.lineno}" if error.lineno else "its form"
        raise ConfigError(f"{path}: broken ({where}); mend it, or set {KEY}") from None
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(f"{path}: cannot be read ({reason}); mend it, or set {KEY}") from None
    host = urlsplit(place).netloc
    for name in (host, _ALIASES.get(host)):
        if name in hosts and (key := hosts[name][2]):
            return _checked(key, f"{path}, machine {name}")
    fallback = hosts["default"][2] if "default" in hosts else None
    return fallback if fallback and not _problem(fallback) else None


def _netrc_file() -> Path:
    if named := os.environ.get("NETRC"):
        return Path(named).expanduser()
    places = [Path("~/.netrc").expanduser(), Path("~/_netrc").expanduser()]
    if os.name == "nt" and not any(place.exists() for place in places):
        return places[1]
    return next((place for place in places if place.exists()), places[0])


def _setting_key(place: str) -> str | None:
    """The key in a settings file is for the server that wandb is set to, and for no other."""
    key = settings().get("api_key")
    if not key or configured() != place:
        return None
    return _checked(key, " or ".join(map(str, _settings_files())))


def _settings_files() -> list[Path]:
    """The local file, which goes first, and the global one.

    WANDB_DIR does not move the local one: wandb reads the files before the environment
    (sdk/wandb_setup.py, 0.31).
    """
    local = ".wandb" if Path(".wandb").exists() else "wandb"
    folder = os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb"
    return [Path.cwd() / local / "settings", Path(folder).expanduser() / "settings"]


def settings() -> dict[str, str]:
    """What a user has set in files, by wandb's names in lower case."""
    found: dict[str, str] = {}
    for told in _files():
        found = {**{name: value for name, value in told.items() if value}, **found}
    return found


def _files() -> Iterator[dict[str, str]]:
    """What stands in each of the files; none of their errors is shown, for it may show a key."""
    for path in _settings_files():
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(path.read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror}); mend it") from None
        except (configparser.Error, UnicodeError) as error:
            line = (
                getattr(error, "lineno", None) or next(iter(getattr(error, "errors", [])), [0])[0]
            )
            where = f"line {line}" if line else "it is no text"
            raise ConfigError(f"{path}: broken ({where}); mend these settings of wandb") from None
        if parser.has_section("default"):
            yield dict(parser.items("default"))
