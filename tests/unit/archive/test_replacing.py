"""Runs are written again: never lost, never doubled, whatever moment the writer dies at."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from shutil import copytree

import pytest
from unit.archive.archives import (
    contents,
    everything,
    files_of,
    key,
    referred,
    runs,
    tables,
    write,
    writer,
)
from unit.archive.killing import Killed, killed_at

from trackbridge import folder
from trackbridge.adapter import Query, RunRef
from trackbridge.errors import IntegrityError, TransientError
from trackbridge.testing import samples
from trackbridge.testing.made import deliver, store


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test takes the power away: syncing would only take time."""
    monkeypatch.setattr(folder.os, "fsync", lambda handle: None)


def test_a_kill_at_any_moment_leaves_old_or_new_runs_and_the_next_call_repairs(
    tmp_path: Path,
) -> None:
    before = tmp_path / "before"
    write(before, runs("abc", 1.0))
    write(before, runs("def", 1.0))
    for moment in range(200):
        place = copytree(before, tmp_path / str(moment))
        with killed_at(moment) as died:
            with suppress(Killed):
                write(place, runs("cd", 2.0))
            if not died():
                break
        found = contents(place)
        assert found.keys() == set("abcdef")
        assert {found[name] for name in "abef"} == {1.0}
        assert (found["c"], found["d"]) in ((1.0, 1.0), (2.0, 2.0)), "not all or none"
        write(place, runs("cd", 2.0))
        assert contents(place) == {**dict.fromkeys("abef", 1.0), "c": 2.0, "d": 2.0}
        assert tables(place) == referred(place), "something is left over"
    assert moment > 20, "too few moments: is anything intercepted?"


def test_a_kill_in_the_first_chunk_leaves_nothing_or_all_and_no_trace_after_the_next(
    tmp_path: Path,
) -> None:
    rich = samples.everything()
    rich.key = key("a")
    for moment in range(200):
        place = tmp_path / str(moment)
        with killed_at(moment) as died:
            with suppress(Killed):
                write(place, [rich])
            if not died():
                break
        write(place, runs("a", 2.0))
        assert contents(place) == {"a": 2.0}
        assert tables(place) == referred(place)


def test_another_writer_may_go_on_where_one_was_killed(tmp_path: Path) -> None:
    before = tmp_path / "before"
    write(before, runs("abcd", 1.0))
    for moment in range(200):
        place = copytree(before, tmp_path / str(moment))
        with killed_at(moment) as died:
            with suppress(Killed):
                write(place, runs("a", 2.0))
            if not died():
                break
        write(place, runs("b", 2.0))
        write(place, runs("a", 3.0))
        assert contents(place) == {"a": 3.0, "b": 2.0, "c": 1.0, "d": 1.0}
        write(place, runs("bcd", 3.0))
        assert contents(place) == dict.fromkeys("abcd", 3.0)
        writer(place).sweep()
        assert contents(place) == dict.fromkeys("abcd", 3.0)
        assert tables(place) == referred(place)


def test_a_kill_while_shared_rows_are_replaced_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    for moment in range(200):
        place = tmp_path / str(moment)
        for names in ("old", "new"):
            with killed_at(moment if names == "new" else -1) as died:
                with suppress(Killed):
                    _write_shared(place, names)
                gone = died()
        assert _shared(place) in (["old"], ["new"])
        _write_shared(place, "newer")
        assert _shared(place) == ["newer"]
        writer(place).sweep()
        assert tables(place) == referred(place)
        if not gone:
            break


def _write_shared(place: Path, title: str) -> None:
    from trackbridge.columns import batches

    report = {"project": "vision", "report_id": "r", "title": title, "definition": "{}"}
    with writer(place).open([]) as sink:
        for batch in batches("reports", [report]):
            sink.write(batch)
        sink.commit()


def _shared(place: Path) -> list[str]:
    found = writer(place).read_shared(Query())
    return [row["title"] for batch in found for row in batch.data.to_pylist()]


def test_chunks_written_at_the_same_time_may_replace_runs_of_one_chunk(tmp_path: Path) -> None:
    write(tmp_path, runs("abc", 1.0))
    first, second = writer(tmp_path), writer(tmp_path)
    with first.open([key("a")]) as one, second.open([key("b")]) as two:
        deliver(first, one, runs("a", 2.0))
        deliver(second, two, runs("b", 2.0))
        two.commit()
        one.commit()
    assert contents(tmp_path) == {"a": 2.0, "b": 2.0, "c": 1.0}
    assert tables(tmp_path) == referred(tmp_path)


