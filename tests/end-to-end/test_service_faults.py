"""Whatever a W&B server refuses, loses or breaks off: a run is whole, or it is named as failed.

The same command finishes the job once the server is well again: nothing is lost, nothing doubled.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner, Result
from tenacity import wait_none
from wandb_server import Server, started
from wandb_server.state import Run

import trackbridge
from trackbridge import retry
from trackbridge.adapter import Query
from trackbridge.cli import main
from trackbridge_adapters.wandb.service import upload

FIXTURES = Path(__file__).parents[2] / "fixtures"
CHOSEN = {
    "wandb-0.31/wandb": {"artifacts01", "console01", "history01"},
    "mlflow-3.17/mlflow.db": {
        "e5889879b57f40bbac45207e82542b9d",  # metrics
        "0b5a0c7709904ad6bf6f4dd1e22e88cf",  # files
        "28018f825cd042cc84b6ea0acfe8f6ba",  # data sets
    },
}
"""Runs that have something for every operation."""
RUNS = 6
OF_THE_CLIENT = (
    *("UpsertBucket", "file_stream", "CreateRunFiles", "CreateArtifact", "CreateArtifactManifest"),
    *("CreateArtifactFiles", "CommitArtifact"),
)
ALONG_WITH_IT = ("UseArtifact", "ServerFeaturesQuery", "TrackbridgeDeleteFiles")
"""What can be done without."""
OF_OURS = (
    *("TrackbridgeProjects", "TrackbridgeRuns", "TrackbridgeStreams", "TrackbridgeChangeRun"),
    *("TrackbridgeCreateRunFiles", "TrackbridgeShared", "TrackbridgeDescribe"),
)
OF_BOTH = ("upload", "download", "file")
READING = ("TrackbridgeProjects", "TrackbridgeRuns", "TrackbridgeStreams", "download", "file")
PASSING = ({"status": 500}, {"how": "drop"}, {"status": 503}, {"how": "lose"})
"""One after the other."""
STORE = "trackbridge-store"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An archive of runs from both trackers."""
    folder = tmp_path_factory.mktemp("source")
    address = f"archive:{folder}/archive"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKBRIDGE_STATE", str(folder / "state"))
        for store, run_ids in CHOSEN.items():
            trackbridge.migrate(str(FIXTURES / store), address, Query(run_ids=run_ids))
    return address


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server whose clients are in a hurry: ours waits not at all, W&B's for a second."""
    monkeypatch.setattr(retry, "_backoff", wait_none())
    for name in upload.ENVIRONMENT:
        if name.endswith(("RETRY_MAX", "MAX_SECONDS")):
            monkeypatch.setitem(upload.ENVIRONMENT, name, "1")
    with started(tmp_path / "server") as found:
        monkeypatch.setenv("WANDB_BASE_URL", found.address)
        monkeypatch.setenv("WANDB_API_KEY", found.user.key)
        yield found


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result


def failed(*arguments: str) -> list[str]:
    """The lines that say what went wrong, one for each run or for all."""
    result = call(*arguments)
    assert result.exit_code in (1, 2), result.output
    lines = [line for line in result.output.splitlines() if line.startswith(("Error:", "failed:"))]
    assert lines, result.output
    return lines


def is_moved(source: str, target: str) -> str:
    """Whether the command does all that is left, with its proof; and what it said."""
    result = call("migrate", source, target)
    assert result.exit_code == 0, result.output
    assert call("verify", source, target).exit_code == 0
    return result.output


class Lines(NamedTuple):
    """How much the server has of a run."""

    history: int
    samples: int
    console: int


def runs_of(server: Server, entity: str) -> list[Run]:
    projects = [place for (owner, _), place in server.state.projects.items() if owner == entity]
    return [run for place in projects for run in place.runs.values() if run.name != STORE]


def lines(server: Server, entity: str = "team") -> dict[str, Lines]:
    """By the keys of the runs, each of which must be there once."""
    found: dict[str, Lines] = {}
    for run in runs_of(server, entity):
        key = run.config["trackbridge"]["value"]["run_key"]
        assert key not in found
        found[key] = Lines(len(run.history), len(run.events), len(run.console))
    return found


def versions(server: Server, entity: str = "team") -> dict[str, list[str]]:
    """Digests of the versions in each collection, in their order."""
    return {
        f"{project.name}/{collection.name}": [each.artifact.digest for each in collection.members]
        for (owner, _), project in server.state.projects.items()
        for collection in project.collections.values()
        if owner == entity and collection.members
    }


