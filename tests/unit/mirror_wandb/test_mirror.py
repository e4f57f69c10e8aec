"""What a program logs with wandb is in its journal just as it is in W&B's own run folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.mirror_wandb.programs import (
    AFTER,
    BEFORE,
    assert_same,
    both,
    keys,
    points,
    rows,
    run,
)

from trackbridge.adapter import FileRef, Query
from trackbridge.registry import open_reader

pytest.importorskip("wandb")

RICH = """
    import numpy as np
    run = wandb.init(
        project="p", name="n", group="g", job_type="j", notes="no", tags=["a", "b"],
        config={"lr": 0.1, "n": {"a": 1, "b": [1, 2]}, "s": "x", "none": None, "dot.ted": True},
        settings=wandb.Settings(sweep_id="sw"),
    )
    run.define_metric("ax")
    run.define_metric("val*", step_metric="ax", summary="min,max,mean")
    run.define_metric("acc", summary="last,first", hidden=True)
    run.define_metric("unsummed", summary="none")
    for i in range(5):
        wandb.log({"loss": 1 / (i + 1), "acc": i, "unsummed": i})
    wandb.log({"ax": 3}, commit=False)
    wandb.log({
        "val_a": 2.5, "big": 2**60 + 1, "nan": float("nan"), "inf": float("-inf"), "t": "text",
        "b": True, "none": None, "nested": {"a": 1, "b": {"c": 2.5}, "empty": {}}, "a.b": 7,
        "l": [1, 2], "quote": 'a "b" \\u00e9', "np": np.float32(0.1),
    })
    wandb.log({"val_a": 1.5, "x": 1}, step=10)
    wandb.log({"x": 2, "y": 3}, step=10)
    wandb.log({}, step=11)
    wandb.log({"only": 1}, step=12)
    wandb.log({
        "img": wandb.Image(np.zeros((4, 4, 3), np.uint8), caption="c"),
        "imgs": [wandb.Image(np.full((4, 4), i, np.uint8)) for i in range(2)],
        "h": wandb.Histogram(np.arange(10)), "html": wandb.Html("<p>"),
        "tab": wandb.Table(columns=["a"], data=[[1]]),
        "plot": wandb.plot.line_series([1, 2], [[3, 4]], keys=["k"], title="t", xname="x"),
        "in": {"deep": wandb.Histogram([1, 2, 3])},
    }, step=13)
    wandb.config.update({"later": 5})
    wandb.config.update({"n": {"a": 2}}, allow_val_change=True)
    wandb.summary["best"] = 3
    wandb.summary["n"] = {"k": 1}
    wandb.summary["gone"] = 1
    del wandb.summary["gone"]
    open("f.txt", "w").write("hi")
    made = wandb.Artifact("ds", "dataset", description="d", metadata={"m": 1})
    made.add_file("f.txt")
    made.add_reference("file:///etc/hostname", name="elsewhere")
    wandb.log_artifact(made, aliases=["v", "latest"])
    again = wandb.Artifact("ds", "dataset")
    again.add_file("f.txt", name="g.txt")
    run.log_artifact(again)
    wandb.save("f.txt")
    run.alert("T", "text", level="WARN")
    run.tags = ("a", "c")
    run.name, run.notes = "other", "nn"
