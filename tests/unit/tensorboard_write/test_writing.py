"""What is written into a log folder: where, all or none of it, and nothing of others' touched."""

from __future__ import annotations

import io
import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.io_wrapper import GetLogdirSubdirectories
from unit.tensorboard import logs

import trackbridge
from trackbridge.adapter import FileRef, Query, RunKey
from trackbridge.errors import BridgeError, ConfigError, IntegrityError
from trackbridge.registry import open_writer
from trackbridge.testing import MadeRun, samples
from trackbridge.testing.base import listed, rows_of, snapshot
from trackbridge.testing.made import deliver, store
from trackbridge_adapters.tensorboard import ADAPTER, staging
from trackbridge_adapters.tensorboard.writer import WritableLogFolders


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "logs"


def opened(root: Path) -> WritableLogFolders:
    writer = ADAPTER.writer(str(root), {})
    assert isinstance(writer, WritableLogFolders)
    return writer


def folders(root: Path) -> set[str]:
    """The runs that TensorBoard finds."""
    return {os.path.relpath(folder, root) for folder in GetLogdirSubdirectories(str(root))}


def named(run_id: str, name: str | None, **key: str) -> MadeRun:
    run = samples.simple(run_id, **key)
    run.tables["runs"] = [{"name": name, "status": "finished", "deleted": False}]
    return run


def test_folders_are_called_by_project_name_and_id(root: Path) -> None:
    store(opened(root), [named("a1", "sunny sky"), named("b2", None), named("c3", "c3")])
    store(opened(root), [named("d4", "x/y", project="team/project")])
    expected = {"vision/sunny sky@a1", "vision/b2", "vision/c3", "team/project/x%2Fy@d4"}
    assert folders(root) == expected


def test_a_run_that_was_renamed_has_another_folder_and_the_old_one_is_gone(root: Path) -> None:
    store(opened(root), [named("a", "before")])
    store(opened(root), [named("a", "after")])
    assert folders(root) == {"vision/after@a"}
    assert not (root / "vision/before@a").exists()


@pytest.mark.parametrize("others", [("Run", "run"), ("\u00e4", "a\u0308"), ("x" * 300, "x" * 301)])
def test_names_that_are_one_on_some_systems_are_two_folders(
    root: Path, others: tuple[str, str]
) -> None:
    store(opened(root), [named(name, None) for name in others])
    found = {name.casefold() for name in folders(root)}
    assert len(found) == 2
    assert {info.ref.run_id for info in listed(opened(root))} == set(others)


def test_others_runs_stay_byte_for_byte(root: Path) -> None:
    points = logs.log(root / "vision" / "a", [], {"lr": 1})
    assert points is None
    (root / "vision" / "notes.txt").write_text("mine")
    before = snapshot(root)
    for loss in (1.0, 2.0):
        store(opened(root), [samples.simple("a", loss=loss), samples.simple("b", loss=loss)])
    after = snapshot(root)
    assert {path: after.get(path) for path in before} == before
    assert {info.ref.run_id for info in listed(opened(root))} == {"a", "b", "vision/a"}


def test_what_others_put_beside_a_run_of_ours_stays_when_it_is_replaced(root: Path) -> None:
    store(opened(root), [named("a", None)])
    logs.log(root / "vision/a", [], {"lr": 1})
    [theirs] = [p for p in (root / "vision/a").glob("*tfevents*") if "trackbridge" not in p.name]
    content = theirs.read_bytes()
    store(opened(root), [named("a", None)])
    assert theirs.read_bytes() == content


def test_nothing_that_is_being_written_looks_like_an_event_file(root: Path) -> None:
    run = samples.simple("a")
    run.add_file("", "logs/events.out.tfevents.123.host", b"a file of the run")
    writer = opened(root)
    with writer.open([run.key]) as sink:
        deliver(writer, sink, [run])
        assert folders(root) == set()
        sink.commit()
    assert folders(root) == {"vision/named a@a"}
    file = FileRef(writer.target(run.key), "", "logs/events.out.tfevents.123.host")
    assert ADAPTER.reader(str(root), {}).open_file(file).read() == b"a file of the run"


def test_files_have_names_of_any_length(root: Path) -> None:
    run = samples.simple("a")
    long = "?" * 200 + "/" + "." * 700 + "x/" + "ä" * 200
    run.add_file("", long, b"long")
    run.add_file("o" * 300 + ":v0", "x", b"of an artifact")
    store(opened(root), [run])
    ref = opened(root).target(run.key)
    rows = rows_of(ADAPTER.reader(str(root), {}).read_runs([ref], ["files"]))["files"]
    assert {(row["owner"], row["path"]) for row in rows} == set(run.contents)


