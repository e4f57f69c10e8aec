"""The W&B service, in the cloud or self-hosted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from trackbridge.errors import ConfigError

if TYPE_CHECKING:
    from trackbridge.adapter import Writer
    from trackbridge.dual.mirroring import Mirror
    from trackbridge_adapters.wandb.service.reader import Service
    from trackbridge_adapters.wandb.service.wire import Wire

CLOUD = re.compile(r"https?://([\w-]+\.)*wandb\.(ai|io)(/|$)")
RUN_PAGE = re.compile(r"https?://[^/]+/[^/#]+/[^/#]+/runs/[^/#]+")
"""A page of any server, which people paste."""
NO_ENTITIES = frozenset({"home", "authorize", "settings"})
NO_PROJECTS = frozenset({"projects"})
"""Pages of a server, and of an entity, whose addresses look like those of an entity or project."""
OPTIONS = ("max_rps",)


class Location(NamedTuple):
    """What an address names: a server (None: the one that is logged in to), and what on it."""

    server: str | None
    entity: str
    project: str

    @classmethod
    def parse(cls, text: str) -> Location:
        """`entity/project`, `entity`, or the same behind a server's address."""
        server, path = None, text
        if "://" in text:
            url = urlsplit(text)
            server, path = f"{url.scheme}://{url.netloc}", url.path
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if not all(parts) or len(parts) > 2 or ":" in parts[0] or (server and _is_page(parts)):
            raise ConfigError(_misnamed(text, server, parts))
        return cls(server, parts[0], parts[1] if len(parts) > 1 else "")


def _is_page(parts: Sequence[str]) -> bool:
    return parts[-1] in (NO_ENTITIES if len(parts) == 1 else NO_PROJECTS)


def _misnamed(text: str, server: str | None, parts: Sequence[str]) -> str:
    """What an address names instead of a project, and how to write it."""
    start = f"wandb:{server}/" if server else "wandb:"
    if len(parts) == 2 and all(parts) and server and _is_page(parts):
        return f"'wandb:{text}' names a page of an entity; write {start}{quote(parts[0], safe='')}"
    if len(parts) == 1 or not all(parts) or ":" in parts[0]:
        what = "a server, but no project on it" if server else "no project"
        elsewhere = "" if server else ", on a server of your own wandb:https://HOST/ENTITY/PROJECT"
        return (
            f"'wandb:{text}' names {what}; write {start}ENTITY/PROJECT, or {start}ENTITY for all "
            f"of its projects{elsewhere}"
        )
    project = start + "/".join(quote(part, safe="") for part in parts[:2])
    rest = parts[3:] if parts[2] == "runs" else parts[2:] if not server else []
    if rest:
        return f"'wandb:{text}' names a run; write {project} and --run {rest[0]}"
    return f"'wandb:{text}' names a page of a project; write {project}"


class ServiceAdapter:
    name = "wandb"
    options = OPTIONS

    def check(self, location: str) -> None:
        """`ConfigError` for what names neither a project nor an entity; asks nobody."""
        Location.parse(location)

    def recognizes(self, location: str) -> bool:
        if CLOUD.match(location) or RUN_PAGE.match(location):
            return True
        return "://" in location and _is_configured(location)

    def suggests(self, location: str) -> bool:
        return False

    def reader(self, location: str, options: Mapping[str, str]) -> Service:
        from trackbridge_adapters.wandb.service.reader import Service

        where = Location.parse(location)
        return Service(_wire(where, location, options), where.entity, where.project)

    def writer(self, location: str, options: Mapping[str, str]) -> Writer:
        from trackbridge.fit_text import fit_name
        from trackbridge_adapters.wandb.service.writer import NAME, WritableService

        where = Location.parse(location)
        fitting = fit_name(where.project, NAME)
        if where.project and fitting != where.project:
            raise ConfigError(
                f"wandb:{location}: W&B takes no project of that name (at most {NAME.length} "
                f"characters, none of /\\#?%: among them); {fitting!r} would do"
            )
        wire = _wire(where, location, options)
        return WritableService(wire, where.entity, where.project)

    def mirror(self, mirror: Mirror) -> None:
        from trackbridge_adapters.wandb.mirror.patching import install

        install(mirror)


def _is_configured(location: str) -> bool:
    """Whether it is on the server that wandb is set to; who opens it says if that is none."""
    from trackbridge_adapters.wandb.service.login import configured

    try:
        return urlsplit(location).netloc == urlsplit(configured()).netloc
    except (ConfigError, ValueError):
        return False


def _wire(where: Location, location: str, options: Mapping[str, str]) -> Wire:
    try:
        from trackbridge_adapters.wandb.service.login import find_login
        from trackbridge_adapters.wandb.service.wire import Wire
    except ImportError as error:
        raise ConfigError(
            f"wandb:{location}: needs the package {error.name}; pip install 'trackbridge[wandb]'"
        ) from error
    for name in sorted(set(options) - set(OPTIONS)):
        raise ConfigError(f"wandb: has no option {name!r}; it knows {', '.join(OPTIONS)}")
    rate = _rate(options.get("max_rps"))
    return Wire(find_login(where.server), rate)


def _rate(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not rate > 0:
        raise ConfigError(f"--max-rps {text}: give API calls a second, a number greater than 0")
    return rate


ADAPTER = ServiceAdapter()