def test_the_same_runs_written_at_the_same_time_are_there_once(tmp_path: Path) -> None:
    first, second = writer(tmp_path), writer(tmp_path)
    with first.open([key("a")]) as one, second.open([key("a"), key("b")]) as two:
        deliver(first, one, runs("a", 1.0))
        deliver(second, two, runs("ab", 2.0))
        one.commit()
        with pytest.raises(TransientError, match="meanwhile"):  # which is newer, nobody knows
            two.commit()
    assert contents(tmp_path) == {"a": 1.0}
    store(second, runs("ab", 2.0))
    assert contents(tmp_path) == {"a": 2.0, "b": 2.0}
    assert tables(tmp_path) == referred(tmp_path)


def test_a_reader_that_was_there_before_sees_what_was_committed_since(tmp_path: Path) -> None:
    write(tmp_path, runs("a", 1.0))
    early = writer(tmp_path)
    assert len(list(early.list_runs(Query()))) == 1
    write(tmp_path, runs("ab", 2.0))
    assert len(list(early.list_runs(Query()))) == 2
    rows = [
        r for b in early.read_runs([RunRef("vision", "a")], ["metrics"]) for r in b.data.to_pylist()
    ]
    assert rows[0]["value"] == 2.0


def test_a_reading_that_is_overtaken_by_a_writer_can_be_tried_again(tmp_path: Path) -> None:
    write(tmp_path, runs("a", 1.0))
    early = writer(tmp_path)
    reading = early.read_runs([RunRef("vision", "a")])
    next(reading)
    write(tmp_path, runs("a", 2.0))
    with pytest.raises(TransientError, match="changed while it was read"):
        list(reading)
    assert list(early.read_runs([RunRef("vision", "a")]))


def test_the_order_and_company_of_keys_do_not_change_the_bytes(tmp_path: Path) -> None:
    for place, orders in ((tmp_path / "1", ("abc", "de")), (tmp_path / "2", ("de", "abc"))):
        for names in orders:
            write(place, runs(names))
    assert files_of(tmp_path / "1") == files_of(tmp_path / "2")
    for path in files_of(tmp_path / "1"):
        assert (tmp_path / "1" / path).read_bytes() == (tmp_path / "2" / path).read_bytes()


def test_equal_contents_lie_in_the_archive_once(tmp_path: Path) -> None:
    one, two = samples.simple("a"), samples.simple("b")
    for run in (one, two):
        run.add_file("", "weights.bin", b"the same")
    store(writer(tmp_path), [one])
    (content,) = [p for p in tmp_path.glob("data/bytes/*/*") if p.read_bytes() == b"the same"]
    before = content.stat().st_mtime_ns, content.stat().st_ino
    store(writer(tmp_path), [two])
    assert (content.stat().st_mtime_ns, content.stat().st_ino) == before, "written again"


def test_rows_of_a_run_that_was_not_opened_are_refused(tmp_path: Path) -> None:
    write(tmp_path, runs("a"))
    target = writer(tmp_path)
    with (
        pytest.raises(IntegrityError, match="not opened"),
        target.open([key("b")]) as sink,
    ):
        deliver(target, sink, runs("ab"))
        sink.commit()
    assert contents(tmp_path) == {"a": 0.5}


def test_a_run_without_its_row_is_refused(tmp_path: Path) -> None:
    target = writer(tmp_path)
    with (
        pytest.raises(IntegrityError, match="row in the table runs"),
        target.open([key("a")]) as sink,
    ):
        sink.commit()


def test_many_writers_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    """Each of them replaces runs of chunks that others replace runs of at the same time."""
    names = [f"{number:02}" for number in range(12)]
    store(writer(tmp_path), [samples.simple(name) for name in names])

    def replace(worker: int) -> None:
        for turn in range(3):
            own = [name for name in names if int(name) % 4 == worker]
            store(writer(tmp_path), [samples.simple(name, loss=turn + 1.0) for name in own[turn:]])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(replace, range(4)))
    expected = {name: 1.0 + int(name) // 4 for name in names}
    assert contents(tmp_path) == expected
    writer(tmp_path).sweep()
    assert contents(tmp_path) == expected
    assert tables(tmp_path) == referred(tmp_path)


def test_two_writers_of_the_same_runs_at_a_time_are_in_nobodys_way(tmp_path: Path) -> None:
    made = [*runs("ab"), samples.everything()]
    store(writer(tmp_path / "alone"), made)
    place = tmp_path / "both"
    slow, quick = writer(place), writer(place)
    with slow.open([run.key for run in made]) as sink:
        deliver(slow, sink, made)
        store(quick, made)
        before = files_of(place)
        sink.commit()
    assert files_of(place) - {p for p in before if ".incoming-" in p} == files_of(
        tmp_path / "alone"
    )
    assert everything(place) == everything(tmp_path / "alone")


def test_the_same_runs_are_written_again_where_the_first_are_damaged(tmp_path: Path) -> None:
    write(tmp_path, runs("ab"))
    (part,) = tmp_path.glob("data/metrics/*.parquet")
    part.write_bytes(part.read_bytes()[::-1])
    write(tmp_path, runs("ab"))
    assert contents(tmp_path) == {"a": 0.5, "b": 0.5}
