"""Runs that are shown on a server while they go on, a round of what was logged after the other."""

from __future__ import annotations

import io
import itertools
import json
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from wandb_server import Server
from wandb_server.client import script
from wandb_server.state import Run

import trackbridge
from trackbridge.adapter import SIDECAR, Batch, FileRef, Query, Row, RunKey, Sink
from trackbridge.engine import Report
from trackbridge.errors import IntegrityError, NotFoundError, TransientError, UnsupportedError
from trackbridge.optional import Extending
from trackbridge.registry import open_reader, open_writer
from trackbridge.testing import samples
from trackbridge.testing.made import MadeRun, deliver, fitted
from trackbridge_adapters.wandb.service import lines
from trackbridge_adapters.wandb.service.definitions import definitions

pytest.importorskip("wandb")
NUMBERS = itertools.count()
START = samples._START
POINTS = ("metrics", "series")
HISTORY, EVENTS = lines.HISTORY, lines.EVENTS


class Native:
    """Takes files down, for rows that are fitted before there is a sink."""

    def __init__(self) -> None:
        self.files: dict[FileRef, bytes] = {}

    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        self.files[file] = data.read()


def point(key: str, row: int, value: float, step: int | None = None) -> Row:
    time = START + timedelta(seconds=row, microseconds=333 * row)
    place = {"step": row if step is None else step, "time": time, "row": row}
    return {"key": key, **place, "value": value, "system": False}


