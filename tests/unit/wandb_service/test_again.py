"""Runs that are on the server already: they grow, are ended, or are replaced under a new id."""

from __future__ import annotations

import copy
import io
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from faulty import fill_disk
from unit.wandb_service.conftest import Migrate
from wandb_server import Server, runs
from wandb_server.state import Run

import trackbridge
from trackbridge.adapter import SHARED_FILE, STORE, FileRef, Query, RunKey
from trackbridge.errors import ConfigError
from trackbridge.registry import open_reader, open_writer
from trackbridge.testing import samples
from trackbridge.testing.base import rows_of
from trackbridge.testing.made import MadeRun, deliver
from trackbridge_adapters.wandb.service import upload

pytest.importorskip("wandb")
NUMBERS = itertools.count()
KEY = RunKey("wandb", "", "team/p", "abc")


def run_of(calls: int, **changes: Any) -> MadeRun:
    """A run of W&B's with so many log calls."""
    run = samples.long("abc", calls)
    run.key = KEY
    run.tables["tags"] = [{"key": "one"}, {"key": "two"}]
    run.tables["runs"][0] |= {"notes": "something", "group": "g", "job_type": "train", **changes}
    return run


def another_past(run: MadeRun) -> MadeRun:
    """The same run with other values, so that it cannot go on where it was."""
    run.tables["metrics"] = [{**p, "value": p["value"] + 1} for p in run.tables["metrics"]]
    return run


def names(server: Server) -> list[str]:
    return sorted(set(server.state.projects["team", "p"].runs) - {"trackbridge-store"})


def test_a_run_that_has_grown_goes_on_where_it_was(server: Server, migrate: Migrate) -> None:
    migrate(run_of(5))
    before = list(server.run("team/p/abc").history)
    report = migrate(run_of(9))
    assert (report.updated, names(server)) == (1, ["abc"])
    after = server.run("team/p/abc").history
    assert after[:5] == before
    assert len(after) == 9


def test_columns_that_became_empty_are_empty(server: Server, migrate: Migrate) -> None:
    migrate(run_of(5))
    run = run_of(5, notes=None, group=None, job_type=None)
    run.tables["tags"] = [{"key": "two"}]
    migrate(run)
    there = server.run("team/p/abc")
    assert there.tags == ["two"]
    assert [there.values.get(n) or None for n in ("notes", "groupName", "jobType")] == [None] * 3
    assert len(there.history) == 5


def test_a_run_of_which_half_arrived_is_ended(server: Server, migrate: Migrate) -> None:
    migrate(run_of(50))
    there = server.run("team/p/abc")
    del there.history[20:]
    there.state, there.files = "running", {}
    migrate(run_of(50, notes="another"))
    assert names(server) == ["abc"]
    assert len(there.history) == 50
    assert there.state == "finished"


def test_a_run_whose_past_is_another_one_gets_a_new_id(server: Server, migrate: Migrate) -> None:
    migrate(run_of(5))
    report = migrate(another_past(run_of(5)))
    assert (report.updated, names(server)) == (1, ["abc-r2"])
    assert len(server.run("team/p/abc-r2").history) == 5
    migrate(run_of(3))
    assert names(server) == ["abc-r3"]
    [info] = list(open_writer(f"wandb:{server.address}/team/p").list_runs(Query()))
    assert info.ref.run_id == "abc"


