"""A store in pandas: the same frames whatever store holds the runs, and no more read than asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import trackbridge
from trackbridge.adapter import Query, RunKey
from trackbridge.meant import Selection
from trackbridge.optional import Excerpt
from trackbridge.schema import TABLES
from trackbridge.sidecar import Sidecar
from trackbridge.store import Store
from trackbridge.testing import MadeRun
from trackbridge.testing.made import store
from trackbridge.wide import typed
from trackbridge_adapters import memory
from trackbridge_adapters.archive import ADAPTER as ARCHIVE

FIXTURES = Path(__file__).parents[3] / "fixtures"
SOURCES = {
    "wandb": FIXTURES / "wandb-0.31" / "wandb",
    "mlflow": FIXTURES / "mlflow-3.17" / "mlflow.db",
}
HOLDERS = ("archive", "sqlite", "mlruns", "wandb-files", "memory")


@pytest.fixture(scope="module", params=SOURCES)
def stores(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Addresses of stores that hold the same runs: the source, and where it was migrated to."""
    source, folder = str(SOURCES[request.param]), tmp_path_factory.mktemp("stores")
    targets = {
        "archive": f"archive:{folder / 'archive'}",
        "sqlite": f"mlflow:sqlite:///{folder / 'db' / 'mlflow.db'}",
        "mlruns": f"mlflow:{folder / 'mlruns'}",
        "wandb-files": f"wandb-files:{folder / 'wandb'}",
        "memory": f"memory:{folder.name}",
    }
    for target in targets.values():
        report = trackbridge.migrate(source, target, trackbridge.Query())
        assert report.verified, report.failures
    yield {"source": source, **targets}
    memory.STORES.pop(folder.name)


VIEWS: dict[str, Callable[[Store], pd.DataFrame]] = {
    "runs": lambda store: store.runs(),
    "metrics": lambda store: store.metrics(),
    "some metrics": lambda store: store.metrics(["loss", "*/acc", "repeated steps"], steps=(1, 4)),
    "one metric": lambda store: store.metrics("loss"),
    "curves": lambda store: store.metrics(wide=True),
    "system": lambda store: store.metrics(system=True),
    "params": lambda store: store.params(),
    "typed params": lambda store: store.params(wide=True),
    "summary": lambda store: store.summary(),
    "typed summary": lambda store: store.summary(wide=True),
    "tags": lambda store: store.tags(),
    "wide tags": lambda store: store.tags(wide=True),
    "series": lambda store: store.series(),
    "files": lambda store: store.files(hashes=True),
    "logs": lambda store: store.table("logs"),
    "artifacts": lambda store: store.table("artifacts"),
    "where": lambda store: store.runs(where="metrics.loss < 10"),
    "of some": lambda store: store.metrics(runs=store.runs(where="metrics.loss < 10")),
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("view", VIEWS)
def test_frames_are_the_same_whatever_store_holds_the_runs(
    stores: dict[str, str], holder: str, view: str
) -> None:
    every = [
        trackbridge.open(stores[name]).select(include_deleted=True)
        for name in ("source", holder)  # a run folder cannot be marked as deleted
    ]
    assert_frame_equal(*map(VIEWS[view], every))


@pytest.mark.parametrize("view", VIEWS)
def test_frames_with_arrows_types_have_the_same_values(stores: dict[str, str], view: str) -> None:
    plain = VIEWS[view](trackbridge.open(stores["archive"]))
    found = VIEWS[view](trackbridge.open(stores["archive"], dtype_backend="pyarrow"))
    assert all(isinstance(kind, pd.ArrowDtype) for kind in found.dtypes)
    assert list(found.columns) == list(plain.columns)
    for name in found.columns:
        values = [None if pd.isna(value) else value for value in plain[name]]
        assert [None if pd.isna(value) else value for value in found[name]] == values


# What is in frames


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Store]:
    """An archive of runs made for a test."""

    def make(*runs: MadeRun) -> Store:
        for one in runs:
            store(ARCHIVE.writer(str(tmp_path / "archive"), {}), [one])
        return trackbridge.open(str(tmp_path / "archive"))

    return make


def run(name: str, instance: str = "", **tables: list[dict[str, Any]]) -> MadeRun:
    rows = {"runs": [{"name": f"named {name}", "deleted": False}], **tables}
    return MadeRun(RunKey("some-kind", instance, "vision", name), rows)


def params(**texts: str | None) -> list[dict[str, Any]]:
    return [{"key": key, "value": text, "type": "string"} for key, text in texts.items()]


def points(*rows: tuple[str, int | None, float]) -> list[dict[str, Any]]:
    return [
        {"key": key, "step": step, "row": row, "value": value, "system": False}
        for row, (key, step, value) in enumerate(rows)
    ]