def test_a_run_of_another_origin_is_not_replaced(root: Path) -> None:
    first = samples.simple("a")
    store(opened(root), [first])
    second = samples.simple("a", loss=2)
    second.key = RunKey("other-kind", "", "vision", "a")
    before = snapshot(root / "vision")
    with pytest.raises(IntegrityError, match=r"is run some-kind//vision/a; choose another"):
        store(opened(root), [second])
    assert snapshot(root / "vision") == before


class _Stopped(BaseException):
    """The moment at which a process is killed."""


@pytest.mark.parametrize("moment", range(9))
def test_a_commit_that_is_broken_off_is_finished_by_the_next_writer(
    root: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """At whatever rename: then all runs of the chunk are new ones, or none is."""
    runs = [samples.simple(name) for name in "ab"]
    store(opened(root), runs)
    new = [samples.simple(name, loss=2.0) for name in "ab"]
    count, replace = 0, Path.replace

    def stopping(self: Path, target: Any) -> Path:
        nonlocal count
        count += 1
        if count > moment:
            raise _Stopped
        return replace(self, target)

    writer = opened(root)
    sink = writer.open([run.key for run in new])
    written = deliver(writer, sink, new)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", stopping)
        with pytest.raises(_Stopped):
            sink.commit()
    sink._staging._alive.release()  # as the end of its process does
    sink._staging._lock.release()
    other = samples.simple("c")
    store(opened(root), [other])
    reader = ADAPTER.reader(str(root), {})
    refs = [writer.target(run.key) for run in runs]
    rows = rows_of(reader.read_runs(refs, ["metrics"]))["metrics"]
    first = [row["value"] for row in rows if row["step"] == 0]
    assert first == ([0.5, 0.5] if moment == 0 else [2.0, 2.0])
    assert len(rows) == sum(b.data.num_rows for b in written if b.table == "metrics")
    assert not list((root / "trackbridge").glob("chunk-*"))


def test_steps_that_lead_out_of_the_log_folder_are_refused(root: Path) -> None:
    (root / "trackbridge" / "chunk-1").mkdir(parents=True)
    journal = root / "trackbridge" / "chunk-1" / staging.JOURNAL
    for steps in ([["../x", "y"]], [["a", "/etc/x"]], [["a\\..\\..", "x"]], [[1]], {"a": 1}):
        journal.write_text(json.dumps(steps))
        with pytest.raises(IntegrityError, match="remove"):
            opened(root).open([])


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"run_key": 1}', '{"run_key": "a/b"}', "nul\0"]
)
def test_a_run_whose_own_file_is_damaged_is_read_as_event_files_are(
    root: Path, content: str
) -> None:
    store(opened(root), [named("a", None)])
    (root / "vision/a/trackbridge/run.json").write_text(content)
    [info] = listed(ADAPTER.reader(str(root), {}))
    assert (info.key.kind, info.ref.run_id, info.carried) == ("tensorboard", "vision/a", False)
    assert len(rows_of(opened(root).read_runs([info.ref]))["metrics"]) == 5


def test_a_file_that_names_another_event_file_takes_nothing_away(root: Path) -> None:
    store(opened(root), [named("a", None)])
    about = root / "vision/a/trackbridge/run.json"
    other = root / "tfevents-of-others"
    other.write_text("mine")
    about.write_text(json.dumps({**json.loads(about.read_text()), "events": f"../../{other.name}"}))
    store(opened(root), [named("a", None)])
    assert other.read_text() == "mine"


