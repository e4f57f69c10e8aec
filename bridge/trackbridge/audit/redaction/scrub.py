"""Alters texts, rows and files by the rules, and notes what it took out where.

A text that is JSON stays JSON: only what stands in its strings is altered. What names something
(keys, paths, runs, projects) gets a pseudonym even where the rule is to mask or drop, so that names
stay apart, and what refers to them still does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from trackbridge.audit.redaction.detect import Detectors, Span, followed, holds_secret, uncoloured
from trackbridge.audit.redaction.rules import DROP, HASH, MASK, Rule, Rules, Salt

NAMES = {
    "project",
    "run_id",
    "parent_run_id",
    "sweep_id",
    "report_id",
    "key",
    "path",
    "owner",
    "collection",
    "item_id",
    "trace_id",
    "dataset_id",
    "record_id",
    "scorer_id",
    "model_id",
    "span_id",
    "parent_id",
    "assessment_id",
    "projects",
    "x_axis",
}
"""Columns whose texts name something."""
MODELS = {"models", "model_versions"}
"""Tables whose `name` does too."""
REFERS = {
    "owner": ("artifacts", "collection"),
    "path": ("files", "path"),
    "parent_run_id": ("runs", "project"),
    "sweep_id": ("runs", "project"),
    "item_id": ("runs", "project"),
    "trace_id": ("runs", "project"),
    "span_id": ("runs", "project"),
    "parent_id": ("runs", "project"),
    "dataset_id": ("runs", "project"),
    "scorer_id": ("runs", "project"),
    "model_id": ("runs", "project"),
    "projects": ("runs", "project"),
}
"""Columns whose texts are those of another one, to which the same is done therefore."""
PLAIN = {
    "status",
    "type",
    "direction",
    "stream",
    "level",
    "sha256",
    "digest",
    "version",
    "git_commit",
    "python",
}
"""Columns that hold words of ours, or digests: only rules that name one look into it."""
FIELDS = {"user": "user", "username": "user", "host": "host", "hostname": "host"}
"""What fields of these names hold, whatever it looks like."""
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"(\s*:)?', re.DOTALL)
_OPTION = re.compile(r"--?[\w-]+")
BEFORE = 1 << 10
"""Characters that have left and may tell what comes after them: `/home/`, `password =`."""
CACHED = 1024
"""Characters of a text that is remembered: most texts of a store are there many times."""


class Hit(NamedTuple):
    """Something that was taken out."""

    rule: str
    action: str
    sha256: str
    """Salted, of what stood there."""


Hits = tuple[Hit, ...]


class Cleaned(NamedTuple):
    """A text as it may leave, and what was taken out of it."""

    text: str
    hits: Hits = ()


class Scope(NamedTuple):
    """Where a text stands: the rules that apply there, and whether it names something."""

    rules: tuple[Rule, ...]
    naming: bool = False
    holds: str = ""
    """Kind of what the column holds whole (`user`, `host`), whatever it looks like."""


class Cut(NamedTuple):
    """A part of a text that is taken out, and what stands there instead."""

    start: int
    end: int
    stand_in: str
    hit: Hit


class Scrubber:
    """Applies rules and detectors to texts; the same text is always altered alike."""

    def __init__(
        self,
        rules: Rules,
        salt: Salt,
        people: Collection[str] = (),
        hosts: Collection[str] = (),
        secrets: Collection[str] = (),
    ) -> None:
        self.rules, self.salt = rules, salt
        self._actions = dict(rules.detectors)
        self.detectors = Detectors(set(self._actions), people, hosts, secrets)
        self.secrets = set(secrets)
        """Credentials that were found, as far as they can be followed."""
        self._remembered = lru_cache(maxsize=1 << 16)(self._clean)

    def clean(self, text: str, scope: Scope, context: str = "") -> Cleaned:
        """A text as it may leave; `context` names what it is the value of."""
        if len(text) > CACHED:
            return self._clean(text, scope, context)
        return self._remembered(text, scope, context)

    def whole(self, value: str | bytes, rule: Rule, *, naming: bool = False) -> Cleaned:
        """What stands for a whole value; a dropped one is empty."""
        sha256 = self.salt.digest(value)
        hit = Hit(rule.name, rule.action, sha256)
        return Cleaned(_stand_in(rule.action, rule.name, sha256, naming=naming), (hit,))

    def _clean(self, text: str, scope: Scope, context: str) -> Cleaned:
        if is_json(text):
            return self._json(text, scope, context)
        return self._plain(text, scope, context)

    def cuts(self, text: str, scope: Scope, context: str = "") -> Iterator[Cut]:
        """What is to be taken out of a text, in order, and what stands there instead."""
        found = [*self._spans(text, scope, context)]
        found.sort(key=lambda each: (each[0].start, -each[0].end))
        for span, action in _apart(found):
            original = text[span.start : span.end]
            if span.kind == "credentials":
                self.secrets.update(followed(original))
            sha256 = self.salt.digest(original)
            stand_in = _stand_in(action, span.kind, sha256, naming=scope.naming)
            yield Cut(span.start, span.end, stand_in, Hit(span.kind, action, sha256))

    def _plain(self, text: str, scope: Scope, context: str) -> Cleaned:
        parts, hits, done = [], [], 0
        for cut in self.cuts(text, scope, context):
            parts += [text[done : cut.start], cut.stand_in]
            hits.append(cut.hit)
            done = cut.end
        return Cleaned("".join([*parts, text[done:]]), tuple(hits)) if hits else Cleaned(text)

    def _spans(self, text: str, scope: Scope, context: str) -> Iterator[tuple[Span, str]]:
        text = uncoloured(text)
        for rule in scope.rules:
            if rule.pattern is not None:
                for match in rule.pattern.finditer(text):
                    if match.end() > match.start():
                        yield Span(*match.span(), rule.name), rule.action
        if text in self.rules.allow:
            return
        for kind in (scope.holds, _held(text, context)):
            if text and kind in self._actions:
                yield Span(0, len(text), kind), self._actions[kind]
        for span in self.detectors.find(text):
            if text[span.start : span.end] not in self.rules.allow:
                yield span, self._actions[span.kind]

    def _json(self, text: str, scope: Scope, context: str) -> Cleaned:
        """Alters strings where they stand, so that everything else stays as it was written."""
        hits: list[Hit] = []
        last, end = context, 0  # the key, or the option before, whose value comes next
        named = ""  # what an object says that it is called

        def replaced(match: re.Match[str]) -> str:
            nonlocal last, end, named
            is_key = match[1] is not None
            string = json.loads(match[0].removesuffix(match[1] or ""))
            between = text[end : match.start()]
            inside = "{" in between and "}" not in between
            named = "" if "}" in between else named
            end = match.end()
            inner = scope._replace(naming=scope.naming or is_key or last in NAMES)
            cleaned = self.clean(string, inner, "" if is_key else last)
            if not is_key:
                named = string if last in ("name", "key") else named
                last = string if _OPTION.fullmatch(string) else last
            elif string != "value" or not inside:
                last = named if string == "value" and named else string
            if not cleaned.hits:
                return match[0]
            hits.extend(cleaned.hits)
            return json.dumps(cleaned.text, ensure_ascii=False) + (match[1] or "")

        return Cleaned(_STRING.sub(replaced, text), tuple(hits))


def is_json(text: str) -> bool:
    """Whether a text is an object, list or string in JSON."""
    if not (text[:1] in ("{", "[", '"') or text[:1].isspace()):
        return False
    try:
        return isinstance(json.loads(text), (dict, list, str))
    except (ValueError, RecursionError):
        return False


def _held(text: str, context: str) -> str:
    """The kind of a whole value, as far as what it is the value of tells it."""
    if context and holds_secret(context, text):
        return "credentials"
    return FIELDS.get(re.split(r"[._]", context.lower())[-1], "") if context else ""


def _apart(found: Iterable[tuple[Span, str]]) -> Iterator[tuple[Span, str]]:
    """Parts that do not overlap, from spans by their start, the longest first.

    What overlaps is one part, treated like the first of it: nothing of either stays.
    """
    current: tuple[Span, str] | None = None
    for each in found:
        if current is not None and each[0].start < current[0].end:
            longer = max(current[0].end, each[0].end)
            current = current[0]._replace(end=longer), current[1]
        else:
            if current is not None:
                yield current
            current = each
    if current is not None:
        yield current


def _stand_in(action: str, word: str, sha256: str, *, naming: bool) -> str:
    if action == HASH:
        return f"sha256:{sha256}" if not naming else f"sha256-{sha256[:16]}"
    if action in (DROP, MASK) and not naming:
        return "" if action == DROP else f"[{word} removed]"
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', word).strip('-') or 'text'}-{sha256[:12]}"
