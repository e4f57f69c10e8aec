"""Files leave without what must not leave, or not at all; the others as they are."""

from __future__ import annotations

import gzip
import io
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.audit.redacting import SALT, SECRETS, TEXT

from trackbridge.audit.redaction import files
from trackbridge.audit.redaction.files import ChangedError, Files, Look
from trackbridge.audit.redaction.rules import Rule, Rules
from trackbridge.audit.redaction.scrub import Scrubber

RULES = Rules((Rule("customer", "hash", regex=r"ACME-\d+"),), keep=("*.kept",))
FILES = Files(Scrubber(RULES, SALT, {SECRETS["user"]}, {SECRETS["host"]}))


def passed(path: str, data: bytes, by: Files = FILES) -> tuple[Look, bytes | None]:
    """What was found in a file, and what leaves of it."""
    look = by.look(path, io.BytesIO(data))
    if look.fate == files.WITHHELD:
        return look, None
    if look.fate == files.KEPT:
        return look, data
    return look, by.edited(path, io.BytesIO(data), look).read()


def clean(data: bytes) -> bool:
    text = data + data.replace(b"\0", b"")
    return not any(secret.encode().lower() in text.lower() for secret in SECRETS.values())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_text_is_altered_where_something_stands(encoding: str) -> None:
    look, out = passed("a.txt", f"before\n{TEXT}\nafter é\n".encode(encoding))
    assert look.fate == files.EDITED and out is not None and clean(out)
    text = out.decode(encoding)
    assert text.startswith("before\nclone with [credentials removed]")
    assert text.endswith("\nafter é\n")


def test_bytes_that_are_no_utf_8_come_through() -> None:
    _, out = passed("a.txt", b"gr\xf6\xdfe jdoesmith \xff\n")
    assert out is not None and clean(out) and out.startswith(b"gr\xf6\xdfe user-")
    assert out.endswith(b" \xff\n")


def test_a_document_in_each_line_stays_one() -> None:
    data = "".join(json.dumps({"name": "é", "by": TEXT, "n": n}) + "\n" for n in range(3))
    _, out = passed("rows.jsonl", data.encode())
    assert out is not None and clean(out)
    assert [json.loads(line)["n"] for line in out.splitlines()] == [0, 1, 2]


def test_what_is_written_in_escapes_is_found() -> None:
    data = json.dumps({"source": ["by \u006adoesmith", "ju\u0308rgen@corp.example"]}).replace(
        "jdoesmith", "\\u006adoesmith"
    )
    _, out = passed("a.ipynb", data.encode())
    assert out is not None and json.loads(out)["source"][0].startswith("by user-")


def test_what_is_written_in_escapes_is_found_after_a_mark_of_its_encoding() -> None:
    _, out = passed("a.json", '\ufeff{"by": "\\u006adoesmith"}'.encode())
    assert out is not None and out.decode().startswith('\ufeff{"by": "user-')


def test_packed_text_is_altered_and_packed_again() -> None:
    _, out = passed("a.log.gz", gzip.compress(TEXT.encode()))
    assert out is not None and clean(gzip.decompress(out))
    assert passed("a.gz", gzip.compress(b"nothing"))[0].fate == files.KEPT


def test_the_name_in_a_packed_file_is_one_too() -> None:
    packed = io.BytesIO()
    with gzip.GzipFile("jdoesmith.log", "wb", fileobj=packed) as file:
        file.write(b"nothing")
    _, out = passed("a.gz", packed.getvalue())
    assert out is not None and clean(out) and gzip.decompress(out) == b"nothing"


def test_text_in_latin_1_is_looked_into() -> None:
    rules = Rules((Rule("size", "mask", regex="größe"),))
    by = Files(Scrubber(rules, SALT, {"müller"}))
    for text in (b"# M\xfcller gr\xf6\xdfe \xe9\n", "# Müller größe ".encode() + b"\xe9\n"):
        _, out = passed("a.txt", text, by)
        assert out is not None and out.startswith(b"# user-") and out.endswith(b"removed] \xe9\n")


def test_no_weights_are_withheld_by_chance() -> None:
    by = Files(Scrubber(Rules(), SALT, {"jane"}, {"gpu1"}))
    noise = random.Random(1).randbytes(1 << 20)
    chance = b"\x00://\xfe\x90x@\x00", b"\x91jAnE\x93", b"\x05gpu1\x01"
    look, _ = passed("w.bin", noise + b"\x93".join(chance) + noise, by)
    assert look[1:] == (files.KEPT, (), True)
    for text in (b"\x00by jane, 3\x00", b"https://me:pw@x", "by jane, 3".encode("utf-16-le")):
        assert passed("w.bin", noise + text + noise, by)[0].fate == files.WITHHELD
    name = Files(Scrubber(Rules(), SALT, {"Müller"}))
    for encoding in ("utf-8", "latin-1"):
        data = noise + "\0müLLer\0".encode(encoding)
        assert passed("w.bin", data, name)[0].fate == files.WITHHELD


def test_bytes_nobody_can_look_into_are_listed_or_withheld() -> None:
    blob = random.Random(1).randbytes(300_000)
    assert passed("w.bin", blob)[0][1:] == (files.KEPT, (), True)
    for hidden in (TEXT.encode(), TEXT.encode("utf-16-le")):
        look, out = passed("w.bin", blob[:200_000] + hidden + blob[200_000:])
        assert look.fate == files.WITHHELD and out is None
        assert {"credentials", "user", "host", "home", "customer"} <= {h.rule for h in look.hits}
        assert {hit.action for hit in look.hits} == {"drop"}
    assert passed("w.kept", blob + TEXT.encode())[0] == Look(
        passed("w.kept", blob + TEXT.encode())[0].sha256, files.KEPT
    )


def test_rules_about_whole_files() -> None:
    rules = Rules(tuple(Rule(a, a, file=f"{a}/*") for a in ("drop", "mask", "hash")))
    by = Files(Scrubber(rules, SALT))
    assert passed("drop/x", b"data", by)[1] is None
    assert passed("mask/x", b"data", by)[1] == b"[mask removed]\n"
    assert passed("hash/x", b"data", by)[1] == f"sha256:{SALT.digest(b'data')}\n".encode()
    assert passed("other/x", b"data", by)[1] == b"data"


def test_a_file_that_is_another_one_by_now_is_an_error() -> None:
    look = FILES.look("a.txt", io.BytesIO(TEXT.encode()))
    with pytest.raises(ChangedError):
        FILES.edited("a.txt", io.BytesIO(TEXT.encode() + b" more"), look)
    stream = files.Unchanged(io.BytesIO(b"ab"), "0" * 64, lambda: ChangedError())
    with pytest.raises(ChangedError):
        while stream.read(1):
            pass


@given(st.lists(st.integers(0, 400), max_size=8), st.integers(300, 2000), st.booleans())
def test_a_long_text_is_altered_as_one_that_is_looked_at_whole(
    gaps: list[int], piece: int, lines: bool
) -> None:
    fill = "é\n" if lines else "é "
    text = "".join(fill * gap + TEXT + "\n" for gap in gaps)
    whole, out_whole = passed("a.txt", text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "WHOLE", 10)
        patch.setattr(files, "PIECE", piece)
        patch.setattr(files, "BEHIND", 300)
        look, out = passed("a.txt", text.encode())
    assert out == out_whole
    assert sorted(look.hits) == sorted(whole.hits)
