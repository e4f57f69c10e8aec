"""Whatever is done to a sealed archive is found, and the file is named."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from unit.archive.archives import files_of
from unit.audit.sealed import is_bag, made, problems, said_by_the_copy, sealed

from trackbridge.audit import verify
from trackbridge.audit.keys import Key

MUTATIONS = 250
PYENV = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
OF_A_BAG = ("data/", "manifest-sha256.txt", "bagit.txt", "bag-info.txt", "tagmanifest-sha256.txt")
"""Beginnings of paths that BagIt's own library looks at."""


def flip(place: Path, path: str, dice: random.Random) -> set[str]:
    content = bytearray((place / path).read_bytes() or b"\0")
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    (place / path).write_bytes(content)
    return {path}


def cut(place: Path, path: str, dice: random.Random) -> set[str]:
    content = (place / path).read_bytes()
    (place / path).write_bytes(content[: dice.randrange(len(content))] if content else b"more")
    return {path}


def remove(place: Path, path: str, dice: random.Random) -> set[str]:
    (place / path).unlink()
    return {path}


def add(place: Path, path: str, dice: random.Random) -> set[str]:
    new = f"{path.rpartition('/')[0]}/{dice.choice(['x.parquet', '.hidden', 'ä b'])}".lstrip("/")
    (place / new).write_bytes(dice.randbytes(dice.randrange(3)))
    return {new}


def rename(place: Path, path: str, dice: random.Random) -> set[str]:
    new = f"{path}{dice.choice(['x', '.bak', '%'])}"
    (place / path).rename(place / new)
    return {path, new}


def swap(place: Path, path: str, dice: random.Random) -> set[str]:
    ours = (place / path).read_bytes()
    others = (p for p in sorted(files_of(place)) if (place / p).read_bytes() != ours)
    other = dice.choice(list(others))
    (place / path).write_bytes((place / other).read_bytes())
    (place / other).write_bytes(ours)
    return {path, other}


def edit_a_manifest(place: Path, path: str, dice: random.Random) -> set[str]:
    """A file is changed, and its digest in the manifest with it, as far as a forger can go."""
    files = [p for p in sorted(files_of(place)) if p.startswith("data/")]
    path = dice.choice(files)
    flip(place, path, dice)
    for name, changed in (
        ("manifest-sha256.txt", path),
        ("tagmanifest-sha256.txt", "manifest-sha256.txt"),
    ):
        listed = verify.read_manifest((place / name).read_bytes())
        listed[changed] = hashlib.sha256((place / changed).read_bytes()).hexdigest()
        text = "".join(f"{digest}  {p}\n" for p, digest in sorted(listed.items()))
        (place / name).write_text(text)
    return {"tagmanifest-sha256.txt"}


def link(place: Path, path: str, dice: random.Random) -> set[str]:
    (place / path).rename(place.parent / "elsewhere")
    (place / path).symlink_to(place.parent / "elsewhere")
    return {path}


Mutation = Callable[[Path, str, random.Random], set[str]]
MUTATING: list[Mutation] = [flip, flip, flip, cut, remove, add, rename, swap, edit_a_manifest, link]


def test_an_archive_as_it_was_sealed_has_no_problems(archive: Path) -> None:
    assert problems(archive) == {}
    assert is_bag(archive)
    code, said = said_by_the_copy(archive)
    assert code == 0 and "as it was sealed" in said
    assert said.count("seal ") == 3


@pytest.mark.slow
def test_no_mutation_is_missed_and_each_is_named(whole: Path, tmp_path: Path) -> None:
    dice, by_the_copy = random.Random(20261129), 0
    files = sorted(files_of(whole))
    for number in range(MUTATIONS):
        place = Path(shutil.copytree(whole, tmp_path / f"{number}" / "archive"))
        mutate = dice.choice(MUTATING)
        harmed = mutate(place, dice.choice(files), dice)
        own = verify.verify(verify.Place(place)).problems
        assert harmed <= {p.path for p in own}, f"{number}: {mutate.__name__} of {harmed}: {own}"
        if "trackbridge.json" not in harmed:
            assert harmed <= set(problems(place))
        if (place / "verify.py").is_file() and "verify.py" not in harmed and number % 10 == 0:
            by_the_copy += 1
            code, said = said_by_the_copy(place)
            assert code == 1 and any(path in said for path in harmed)
        if mutate in (flip, cut, remove) and any(p.startswith(OF_A_BAG) for p in harmed):
            assert harmed == {"tagmanifest-sha256.txt"} or not is_bag(place)
        shutil.rmtree(place.parent)
    assert by_the_copy > MUTATIONS // 15


def test_seals_of_another_key_are_told_apart(archive: Path, tmp_path: Path, key: Key) -> None:
    made(tmp_path, "other")
    mine = tmp_path / "mine.pub"
    mine.write_bytes(verify.write_public_key(key.public))
    assert problems(archive, mine) == {}
    found = problems(archive, tmp_path / "other.pub")
    assert set(found) == {f"seals/{n:04d}/seal.json" for n in (1, 2, 3)}
    assert all("another key" in what for what in found.values())
    assert problems(archive, mine, tmp_path / "other.pub") == {}


