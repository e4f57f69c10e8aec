"""Chunks get into a file store whole or not at all, whatever goes wrong."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty import Stale, fill_disk
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient
from unit.mlflow_files.runs import param, point, run, snapshot, write, writer_of

from trackbridge.adapter import STORE, FileRef, Query, RunKey
from trackbridge.columns import batches
from trackbridge.errors import BridgeError, ConfigError, IntegrityError, TransientError
from trackbridge.testing.base import rows_of
from trackbridge.testing.made import deliver
from trackbridge_adapters.mlflow import ADAPTER, files_swap, files_write

HERE = Path(__file__).parents[2]
ROOT = HERE.parent


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "mlruns"


def values(root: Path, name: str, table: str = "params") -> dict[str, str]:
    """Keys and values that a new reader gives of a run."""
    writer = writer_of(root)
    ref = writer.target(run(name).key)
    rows = rows_of(ADAPTER.reader(str(root), {}).read_runs([ref], [table]))
    return {row["key"]: row["value"] for row in rows.get(table, [])}


def staged(root: Path) -> list[Path]:
    return list(root.glob("*/datasets/.trackbridge/*"))


def folders_of(root: Path, name: str) -> list[Path]:
    run_id = writer_of(root).target(run(name).key).run_id
    return [*root.glob(f"*/{run_id}"), *root.glob(f".trash/*/{run_id}")]


def test_what_is_built_aside_is_seen_by_nobody_and_gone_afterwards(root: Path) -> None:
    writer, made = writer_of(root), run("a", metrics=[point()])
    with writer.open([made.key]) as sink:
        deliver(writer, sink, [made])
        sink.put_file(FileRef(writer.target(made.key), "", "x.txt"), io.BytesIO(b"x"))
        client = MlflowClient(root.as_uri())
        assert [e.name for e in client.search_experiments()] == ["Default"]
        assert client.search_runs(["0"]) == []
        assert client.search_registered_models() == []
        assert client.search_logged_models(["0"]) == []
        assert client._tracking_client.store._search_datasets(["0"]) == []
        assert client.get_experiment_by_name("nobody") is None
        assert staged(root)
    assert staged(root) == []
    assert snapshot(root).keys() == {"0/meta.yaml", ".trackbridge.lock"}


def test_writing_again_leaves_nothing_of_the_former_run(root: Path) -> None:
    dataset = {"name": "gone", "digest": "d", "kind": "dataset"}
    old = run("a", metrics=[point("gone")], params=[param("gone")], inputs=[dataset])
    write(writer_of(root), [old], {"gone.txt": b"x"})
    write(writer_of(root), [run("a", params=[param("new")])])
    (folder,) = folders_of(root, "a")
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {
        *("meta.yaml", "trackbridge.run_key", "new"),
        *(path.name for path in (folder / "tags").iterdir()),
    }
    assert values(root, "a") == {"new": "x"}
    assert staged(root) == []


def test_a_run_whose_experiment_was_renamed_moves_to_a_new_one(root: Path) -> None:
    write(writer_of(root), [run("a")], {"kept": b"x"})
    client = MlflowClient(root.as_uri())
    experiment = client.get_experiment_by_name("p")
    client.rename_experiment(experiment.experiment_id, "renamed")
    write(writer_of(root), [run("a")], {"kept": b"x"})
    (folder,) = folders_of(root, "a")
    assert folder.parent.name != experiment.experiment_id
    assert (folder / "artifacts" / "kept").read_bytes() == b"x"


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two renames"])
def test_a_chunk_that_was_killed_at_any_step_is_there_whole_or_not_at_all(
    tmp_path: Path, exchange: bool
) -> None:
    """A process writes two runs anew, one for the first time, and is killed before a step."""
    outcomes = []
    for step in range(12):
        root = tmp_path / str(step) / "mlruns"
        write(writer_of(root), [run(n, params=[param("old")]) for n in "ab"], {"old": b"x"})
        killed = _killed(root, step, exchange=exchange)
        write(writer_of(root), [run("other")])
        found = [set(values(root, name)) for name in "ab"]
        assert found in ([{"old"}] * 2, [{"new"}] * 2), f"killed at {step}"
        new = found == [{"new"}] * 2
        assert len(folders_of(root, "c")) == new
        for name in "ab":
            (folder,) = folders_of(root, name)
            assert [p.name for p in (folder / "artifacts").iterdir()] == ["new" if new else "old"]
        assert staged(root) == []
        outcomes.append((killed, new))
    assert (True, False) in outcomes and (True, True) in outcomes and (False, True) in outcomes


KILLED = """
import os, signal, sys
from pathlib import Path
from unit.mlflow_files.runs import param, run, write, writer_of
from trackbridge_adapters.mlflow import files_staging, files_swap
left, exchange = int(sys.argv[2]), sys.argv[3] == "True"
def counted(function):
    def call(*arguments):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return call
