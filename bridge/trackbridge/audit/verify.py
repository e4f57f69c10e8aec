#!/usr/bin/env python3
"""Checks that an archive is as it was sealed, with Python's standard library alone (3.8 or newer).

    python verify.py [--public-key KEY.pub]... [ARCHIVE]

A copy of this file lies in every sealed archive, so that nobody needs Trackbridge to check one.
Whoever does not trust that copy takes one from elsewhere: they are the same. What is looked at:

- every file has the SHA-256 digest that the manifests (BagIt, RFC 8493) say, none is missing and
  none is there besides;
- each seal is signed (Ed25519, RFC 8032) over the tag manifest of its generation, as an in-toto
  statement in a DSSE envelope, and names the seal before it;
- what an earlier generation had is still there. What a later one had to replace (manifests,
  descriptions) lies as it was under seals/<generation>/.

An archive carries the public keys of its seals. They show that all was sealed by one hand, but not
whose hand that was: for that, name the keys that you know with --public-key.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

BAGIT = "bagit.txt"
BAGIT_TEXT = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
MANIFEST, TAG_MANIFEST = "manifest-sha256.txt", "tagmanifest-sha256.txt"
FETCH = "fetch.txt"
SEALING = "sealing.json"
"""There while an archive is being sealed."""
SEALS = "seals"
SEAL, KEY, TOKEN = "seal.json", "key.pub", "timestamp.tsr"
"""What lies in the folder of a seal, besides what the next generation replaced."""

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:trackbridge:seal:v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

_LINE = re.compile(r"([0-9a-f]{64}) {1,2}(\S.*)")
_GENERATION = re.compile(SEALS + r"/([0-9]{4,9})/.+")
_TIME = re.compile(r"[0-9T:.+-]{1,40}")
_BLOCK = 1 << 20
_PART_BYTES, _PART_FILES = 16 << 20, 200
_HOSTILE = re.compile(r"[\x00-\x1f\x7f\\:*?\"<>|]|(?:^|/)(?:\.{0,2}|\s[^/]*|[^/]*\s)(?:/|$)")


class Problem(NamedTuple):
    """Something that is not as it was sealed."""

    path: str
    what: str

    def __str__(self) -> str:
        what = _shown(self.what)
        return f"{_shown(self.path)}: {what}" if self.path else what


class Found(NamedTuple):
    """A file of an archive."""

    size: int
    odd: str = ""
    """What it is instead of a file; empty for files."""


class Seal(NamedTuple):
    """What a seal says, once its signature holds."""

    generation: int
    sealed: str
    key: str
    """SHA-256 of its public key."""
    stamped: bool
    """Whether a time-stamp token is there."""


class Report(NamedTuple):
    """What a check has found."""

    problems: list[Problem]
    seals: list[Seal]
    files: int
    size: int
    elsewhere: int
    """Files that are listed in fetch.txt and not here."""
    digests: dict[str, str]
    """SHA-256 of each file that is as it was sealed."""


class OtherKeyError(ValueError):
    """A seal was made with another key than the one it is read with."""


class Place:
    """A folder of this machine that holds an archive."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def tree(self) -> Iterator[tuple[str, Found]]:
        """Every file, by its path with forward slashes; links are told, and not followed."""
        waiting = [""]
        while waiting:
            inside = waiting.pop()
            try:
                with os.scandir(self._root / inside) as entries:
                    found = list(entries)
            except PermissionError:
                if not inside:
                    raise
                yield inside, Found(0, "a folder that cannot be read")
                continue
            for entry in found:
                path = f"{inside}/{entry.name}" if inside else entry.name
                if entry.is_symlink():
                    yield path, Found(0, "a link")
                elif entry.is_dir():
                    waiting.append(path)
                elif entry.is_file():
                    yield path, Found(entry.stat().st_size)
                else:
                    yield path, Found(0, "no regular file")

    def open(self, path: str) -> BinaryIO:
        return cast("BinaryIO", (self._root / path).open("rb", buffering=0))


def verify(place: Any, public_keys: Sequence[bytes] = ()) -> Report:
    """Everything that is not as it was sealed. `place` is a `Place`, or has the same methods.

    `public_keys` are those (32 bytes each) of the seals that are to be believed; any where none
    is given.
    """
    return _Check(place, public_keys).report()