def made(run_id: str = "abc", kind: str = "mlflow", rows: int = 10) -> MadeRun:
    """A run of ten log calls, numbers of all kinds, texts and a histogram among them."""
    run = samples.simple(run_id)
    run.key = RunKey(kind, "", "team/p", run_id)
    run.contents, run.tables["files"] = {}, []
    run.tables["runs"] = [
        {"name": f"named {run_id}", "status": "finished", "started": START, "deleted": False}
    ]
    run.tables["runs"][0] |= {"notes": "noted", "group": "these", "job_type": "train"}
    run.tables["tags"] = [{"key": "first", "value": None}]
    run.tables["params"] = [
        {"key": "lr", "value": "0.5", "type": "float"},
        {"key": "nothing", "value": "NaN", "type": "float"},
        {"path": '["deep", "er"]', "value": "text", "type": "string"},
    ]
    odd = [math.nan, math.inf, -math.inf, -0.0, 1e-7, 1e22, 2.0**60, 123456789012.5, 1 / 3, 5.0]
    metrics = [point("loss", row, 1 / (row + 1), step=3 * row) for row in range(rows)]
    metrics += [point("odd", row, odd[row % 10], step=3 * row) for row in range(rows)]
    metrics += [point("a.b/c <é>", row, float(row), step=3 * row) for row in range(1, rows, 2)]
    metrics += [
        {
            "key": key,
            "step": sample,
            "time": START + timedelta(seconds=sample),
            "row": None,
            "value": sample * 1.5,
            "system": True,
        }
        for sample in range(rows // 2)
        for key in ("cpu", "gpu.0.memory")
    ]
    run.tables["metrics"] = metrics
    run.tables["series"] = [
        series("said", row, "text", "hi <b> é \u2028\n") for row in range(0, rows, 3)
    ]
    bins = {"_type": "histogram", "bins": [0.0, 1.0, 2.5e-7], "values": [1, 2]}
    run.tables["series"].append(series("spread", 4, "histogram", bins))
    run.tables["series"].append(series("flag", 4, "bool", True))
    run.tables["series"].append(series("mixed", 5, "json", [1, 2.0, {"a": 1.5}]))
    run.tables["summary"] = [{"key": "best", "value": "0.1", "type": "float"}]
    run.tables["metric_defs"] = [
        {"key": "loss", "glob": False, "x_axis": "epoch", "summary": "min", "hidden": False},
        {"key": "eval/*", "glob": True, "x_axis": "epoch", "summary": "max,last", "hidden": True},
        {"key": "odd", "glob": False, "x_axis": "a.b/c <é>", "goal": "maximize", "hidden": False},
        {"key": "epoch", "glob": False, "summary": "none", "hidden": True},
    ]
    return run


def series(key: str, row: int, kind: str, value: Any) -> Row:
    place = {name: point(key, row, 0, 3 * row)[name] for name in ("key", "step", "time", "row")}
    return {**place, "kind": kind, "value": json.dumps(value)}


class Live:
    """A server, and runs that go on: in rounds, as whoever forwards them gives what was logged."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.address = f"wandb:{server.address}/team/p"
        self.writer = self.writer_of()
        self.native: dict[RunKey, list[Batch]] = {}

    def writer_of(self) -> Extending:
        writer = open_writer(self.address)
        assert isinstance(writer, Extending)
        return writer

    def again(self) -> None:
        """As after the death of whoever was forwarding."""
        self.writer = self.writer_of()

    def rows_of(self, run: MadeRun) -> list[Batch]:
        if run.key not in self.native:
            sink: Any = Native()
            self.native[run.key] = fitted(self.writer, sink, [run])
        return self.native[run.key]

    def put(
        self, run: MadeRun, rows: Collection[int] = (), system: Collection[int] = (), **more: bytes
    ) -> None:
        """One round with some log calls and samples of a run, all of its other rows, and files."""
        with self.writer.extend([run.key]) as sink:
            self.write(sink, run, rows, system)
            for name, content in more.items():
                place = FileRef(self.writer.target(run.key), "", f"{name}.txt")
                sink.put_file(place, io.BytesIO(content))
            sink.commit()

    def write(
        self, sink: Sink, run: MadeRun, rows: Collection[int], system: Collection[int] = ()
    ) -> None:
        for batch in self.rows_of(run):
            data = batch.data
            if batch.table in POINTS:
                wanted = pc.is_in(data.column("row"), pa.array(sorted(rows), pa.int64()))
                if batch.table == "metrics":
                    samples = pc.is_in(data.column("step"), pa.array(sorted(system), pa.int64()))
                    wanted = pc.or_(wanted, pc.and_(samples, data.column("system")))
                data = data.filter(wanted)
            if batch.table not in ("artifacts", "files"):
                sink.write(Batch(batch.table, data))

    def run(self, run: MadeRun) -> Run:
        """As the server has it."""
        return self.server.run("/".join(self.writer.target(run.key)))

    def scanned(self, run: MadeRun) -> tuple[str, list[dict[str, Any]]]:
        """State and history as W&B's own client sees them."""
        place = "/".join(self.writer.target(run.key))
        code = f"run = wandb.Api().run({place!r}); result = run.state, list(run.scan_history())"
        state, rows = script(self.server, code)
        return state, rows

    def whole(self, *runs: MadeRun) -> Report:
        """The ordinary migration in the end."""
        source = f"memory:live-{next(NUMBERS)}"
        writer = open_writer(source)
        with writer.open([run.key for run in runs]) as sink:
            deliver(writer, sink, runs)
            sink.commit()
        self.server.faults.forget()
        report = trackbridge.migrate(source, self.address)
        assert report.verified, report.failures
        assert trackbridge.verify(source, self.address).holds
        return report


@pytest.fixture
def live(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Live:
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    monkeypatch.setenv("TRACKBRIDGE_STATE", str(tmp_path / "state"))
    return Live(server)


@pytest.fixture
def streamed(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What was streamed to the server, a request each."""
    from wandb_server import runs

    found: list[dict[str, Any]] = []
    real: Callable[..., Any] = runs.stream

    def noted(state: Any, run: Run, given: dict[str, Any]) -> Any:
        found.append(given)
        return real(state, run, given)

    monkeypatch.setattr(runs, "stream", noted)
    yield found


def sent(streamed: Sequence[dict[str, Any]], name: str = HISTORY) -> list[tuple[int, int]]:
    """From which line on, and how many lines, of a stream."""
    parts = (files[name] for given in streamed if (files := given.get("files") or {}).get(name))
    return [(part["offset"], len(part["content"])) for part in parts]


def loaded(texts: list[str]) -> list[str]:
    """Lines with sorted keys, told apart by types of numbers too."""
    return [json.dumps(json.loads(text), sort_keys=True) for text in texts]


@pytest.mark.parametrize("kind", ["mlflow", "wandb"])
def test_each_row_is_there_once_while_the_run_goes_on_and_when_it_has_ended(
    live: Live, streamed: list[dict[str, Any]], kind: str
) -> None:
    run = made(kind=kind)
    for first in range(0, 10, 2):
        live.put(run, range(first, first + 2), range(first // 2, first // 2 + 1))
    live.put(run, range(4, 8), range(1, 4))
    assert sent(streamed) == [(0, 2), (2, 2), (4, 2), (6, 2), (8, 2)]
    state, rows = live.scanned(run)
    assert state == "running"
    assert [row["_step"] for row in rows] == [3 * row for row in range(10)]
    assert [row["loss"] for row in rows] == [1 / (row + 1) for row in range(10)]
    odd = [repr(float(row["odd"])) for row in rows]
    assert odd[:6] == ["nan", "inf", "-inf", "0.0", "1e-07", "1e+22"]
    assert [row["said"] for row in rows if "said" in row] == ["hi <b> é \u2028\n"] * 4
    assert live.run(run).state == "running"
    before = list(live.run(run).history)
    streamed.clear()
    live.whole(run)
    assert sent(streamed) == []
    assert live.run(run).history == before
    assert live.run(run).state == "finished"
    state, rows = live.scanned(run)
    assert state == "finished"
    assert len(rows) == 10


@pytest.mark.parametrize("kind", ["mlflow", "wandb"])
def test_lines_are_those_that_the_upload_of_the_whole_run_makes(live: Live, kind: str) -> None:
    uploaded, extended = made("uploaded", kind), made("extended", kind)
    live.whole(uploaded)
    live.put(extended, range(10), range(5))
    here, there = live.run(extended), live.run(uploaded)
    assert loaded(here.history) == loaded(there.history)
    assert loaded(here.events) == loaded(there.events)
    summary = dict(there.summary)
    assert json.dumps(here.summary, sort_keys=True) == json.dumps(summary, sort_keys=True)
    own, other = ({**run.config} for run in (here, there))
    told, promised = own.pop("trackbridge")["value"], other.pop("trackbridge")["value"]
    packed = (config.pop("_wandb")["value"] for config in (own, other))
    ours, theirs = (sorted(map(str, definitions(each))) for each in packed)
    assert ours == theirs
    assert len(ours) == 4
    assert json.dumps(own, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert told.keys() == promised.keys() - {"rows"}
    assert here.values == there.values
    assert here.tags == there.tags


def test_a_run_that_goes_on_is_listed_and_read_as_such(live: Live) -> None:
    run = made()
    live.put(run, range(4))
    reader = open_reader(live.address)
    [info] = reader.list_runs(Query())
    assert (info.key, info.status, info.carried) == (run.key, "running", True)
    assert info.name == "named abc"
    with pytest.raises(NotFoundError):
        reader.open_file(FileRef(info.ref, "", SIDECAR))
    found: dict[str, list[Row]] = {}
    for batch in reader.read_runs([info.ref]):
        found.setdefault(batch.table, []).extend(batch.data.to_pylist())
    assert [(row["key"], row["value"]) for row in found["summary"]] == [("best", "0.1")]
    assert {row["key"] for row in found["params"]} == {"lr", "nothing", "deep.er"}
    told = {(row["key"], row["x_axis"], row["summary"]) for row in found["metric_defs"]}
    assert told >= {("loss", "epoch", "min"), ("eval/*", "epoch", "max,last")}
    assert len(found["metric_defs"]) == 4
    values = sorted(row["value"] for row in found["metrics"] if row["key"] == "loss")
    assert values == [1 / 4, 1 / 3, 1 / 2, 1.0]


def test_a_round_in_which_nothing_came_is_one_request(live: Live) -> None:
    run = made()
    live.put(run, range(4))
    live.server.faults.forget()
    live.put(run)
    with live.writer.extend([run.key]) as sink:
        sink.commit()
    assert live.server.faults.counts() == {"file_stream": 2}


def test_rounds_of_points_alone_are_one_request_each(live: Live) -> None:
    run = made()
    live.put(run, range(2))
    live.server.faults.forget()
    for row in range(2, 10):
        live.put(run, [row])
    assert live.server.faults.counts() == {"file_stream": 8}


def test_only_the_rest_is_uploaded_in_the_end(live: Live, streamed: list[dict[str, Any]]) -> None:
    run = made()
    live.put(run, range(6), range(3))
    streamed.clear()
    live.whole(run)
    assert sum(count for _, count in sent(streamed)) == 4
    assert min(offset for offset, _ in sent(streamed)) == 6
    assert list(live.server.state.projects["team", "p"].runs) == [live.run(run).name]
    live.server.faults.forget()
    _, rows = live.scanned(run)
    assert [row["_step"] for row in rows] == [3 * row for row in range(10)]


def test_the_end_costs_no_more_requests_than_a_run_that_was_not_shown_before(live: Live) -> None:
    live.whole(made("other"))
    expected = live.server.faults.counts()
    live.put(made(), range(6), range(3))
    live.whole(made())
    counts = live.server.faults.counts()
    assert counts["upload"] == expected["upload"]
    assert counts["UpsertBucket"] == expected["UpsertBucket"]
    assert counts["TrackbridgeChangeRun"] == expected["TrackbridgeChangeRun"] + 1
    assert counts["TrackbridgeDeleteRun"] == 0


@pytest.mark.parametrize(("status", "state"), [("failed", "failed"), ("crashed", "failed")])
def test_in_the_end_a_run_has_the_state_that_it_ended_with(
    live: Live, status: str, state: str
) -> None:
    run = made()
    run.tables["runs"][0]["status"] = "running"
    live.put(run, range(6))
    assert live.run(run).state == "running"
    run.tables["runs"][0] |= {"status": status, "ended": START + timedelta(hours=1)}
    live.native.clear()
    live.whole(run)
    assert live.run(run).state == state
    entry = live.run(run).config["trackbridge"]["value"]
    assert (entry["rows"], entry["ended"]) == (10, "2026-03-01T13:00:00.123456+00:00")


def test_values_of_any_kind_are_changed_between_rounds_and_none_is_taken_away(live: Live) -> None:
    run = made()
    live.put(run, range(2))
    run.tables["params"] = [
        {"key": "lr", "value": "0.25", "type": "float"},
        {"path": '["deep", "too"]', "value": "1", "type": "integer"},
    ]
    run.tables["tags"] = [{"key": "second", "value": None}]
    run.tables["runs"][0]["notes"] = "changed"
    run.tables["summary"] = [{"key": "loss", "value": "7", "type": "integer"}]
    live.native.clear()
    live.again()
    live.put(run, range(2, 4))
    found = live.run(run)
    config = {name: entry["value"] for name, entry in found.config.items()}
    assert config["lr"] == 0.25
    assert config["deep"] == {"er": "text", "too": 1}
    assert math.isnan(config["nothing"])
    assert found.tags == ["first", "second"]
    assert found.values["notes"] == "changed"
    assert (found.summary["best"], found.summary["loss"], found.summary["_step"]) == (0.1, 7, 9)


def test_what_users_call_a_run_meanwhile_stays(live: Live) -> None:
    run = made()
    live.put(run, range(2))
    script(
        live.server,
        f"""
run = wandb.Api().run({"/".join(live.writer.target(run.key))!r})
run.name, run.tags = "theirs", ["first", "theirs"]
run.update()
""",
    )
    run.tables["params"][0]["value"] = "0.25"
    live.native.clear()
    live.put(run, range(2, 4))
    assert live.run(run).config["lr"]["value"] == 0.25
    assert (live.run(run).display_name, live.run(run).tags) == ("theirs", ["first", "theirs"])


def test_a_name_that_needs_other_keys_than_those_that_are_there_waits_for_the_end(
    live: Live,
) -> None:
    run = made(kind="wandb")
    run.tables["metrics"].append(point("x._type", 5, 1.0, 15))
    live.put(run, range(5))
    with pytest.raises(UnsupportedError, match="when it has ended"):
        live.put(run, range(5, 10))
    live.whole(run)
    assert list(live.server.state.projects["team", "p"].runs) == ["abc-r2"]


def test_files_come_with_a_round_and_replace_those_of_the_same_path(live: Live) -> None:
    run = made()
    live.put(run, range(2), note=b"one", other=b"other")
    live.put(run, range(2, 4), note=b"two")
    reader, ref = open_reader(live.address), live.writer.target(run.key)
    for name, content in (("note.txt", b"two"), ("other.txt", b"other")):
        with reader.open_file(FileRef(ref, "", name)) as data:
            assert data.read() == content
    live.server.faults.forget()
    live.put(run, range(4, 6), note=b"two")
    assert live.server.faults.counts() == {"file_stream": 1}
    outside = FileRef(ref, "", "../outside.txt")
    with live.writer.extend([run.key]) as sink, pytest.raises(IntegrityError, match="outside"):
        sink.put_file(outside, io.BytesIO(b""))


def test_what_was_not_committed_is_not_there(live: Live) -> None:
    run = made()
    with live.writer.extend([run.key]) as sink:
        live.write(sink, run, range(4))
    assert not live.server.state.projects
    live.put(run, range(2))
    assert len(live.run(run).history) == 2


def test_rows_that_would_leave_a_gap_are_an_error(live: Live) -> None:
    run = made()
    live.put(run, range(2))
    with pytest.raises(IntegrityError, match="row 2 is missing"):
        live.put(run, range(3, 5))
    with pytest.raises(IntegrityError, match="row 3 is missing"):
        live.put(run, [2, 4])
    live.put(run, range(10))
    assert len(live.run(run).history) == 10


def test_samples_of_the_system_count_once_however_a_round_numbers_them(live: Live) -> None:
    run = made()
    for taken in ([0, 1], [1, 2], [2, 3, 4]):
        live.again()
        for _ in range(2):
            with live.writer.extend([run.key]) as sink:
                for batch in live.rows_of(run):
                    if batch.table == "metrics":
                        data = batch.data.filter(batch.data.column("system"))
                        steps = data.column("step")
                        data = data.filter(pc.is_in(steps, pa.array(taken, pa.int64())))
                        numbers = pc.subtract(data.column("step"), taken[0])
                        at = data.schema.get_field_index("step")
                        data = data.set_column(at, data.schema.field(at), numbers)
                        sink.write(Batch("metrics", data))
                sink.commit()
    found = [json.loads(line)["system.cpu"] for line in live.run(run).events]
    assert found == [0, 1.5, 3, 4.5, 6]
    live.whole(run)


def test_two_runs_of_a_project_go_on_side_by_side(live: Live) -> None:
    runs = [made("one"), made("two", "wandb")]
    for first in range(0, 10, 5):
        with live.writer.extend([run.key for run in runs]) as sink:
            for run in runs:
                live.write(sink, run, range(first, first + 5))
            sink.commit()
    for run in runs:
        _, rows = live.scanned(run)
        assert [row["loss"] for row in rows] == [1 / (row + 1) for row in range(10)]
    live.whole(*runs)


def test_wide_rows_go_in_several_requests(
    live: Live, streamed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made()
    run.tables["metrics"] = [
        point(f"metric {key}", row, key / 7) for row in range(6) for key in range(1000)
    ]
    run.tables["series"] = []
    monkeypatch.setattr(lines, "MOST_CHARACTERS", 70_000)
    live.put(run, range(6))
    assert sent(streamed) == [(0, 2), (2, 2), (4, 2)]
    monkeypatch.setattr(lines, "MOST_LINES", 1)
    live.again()
    live.put(run, range(6))
    assert len(live.run(run).history) == 6
    assert live.run(run).summary["metric 7"] == 1
    live.whole(run)


def test_a_line_that_is_longer_than_a_request_should_be_goes_alone() -> None:
    long = "x" * lines.MOST_CHARACTERS
    found = list(lines.requests({HISTORY: (3, iter(["a", long + "y", "b"]))}))
    assert [files[HISTORY]["offset"] for files in found] == [3, 4, 5]


@pytest.mark.parametrize("how", ["status", "drop", "lose", "hang"])
@pytest.mark.parametrize("operation", ["TrackbridgeChangeRun", "file_stream", "upload"])
def test_after_a_failure_the_same_again_doubles_nothing(
    live: Live,
    streamed: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    how: Any,
    operation: str,
) -> None:
    monkeypatch.setattr("trackbridge_adapters.wandb.service.wire.ANSWER_SECONDS", 0.5)
    run = made()
    live.put(run, range(4), range(1))
    run.tables["params"][0]["value"] = "0.25"
    live.native.clear()
    live.server.faults.fail(operation, how)
    with pytest.raises(TransientError):
        live.put(run, range(4, 8), range(3), note=b"one")
    assert len(live.run(run).history) in (4, 8)
    live.put(run, range(4, 8), range(3), note=b"one")
    assert len(live.run(run).history) == 8
    assert len(live.run(run).events) == 3
    assert live.run(run).summary["loss"] == 1 / 8
    assert sent(streamed) == [(0, 4), (4, 4)]
    live.put(run, range(8, 10), range(3, 5))
    live.server.faults.heal()
    run.add_file("", "note.txt", b"one")
    live.whole(made())


def test_a_server_that_is_busy_says_when_it_wants_to_be_asked_again(live: Live) -> None:
    run = made()
    live.put(run, range(4))
    live.server.faults.fail("file_stream", status=429, headers={"Retry-After": "7"})
    with pytest.raises(TransientError) as raised:
        live.put(run, range(4, 8))
    assert raised.value.retry_after == 7


def test_whoever_comes_next_goes_on_where_half_of_a_round_was_sent(
    live: Live, streamed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made()
    monkeypatch.setattr(lines, "MOST_LINES", 3)
    live.server.faults.fail("file_stream", skip=2)
    with pytest.raises(TransientError):
        live.put(run, range(10))
    assert len(live.run(run).history) == 6
    live.again()
    live.put(run, range(10))
    assert sent(streamed) == [(0, 3), (3, 3), (6, 3), (9, 1)]
    assert live.run(run).summary["loss"] == 1 / 10
    live.whole(run)


def test_old_values_that_come_again_do_not_stand_in_the_summary(live: Live) -> None:
    run = made()
    live.put(run, range(8))
    live.again()
    live.put(run, range(2, 6))
    assert live.run(run).summary["loss"] == 1 / 8
    live.put(run, range(8, 10))
    assert live.run(run).summary["loss"] == 1 / 10


def test_a_run_of_another_key_is_left_alone(live: Live) -> None:
    run = made(kind="wandb")
    ref = live.writer.target(run.key)
    script(live.server, f"wandb.init(project='p', id={ref.run_id!r}).finish()")
    with pytest.raises(IntegrityError, match="not written by Trackbridge"):
        live.writer.extend([run.key])


def test_a_run_that_was_brought_once_goes_on(live: Live, streamed: list[dict[str, Any]]) -> None:
    first, run = made(rows=4), made()
    first.tables["series"] = [row for row in run.tables["series"] if row["row"] < 4]
    live.whole(first)
    streamed.clear()
    live.put(run, range(10))
    assert sent(streamed) == [(4, 6)]
    with pytest.raises(NotFoundError):
        open_reader(live.address).open_file(FileRef(live.writer.target(run.key), "", SIDECAR))
    live.native.clear()
    live.whole(run)
    assert len(live.server.state.projects["team", "p"].runs) == 1


def test_a_run_whose_id_was_deleted_begins_under_the_next_one(live: Live) -> None:
    run = made()
    live.put(run, range(4))
    ref = live.writer.target(run.key)
    script(live.server, f"wandb.Api().run({'/'.join(ref)!r}).delete()")
    with pytest.raises(NotFoundError):
        live.put(run, range(4, 8))
    with pytest.raises(IntegrityError, match="row 0 is missing"):
        live.put(run, range(4, 8))
    live.put(run, range(8))
    assert len(live.server.run(f"team/p/{ref.run_id}-r2").history) == 8
    live.whole(run)
    assert list(live.server.state.projects["team", "p"].runs) == [f"{ref.run_id}-r2"]


def test_a_run_that_is_not_the_beginning_is_replaced_in_the_end(live: Live) -> None:
    run = made()
    live.put(run, range(4), range(5))
    other = made()
    other.tables["metrics"] = [row for row in other.tables["metrics"] if not row["system"]]
    live.whole(other)
    assert [name[-3:] for name in live.server.state.projects["team", "p"].runs] == ["-r2"]
