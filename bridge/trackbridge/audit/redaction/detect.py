"""Finds credentials, addresses and names in text.

The shapes of credentials are those of `detect-secrets`. What stands around them (assignments,
options, addresses) is looked at here, since the library tells that a line has a secret and not
where in it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any, NamedTuple

from trackbridge.errors import ConfigError


class Span(NamedTuple):
    """A part of a text, and what it is."""

    start: int
    end: int
    kind: str


SHORTEST_WORD = 4
"""Characters of a name that is looked for outside the columns that hold names."""
CERTAIN = 6
"""Characters of a name that is hardly ever found in random bytes."""
MOST_FOLLOWED = 512
"""Characters of a credential that is looked for elsewhere."""
_READABLE = re.compile(r"[\t\n\r -~]{8,}")
COMMON = {
    "admin",
    "administrator",
    "azureuser",
    "centos",
    "code",
    "data",
    "dataset",
    "datasets",
    "debian",
    "default",
    "docker",
    "ec2-user",
    "guest",
    "jovyan",
    "localhost",
    "master",
    "mlflow",
    "model",
    "models",
    "name",
    "node",
    "none",
    "project",
    "projects",
    "public",
    "root",
    "runner",
    "share",
    "shared",
    "test",
    "train",
    "type",
    "ubuntu",
    "unknown",
    "user",
    "users",
    "value",
    "vscode",
    "wandb",
    "work",
    "worker",
    "workspace",
}
"""Names of users and hosts that name nobody."""
_WORD = (
    r"passw(?:or)?d|passwd|pwd|passphrase|secrets?|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|(?:db|smtp|mail|user|mysql|postgres|redis|ftp|proxy)_?pass|secret[_-]?key|auth[_-]?key"
    r"|account[_-]?key|(?:wandb|openai|hf|aws|s3|azure|gcp|ssh|signing|encryption)[_-]?key"
    r"|credentials?"
    r"|(?:auth|access|api|bearer|refresh|secret|hub|session|id)[_-]?token"
)
_SECRET_NAME = re.compile(
    rf"(?i)^(?:proxy-)?authorization$|(?:{_WORD})(?:[_-]\w{{0,16}}|\d{{0,4}})$"
)
"""The name of a field, option or variable that holds a credential."""
_TOKEN_NAME = re.compile(r"(?i)(?:^|[^a-z])token$|(?<=[a-z])Token$")
_KEY_NAME = re.compile(r"(?i)(?:^|[^a-z])key$")
LONG_KEY = 24
"""Characters that a key has which is no name of a column or the like."""
"""One that holds a credential or a piece of text; which, the value tells."""
_PASSWORD = re.compile(r"(?i)(?:passw(?:or)?d|passwd|pwd|passphrase)$")
"""One whose value is a credential even where it is a number."""
_ASSIGNED = re.compile(
    rf"(?i)(?<![\w.-])(?P<name>[\w.-]{{0,60}}?(?:{_WORD}|token)(?:[_-]\w{{0,16}}|\d{{0,4}}))"
    r"(?:\\{0,3}[\"']\]?)?"
    r"(?:[ \t]{0,3}(?::=|=>|==?|:)[ \t]{0,12}(?:\n\s+(?:desc:[^\n]*\n\s+)?value:[ \t]*"
    r"|[|>][+-]?[ \t]*\n[ \t]+)?"
    r"|[ \t]+(?=\S*\d))"
    r"(?:\\{1,3}\"(?P<escaped>[^\"\\\n]{4,})|[bfru]{0,2}\"(?P<double>[^\"\n]{4,})\""
    r"|[bfru]{0,2}'(?P<single>[^'\n]{4,})'|(?P<bare>[^\s\"',;]{4,}))"
)
"""`password = x`, `"api_key": "x"`, `--api-key x`, or `value: x` in the next line."""
_PASSED = re.compile(
    rf"(?i)(?:(?:setdefault|[gs]etenv|putenv|get|pop)\(\s{{0,3}}"
    rf"[\"'][\w.-]{{0,40}}(?:{_WORD}|token)\w{{0,8}}[\"'],\s{{0,3}}"
    rf"|[\"']--?[\w-]{{0,40}}(?:{_WORD}|token)[\"'](?:,\s{{0,3}}|[^)\n]{{0,200}}?default\s?=\s?)"
    r"|\b(?:auth|login)\s?=?\s?\((?:\s{0,3}[\"'][^\"'\n]{0,60}[\"'],)?\s{0,3}"
    r"|\bkey\s?=\s?)"
    r"[\"']([^\"'\n]{4,})[\"']"
    r"|(?<=-u )[^\s:\"']+:([^\s\"']{4,})"
)
"""A value that is passed: `getenv("PASSWORD", "x")`, `auth=("me", "x")`, `curl -u me:x`,
`add_argument("--password", default="x")`, `login(key="x")`."""
_IN_PASSED = ("env", "get(", "pop(", "setdefault", "auth", "login", "key", "--", "-u ")
_IN_NAMES = ("pass", "pwd", "secret", "key", "credential", "token")
_AFTER = r"(?:(?<=\\[nrt])|"
"""After a line break in escapes, whose letter is not of the word that follows, or else ..."""
_TOKENS = re.compile(
    _AFTER + r"\b)(?:wandb_v\d+_[A-Za-z0-9_]{20,}"
    r"|local-[0-9a-f]{40}\b"
    r"|hf_[A-Za-z0-9]{30,}"
    r"|github_pat_[A-Za-z0-9_]{22,}"
    r"|sk-(?:ant-|proj-)?[A-Za-z0-9_-]{20,}"
    r"|AIza[0-9A-Za-z_-]{35}"
    r"|dapi[0-9a-f]{32}(?:-\d)?\b"
    r"|(?:gsk|npm)_[A-Za-z0-9]{30,})"
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{16,}"
    r"|(?<=: [Bb]asic )[A-Za-z0-9+/=]{8,}"
    r"|(?<=wandb login )[0-9a-f]{40}\b"
    r"|(?:(?<=[?&]sig=)|(?<=-[Ss]ignature=))[A-Za-z0-9%+/=_-]{16,}"
    r"|-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?:[^-]|-(?!----)){0,15000}-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
    r"|[A-Za-z0-9+/=\s\\]{0,15000})"
    r"|(?<=://)[^/\s@\"'<>\\]+(?=@)"
)
"""Keys of services that the library does not know, private keys whole, users of URLs."""
_IN_TOKENS = (
    "wandb_v",
    "local-",
    "hf_",
    "github_pat_",
    "sk-",
    "AIza",
    "dapi",
    "gsk_",
    "npm_",
    "earer ",
    "asic ",
    "wandb login ",
    "sig=",
    "ignature=",
    "-----BEGIN",
    "://",
)
"""What these have in them: most texts have none, and looking for that takes hardly any time."""
_NO_SECRET = re.compile(
    r"(?i)none|null|true|false|nan|[\d.eE+-]{1,8}|\*+|\$\{?\w+\}?|<[^>]*>|os\..*"
    r"|(?:args|self|cfg|config|opts|params|kwargs|settings|getpass|Optional)[.\[].*"
)
"""What stands after such a name and is none: numbers, placeholders, what is looked up."""
_NUMBER = re.compile(r"-?\d*\.?\d*(?:e[+-]?\d+)?")
"""What most values of params are, in which there is nothing to be found."""
_EMAIL = re.compile(
    _AFTER + r"(?<![\w.%+-])(?!(?<=\\)[nrt]))(?!git@)"
    r"[\w.%+-]+(?:@|%40)(?:[\w-]+\.)+[^\W\d_]{2,24}(?![\w-])"
)
_HOME = re.compile(
    r"(?:(?:(?<=\\[nrt])|(?<![\w.])|(?<=-[ILB])|(?:(?<![\w./])|(?<=://))(?:/[\w.-]+){1,3})"
    r"/(?:home|Users)/|\b[A-Za-z]:(?:\\{1,4}|/)Users(?:\\{1,4}|/))"
    r"([^/\\\s\"':,;<>|()]+)"
)
_IP4 = re.compile(_AFTER + r"(?<![\w.]))(?<![A-Za-z]-)(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d|=)")
_VERSION = re.compile(r"(?i)(?:[=<>~!]=\s?|version[\"']?\s{0,3}[:=]\s{0,3}[\"']?)$")
"""What stands before four numbers that are no address; so does the name of a package."""
_IP6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:|::)[0-9A-Fa-f:]{3,}[0-9A-Fa-f](?![\w:])")
_CANDIDATE = re.compile(r"[\w/+=.-]{16,}")
"""Whatever the library takes for a credential has so many characters in a row."""
_OTHERWISE = {"IPPublicDetector", "BasicAuthDetector", "PrivateKeyDetector"}
"""Detectors of the library whose job is done here."""
_COLOUR = re.compile(r"(?:\x1b|\\x1b|\\u001b|\\033)\[[0-9;?]{0,20}[A-Za-z]")
WINDOW, OVERLAP = 1 << 13, 1 << 10
"""Characters that the library's patterns are given at a time, since some take the square of it, and
how many of them are given again."""
_REST = re.compile(r"[\w.+/=-]*")
"""What a credential may go on with, beyond such a window or a pattern that is content with less."""


@cache
def _shapes() -> list[re.Pattern[str]]:
    try:
        from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
        from detect_secrets.plugins.base import RegexBasedDetector
    except ImportError as error:
        raise ConfigError(
            "finding credentials needs the package detect-secrets: pip install 'trackbridge[audit]'"
        ) from error

    every: Any = get_mapping_from_secret_type_to_class().values()
    found: list[Any] = [each for each in every if issubclass(each, RegexBasedDetector)]
    found.sort(key=lambda each: each.__name__)
    return [p for each in found if each.__name__ not in _OTHERWISE for p in each.denylist]


def holds_secret(name: str, value: str) -> bool:
    """Whether what a field or option is called, and what it holds, say that it is a credential."""
    if len(value) < SHORTEST_WORD:
        return False
    if _NO_SECRET.fullmatch(value) and not (value.isdigit() and _PASSWORD.search(name)):
        return False
    if _SECRET_NAME.search(name):
        return True
    is_text = " " in value or not any(map(str.isdigit, value))
    if is_text:
        return False
    if len(value) >= LONG_KEY and value.isalnum() and _KEY_NAME.search(name):
        return True
    return len(value) >= 2 * SHORTEST_WORD and bool(_TOKEN_NAME.search(name))


def followed(secret: str) -> Iterator[str]:
    """What of a credential is looked for wherever else it may stand, being no word or number.

    Of name and password in a URL, the password too.
    """
    for text in {secret, secret.rpartition(":")[2]}:
        is_word = not any(map(str.isdigit, text)) or text.isdigit()
        if CERTAIN <= len(text) <= MOST_FOLLOWED and not is_word and " " not in text:
            yield text


class Detectors:
    """Finds what is of some kinds; `people` and `hosts` are the names to look for, `secrets` the
    credentials that are known by where they stood."""

    def __init__(
        self,
        kinds: Collection[str],
        people: Collection[str] = (),
        hosts: Collection[str] = (),
        secrets: Collection[str] = (),
    ) -> None:
        self._kinds = kinds
        self._secrets = sorted(secrets, key=len, reverse=True)
        named = [(k, n) for k, n in (("user", people), ("host", hosts)) if n and k in kinds]
        self._words = {kind: _words(names) for kind, names in named}
        self._short = {kind: _words({n for n in ns if len(n) < CERTAIN}) for kind, ns in named}
        long = {
            kind: {x for n in ns if len(n) >= CERTAIN for x in (n, _as_bytes(n))}
            for kind, ns in named
        }
        self._long = {kind: _words(names) for kind, names in long.items()}
        self._lower = {kind: [*map(str.lower, names)] for kind, names in long.items()}
        """For a first look, which takes hardly any time."""

    def find(self, text: str) -> Iterator[Span]:
        """Everything, in no order; parts may overlap."""
        if _NUMBER.fullmatch(text):
            return
        if "credentials" in self._kinds:
            yield from _credentials(text)
            yield from self._known(text)
        if "email" in self._kinds and ("@" in text or "%40" in text):
            yield from (Span(*m.span(), "email") for m in _EMAIL.finditer(text))
        if "home" in self._kinds and ("/home/" in text or "Users" in text):
            yield from (Span(*m.span(1), "home") for m in _HOME.finditer(text))
        if "ip" in self._kinds:
            yield from _addresses(text)
        for kind, words in self._words.items():
            if words is not None:
                yield from (Span(*m.span(), kind) for m in words.finditer(text))

    def _known(self, text: str) -> Iterator[Span]:
        for secret in self._secrets:
            start = text.find(secret)
            while start >= 0:
                yield Span(start, start + len(secret), "credentials")
                start = text.find(secret, start + len(secret))

    def find_in_bytes(self, text: str) -> Iterator[Span]:
        """What is told for certain in bytes that are no text, each taken for a character.

        Among random ones there are short names by chance: those count only amid readable text.
        """
        if "credentials" in self._kinds:
            yield from self._known(text)
        lower = text.lower()
        for kind, words in self._long.items():
            if words is not None and any(name in lower for name in self._lower[kind]):
                yield from (Span(*m.span(), kind) for m in words.finditer(text))
        for run in _READABLE.finditer(text):
            found = [] if "credentials" not in self._kinds else [*_shaped(run[0])]
            for kind, words in self._short.items():
                if words is not None:
                    found += (Span(*m.span(), kind) for m in words.finditer(run[0]))
            if "home" in self._kinds and ("/home/" in run[0] or "Users" in run[0]):
                found += (Span(*m.span(1), "home") for m in _HOME.finditer(run[0]))
            for span in found:
                yield Span(span.start + run.start(), span.end + run.start(), span.kind)


def uncoloured(text: str) -> str:
    """A text with spaces where it changes colours: what ends those looks like the next word's."""
    return _COLOUR.sub(lambda match: " " * len(match[0]), text)