def test_what_a_run_has_replaced_is_deleted_by_the_next_call(
    server: Server, migrate: Migrate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Though the one that replaced it was killed before that, and its receipts are lost."""
    migrate(run_of(5))
    server.faults.fail("TrackbridgeDeleteRun", status=403)
    with pytest.raises(ConfigError, match="403"):
        migrate(another_past(run_of(5)))
    assert lengths(server) == {"abc": 5, "abc-r2": 5}
    monkeypatch.setenv("TRACKBRIDGE_STATE", str(tmp_path / "another"))
    assert migrate(another_past(run_of(5))).verified
    assert lengths(server) == {"abc-r2": 5}


def test_what_a_run_has_replaced_is_not_read(server: Server, migrate: Migrate) -> None:
    migrate(run_of(5))
    old = server.run("team/p/abc")
    migrate(another_past(run_of(7)))
    place = server.state.projects["team", "p"]
    place.runs = {"abc": old, **place.runs}
    reader = open_reader(f"wandb:{server.address}/team/p")
    [info] = reader.list_runs(Query())
    points = [batch.data.num_rows for batch in reader.read_runs([info.ref], {"metrics"})]
    assert (info.points, sum(points)) == (7, 7)


def test_a_run_that_was_deleted_there_comes_back_under_the_next_id(
    server: Server, migrate: Migrate
) -> None:
    """Its own is not given again."""
    migrate(run_of(5))
    runs.delete(server.state, server.user, server.run("team/p/abc").id)
    report = migrate(run_of(7))
    assert (report.verified, report.copied, names(server)) == (True, 1, ["abc-r2"])
    assert len(server.run("team/p/abc-r2").history) == 7
    runs.delete(server.state, server.user, server.run("team/p/abc-r2").id)
    assert migrate(run_of(7)).verified
    assert names(server) == ["abc-r3"]


def test_runs_that_are_left_when_many_were_deleted_are_there_once(
    server: Server, migrate: Migrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is stopped when it does nothing but ask for ids of deleted runs."""
    monkeypatch.setattr(upload, "LOOK_SECONDS", 0.1)

    def made(calls: int) -> list[MadeRun]:
        brought = [run_of(calls) for _ in range(8)]
        for number, run in enumerate(brought):
            run.key = KEY._replace(run_id=f"run{number}")
        return brought

    migrate(*made(3))
    for number in range(6):
        runs.delete(server.state, server.user, server.run(f"team/p/run{number}").id)
    assert migrate(*made(40)).verified
    assert set(names(server)) == {*(f"run{n}-r2" for n in range(6)), "run6", "run7"}
    assert all(len(server.run(f"team/p/{name}").history) == 40 for name in names(server))


def beside(server: Server, name: str) -> Run:
    """A run with the config of the one that was brought, as people copy it."""
    given = {"name": name, "modelName": "p", "entityName": "team"}
    run, _ = runs.upsert(server.state, server.user, given)
    run.config = copy.deepcopy(server.run("team/p/abc").config)
    return run


def test_a_copied_config_makes_no_run_another_one(server: Server, migrate: Migrate) -> None:
    migrate(run_of(5))
    beside(server, "fresh").state = "finished"
    found = list(open_writer(f"wandb:{server.address}/team/p").list_runs(Query()))
    assert {(info.ref.run_id, info.carried) for info in found} == {("abc", True), ("fresh", False)}
    migrate(run_of(7))
    assert names(server) == ["abc", "fresh"]


def test_half_of_a_run_does_not_hide_the_whole_one(server: Server, migrate: Migrate) -> None:
    migrate(run_of(5))
    half = beside(server, "abc-r2")
    half.config["trackbridge"]["value"]["id"] = "abc"
    half.state = "running"
    reader = open_writer(f"wandb:{server.address}/team/p")
    [info] = list(reader.list_runs(Query()))
    assert info.status == "finished"
    found = [b.data.num_rows for b in reader.read_runs([info.ref]) if b.table == "metrics"]
    assert sum(found) >= 5


def test_a_run_that_is_not_there_as_a_whole_says_so(server: Server, migrate: Migrate) -> None:
    migrate(run_of(5))
    there = server.run("team/p/abc")
    del there.history[3:]
    reader = open_writer(f"wandb:{server.address}/team/p")
    refs = [info.ref for info in reader.list_runs(Query())]
    [row] = [row for b in reader.read_runs(refs, {"runs"}) for row in b.data.to_pylist()]
    assert "its upload was broken off" in row["extra"]


def test_files_that_are_gone_are_gone(server: Server, migrate: Migrate) -> None:
    run = run_of(5)
    run.add_file("", "more.txt", b"more")
    migrate(run)
    migrate(run_of(5))
    assert names(server) == ["abc-r2"]
    assert "more.txt" not in server.run("team/p/abc-r2").files


def test_a_run_that_failed_keeps_its_id(
    server: Server, monkeypatch: pytest.MonkeyPatch, migrate: Migrate
) -> None:
    """The client reports success, though an artifact did not arrive."""
    run = run_of(5)
    run.tables["artifacts"] = [
        {"collection": "data", "kind": "dataset", "version": "v0", "direction": "logged"}
    ]
    run.add_file("data:v0", "a.txt", b"content")
    server.faults.fail("CommitArtifact", status=400, times=None)
    with pytest.raises(AssertionError, match="it is not what was written: artifacts"):
        migrate(run)
    assert names(server) == ["abc"]
    server.faults.heal()
    migrate(run)
    assert names(server) == ["abc"]
    assert len(server.run("team/p/abc").history) == 5


def test_a_run_of_somebody_else_is_in_the_way(server: Server, migrate: Migrate) -> None:
    migrate(run_of(5))
    there = server.run("team/p/abc")
    del there.config["trackbridge"]
    with pytest.raises(AssertionError, match="was not written by Trackbridge"):
        migrate(run_of(5))
    assert names(server) == ["abc"]


def called(run_id: str, run: MadeRun) -> MadeRun:
    run.key = KEY._replace(run_id=run_id)
    return run


def lengths(server: Server) -> dict[str, int]:
    return {name: len(server.run(f"team/p/{name}").history) for name in names(server)}


def listed(server: Server, query: Query) -> list[str]:
    reader = open_writer(f"wandb:{server.address}/team/p")
    return sorted(info.ref.run_id for info in reader.list_runs(query))


def test_a_new_id_is_none_that_another_run_was_born_with(server: Server, migrate: Migrate) -> None:
    migrate(run_of(5))
    migrate(called("abc-r2", run_of(4)))
    migrate(another_past(run_of(5)))
    assert lengths(server) == {"abc-r2": 4, "abc-r3": 5}
    assert listed(server, Query()) == ["abc", "abc-r2"]


def test_an_id_that_a_replaced_run_has_got_is_left_to_it(server: Server, migrate: Migrate) -> None:
    migrate(run_of(5))
    migrate(another_past(run_of(5)))
    migrate(called("abc-r2", run_of(4)))
    assert lengths(server) == {"abc-r2": 5, "abc-r2-r2": 4}
    assert listed(server, Query()) == ["abc", "abc-r2"]


def test_a_new_id_is_none_that_somebody_elses_run_has(server: Server, migrate: Migrate) -> None:
    migrate(run_of(5))
    given = {"name": "abc-r2", "modelName": "p", "entityName": "team"}
    runs.upsert(server.state, server.user, given)
    migrate(another_past(run_of(5)))
    assert lengths(server) == {"abc-r2": 0, "abc-r3": 5}


def test_a_run_that_is_called_like_a_later_generation_is_not_meant(
    server: Server, migrate: Migrate
) -> None:
    migrate(run_of(5))
    migrate(called("abc-r2", run_of(4)))
    assert listed(server, Query(run_ids=["abc"])) == ["abc"]


def test_a_project_is_not_meant_for_the_sake_of_such_a_run(
    server: Server, migrate: Migrate
) -> None:
    migrate(run_of(5))
    given = {"name": "other-r2", "modelName": "p", "entityName": "team"}
    runs.upsert(server.state, server.user, given)
    migrate(another_past(run_of(5)))
    reader = open_writer(f"wandb:{server.address}/team/p")
    for run_id, expected in (("other", []), ("other-r2", ["team/p"]), ("abc", ["team/p"])):
        found = rows_of(reader.read_shared(Query(run_ids=[run_id])))
        assert [row["project"] for row in found.get("projects", ())] == expected


def test_a_project_that_is_called_like_ours_is_a_project_like_others(
    server: Server, migrate: Migrate
) -> None:
    """Where runs go into several projects, what belongs to none is in `trackbridge`."""
    run = run_of(5)
    run.key = RunKey("wandb", "", "team/trackbridge", "abc")
    source, entity = f"memory:again-{next(NUMBERS)}", f"wandb:{server.address}/team"
    writer = open_writer(source)
    with writer.open([run.key]) as sink:
        deliver(writer, sink, [run])
        sink.commit()
    for _ in range(2):
        assert trackbridge.migrate(source, entity).verified
        assert trackbridge.verify(source, entity).holds
    assert [str(info.ref.run_id) for info in open_writer(entity).list_runs(Query())] == ["abc"]


def test_a_full_disk_is_told_with_the_way_out(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    writer = open_writer(f"wandb:{server.address}/team/p")
    with writer.open([KEY]) as sink, monkeypatch.context() as patch:
        fill_disk(patch)
        with pytest.raises(ConfigError, match="temporary file cannot be written"):
            sink.put_file(FileRef(writer.target(KEY), "", "a.txt"), io.BytesIO(b"content"))


def test_a_project_called_like_our_own_is_read(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is the run that holds what belongs to no run, where all projects are meant."""
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    store = open_writer(f"wandb:{server.address}/team")
    with store.open([]) as sink:
        sink.put_file(FileRef(STORE, "", SHARED_FILE), io.BytesIO(b"{}"))
        sink.commit()
    for expected in ([], ["team/trackbridge"]):
        assert [info.ref.project for info in store.list_runs(Query())] == expected
        for query in (Query(), Query(projects=["team/trackbridge"])):
            found = rows_of(store.read_shared(query))
            assert [row["project"] for row in found.get("projects", ())] == expected
        given = {"name": "a", "modelName": "trackbridge", "entityName": "team"}
        runs.upsert(server.state, server.user, given)


def test_an_entity_that_is_not_there_is_named_with_its_server(
    server: Server, migrate: Migrate
) -> None:
    said = f"{server.address}: no such entity as nobody, or it is not yours to write to"
    with pytest.raises(ConfigError, match=re.escape(said)):
        migrate(run_of(1), target="nobody/p")
