"""Nothing is put where nobody knows what is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trackbridge.errors import ConfigError
from trackbridge_adapters.mlflow import upload
from trackbridge_adapters.mlflow.database import Database


class _Closed:
    """A storage that may be written to, but not listed."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def walk(self, damage: list[str]) -> Iterator[object]:
        damage.append("artifacts: access denied")
        return iter(())


def test_a_folder_that_cannot_be_listed_is_not_taken_for_a_free_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "repository", _Closed)
    files = upload.Upload(Database(tmp_path / "x.db", owned=True))
    with pytest.raises(ConfigError, match=r"s3://b/0/r/artifacts: cannot be listed.*access denied"):
        files.claim(("r", ""), "s3://b/0/r", native=False)
    files.finish()
