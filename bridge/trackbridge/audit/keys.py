"""Keys that archives are sealed with: Ed25519, in PEM files that other tools read too."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackbridge.audit.verify import key_id, write_public_key
from trackbridge.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PASSPHRASE = "TRACKBRIDGE_KEY_PASSPHRASE"
"""The variable that holds a key's passphrase where nobody can be asked."""


class Key:
    """The private half of a key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()
        """32 bytes."""

    @property
    def id(self) -> str:
        return key_id(self.public)

    def sign(self, message: bytes) -> bytes:
        """A signature of 64 bytes."""
        return self._private.sign(message)


def make(path: Path, passphrase: bytes | None) -> Key:
    """A new key: the private half, encrypted where there is a passphrase, the public in PATH.pub.

    Files that are there already are never replaced: `ConfigError`.
    """
    serialization, ed25519 = _cryptography()
    if not path.name or path.is_dir():
        raise ConfigError(f"{path} is a folder; name the file that the key is to be in")
    public = path.with_name(f"{path.name}.pub")
    for place in (path, public):
        if place.exists():
            raise ConfigError(f"{place} is there already; a key that has sealed must not get lost")
    private = ed25519.Ed25519PrivateKey.generate()
    lock = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    text = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock
    )
    key = Key(private)
    for place, data, mode in ((path, text, 0o600), (public, write_public_key(key.public), 0o644)):
        try:
            handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except OSError as error:
            raise ConfigError(f"{place}: {error.strerror}") from error
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    return key


def load(path: Path, ask: Callable[[], bytes]) -> Key:
    """The key in a file; `ask` is called for its passphrase if it has one."""
    serialization, ed25519 = _cryptography()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; `trackbridge audit keygen {path}` makes a key"
        ) from error
    try:
        try:
            private = serialization.load_pem_private_key(data, None)
        except TypeError:  # it is encrypted
            private = serialization.load_pem_private_key(data, ask())
    except ValueError as error:
        raise ConfigError(f"{path}: no private key in PEM form, or not its passphrase") from error
    if not isinstance(private, ed25519.Ed25519PrivateKey):
        raise ConfigError(f"{path}: no key of Ed25519; `trackbridge audit keygen` makes one")
    return Key(private)


def _cryptography() -> tuple[Any, Any]:
    """Its modules serialization and ed25519."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise ConfigError(
            "sealing needs the package cryptography: pip install 'trackbridge[audit]'"
        ) from error
    return serialization, ed25519
