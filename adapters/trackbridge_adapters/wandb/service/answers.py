"""What an answer of the GraphQL endpoint means: its data, or one of our errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from trackbridge.errors import (
    BridgeError,
    ConfigError,
    NotFoundError,
    TransientError,
    UnsupportedError,
)
from trackbridge_adapters.wandb.service.login import KEY, Login

BUSY = frozenset({408, 425, 429, *range(500, 600)})
"""HTTP states that may pass."""
LONGEST = 200
"""Characters of a server's message that are shown."""

# What servers say is not documented: W&B's client and its issues show some of it, the rest is
# what GraphQL servers and gateways say in common.
_MAY_PASS = re.compile(
    r"rate.?limit|too many (requests|connections)|time[d-]? ?out|deadline|try again|temporar"
    r"|deadlock|unavailable|overloaded|internal (server )?error"
)
_LACKING = re.compile(
    r"cannot query field|unknown (field|type|argument|fragment|directive)"
    r"|(field|type|argument) .* (is not defined|doesn't exist|does not exist)"
)
_TOO_MUCH = re.compile(
    r"complex|too (large|big|many|long|deep|much)|at most|exceed|maximum|page size|less than"
)
_KEY = re.compile(r"not logged in|api.?key|unauthenticated|invalid (credentials|token)")
_DENIED = re.compile(
    r"permission|unauthorized|not authorized|forbidden|access denied|not allowed|no access"
)
_MISSING = re.compile(r"not found|(could|can) ?not find|does not exist|doesn't exist|no such")
_KINDS = (_MAY_PASS, _LACKING, _TOO_MUCH, _KEY, _DENIED)
"""The first that any message is of decides; that nothing is found all of them have to say."""

_QUERY = re.compile(r"(\w://[^\s?\"']+)\?[^\s\"']+")
_HEADER = re.compile(r"\b(basic|bearer)\s+\S+", re.IGNORECASE)


class RefusedError(BridgeError):
    """The server will not do what it was asked, however often."""


class TooMuchError(RefusedError):
    """It might give the same in smaller pieces."""


class LackingError(UnsupportedError):
    """The server is older than what was asked for, or newer: its schema has no such thing."""


def data(
    login: Login, status: int, kind: str, body: bytes, retry_after: float | None
) -> dict[str, Any]:
    """The `data` of an answer; `kind` is its content type. Half an answer is an error."""
    document = _document(body)
    messages = list(_messages(document))
    if status != 200 or messages:
        raise _refused(login, status, messages, retry_after)
    found = document.get("data") if isinstance(document, dict) else None
    if isinstance(found, dict):
        return found
    if "html" in kind or body.lstrip().startswith(b"<"):
        raise ConfigError(
            f"{login.base_url}: answers with a page for people, as a login page or a proxy does;"
            " name the address of the W&B server itself"
        )
    if document in (None, {"data": None}):
        raise TransientError(f"{login.base_url}: sent an answer that is empty or broken off")
    raise ConfigError(f"{login.base_url}: answers, but not as a W&B server does")


def key_refused(login: Login, status: int | None = None) -> ConfigError:
    """The error for a key that a server does not take."""
    why = f" ({status})" if status else ""
    return ConfigError(
        f"{login.base_url}: does not accept the API key{why}; run"
        f" `wandb login --relogin --host {login.base_url}` or set {KEY}"
    )


def no_entity(login: Login, entity: str) -> ConfigError:
    """The error for a user or team in which nothing can be made."""
    return ConfigError(
        f"{login.base_url}: no such entity as {entity}, or it is not yours to write to; name a"
        " user or team that this API key may write to"
    )


def shown(text: str, login: Login) -> str:
    """A foreign text on one line, without keys, queries of addresses, or most of its length."""
    line = " ".join(text.replace(login.key, "***").split())
    line = _HEADER.sub(r"\1 ***", _QUERY.sub(r"\1", line))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


def _refused(
    login: Login, status: int, messages: list[str], retry_after: float | None
) -> BridgeError:
    said = shown("; ".join(messages), login)
    place, reason = login.base_url, said or f"answered {status}"
    if status in BUSY:
        if status >= 500 and _says(_TOO_MUCH, messages) and not _says(_MAY_PASS, messages):
            return TooMuchError(f"{place}: {reason}")
        return TransientError(f"{place}: {status} {said}".rstrip(), retry_after)
    if status == 401:
        return key_refused(login, status)
    if status == 403:
        return ConfigError(
            f"{place}: does not let this API key do that (403 {said}".rstrip()
            + "); ask for access, or use another key"
        )
    if status == 413:
        return TooMuchError(f"{place}: {said or 'the request is too large (413)'}")
    if status == 404:
        if messages:
            return NotFoundError(f"{place}: {said}")
        return ConfigError(f"{place}: no W&B server answers there (404); check host and path")
    if status == 407:
        return ConfigError(f"{place}: the proxy on the way asks who you are; see HTTPS_PROXY")
    return _of_messages(login, messages, reason)


def _of_messages(login: Login, messages: list[str], reason: str) -> BridgeError:
    line = f"{login.base_url}: {reason}"
    kind = next((kind for kind in _KINDS if _says(kind, messages)), None)
    if kind is _MAY_PASS:
        return TransientError(line)
    if kind is _LACKING:
        return LackingError(line)
    if kind is _TOO_MUCH:
        return TooMuchError(line)
    if kind is _KEY:
        return key_refused(login)
    if kind is _DENIED:
        return ConfigError(f"{line}; ask for access, or use another API key")
    if messages and all(_MISSING.search(message.lower()) for message in messages):
        return NotFoundError(line)
    return RefusedError(line)


def _says(kind: re.Pattern[str], messages: Iterable[str]) -> bool:
    return any(kind.search(message.lower()) for message in messages)


def _document(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _messages(document: Any) -> Iterable[str]:
    """Those of GraphQL's `errors`, and of the `error` that a gateway gives."""
    if not isinstance(document, dict):
        return
    given = document.get("errors") or document.get("error") or []
    for error in given if isinstance(given, list) else [given]:
        said = error.get("message") if isinstance(error, dict) else error
        yield str(said or "no reason given")