def test_an_archive_that_was_forged_with_another_key_is_told(
    archive: Path, tmp_path: Path, key: Key
) -> None:
    """All is made again, by who has changed a file and lacks the key."""
    mine = tmp_path / "mine.pub"
    mine.write_bytes(verify.write_public_key(key.public))
    shutil.rmtree(archive / "seals")
    for name in ("bagit.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt"):
        (archive / name).unlink()
    sealed(archive, made(tmp_path, "forger"))
    assert problems(archive) == {}
    assert "another key" in problems(archive, mine)["seals/0001/seal.json"]


@pytest.mark.parametrize("gone", ["0001", "0002"])
def test_a_seal_that_was_taken_out_breaks_the_chain(archive: Path, gone: str) -> None:
    shutil.rmtree(archive / "seals" / gone)
    assert "is missing: the chain is broken" in problems(archive)[f"seals/{gone}/seal.json"]


def test_a_seal_that_was_put_in_from_another_archive_breaks_the_chain(
    archive: Path, tmp_path: Path, key: Key
) -> None:
    other = tmp_path / "other"
    shutil.copytree(archive, other)
    shutil.rmtree(other / "seals")
    for name in ("bagit.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt"):
        (other / name).unlink()
    sealed(other, key)
    shutil.copy(other / "seals" / "0001" / "seal.json", archive / "seals" / "0001" / "seal.json")
    assert "seals/0001/seal.json" in problems(archive)


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.13"])
def test_the_copy_needs_nothing_but_an_old_python(archive: Path, version: str) -> None:
    installed = sorted((PYENV / "versions").glob(f"{version}.*/bin/python"))
    python = str(installed[0]) if installed else shutil.which(f"python{version}")
    if python is None:
        pytest.skip(f"Python {version} is not installed")
    code, said = said_by_the_copy(archive, python=python)
    assert (code, "as it was sealed" in said) == (0, True), said


@pytest.mark.parametrize("harm", [b"", b"{}", b"[]", b"{", b"\xff", b'{"payload": 1}'])
def test_what_is_no_envelope_is_named(archive: Path, harm: bytes) -> None:
    (archive / "seals" / "0003" / "seal.json").write_bytes(harm)
    assert "seals/0003/seal.json" in problems(archive)


def test_an_envelope_that_is_written_otherwise_is_named(archive: Path) -> None:
    """Though it means the same: nothing in an archive may change unseen."""
    path = archive / "seals" / "0003" / "seal.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert problems(archive) == {"seals/0003/seal.json": "is not written as seals are"}


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.data())
def test_signatures_hold_where_they_do_for_others(
    seed: bytes, message: bytes, data: st.DataObject
) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    key, signature = private.public_key().public_bytes_raw(), private.sign(message)
    assert verify.ed25519_holds(key, message, signature)
    bit = data.draw(st.integers(0, 511))
    harmed = bytearray(signature)
    harmed[bit // 8] ^= 1 << bit % 8
    assert not verify.ed25519_holds(key, message, bytes(harmed))
    assert not verify.ed25519_holds(key, message + b"x", signature)
    assert not verify.ed25519_holds(seed, message, signature) or seed == key


def test_signatures_that_are_written_otherwise_do_not_hold() -> None:
    """To a careless check, the scale plus the order is the same number (RFC 8032, 5.1.7)."""
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    key, signature = private.public_key().public_bytes_raw(), private.sign(b"")
    scale = (
        int.from_bytes(signature[32:], "little") + 2**252 + 27742317777372353535851937790883648493
    )
    assert not verify.ed25519_holds(key, b"", signature[:32] + scale.to_bytes(32, "little"))
    assert not verify.ed25519_holds(key, b"", signature + b"\0")


@pytest.mark.parametrize(
    "line", ["", "x", f"{'0' * 64}  ../x", f"{'0' * 64}  /x", f"{'0' * 63}  x", f"{'0' * 64}  a\\b"]
)
def test_a_line_that_is_none_of_a_manifest_is_named(archive: Path, line: str) -> None:
    with (archive / "manifest-sha256.txt").open("a") as out:
        out.write(f"{line}\n")
    assert "is not a SHA-256 digest and a path" in problems(archive)["manifest-sha256.txt"]


def test_keys_are_written_as_other_tools_write_them(key: Key) -> None:
    text = verify.write_public_key(key.public)
    assert verify.read_public_key(text) == key.public
    for harmed in (
        b"",
        text[:-1],
        text + b"\n",
        text.replace(b"PUBLIC", b"public"),
        bytes(3),
    ):
        with pytest.raises(ValueError, match="public key"):
            verify.read_public_key(harmed)
