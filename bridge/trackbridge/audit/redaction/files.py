"""Looks into files, and makes of them what may leave.

Text and JSON (notebooks, tables, settings, code, logs), also with gzip, are altered where something
is found. Into anything else nobody can look: bytes in which a name or credential is told for
certain are withheld whole, others leave as they are and are listed.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, cast

from trackbridge.audit.redaction.rules import DROP, HASH, Rule
from trackbridge.audit.redaction.scrub import BEFORE, Cleaned, Hit, Hits, Scope, Scrubber, is_json
from trackbridge.proof import Hashing

WHOLE = 64 << 20
"""Bytes of a file that is looked at as a whole; longer texts go by pieces of lines."""
PIECE, BEHIND = 1 << 20, 1 << 14
"""Bytes that are read at a time, and how many of them come again with what follows."""
HEAD = 1 << 13
_TEXT = "utf-8"
_LOSSLESS = "surrogateescape"
"""Bytes that are no UTF-8 come through as they are."""
_GZIP = b"\x1f\x8b"
_SURROGATE = re.compile("[\udc80-\udcff]")
_CONTROLS = re.compile(rb"[\x01-\x06\x0e-\x1a\x1c-\x1f]")

KEPT, EDITED, WITHHELD = "kept", "edited", "withheld"


class Look(NamedTuple):
    """What was found in a file. `opaque`: nobody can look into it."""

    sha256: str
    """Of its bytes as they are at the source."""
    fate: str
    hits: Hits = ()
    opaque: bool = False


class Files:
    """Alters the bytes of files."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber

    def look(self, path: str, data: BinaryIO) -> Look:
        """What is to become of a file."""
        hashing = Hashing(data)
        rule = self.whole(path)
        if rule is not None:
            state = self._scrubber.salt.state()
            while block := hashing.read(PIECE):
                state.update(block)
            hit = Hit(rule.name, rule.action, state.hexdigest())
            fate = WITHHELD if rule.action == DROP else EDITED
            return Look(hashing.state.hexdigest(), fate, (hit,))
        hits: list[Hit] = []
        pieces = self._pieces(path, hashing, hits)
        opaque = pieces is None
        if pieces is not None:
            for _ in pieces:
                pass
        _exhaust(hashing)
        fate = (WITHHELD if opaque else EDITED) if hits else KEPT
        if opaque and hits:
            hits = [hit._replace(action=DROP) for hit in hits]
        listed = opaque and not hits and not self._scrubber.rules.keeps(path)
        return Look(hashing.state.hexdigest(), fate, tuple(hits), listed)

    def edited(self, path: str, data: BinaryIO, look: Look) -> BinaryIO:
        """The bytes that may leave of a file in which something was found.

        Reading its end raises `ChangedError` where the file is not the one that was looked at.
        """
        rule = self.whole(path)
        if rule is not None:
            (hit,) = look.hits
            text = f"sha256:{hit.sha256}" if rule.action == HASH else f"[{rule.name} removed]"
            return io.BytesIO(f"{text}\n".encode())
        hashing = Hashing(data)
        out = cast(BinaryIO, tempfile.SpooledTemporaryFile(WHOLE))  # noqa: SIM115
        for piece in self._pieces(path, hashing, []) or ():
            out.write(piece)
        _exhaust(hashing)
        if hashing.state.hexdigest() != look.sha256:
            raise ChangedError
        out.seek(0)
        return out

    def whole(self, path: str) -> Rule | None:
        """The rule that is about all of a file, if there is one."""
        rules = self._scrubber.rules.rules
        return next((r for r in rules if r.regex is None and r.means_file(path)), None)

    def _pieces(self, path: str, data: Hashing, hits: list[Hit]) -> Iterator[bytes] | None:
        """What may leave, piece by piece; None where nobody can look into it."""
        rules = tuple(
            r for r in self._scrubber.rules.rules if r.regex is not None and r.means_file(path)
        )
        scope = Scope(rules)
        head = _filled(data, WHOLE + 1)
        if len(head) <= WHOLE and head[:2] == _GZIP:
            inside = _unpacked(head)
            if inside is not None and _is_text(inside):
                hits += self._scrubber.clean(_packed_name(head), scope).hits
                return iter([gzip.compress(self._text(inside, scope, hits), mtime=0)])
        if not _is_text(head):
            if not self._scrubber.rules.keeps(path):
                self._search(head, data, scope, hits)
            return None
        if len(head) <= WHOLE:
            return iter([self._text(head, scope, hits)])
        return self._long(head, data, scope, hits)

    def _text(self, data: bytes, scope: Scope, hits: list[Hit]) -> bytes:
        encoding = _encoding(data)
        errors = _LOSSLESS if encoding == _TEXT else "strict"
        text = data.decode(encoding, errors)
        cleaned = self._cleaned(text, scope)
        hits += cleaned.hits
        out = cleaned.text.encode(encoding, errors) if cleaned.hits else data
        if encoding == _TEXT and _SURROGATE.search(text):  # in Latin-1, or in several encodings
            cleaned = self._cleaned(out.decode("latin-1"), scope)
            hits += cleaned.hits
            out = cleaned.text.encode("latin-1", "replace") if cleaned.hits else out
        return out

    def _cleaned(self, text: str, scope: Scope) -> Cleaned:
        if text[:1] == "\ufeff":
            cleaned = self._cleaned(text[1:], scope)
            return cleaned._replace(text=text[0] + cleaned.text)
        if text.lstrip()[:1] in ("{", "[") and not is_json(text):  # a document in each line
            lines = [self._scrubber.clean(line, scope) for line in text.splitlines(keepends=True)]
            return Cleaned("".join(x.text for x in lines), tuple(h for x in lines for h in x.hits))
        return self._scrubber.clean(text, scope)

    def _long(self, head: bytes, data: Hashing, scope: Scope, hits: list[Hit]) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder(_TEXT)(_LOSSLESS)
        before, text = "", ""
        for block in _blocks(head, data):
            text += decoder.decode(block)
            made, done = self._upto(before, text, max(0, len(text) - BEHIND), scope, hits)
            before, text = (before + text[:done])[-BEFORE:], text[done:]
            yield made.encode(_TEXT, _LOSSLESS)
        text += decoder.decode(b"", True)
        made, _ = self._upto(before, text, len(text), scope, hits)
        yield made.encode(_TEXT, _LOSSLESS)

    def _upto(
        self, before: str, text: str, end: int, scope: Scope, hits: list[Hit]
    ) -> tuple[str, int]:
        """A text's beginning as it may leave, and where the rest begins: that is to come again.

        `before` is what stood there and has left.
        """
        parts, done = [], 0
        for cut in self._scrubber.cuts(before + text, scope):
            start, stop = cut.start - len(before), cut.end - len(before)
            if start < 0:
                continue
            if stop > end and end < len(text):
                end = min(end, start)
                break
            parts += [text[done:start], cut.stand_in]
            hits.append(cut.hit)
            done = stop
        return "".join([*parts, text[done:end]]), end

    def _search(self, head: bytes, data: Hashing, scope: Scope, hits: list[Hit]) -> None:
        """Look for what is told for certain, in bytes and in UTF-16."""
        before = b""
        for block in _blocks(head, data):
            window = before + block
            for text in (window.decode("latin-1"), window.replace(b"\0", b"").decode("latin-1")):
                for span in self._scrubber.detectors.find_in_bytes(text):
                    self._told(text[span.start : span.end], span.kind, hits)
                for rule in scope.rules:
                    for match in rule.pattern.finditer(text) if rule.pattern else ():
                        self._told(match[0], rule.name, hits)
            before = window[-BEHIND:]

    def _told(self, original: str, rule: str, hits: list[Hit]) -> None:
        if original and original not in self._scrubber.rules.allow:
            hit = Hit(rule, DROP, self._scrubber.salt.digest(original))
            if hit not in hits:
                hits.append(hit)


