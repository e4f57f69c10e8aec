"""The parity report says what has arrived in a back end, and names what has not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from unit.dual.logged import alter, begin, database, deliver, finished, log, look, round_of

from trackbridge.cli import main
from trackbridge.dual import frames, parity_text, standing
from trackbridge.dual.brief import short
from trackbridge.dual.journal import Journal
from trackbridge.dual.parity import Series, parity
from trackbridge.errors import ConfigError

pytest.importorskip("mlflow")  # a database of its is delivered to
VALUES = 40 * 3 + 2


@pytest.fixture
def delivered(tmp_path: Path) -> Path:
    """The journal of a run that is in the database."""
    journal = finished(tmp_path)
    deliver([journal], database(tmp_path))
    return journal


def test_a_run_that_was_delivered_is_equal(tmp_path: Path, delivered: Path) -> None:
    found = look(delivered, database(tmp_path))
    assert (found.verdict, found.sent, found.arrived) == ("equal", VALUES, VALUES)
    assert (found.differing, found.missing, found.extra, found.waiting) == (0, 0, 0, 0)
    assert not found.series and not found.differences


def test_what_the_back_end_shows_otherwise_is_told_with_counts(
    tmp_path: Path, delivered: Path
) -> None:
    found = {loss.kind: loss for loss in look(delivered, database(tmp_path)).losses}
    assert found["infinity shown as a number"].count == 2
    assert found["params cut"].example == "long: 9000 characters"
    assert found["time of a point rounded down"].count > 0


def test_the_same_is_told_of_a_store_whose_standing_is_not_there(
    tmp_path: Path, delivered: Path
) -> None:
    before = look(delivered, database(tmp_path)).losses
    for path in (delivered / "delivery").iterdir():
        path.unlink()
    found = look(delivered, database(tmp_path))
    assert (found.verdict, found.losses) == ("equal", before)


def test_missing_and_differing_values_are_counted_by_series_worst_first(
    tmp_path: Path, delivered: Path
) -> None:
    alter(
        tmp_path,
        "DELETE FROM metrics WHERE key = 'acc' AND step IN (7, 8, 9)",
        "UPDATE metrics SET value = 0.77 WHERE key = 'loss' AND step = 1",
    )
    found = look(delivered, database(tmp_path))
    assert (found.verdict, found.arrived) == ("different", VALUES - 3)
    assert [(s.key, s.sent, s.missing, s.differing) for s in found.series] == [
        ("acc", 40, 3, 0),
        ("loss", 40, 0, 1),
    ]
    told = parity_text.example(found.series[1])
    assert told == {"step": 1, "sent": "0.5", "arrived": "0.77"}
    told = parity_text.example(found.series[0])
    assert told and told["arrived"] is None and told["step"] in (7, 8, 9)


def test_more_values_than_are_named_are_counted_all(tmp_path: Path, delivered: Path) -> None:
    alter(tmp_path, "DELETE FROM metrics WHERE key = 'acc' AND step < 30")
    assert look(delivered, database(tmp_path)).missing == 30


def test_a_value_that_nobody_sent_is_counted(tmp_path: Path, delivered: Path) -> None:
    alter(
        tmp_path,
        "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)"
        " SELECT key, 3.0, timestamp, run_uuid, 1000, is_nan FROM metrics"
        " WHERE key = 'loss' AND step = 5",
    )
    found = look(delivered, database(tmp_path))
    assert (found.verdict, found.extra, found.missing) == ("different", 1, 0)


def test_what_differs_beside_values_is_named(tmp_path: Path, delivered: Path) -> None:
    alter(tmp_path, "UPDATE params SET value = '0.2' WHERE key = 'lr'")
    found = look(delivered, database(tmp_path))
    assert found.verdict == "different" and found.arrived == VALUES
    assert [(d.table, d.key, d.what) for d in found.differences] == [
        ("params", "lr", "value: '0.1' -> '0.2'")
    ]


def test_a_changed_stand_in_for_an_infinity_is_found(tmp_path: Path, delivered: Path) -> None:
    alter(tmp_path, "UPDATE metrics SET value = 7.0 WHERE key = 'odd' AND step = 3")
    found = look(delivered, database(tmp_path))
    assert found.verdict == "different"
    assert [series.key for series in found.series if series.wrong] == ["odd"]


def test_a_run_that_was_dropped_is_not_there(tmp_path: Path, delivered: Path) -> None:
    tables = ("metrics", "latest_metrics", "params", "tags", "runs")
    alter(tmp_path, *(f"DELETE FROM {table}" for table in tables))
    found = look(delivered, database(tmp_path))
    assert (found.verdict, found.arrived, found.missing) == ("missing", 0, VALUES)
    assert {series.key for series in found.series} == {"loss", "acc", "odd", "note", "flag"}


def test_a_run_that_is_marked_as_deleted_there_is_different(
    tmp_path: Path, delivered: Path
) -> None:
    alter(tmp_path, "UPDATE runs SET lifecycle_stage = 'deleted'")
    found = look(delivered, database(tmp_path))
    assert found.verdict == "different" and "deleted" in found.differences[0].what


def test_runs_of_one_folder_are_told_apart(tmp_path: Path, delivered: Path) -> None:
    other = finished(tmp_path, "second")
    deliver([other], database(tmp_path))
    alter(
        tmp_path,
        "DELETE FROM metrics WHERE key = 'acc' AND step = 2 AND run_uuid ="
        " (SELECT run_uuid FROM runs WHERE name = 'second')",
    )
    found = parity([tmp_path / "journals"], [database(tmp_path)])
    assert {each.info.name: (each.verdict, each.missing) for each in found} == {
        "resnet": ("equal", 0),
        "second": ("different", 1),
    }


def test_a_run_that_goes_on_is_compared_as_far_as_it_was_delivered(tmp_path: Path) -> None:
    store = database(tmp_path)
    with begin(tmp_path) as run:
        log(run)
        round_of(run, store)
        run.log({"loss": 9.0, "acc": 9.0})
        assert run.folder
        found = look(run.folder, store)
        assert (found.verdict, found.sent, found.arrived) == ("goes on", VALUES + 2, VALUES)
        assert (found.missing, found.differing, found.waiting) == (0, 0, 2)
        assert "it goes on, 122 of 124 values arrived" in parity_text.remarks(found)
        assert {loss.kind for loss in found.losses} >= {"infinity shown as a number"}
        alter(
            tmp_path,
            "DELETE FROM metrics WHERE key = 'acc' AND step = 2",
            "UPDATE metrics SET value = 5 WHERE key = 'loss' AND step = 2",
        )
        found = look(run.folder, store)
        assert (found.verdict, found.missing, found.differing) == ("different", 1, 1)
        assert found.waiting == 2


def test_a_run_that_goes_on_and_was_not_shown_yet_is_no_failure(tmp_path: Path) -> None:
    store = f"archive:{tmp_path / 'out'}"
    deliver([finished(tmp_path)], store)
    with begin(tmp_path, "second") as run:
        log(run)
        assert run.folder
        found = look(run.folder, store)
    assert (found.verdict, found.arrived, found.waiting) == ("goes on", 0, VALUES)
    assert "written whole" in found.why


def test_a_run_that_has_ended_and_was_not_delivered_whole_is_on_its_way(tmp_path: Path) -> None:
    store = database(tmp_path)
    with begin(tmp_path) as run:
        log(run)
        round_of(run, store)
        run.log({"loss": 9.0})
        journal = run.folder
    assert journal
    found = look(journal, store)
    assert (found.verdict, found.missing, found.waiting) == ("waiting", 0, 1)
    assert "trackbridge replay" in found.why
    assert not parity_text.holds([found])
    deliver([journal], store)
    assert look(journal, store).verdict == "equal"


def test_a_back_end_that_does_not_answer_leaves_the_others_their_report(
    tmp_path: Path, delivered: Path
) -> None:
    nowhere = f"archive:{tmp_path / 'nowhere'}"
    unknown, equal = parity([delivered], [nowhere, database(tmp_path)])
    assert (unknown.verdict, unknown.arrived) == ("unknown", None)
    assert "nowhere" in unknown.why and len(unknown.why.splitlines()) == 1
    assert equal.verdict == "equal"
    assert not (tmp_path / "nowhere").exists()


def test_neither_journal_nor_store_is_altered(tmp_path: Path, delivered: Path) -> None:
    def state() -> dict[str, bytes]:
        files = (path for path in tmp_path.rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in files}

    before = state()
    look(delivered, database(tmp_path))
    assert state() == before


def test_outages_lags_and_costs_are_told(tmp_path: Path, delivered: Path) -> None:
    at = standing.load(delivered, database(tmp_path))
    at.lags, at.outages = [1.0, 2.0, 3.0], [[10.0, 14.0, "refused"]]
    standing.save(delivered, at)
    found = look(delivered, database(tmp_path))
    [told] = parity_text.document([found])["runs"]
    assert told["lag"] == {"p50": 2.0, "p95": 3.0, "max": 3.0}
    assert told["outages"] == [{"from": 10.0, "to": 14.0, "why": "refused"}]
    assert told["outage_seconds"] == 4.0
    assert told["cost"]["calls"] > 0 and told["cost"]["lost"] == 0
    assert any("no answer for 4 s" in text for text in parity_text.remarks(found))


def test_the_command_prints_a_table_and_exits_with_0_where_nothing_is_wrong(
    tmp_path: Path, delivered: Path
) -> None:
    done = CliRunner().invoke(main, ["parity", str(delivered), "--to", database(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "122 of 122" in done.output and "infinity shown as a number" in done.output


def test_the_command_exits_with_1_and_names_the_value_that_differs(
    tmp_path: Path, delivered: Path
) -> None:
    alter(tmp_path, "UPDATE metrics SET value = 0.77 WHERE key = 'loss' AND step = 1")
    command = ["parity", str(delivered), "--to", database(tmp_path)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1
    assert "1 differing of 40 values; at step 1 0.5 was sent, 0.77 arrived" in done.output
    done = CliRunner().invoke(main, [*command, "--json"])
    told = json.loads(done.stdout)
    assert (done.exit_code, told["fine"], told["complete"]) == (1, False, False)
    [run] = told["runs"]
    assert (run["differing"], run["series"][0]["key"]) == (1, "loss")


def test_wrong_usage_ends_with_2_and_says_the_way_out(tmp_path: Path) -> None:
    journal = finished(tmp_path)
    with pytest.raises(ConfigError, match="--to"):
        parity([journal])
    done = CliRunner().invoke(main, ["parity", str(journal)])
    assert done.exit_code == 2 and not done.stdout


def test_a_page_that_cannot_be_written_is_an_error_of_one_line(
    tmp_path: Path, delivered: Path
) -> None:
    page = str(tmp_path / "no" / "such.html")
    command = ["parity", str(delivered), "--to", database(tmp_path), "--html", page]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2 and not done.stdout
    assert page in done.stderr


def test_names_in_the_report_do_not_steer_the_terminal(tmp_path: Path) -> None:
    journal = finished(tmp_path, "\x1b[31mred")
    deliver([journal], database(tmp_path))
    alter(tmp_path, "UPDATE params SET value = char(27) || '[2J' WHERE key = 'lr'")
    done = CliRunner().invoke(main, ["parity", str(journal), "--to", database(tmp_path)])
    assert "\x1b" not in done.output


def test_a_journal_that_cannot_be_read_is_named_and_holds_up_no_other(tmp_path: Path) -> None:
    journals = [finished(tmp_path, name) for name in ("first", "second")]
    deliver(journals, database(tmp_path))
    odd = tmp_path / "journals" / "run-odd.1"
    odd.mkdir()
    told = {"t": "begin", "version": 99, "at": 1, "run": {"new": "form"}, "to": [1]}
    (odd / "1.journal").write_bytes(frames.record(told))
    page = tmp_path / "page.html"
    command = ["parity", str(tmp_path / "journals"), "--to", database(tmp_path), "--json"]
    done = CliRunner().invoke(main, [*command, "--html", str(page)])
    assert done.exit_code == 1, done.output
    runs = {run["name"] or run["run"]: run for run in json.loads(done.stdout)["runs"]}
    assert {name: run["verdict"] for name, run in runs.items()} == {
        "first": "equal",
        "second": "equal",
        "run-odd.1": "unreadable",
    }
    assert "written by a newer Trackbridge" in runs["run-odd.1"]["why"]
    assert runs["run-odd.1"]["arrived"] is None and "run-odd.1" in page.read_text()
    done = CliRunner().invoke(main, command[:-1])
    assert done.exit_code == 1 and "unreadable" in done.output, done.output
    assert "written by a newer Trackbridge" in done.output


def test_of_a_run_that_grew_since_it_was_counted_no_less_than_nothing_has_arrived(
    tmp_path: Path, delivered: Path
) -> None:
    found = look(delivered, database(tmp_path))
    found.series = [Series("metrics", "acc", 40, differing=0, missing=200, waiting=0, extra=0)]
    assert found.arrived == 0


def test_the_short_form_is_a_line_for_each_store_of_the_run(tmp_path: Path) -> None:
    stores = [database(tmp_path), f"archive:{tmp_path / 'out'}"]
    journal = tmp_path / "run-1"
    _write_header(journal, stores)
    for store in stores:
        deliver([journal], store)
    assert short(journal) == [f"{store}: all 0 values arrived and are equal" for store in stores]
    at = standing.load(journal, stores[0])
    at.points, at.lags = 12_000, [1.2, 1.1, 9.0]
    standing.save(journal, at)
    line = f"{stores[0]}: all 12,000 values arrived and are equal; lag 1.2 s"
    assert short(journal)[0] == line
    begun = Journal(journal, {"run": ["p", "r"], "by": None, "to": stores, "cwd": str(journal)})
    begun.record({"t": "set", "at": 1, "row": {}})  # it goes on: what is proven is not all
    assert "on its way" in short(journal)[0]


def test_the_short_form_says_what_is_wrong_and_what_is_left(tmp_path: Path) -> None:
    store = "toy:nowhere"
    journal = tmp_path / "run-1"
    _write_header(journal, [store])
    assert short(journal) == [
        f"{store}: 0 values arrived; the rest is on its way (`trackbridge status`)"
    ]
    at = standing.Standing(store, "live", points=3)
    at.missed("refused")
    standing.save(journal, at)
    [line] = short(journal)
    assert line.startswith(f"{store}: 3 values arrived; no answer since ")
    assert "refused" in line and "trackbridge status" in line


def _write_header(folder: Path, stores: list[str]) -> None:
    journal = Journal(folder, {"run": ["p", "r"], "by": None, "to": stores, "cwd": str(folder)})
    journal.record({"t": "set", "at": 1, "row": {}})
    journal.close()
