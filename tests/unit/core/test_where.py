"""Expressions that say which runs are meant: what they say, and what they mean on any store."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner
from unit.core.samples import POOR, START, moment, points, sample
from unit.core.stores import NOTHING_CHANGES, Sample, native, seed, stores

import trackbridge
from trackbridge.adapter import Capabilities, Query
from trackbridge.choose import chosen
from trackbridge.cli import main
from trackbridge.errors import ConfigError
from trackbridge.registry import open_reader
from trackbridge.where import Clause, parse

NAN = float("nan")


def run(run_id: str, **tables: Any) -> Sample:
    """A run with nothing in it but what is given."""
    tables_of_samples = ("params", "tags", "metrics", "summary", "logs", "files")
    empty: dict[str, list[Any]] = {table: [] for table in tables_of_samples}
    row = {"name": run_id, "deleted": False, **tables.pop("row", {})}
    return sample(run_id, **{**empty, "runs": [row], **tables})


RUNS = [
    run(
        "cnn",
        row={"status": "finished", "started": START, "user": "ann", "ended": moment(1_500)},
        params=[
            {"key": "model", "value": "cnn", "type": "string"},
            {"key": "lr", "value": "0.1", "type": "float"},
            {"key": "a.b", "value": "[1, 2]", "type": "list"},
        ],
        tags=[{"key": "baseline", "value": None}, {"key": "team", "value": "NLP"}],
        metrics=[*points("loss", 3), *points("loss", 1, step=9, value=0.05)],
        inputs=[{"name": "mnist", "digest": "d1", "context": "training"}],
    ),
    run(
        "mlp",
        row={"status": "crashed", "started": moment(10**9), "name": None},
        params=[{"key": "model", "value": "mlp", "type": "string"}],
        tags=[{"key": "team", "value": "vision"}],
        metrics=[*points("loss", 2, value=2.0), *points("cpu", 2, value=80.0, system=True)],
        inputs=[{"name": "mnist", "digest": "d2"}, {"name": "imagenet"}],
    ),
    run(
        "odd",
        row={"status": None},
        params=[{"key": "odd key", "value": "it's", "type": "string"}],
        metrics=points("loss", 2, value=NAN),
        summary=[
            {"key": "best", "value": "0.5", "type": "float"},
            {"key": "loss", "value": "7", "type": "integer"},
            {"key": "words", "value": "0.5", "type": "string"},
        ],
    ),
]

MEANINGS = [
    ("metrics.loss < 0.1", {"cnn"}),
    ("metrics.loss >= 0.05 and metric.loss <= 2", {"cnn", "mlp"}),
    ("metrics.loss != 2", {"cnn", "odd"}),
    ("metrics.loss = 7", set()),
    ("metrics.best = 0.5", {"odd"}),
    ("metrics.words = 0.5", set()),
    ("metrics.cpu > 79", {"mlp"}),
    ("metrics.nothing != 0", set()),
    ("params.model = 'cnn'", {"cnn"}),
    ("param.model != 'cnn'", {"mlp"}),
    ("params.model IN ('mlp', \"cnn\")", {"cnn", "mlp"}),
    ("params.model NOT IN ('mlp')", {"cnn"}),
    ("params.lr = '0.1'", {"cnn"}),
    ("params.lr = '0.10'", set()),
    ("params.a.b LIKE '[1,%'", {"cnn"}),
    ("params.model LIKE 'CNN'", set()),
    ("params.model ilike 'C_n'", {"cnn"}),
    ("params.model LIKE 'c.n'", set()),
    ('params.`odd key` = "it\'s"', {"odd"}),
    ('params."odd key" LIKE "it%"', {"odd"}),
    ("tags.baseline IS NOT NULL", {"cnn"}),
    ("tags.baseline is  null", {"mlp", "odd"}),
    ("tags.baseline != 'x'", set()),
    ("tags.team LIKE '%L%' AND status = 'FINISHED'", {"cnn"}),
    ("attributes.status != 'FINISHED'", {"mlp"}),
    ("attributes.run_name LIKE '%'", {"cnn", "odd"}),
    ("`Run name` = 'cnn'", {"cnn"}),
    ("attr.user_id = 'ann'", {"cnn"}),
    ("run_id = 'mlp'", {"mlp"}),
    ("run.run_id NOT IN ('mlp', 'odd')", {"cnn"}),
    ("start_time < 1714564801000", {"cnn"}),
    ("created >= '2024-05-01T12:00:01'", {"mlp"}),
    ("attributes.end_time = 1714564800001", {"cnn"}),
    ("datasets.name = 'mnist'", {"cnn", "mlp"}),
    ("datasets.name != 'mnist'", {"mlp"}),
    ("dataset.digest IN ('d1')", {"cnn"}),
    ("datasets.context LIKE 'train%'", {"cnn"}),
]


def ids(address: str, where: str) -> set[str]:
    """The ids, at birth, of the runs that are meant."""
    return {info.key.run_id for info in chosen(open_reader(address), Query(), where).runs}


@pytest.fixture(scope="module")
def places() -> Any:
    """The same runs where they were born, and brought to a store that holds little of them."""
    with stores(NOTHING_CHANGES, POOR, Capabilities(holds={"runs": ("name",)})) as names:
        seed(names[0], RUNS)
        addresses = [f"memory:{name}" for name in names]
        for target in addresses[1:]:
            assert trackbridge.migrate(addresses[0], target).verified
        yield addresses


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("where", "meant"), MEANINGS)
def test_an_expression_means_the_same_runs_in_every_store(
    places: list[str], place: int, where: str, meant: set[str]
) -> None:
    assert ids(places[place], where) == meant


def test_a_run_is_meant_by_the_id_that_it_has_in_a_store_too(places: list[str]) -> None:
    [info] = chosen(open_reader(places[1]), Query(), "run_id = 'cnn'").runs
    assert info.ref.run_id != "cnn"
    assert ids(places[1], f"run_id = '{info.ref.run_id}'") == {"cnn"}
    assert ids(places[1], f"run_id != '{info.ref.run_id}'") == {"mlp", "odd"}


def test_points_are_read_only_of_runs_that_meet_everything_else(
    monkeypatch: pytest.MonkeyPatch, places: list[str]
) -> None:
    reader, asked = open_reader(places[0]), []
    read = reader.read_runs

    def noted(refs: Any, tables: Any = None) -> Any:
        asked.append(([ref.run_id.rpartition("/")[2] for ref in refs], sorted(tables)))
        return read(refs, tables)

    monkeypatch.setattr(reader, "read_runs", noted)
    where = "metrics.loss > 0 and params.model LIKE '%' and status = 'FINISHED'"
    assert [info.key.run_id for info in chosen(reader, Query(), where).runs] == ["cnn"]
    assert asked == [(["cnn"], ["params"]), (["cnn"], ["metrics", "summary"])]


def test_nothing_is_read_where_the_listing_says_it(
    monkeypatch: pytest.MonkeyPatch, places: list[str]
) -> None:
    reader = open_reader(places[0])
    monkeypatch.setattr(reader, "read_runs", None)
    where = "status = 'FINISHED' and run_name LIKE 'c%' and start_time > 0 and run_id != 'x'"
    assert [info.key.run_id for info in chosen(reader, Query(), where).runs] == ["cnn"]


def test_an_expression_that_no_run_meets_moves_nothing_and_says_so(places: list[str]) -> None:
    with stores(NOTHING_CHANGES) as [away]:
        target = f"memory:{away}"
        report = trackbridge.migrate(places[0], target, where="metrics.los < 9")
        assert (report.total, report.verified) == (0, True)
        assert report.advice.startswith("of 3 none meets the expression")
        result = CliRunner().invoke(main, ["ls", places[0], "--where", "metrics.los < 9"])
        assert (result.exit_code, result.stderr) == (0, "0 of 3 runs\n")


def test_only_projects_of_runs_that_are_meant_are_moved() -> None:
    projects = [{"project": name, "notes": name} for name in ("p", "q")]
    for where, names in (("run_id = 'one'", ["p"]), ("run_id = 'none'", [])):
        with stores(NOTHING_CHANGES, NOTHING_CHANGES) as (home, away):
            seed(home, [sample("one"), sample("two", "q")], {"projects": projects})
            trackbridge.migrate(f"memory:{home}", f"memory:{away}", where=where)
            assert [row["project"] for row in native(away, "projects")] == names
            assert trackbridge.verify(f"memory:{home}", f"memory:{away}", where=where).holds


def test_the_last_value_is_that_of_the_highest_step_however_the_points_come() -> None:
    late, early = points("loss", 1, step=2, value=1.0), points("loss", 1, step=1, value=9.0)
    for number, metrics in enumerate(([*late, *early], [*early, *late])):
        with stores(NOTHING_CHANGES) as [name]:
            seed(name, [run(f"r{number}", metrics=metrics)])
            assert ids(f"memory:{name}", "metrics.loss = 1") == {f"r{number}"}


def test_a_metric_of_the_run_goes_before_one_of_the_tracker() -> None:
    own, other = points("gpu", 1, value=1.0), points("gpu", 9, value=9.0, system=True)
    with stores(NOTHING_CHANGES) as [name]:
        seed(name, [run("r", metrics=[*own, *other])])
        assert ids(f"memory:{name}", "metrics.gpu = 1") == {"r"}


def test_an_expression_is_a_list_of_clauses() -> None:
    assert parse(' metrics.`a b`>=-1e-3  AND\ttag."x" not  in (\'1\' , "2")\n') == [
        Clause("metrics", "a b", ">=", -0.001),
        Clause("tags", "x", "NOT IN", ("1", "2")),
    ]


MISTAKES = [
    ("", 1, "a name is expected"),
    ("metrics.loss", 13, "a comparison is expected"),
    ("metrics.loss < '1'", 16, "a number is expected"),
    ("metrics.loss < 1x", 16, "a number is expected"),
    ("metrics.loss == 1", 14, "a comparison is expected"),
    ("metrics.loss LIKE '1'", 14, "a comparison is expected"),
    ("metrics.loss < 1 or metrics.loss > 2", 18, "'and' is expected"),
    ("(metrics.loss < 1)", 1, "a name is expected"),
    ("metric.loss < 1 and", 20, "a name is expected"),
    ("metrisc.loss < 1", 1, "'metrisc' is nothing that runs have"),
    ("loss < 1", 1, "attributes have no 'loss'"),
    ("datasets.nam = 'x'", 1, "datasets have no 'nam'"),
    ("params.lr < 0.1", 11, "a comparison is expected"),
    ("params.lr = 0.1", 13, "a text in quotes is expected"),
    ("params.lr = `0.1`", 13, "a text in quotes is expected"),
    ("params. = '0.1'", 9, "a key is expected"),
    ("params.model IN ()", 18, "a text in quotes is expected"),
    ("params.model IN 'a'", 17, "a list is expected"),
    ("params.model IN ('a'", 21, "a list is expected"),
    ("params.model = 'cnn", 16, "a quote is not closed"),
    ("params.model = 'it''s'", 19, "a quote cannot be in a text of the same quotes"),
    ("params.model = 'it\\'s'", 20, "a quote cannot be in a text of the same quotes"),
    ("status = 'finished'", 10, "'finished' is no status"),
    ("start_time > 'yesterday'", 14, "a time is expected"),
]


@pytest.mark.parametrize(("where", "character", "what"), MISTAKES)
def test_a_mistake_is_shown_at_its_place_with_the_way_out(
    where: str, character: int, what: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(where)
    message = str(raised.value)
    assert message.startswith(f"--where: {what}")
    assert f"(character {character} of {where!r}); " in message
    assert "\n" not in message