"""


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rich")
    done = run(folder, RICH + "    run.finish(exit_code=2)\n")
    assert done.returncode == 0, done.stderr
    return folder


def test_all_tables_are_as_in_the_run_folder(rich: Path) -> None:
    assert_same(rich)


def test_it_has_the_key_of_the_run_folder(rich: Path) -> None:
    assert keys(f"journal:{rich / 'trackbridge'}") == keys(f"wandb-files:{rich / 'wandb'}")


def test_nothing_is_damaged_and_every_file_has_its_bytes(rich: Path) -> None:
    ours = open_reader(f"journal:{rich / 'trackbridge'}")
    theirs = open_reader(f"wandb-files:{rich / 'wandb'}")
    [info] = ours.list_runs(Query())
    found = rows(f"journal:{rich / 'trackbridge'}")
    kept = [row for row in found["files"] if "reference" not in row]
    assert len(kept) > 6
    for row in kept:
        file = FileRef(info.ref, row["owner"], row["path"])
        with ours.open_file(file) as one, theirs.open_file(file) as other:
            assert one.read() == other.read()
    assert info.points == len(found["metrics"]) + len(found["series"])


def test_a_program_that_does_not_finish_its_run_ends_it(tmp_path: Path) -> None:
    done = run(tmp_path, RICH)
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path)


@pytest.mark.parametrize(
    "end", ["import sys; sys.exit(3)", "1 / 0", "raise KeyboardInterrupt", "run.finish()"]
)
def test_the_end_of_a_program_is_the_end_of_its_run(tmp_path: Path, end: str) -> None:
    code = f"run = wandb.init(project='p')\nrun.log({{'a': 1}}, step=3)\n{end}\n"
    mirrored = run(tmp_path / "mirrored", code)
    plain = run(tmp_path / "plain", code, head="import wandb\n")
    assert mirrored.returncode == plain.returncode
    assert mirrored.stdout == plain.stdout
    assert_same(tmp_path / "mirrored")


def test_a_block_that_raises_has_failed(tmp_path: Path) -> None:
    run(tmp_path, "with wandb.init() as run:\n    run.log({'a': 1})\n    raise ValueError('no')\n")
    assert_same(tmp_path)
    assert [row["status"] for row in both(tmp_path)[1]["runs"]] == ["failed"]


def test_steps_that_go_back_are_rows_of_their_own(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        run = wandb.init(project="p")
        run.log({"a": 1}, step=5)
        run.log({"late": 2}, step=3)
        run.log({"b": 1}, step=5)
        run.log({"a": 2}, step=6)
        run.finish()
        """,
    )
    theirs, ours = both(tmp_path)
    [late] = [row for row in ours["metrics"] if row["key"] == "late"]
    assert (late["step"], late["value"]) == (3, "2.0")
    others = [row for row in ours["metrics"] if row is not late]
    assert late["row"] not in {row["row"] for row in others}
    for rows_ in (theirs["metrics"], others):
        for row in rows_:
            del row["row"]
    assert others == theirs["metrics"]


def test_what_is_no_time_is_a_value_of_its_call(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        run = wandb.init(project="p")
        odd = (10**18, 1e300, float("nan"), float("inf"), None, True, "abc", "5", [1], {"a": 1})
        for time in (*odd, -5, 0, 1.5e9, 1.5e12):
            run.log({"q": 1.0, "_timestamp": time})
            run.log({"q": 2.0, "text": "t", "_timestamp": time})
        run.log({"a": 1, "_timestamp": "abc"}, commit=False)
        run.log({"b": 1})
        run.log({"a": 2, "_timestamp": 10**18}, commit=False)
        run.log({"b": 2})
        run.log({"a": 3}, commit=False)
        run.log({"b": 3, "_timestamp": "abc"})
        run.log({"q": 3.0})
        run.finish()
        """,
    )
    assert_same(tmp_path)
    ours = both(tmp_path)[1]
    assert {row["step"] for row in ours["metrics"] if row["key"] == "q"} == {*range(28), 31}


def test_a_call_that_cannot_be_mirrored_takes_its_step(tmp_path: Path) -> None:
    head = (
        "from trackbridge_adapters.wandb.mirror import rows\n"
        "read = rows.Rows._read\n"
        "def broken(self, items):\n"
        "    if items[0].key == 'broken':\n        raise RuntimeError('broken')\n"
        "    return read(self, items)\n"
        "rows.Rows._read = broken\n"
    )
    code = """
    run = wandb.init(project="p")
    run.log({"a": 0})
    run.log({"broken": 1})
    run.log({"a": 2})
    run.log({"a": 3}, commit=False)
    run.log({"broken": 3})
    run.log({"a": 4})
    run.log({"broken": 9}, step=9)
    run.log({"a": 9})
    run.finish()
    """
    run(tmp_path, code, head + BEFORE)
    theirs, ours = both(tmp_path)
    for rows_ in (theirs, ours):
        assert [row["step"] for row in rows_["metrics"] if row["key"] == "a"] == [0, 2, 3, 4, 9]


def test_of_a_key_that_is_logged_twice_in_a_row_the_last_value_counts(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        run = wandb.init()
        for step in range(3):
            run.log({"a": 1, "t": "x"}, step=step)
            run.log({"a": 2, "c": 3}, step=step)
            run.log({"t": 5}, step=step)
        run.finish()
        """,
    )
    assert_same(tmp_path)


