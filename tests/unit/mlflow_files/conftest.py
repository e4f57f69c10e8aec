"""MLflow is allowed to work with file stores, which it has given up."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _file_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
