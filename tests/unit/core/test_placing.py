"""Projects can have other names in the target, and are still known again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from unit.core.samples import POOR, sample
from unit.core.stores import NOTHING_CHANGES, Sample, native, peek, seed, stores

import trackbridge
from trackbridge.adapter import Capabilities, Query, RunInfo, RunKey, RunRef
from trackbridge.errors import ConfigError, NotFoundError
from trackbridge.forecast import forecast
from trackbridge.placing import parse_renames
from trackbridge_adapters import memory

CLAIMS = {
    "everything": NOTHING_CHANGES,
    "poor": POOR,
    "next to nothing": Capabilities(
        holds={"runs": (), "files": ("owner", "path", "size", "sha256")}
    ),
}
Trio = tuple[str, str, str]


@pytest.fixture(params=sorted(CLAIMS))
def trio(request: pytest.FixtureRequest) -> Iterator[Trio]:
    """Two stores with a project of one name each, and an empty one."""
    with stores(NOTHING_CHANGES, NOTHING_CHANGES, CLAIMS[request.param]) as (one, two, away):
        seed(one, [sample("run1"), sample("run2", "q")], {"projects": [notes("p", "of one")]})
        seed(two, [sample("run3")], {"projects": [notes("p", "of two")], "sweeps": [SWEEP]})
        yield f"memory:{one}", f"memory:{two}", f"memory:{away}"


def notes(project: str, text: str) -> dict[str, str]:
    return {"project": project, "notes": text}


SWEEP = {"project": "p", "sweep_id": "s", "name": "grid", "definition": "{}"}
A, B = {"p": "p-a"}, {"p": "p-b"}


def projects(address: str) -> set[tuple[str, str]]:
    """Project in the store, and id at birth, of each run."""
    runs = memory.STORES[address.removeprefix("memory:")].runs
    return {(ref.project, run.key.run_id) for ref, run in runs.items()}


def test_a_project_has_its_new_name_and_its_runs_their_old_keys(trio: Trio) -> None:
    one, _, away = trio
    assert forecast(one, away, renames=A).runs == 2
    report = trackbridge.migrate(one, away, renames=A)
    assert (report.verified, report.copied) == (True, 2)
    assert projects(away) == {("p-a", "run1"), ("q", "run2")}
    keys = {run.key for run in memory.STORES[away.removeprefix("memory:")].runs.values()}
    assert keys == {RunKey("x", "", "p", "run1"), RunKey("x", "", "q", "run2")}
    assert trackbridge.verify(one, away, renames=A).differences == []


def test_later_calls_know_it_again_without_being_told(trio: Trio) -> None:
    one, _, away = trio
    trackbridge.migrate(one, away, renames=A)
    before = peek(away.removeprefix("memory:"))
    again = trackbridge.migrate(one, away)
    assert (again.verified, again.skipped) == (True, 2)
    assert peek(away.removeprefix("memory:")) == before
    assert trackbridge.verify(one, away).differences == []


def test_new_runs_of_it_join_the_others(trio: Trio) -> None:
    one, _, away = trio
    trackbridge.migrate(one, away, renames=A)
    seed(one.removeprefix("memory:"), [sample("new")])
    seed(one.removeprefix("memory:"), [sample("run1", tags=[])])
    for query in (Query(run_ids=["new"]), Query()):
        assert trackbridge.migrate(one, away, query).verified
    assert projects(away) == {("p-a", "run1"), ("p-a", "new"), ("q", "run2")}
    assert trackbridge.verify(one, away).differences == []


def test_runs_that_were_born_elsewhere_do_not_join_them() -> None:
    """A source may itself have runs of several births in one project."""
    with stores(NOTHING_CHANGES, NOTHING_CHANGES, NOTHING_CHANGES) as (one, home, away):
        seed(one, [sample("run1", "q")])
        trackbridge.migrate(f"memory:{one}", f"memory:{home}", renames={"q": "p"})
        trackbridge.migrate(f"memory:{home}", f"memory:{away}", renames={"p": "new"})
        seed(home, [sample("run2")])
        trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        assert projects(f"memory:{away}") == {("new", "run1"), ("p", "run2")}


def test_two_projects_of_one_name_are_kept_apart(trio: Trio) -> None:
    one, two, away = trio
    trackbridge.migrate(one, away, renames=A)
    assert trackbridge.migrate(two, away, renames=B).verified
    for source, renames in ((one, A), (two, B)):
        assert trackbridge.verify(source, away, renames=renames).differences == []
        assert trackbridge.verify(source, away).differences == []
    assert projects(away) == {("p-a", "run1"), ("q", "run2"), ("p-b", "run3")}
    shown = {
        row["project"]: row["notes"] for row in native(away.removeprefix("memory:"), "projects")
    }
    assert shown in ({"p-a": "of one", "p-b": "of two"}, {})


def test_on_the_way_home_it_is_called_as_it_was(trio: Trio) -> None:
    one, two, away = trio
    trackbridge.migrate(one, away, renames=A)
    trackbridge.migrate(two, away, renames=B)
    for source, renamed in ((one, ["p-a", "q"]), (two, ["p-b"])):
        with stores(NOTHING_CHANGES) as [back]:
            query = Query(projects=renamed)
            assert trackbridge.migrate(away, f"memory:{back}", query).verified
            assert peek(back) == peek(source.removeprefix("memory:"))
            assert trackbridge.verify(source, f"memory:{back}").differences == []
            rows = [(row["project"], row["notes"]) for row in native(back, "projects")]
            assert rows == [("p", "of one" if source == one else "of two")]


def test_projects_that_would_become_one_on_the_way_on_are_an_error(trio: Trio) -> None:
    one, two, away = trio
    trackbridge.migrate(one, away, renames=A)
    trackbridge.migrate(two, away, renames=B)
    with stores(NOTHING_CHANGES) as [further]:
        with pytest.raises(ConfigError, match=r"'p-a' and 'p-b' would both become 'p'.*=NEW"):
            trackbridge.migrate(away, f"memory:{further}")
        on = {"p-a": "p-a", "p-b": "p-b"}
        assert trackbridge.migrate(away, f"memory:{further}", renames=on).verified
        assert trackbridge.verify(away, f"memory:{further}", renames=on).differences == []
        assert projects(f"memory:{further}") == projects(away)
        shown = {row["project"]: row["notes"] for row in native(further, "projects")}
        assert shown == {"p-a": "of one", "p-b": "of two"}


def test_a_run_that_is_there_under_another_name_is_not_doubled(trio: Trio) -> None:
    one, _, away = trio
    trackbridge.migrate(one, away)
    before = peek(away.removeprefix("memory:"))
    report = trackbridge.migrate(one, away, renames=A)
    [failure] = report.failures
    assert "is in the target already, in project 'p'; rename that one there" in failure.error
    assert peek(away.removeprefix("memory:")) == before
    result = trackbridge.verify(one, away, renames=A)
    assert "run p/x//p/run1: runs project: 'p', not 'p-a'" in map(str, result.differences)


@pytest.mark.parametrize(
    ("renames", "error", "text"),
    [
        (
            {"P": "new"},
            NotFoundError,
            "no project 'P' among the runs that are meant; there are 'p'",
        ),
        ({"p": "q"}, ConfigError, "projects 'p' and 'q' would both become 'q'"),
        ({"p": "new", "q": "new"}, ConfigError, "would both become 'new'"),
    ],
)
def test_a_name_that_cannot_be_is_an_error(
    trio: Trio, renames: dict[str, str], error: type[Exception], text: str
) -> None:
    for act in (trackbridge.migrate, forecast):
        with pytest.raises(error, match=text):
            act(trio[0], trio[2], renames=renames)
    assert not memory.STORES[trio[2].removeprefix("memory:")].runs


def test_a_run_that_is_in_its_store_twice_is_moved_by_neither_of_its_projects(trio: Trio) -> None:
    """Else one would be written over the other, and both be counted as proven."""
    one, _, away = trio
    again = sample("run1", tags=[{"key": "mine"}])
    seed(one.removeprefix("memory:"), [replace(again, key=again.key.placed("copy"))])
    kept = {"copy": "copy"}
    for act in (forecast, trackbridge.migrate):
        failures = act(one, away, renames=kept).failures
        assert sorted(failure.run for failure in failures) == ["copy/x//p/run1", "p/x//p/run1"]
        assert all("is the same run as" in failure.error for failure in failures)
    assert projects(away) == {("q", "run2")}
    assert trackbridge.migrate(one, away, Query(projects={"p"})).verified
    assert projects(away) == {("p", "run1"), ("q", "run2")}


def test_all_projects_that_would_become_one_are_named_at_once(trio: Trio) -> None:
    renames = {"p": "new", "q": "new"}
    with pytest.raises(ConfigError, match=r"'p' and 'q' would both .*--rename-project q=NEW$"):
        trackbridge.migrate(trio[0], trio[2], renames=renames)


def test_names_can_be_exchanged(trio: Trio) -> None:
    one, _, away = trio
    swapped = {"p": "q", "q": "p"}
    assert trackbridge.migrate(one, away, renames=swapped).verified
    assert projects(away) == {("q", "run1"), ("p", "run2")}
    assert trackbridge.verify(one, away).differences == []


class _Narrow(memory.MemoryStore):
    """A store that takes no names but short ones."""

    def target(self, key: RunKey) -> RunRef:
        return super().target(key)._replace(project=key.label[:4])


class _Stubborn(memory.MemoryStore):
    """A store of an adapter that has not heard of labels."""

    def target(self, key: RunKey) -> RunRef:
        return super().target(key)._replace(project=key.project)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (_Narrow, "can have no project of that name; call it 'a lo', or otherwise"),
        (_Stubborn, "puts all runs into one project; leave out"),
    ],
)
def test_a_name_that_the_store_cannot_have_is_an_error(
    trio: Trio, monkeypatch: pytest.MonkeyPatch, kind: type, text: str
) -> None:
    monkeypatch.setattr(memory.ADAPTER, "writer", lambda location, options: kind(location))
    with pytest.raises(ConfigError, match=text):
        trackbridge.migrate(trio[0], trio[2], renames={"p": "a long one"})


def test_a_project_that_was_renamed_in_the_target_by_hand_keeps_its_runs(trio: Trio) -> None:
    one, _, away = trio
    trackbridge.migrate(one, away)
    for ref in [r for r in runs_in(away) if r.project == "p"]:
        put(away, ref, "mine")
    seed(one.removeprefix("memory:"), [sample("run1", tags=[]), sample("new")])
    assert trackbridge.migrate(one, away).failures == []
    assert projects(away) == {("mine", "run1"), ("mine", "new"), ("q", "run2")}


@pytest.mark.parametrize("more", [[], [sample("run9")]], ids=["its only run", "one of two"])
def test_a_run_that_was_moved_to_another_project_in_the_target_stays_there(
    trio: Trio, more: list[Sample]
) -> None:
    one, _, away = trio
    seed(one.removeprefix("memory:"), more)
    trackbridge.migrate(one, away)
    put(away, next(r for r, run in runs_in(away).items() if run.key.run_id == "run1"), "q")
    foreseen = forecast(one, away)
    assert (foreseen.runs, foreseen.skipped) == (0, 2 + len(more))
    again = trackbridge.migrate(one, away)
    assert (again.failures, again.copied) == ([], 0)
    seed(one.removeprefix("memory:"), [sample("new")])
    assert trackbridge.migrate(one, away).copied == 1
    assert ("p", "new") in projects(away)
    assert ("q", "run1") in projects(away)


def runs_in(address: str) -> dict[RunRef, memory.Run]:
    return memory.STORES[address.removeprefix("memory:")].runs


def put(address: str, ref: RunRef, project: str) -> None:
    """Move a run to another project, as a user of the store might."""
    contents, moved = memory.STORES[address.removeprefix("memory:")], RunRef(project, ref.run_id)
    run = contents.runs.pop(ref)
    run.tables = {
        name: data.set_column(
            data.schema.get_field_index("project"),
            data.schema.field("project"),
            [_column(data, project)],
        )
        for name, data in run.tables.items()
    }
    contents.runs[moved] = run
    files = {f: d for f, d in contents.files.items() if f.run == ref}
    contents.files.update({f._replace(run=moved): d for f, d in files.items()})


def _column(data: object, text: str) -> object:
    import pyarrow as pa

    assert isinstance(data, pa.Table)
    return pa.array([text] * data.num_rows, pa.string()).cast(data.schema.field("project").type)


def test_a_placed_key_is_the_same_key() -> None:
    import pickle

    key = RunKey("x", "", "p", "r")
    placed = key.placed("new")
    assert (placed.label, key.label) == ("new", "p")
    assert placed == key and hash(placed) == hash(key) and str(placed) == str(key)
    assert pickle.loads(pickle.dumps(placed)).label == "new"
    assert placed.placed("p").label == "p"
    assert RunInfo(RunRef("p", "r"), placed, "").key.label == "new"


@pytest.mark.parametrize(
    ("texts", "renames"),
    [((), {}), (("a=b",), {"a": "b"}), (("a=b=c", "d=e"), {"a=b": "c", "d": "e"})],
)
def test_names_are_written_old_then_new(texts: tuple[str, ...], renames: dict[str, str]) -> None:
    assert parse_renames(texts) == renames


@pytest.mark.parametrize("texts", [("a",), ("a=",), ("=b",), ("a=b", "a=c")])
def test_half_a_name_is_none(texts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="--rename-project"):
        parse_renames(texts)
