"""Time stamps of seals (RFC 3161): when an authority has seen a tag manifest, in its own words."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackbridge.errors import ConfigError, TransientError, without_secrets

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

KIND = "application/timestamp-query"
TIMEOUT = 30
"""Seconds that an authority has to answer in."""
LARGEST = 1 << 20
"""Bytes; an answer has some thousand."""


def ask(url: str, data: bytes) -> bytes:
    """An authority's answer for these bytes, in DER; nothing but their digest is sent.

    Raises `ConfigError` where it refuses or answers something else, `TransientError` where it does
    not answer.
    """
    client = _client()
    algorithm = client.HashAlgorithm.SHA256
    request = client.TimestampRequestBuilder().data(data).hash_algorithm(algorithm).build()
    where = without_secrets(url)
    if url.partition("://")[0] not in ("http", "https"):
        raise ConfigError(
            f"{where}: no address of an authority; it begins with http:// or https://"
        )
    post = urllib.request.Request(url, request.as_bytes(), {"Content-Type": KIND})
    try:
        with urllib.request.urlopen(post, timeout=TIMEOUT) as response:
            answer: bytes = response.read(LARGEST)
    except urllib.error.HTTPError as error:
        kind = TransientError if error.code >= 500 or error.code == 429 else ConfigError
        raise kind(f"{where}: the time stamp was refused with HTTP {error.code}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise TransientError(
            f"{where}: no time stamp: {reason}; call again, or without --tsa"
        ) from error
    try:
        found = client.decode_timestamp_response(answer)
        if found.status not in (client.PKIStatus.GRANTED, client.PKIStatus.GRANTED_WITH_MODS):
            said = " ".join(found.status_string) or f"status {found.status}"
            raise ConfigError(f"{where}: the time stamp was refused: {said}")
        if found.tst_info.nonce != request.nonce:
            raise ValueError("it answers another request")
        read(answer, data, [])
    except ValueError as error:
        raise ConfigError(f"{where}: its answer is no time stamp: {error}") from error
    return answer


def read(answer: bytes, data: bytes, roots: Sequence[Certificate]) -> datetime:
    """When it says that these bytes were seen; `ValueError` where it says nothing of them.

    The authority is believed where its certificate leads to one of the roots, and any is where
    there are none.
    """
    client = _client()
    found = client.decode_timestamp_response(answer)
    from cryptography.hazmat.primitives.hashes import SHA256, Hash

    digest = Hash(SHA256())
    digest.update(data)
    if found.tst_info.message_imprint.message != digest.finalize():
        raise ValueError("it is for other bytes")
    if roots:
        builder = client.VerifierBuilder(roots=list(roots))
        try:
            builder.build().verify_message(found, data)
        except client.VerificationError as error:
            raise ValueError(f"no root that was named vouches for it: {error}") from error
    time: datetime = found.tst_info.gen_time
    return time


def certificates(path: Path) -> list[Certificate]:
    """The certificates in a PEM file."""
    _client()
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} holds no certificate in PEM form") from error


def _client() -> Any:
    try:
        import rfc3161_client
    except ImportError as error:
        raise ConfigError(
            "time stamps need the package rfc3161-client: pip install 'trackbridge[audit]'"
        ) from error
    return rfc3161_client