@pytest.mark.parametrize("head", [BEFORE, AFTER])
def test_runs_at_once_and_one_after_the_other(tmp_path: Path, head: str) -> None:
    done = run(
        tmp_path,
        """
        for name in "ab":
            with wandb.init(project="p", name=name) as run:
                wandb.log({name: 1})
        runs = [wandb.init(project="q", id=f"id{n}", reinit="create_new") for n in range(2)]
        for step in range(3):
            for run in runs:
                run.log({run.id: step})
                run.config[f"c{step}"] = run.id
        for run in runs:
            run.finish()
        """,
        head,
    )
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path)
    ours = keys(f"journal:{tmp_path / 'trackbridge'}")
    assert ours == keys(f"wandb-files:{tmp_path / 'wandb'}")
    assert len(ours) == 4


def test_a_run_that_is_resumed_goes_on(tmp_path: Path) -> None:
    for value in (1, 2):
        code = "with wandb.init(project='p', id='same', resume='allow') as run:\n"
        run(tmp_path, code + f"    run.log({{'a': {value}}})\n    run.config['k{value}'] = 1\n")
    assert_same(tmp_path, ("metrics", "params"))


def test_threads_and_children_log_too(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        import os, threading
        run = wandb.init(project="p")
        def work(name):
            for value in range(50):
                run.log({name: value})
        threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        child = os.fork()
        if not child:
            run.log({"child": 1})
            os._exit(0)
        os.waitpid(child, 0)
        run.log({"parent": 1})
        run.finish()
        """,
    )
    assert done.returncode == 0, done.stderr
    theirs, ours = both(tmp_path)
    assert points(ours) == points(theirs)
    assert len(points(ours)) == 202
    assert ours["runs"] == theirs["runs"]


def test_children_leave_the_open_row_of_their_parent_alone(tmp_path: Path) -> None:
    """One logs and ends with its work, one with the hooks of its program; neither ends a row."""
    done = run(
        tmp_path,
        """
        import os, sys
        run = wandb.init(project="p")
        run.log({"a": 1.0}, step=0)
        run.log({"b": 2.0}, step=0)
        for logs in (True, False):
            child = os.fork()
            if not child:
                if logs:
                    run.log({"c": 3.0}, step=1)
                    os._exit(0)
                sys.exit()
            os.waitpid(child, 0)
        run.log({"a": 1.5}, step=2)
        run.finish()
        """,
    )
    assert done.returncode == 0, done.stderr
    theirs, ours = (
        [(row["key"], row["step"], row["value"]) for row in found["metrics"]]
        for found in both(tmp_path)
    )
    assert sorted(ours) == sorted(theirs)
    assert len(ours) == 4


def test_a_process_that_is_given_the_run_logs_to_it(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        import multiprocessing
        def work(run):
            run.log({"child": 1}, step=5)
        if __name__ == "__main__":
            run = wandb.init(project="p")
            run.log({"a": 1})
            process = multiprocessing.get_context("spawn").Process(target=work, args=(run,))
            process.start()
            process.join()
            run.log({"b": 1}, step=6)
            run.finish()
        """,
    )
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path)


def test_what_was_logged_survives_the_kill_of_the_program(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        import os, signal
        run = wandb.init(project="p")
        run.log({"a": 1})
        run.log({"b": 1}, step=7)
        run.log({"c": 1}, step=7)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    ours = rows(f"journal:{tmp_path / 'trackbridge'}")
    found = {(row["key"], row["step"], row["row"]) for row in ours["metrics"]}
    assert found == {("a", 0, 0), ("b", 7, 1), ("c", 7, 1)}
