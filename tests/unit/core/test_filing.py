"""Files can be moved, referred to or left out, and a later call brings what stayed behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from unit.core.faults import Faults
from unit.core.samples import POOR, sample
from unit.core.stores import NOTHING_CHANGES, edit, native, peek, seed, stores

import trackbridge
from trackbridge.adapter import SHARED_FILE, SIDECAR, Capabilities, RunKey
from trackbridge.cli import main
from trackbridge.engine import Report
from trackbridge.errors import ConfigError
from trackbridge.filing import WHOLE, FileChoice, parse_size
from trackbridge.forecast import forecast
from trackbridge_adapters import memory

REFERENCE, SKIP, SMALL = FileChoice("reference"), FileChoice("skip"), FileChoice(limit=100)
TEXT, WEIGHTS = ("", "a/b.txt"), ("model:v0", "weights.bin")
FILES = [
    {"owner": "", "path": "a/b.txt", "size": 4},
    {"owner": "model:v0", "path": "weights.bin", "size": 256, "sha256": None},
    {"owner": "", "path": "far.bin", "reference": "s3://bucket/far.bin", "size": 9},
    {"owner": "", "path": "lost.bin", "size": 3},
]


@pytest.fixture(params=["everything", "poor"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    claims = {"everything": NOTHING_CHANGES, "poor": POOR}[request.param]
    with stores(NOTHING_CHANGES, claims) as (home, away):
        seed(home, [sample("run1", files=FILES), sample("run2", files=[])])
        yield f"memory:{home}", f"memory:{away}"


def contents(address: str) -> dict[tuple[str, str], int]:
    """Sizes of the files of all runs, without sidecars."""
    found = memory.STORES[address.removeprefix("memory:")].files
    return {
        (file.owner, file.path): len(data)
        for file, data in found.items()
        if file.run.run_id and file.path != SIDECAR
    }


def counts(report: Report) -> tuple[int, int, int, int]:
    return report.copied, report.updated, report.skipped, len(report.failures)


def losses(found: Any) -> dict[str, int]:
    return {loss.kind: loss.count for loss in found if "stay" not in loss.kind}


ADDRESSES = "files kept as addresses"


@pytest.mark.parametrize(
    ("choice", "moved", "lost"),
    [
        (WHOLE, {TEXT: 4, WEIGHTS: 256}, {}),
        (SMALL, {TEXT: 4}, {ADDRESSES: 1, f"{ADDRESSES}, in bytes": 256}),
        (REFERENCE, {}, {ADDRESSES: 3, f"{ADDRESSES}, in bytes": 263}),
        (SKIP, {}, {"files left out": 3, "files left out, in bytes": 263}),
    ],
)
def test_what_is_not_moved_is_forecast_reported_and_named_by_verify(
    pair: tuple[str, str], choice: FileChoice, moved: Any, lost: dict[str, int]
) -> None:
    foreseen = forecast(*pair, files=choice)
    report = trackbridge.migrate(*pair, files=choice)
    assert (report.verified, report.files, report.size) == (True, len(moved), sum(moved.values()))
    assert contents(pair[1]) == moved
    result = trackbridge.verify(*pair, files=choice)
    assert result.differences == []
    for found in (foreseen.losses, report.losses, result.losses.list()):
        assert {
            k: n for k, n in losses(found).items() if k.startswith((ADDRESSES, "files left"))
        } == lost
    assert (foreseen.files, foreseen.size) == (len(moved), sum(moved.values()))
    if not choice.is_whole:
        assert [d.table for d in trackbridge.verify(*pair).differences]


def test_a_reference_says_where_the_file_lies_and_what_is_known_of_it() -> None:
    known = "ab" * 32
    with stores(NOTHING_CHANGES, NOTHING_CHANGES) as (home, away):
        files = [{**FILES[1], "sha256": known}, {"owner": "", "path": "ä b/c", "size": 1}]
        seed(home, [sample("run1", files=files)])
        trackbridge.migrate(f"memory:{home}", f"memory:{away}", files=REFERENCE)
        rows = {row["path"]: row for row in native(away, "files")}
    place = f"memory:{home}#p/{'x%2F%2Fp%2Frun1'}"
    assert rows["weights.bin"]["reference"] == f"{place}/model%3Av0/weights.bin"
    assert (rows["weights.bin"]["size"], rows["weights.bin"]["sha256"]) == (256, known)
    assert rows["ä b/c"]["reference"] == f"{place}//ä b/c"


def test_what_lives_elsewhere_keeps_its_own_address(pair: tuple[str, str]) -> None:
    trackbridge.migrate(*pair, files=REFERENCE)
    with stores(NOTHING_CHANGES) as [back]:
        trackbridge.migrate(pair[1], f"memory:{back}")
        rows = {row["path"]: row["reference"] for row in native(back, "files")}
    assert rows["far.bin"] == "s3://bucket/far.bin"
    assert rows["a/b.txt"].startswith(f"{pair[0]}#p/")


STEPS = [SKIP, REFERENCE, SMALL, WHOLE]


@pytest.mark.parametrize("first", STEPS)
@pytest.mark.parametrize("second", STEPS)
def test_a_later_call_brings_what_it_asks_for_and_takes_nothing_away(
    pair: tuple[str, str], first: FileChoice, second: FileChoice
) -> None:
    trackbridge.migrate(*pair, files=first)
    before = contents(pair[1])
    again = trackbridge.migrate(*pair, files=second)
    more = STEPS.index(second) > STEPS.index(first)
    assert counts(again) == ((0, 1, 1, 0) if more else (0, 0, 2, 0))
    assert trackbridge.verify(*pair, files=max(first, second, key=STEPS.index)).differences == []
    if not more:
        assert contents(pair[1]) == before


@pytest.mark.parametrize("first", STEPS)
@pytest.mark.parametrize("second", STEPS)
def test_it_is_the_same_when_the_receipts_are_lost(
    pair: tuple[str, str], state: Path, first: FileChoice, second: FileChoice
) -> None:
    trackbridge.migrate(*pair, files=first)
    for path in state.rglob("*.json"):
        path.unlink()
    assert trackbridge.migrate(*pair, files=second).failures == []
    if first is WHOLE or second is WHOLE:
        assert contents(pair[1]) == {TEXT: 4, WEIGHTS: 256}


def test_a_run_that_was_touched_in_the_target_is_held_to_what_was_moved_of_it(
    pair: tuple[str, str],
) -> None:
    trackbridge.migrate(*pair, files=SMALL)
    for run in memory.STORES[pair[1].removeprefix("memory:")].runs.values():
        run.fingerprint = "another"
    assert counts(trackbridge.migrate(*pair, files=SKIP)) == (0, 0, 2, 0)
    edit(pair[1].removeprefix("memory:"), "tags", [], RunKey("x", "", "p", "run1"))
    assert counts(trackbridge.migrate(*pair, files=SKIP)) == (0, 0, 1, 1)


def test_files_of_runs_that_are_proven_are_not_copied_again(
    pair: tuple[str, str], wrong: Faults
) -> None:
    source = pair[0].replace("memory", "faulty")
    trackbridge.migrate(source, pair[1])
    opened: list[str] = []
    wrong.of["open_file"] = lambda file: opened.append(file.path)
    assert trackbridge.migrate(source, pair[1]).skipped == 2
    assert set(opened) <= {SHARED_FILE, "lost.bin"}  # which may have come back


@pytest.mark.parametrize("together", [False, True])
def test_files_without_bytes_stop_no_other(together: bool, wrong: Faults) -> None:
    claims = Capabilities.everything(parallel_files=together)
    paths = [f"{n}.txt" for n in range(40)]
    with stores(claims, claims) as (home, away):
        run = sample(files=[{"owner": "", "path": path} for path in paths])
        run.files = {("", path): path.encode() for path in paths[::2]}
        seed(home, [run])
        report = trackbridge.migrate(f"memory:{home}", f"memory:{away}")
        assert (report.verified, report.files) == (True, 20)
        assert peek(away) == peek(home)
        assert losses(report.losses)["files without bytes"] == 20


def test_an_error_while_files_are_copied_together_leaves_nothing_behind(wrong: Faults) -> None:
    claims = Capabilities.everything(parallel_files=True)
    with stores(claims, claims) as (home, away):
        paths = [f"{n}.txt" for n in range(40)]
        run = sample(files=[{"owner": "", "path": path} for path in paths])
        run.files = {("", path): path.encode() for path in paths}
        seed(home, [run])

        def torn(file: Any) -> None:
            if file.path == "20.txt":
                raise trackbridge.BridgeError("torn")

        wrong.of["open_file"] = torn
        report = trackbridge.migrate(f"faulty:{home}", f"memory:{away}")
        assert [failure.error for failure in report.failures] == ["torn"]
        assert not memory.STORES[away].files
        del wrong.of["open_file"]
        assert trackbridge.migrate(f"faulty:{home}", f"memory:{away}").verified


def test_the_command_line_takes_ways_and_sizes(pair: tuple[str, str]) -> None:
    def run(*options: str) -> Any:
        result = CliRunner().invoke(main, ["migrate", *pair, *options, "--json"])
        return json.loads(result.stdout) if result.exit_code == 0 else result

    assert run("--artifacts", "skip")["files"] == 0
    assert run("--max-file-size", "100B")["files"] == 1
    assert run()["files"] == 2
    for options, text in (
        (["--artifacts", "none"], "'none' is not one of"),
        (["--max-file-size", "much"], "'much' is no size; write it like 100MB"),
        (["--artifacts", "skip", "--max-file-size", "1MB"], "says nothing where artifacts are"),
    ):
        result = run(*options)
        assert result.exit_code == 2
        assert text in result.stderr


def test_a_choice_is_one_of_three() -> None:
    with pytest.raises(ConfigError, match="'none' is none of copy, reference, skip"):
        FileChoice("none")
    for choice in STEPS:
        assert FileChoice.of(None if choice.is_whole else choice.extent) == choice


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("100MB", 100_000_000),
        ("1.5 kb", 1500),
        ("2GiB", 2 * 1024**3),
        (" 7 B ", 7),
        ("1tib", 1024**4),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "1 XB", "1e3", "1,5MB", "1MB 2"])
def test_what_is_no_size_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="is no size"):
        parse_size(text)