class _Check:
    def __init__(self, place: Any, public_keys: Sequence[bytes]) -> None:
        self._place = place
        self._keys = public_keys
        self._problems: set[Problem] = set()
        self._tree: dict[str, Found] = {}
        self._digests: dict[str, str] = {}
        self._generations: list[int] = []
        self._seals: list[Seal] = []

    def report(self) -> Report:
        self._look()
        last = self._newest()
        elsewhere = 0
        if last:
            expected = self._expected("")
            away = self._away(expected)
            elsewhere = len(away)
            self._digest(self._tree)
            self._compare(expected, away, last)
            for number in self._generations:
                self._generation(number, last, away)
        problems = sorted(self._problems)
        bad = {problem.path for problem in problems}
        sound = {path: digest for path, digest in self._digests.items() if path not in bad}
        size = sum(found.size for found in self._tree.values())
        return Report(problems, self._seals, len(self._tree), size, elsewhere, sound)

    def _say(self, path: str, what: str) -> None:
        self._problems.add(Problem(path, what))

    def _look(self) -> None:
        for path, found in self._place.tree():
            if found.odd:
                self._say(path, f"{found.odd}: an archive has none")
            elif is_hostile(path):
                self._say(path, "a name that leads out of the archive, or is none")
            elif path in self._tree:
                self._say(path, "is there twice")
            else:
                self._tree[path] = found

    def _newest(self) -> int:
        """Number of the newest generation; 0 where there is nothing to check against.

        What is there is gone through, and not the numbers: those may be of any size.
        """
        found = {int(m[1]) for m in map(_GENERATION.fullmatch, self._tree) if m}
        if SEALING in self._tree:
            self._say("", "unsealed: sealing was interrupted; `trackbridge audit seal` finishes it")
            return 0
        if not found and BAGIT not in self._tree and MANIFEST not in self._tree:
            self._say("", "unsealed: `trackbridge audit seal` seals an archive")
            return 0
        self._generations = sorted(found or {1})
        for number in {*self._generations, *(number - 1 for number in found)} - {0}:
            if f"{folder_of(number)}/{SEAL}" not in self._tree:
                self._say(f"{folder_of(number)}/{SEAL}", "is missing: the chain is broken")
        return self._generations[-1]

    def _expected(self, inside: str) -> dict[str, str]:
        """Digest of each file that the manifests of a generation list, by its path."""
        return {**self._listed(inside, TAG_MANIFEST), **self._listed(inside, MANIFEST)}

    def _listed(self, inside: str, name: str) -> dict[str, str]:
        path = f"{inside}{name}"
        try:
            return read_manifest(self._read(path))
        except ValueError as error:
            self._say(path, str(error))
            return {}

    def _read(self, path: str) -> bytes:
        """A small file; empty where there is none, which is said."""
        if path not in self._tree:
            self._say(path, "is missing")
            return b""
        try:
            with self._place.open(path) as file:
                return bytes(file.read())
        except OSError as error:
            self._say(path, f"cannot be read: {error.strerror or error}")
            return b""

    def _away(self, expected: dict[str, str]) -> set[str]:
        """What fetch.txt lists, and is not here."""
        if FETCH not in self._tree:
            return set()
        named = read_fetch(self._read(FETCH))
        return {path for path in named if path in expected and path not in self._tree}

    def _digest(self, paths: Collection[str]) -> None:
        """Read all files, on as many cores as there are; large ones first, so that none is last."""
        order = sorted(paths, key=lambda path: -self._tree[path].size)
        with ThreadPoolExecutor(len(_cores())) as pool:
            for found in pool.map(self._digests_of, self._parts(order)):
                self._digests.update(found)

    def _parts(self, order: Sequence[str]) -> Iterator[list[str]]:
        """Files for a thread to read one after the other: small ones take no time but to begin."""
        part: list[str] = []
        size = 0
        for path in order:
            part.append(path)
            size += self._tree[path].size
            if size >= _PART_BYTES or len(part) == _PART_FILES:
                yield part
                part, size = [], 0
        yield part

    def _digests_of(self, paths: Sequence[str]) -> dict[str, str]:
        found = ((path, self._digest_of(path)) for path in paths)
        return {path: digest for path, digest in found if digest is not None}

    def _digest_of(self, path: str) -> str | None:
        digest = hashlib.sha256()
        try:
            with self._place.open(path) as file:
                block = file.read(_BLOCK)
                while block:
                    digest.update(block)
                    block = file.read(_BLOCK)
        except OSError as error:
            self._say(path, f"cannot be read: {error.strerror or error}")
            return None
        return digest.hexdigest()

    def _compare(self, expected: dict[str, str], away: set[str], last: int) -> None:
        own = {f"{folder_of(last)}/{name}" for name in (SEAL, KEY, TOKEN)}
        extra = {p for p in self._tree if p not in expected and p != TAG_MANIFEST} - own
        known = {self._digests[path]: path for path in extra if path in self._digests}
        for path, digest in expected.items():
            there = self._digests.get(path)
            if path not in self._tree:
                if path not in away:
                    moved = f": renamed to {_shown(known[digest])}" if digest in known else ""
                    self._say(path, f"is missing{moved}")
            elif there is not None and there != digest:
                self._say(path, f"was changed: its SHA-256 is {there}, sealed was {digest}")
        for path in extra:
            self._say(path, "is no file of the archive: it was added since it was sealed")
        if BAGIT in self._tree and self._read(BAGIT) != BAGIT_TEXT:
            self._say(BAGIT, "is not that of a BagIt 1.0 bag in UTF-8")
        for name in (BAGIT, MANIFEST):
            if name not in expected:
                self._say(name, f"is not listed in {TAG_MANIFEST}")

    def _generation(self, number: int, last: int, away: set[str]) -> None:
        """A seal, and that what it sealed is still there."""
        home = "" if number == last else f"{folder_of(number)}/"
        if f"{folder_of(number)}/{SEAL}" in self._tree:
            seal = self._seal(number, home)
            if seal:
                self._seals.append(seal)
        if home:
            self._still_there(number, away)

    def _before(self, number: int) -> dict[str, str] | None:
        """What a seal has to name as the one before it."""
        if number == 1:
            return None
        folder = folder_of(number - 1)
        return {
            "seal": self._digests.get(f"{folder}/{SEAL}", ""),
            "tagmanifest": self._digests.get(f"{folder}/{TAG_MANIFEST}", ""),
        }

    def _seal(self, number: int, home: str) -> Seal | None:
        """A seal, if it holds; what is wrong with it is said."""
        folder = folder_of(number)
        path = f"{folder}/{SEAL}"
        try:
            key = read_public_key(self._read(f"{folder}/{KEY}"))
        except ValueError as error:
            self._say(f"{folder}/{KEY}", str(error))
            return None
        try:
            statement = read_envelope(self._read(path), key)
        except ValueError as error:
            self._say(path, str(error))
            if isinstance(error, OtherKeyError):
                self._say(f"{folder}/{KEY}", "is not the key of the seal beside it")
            return None
        if self._keys and key not in self._keys:
            self._say(path, f"is signed by another key: {key_id(key)}")
        predicate = statement["predicate"]
        sealed = {s["name"]: s["digest"]["sha256"] for s in statement["subject"]}
        found = self._digests.get(f"{home}{TAG_MANIFEST}")
        if sealed != {TAG_MANIFEST: found}:
            self._say(f"{home}{TAG_MANIFEST}", f"is not the one that {path} seals")
        if predicate["generation"] != number:
            self._say(path, f"is the seal of generation {predicate['generation']}")
        if predicate["previous"] != self._before(number):
            self._say(path, "does not follow the seal before it: the chain is broken")
        token = self._digests.get(f"{folder}/{TOKEN}")
        if predicate["timestamp"] != (None if token is None else {"sha256": token}):
            self._say(f"{folder}/{TOKEN}", f"is not the time stamp that {path} names")
        return Seal(number, predicate["sealed"], key_id(key), token is not None)

    def _still_there(self, number: int, away: set[str]) -> None:
        """What an earlier generation had, at its place or where later ones have put it aside."""
        later = [folder_of(n) for n in self._generations[:-1] if n >= number]
        for path, digest in self._expected(f"{folder_of(number)}/").items():
            aside = (f"{folder}/{path}" for folder in later)
            place = next((p for p in aside if p in self._tree), path)
            if place in self._digests and self._digests[place] != digest:
                self._say(place, f"is not what generation {number} had as {_shown(path)}")
            elif place not in self._tree and place not in away:
                self._say(path, f"is missing: generation {number} had it")