class ChangedError(Exception):
    """A file is not the one that was looked at."""


class Unchanged(Hashing):
    """A stream that leaves as it is; its end raises what `changed` makes if it is another one."""

    def __init__(self, data: BinaryIO, sha256: str, changed: Callable[[], Exception]) -> None:
        super().__init__(data)
        self._sha256, self._changed = sha256, changed

    def read(self, size: int = -1) -> bytes:
        block = super().read(size)
        if (not block or size < 0) and self.state.hexdigest() != self._sha256:
            raise self._changed()
        return block

    def close(self) -> None:
        self._data.close()
        super().close()


def _filled(data: Hashing, size: int) -> bytes:
    """So many bytes, or all there are."""
    parts = []
    while size and (block := data.read(min(size, PIECE))):
        parts.append(block)
        size -= len(block)
    return b"".join(parts)


def _exhaust(data: Hashing) -> None:
    while data.read(PIECE):
        pass


def _blocks(head: bytes, data: Hashing) -> Iterator[bytes]:
    for start in range(0, len(head), PIECE):
        yield head[start : start + PIECE]
    while block := data.read(PIECE):
        yield block


def _unpacked(data: bytes) -> bytes | None:
    """What is in a gzip file; None where it is damaged or far too large."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            inside = file.read(WHOLE + 1)
    except (OSError, EOFError, zlib.error):
        return None
    return inside if len(inside) <= WHOLE else None


def _packed_name(data: bytes) -> str:
    """What the head of a gzip file says that it was called (RFC 1952), and its comment."""
    flags, start = data[3], 10
    if flags & 4:
        start += 2 + int.from_bytes(data[10:12], "little")
    parts = data[start : start + HEAD].split(b"\0")
    return b"\n".join(parts[: bool(flags & 8) + bool(flags & 16)]).decode("latin-1")


def _encoding(data: bytes) -> str:
    return "utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else _TEXT


def _is_text(data: bytes) -> bool:
    """Whether bytes are text: no NUL, hardly any control characters, or UTF-16 that says so."""
    if _encoding(data) == "utf-16" and len(data) <= WHOLE:
        try:
            data.decode("utf-16")
        except UnicodeDecodeError:
            return False
        return True
    head = data[:HEAD]
    return b"\0" not in data and len(_CONTROLS.findall(head)) * 100 <= len(head)
