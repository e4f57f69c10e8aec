"""Names of files and folders for texts of any kind.

What Windows does not take in a name is written as %XX, and so is what TensorBoard would take for an
event file, and the name of our own folders: two texts never get one name.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import unquote

from trackbridge.adapter import ORIGIN
from trackbridge.errors import IntegrityError

LONGEST = 240
"""Bytes that a name has at most."""
_CUT = re.compile(r"%.?$")
"""Half of %XX."""
_SIGNS = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*%]|[. ]$|^ ')
_DEVICES = re.compile(rf"(?i)((con|prn|aux|nul|com\d|lpt\d)(\.|$)|{ORIGIN}$)")


def encoded(text: str) -> str:
    """The name for a text, which can be read back; `IntegrityError` where there can be none."""
    if text in ("", ".", ".."):
        raise IntegrityError(f"{text!r} is no name of a file: it would lead out of its run")
    if not is_unicode(text):
        raise IntegrityError(f"{text!r} is no name of a file: no Unicode")
    name = _SIGNS.sub(_percent, text).replace("tfevents", "tf%65vents")
    return _percent(name[0]) + name[1:] if _DEVICES.match(name) else name


def decoded(name: str) -> str:
    """The inverse of `encoded`."""
    return unquote(name, errors="surrogateescape")


def pieces(text: str) -> list[str]:
    """Names of folders, and of what is in the last of them, that together stand for a text.

    File systems take 255 bytes for a name: a longer one goes on in a folder, whose name ends with
    the sign that begins %XX.
    """
    found, rest = [], encoded(text)
    while len(rest.encode()) > LONGEST:
        head = _CUT.sub("", rest.encode()[: LONGEST - 1].decode("utf-8", "ignore"))
        found.append(f"{head}%")
        rest = rest[len(head) :]
    return [*found, rest]


def shortened(text: str, room: int = 120) -> str:
    """A name of no more bytes than there is room, another one for each text."""
    name = encoded(text).replace("~", "%7E") if text not in ("", ".", "..") else "%" + text
    raw = name.encode()
    if len(raw) <= room:
        return name
    mark = "~" + hashlib.sha256(text.encode()).hexdigest()[:12]
    return raw[: room - len(mark)].decode("utf-8", "ignore").rstrip(". ") + mark


def is_unicode(text: str) -> bool:
    """Whether it has no half of a pair of surrogates, which names of files and JSON may have."""
    return text.isascii() or shown(text) == text


def shown(name: str) -> str:
    """A name of any file, with a backslash for each byte that is no UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()


def _percent(sign: re.Match[str] | str) -> str:
    text = sign if isinstance(sign, str) else sign[0]
    return "".join(f"%{byte:02X}" for byte in text.encode())