@pytest.fixture(scope="module")
def good(
    source: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Lines], dict[str, list[str]], set[str]]:
    """What is on a server that never failed, and what it was asked for in both directions."""
    folder = tmp_path_factory.mktemp("good")
    with pytest.MonkeyPatch.context() as patch, started(folder / "server") as server:
        patch.setenv("TRACKBRIDGE_STATE", str(folder / "state"))
        patch.setenv("WANDB_BASE_URL", server.address)
        patch.setenv("WANDB_API_KEY", server.user.key)
        is_moved(source, "wandb:team")
        is_moved("wandb:team", f"archive:{folder}/archive")
        return lines(server), versions(server), set(server.faults.counts())


Good = tuple[dict[str, Lines], dict[str, list[str]], set[str]]


def is_whole(server: Server, good: Good) -> None:
    assert (lines(server), versions(server)) == good[:2]


def test_every_operation_of_a_migration_is_tried_here(good: Good) -> None:
    assert good[2] == {*OF_THE_CLIENT, *ALONG_WITH_IT, *OF_OURS, *OF_BOTH}
    assert len(good[0]) == RUNS


@pytest.mark.slow
@pytest.mark.parametrize("operation", [*OF_THE_CLIENT, *ALONG_WITH_IT, *OF_OURS, *OF_BOTH])
def test_what_fails_for_a_while_is_done_all_the_same(
    operation: str, server: Server, source: str, good: Good, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in upload.ENVIRONMENT:
        if name.endswith("RETRY_MAX"):
            monkeypatch.setitem(upload.ENVIRONMENT, name, "3")
    for fault in PASSING:
        server.faults.fail(operation, **fault)
    is_moved(source, "wandb:team")
    is_whole(server, good)


@pytest.mark.slow
@pytest.mark.parametrize("status", [403, pytest.param(503, marks=pytest.mark.nightly)])
@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(operation, marks=pytest.mark.nightly if number % 3 else ())
        for number, operation in enumerate([*OF_THE_CLIENT, *OF_OURS, *OF_BOTH])
    ],
)
def test_what_fails_for_ever_is_named_and_the_same_command_finishes_it_later(
    operation: str, status: int, server: Server, source: str, good: Good
) -> None:
    server.faults.fail(operation, times=None, status=status)
    failed("migrate", source, "wandb:team")
    server.faults.heal()
    is_moved(source, "wandb:team")
    is_whole(server, good)


def test_a_run_that_is_refused_for_ever_fails_alone(
    server: Server, source: str, good: Good
) -> None:
    server.faults.fail("UpsertBucket", times=None, status=400, about="history01")
    [line] = failed("migrate", source, "wandb:team")
    assert "history01" in line
    assert len(lines(server)) == RUNS - 1
    server.faults.heal()
    is_moved(source, "wandb:team")
    is_whole(server, good)


@pytest.mark.parametrize("operation", ALONG_WITH_IT)
def test_what_can_be_done_without_stops_nothing(
    operation: str, server: Server, source: str, good: Good
) -> None:
    server.faults.fail(operation, times=None, status=400)
    is_moved(source, "wandb:team")
    is_whole(server, good)


@pytest.mark.parametrize("operation", ["CreateArtifact", "CommitArtifact", "CreateRunFiles"])
def test_a_client_that_says_that_all_is_well_is_not_believed(
    operation: str, server: Server, source: str
) -> None:
    """It exits with 0 and says "Finished syncing", whatever became of artifacts and files."""
    server.faults.fail(operation, times=None, status=400)
    lines = failed("migrate", source, "wandb:team", "--run", "artifacts01", "--run", "history01")
    [line] = [line for line in lines if "artifacts01" in line]
    assert "files" in line
    named = any("history01" in line for line in lines)
    assert named == (operation == "CreateRunFiles")


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["upload", "file_stream", "CommitArtifact", "download"])
def test_a_server_that_dies_in_the_middle_loses_nothing(
    operation: str, server: Server, source: str, good: Good
) -> None:
    server.faults.fail(operation, "kill", skip=2)
    failed("migrate", source, "wandb:team")
    assert server.down.is_set()
    failed("migrate", source, "wandb:team")
    server.start()
    is_moved(source, "wandb:team")
    is_whole(server, good)