def _cores() -> Sequence[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)


def folder_of(generation: int) -> str:
    """Where the seal of a generation lies."""
    return f"{SEALS}/{generation:04d}"


def is_hostile(path: str) -> bool:
    """Whether a name could lead out of the archive, or is no name on some system."""
    return _HOSTILE.search(path) is not None


def read_manifest(data: bytes) -> dict[str, str]:
    """Digest of each path in a manifest of BagIt; `ValueError` says which line is none."""
    found: dict[str, str] = {}
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n")[:-1], 1):
        match = _LINE.fullmatch(line)
        path = _decoded(match[2]) if match else ""
        if match is None or is_hostile(path):
            raise ValueError(f"line {number} is not a SHA-256 digest and a path")
        if path in found:
            raise ValueError(f"line {number} names {_shown(path)} again")
        found[path] = match[1]
    if data and not data.endswith(b"\n"):
        raise ValueError("ends within a line")
    return found


def read_fetch(data: bytes) -> dict[str, tuple[str, int]]:
    """URL and bytes of each path in a fetch.txt; lines that are none are passed over."""
    lines = (line.split(None, 2) for line in data.decode("utf-8", "replace").splitlines())
    return {
        _decoded(parts[2]): (parts[0], int(parts[1]) if parts[1].isdigit() else 0)
        for parts in lines
        if len(parts) == 3
    }


