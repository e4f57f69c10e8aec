"""A migration ends with every run proven, or says which one is not and why."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pytest
from unit.core.faults import Faults
from unit.core.samples import POOR, moment, points, sample
from unit.core.stores import NOTHING_CHANGES, edit, native, peek, seed, stores

import trackbridge
from trackbridge import plan
from trackbridge.adapter import Batch, FileRef, Query, RunInfo, RunKey, RunRef
from trackbridge.engine import Failure, Report
from trackbridge.errors import (
    BridgeError,
    ConfigError,
    IntegrityError,
    NotFoundError,
    TransientError,
)
from trackbridge.sorting import starts_alike
from trackbridge_adapters import memory

RUNS = ["run1", "run2", "run3"]
LOST = "run p/run1: lost.bin: its bytes are missing, though it is listed"


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    """A store with three runs, and an empty one that cannot hold all of them natively."""
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, [sample(name) for name in RUNS])
        yield home, away


def migrate(home: str, away: str, query: Query = Query(), **options: Any) -> Report:  # noqa: B008
    return trackbridge.migrate(f"memory:{home}", f"memory:{away}", query, **options)


def counts(report: Report) -> tuple[int, int, int, int]:
    return report.copied, report.updated, report.skipped, len(report.failures)


def receipts(state: Path) -> list[Path]:
    return sorted(state.rglob("*.json"))


def test_runs_are_copied_once_and_skipped_afterwards(pair: tuple[str, str], state: Path) -> None:
    assert counts(migrate(*pair)) == (3, 0, 0, 0)
    before = dict(memory.STORES[pair[1]].runs)
    again = migrate(*pair)
    assert counts(again) == (0, 0, 3, 0)
    assert again.verified
    assert again.points == 0
    assert {ref: run.fingerprint for ref, run in memory.STORES[pair[1]].runs.items()} == {
        ref: run.fingerprint for ref, run in before.items()
    }


def test_a_report_counts_what_was_moved(pair: tuple[str, str]) -> None:
    report = migrate(*pair)
    assert report.total == 3
    assert report.points == 3 * 15
    assert (report.files, report.size) == (3 * 2, 3 * (4 + 256))
    assert report.seconds > 0


def test_runs_without_receipts_are_proven_and_not_copied_again(
    pair: tuple[str, str], state: Path
) -> None:
    migrate(*pair)
    before = {ref: run.fingerprint for ref, run in memory.STORES[pair[1]].runs.items()}
    for path in receipts(state):
        path.unlink()
    assert counts(migrate(*pair)) == (0, 0, 3, 0)
    assert {ref: run.fingerprint for ref, run in memory.STORES[pair[1]].runs.items()} == before
    assert receipts(state)


def test_runs_without_receipts_that_are_not_right_are_written_again(
    pair: tuple[str, str], state: Path
) -> None:
    home, away = pair
    migrate(home, away)
    for path in receipts(state):
        path.unlink()
    edit(away, "tags", [{"key": "team", "value": "red"}], RunKey("x", "", "p", "run2"))
    assert counts(migrate(home, away)) == (0, 1, 2, 0)
    assert trackbridge.verify(f"memory:{home}", f"memory:{away}").holds


def test_a_run_that_was_changed_in_the_target_since_is_named_and_left_as_it_is(
    pair: tuple[str, str],
) -> None:
    home, away = pair
    migrate(home, away)
    edit(away, "tags", [{"key": "team", "value": "red"}], RunKey("x", "", "p", "run2"))
    before = peek(away)
    report = migrate(home, away)
    assert counts(report) == (0, 0, 2, 1)
    assert not report.verified
    [failure] = report.failures
    assert failure.run == "p/x//p/run2"
    assert "was changed in the target after it was proven (run p/x//p/run2: tags" in failure.error
    assert peek(away) == before


def test_a_run_that_was_changed_in_the_target_and_at_the_source_is_replaced_and_named(
    pair: tuple[str, str],
) -> None:
    home, away = pair
    migrate(home, away)
    for run in memory.STORES[away].runs.values():
        run.fingerprint = "touched"  # which is no edit
    edit(away, "tags", [{"key": "team", "value": "red"}], RunKey("x", "", "p", "run2"))
    for name in ("run1", "run2"):
        edit(home, "tags", [{"key": "state", "value": "new"}], RunKey("x", "", "p", name))
    report = migrate(home, away)
    assert report.verified
    [loss] = [loss for loss in report.losses if loss.kind.startswith("edits of")]
    assert (loss.kind, loss.count) == ("edits of runs in the target undone", 1)
    assert loss.example == "p/x//p/run2"
    assert not [loss for loss in migrate(home, away).losses if loss.kind.startswith("edits of")]


def test_a_run_that_was_touched_but_not_changed_is_proven_again(
    pair: tuple[str, str], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, away = pair
    migrate(home, away)
    for run in memory.STORES[away].runs.values():
        run.fingerprint = "another"
    assert counts(migrate(home, away)) == (0, 0, 3, 0)
    assert all("another" in path.read_text() for path in receipts(state))
    monkeypatch.setattr("trackbridge.engine.compare_apart", None)  # once is enough
    assert counts(migrate(home, away)) == (0, 0, 3, 0)


def test_a_run_that_was_changed_in_the_target_stays_so_however_often_it_is_asked_for(
    pair: tuple[str, str],
) -> None:
    home, away = pair
    migrate(home, away)
    for run in memory.STORES[away].runs.values():
        run.fingerprint = "another"
    edit(away, "tags", [{"key": "team", "value": "red"}], RunKey("x", "", "p", "run2"))
    before = peek(away)
    for _ in range(3):
        assert counts(migrate(home, away)) == (0, 0, 2, 1)
        assert peek(away) == before


def test_a_run_that_is_as_it_was_before_is_brought_up_to_date(pair: tuple[str, str]) -> None:
    home, away = pair
    key = RunKey("x", "", "p", "run2")
    for value in ("draft", "final", "draft"):
        edit(home, "tags", [{"key": "state", "value": value}], key)
        run = next(run for run in memory.STORES[home].runs.values() if run.key == key)
        run.fingerprint = value
        assert migrate(home, away).verified
        assert trackbridge.verify(f"memory:{home}", f"memory:{away}").holds


def test_another_run_of_the_same_id_is_not_taken_for_a_new_state() -> None:
    late = [{"name": "n", "status": "finished", "started": moment(90_000_000)}]
    with stores(NOTHING_CHANGES, NOTHING_CHANGES, POOR) as (one, other, away):
        seed(one, [sample()])
        seed(other, [sample(runs=late)])
        assert migrate(one, away).verified
        before = peek(away)
        report = migrate(other, away)
        assert counts(report) == (0, 0, 0, 1)
        assert "another run of this project and id" in report.failures[0].error
        assert "take a target of its own for this one" in report.failures[0].error
        assert peek(away) == before


@pytest.mark.parametrize(
    ("here", "there", "alike"),
    [
        (90_700_000, 90_700_000, True),
        (90_700_000, 90_000_000, True),  # a store that keeps seconds, or a server that says none
        (90_700_123, 90_700_000, True),  # milliseconds
        (90_000_000, 90_700_123, True),
        (90_700_123, 91_100_456, False),
        (90_700_123, 91_100_000, False),
        (90_700_123, 90_702_000, False),
        (90_700_123, 92_000_000, False),
        (90_700_123, 90_700_124, False),
    ],
)
def test_runs_began_together_if_their_starts_are_alike(here: int, there: int, alike: bool) -> None:
    one, other = (
        RunInfo(RunRef("p", "run1"), RunKey("toy", "", "p", "run1"), "", started=moment(micros))
        for micros in (here, there)
    )
    assert starts_alike(one, other, exactly=True) is alike
    assert starts_alike(one, other) is (abs(here - there) < 1_000_000)


def test_a_run_whose_project_was_renamed_is_not_there_twice() -> None:
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, [sample()])
        assert migrate(home, away).verified
        memory.create(home, NOTHING_CHANGES)
        renamed = sample()
        seed(home, [replace(renamed, key=renamed.key._replace(project="renamed"))])
        report = migrate(home, away)
        assert counts(report) == (0, 0, 0, 1)
        assert "its project was renamed" in report.failures[0].error
        assert len(memory.STORES[away].runs) == 1


def test_runs_of_one_id_in_two_projects_are_two_though_they_begin_together() -> None:
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        first = sample()
        second = replace(sample(), key=first.key._replace(project="other"))
        seed(home, [first])
        assert migrate(home, away).verified
        seed(home, [second])
        assert counts(migrate(home, away)) == (1, 0, 1, 0)


def test_a_damaged_sidecar_is_written_again(pair: tuple[str, str], state: Path) -> None:
    home, away = pair
    migrate(home, away)
    for path in receipts(state):
        path.unlink()
    files = memory.STORES[away].files
    broken = next(file for file in files if file.path == "trackbridge/sidecar.zip")
    files[broken] = files[broken][:-9]
    assert counts(migrate(home, away)) == (0, 1, 2, 0)
    assert trackbridge.verify(f"memory:{home}", f"memory:{away}").holds


@pytest.mark.parametrize("content", ["", "{", '{"runs": 5}', "[]", '{"runs": [{"key": "x"}]}'])
def test_torn_receipts_count_as_none(pair: tuple[str, str], state: Path, content: str) -> None:
    migrate(*pair)
    for path in receipts(state):
        path.write_text(content)
    assert counts(migrate(*pair)) == (0, 0, 3, 0)


def test_runs_that_are_gone_from_the_target_are_copied_again(pair: tuple[str, str]) -> None:
    home, away = pair
    migrate(home, away)
    memory.STORES[away].runs.pop(next(iter(memory.STORES[away].runs)))
    assert counts(migrate(home, away)) == (1, 0, 2, 0)
    memory.create(away, POOR)
    assert counts(migrate(home, away)) == (3, 0, 0, 0)


def test_a_run_that_has_gone_on_is_brought_up_to_date(pair: tuple[str, str]) -> None:
    home, away = pair
    migrate(home, away)
    key = RunKey("x", "", "p", "run2")
    edit(home, "metrics", points("loss", 9), key)
    report = migrate(home, away)
    assert counts(report) == (0, 1, 2, 0)
    assert report.points == 9
    assert trackbridge.verify(f"memory:{home}", f"memory:{away}").holds
    assert len(memory.STORES[away].runs) == 3


def test_receipts_of_another_target_do_not_count(pair: tuple[str, str]) -> None:
    home, away = pair
    migrate(home, away)
    with stores(POOR) as (other,):
        assert counts(migrate(home, other)) == (3, 0, 0, 0)


def test_only_the_runs_that_are_meant_are_moved(pair: tuple[str, str]) -> None:
    home, away = pair
    there = memory.STORES[home].runs.items()
    (wanted,) = (ref.run_id for ref, run in there if run.key.run_id == "run2")
    assert counts(migrate(home, away, Query(run_ids=[wanted]))) == (1, 0, 0, 0)
    assert [run.key.run_id for run in memory.STORES[away].runs.values()] == ["run2"]
    assert counts(migrate(home, away)) == (2, 0, 1, 0)


@pytest.mark.parametrize(
    "query", [Query(projects=["nope"]), Query(run_ids=["nope"]), Query(projects=["p", "nope"])]
)
def test_a_project_or_run_that_is_named_in_vain_is_an_error(
    pair: tuple[str, str], query: Query
) -> None:
    home, away = pair
    with pytest.raises(NotFoundError, match=r"no (project|run) 'nope'.*`trackbridge ls`"):
        migrate(home, away, query)
    with pytest.raises(NotFoundError, match="nope"):
        trackbridge.verify(f"memory:{home}", f"memory:{away}", query)
    assert not memory.STORES[away].runs


def test_a_time_that_no_run_started_after_means_no_run(pair: tuple[str, str]) -> None:
    later = Query(since=datetime.now(timezone.utc) + timedelta(days=9_000))
    report = migrate(*pair, later)
    assert report.total == 0
    assert report.verified


def test_a_store_is_not_migrated_into_itself(pair: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="source and target are the same store"):
        migrate(pair[0], pair[0])


def test_runs_of_equal_names_from_two_instances_are_kept_apart() -> None:
    with stores(NOTHING_CHANGES, POOR, NOTHING_CHANGES) as (home, away, back):
        twins = [
            sample("run1", instance=host, metrics=points("loss", value=float(n)))
            for n, host in enumerate(["a", "b", "c"])
        ]
        seed(home, twins)
        assert counts(migrate(home, away)) == (3, 0, 0, 0)
        assert trackbridge.verify(f"memory:{home}", f"memory:{away}").holds
        assert counts(migrate(away, back)) == (3, 0, 0, 0)
        assert peek(back) == peek(home)


def test_one_store_collects_the_runs_of_several(pair: tuple[str, str]) -> None:
    home, away = pair
    with stores(NOTHING_CHANGES) as (other,):
        seed(other, [sample("run1", instance="elsewhere"), sample("run9")])
        assert counts(migrate(home, away)) == (3, 0, 0, 0)
        assert counts(migrate(other, away)) == (2, 0, 0, 0)
        for source in (home, other):
            assert trackbridge.verify(f"memory:{source}", f"memory:{away}").holds


# Faults


@pytest.fixture
def faulty(pair: tuple[str, str]) -> tuple[str, str]:
    """The addresses of a faulty source and a sound target."""
    return f"faulty:{pair[0]}", f"memory:{pair[1]}"


def _only(run_id: str, error: Exception) -> Any:
    def fault(what: Any) -> None:
        refs = what if isinstance(what, (list, tuple)) and not hasattr(what, "run") else [what.run]
        if any(ref.run_id.endswith(run_id) for ref in refs):
            raise error

    return fault


@pytest.mark.parametrize("method", ["read_runs", "open_file"])
def test_one_run_that_fails_does_not_stop_the_others(
    faulty: tuple[str, str], wrong: Faults, method: str
) -> None:
    wrong.of[method] = _only("run2", IntegrityError("its file is torn"))
    report = trackbridge.migrate(*faulty)
    assert counts(report) == (2, 0, 0, 1)
    assert not report.verified
    assert report.failures == [Failure("p/x//p/run2", "its file is torn")]
    del wrong.of[method]
    assert counts(trackbridge.migrate(*faulty)) == (1, 0, 2, 0)


def test_one_run_that_the_target_refuses_does_not_stop_the_others(
    pair: tuple[str, str], wrong: Faults
) -> None:
    wrong.of["open"] = lambda keys: _refuse([key.run_id for key in keys])
    report = trackbridge.migrate(f"memory:{pair[0]}", f"faulty:{pair[1]}")
    assert counts(report) == (2, 0, 0, 1)
    assert report.failures == [Failure("p/x//p/run3", "taken by another run")]


def _refuse(run_ids: list[str]) -> None:
    if "run3" in run_ids:
        raise IntegrityError("taken by another run")


def test_a_run_that_did_not_arrive_as_promised_fails_and_gets_no_receipt(
    pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client may report success while it loses data: only reading back can tell."""
    home, away = pair
    write = memory.MemorySink.write

    def lossy(self: memory.MemorySink, batch: Batch) -> None:
        if batch.table == "metrics":
            batch = Batch(batch.table, batch.data.slice(1))
        write(self, batch)

    monkeypatch.setattr(memory.MemorySink, "write", lossy)
    report = migrate(home, away)
    assert report.copied < 3
    assert not report.verified
    assert "read back from the target, it is not what was written: metrics" in (
        report.failures[0].error
    )
    monkeypatch.undo()
    assert migrate(home, away).verified
    assert trackbridge.verify(f"memory:{home}", f"memory:{away}").holds


