"""What a person chooses, runs, files and names, holds with every real store."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import trackbridge
from trackbridge.adapter import Query
from trackbridge.choose import chosen
from trackbridge.filing import FileChoice
from trackbridge.registry import open_reader

FIXTURES = Path(__file__).parents[2] / "fixtures"
SOURCES = ["wandb-0.12/wandb", "wandb-0.31/wandb", "mlflow-2.9/mlruns", "mlflow-3.17/mlflow.db"]
TARGETS = [
    "mlflow:sqlite:///{}/mlflow.db",
    "mlflow:{}/mlruns",
    "wandb-files:{}/wandb",
    "archive:{}/archive",
]
REFERENCE, SKIP, SMALL = FileChoice("reference"), FileChoice("skip"), FileChoice(limit=200)


@pytest.fixture
def origin(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A copy of a store with all that lies beside it."""
    store = FIXTURES / request.param
    shutil.copytree(store.parent, tmp_path / "source", symlinks=True)
    return str(tmp_path / "source" / store.name)


def by_day(*numbers: int) -> list[pytest.MarkDecorator]:
    """Marks of a combination: each source and each target is in some, all others at night."""
    return [] if sum(numbers) % len(SOURCES) == 0 else [pytest.mark.nightly]


every_source = pytest.mark.parametrize("origin", SOURCES, indirect=True)
every_target = pytest.mark.parametrize("place", TARGETS)
every_pair = pytest.mark.parametrize(
    ("origin", "place"),
    [
        pytest.param(source, target, marks=by_day(number, other))
        for number, source in enumerate(SOURCES)
        for other, target in enumerate(TARGETS)
    ],
    indirect=["origin"],
)
every_choice = pytest.mark.parametrize(
    ("origin", "place", "files"),
    [
        pytest.param(source, target, files, marks=by_day(number, other, choice))
        for number, source in enumerate(SOURCES)
        for other, target in enumerate(TARGETS)
        for choice, files in enumerate([SMALL, REFERENCE, SKIP])
    ],
    indirect=["origin"],
)


@every_choice
def test_files_that_stayed_behind_come_when_they_are_asked_for(
    origin: str, place: str, files: FileChoice, tmp_path: Path, quick_databases: None
) -> None:
    target = place.format(tmp_path / "target")
    report = trackbridge.migrate(origin, target, files=files)
    assert report.failures == []
    left = {loss.kind: loss.count for loss in report.losses}
    assert left["files left out" if files is SKIP else "files kept as addresses"]
    result = trackbridge.verify(origin, target, files=files)
    assert result.differences == []
    assert {loss.kind for loss in result.losses.list()} & set(left)
    assert "files" in {d.table for d in trackbridge.verify(origin, target).differences}

    again = trackbridge.migrate(origin, target)
    assert again.failures == []
    assert again.files > report.files
    assert trackbridge.verify(origin, target).differences == []


@every_pair
def test_a_missing_artifact_stops_no_run(
    origin: str, place: str, tmp_path: Path, quick_databases: None
) -> None:
    """Out of an archive, whose contents are told by name, and out of every native store."""
    archive = f"archive:{tmp_path}/before"
    assert trackbridge.migrate(origin, archive).verified
    content = sorted((tmp_path / "before" / "data" / "bytes").rglob("*/*"), key=_size)
    content[-1].unlink()
    target = place.format(tmp_path / "from-archive")
    report = trackbridge.migrate(archive, target)
    assert (report.verified, report.failures) == (True, [])
    assert "files without bytes" in {loss.kind for loss in report.losses}
    assert trackbridge.verify(archive, target).differences == []

    for folder in _file_folders(Path(origin)):
        shutil.rmtree(folder)
    target = place.format(tmp_path / "from-native")
    report = trackbridge.migrate(origin, target)
    assert (report.verified, report.failures) == (True, [])
    named = report.damage or "files without bytes" in {loss.kind for loss in report.losses}
    assert named or origin.endswith("mlruns"), "a file store says of no folder that it was there"
    assert trackbridge.verify(origin, target).differences == []


def _size(path: Path) -> int:
    return path.stat().st_size


def _file_folders(store: Path) -> list[Path]:
    """Where runs keep their files."""
    if store.name == "wandb":
        return [path for path in store.glob("*run-*/files") if not path.parent.is_symlink()]
    return [path for path in store.parent.rglob("artifacts") if path.is_dir()]