def homes(text: str) -> Iterator[str]:
    """Names of the people whose home folders a text names."""
    return (match[1] for match in _HOME.finditer(text))


def _as_bytes(name: str) -> str:
    return name.encode("utf-8", "surrogatepass").decode("latin-1")


def _words(names: Collection[str]) -> re.Pattern[str] | None:
    """Matches each of the names as a word by itself, those that are long enough to be told."""
    told = sorted(
        (n for n in names if len(n) >= SHORTEST_WORD and n.lower() not in COMMON),
        key=len,
        reverse=True,
    )
    inside = "|".join(map(re.escape, told))
    begin = _AFTER + r"(?<![^\W_])|(?<=%[0-9A-Fa-f]{2}))"  # also in what is quoted for URLs
    return re.compile(rf"(?i){begin}(?:{inside})(?![^\W_])") if told else None


def _credentials(text: str) -> Iterator[Span]:
    lower = text.lower()
    if any(word in lower for word in _IN_NAMES):
        for match in _ASSIGNED.finditer(text):
            group = match.lastgroup or ""
            if holds_secret(match["name"], match[group]):
                yield Span(*match.span(group), "credentials")
    if any(word in lower for word in _IN_PASSED):
        for match in _PASSED.finditer(text):
            value, number = (match[1], 1) if match[1] is not None else (match[2], 2)
            if number == 2 or _is_passed(match[0], value):
                yield Span(*match.span(number), "credentials")
    yield from _shaped(text)


