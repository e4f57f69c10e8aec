"""Checksums of event files, one at a time and of many byte strings of one length at once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from trackbridge.errors import ConfigError

try:
    import google_crc32c
except ImportError as error:
    raise ConfigError(
        "event files need google-crc32c and tensorboard: pip install trackbridge[tensorboard]"
    ) from error

Bytes = npt.NDArray[np.uint8]
Checks = npt.NDArray[np.uint32]
LONGEST = 2048
"""Bytes of a string that `differences` takes: it needs a table for each."""
_MASK = 0xA282EAD8


def plain(data: bytes) -> int:
    """CRC-32C of some bytes."""
    return int(google_crc32c.value(data))


def checksum(data: bytes) -> int:
    """CRC-32C as it stands in files: rotated, and a constant added."""
    crc = plain(data)
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


def unmasked(found: Any) -> Any:
    """Checksums in files (uint32) as plain CRC-32C."""
    turned = found - np.uint32(_MASK)
    return (turned >> np.uint32(17)) | (turned << np.uint32(15))


def differences(rows: Bytes, columns: Any, first: Bytes) -> Checks:
    """How the CRC-32C of each row differs from that of the first one, by exclusive or.

    Rows are strings of one length; they may differ in the columns alone. A CRC is linear: each
    bit that differs adds what depends on nothing but the number of bytes after it. `first` is one
    string, or one for each row.
    """
    tables = _tables(-(-rows.shape[1] // 256) * 256)
    found = np.zeros(len(rows), np.uint32)
    for column in columns:
        changed = rows[:, column] ^ first[..., column]
        found ^= tables[rows.shape[1] - 1 - column][changed]
    return found


@lru_cache(maxsize=8)
def _tables(count: int) -> Checks:
    """What a byte adds to a CRC, by the number of bytes after it."""
    zero = google_crc32c.value(b"\0")
    alone = np.array([google_crc32c.value(bytes([b])) ^ zero for b in range(256)], np.uint32)
    tables = [alone]
    for _ in range(1, count):
        before = tables[-1]
        tables.append((before >> np.uint32(8)) ^ alone[before & np.uint32(255)])
    return np.stack(tables)
