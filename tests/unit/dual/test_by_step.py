"""Of runs whose calls have no rows, rounds show steps that are over, as they will be in the end."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackbridge import migrate
from trackbridge.adapter import Batch, Capabilities, Row, RunKey, RunRef
from trackbridge.dual import place
from trackbridge.dual.delivery import Delivery
from trackbridge.dual.followed import Followed
from trackbridge.dual.frames import NONE, SYSTEM
from trackbridge.dual.standing import Standing
from trackbridge.dual.starting import begin, start
from trackbridge.dual.values import Item
from trackbridge_adapters import memory
from trackbridge_adapters.journal import reader as module

ROWS = Capabilities.everything(rows=True, repeated_points=False, gaps=False)
STORE, WHOLE = "memory:by step", "memory:by step, whole"
BEGUN = 1_700_000_000_000_000


class Value(NamedTuple):
    """A value in a store of rows."""

    row: int
    step: int
    key: str
    value: object
    time: object


class Shown(memory.MemoryStore):
    """A store of rows, which counts rows that are there already once."""

    def __init__(self) -> None:
        super().__init__("by step", ROWS)
        self.values: list[Value] = []
        self.samples: list[Row] = []
        self.rows = 0

    def extend(self, keys: Sequence[RunKey]) -> Added:
        return Added(self)


class Added:
    def __init__(self, store: Shown) -> None:
        self._store, self._rows = store, list[tuple[str, Row]]()

    def __enter__(self) -> Added:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def write(self, batch: Batch) -> None:
        if batch.table in ("metrics", "series"):
            self._rows += [(batch.table, row) for row in batch.data.to_pylist()]

    def put_file(self, file: object, data: object) -> None:
        pass

    def commit(self) -> Mapping[RunKey, RunRef]:
        there = self._store
        there.samples += [row for _, row in self._rows if row.get("system")]
        new = sorted(v for v in values(row for _, row in self._rows) if v.row >= there.rows)
        numbers = sorted({value.row for value in new})
        assert numbers == list(range(there.rows, there.rows + len(numbers)))
        there.rows += len(numbers)
        there.values += new
        return {}


def values(rows: Any) -> list[Value]:
    return [
        Value(row["row"], row["step"], row["key"], row["value"], row["time"])
        for row in rows
        if not row.get("system")
    ]


class Training:
    """A run without rows that is delivered in rounds."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run, _ = begin("p", "r", (), root / "journals", key=("k", "", "p", "r"), kind=Followed)
        self.run.set(status="running")
        self.store, self.count = Shown(), 0
        self.restart()

    def restart(self) -> None:
        folder = place.find(self.root / "journals", "p", "r")
        assert folder is not None
        self.delivery = Delivery(folder, STORE)

    @property
    def at(self) -> Standing:
        return self.delivery.standing

    def log(self, step: int, *keys: str, flags: int = 0) -> None:
        self.count += 1
        numbers = tuple(float(self.count) for _ in keys)
        at = BEGUN + 1000 * self.count
        self.run.append(keys, numbers, (), NONE, step, at, flags=flags)

    def note(self, step: int, key: str) -> None:
        """Log what is no number."""
        self.count += 1
        item = Item(key, "text", json.dumps(str(self.count)))
        self.run.append((), (), [item], NONE, step, BEGUN + 1000 * self.count)

    def round(self) -> None:
        self.delivery.round(self.store)

    def killed_round(self) -> None:
        """The forwarder dies after a round, before it has written down how far it is."""
        folder = self.delivery.folder / place.DELIVERY
        before = self.root / "before"
        shutil.rmtree(before, ignore_errors=True)
        if folder.exists():
            shutil.copytree(folder, before)
        self.round()
        shutil.rmtree(folder, ignore_errors=True)
        if before.exists():
            shutil.copytree(before, folder)
        self.restart()

    def steps(self) -> list[int]:
        """The step of each row that is shown."""
        return [step for _, step in sorted({(v.row, v.step) for v in self.store.values})]

    def whole(self) -> list[Value]:
        """The run as a store of rows has it in the end."""
        memory.create(WHOLE.partition(":")[2], ROWS)
        report = migrate(f"journal:{self.root / 'journals'}", WHOLE)
        assert not report.failures
        [run] = memory.STORES[WHOLE.partition(":")[2]].runs.values()
        tables = (
            run.tables[name].to_pylist() for name in ("metrics", "series") if name in run.tables
        )
        return sorted(values(row for rows in tables for row in rows))

    def is_beginning(self) -> bool:
        """Whether what is shown are the first rows of what there is in the end."""
        return is_beginning(self.store, self.whole())


