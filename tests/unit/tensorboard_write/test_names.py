"""Names of files and folders, and sizes of pictures."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from trackbridge.errors import IntegrityError
from trackbridge.testing.strategies import texts
from trackbridge_adapters.tensorboard.names import decoded, encoded, pieces, shortened
from trackbridge_adapters.tensorboard.pictures import dimensions

AWKWARD = (
    "events.out.tfevents.1",
    "tfeventstfevents",
    "tf%65vents",
    "con",
    "NUL.txt",
    "trackbridge",
    "Trackbridge",
    "ends.",
    " spaced ",
    'a:b*c?d"e<f>g|h\\i/j',
    "100%",
    "~x",
)
names = st.one_of(texts, st.sampled_from(AWKWARD)).filter(lambda t: t not in ("", ".", ".."))


@given(text=names)
def test_a_name_can_be_read_back_and_is_one_that_windows_takes(text: str) -> None:
    name = encoded(text)
    assert decoded(name) == text
    assert not re.search(r'[\x00-\x1f<>:"/\\|?*]|[. ]$', name)
    assert "tfevents" not in name
    assert name.casefold() != "trackbridge"
    assert name.partition(".")[0].casefold() not in ("con", "nul", "aux", "prn")


@given(one=names, other=names)
def test_two_texts_never_have_one_name(one: str, other: str) -> None:
    assert (one == other) == (encoded(one) == encoded(other))
    assert (one == other) == (shortened(one) == shortened(other))
    assert len(shortened(one).encode()) <= 120
    assert "tfevents" not in shortened(one)


LONG = st.builds(lambda text, times: text * times, names, st.integers(1, 300))


@given(text=st.one_of(LONG, st.text("ä?%x. ", min_size=240, max_size=700)))
@example("." * 700)
@example("?" * 700)
def test_a_long_text_is_several_names_and_can_be_read_back(text: str) -> None:
    *above, last = pieces(text)
    assert "".join(decoded(name.removesuffix("%")) for name in above) + decoded(last) == text
    assert all(name.endswith("%") and len(name) > 1 for name in above)
    assert not last.endswith("%")
    assert all(len(name.encode()) <= 240 for name in (*above, last))


@pytest.mark.parametrize("text", ["", ".", ".."])
def test_what_leads_out_of_a_folder_is_no_name(text: str) -> None:
    with pytest.raises(IntegrityError, match="is no name of a file"):
        encoded(text)
    assert shortened(text) not in ("", ".", "..")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP"])
@pytest.mark.parametrize("size", [(1, 1), (8, 5), (300, 700)])
def test_the_size_of_a_picture_is_what_pillow_says(form: str, size: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, form)
    assert dimensions(file.getvalue()) == size
    for cut in range(0, min(len(file.getvalue()), 700), 7):
        assert dimensions(file.getvalue()[:cut]) in (size, None)


HEADS = (b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff", b"\xff\xd8\xff\xc0", b"BM")


@given(head=st.sampled_from(HEADS), rest=st.binary(max_size=60))
def test_any_bytes_are_a_picture_or_none(head: bytes, rest: bytes) -> None:
    found = dimensions(head + rest)
    assert found is None or len(found) == 2
