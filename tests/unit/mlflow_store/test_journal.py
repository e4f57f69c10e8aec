"""Folders go only if no row of the database refers to them, in whatever way it is written."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from trackbridge.errors import ConfigError
from trackbridge_adapters.mlflow import journal
from trackbridge_adapters.mlflow.database import Database

RUN = "INSERT INTO runs (run_uuid, artifact_uri, experiment_id) VALUES (?, ?, 0)"
MODEL = (
    "INSERT INTO logged_models (model_id, experiment_id, name, artifact_location,"
    " creation_timestamp_ms, last_updated_timestamp_ms, status) VALUES (?, 0, 'm', ?, 0, 0, 2)"
)


def test_a_folder_stays_that_a_row_names_as_a_path_as_a_uri_or_in_an_odd_spelling(
    template: Path, tmp_path: Path
) -> None:
    path, base = tmp_path / "store.db", tmp_path / "base"
    shutil.copyfile(template, path)
    names = ["path", "uri ü", "model", "model uri", "odd", "old"]
    places = {name: tmp_path / "files" / name for name in names}
    for place in places.values():
        place.mkdir(parents=True)
    odd = f"{tmp_path}//files/odd/"
    with closing(sqlite3.connect(path)) as database, database:
        uris = str(places["path"]), places["uri ü"].as_uri(), odd
        database.executemany(RUN, [(str(number), uri) for number, uri in enumerate(uris)])
        uris = str(places["model"]), places["model uri"].as_uri()
        database.executemany(MODEL, [(str(number), uri) for number, uri in enumerate(uris)])
    (base / "chunk").mkdir(parents=True)
    listed = [odd if name == "odd" else str(place) for name, place in places.items()]
    lines = "".join(json.dumps(each) + "\n" for each in listed)
    (base / "chunk" / journal.NAME).write_text(lines)
    with Database(path, owned=True).session() as session:
        journal.sweep(session, base)
    assert sorted(place.name for place in places["old"].parent.iterdir()) == sorted(names[:-1])
    assert not base.exists()


def test_a_journal_stays_while_a_folder_is_there_that_it_lists(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, base, old = tmp_path / "store.db", tmp_path / "base", tmp_path / "files" / "old"
    shutil.copyfile(template, path)
    for folder in (base / "chunk", old):
        folder.mkdir(parents=True)
    (base / "chunk" / journal.NAME).write_text(json.dumps(str(old)) + "\n")
    with Database(path, owned=True).session() as session:
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", lambda *arguments, **named: None)
            journal.sweep(session, base)
        assert (base / "chunk" / journal.NAME).exists()
        journal.sweep(session, base)
    assert not old.exists() and not base.exists()


def test_a_journal_on_a_full_disk_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal.os, "write", full)
    with pytest.raises(ConfigError, match=r"journal: cannot be written \(No space left"):
        journal.Journal(tmp_path / "chunk").add("x")