def is_beginning(store: Shown, whole: list[Value]) -> bool:
    return sorted(store.values) == [value for value in whole if value.row < store.rows]


@contextmanager
def begun(root: Path) -> Iterator[Training]:
    found = Training(root)
    yield found
    found.run.leave()


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Training]:
    with begun(tmp_path) as found:
        yield found


def test_a_step_is_shown_once_a_later_one_has_come(training: Training) -> None:
    seen = []
    for step in range(4):
        training.log(step, "loss")
        training.log(step, "acc", "f1")
        training.round()
        seen.append(training.steps())
    assert seen == [[], [0], [0, 1], [0, 1, 2]]
    assert (training.at.state, training.at.points, training.at.left) == ("live", 9, 0)
    assert training.is_beginning()


def test_values_of_the_open_step_outlive_the_forwarder(training: Training) -> None:
    training.log(3, "a")
    training.round()
    training.restart()
    training.round()
    training.log(3, "b")
    training.round()
    training.restart()
    training.log(4, "a")
    training.round()
    assert [(v.row, v.step, v.key) for v in training.store.values] == [(0, 3, "a"), (0, 3, "b")]
    assert training.is_beginning()


def test_a_late_value_is_left_to_the_end_and_stops_nothing(training: Training) -> None:
    for step in range(10, 13):
        training.log(step, "loss")
    training.round()
    training.log(0, "test accuracy")
    training.log(13, "loss")
    training.round()
    assert (training.at.state, training.at.left) == ("live", 1)
    assert training.steps() == [10, 11, 12]
    assert len(training.whole()) == 5


def test_a_value_that_is_late_within_a_round_is_in_its_step(training: Training) -> None:
    training.log(1, "a")
    training.log(2, "a")
    training.log(1, "b")
    training.log(3, "a")
    training.round()
    assert [(v.step, v.key) for v in training.store.values] == [(1, "a"), (1, "b"), (2, "a")]
    assert training.at.left == 0
    assert training.is_beginning()


def test_of_values_of_one_step_the_last_is_shown_and_none_is_kept_in_mind(
    training: Training,
) -> None:
    for _ in range(5):
        training.log(0, "a")
        training.log(0, "b")
        training.round()
        assert [len(rows) for rows in training.at.waiting.values()] == [2]
    training.log(1, "a")
    training.round()
    assert sorted((v.key, v.value) for v in training.store.values) == [("a", 9.0), ("b", 10.0)]
    assert training.at.left == 8


def test_negative_steps_and_steps_that_are_missing_stop_nothing(training: Training) -> None:
    training.log(-1, "a")
    training.log(NONE, "b")
    training.log(1, "a")
    training.log(2, "a")
    training.round()
    assert training.steps() == [0, 1]
    assert training.at.left == 1


def test_what_is_no_number_waits_for_its_step_too(training: Training) -> None:
    training.note(1, "text")
    training.log(1, "a")
    training.round()
    training.restart()
    training.note(2, "text")
    training.round()
    assert [(v.step, v.key) for v in training.store.values] == [(1, "a"), (1, "text")]
    assert training.is_beginning()


def test_samples_of_the_system_do_not_wait(training: Training) -> None:
    training.log(1, "a")
    training.log(7, "cpu", flags=SYSTEM)
    training.round()
    assert [row["key"] for row in training.store.samples] == ["cpu"]
    assert training.steps() == []
    assert training.at.left == 0


def test_a_run_that_is_gone_on_with_after_late_values_is_shown_again(training: Training) -> None:
    training.log(5, "a")
    training.log(6, "a")
    training.log(7, "a")
    training.round()
    training.log(0, "late")
    training.round()
    assert training.at.left == 1
    memory.create("by step", ROWS)
    training.delivery.close()
    training.store.values = training.whole()
    training.store.rows = 4
    training.log(8, "a")
    training.round()
    training.log(9, "a")
    training.round()
    assert training.at.state == "live"
    assert training.steps() == [0, 5, 6, 7, 8]
    assert training.is_beginning()


def test_a_run_that_has_rows_of_another_kind_in_the_end_is_held_when_it_is_gone_on_with(
    training: Training,
) -> None:
    for _ in range(3):
        training.log(0, "a")
    training.round()
    memory.create("by step", ROWS)
    training.delivery.close()
    training.log(1, "a")
    training.round()
    assert training.at.state == "held"