def test_types_of_columns_are_those_that_people_compute_with(made: Callable[..., Store]) -> None:
    store = made(run("a", metrics=points(("loss", 1, 0.5)), params=params(lr="0.1")))
    found = store.metrics()
    assert [*found.columns] == ["project", "run_id", "name", "key", "step", "time", "row", "value"]
    kinds = {name: str(kind) for name, kind in found.dtypes.items()}
    assert {kinds[name] for name in ("project", "run_id", "name", "key")} == {"category"}
    assert (kinds["step"], kinds["time"], kinds["value"]) == (
        "Int64",
        "datetime64[us, UTC]",
        "float64",
    )
    runs = store.runs()
    assert runs.index.names == ["project", "run_id"]
    assert (str(runs["deleted"].dtype), str(runs["name"].dtype)) == ("boolean", "string")


def test_wide_params_have_the_type_that_all_texts_of_a_column_have(
    made: Callable[..., Store],
) -> None:
    first = params(lr="0.1", n="1", flag="True", code="007", mixed="1", depth="None", big="9" * 30)
    second = params(lr="1e-3", n="-2", flag="false", code="1", mixed="x", depth="3", big="1")
    wide = made(run("a", params=first), run("b", params=second), run("c")).params(wide=True)
    assert {name: str(kind) for name, kind in wide.dtypes.items()} == {
        "big": "float64",
        "code": "string",
        "depth": "Int64",
        "flag": "boolean",
        "lr": "float64",
        "mixed": "string",
        "n": "Int64",
    }
    assert wide.loc[("vision", "a"), ["lr", "n", "flag", "code"]].tolist() == [0.1, 1, True, "007"]
    assert wide.loc[("vision", "a"), "depth"] is pd.NA
    assert wide.loc[("vision", "c")].isna().all(), "a run without params has its row"