Path.replace = counted(Path.replace)
files_swap._exchange = counted(files_swap._exchange) if exchange else lambda one, other: False
files_staging._remove = counted(files_staging._remove)
write(writer_of(Path(sys.argv[1])), [run(n, params=[param("new")]) for n in "abc"], {"new": b"x"})
"""


def _killed(root: Path, step: int, *, exchange: bool) -> bool:
    """Whether the process was killed before it had ended."""
    paths = os.pathsep.join(map(str, [ROOT / "bridge", ROOT / "adapters", HERE]))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), str(step), str(exchange)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def test_a_system_that_cannot_exchange_names_uses_two_renames(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_swap, "_exchange", lambda one, other: False)
    write(writer_of(root), [run("a", params=[param("old")])])
    write(writer_of(root), [run("a", params=[param("new")])])
    assert values(root, "a") == {"new": "x"}
    assert staged(root) == []


def test_a_commit_that_breaks_off_is_finished_by_the_next_writer(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(writer_of(root), [run("a", params=[param("old")])])
    with monkeypatch.context() as patch:
        patch.setattr(files_swap, "take", _broken)
        with pytest.raises(ConfigError, match="cannot be written"):
            write(writer_of(root), [run("a", params=[param("new")])])
    assert values(root, "a") == {"old": "x"}
    write(writer_of(root), [run("b")])
    assert values(root, "a") == {"new": "x"}
    assert staged(root) == []


def _broken(*arguments: object) -> None:
    raise OSError(5, "Input/output error")


def test_a_run_of_somebody_else_is_never_replaced(root: Path) -> None:
    client = MlflowClient(root.as_uri())
    number = client.create_experiment("theirs")
    run_id = client.create_run(number).info.run_id
    before = snapshot(root)
    with pytest.raises(IntegrityError, match="was not written by Trackbridge; not replaced"):
        writer_of(root).open([RunKey("mlflow", "", "theirs", run_id)])
    assert {p: c for p, c in snapshot(root).items() if p != ".trackbridge.lock"} == before


def test_runs_and_experiments_of_others_stay_as_they_are(root: Path) -> None:
    client = MlflowClient(root.as_uri())
    number = client.create_experiment("p", tags={"theirs": "yes"})
    run_id = client.create_run(number).info.run_id
    client.log_metric(run_id, "loss", 1.0)
    before = snapshot(root)
    write(writer_of(root), [run("a", metrics=[point()]), run("b", project="q")], {"x": b"x"})
    write(writer_of(root), [run("a")])
    after = snapshot(root)
    assert {path: after.get(path) for path in before} == before
    assert len(client.search_runs([number])) == 2


def test_a_live_mlflow_writes_other_runs_meanwhile(root: Path) -> None:
    client = MlflowClient(root.as_uri())
    number = client.create_experiment("p")
    run_id = client.create_run(number).info.run_id
    for step in range(5):
        writer, made = writer_of(root), run("a", metrics=[point(value=float(step))])
        with writer.open([made.key]) as sink:
            deliver(writer, sink, [made])
            client.log_batch(run_id, metrics=[Metric("loss", step, step, step)])
            sink.commit()
    assert [p.step for p in client.get_metric_history(run_id, "loss")] == [0, 1, 2, 3, 4]
    ours = writer_of(root).target(run("a").key).run_id
    assert [p.value for p in client.get_metric_history(ours, "loss")] == [4.0]


def test_two_writers_lose_nothing_and_make_an_experiment_once(root: Path) -> None:
    first, second = writer_of(root), writer_of(root)
    runs = [run(name, params=[param("of", name)]) for name in "ab"]
    with first.open([runs[0].key]) as one, second.open([runs[1].key]) as other:
        deliver(first, one, runs[:1])
        deliver(second, other, runs[1:])
        other.commit()
        one.commit()
    assert [values(root, name)["of"] for name in "ab"] == ["a", "b"]
    experiments = MlflowClient(root.as_uri()).search_experiments()
    assert sorted(e.name for e in experiments) == ["Default", "p"]


def test_who_writes_what_belongs_to_no_run_keeps_others_from_committing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackbridge_adapters.mlflow.files_staging.SECONDS", 0.05)
    with writer_of(root).open([]) as shared:
        with pytest.raises(TransientError, match="another program is writing"):
            writer_of(root).open([run("a").key])
        shared.commit()
    write(writer_of(root), [run("a")])


def test_a_file_of_the_store_is_no_experiment_to_mlflow(root: Path) -> None:
    file = FileRef(STORE, "", "trackbridge/shared.json")
    for content in (b"{}", b"{ }"):
        with writer_of(root).open([]) as sink:
            sink.put_file(file, io.BytesIO(content))
            sink.commit()
        assert ADAPTER.reader(str(root), {}).open_file(file).read() == content
    assert [path.name for path in root.iterdir() if path.is_dir() and path.name != ".trash"] in (
        ["0", "models"],
        ["models", "0"],
    )


@pytest.mark.parametrize(
    "path", ["../x", "/x", "a/../../x", "a//b", "./x", "", "a\\b", "C:x", "nul\0x", "."]
)
def test_paths_that_leave_their_folder_are_refused(root: Path, path: str) -> None:
    made, writer = run("a"), writer_of(root)
    for place in (FileRef(writer.target(made.key), "", path), FileRef(STORE, "", path)):
        with pytest.raises(IntegrityError, match="not a path below"), writer.open([made.key]) as s:
            s.put_file(place, io.BytesIO(b"x"))


def test_a_file_and_a_folder_of_the_same_name_are_refused(root: Path) -> None:
    made, writer = run("a"), writer_of(root)
    ref = writer.target(made.key)
    with pytest.raises(IntegrityError, match="same name"), writer.open([made.key]) as sink:
        sink.put_file(FileRef(ref, "", "a"), io.BytesIO(b"x"))
        sink.put_file(FileRef(ref, "", "a/b"), io.BytesIO(b"x"))


def test_a_dataset_that_is_there_with_other_content_is_refused(root: Path) -> None:
    name = {"name": "d", "digest": "1", "kind": "local"}
    writer = writer_of(root)
    write(writer, [run("a" * 32, kind="mlflow", inputs=[{**name, "source": "one"}])])
    with pytest.raises(IntegrityError, match="dataset 'd' with digest '1' is there already"):
        write(writer, [run("b" * 32, kind="mlflow", inputs=[{**name, "source": "two"}])])
    write(writer, [run("c" * 32, kind="mlflow", inputs=[{**name, "source": "one"}])])
    assert len(list(root.glob("*/datasets/*"))) == 1


def test_datasets_whose_ids_would_be_the_same_in_mlflow_are_two(root: Path) -> None:
    rows = [
        {"name": name, "digest": digest, "kind": "local", "source": name}
        for name, digest in (("ab", "c"), ("a", "bc"))
    ]
    made = run("a" * 32, kind="mlflow", inputs=rows)
    write(writer_of(root), [made])
    found = MlflowClient(root.as_uri()).get_run("a" * 32).inputs.dataset_inputs
    assert sorted((d.dataset.name, d.dataset.digest) for d in found) == [("a", "bc"), ("ab", "c")]


def test_experiments_keep_their_number_where_it_is_free(root: Path) -> None:
    wishes = ["7", "7", "no number", "919706121329068835", "1" * 30]
    rows = [
        {"project": f"p{i}", "project_id": wish, "deleted": i == 3} for i, wish in enumerate(wishes)
    ]
    with writer_of(root).open([]) as sink:
        for batch in batches("projects", rows):
            sink.write(batch)
        sink.commit()
    (seven,) = root.glob("7/meta.yaml")
    assert "name: p0" in seven.read_text()
    assert [p.name for p in root.glob(".trash/*")] == ["919706121329068835"]
    numbers = [e.experiment_id for e in MlflowClient(root.as_uri()).search_experiments()]
    assert len(numbers) == 5
    assert all(number.isdigit() and len(number) <= 18 for number in numbers)


def test_an_experiment_is_deleted_and_comes_back(root: Path) -> None:
    row = {"project": "p", "project_id": "5", "notes": "first"}
    write(writer_of(root), [run("a", params=[param("x")])])
    for deleted in (True, False):
        with writer_of(root).open([]) as sink:
            for batch in batches("projects", [{**row, "deleted": deleted}]):
                sink.write(batch)
            sink.commit()
        rows = rows_of(ADAPTER.reader(str(root), {}).read_shared(Query()))["projects"]
        (found,) = (r for r in rows if r["project"] == "p")
        assert (found["deleted"], found["notes"]) == (deleted, "first")
        (folder,) = folders_of(root, "a")
        assert (".trash" in folder.parts) == deleted
        assert values(root, "a") == {"x": "x"}


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files"):
        writer_of(tmp_path)
    with pytest.raises(ConfigError, match="in its runs' folders"):
        ADAPTER.writer(str(tmp_path / "new"), {"artifact_root": "x"})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_without_permission_is_refused(root: Path) -> None:
    write(writer_of(root), [run("a")])
    root.chmod(0o555)
    with pytest.raises(BridgeError, match="cannot be written"):
        write(writer_of(root), [run("b")])
    root.chmod(0o755)


def test_a_store_that_was_made_by_two_at_once_is_one(root: Path) -> None:
    files_write._make(root)
    before = snapshot(root)
    files_write._make(root)
    assert snapshot(root) == before


def test_an_error_of_a_stream_is_not_taken_for_one_of_the_file_that_it_is_copied_to(
    root: Path,
) -> None:
    made, writer = run("a"), writer_of(root)
    with pytest.raises(OSError, match="Stale file handle"), writer.open([made.key]) as sink:
        sink.put_file(FileRef(writer.target(made.key), "", "x"), Stale())  # type: ignore[arg-type]


def test_a_full_disk_is_an_error_of_the_file_that_is_written(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, writer = run("a"), writer_of(root)
    with (
        pytest.raises(ConfigError, match=r"x: cannot be written \(No space left"),
        writer.open([made.key]) as sink,
    ):
        fill_disk(monkeypatch)
        sink.put_file(FileRef(writer.target(made.key), "", "x"), io.BytesIO(b"x"))


def test_a_store_whose_making_was_broken_off_is_made_by_the_next_call(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for broken in ("mkdir", "write_bytes", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, broken, _broken if broken != "mkdir" else _only(root))
            with pytest.raises(ConfigError, match="cannot be written"):
                writer_of(root).open([])
        assert root.is_dir()
        (root / ".trash").mkdir(exist_ok=True)
        write(writer_of(root), [run("a")])
        shutil.rmtree(root)


def _only(root: Path) -> Callable[..., None]:
    """Makes this folder and no other."""
    return lambda path, *a, **k: os.mkdir(path) if path == root else _broken()  # noqa: PTH102


def test_a_draft_of_somebody_else_is_no_store_of_ours(root: Path) -> None:
    (root / "0").mkdir(parents=True)
    (root / "0" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files"):
        writer_of(root)
