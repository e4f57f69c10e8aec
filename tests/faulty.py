"""Streams, disks and servers that do not do what they should."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Stale(io.RawIOBase):
    """A stream that cannot be read any more."""

    def read(self, size: int = -1) -> bytes:
        raise OSError(116, "Stale file handle")


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are opened from now on lie on a full disk."""
    opened = io.open

    def full(path: object, mode: str = "r", *arguments: object, **named: object) -> object:
        return opened("/dev/full" if "w" in mode else path, mode, *arguments, **named)  # type: ignore

    monkeypatch.setattr(io, "open", full)


@contextmanager
def answering(state: int, body: bytes, **headers: str) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that has the same answer to everything, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append(self.path)
            self.send_response(state)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815 - as the base class calls them

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