class CountedText(str):
    """A text that counts how often it is compared with others."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        CountedText.compared += 1
        return str.__eq__(self, other)


def test_many_different_texts_of_a_key_are_not_compared_with_each_other() -> None:
    texts = [CountedText(f"{number}.5") for number in range(300)]
    CountedText.compared = 0
    assert typed(texts).to_pylist() == [number + 0.5 for number in range(300)]
    assert CountedText.compared < 10 * len(texts)


def test_numbers_that_are_too_large_for_any_type_stay_texts() -> None:
    for large in ("9" * 5000, "1e999"):
        assert typed(["1", large, "inf"]).to_pylist() == ["1", large, "inf"]
    assert typed(["1", "inf"]).to_pylist() == [1, math.inf]


def test_bare_labels_are_true_or_false_and_tags_with_values_texts(
    made: Callable[..., Store],
) -> None:
    tags = [{"key": "baseline", "value": None}, {"key": "team", "value": "nlp"}]
    wide = made(run("a", tags=tags), run("b")).tags(wide=True)
    assert wide["baseline"].tolist() == [True, False]
    assert wide["team"].tolist() == ["nlp", pd.NA]


def test_of_points_that_repeat_a_step_the_latest_counts_and_all_are_in_the_long_form(
    made: Callable[..., Store],
) -> None:
    rows = points(("loss", 1, 5.0), ("loss", 1, 4.0), ("acc", 1, 0.5), ("loss", None, 9.0))
    store = made(run("a", metrics=rows))
    assert len(store.metrics()) == 4
    wide = store.metrics(wide=True)
    assert [*wide.columns] == ["acc", "loss"]
    assert wide.index.tolist()[1] == ("vision", "a", 1)
    assert wide["loss"].tolist() == [9.0, 4.0]
    assert pd.isna(wide.index[0][2])


def test_a_number_that_was_logged_as_nan_is_none_that_is_missing_with_arrows_types(
    tmp_path: Path, made: Callable[..., Store]
) -> None:
    made(run("a", metrics=points(("loss", 1, math.nan), ("acc", 2, 1.0))))
    store = trackbridge.open(str(tmp_path / "archive"), dtype_backend="pyarrow")
    column = store.metrics(wide=True)["loss"].array.__arrow_array__()
    assert column.is_null().to_pylist() == [False, True]


def test_runs_that_were_born_with_one_id_in_two_stores_stay_two() -> None:
    memory.create("twice", memory.EVERYTHING)
    for place, loss in (("x", 1.0), ("y", 2.0)):
        store(memory.MemoryStore("twice"), [run("a", place, metrics=points(("loss", 0, loss)))])
    shown = trackbridge.open("memory:twice")
    ids = [run_id for _, run_id in shown.runs().index]
    assert ids == ["some-kind/x/vision/a", "some-kind/y/vision/a"]
    assert shown.metrics(wide=True)["loss"].tolist() == [1.0, 2.0]
    alone = shown.metrics(runs=ids[1])
    assert (alone["run_id"].tolist(), alone["value"].tolist()) == (ids[1:], [2.0])
    assert shown.metrics(runs=shown.runs())["value"].tolist() == [1.0, 2.0]
    memory.STORES.pop("twice")


def test_an_empty_store_gives_empty_frames_with_their_columns(made: Callable[..., Store]) -> None:
    store = made(run("a"))
    none = store.select(runs=[])
    for view in VIEWS.values():
        assert view(none).empty
    assert [*none.metrics().columns] == [*store.metrics().columns]
    assert none.params().merge(store.params(), on="key", how="outer").empty
    assert none.metrics(wide=True).index.names == ["project", "run_id", "step"]


# Which runs, keys and steps


def test_runs_are_named_by_id_by_project_and_id_or_by_a_frame(made: Callable[..., Store]) -> None:
    store = made(run("a"), run("b"), run("c"))

    def ids(runs: Any) -> list[str]:
        return [run_id for _, run_id in store.select(runs).runs().index]

    assert ids("a") == ["a"]
    assert ids(["vision/a", "c"]) == ["a", "c"]
    assert ids([("vision", "b")]) == ["b"]
    assert ids(store.runs().index[1]) == ["b"]
    assert ids(store.runs().iloc[1:]) == ["b", "c"]
    assert ids(store.runs().iloc[0]) == ["a"]
    assert ids(store.runs().reset_index().iloc[0]) == ["a"]
    assert ids(store.runs().reset_index()["run_id"][:2]) == ["a", "b"]
    assert ids(store.runs().iloc[1:].index) == ["b", "c"]
    assert ids(store.runs().reset_index()) == ["a", "b", "c"]
    assert ids([]) == []


def test_what_is_said_later_narrows_what_was_said_before(made: Callable[..., Store]) -> None:
    store = made(run("a", params=params(lr="1")), run("b", params=params(lr="1")), run("c"))
    some = store.select(where="params.lr = '1'")
    assert len(some.runs()) == 2
    assert [r for _, r in some.select(["b", "c"]).runs().index] == ["b"]
    assert [r for _, r in some.runs(where="attributes.run_name = 'named a'").index] == ["a"]


def test_keys_may_be_patterns_and_a_key_with_their_signs_is_meant_by_its_name(
    made: Callable[..., Store],
) -> None:
    rows = points(("val/loss", 0, 1.0), ("val/acc", 0, 1.0), ("loss", 0, 1.0), ("top[5]", 0, 1.0))
    store = made(run("a", metrics=rows, params=params(a="1", b="2")))
    assert store.metrics("val/*")["key"].tolist() == ["val/acc", "val/loss"]
    assert store.metrics("top[5]")["key"].tolist() == ["top[5]"]
    assert store.metrics(["loss", "top[5]"])["key"].tolist() == ["loss", "top[5]"]
    assert store.params("[ac]")["key"].tolist() == ["a"]
    assert store.metrics([]).empty and store.metrics("none").empty


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (3, [3]),
        ((1, 3), [1, 2, 3]),
        ((4, None), [4]),
        ((None, 0), [0]),
        (range(2, 4), [2, 3]),
        ([2, 2], [2]),
        (range(0), []),
        (np.int64(1), [1]),
    ],
)
def test_steps_are_a_range(made: Callable[..., Store], steps: Any, expected: list[int]) -> None:
    store = made(run("a", metrics=points(*(("loss", step, 1.0) for step in range(5)))))
    assert store.metrics(steps=steps)["step"].tolist() == expected


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda s: s.metrics(steps=range(0, 10, 2)), "give one step, the first and the last one"),
        (lambda s: s.metrics(steps=(1, 2, 3)), "give one step, the first and the last one"),
        (lambda s: s.metrics(steps=(0, 2**70)), "give one step, the first and the last one"),
        (lambda s: s.metrics(runs="nobody"), "no run 'nobody'"),
        (lambda s: s.metrics(runs="vision/nobody"), "no run vision/nobody; there are 'a', 'b'"),
        (lambda s: s.metrics(runs=pd.Series([0.5])), "name runs by id"),
        (lambda s: s.runs(project="sound"), "no project 'sound'"),
        (lambda s: s.runs(where="loss <"), "--where"),
        (lambda s: s.runs(since="soon"), "since='soon': no time"),
        (lambda s: s.table("projects"), "'projects': no table of runs; there are alerts"),
        (lambda s: s.arrow("nothing"), "no table of runs"),
        (lambda s: s.open("a", "nothing.txt"), "nothing.txt"),
        (lambda s: s.select(s.runs().reset_index(drop=True)), "in its index too"),
    ],
)
def test_a_mistake_is_one_clear_line(
    made: Callable[..., Store], call: Callable[[Store], Any], line: str
) -> None:
    with pytest.raises(trackbridge.BridgeError) as caught:
        call(made(run("a"), run("b")))
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_an_address_without_a_store_and_an_odd_option_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(trackbridge.BridgeError, match="nothing"):
        trackbridge.open(str(tmp_path / "nothing"))
    with pytest.raises(trackbridge.BridgeError, match="dtype_backend"):
        trackbridge.open(str(tmp_path), dtype_backend="numpy")  # type: ignore[arg-type]


# How it is read


def test_nothing_is_read_before_it_is_asked_for_and_no_more_than_that(tmp_path: Path) -> None:
    read: list[Any] = []

    class Watched(memory.MemoryStore):
        def list_runs(self, query: Query) -> Any:
            read.append("list")
            return super().list_runs(query)

        def read_runs(self, refs: Any, tables: Any = None) -> Any:
            read.append((len(refs), tables))
            return super().read_runs(refs, tables)

        def read_points(self, refs: Any, excerpt: Excerpt) -> Any:
            read.append((len(refs), excerpt))
            return iter(())

    watched = Watched("watched")
    memory.create("watched", memory.EVERYTHING)
    store(watched, [run("a"), run("b")])
    read.clear()
    seen = Store(watched, Selection(), arrow_types=False).select(["a"])
    assert read == []
    seen.metrics(["loss", "acc"], steps=(0, 9))
    assert [each for each in read if each != "list"] == [
        (1, Excerpt(frozenset({"loss", "acc"}), 0, 9))
    ]
    read.clear()
    seen.params()
    assert [each for each in read if each != "list"] == [(1, ["params"])]
    memory.STORES.pop("watched")


def test_arrow_gives_rows_in_batches_that_other_libraries_take(
    made: Callable[..., Store],
) -> None:
    shown = made(run("a", metrics=points(("loss", 0, 2.0), ("acc", 0, 1.0))))
    reader = shown.arrow("metrics", keys="loss")
    assert reader.schema.equals(TABLES["metrics"])
    best = duckdb.sql("SELECT run_id, min(value) AS best FROM reader GROUP BY run_id").df()
    assert best.values.tolist() == [["a", 2.0]]


def test_files_are_opened_by_what_the_frame_says_of_them(made: Callable[..., Store]) -> None:
    one = run("a")
    one.add_file("", "notes.txt", b"hello")
    one.add_file("weights:v0", "model.bin", b"weights")
    shown = made(one)
    for row in shown.files().itertuples():
        with shown.open(row.run_id, row.path, row.owner) as file:
            assert len(file.read()) == row.size


def test_what_a_notebook_shows_of_a_store_is_what_is_in_it(made: Callable[..., Store]) -> None:
    shown = made(run("a"), run("b"))
    assert repr(shown) == f"Store({shown.address!r}: 2 runs in vision (2))"
    assert repr(shown.select("a")).endswith("1 run in vision (1))")
    assert "no run 'nobody'" in repr(shown.select("nobody"))


# What is broken


BROKEN = sorted(path for path in (FIXTURES / "damaged").glob("*/*") if path.suffix != ".json")


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.parent.name)
def test_of_a_damaged_store_there_are_frames_or_one_clear_line(path: Path) -> None:
    try:
        shown = trackbridge.open(str(path)).select(include_deleted=True)
        for view in VIEWS.values():
            repr(view(shown))
    except trackbridge.BridgeError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        assert path.parent.name.startswith("db-")


def test_sidecars_of_a_few_runs_are_loaded_once_for_a_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.create("sidecars", memory.EVERYTHING)
    summary = [{"key": "best", "value": "1", "type": "integer"}]
    store(memory.MemoryStore("sidecars"), [run(name, summary=summary) for name in "abc"])
    assert trackbridge.migrate("memory:sidecars", str(tmp_path / "mlflow.db")).verified
    memory.STORES.pop("sidecars")
    loaded: list[str] = []
    loads = Sidecar.loads

    def counted(data: bytes, where: str) -> Sidecar:
        loaded.append(where)
        return loads(data, where)

    monkeypatch.setattr(Sidecar, "loads", counted)
    frame = trackbridge.open(str(tmp_path / "mlflow.db")).summary()
    assert frame["name"].tolist() == ["named a", "named b", "named c"]
    assert len(loaded) == 3