def _decoded(path: str) -> str:
    """A path of a manifest; BagIt encodes three signs of names."""
    return re.sub("%(0[Aa]|0[Dd]|25)", lambda m: chr(int(m[1], 16)), path)


def _shown(path: str) -> str:
    """A path as it may be printed."""
    return path if path.isprintable() else ascii(path)[1:-1]


def read_envelope(data: bytes, key: bytes) -> dict[str, Any]:
    """The statement of a DSSE envelope that the key has signed; `ValueError` says what is wrong."""
    try:
        envelope = json.loads(data)
        payload = base64.b64decode(envelope["payload"], validate=True)
        (signature,) = envelope["signatures"]
        signed = base64.b64decode(signature["sig"], validate=True)
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise ValueError("is no seal that this can read")
        if signature["keyid"] != key_id(key):
            raise OtherKeyError("is signed by another key than the one beside it")
        if write_envelope(payload, signature["keyid"], signed) != data:
            raise ValueError("is not written as seals are")
        if not ed25519_holds(key, pre_authentic(payload), signed):
            raise ValueError("its signature does not hold")
        statement = json.loads(payload)
        if (statement["_type"], statement["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise ValueError("its statement is no seal of an archive")
        predicate = statement["predicate"]
        said = isinstance(predicate["generation"], int) and _TIME.fullmatch(predicate["sealed"])
        if not said or not {"previous", "timestamp"} <= predicate.keys():
            raise ValueError("its statement lacks what a seal says")
        {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("is no seal that this can read") from error
    except (UnicodeError, json.JSONDecodeError) as error:
        raise ValueError("is no seal that this can read") from error
    return dict(statement)


def write_envelope(payload: bytes, keyid: str, signature: bytes) -> bytes:
    """A DSSE envelope (secure-systems-lab/dsse, 1.0) with one signature."""
    document = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": keyid, "sig": base64.b64encode(signature).decode()}],
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def pre_authentic(payload: bytes) -> bytes:
    """What DSSE signs: the payload with its type, each after its length."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


_DER = bytes.fromhex("302a300506032b6570032100")
"""What comes before the 32 bytes of an Ed25519 key as SubjectPublicKeyInfo (RFC 8410)."""


def read_public_key(data: bytes) -> bytes:
    """The 32 bytes of an Ed25519 key in a PEM file; `ValueError` where it is none."""
    lines = data.decode("ascii", "replace").split("\n")
    try:
        der = base64.b64decode("".join(lines[1:-2]), validate=True)
    except ValueError as error:
        raise ValueError("is no public key in PEM form") from error
    if der[: len(_DER)] != _DER or len(der) != len(_DER) + 32 or data != write_public_key(der[12:]):
        raise ValueError("is no public key of Ed25519 in PEM form")
    return der[12:]


def write_public_key(key: bytes) -> bytes:
    text = base64.b64encode(_DER + key)
    return b"-----BEGIN PUBLIC KEY-----\n" + text + b"\n-----END PUBLIC KEY-----\n"


def key_id(key: bytes) -> str:
    """The name of a key: the SHA-256 of its DER form."""
    return hashlib.sha256(_DER + key).hexdigest()


# Ed25519 after RFC 8032, for checking alone: nothing here is secret, so nothing has to take the
# same time whatever it is given. The coordinates of a point are x/z and y/z, their product is t/z.
_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)


class Point(NamedTuple):
    x: int
    y: int
    z: int
    t: int


def ed25519_holds(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature (64 bytes) of a message was made with the private half of a key."""
    if len(signature) != 64:
        return False
    public, nonce = _point(key), _point(signature[:32])
    scale = int.from_bytes(signature[32:], "little")
    if public is None or nonce is None or scale >= _ORDER:
        return False
    hashed = hashlib.sha512(signature[:32] + key + message).digest()
    factor = int.from_bytes(hashed, "little") % _ORDER
    return _same(_times(scale, _BASE), _sum(nonce, _times(factor, public)))


def _x(y: int, odd: int) -> int | None:
    """The x of the point with that y; None where no point has it."""
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and odd):
        return None
    return _P - x if x % 2 != odd else x


def _point(data: bytes) -> Point | None:
    number = int.from_bytes(data, "little")
    y, odd = number & (2**255 - 1), number >> 255
    x = _x(y, odd) if y < _P else None
    return None if x is None else Point(x, y, 1, x * y % _P)


def _sum(one: Point, other: Point) -> Point:
    a = (one.y - one.x) * (other.y - other.x) % _P
    b = (one.y + one.x) * (other.y + other.x) % _P
    c = 2 * one.t * other.t * _D % _P
    d = 2 * one.z * other.z % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return Point(e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _times(number: int, point: Point) -> Point:
    total = Point(0, 1, 1, 0)
    while number:
        if number & 1:
            total = _sum(total, point)
        point = _sum(point, point)
        number >>= 1
    return total


def _same(one: Point, other: Point) -> bool:
    x = (one.x * other.z - other.x * one.z) % _P
    y = (one.y * other.z - other.y * one.z) % _P
    return x == 0 and y == 0


_BASE = cast("Point", _point((4 * pow(5, _P - 2, _P) % _P).to_bytes(32, "little")))


def lines_of(report: Report) -> Iterator[str]:
    """What people read of a check."""
    for seal in report.seals:
        stamped = ", with a time stamp" if seal.stamped else ""
        yield f"seal {seal.generation} of {seal.sealed} by key {seal.key}{stamped}"
    if report.elsewhere:
        yield f"{report.elsewhere} files are not here but where {FETCH} says"
    for problem in report.problems:
        yield str(problem)
    if not report.problems:
        yield f"as it was sealed: {report.files} files, {report.size} bytes"


def main() -> int:
    """The command: 0 where all is as it was sealed, 1 where not, 2 for wrong usage."""
    parser = argparse.ArgumentParser(description="Checks that an archive is as it was sealed.")
    here = Path(__file__).resolve().parent
    parser.add_argument(
        "archive", nargs="?", type=Path, default=here, help="its folder (default: this one)"
    )
    parser.add_argument(
        "--public-key",
        action="append",
        default=[],
        type=Path,
        metavar="KEY.pub",
        help="a key whose seals are believed; repeatable. Without it any key's are.",
    )
    options = parser.parse_args()
    try:
        keys = [read_public_key(path.read_bytes()) for path in options.public_key]
        report = verify(Place(options.archive), keys)
    except (OSError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    for line in lines_of(report):
        print(line)
    if not keys and report.seals and not report.problems:
        print("name the keys that you believe with --public-key: anybody can make a seal")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