def _is_passed(call: str, value: str) -> bool:
    """Whether what a call is given is a credential; `login` and `key` alone say little."""
    if _NO_SECRET.fullmatch(value):
        return False
    if re.match(r"(?i)login|key", call) and "," not in call:
        return len(value) >= LONG_KEY and value.isalnum() and any(map(str.isdigit, value))
    return True


def _shaped(text: str) -> Iterator[Span]:
    if any(word in text for word in _IN_TOKENS):
        for match in _TOKENS.finditer(text):
            yield Span(*match.span(), "credentials")
    if not _CANDIDATE.search(text):
        return
    for start in range(0, max(len(text) - OVERLAP, 1), WINDOW - OVERLAP):
        stop = min(start + WINDOW, len(text))
        for pattern in _shapes():
            for match in pattern.finditer(text, start, stop):
                rest = _REST.match(text, match.end())
                yield Span(match.start(), rest.end() if rest else match.end(), "credentials")


def _addresses(text: str) -> Iterator[Span]:
    for pattern in (_IP4, _IP6):
        for match in pattern.finditer(text):
            if _VERSION.search(text, max(0, match.start() - 24), match.start()):
                continue
            try:
                address = ipaddress.ip_address(match[0])
            except ValueError:
                continue
            if not (address.is_loopback or address.is_unspecified):
                yield Span(*match.span(), "ip")
