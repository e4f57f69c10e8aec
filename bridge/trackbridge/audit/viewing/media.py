"""What the bytes of a file are to a browser, by how they begin."""

from __future__ import annotations

MOST = 4096
"""Bytes that are looked at: more than any browser does."""
IMAGES = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpg",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
}
SOUNDS = {b"\xff\xfb": "mp3", b"\xff\xf3": "mp3", b"OggS": "ogg", b"fLaC": "flac"}
SOUNDS |= {b"ID3" + bytes([version]): "mp3" for version in (2, 3, 4)}
VIDEOS = {b"\x1aE\xdf\xa3": "webm"}
BOXES = {b"avif": ("image", "avif"), b"M4A ": ("audio", "m4a")}
"""Of files of the ISO base media format: those that are no video (mp4)."""
RIFF = {b"WEBP": ("image", "webp"), b"WAVE": ("audio", "wav"), b"AVI ": ("", "avi")}


def kind_of(begin: bytes) -> tuple[str, str]:
    """What a page may do with a file, and the suffix of its kind.

    `image`, `audio` and `video` can be shown in a page; `active` is what some browser might run
    as a page of its own, whatever it is called, so nothing leads to it; all else is empty.
    """
    for kind, known in (("image", IMAGES), ("audio", SOUNDS), ("video", VIDEOS)):
        for magic, suffix in known.items():
            if begin.startswith(magic):
                return kind, suffix
    if begin.startswith(b"BM") and begin[6:10] == bytes(4):  # reserved, where texts have letters
        return "image", "bmp"
    if begin.startswith(b"RIFF"):
        return RIFF.get(begin[8:12], ("", ""))
    if begin[4:8] == b"ftyp":
        return BOXES.get(begin[8:12], ("video", "mp4"))
    return ("active" if _is_active(begin) else "", "")


def _is_active(begin: bytes) -> bool:
    """Markup, in whatever encoding, or a document that may hold scripts."""
    text = begin.removeprefix(b"\xef\xbb\xbf").replace(b"\0", b"")
    text = text.removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff").lstrip()
    return (
        text.startswith((b"<", b"%PDF")) or b"<!DOCTYPE" in text.upper() or b"<HTML" in text.upper()
    )
