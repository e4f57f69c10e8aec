from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Page, browser
from unit.archive.archives import runs, write, writer
from unit.audit.sealed import made, sealed

from trackbridge import folder
from trackbridge.audit.keys import Key
from trackbridge.testing import samples
from trackbridge.testing.made import store


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test takes the power away: syncing would only take time."""
    monkeypatch.setattr(folder.os, "fsync", lambda handle: None)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return made(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Path:
    """An archive of three generations, with runs that were written anew; tests copy it."""
    place = tmp_path_factory.mktemp("whole") / "archive"
    store(writer(place), [samples.everything()])
    write(place, runs("ab"))
    sealed(place, key)
    write(place, runs("bc", loss=0.25))
    sealed(place, key)
    write(place, runs("d"))
    sealed(place, key)
    return place


@pytest.fixture
def archive(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "archive"))
