"""Where alerts are raised: back ends that tell people by themselves, webhooks, e-mail."""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import os
import smtplib
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from email.message import EmailMessage
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from trackbridge.adapter import RunKey
from trackbridge.errors import without_secrets
from trackbridge.optional import Alerting
from trackbridge.registry import open_writer

ALERTS = "TRACKBRIDGE_ALERTS"
"""Environment variable: addresses to which alerts go, with blanks between."""
SMTP = "TRACKBRIDGE_SMTP"
"""Environment variable: the server for e-mail, `smtp(s)://user:password@host:port`."""
SECONDS = 10.0
"""How long a server of a webhook or of e-mail may be silent."""
SHOWN = 1900
"""Most characters of what people read; Discord takes 2,000."""
LEVELS = {"WARNING": "WARN", "CRITICAL": "ERROR", "FATAL": "ERROR"}
LOGGER = logging.getLogger("trackbridge")


@dataclass(frozen=True)
class Alert:
    """An alert of a run; `time` in microseconds since 1970."""

    id: str
    key: RunKey
    name: str
    """Of the run."""
    title: str
    text: str
    level: str
    time: int

    @property
    def moment(self) -> str:
        """When it was raised: ISO 8601, UTC."""
        return datetime.fromtimestamp(self.time / 1e6, timezone.utc).isoformat()

    @property
    def head(self) -> str:
        """The run and the title, in one line."""
        told = f"[{self.level}] {self.key.label}/{self.name or self.key.run_id}: {self.title}"
        return " ".join("".join(c if c.isprintable() else " " for c in told).split())

    @property
    def content(self) -> str:
        """All of it, for people."""
        return (self.head + (f"\n{self.text}" if self.text else ""))[:SHOWN]


class SinkError(Exception):
    """An alert could not be raised now; the message has no secret."""


class Sink(Protocol):
    """A place where alerts are raised."""

    name: str
    """What people may read: of a webhook the host alone, for who knows its address may use it."""
    id: str
    """The same for each way to begin the program, and for no other sink."""

    def raise_alert(self, alert: Alert) -> bool:
        """Whether people are told here; raises `SinkError` or a `BridgeError` where that fails."""
        ...


class Native:
    """A back end, where it tells people of alerts."""

    def __init__(self, store: str) -> None:
        self.name = without_secrets(store)
        self.id = _id(self.name)
        self._store = store

    def raise_alert(self, alert: Alert) -> bool:
        writer = open_writer(self._store)
        if not isinstance(writer, Alerting):
            return False
        writer.alert(alert.key, alert.title, alert.text, alert.level)
        return True


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An answer that leads elsewhere is none: what was posted would not go along."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Webhook:
    """An address that takes JSON by POST; Slack reads `text` of it, Discord `content`."""

    def __init__(self, url: str) -> None:
        """Raises `ValueError` where that is no URL."""
        split = urlsplit(url)
        port = "" if split.port is None else f":{split.port}"
        self.name = f"{split.scheme}://{split.hostname}{port}"
        self.id = _id(url)
        self._url = url

    def raise_alert(self, alert: Alert) -> bool:
        headers = {"Content-Type": "application/json", "User-Agent": "trackbridge"}
        content = json.dumps(_document(alert)).encode()
        try:
            request = urllib.request.Request(self._url, content, headers)
            opener = urllib.request.build_opener(_NoRedirects())
            with opener.open(request, timeout=SECONDS):
                return True
        except urllib.error.HTTPError as error:
            why = f"answers {error.code}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = _reason(error)
        raise SinkError(f"{self.name}: {why}")


class Mail:
    """Somebody's mailbox."""

    def __init__(self, address: str, server: str) -> None:
        self._to = unquote(address.partition("?")[0])
        self.name = f"mailto:{self._to}"
        self.id = _id(self.name)
        self._server = urlsplit(server)

    def raise_alert(self, alert: Alert) -> bool:
        try:
            self._send(self._message(alert))
        except smtplib.SMTPResponseException as error:
            why = f"the e-mail server answers {error.smtp_code}"
        except (OSError, ValueError) as error:  # smtplib's other errors are such
            why = f"the e-mail server: {_reason(error)}"
        else:
            return True
        raise SinkError(f"{self.name}: {why}")

    def _message(self, alert: Alert) -> EmailMessage:
        message = EmailMessage()
        message["Subject"] = alert.head[:SHOWN]
        user = unquote(self._server.username or "")
        message["From"] = user if "@" in user else f"trackbridge@{socket.gethostname()}"
        message["To"] = self._to
        message.set_content("\n".join(f"{name}: {told}" for name, told in _lines(alert)))
        return message

    def _send(self, message: EmailMessage) -> None:
        host, secure = self._server.hostname or "localhost", self._server.scheme == "smtps"
        port = self._server.port or (465 if secure else 25)
        context = ssl.create_default_context()
        made = (
            smtplib.SMTP_SSL(host, port, timeout=SECONDS, context=context)
            if secure
            else smtplib.SMTP(host, port, timeout=SECONDS)
        )
        with made as server:
            server.ehlo()
            if not secure and server.has_extn("starttls"):
                server.starttls(context=context)
                secure = True
            if self._server.username:
                if not secure and host not in ("localhost", "127.0.0.1", "::1"):
                    raise ValueError("it offers no encryption for the password; use smtps://")
                user, password = self._server.username, self._server.password or ""
                server.login(unquote(user), unquote(password))
            server.send_message(message)


def sinks() -> Iterator[Sink]:
    """Those that a person has named; what is none is told of without being shown."""
    for address in os.environ.get(ALERTS, "").split():
        try:
            scheme, _, rest = address.partition(":")
            if scheme in ("http", "https") and urlsplit(address).hostname:
                yield Webhook(address)
                continue
            if scheme == "mailto" and "@" in rest:
                server = os.environ.get(SMTP) or "smtp://localhost:25"
                if urlsplit(server).scheme in ("smtp", "smtps") and urlsplit(server).port != 0:
                    yield Mail(rest, server)
                    continue
                LOGGER.warning("%s: is no smtp://user:password@host:port; no e-mail is sent", SMTP)
                continue
        except ValueError:  # its message shows the address
            pass
        LOGGER.warning("%s: one is neither http(s)://... nor mailto:...; it is left out", ALERTS)


def level(told: str) -> str:
    """INFO, WARN or ERROR, or what else a program has called it."""
    return LEVELS.get(told.upper(), told.upper())


def _document(alert: Alert) -> dict[str, Any]:
    content = alert.content
    escaped = content.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {
        "text": escaped,  # as Slack wants it: else a text may call a whole channel
        "content": content,
        "allowed_mentions": {"parse": []},  # the same for Discord
        "title": alert.title,
        "message": alert.text,
        "level": alert.level,
        "project": alert.key.label,
        "run": alert.key.run_id,
        "name": alert.name,
        "time": alert.moment,
    }


def _lines(alert: Alert) -> Iterator[tuple[str, str]]:
    yield "project", alert.key.label
    yield "run", f"{alert.name} ({alert.key.run_id})" if alert.name else alert.key.run_id
    yield "level", alert.level
    yield "time", alert.moment
    yield "title", alert.title
    yield "text", alert.text


def _reason(error: BaseException) -> str:
    """Why a server was not reached; nothing that may have its address in it."""
    inner = getattr(error, "reason", None)
    if isinstance(inner, BaseException):
        return _reason(inner)
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if type(error) is ValueError and "encryption" in str(error):
        return str(error)
    return type(error).__name__


def _id(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