def test_a_long_run_comes_in_parts(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 100)
    monkeypatch.setattr("trackbridge.dual.scanning.scan.__defaults__", (0, None, 10))
    for step in range(150):
        training.log(step, "a", "b")
        training.log(step, "c")
    for _ in range(6):
        training.round()
    assert training.steps() == list(range(149))
    assert training.is_beginning()


def test_rows_that_go_back_are_followed_by_their_steps(tmp_path: Path) -> None:
    run = start("p", run_id="r", folder=tmp_path / "journals")
    assert run.folder is not None
    delivery, store = Delivery(run.folder, STORE), Shown()
    run.log({"a": 0.0})
    run.log({"a": 1.0})
    delivery.round(store)
    assert [value.step for value in store.values] == [0, 1]
    run.log({"b": 0.0}, step=0)
    run.log({"a": 2.0})
    run.log({"a": 3.0})
    delivery.round(store)
    run.finish()
    assert [value.step for value in store.values] == [0, 1, 2]
    assert (delivery.standing.state, delivery.standing.left) == ("live", 1)


KEYS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True)
LOGS = st.tuples(st.just("log"), st.sampled_from([0, 0, 1, 1, 1, 2, 5, -1, -4]), KEYS)
NOTES = st.tuples(st.just("note"), st.sampled_from([0, 1]), st.sampled_from("xyz"))
SIMPLE = st.sampled_from([("round",), ("restart",), ("system",)])
DEEDS = st.lists(LOGS | NOTES | SIMPLE, max_size=40)


@settings(max_examples=60, deadline=None)
@given(DEEDS)
def test_what_is_shown_is_the_beginning_unless_something_was_left(
    deeds: list[tuple[Any, ...]],
) -> None:
    with TemporaryDirectory() as name, begun(Path(name)) as training:
        step = 0
        for deed in deeds:
            if deed[0] in ("log", "note"):
                step = step + deed[1]
                training.log(step, *deed[2]) if deed[0] == "log" else training.note(step, deed[2])
            elif deed[0] == "system":
                training.log(step, "cpu", flags=SYSTEM)
            else:
                training.round() if deed[0] == "round" else training.restart()
        training.round()
        assert training.at.state == "live"
        shown, whole = training.store.values, training.whole()
        assert training.steps() == sorted({value.step for value in shown})
        logged = Counter((value.key, value.value) for value in whole)
        assert not Counter((value.key, value.value) for value in shown) - logged
        if not training.at.left:
            assert is_beginning(training.store, whole)
            top = max((value.step for value in whole), default=0)
            assert {value for value in whole if value.step < top} == set(shown)


RISING = st.lists(
    st.sets(st.sampled_from("abcd"), min_size=1) | st.sampled_from(["round", "killed", "restart"]),
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(RISING)
def test_a_forwarder_that_dies_anywhere_shows_every_value_once(deeds: list[Any]) -> None:
    with TemporaryDirectory() as name, begun(Path(name)) as training:
        step = 0
        for deed in deeds:
            if isinstance(deed, str):
                do = {"round": training.round, "killed": training.killed_round}
                do.get(deed, training.restart)()
                continue
            step += 1
            for key in sorted(deed):
                training.log(step, key)
                if key == "b":
                    training.round()
        training.round()
        whole = training.whole()
        assert training.at.left == 0
        assert is_beginning(training.store, whole)
        assert training.steps() == sorted({value.step for value in whole})[:-1]


@pytest.mark.skipif(sys.platform == "win32", reason="has no fork")
def test_processes_that_log_to_one_run_at_once_are_followed_by_their_steps(tmp_path: Path) -> None:
    run = start("p", run_id="r", folder=tmp_path / "journals")
    assert run.folder is not None
    delivery, store = Delivery(run.folder, STORE), Shown()
    for step in range(3):
        run.log({"a": 1.0}, step=step)
    delivery.round(store)
    for part in (1, 2):
        if not (pid := os.fork()):
            for step in range(10 * part, 10 * part + 5):
                run.log({"child": float(part)}, step=step)
            os._exit(0)
        os.waitpid(pid, 0)
        for step in range(10 * part, 10 * part + 5):
            run.log({"a": 2.0}, step=step)
        delivery.round(store)
    run.finish()
    assert (delivery.standing.state, delivery.standing.left) == ("live", 0)
    memory.create("whole", ROWS)
    assert not migrate(f"journal:{tmp_path / 'journals'}", "memory:whole").failures
    [whole] = memory.STORES["whole"].runs.values()
    assert is_beginning(store, sorted(values(whole.tables["metrics"].to_pylist())))
    assert sorted({value.step for value in store.values}) == [
        0,
        1,
        2,
        *range(10, 15),
        *range(20, 24),
    ]
