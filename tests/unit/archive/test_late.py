"""Writers that were taken for lost, and go on when others have done their work."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.archive.archives import contents, referred, runs, tables, write, writer
from unit.archive.test_shares import adopt, put

from trackbridge.errors import IntegrityError, TransientError
from trackbridge.folder import LocalFolder
from trackbridge.testing.made import MadeRun, fitted


def late(place: Path, run: MadeRun, meanwhile: Callable[[], Any], *tokens: str) -> None:
    """Write a run; right before the commit others do something."""
    store = writer(place)
    with store.open([run.key]) as sink:
        for token in tokens:
            adopt(sink, token)
        for batch in fitted(store, sink, [run]):
            if not (tokens and batch.table == "metrics"):
                sink.write(batch)
        meanwhile()
        sink.commit()


def test_an_older_state_does_not_take_the_place_of_a_newer_one(tmp_path: Path) -> None:
    (old,), new = runs("a", loss=1.0), runs("a", loss=2.0)
    write(tmp_path, [old])
    with pytest.raises(TransientError, match="by another one meanwhile"):
        late(tmp_path, old, lambda: write(tmp_path, new))
    assert contents(tmp_path) == {"a": 2.0}
    assert tables(tmp_path) == referred(tmp_path)


def test_points_that_were_read_before_are_not_committed_over_newer_ones(tmp_path: Path) -> None:
    (old,), new = runs("a", loss=1.0), runs("a", loss=2.0)
    tokens = put(tmp_path, old, 0, 2), put(tmp_path, old, 2, 5)
    with pytest.raises(IntegrityError, match="by another one meanwhile"):
        late(tmp_path, old, lambda: write(tmp_path, new), *tokens)
    assert contents(tmp_path) == {"a": 2.0}


def test_whoever_comes_late_with_the_same_leaves_what_is_there(tmp_path: Path) -> None:
    (run,) = runs("a")
    late(tmp_path, run, lambda: write(tmp_path, [run]))
    assert contents(tmp_path) == {"a": 0.5}
    assert tables(tmp_path) == referred(tmp_path)


@pytest.mark.parametrize("published", [1, 3])
def test_what_is_committed_is_not_altered_by_whoever_was_amid_the_same_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: int
) -> None:
    (old,), new = runs("a", loss=1.0), runs("a", loss=2.0)
    publish, before = LocalFolder.publish, {}
    amid = itertools.count(1)

    def stopped(folder: LocalFolder, local: Path, path: str) -> None:
        publish(folder, local, path)
        if path.endswith(".parquet") and next(amid) == published:
            write(tmp_path, new)
            before.update({p: (tmp_path / p).read_bytes() for p in referred(tmp_path)})

    monkeypatch.setattr(LocalFolder, "publish", stopped)
    with pytest.raises(TransientError, match="by another one meanwhile"):
        late(tmp_path, old, lambda: None)
    assert before == {p: (tmp_path / p).read_bytes() for p in referred(tmp_path)}
    assert contents(tmp_path) == {"a": 2.0}