def test_what_stands_in_for_a_value_has_to_arrive_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its sidecar such a run is whole, but its users would see nothing of it."""
    write = memory.MemorySink.write

    def without_infinities(self: memory.MemorySink, batch: Batch) -> None:
        if batch.table == "metrics":
            finite = pa.compute.less(batch.data.column("value"), 1e300)
            batch = Batch(batch.table, batch.data.filter(finite))
        write(self, batch)

    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, [sample(metrics=[*points("a"), *points("b", value=float("inf"))])])
        monkeypatch.setattr(memory.MemorySink, "write", without_infinities)
        (failure,) = trackbridge.migrate(f"memory:{home}", f"memory:{away}").failures
        assert failure.error == (
            "read back from the target, it is not what was written: metrics 'b'"
        )


READING = ("list_runs", "read_runs", "read_shared", "open_file")
WRITING = ("open", "write", "put_file", "commit")


@pytest.mark.parametrize(
    ("side", "method"),
    [*(("source", name) for name in READING), *(("target", name) for name in READING + WRITING)],
)
def test_faults_that_pass_are_waited_for(
    pair: tuple[str, str], wrong: Faults, waits: list[float], side: str, method: str
) -> None:
    home, away = pair
    source = f"{'faulty' if side == 'source' else 'memory'}:{home}"
    target = f"{'faulty' if side == 'target' else 'memory'}:{away}"
    seed(home, [], {"projects": [{"project": "p", "notes": "shared"}]})
    wrong.first(method, TransientError("429"), TransientError("503", retry_after=7))
    report = trackbridge.migrate(source, target)
    assert counts(report) == (3, 0, 0, 0)
    assert report.verified
    assert len(waits) == 2
    assert waits[1] == 7
    wrong.first(method, TransientError("429"))
    assert trackbridge.verify(source, target).holds


MANY = [f"many{number:02}" for number in range(30)]


def test_a_fault_that_does_not_pass_fails_the_chunk_after_some_attempts(
    pair: tuple[str, str], wrong: Faults, waits: list[float]
) -> None:
    home, away = pair
    seed(home, [sample(name) for name in MANY])

    def down() -> None:
        raise TransientError("the server is down")

    wrong.of["commit"] = down
    report = trackbridge.migrate(f"memory:{home}", f"faulty:{away}")
    assert counts(report) == (0, 0, 0, 33)
    assert {failure.error for failure in report.failures} == {"the server is down"}
    assert wrong.calls["commit"] <= 6 + 3 * 2, "a dead server is not asked for every run"
    assert not memory.STORES[away].runs


def test_what_a_server_never_gives_holds_up_its_own_run_alone(
    pair: tuple[str, str], wrong: Faults, waits: list[float]
) -> None:
    home, away = pair
    seed(home, [sample(name) for name in MANY])
    bad = {"many00", "many01", "many17", "run3"}

    def broken(refs: Sequence[RunRef], *tables: Any) -> None:
        for name in sorted(bad & {ref.run_id.rpartition("/")[2] for ref in refs}):
            raise TransientError(f"{name}: answered 500")

    wrong.of["read_runs"] = broken
    report = trackbridge.migrate(f"faulty:{home}", f"memory:{away}")
    assert counts(report) == (29, 0, 0, 4)
    assert {failure.error for failure in report.failures} == {
        f"{name}: answered 500" for name in bad
    }


@pytest.mark.parametrize("method", ["read_runs", "open_file", "open", "write", "commit"])
def test_a_mistake_in_the_call_stops_the_job_with_nothing_half_written(
    pair: tuple[str, str], wrong: Faults, state: Path, method: str
) -> None:
    home, away = pair

    def refuse(*args: Any) -> None:
        raise ConfigError("no such option")

    wrong.of[method] = refuse
    with pytest.raises(ConfigError, match="no such option"):
        trackbridge.migrate(f"faulty:{home}", f"faulty:{away}")
    assert not memory.STORES[away].runs
    assert not memory.STORES[away].files
    assert not receipts(state)


def test_an_unforeseen_error_is_not_swallowed(pair: tuple[str, str], wrong: Faults) -> None:
    wrong.first("read_runs", ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        trackbridge.migrate(f"faulty:{pair[0]}", f"memory:{pair[1]}")
    assert not memory.STORES[pair[1]].runs
    assert migrate(*pair).verified


def test_receipts_are_kept_chunk_by_chunk(
    pair: tuple[str, str], wrong: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was done before a job was stopped is not done again."""
    monkeypatch.setattr(plan, "CHUNK_RUNS", 1)
    home, away = pair
    calls = iter(range(9))

    def third(*args: Any) -> None:
        if next(calls) == 2:
            raise KeyboardInterrupt

    wrong.of["commit"] = third
    with pytest.raises(KeyboardInterrupt):
        trackbridge.migrate(f"memory:{home}", f"faulty:{away}")
    assert len(memory.STORES[away].runs) == 2
    assert counts(trackbridge.migrate(f"memory:{home}", f"faulty:{away}")) == (1, 0, 2, 0)