WHERE = [
    "metrics.loss <= 1",
    "attributes.status = 'FINISHED' and attributes.run_name LIKE '%a%'",
    "params.lr IS NULL",
    "tags.`mlflow.user` IS NOT NULL",
    "start_time > '2024-01-01'",
]


@every_source
def test_an_expression_finds_the_same_runs_wherever_they_are(
    origin: str, tmp_path: Path, quick_databases: None
) -> None:
    found = {where: _born(origin, where) for where in WHERE}
    assert any(found.values())
    source = origin
    for number, place in enumerate(TARGETS):
        target = place.format(tmp_path / str(number))
        assert trackbridge.migrate(source, target).verified
        assert {where: _born(target, where) for where in WHERE} == found
        source = target


def _born(address: str, where: str) -> list[str]:
    return sorted(str(info.key) for info in chosen(open_reader(address), Query(), where).runs)


@every_pair
def test_only_the_runs_that_meet_an_expression_are_moved_and_compared(
    origin: str, place: str, tmp_path: Path, quick_databases: None
) -> None:
    target, where = place.format(tmp_path / "target"), "attributes.status != 'FINISHED'"
    report = trackbridge.migrate(origin, target, where=where)
    assert (report.verified, report.failures) == (True, [])
    assert _born(target, "run_id != ''") == _born(origin, where) != _born(origin, "run_id != ''")
    assert trackbridge.verify(origin, target, where=where).differences == []
    assert trackbridge.verify(origin, target).missing > 0


@pytest.mark.parametrize("origin", ["mlflow-3.17/mlflow.db"], indirect=True)
def test_deleted_runs_are_moved_only_if_the_query_means_them(
    origin: str, tmp_path: Path, quick_databases: None
) -> None:
    archive, living = f"archive:{tmp_path}/archive", Query(include_deleted=False)
    report = trackbridge.migrate(origin, archive, living)
    assert (report.verified, report.total) == (True, 15)
    assert {loss.kind: loss.count for loss in report.losses}["deleted runs left out"] == 2
    assert trackbridge.migrate(origin, archive).copied == 2
    database = f"mlflow:sqlite:///{tmp_path}/new/mlflow.db"
    assert trackbridge.migrate(archive, database, living).total == 15
    assert trackbridge.verify(origin, database, living).differences == []


@pytest.mark.parametrize("origin", ["mlflow-3.17/mlflow.db"], indirect=True)
@every_target
def test_two_stores_with_an_experiment_of_one_name_stay_two(
    origin: str, place: str, tmp_path: Path, quick_databases: None
) -> None:
    from mlflow import MlflowClient

    other = f"sqlite:///{tmp_path}/other.db"
    client = MlflowClient(other)
    experiment = client.create_experiment("main / größe", f"{tmp_path}/files")
    client.set_experiment_tag(experiment, "mlflow.note.content", "of the other")
    client.log_param(client.create_run(experiment).info.run_id, "lr", "0.1")
    target = place.format(tmp_path / "target")
    for source, name in ((origin, "one"), (f"mlflow:{other}", "two")):
        renames = {"main / größe": name}
        query = Query(projects=["main / größe"])
        assert trackbridge.migrate(source, target, query, renames=renames).failures == []
        assert trackbridge.verify(source, target, query, renames=renames).differences == []
    for source in (origin, f"mlflow:{other}"):
        query = Query(projects=["main / größe"])
        assert trackbridge.migrate(source, target, query).skipped > 0
        assert trackbridge.verify(source, target, query).differences == []
    assert {info.ref.project for info in open_reader(target).list_runs(Query())} == {"one", "two"}
    home = f"mlflow:sqlite:///{tmp_path}/home/mlflow.db"
    assert trackbridge.migrate(target, home, Query(projects=["two"])).failures == []
    [shown] = MlflowClient(home.removeprefix("mlflow:")).search_experiments(
        filter_string="name = 'main / größe'"
    )
    assert shown.tags["mlflow.note.content"] == "of the other"
    assert trackbridge.verify(f"mlflow:{other}", home, query).differences == []
    if target.startswith("mlflow:sqlite"):
        seen = {e.name: e for e in MlflowClient(target[7:]).search_experiments()}
        assert {"one", "two"} <= seen.keys()
        assert seen["two"].tags["mlflow.note.content"] == "of the other"
        assert seen["one"].tags.get("mlflow.note.content") != "of the other"