def test_files_that_somebody_else_has_put_there_lead_nowhere(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a file outside")
    run = samples.simple("a")
    store(opened(root), [run])
    files = root / "vision/named a@a/trackbridge/files"
    (files / "link").symlink_to(tmp_path / "secret")
    (files / "folder").symlink_to(tmp_path)
    (files / "%2E%2E").mkdir()
    (files / "%2E%2E" / "x").write_text("x")
    reader, ref = ADAPTER.reader(str(root), {}), opened(root).target(run.key)
    rows = rows_of(reader.read_runs([ref], ["files"]))["files"]
    assert [row["path"] for row in rows] == ["a.txt"]
    for path in ("link", "folder/secret", "%2E%2E/x", "../x"):
        with pytest.raises(BridgeError):
            reader.open_file(FileRef(ref, "", path))


@pytest.mark.parametrize("year", [1, 1800, 1834, 1969, 2105, 2150, 9999])
def test_times_of_any_year_come_home_to_the_microsecond(root: Path, year: int) -> None:
    run, memory = samples.simple("a"), f"memory:year-{year}"
    time = datetime(year, 3, 4, 5, 6, 7, 654321, tzinfo=timezone.utc)
    for point in run.tables["metrics"]:
        point["time"] = time + timedelta(microseconds=3 * point["step"])
    run.tables["series"] = [{"key": "s", "step": 1, "time": time, "kind": "text", "value": '"x"'}]
    run.tables["runs"][0] |= {"started": time, "ended": time + timedelta(microseconds=1)}
    store(open_writer(memory), [run])
    assert trackbridge.migrate(memory, f"tensorboard:{root}").verified
    found = trackbridge.verify(memory, f"tensorboard:{root}")
    assert (found.differences, found.equal) == ([], 1)


def test_a_copy_of_a_run_is_a_run_of_event_files(root: Path) -> None:
    import shutil

    store(opened(root), [named("a", None)])
    shutil.copytree(root / "vision/a", root / "vision/copied")
    found = {info.ref.run_id: info.carried for info in listed(ADAPTER.reader(str(root), {}))}
    assert found == {"a": True, "vision/copied": False}


def test_a_step_beyond_32_bits_hides_the_session_and_not_the_parameters(root: Path) -> None:
    near, far = named("near", None), named("far", None)
    far.tables["metrics"] = [{**far.tables["metrics"][0], "step": 2**31}]
    store(opened(root), [near, far])
    classes = {
        name: logs.accumulated(root / "vision" / name)
        .summary_metadata["_hparams_/session_start_info"]
        .data_class
        for name in ("near", "far")
    }
    assert classes == {"near": 0, "far": 3}
    reader = ADAPTER.reader(str(root), {})
    refs = [opened(root).target(run.key) for run in (near, far)]
    assert len(rows_of(reader.read_runs(refs, ["params"]))["params"]) == 2


def test_event_files_of_others_come_home_through_an_archive(tmp_path: Path) -> None:
    from PIL import Image
    from tensorboardX import SummaryWriter

    source = tmp_path / "logs"
    with SummaryWriter(str(source / "exp/train")) as writer:
        for step in range(20):
            writer.add_scalar("loss", 1 / (step + 1), step, 1.7e9 + step)
            writer.add_histogram("weights", [step, 1.5, 2], step, walltime=1.7e9 + step)
        writer.add_text("note", "*hello*", 1, 1.7e9)
        picture = io.BytesIO()
        Image.new("RGB", (4, 3)).save(picture, "PNG")
        writer.add_image("picture", _pixels(), 2, 1.7e9)
    out, straight = f"tensorboard:{tmp_path}/out", f"archive:{tmp_path}/archive"
    for one, other in ((f"tensorboard:{source}", straight), (straight, out)):
        report = trackbridge.migrate(one, other)
        assert report.verified, report.failures
    found = trackbridge.verify(f"tensorboard:{source}", out)
    assert (found.differences, found.equal) == ([], 1)
    assert folders(tmp_path / "out") == {"logs/exp/train"}
    shown = logs.accumulated(tmp_path / "out/logs/exp/train")
    plugins = {t: m.plugin_data.plugin_name for t, m in shown.summary_metadata.items()}
    assert {plugins[tag] for tag in ("weights", "picture")} == {"histograms", "images"}
    assert "text" in {plugins[tag] for tag in plugins if tag.startswith("note")}
    assert [event.value for event in shown.Scalars("loss")] == [
        event.value for event in logs.accumulated(source / "exp/train").Scalars("loss")
    ]


def _pixels() -> Any:
    import numpy as np

    return np.zeros((3, 4, 5), np.uint8)


def test_a_file_is_no_log_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="is a file"):
        ADAPTER.writer(str(tmp_path / "file"), {})


def test_new_folders_are_told_by_their_names(tmp_path: Path) -> None:
    assert ADAPTER.suggests(str(tmp_path / "tb_logs"))
    assert not ADAPTER.suggests(str(tmp_path / "mlruns"))
    assert list(opened(tmp_path / "new").list_runs(Query())) == []


def test_metrics_of_the_system_have_tags_of_their_own_and_come_back_as_such(root: Path) -> None:
    run = samples.simple("a")
    named_so = [("cpu", 1.0, False), ("cpu", 99.0, True), ("system/cpu", 2.0, False)]
    steps = (1, 0)  # written again, by ascending step
    run.tables["metrics"] = [
        {"key": key, "step": step, "time": logs.NOON, "value": value, "system": system}
        for step in steps
        for key, value, system in named_so
    ]
    writer = opened(root)
    store(writer, [run])
    found = logs.points_of(root / "vision/named a@a")
    assert {p.key: p.value for p in found} == {"cpu": 1.0, "system/cpu": 2.0, "system/cpu_": 99.0}
    rows = rows_of(opened(root).read_runs([writer.target(run.key)], ["metrics"]))["metrics"]
    assert len(rows) == 6
    assert {(row["key"], row["value"], row["system"]) for row in rows} == set(named_so)
