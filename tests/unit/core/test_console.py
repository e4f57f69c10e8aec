"""What a terminal shows of console output."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackbridge.console import WIDTH, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("one\ntwo", "one\ntwo\n"),
        ("one\r\ntwo\r\n", "one\ntwo\n"),
        ("\r  0%\r 50%\r100%\ndone", "100%\ndone\n"),
        ("long line\rab", "abng line\n"),
        ("long line\r\x1b[Kab", "ab\n"),
        ("long line\r\x1b[2Kab", "ab\n"),
        ("abcdef\x1b[3D\x1b[1K", "   def\n"),
        ("abc\b\bX", "aXc\n"),
        ("\x1b[32mgreen\x1b[0m and \x1b[1;31mred\x1b[0m", "green and red\n"),
        ("outer 0%\n inner 0%\x1b[A\router 9%\n inner 9%", "outer 9%\n inner 9%\n"),
        ("a\x1b[5Cb", "a     b\n"),
        ("a\x1b[3Gb", "a b\n"),
        ("one\ntwo\x1b[A\x1b[9B!", "one\ntwo!\n"),
        ("a\x1b[999999999Bb", "ab\n"),
        ("\x1b[9Aup", "up\n"),
        ("title\x1b]0;x", "title0;x\n"),
        ("cut \x1b[3", "cut 3\n"),
        ("blank\n\n\n", "blank\n"),
    ],
)
def test_a_terminal_shows(text: str, expected: str) -> None:
    assert shown([text]) == expected


def test_no_sequence_makes_endless_lines() -> None:
    assert len(shown(["\x1b[999999999Cx\n\x1b[999999999Gx"])) == 2 * (WIDTH + 2)


@given(st.text(), st.lists(st.integers(0, 50)))
def test_pieces_may_end_anywhere(text: str, cuts: list[int]) -> None:
    pieces, start = [], 0
    for cut in sorted(cuts):
        pieces.append(text[start:cut])
        start = max(start, cut)
    assert shown([*pieces, text[start:]]) == shown([text])


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)))
def test_plain_lines_stay(lines: list[str]) -> None:
    assert shown(f"{line}\n" for line in lines) == "".join(f"{line}\n" for line in lines)
