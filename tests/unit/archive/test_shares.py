"""Runs whose points several writers take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from unit.archive.archives import everything, files_of, key, reader, referred, runs, tables, writer
from unit.audit.sealed import made, problems, sealed
from unit.audit.test_hostile import forged

from trackbridge.adapter import Batch, Query
from trackbridge.errors import IntegrityError, TransientError
from trackbridge.testing.dividing import adopt, points
from trackbridge.testing.made import MadeRun, fitted, store


def put(place: Path, run: MadeRun, first: int, last: int) -> str:
    return writer(place).put_points(run.key, points(writer(place), run, first, last))


def finish(place: Path, run: MadeRun, *tokens: str) -> None:
    store_ = writer(place)
    with store_.open([run.key]) as sink:
        for token in tokens:
            adopt(sink, token)
        for batch in fitted(store_, sink, [run]):
            if batch.table != "metrics":
                sink.write(batch)
        sink.commit()


def shares(place: Path) -> set[str]:
    return {path for path in files_of(place) if path.startswith("data/metrics/")}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def test_a_divided_run_is_a_dataset_like_any_other(place: Path) -> None:
    (run,) = runs("a")
    finish(place, run, put(place, run, 0, 2), put(place, run, 2, 5))
    assert len(shares(place)) == 2
    found = pd.read_parquet(place / "data/metrics")
    assert sorted(found.value) == sorted(point["value"] for point in run.tables["metrics"])


def test_the_order_of_parts_changes_the_commit_alone_and_not_what_is_read(tmp_path: Path) -> None:
    (run,) = runs("a")
    here, there = tmp_path / "here", tmp_path / "there"
    first, second = put(here, run, 0, 2), put(here, run, 2, 5)
    finish(here, run, first, second)
    second, first = put(there, run, 2, 5), put(there, run, 0, 2)
    finish(there, run, first, second)
    assert everything(here) == everything(there)
    assert {p: (here / p).read_bytes() for p in tables(here)} == {
        p: (there / p).read_bytes() for p in tables(there)
    }


def test_a_run_that_is_written_again_keeps_the_files_that_have_not_changed(place: Path) -> None:
    (run,), (other,) = runs("a"), runs("a")
    finish(place, run, put(place, run, 0, 2), put(place, run, 2, 5))
    other.tables["metrics"] = [
        *run.tables["metrics"][:2],
        *runs("a", loss=9)[0].tables["metrics"][2:],
    ]
    before = shares(place)
    finish(place, other, put(place, other, 0, 2), put(place, other, 2, 5))
    assert len(before & shares(place)) == 1 and len(shares(place)) == 2
    assert tables(place) == referred(place)
    assert sum(1 for _ in everything(place)) and reader(place)


def test_what_replaces_a_divided_run_takes_its_files_out(place: Path) -> None:
    (run,) = runs("a")
    finish(place, run, put(place, run, 0, 2), put(place, run, 2, 5))
    store(writer(place), runs("ab", loss=9))
    assert tables(place) == referred(place)


def test_sealed_parts_stay_when_the_run_is_replaced(place: Path, tmp_path: Path) -> None:
    (run,) = runs("a")
    finish(place, run, put(place, run, 0, 2), put(place, run, 2, 5))
    sealed(place, made(tmp_path))
    before = shares(place)
    assert not problems(place)
    finish(place, run, put(place, run, 0, 2), put(place, run, 2, 4), put(place, run, 4, 5))
    assert before <= shares(place)
    store(writer(place), runs("a", loss=9))
    assert before <= shares(place)


def test_parts_that_nobody_took_are_no_tables_and_are_swept(place: Path) -> None:
    (run,) = runs("a")
    put(place, run, 0, 2)
    store(writer(place), runs("b"))
    assert tables(place) - referred(place) == {p for p in files_of(place) if "data/shares/" in p}
    writer(place).sweep()
    assert tables(place) == referred(place)


def test_a_part_is_brought_once_though_two_take_it(place: Path) -> None:
    (run,) = runs("a")
    tokens = put(place, run, 0, 2), put(place, run, 2, 5)
    finish(place, run, *tokens)
    finish(place, run, *tokens)
    assert tables(place) == referred(place)


def test_a_damaged_part_is_named_and_makes_another_fingerprint(place: Path) -> None:
    (run,) = runs("a")
    finish(place, run, put(place, run, 0, 2), put(place, run, 2, 5))
    (before,) = everything(place)[0]
    victim = place / min(shares(place))
    victim.write_bytes(victim.read_bytes()[:-1])
    (after,) = reader(place).list_runs(Query())
    assert after.fingerprint != before.fingerprint
    with pytest.raises(IntegrityError, match=victim.name):
        list(reader(place).read_runs([before.ref], ["metrics"]))


def test_a_part_that_was_taken_out_meanwhile_is_noticed(place: Path) -> None:
    (run,) = runs("a")
    tokens = put(place, run, 0, 2), put(place, run, 2, 5)
    next((place / "data/shares").iterdir()).unlink()
    with pytest.raises(TransientError, match="taken out"):
        finish(place, run, *tokens)
    assert list(reader(place).list_runs(Query())) == []


@pytest.mark.parametrize(
    "share",
    [None, {}, {"rows": 1, "size": 1, "sha256": "../../../etc/passwd"}, {"rows": "1"}, 7],
)
def test_a_forged_commit_is_one_clear_error(place: Path, share: Any) -> None:
    (run,) = runs("a")
    finish(place, run, put(place, run, 0, 5))
    forged(place, lambda document: document.update(shares=[share]))
    with pytest.raises(IntegrityError, match="damaged"):
        list(reader(place).list_runs(Query()))


def test_an_error_while_a_part_is_written_leaves_nothing(place: Path) -> None:
    def failing() -> Iterator[Batch]:
        yield from points(writer(place), runs("a")[0], 0, 2)
        raise TransientError("gone")

    with pytest.raises(TransientError):
        writer(place).put_points(key("a"), failing())
    assert not shares(place) and not [p for p in files_of(place) if "scratch" in p]


def test_pieces_of_a_run_that_was_replaced_have_no_points(place: Path) -> None:
    (run,), (other,) = runs("a"), runs("a", loss=9)
    finish(place, run, put(place, run, 0, 2), put(place, run, 2, 5))
    archive = reader(place)
    (info,) = archive.list_runs(Query())
    pieces = archive.split(info, 1)
    assert len(pieces) == 2
    finish(place, other, put(place, other, 0, 5))
    assert not [batch for piece in pieces for batch in archive.read_piece(info.ref, piece)]
