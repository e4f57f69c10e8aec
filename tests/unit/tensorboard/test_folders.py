"""Which folders are runs, what they are known by, what is recognized, and what is not read."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from unit.tensorboard import logs

from trackbridge.adapter import FileRef, Query, RunInfo, RunKey, RunRef
from trackbridge.errors import ConfigError, NotFoundError
from trackbridge.registry import open_reader, resolve
from trackbridge.testing import PlainPoint
from trackbridge_adapters.tensorboard import ADAPTER, carried
from trackbridge_adapters.tensorboard.framing import frame


def log(folder: Path, count: int = 3) -> Path:
    """A run with some points; the event file."""
    before = set(folder.glob("*"))
    logs.log(folder, [PlainPoint("loss", n, logs.NOON, n / 2) for n in range(count)], {"lr": 0.5})
    [file] = set(folder.glob("*")) - before
    return file


def listed(root: Path) -> dict[str, RunInfo]:
    return {info.ref.run_id: info for info in open_reader(f"tensorboard:{root}").list_runs(Query())}


def rows(root: Path, table: str, run: str = ".") -> list[dict[str, Any]]:
    reader = open_reader(f"tensorboard:{root}")
    found = reader.read_runs([RunRef(root.name, run)], [table])
    return [row for batch in found for row in batch.data.to_pylist()]


def not_read(root: Path) -> dict[str, int]:
    [batch] = open_reader(f"tensorboard:{root}").read_shared(Query())
    [row] = batch.data.to_pylist()
    told: dict[str, int] = json.loads(row["extra"] or "{}").get("not_read", {})
    return told


def test_each_folder_with_event_files_is_a_run(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    for name in (".", "a", "a/b/c"):
        log(root / name)
    found = listed(root)
    assert list(found) == [".", "a", "a/b/c"]
    assert [info.name for info in found.values()] == ["runs", "a", "a/b/c"]
    assert {info.ref.project for info in found.values()} == {"runs"}


def test_runs_of_folders_that_are_called_alike_are_others(tmp_path: Path) -> None:
    for name in "ab":
        log(tmp_path / name / "runs")
    keys = {listed(tmp_path / name / "runs")["."].key for name in "ab"}
    assert len(keys) == 2


def test_a_run_keeps_its_key_when_it_goes_on_and_its_fingerprint_changes(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    first = log(root)
    before = listed(root)["."]
    later = first.with_name("events.out.tfevents.9999999999.vm")
    shutil.copy(log(tmp_path / "other"), later)
    after = listed(root)["."]
    assert after.key == before.key
    assert after.fingerprint != before.fingerprint
    assert len(rows(root, "metrics")) == 6


def test_a_folder_that_is_copied_has_the_same_runs(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    log(root / "a")
    copy = tmp_path / "elsewhere" / "runs"
    shutil.copytree(root, copy, copy_function=shutil.copyfile)
    one, other = listed(root)["a"], listed(copy)["a"]
    assert (one.key, one.fingerprint) == (other.key, other.fingerprint)


def test_a_bare_folder_is_recognized_by_its_content(tmp_path: Path) -> None:
    log(tmp_path / "runs" / "deep" / "er")
    assert resolve(str(tmp_path / "runs"))[0] is ADAPTER
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / "about tfevents.txt").write_text("no events")
    assert not ADAPTER.recognizes(str(tmp_path / "named"))


@pytest.mark.parametrize(
    ("mark", "events"),
    [
        ("wandb/run-20240101_000000-abc/run-abc.wandb", "wandb/run-20240101_000000-abc/files"),
        ("mlruns/0/meta.yaml", "mlruns/0/run/artifacts/tensorboard_logs"),
        ("mlruns/1/{id}/artifacts/model.txt", "mlruns/1/{id}/artifacts/logs/train"),
        ("trackbridge.json", "data/logs"),
    ],
)
def test_event_files_in_other_stores_make_no_log_folder(
    tmp_path: Path, mark: str, events: str
) -> None:
    for place in (mark, events):
        path = tmp_path / place.format(id="0" * 32)
        path.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mark.format(id="0" * 32)).write_text("x")
    log(tmp_path / events.format(id="0" * 32))
    assert not ADAPTER.recognizes(str(tmp_path))
    assert listed(tmp_path)  # who says that it is one gets what TensorBoard would show


def test_a_folder_with_two_kinds_of_stores_has_to_be_named(tmp_path: Path) -> None:
    log(tmp_path / "runs")
    experiment = tmp_path / "mlruns" / "0"
    experiment.mkdir(parents=True)
    (experiment / "meta.yaml").write_text("experiment_id: '0'\nname: x\n")
    with pytest.raises(ConfigError, match=r"mlflow:.*tensorboard:"):
        resolve(str(tmp_path))


def test_what_is_no_log_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such folder"):
        open_reader(f"tensorboard:{tmp_path}/missing")
    with pytest.raises(NotFoundError, match="no event files below it"):
        open_reader(f"tensorboard:{tmp_path}")
    file = log(tmp_path)
    with pytest.raises(ConfigError, match="name the folder that it is in"):
        open_reader(f"tensorboard:{file}")
    with pytest.raises(ConfigError, match="no option 'color'"):
        ADAPTER.reader(str(tmp_path), {"color": "red"})


def test_other_files_are_counted_and_those_of_plugins_are_read(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    log(root)
    contents = {
        "projector_config.pbtxt": b'embeddings { tensor_path: "00/t.tsv" metadata_path: "m.tsv" }',
        "00/t.tsv": b"1\t2\n",
        "m.tsv": b"a\n",
        "plugins/profile/2024/vm.xplane.pb": b"profile",
    }
    for name, content in {**contents, "model.ckpt": b"x", "sub/notes.txt": b"y"}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "link").symlink_to(root / "model.ckpt")
    assert not_read(root) == {"files beside event files": 3}
    reader = open_reader(f"tensorboard:{root}")
    listed = [row["path"] for row in rows(root, "files")]
    assert sorted(listed) == sorted(contents)
    for name, content in contents.items():
        with reader.open_file(FileRef(RunRef("runs", "."), "", name)) as file:
            assert file.read() == content


def test_a_projector_reads_nothing_outside_of_its_run(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    log(root)
    (tmp_path / "secret.tsv").write_text("secret")
    (root / "projector_config.pbtxt").write_text(
        'embeddings { tensor_path: "../secret.tsv" metadata_path: "/etc/hostname" }'
    )
    assert [row["path"] for row in rows(root, "files")] == ["projector_config.pbtxt"]


def test_names_that_are_no_unicode_are_shown(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    root = tmp_path / "runs" / odd
    file = log(root)
    file = file.rename(root / f"events.out.tfevents.1700000000.{odd}")
    file.write_bytes(file.read_bytes() + frame(b"\xff"))
    (root / "plugins" / "profile").mkdir(parents=True)
    (root / "plugins" / "profile" / odd).write_bytes(b"profile")
    reader = open_reader(f"tensorboard:{root.parent}")
    [ref] = [info.ref for info in reader.list_runs(Query())]
    assert ref.run_id == "caf\\udce9"
    found = {batch.table: batch.data.to_pylist() for batch in reader.read_runs([ref])}
    [about] = found["runs"]
    assert (about["host"], about["source"]) == ("caf\\udce9", f"{tmp_path}/runs/caf\\udce9")
    assert "tfevents.1700000000.caf\\udce9: offset" in json.loads(about["extra"])["damage"][0]
    [path] = [row["path"] for row in found["files"]]
    with reader.open_file(FileRef(ref, "", path)) as stream:
        assert stream.read() == b"profile"
    assert len(found["metrics"]) == 3
    [shared] = open_reader(f"tensorboard:{root}").read_shared(Query())
    assert shared.data["source"].to_pylist() == [f"{tmp_path}/runs/caf\\udce9"]


def test_folders_that_are_shown_alike_are_two_runs(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    log(root / os.fsdecode(b"run\xff"), 2)
    log(root / "run\\udcff", 3)
    plain, marked = listed(root)
    assert plain == "run\\udcff" and marked.startswith("run\\udcff~")
    assert [len(rows(root, "metrics", run)) for run in (plain, marked)] == [3, 2]


def brought(folder: Path, ref: RunRef) -> Path:
    """A run that Trackbridge wrote; its own folder."""
    file, home = log(folder, 2), folder / "trackbridge"
    home.mkdir()
    origin = carried.Origin(RunKey("csv", "", *ref), ref, file.name, {"name": ref.run_id})
    (home / carried.ABOUT).write_bytes(carried.about(origin))
    return home


def test_a_training_is_called_otherwise_where_a_run_was_brought(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    brought(root / "runs" / "zzz", RunRef("runs", "zzz"))
    log(root / "zzz", 3)
    runs = listed(root)
    assert [info.key.kind for info in runs.values()] == ["csv", "tensorboard"]
    assert len({info.key.born for info in runs.values()}) == 2
    assert [len(rows(root, "metrics", run)) for run in runs] == [2, 3]


def test_what_is_no_unicode_beside_a_run_is_not_its(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    home = brought(root / "a", RunRef("runs", "a"))
    (home / "files").mkdir()
    for name in (b"caf\xe9", b"%FF", b"sound"):
        (home / "files" / os.fsdecode(name)).write_bytes(b"x")
    about = brought(root / "b", RunRef("runs", "b")) / carried.ABOUT
    about.write_text(about.read_text().replace('"runs"', '"\\ud800"'))
    assert [info.key.kind for info in listed(root).values()] == ["csv", "tensorboard"]
    assert [row["path"] for row in rows(root, "files", "a")] == ["sound"]


def test_links_are_followed_unless_they_lead_back(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    log(root / "a" / "deep")
    file = log(elsewhere / "b", 7)
    (elsewhere / "notes").mkdir()
    (elsewhere / "notes" / "x.txt").write_text("x")
    links = {
        "b": elsewhere / "b",
        "collected": elsewhere,
        "files/" + file.name: file,
        "latest": root / "a",
        "again/tfevents": next(root.glob("a/deep/*")),
        "../elsewhere/b/up": elsewhere,
        "../elsewhere/home": root,
        "parent": tmp_path,
        "gone": tmp_path / "gone",
        "itself": root / "itself",
    }
    for name, target in links.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to(target)
    assert list(listed(root)) == ["a/deep", "b", "collected/b", "files"]
    assert [len(rows(root, "metrics", run)) for run in ("b", "files")] == [7, 7]
    back = "latest, parent, again/tfevents, b/up, collected/home, collected/b/up"
    assert not_read(root) == {
        "files beside event files": 1,
        f"links back into the log folder ({back})": 6,
        "links that cannot be followed (gone, itself)": 2,
    }


def test_the_host_is_in_the_name_of_the_file(tmp_path: Path) -> None:
    file = log(tmp_path / "runs")
    for name in ("1700000000.a-host.9.0.v2", "1700000000.a-host", "1700000000.a-host.9.0"):
        file = file.rename(file.with_name(f"events.out.tfevents.{name}"))
        [row] = rows(tmp_path / "runs", "runs")
        assert row["host"] == "a-host"


def test_empty_files_and_others_that_are_none_are_named(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    log(root)
    old = time.time() - 3600
    for name, content in (("tfevents.empty", b""), ("tfevents.text", b"no events at all")):
        (root / name).write_bytes(content)
        os.utime(root / name, (old, old))
    [row] = rows(root, "runs")
    assert json.loads(row["extra"])["damage"] == [
        "tfevents.empty: offset 0: an empty file, without an event",
        "tfevents.text: offset 0: no event file: none of its 16 bytes are a record",
    ]
    assert len(rows(root, "metrics")) == 3


@pytest.mark.parametrize(("age", "is_damage"), [(0, False), (3600, True)])
def test_a_record_that_may_be_being_written_is_no_damage(
    tmp_path: Path, age: int, is_damage: bool
) -> None:
    root = tmp_path / "runs"
    file = log(root)
    whole = file.stat().st_size
    with file.open("ab") as stream:
        stream.write(frame(b"x" * 50)[:-10])
    os.utime(file, (time.time() - age,) * 2)
    [row] = rows(root, "runs")
    named = [f"{file.name}: offset {whole}: ends within a record, 56 bytes"]
    assert json.loads(row["extra"]).get("damage", []) == (named if is_damage else [])
    assert len(rows(root, "metrics")) == 3


def test_much_damage_is_named_in_short(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    file = log(root)
    bad = bytearray(frame(b"x" * 20))
    bad[-1] ^= 1
    with file.open("ab") as stream:
        stream.write(bytes(bad) * 500 + frame(b""))
    [row] = rows(root, "runs")
    damage = json.loads(row["extra"])["damage"]
    assert len(damage) == 21
    assert damage[-1].endswith("480 more that are damaged")