@pytest.mark.slow
def test_a_storm_of_refusals_is_weathered(
    server: Server, source: str, good: Good, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("TRACKBRIDGE_STATE", f"{server.folder}/state")
    monkeypatch.setenv("WANDB_BASE_URL", server.address)
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    server.faults.limit(per_minute=1200, at_once=10)
    is_moved(source, "wandb:team")
    refused = [request for request in server.faults.requests if request.status == 429]
    assert refused
    is_whole(server, good)


@pytest.fixture
def filled(server: Server, source: str) -> Server:
    """A server that has the runs."""
    is_moved(source, "wandb:team")
    server.faults.forget()
    return server


@pytest.mark.parametrize("operation", READING)
@pytest.mark.parametrize("exported", [False, True])
def test_what_fails_for_a_while_is_read_all_the_same(
    operation: str, exported: bool, filled: Server, tmp_path: Path
) -> None:
    if exported:
        export(filled)
    for fault in PASSING:
        filled.faults.fail(operation, **fault)
    assert "without bytes" not in is_moved("wandb:team", f"archive:{tmp_path}/archive")


def export(server: Server) -> None:
    for run in runs_of(server, "team"):
        run.exported = len(run.history)


@pytest.mark.parametrize("status", [400, 403, 404, 410])
@pytest.mark.parametrize("operation", ["download", "file"])
def test_addresses_of_files_that_have_expired_are_asked_for_anew(
    operation: str, status: int, filled: Server, tmp_path: Path
) -> None:
    target = f"archive:{tmp_path}/archive"
    filled.faults.fail(operation, status=status, skip=3)
    report = trackbridge.migrate("wandb:team", target)
    assert report.verified
    assert [loss for loss in report.losses if "bytes" in loss.kind] == []
    assert trackbridge.verify("wandb:team", target).holds


@pytest.mark.parametrize("status", [403, 503])
@pytest.mark.parametrize("operation", READING)
def test_what_cannot_be_read_is_named_and_nothing_counts_as_done(
    operation: str, status: int, filled: Server, tmp_path: Path
) -> None:
    target = f"archive:{tmp_path}/archive"
    filled.faults.fail(operation, times=None, status=status)
    failed("migrate", "wandb:team", target)
    filled.faults.heal()
    is_moved("wandb:team", target)


@pytest.mark.parametrize("status", [404, 500])
def test_a_file_that_is_never_given_concerns_its_own_run(
    status: int, filled: Server, tmp_path: Path
) -> None:
    """That it is not there is an answer: it is named for good. All else fails the run."""
    target = f"archive:{tmp_path}/archive"
    place = filled.run("team/fixtures/console01").files["original/output.log"].key
    filled.faults.fail("download", times=None, status=status, about=place)
    report = trackbridge.migrate("wandb:team", target)
    assert report.copied == RUNS - len(report.failures)
    if status == 500:
        [failure] = report.failures
        assert "console01" in failure.run
        return
    told = [line for line in report.damage if "its bytes are missing, though it is listed" in line]
    assert told == [line for line in told if "fixtures/console01: " in line] != []
    assert set(told) <= set(trackbridge.migrate("wandb:team", target).damage)


@pytest.mark.parametrize("operation", ["TrackbridgeRuns", "TrackbridgeStreams", "download"])
def test_a_server_that_dies_while_it_is_read_loses_nothing(
    operation: str, filled: Server, tmp_path: Path
) -> None:
    target = f"archive:{tmp_path}/archive"
    filled.faults.fail(operation, "kill")
    failed("migrate", "wandb:team", target)
    filled.start()
    is_moved("wandb:team", target)


@pytest.mark.parametrize("name", ["trackbridge/sidecar.zip", "manifest"])
def test_a_run_without_what_it_is_read_by_is_not_taken_for_a_plainer_one(
    name: str, filled: Server, tmp_path: Path
) -> None:
    target = f"archive:{tmp_path}/archive"
    run = filled.run("team/fixtures/artifacts01")
    places = {path: file.key for path, file in run.files.items()}
    made = next(each for each in filled.state.artifacts.values() if each.created_by is run)
    assert made.manifest
    place = places.get(name, made.manifest)
    content = filled.state.storage.read(place)
    assert content
    filled.state.storage.remove(place)
    [line] = failed("migrate", "wandb:team", target)
    assert "artifacts01" in line
    assert "no such file (403), though it is listed" in line or "does not give a file" in line
    filled.state.storage.write(place, content)
    is_moved("wandb:team", target)


def test_bytes_that_are_not_those_that_were_told_fail_their_run_alone(
    filled: Server, tmp_path: Path
) -> None:
    target = f"archive:{tmp_path}/archive"
    place = filled.run("team/fixtures/console01").files["original/output.log"].key
    content = filled.state.storage.read(place)
    assert content
    filled.state.storage.write(place, content[::-1])
    [line] = failed("migrate", "wandb:team", target)
    assert "console01: original/output.log: its bytes do not have the digest" in line
    filled.state.storage.write(place, content)
    is_moved("wandb:team", target)


def test_the_folder_for_temporary_files_is_left_empty(
    server: Server, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    server.faults.fail("CommitArtifact", times=None, status=400)
    failed("migrate", source, "wandb:team")
    server.faults.heal()
    is_moved(source, "wandb:team")
    assert list(place.iterdir()) == []