def test_an_unwritable_state_folder_is_named_with_the_way_out(
    pair: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("TRACKBRIDGE_STATE", str(tmp_path / "file" / "state"))
    with pytest.raises(ConfigError, match="TRACKBRIDGE_STATE to another folder") as caught:
        migrate(*pair)
    assert "\n" not in str(caught.value)
    assert "None" not in str(caught.value)


def test_a_state_folder_may_have_any_name(
    pair: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKBRIDGE_STATE", str(tmp_path / "a [b] *? ü"))
    monkeypatch.setattr("trackbridge.engine.compare_apart", None)  # nothing is proven again
    assert counts(migrate(*pair)) == (3, 0, 0, 0)
    assert counts(migrate(*pair)) == (0, 0, 3, 0)


def test_a_state_address_that_makes_no_sense_is_named(
    pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKBRIDGE_STATE", "nosuchprotocol://x")
    with pytest.raises(ConfigError, match="TRACKBRIDGE_STATE=nosuchprotocol://x"):
        migrate(*pair)


def test_no_temporary_file_of_receipts_is_left(pair: tuple[str, str], state: Path) -> None:
    migrate(*pair)
    assert [path.suffix for path in state.rglob("*") if path.is_file()] == [".json"]


def test_a_receipt_says_what_was_proven(pair: tuple[str, str], state: Path) -> None:
    migrate(*pair)
    (path,) = receipts(state)
    document = json.loads(path.read_text())
    assert (document["source"], document["target"]) == tuple(f"memory:{n}" for n in pair)
    assert [run["key"] for run in document["runs"]] == [f"x//p/{name}" for name in RUNS]
    assert set(document["runs"][0]["digests"]) >= {"runs", "params", "metrics", "files", "logs"}


def test_console_output_is_a_file_where_users_look_for_one() -> None:
    claims = replace(POOR, console="output.log")
    with stores(NOTHING_CHANGES, claims) as (home, away):
        own = sample("run2", files=[{"owner": "", "path": "output.log"}])
        seed(home, [sample(), replace(own, files={("", "output.log"): b"its own"})])
        assert migrate(home, away).verified
        files = memory.STORES[away].files
        shown = {file.run.run_id: data for file, data in files.items() if file.path == "output.log"}
        assert shown == {"x//p/run1": b"2%\n", "x//p/run2": b"its own"}
        assert trackbridge.verify(f"memory:{home}", f"memory:{away}").holds


def test_damage_is_named_again_where_nothing_has_to_be_moved() -> None:
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, [sample(runs=[{"name": "n", "extra": '{"damage": ["torn"]}'}])])
        first, again = migrate(home, away), migrate(home, away)
        assert again.skipped == 1
        assert again.damage == first.damage == ["run p/run1: torn", LOST]


def test_bytes_that_come_later_are_moved_then(pair: tuple[str, str]) -> None:
    home, away = pair
    assert migrate(home, away).copied == 3
    assert counts(migrate(home, away)) == (0, 0, 3, 0)
    [ref] = [ref for ref, run in memory.STORES[home].runs.items() if run.key.run_id == "run1"]
    memory.STORES[home].files[FileRef(ref, "", "lost.bin")] = b"abc"
    report = migrate(home, away)
    assert counts(report) == (0, 1, 2, 0)
    assert LOST not in report.damage
    assert trackbridge.verify(f"memory:{home}", f"memory:{away}").holds


def test_damage_is_named_where_receipts_are_lost(pair: tuple[str, str], state: Path) -> None:
    home, away = pair
    before = migrate(home, away).damage
    shutil.rmtree(state)
    for _ in range(2):
        again = migrate(home, away)
        assert counts(again) == (0, 0, 3, 0)
        assert sorted(again.damage) == sorted(before)


def test_each_missing_file_is_named_with_its_owner() -> None:
    files = [("one:v0", "x.txt"), ("two:v0", "x.txt"), ("", "b/x.txt"), ("", "x.txt"), ("", "its")]
    rows = [{"owner": owner, "path": path, "size": 3} for owner, path in files]
    with stores(NOTHING_CHANGES, NOTHING_CHANGES) as (home, away):
        seed(home, [sample(files=rows)])
        named = [line.split(": ")[1] for line in migrate(home, away).damage]
        assert sorted(named) == ["b/x.txt", "its", "one:v0/x.txt", "two:v0/x.txt", "x.txt"]


def test_a_file_that_is_listed_without_bytes_is_named_by_every_call_and_once_on_the_way() -> None:
    told = [{"name": "n", "extra": json.dumps({"damage": ["the bytes of 'lost.bin' are gone"]})}]
    with stores(NOTHING_CHANGES, POOR, POOR) as (home, away, beyond):
        seed(home, [sample(), sample("run2", runs=told)])
        named = ["run p/run2: the bytes of 'lost.bin' are gone"]
        all_named = sorted([LOST, LOST.replace("run1", "run2"), *named])
        assert sorted(migrate(home, away).damage) == all_named
        assert sorted(migrate(home, away).damage) == all_named
        further = migrate(away, beyond)
        assert further.damage == named  # what the adapter said travels with the run
        assert {loss.kind: loss.count for loss in further.losses}["files without bytes"] == 2


def test_a_file_that_was_edited_where_the_run_was_brought_to_moves_on_and_is_named() -> None:
    with stores(NOTHING_CHANGES, POOR, NOTHING_CHANGES) as (home, away, further):
        seed(home, [sample()])
        assert migrate(home, away).verified
        files = memory.STORES[away].files
        edited = next(file for file in files if file.path == "a/b.txt")
        files[edited] = b"edited"
        report = migrate(away, further)
        assert report.verified
        assert report.damage == [
            "run p/run1: a/b.txt: its bytes are not those that were recorded; moved as they are"
        ]
        assert b"edited" in memory.STORES[further].files.values()


def test_a_file_that_is_called_like_our_sidecar_arrives_too() -> None:
    own = {("", "trackbridge/sidecar.zip"): b"the run's own"}
    files = [{"owner": "", "path": "trackbridge/sidecar.zip"}]
    with stores(NOTHING_CHANGES, POOR, NOTHING_CHANGES) as (home, away, back):
        seed(home, [replace(sample(files=files), files=own)])
        assert migrate(home, away).verified
        assert migrate(away, back).verified
        assert trackbridge.verify(f"memory:{home}", f"memory:{back}").holds
        assert b"the run's own" in memory.STORES[back].files.values()


def test_a_run_that_did_not_arrive_leaves_a_shell_that_nobody_takes_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = memory.MemorySink.write

    def lossy(self: memory.MemorySink, batch: Batch) -> None:
        lost = batch.table == "metrics" and batch.data.num_rows
        write(self, Batch(batch.table, batch.data.slice(1)) if lost else batch)

    with stores(NOTHING_CHANGES, POOR, NOTHING_CHANGES) as (home, away, further):
        seed(home, [sample()])
        monkeypatch.setattr(memory.MemorySink, "write", lossy)
        assert counts(migrate(home, away)) == (0, 0, 0, 1)
        monkeypatch.undo()
        assert not native(away, "metrics")
        assert native(away, "runs")[0]["started"] == moment(0)  # or it would be another run's
        onwards = migrate(away, further)
        assert counts(onwards) == (0, 0, 0, 1)
        assert "migrate it again from its source" in onwards.failures[0].error
        assert counts(migrate(home, away)) == (0, 1, 0, 0)
        assert trackbridge.verify(f"memory:{home}", f"memory:{away}").holds


def test_damage_in_the_source_is_reported_and_stops_nothing() -> None:
    damage = ["run-1.wandb at byte 77: torn record"]
    with stores(NOTHING_CHANGES, POOR) as (home, away):
        seed(home, [sample(runs=[{"name": "n", "extra": json.dumps({"damage": damage})}])])
        report = migrate(home, away)
        assert report.damage == [f"run p/run1: {damage[0]}", LOST]
        assert report.verified


class _Watcher:
    """Progress as a test sees it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def begin(self, runs: int, points: int) -> None:
        self.told.append(("begin", runs * 1000 + points))

    def points(self, count: int) -> None:
        self.told.append(("points", count))

    def runs(self, count: int) -> None:
        self.told.append(("runs", count))

    def stage(self, what: str) -> None:
        self.told.append((what, 0))


def test_progress_is_told_of_every_run_and_point(pair: tuple[str, str]) -> None:
    watcher = _Watcher()
    migrate(*pair, progress=watcher)
    assert watcher.told[0] == ("begin", 3045)
    assert sum(count for what, count in watcher.told if what == "points") == 45
    assert sum(count for what, count in watcher.told if what == "runs") == 3


def test_progress_is_told_what_takes_long_after_reading(pair: tuple[str, str]) -> None:
    watcher = _Watcher()
    migrate(*pair, progress=watcher)
    stages = [what for what, _ in watcher.told if what not in ("begin", "points")]
    assert stages == ["copying files", "writing", "reading back", "runs"]


def test_a_report_is_verified_only_if_every_run_is_accounted_for() -> None:
    assert Report(total=3, copied=1, updated=1, skipped=1).verified
    assert not Report(total=3, copied=2).verified
    assert not Report(total=1, copied=1, failures=[Failure("r", "why")]).verified


def test_errors_are_one_family() -> None:
    for error in (ConfigError, NotFoundError, IntegrityError, TransientError):
        assert issubclass(error, BridgeError)
    assert TransientError("x", retry_after=3.0).retry_after == 3.0


def test_a_chunk_with_one_bad_run_writes_the_good_ones_once(
    pair: tuple[str, str], wrong: Faults
) -> None:
    wrong.of["read_runs"] = _only("run2", IntegrityError("torn"))
    trackbridge.migrate(f"faulty:{pair[0]}", f"memory:{pair[1]}")
    assert len(native(pair[1], "runs")) == 2


class _Unreadable(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("late", [False, True], ids=["when it is opened", "when it is read"])
def test_a_file_that_the_system_cannot_read_stops_its_run_alone(
    late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever adapter it is that has not translated the error."""
    opened = memory.MemoryStore.open_file

    def broken(store: memory.MemoryStore, file: FileRef) -> BinaryIO:
        if (file.path, file.run) != ("a/b.txt", store.target(sample("bad").key)):
            return opened(store, file)
        if late:
            return _Unreadable()  # type: ignore[return-value]
        raise PermissionError(13, "Permission denied", "/b.txt")

    with stores(NOTHING_CHANGES, NOTHING_CHANGES) as pair:
        seed(pair[0], [sample(name) for name in ("bad", "ok")])
        monkeypatch.setattr(memory.MemoryStore, "open_file", broken)
        report = migrate(*pair)
    assert counts(report) == (1, 0, 0, 1)
    assert "a/b.txt: cannot be read (" in report.failures[0].error


def test_points_that_are_listed_and_not_read_are_named(
    pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = type(memory.ADAPTER.reader(pair[0], {}))
    read = store.read_runs

    def without_points(self: Any, *given: Any) -> Iterator[Batch]:
        return (batch for batch in read(self, *given) if batch.table != "metrics")

    monkeypatch.setattr(store, "read_runs", without_points)
    named = [line for line in migrate(*pair).damage if line.endswith("it lists were not read")]
    assert len(named) == len(RUNS)
