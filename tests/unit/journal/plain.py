"""Journals read by their description alone, with nothing of ours."""

from __future__ import annotations

import json
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from trackbridge.adapter import RunRef
from trackbridge.testing import PlainPoint, PlainRun

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def payloads(path: Path) -> Iterator[bytes]:
    """The payloads of a file without damage."""
    data = path.read_bytes()
    at = 0
    while at < len(data):
        mark, length, crc = struct.unpack_from("<4sII", data, at)
        payload = data[at + 12 : at + 12 + length]
        assert (mark, crc) == (b"\x9ctb\n", zlib.crc32(payload))
        yield payload
        at += 12 + length


def records(folder: Path) -> list[dict[str, Any]]:
    """The JSON records of a run's folder."""
    every = [p for path in sorted(folder.glob("*.journal")) for p in payloads(path)]
    return [json.loads(payload) for payload in every if payload[:1] == b"{"]


def read(root: Path, ref: RunRef) -> PlainRun:
    for folder in root.iterdir():
        if folder.is_dir() and tuple(records(folder)[0]["run"]) == ref:
            return _read(folder, ref)
    raise AssertionError(f"no run {ref}")


def _read(folder: Path, ref: RunRef) -> PlainRun:
    config: dict[str, Any] = {}
    name, files, points = None, {}, []
    for path in sorted(folder.glob("*.journal")):
        keys: dict[int, list[str]] = {}
        for payload in payloads(path):
            if payload[:1] == b"P":
                number, _, step, time = struct.unpack_from("<Iqqq", payload, 4)
                values = struct.unpack_from(f"<{(len(payload) - 32) // 8}d", payload, 32)
                at = EPOCH + timedelta(microseconds=time)
                points += [PlainPoint(k, step, at, v) for k, v in zip(keys[number], values)]
                continue
            record = defaultdict(dict, json.loads(payload))
            if record["t"] == "keys":
                keys[record["id"]] = record["keys"]
            elif record["t"] == "config":
                config |= record["set"]
            elif record["t"] == "set":
                name = record["row"].get("name", name)
            elif record["t"] == "file":
                digest = record["file"]["sha256"]
                content = (folder / "files" / digest[:2] / digest).read_bytes()
                files[record["file"]["path"]] = content
    return PlainRun(*ref, name, config, points, files)
