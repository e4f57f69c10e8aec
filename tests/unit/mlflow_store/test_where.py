"""An expression means on our runs what MLflow's own search makes of it."""

from __future__ import annotations

import random
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trackbridge.adapter import Query, Reader
from trackbridge.errors import ConfigError
from trackbridge.sift import sift
from trackbridge.where import parse
from trackbridge_adapters.mlflow import ADAPTER

KEYS = ["loss", "acc", "train/loss", "odd key", "a.b", "Loss"]
WORDS = [
    "cnn",
    "CNN",
    "c_n",
    "100%",
    "a\nb",
    "",
    "it's",
    'say "x"',
    "grüße",
    "GRÜSSE",
    "0.1",
    "None",
]
# NaN gets a time of its own: in a tie with 0, as which it is stored, the first one logged wins.
NUMBERS = [0.0, 0.1, -1.5, 1e300, float("nan"), float("inf"), float("-inf"), 7.0]
STATES = ["FINISHED", "FAILED", "KILLED", "RUNNING", "SCHEDULED"]


class Searched:
    """A store that MLflow has filled, its own client and our reader."""

    def __init__(self, folder: Path) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(f"sqlite:///{folder}/runs.db")
        self.experiment = self.client.create_experiment("demo")
        luck = random.Random(7)
        for number in range(40):
            self._log(luck, number)
        self.reader: Reader = ADAPTER.reader(f"sqlite:///{folder}/runs.db", {})
        self.runs = list(self.reader.list_runs(Query()))

    def _log(self, luck: random.Random, number: int) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

        names = {"run_name": luck.choice(["base", "Base line", "x%", "ab"])}
        run = self.client.create_run(self.experiment, start_time=1000 * number + 7, **names)
        run_id = run.info.run_id
        metrics = [
            Metric(key, value, 3 if value != value else luck.randrange(3), luck.randrange(-2, 3))
            for key in luck.sample(KEYS, 3)
            for value in luck.choices(NUMBERS, k=luck.randrange(1, 6))
        ]
        params = [Param(key, luck.choice(WORDS)) for key in luck.sample(KEYS, 3)]
        tags = [RunTag(key, luck.choice(WORDS)) for key in luck.sample(KEYS, 3)]
        self.client.log_batch(run_id, metrics, params, tags)
        datasets = [
            DatasetInput(
                Dataset(luck.choice(["train", "Test"]), luck.choice("de"), "local", "{}"),
                [InputTag("mlflow.data.context", luck.choice(["training", "eval"]))],
            )
            for _ in range(luck.randrange(3))
        ]
        if datasets:
            self.client.log_inputs(run_id, datasets)
        state = luck.choice(STATES)
        if state not in ("RUNNING", "SCHEDULED"):
            self.client.set_terminated(run_id, state, end_time=1000 * number + 500)
        elif state == "SCHEDULED":
            self.client.update_run(run_id, state)

    def ours(self, expression: str) -> list[str] | None:
        """Runs that we find; None where the expression is refused."""
        try:
            clauses = parse(expression)
        except ConfigError:
            return None
        return sorted(info.ref.run_id for info in sift(self.reader, self.runs, clauses))

    def theirs(self, expression: str) -> list[str] | None:
        """Runs that MLflow finds; None where it refuses the expression."""
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.search_runs([self.experiment], expression, max_results=100)
        except (MlflowException, ValueError, OverflowError):
            return None
        return sorted(run.info.run_id for run in found)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    return Searched(tmp_path_factory.mktemp("searched"))


def quoted(text: str) -> str:
    return f"'{text}'" if "'" not in text else f'"{text}"'


keys = st.sampled_from([*KEYS, "missing"])
patterns = st.text(st.sampled_from("cCnN%_ab.1\nü"), max_size=6) | st.sampled_from(WORDS)
texts = patterns.map(quoted)
numbers = st.sampled_from(["0", "0.1", "-1.5", "1e300", "7", ".1", "-0", "1E2", "7.0"])
words = st.sampled_from(["=", "!=", "LIKE", "ilike", "like", "ILIKE"])
signs = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])


@st.composite
def names(draw: st.DrawFn, kinds: list[str]) -> str:
    key = draw(keys)
    quote = draw(st.sampled_from(['"', "`"])) if " " in key or "/" in key or "." in key else ""
    return f"{draw(st.sampled_from(kinds))}.{quote}{key}{quote}"


@st.composite
def clauses(draw: st.DrawFn) -> str:
    space = draw(st.sampled_from([" ", "  ", "\n"]))
    kind = draw(st.integers(0, 6))
    if kind == 0:
        return space.join([draw(names(["metrics", "metric"])), draw(signs), draw(numbers)])
    if kind == 1:
        return space.join([draw(names(["params", "tags", "tag"])), draw(words), draw(texts)])
    if kind == 2:
        presence = draw(st.sampled_from(["IS NULL", "is not null"]))
        return f"{draw(names(['params', 'tags']))} {presence}"
    if kind == 3:
        moment = draw(st.sampled_from(["attributes.start_time", "end_time", "created"]))
        return f"{moment} {draw(signs)} {draw(st.integers(-10, 50_000))}"
    if kind == 4:
        name = draw(st.sampled_from(["run_name", "attributes.user_id", "attr.`artifact_uri`"]))
        return f"{name} {draw(words)} {draw(texts)}"
    if kind == 5:
        operator = draw(st.sampled_from(["=", "!="]))
        return f"attributes.status {operator} '{draw(st.sampled_from(STATES))}'"
    of = draw(st.sampled_from(["datasets.name", "dataset.digest", "datasets.context"]))
    if draw(st.booleans()):
        value = draw(st.sampled_from(["train", "Test", "d", "eval", "tr%"]))
        return f"{of} {draw(words)} {quoted(value)}"
    values = draw(st.lists(st.sampled_from(["train", "e", "eval"]).map(quoted), min_size=1))
    return f"{of} {draw(st.sampled_from(['IN', 'not in']))} ({', '.join(values)})"


expressions = st.lists(clauses(), min_size=1, max_size=3).map(" and ".join)


@given(expression=expressions)
@example("metrics.loss != 0")
@example("metrics.loss = 0")
@example("params.loss LIKE 'a_b' AND tags.loss IS NULL")
def test_an_expression_finds_the_runs_that_mlflows_own_search_finds(
    searched: Searched, expression: str
) -> None:
    theirs = searched.theirs(expression)
    assert theirs is not None
    assert searched.ours(expression) == theirs


@given(run=st.data())
def test_runs_are_found_by_lists_of_ids(searched: Searched, run: Any) -> None:
    ids = run.draw(st.lists(st.sampled_from([i.ref.run_id for i in searched.runs]), min_size=1))
    for operator in ("IN", "NOT IN"):
        expression = f"attributes.run_id {operator} ({', '.join(map(quoted, ids))})"
        assert searched.ours(expression) == searched.theirs(expression) is not None


@given(
    expression=expressions, at=st.integers(0, 80), what=st.sampled_from([*string.punctuation, " "])
)
def test_what_both_accept_means_the_same_however_odd_it_is_written(
    searched: Searched, expression: str, at: int, what: str
) -> None:
    odd = expression[:at] + what + expression[at:]
    ours, theirs = searched.ours(odd), searched.theirs(odd)
    assert ours is None or theirs is None or ours == theirs


def test_not_every_expression_finds_everything_or_nothing(searched: Searched) -> None:
    """Else the tests above would compare nothing."""
    for expression in (
        "metrics.loss < 1",
        "metrics.loss != 0.1",
        "params.loss ILIKE '%n'",
        "tags.`odd key` = 'cnn'",
        "datasets.context = 'eval'",
        "attributes.start_time > 20000",
        "run_name LIKE 'Base%'",
        "status = 'KILLED'",
    ):
        found = searched.ours(expression)
        assert found == searched.theirs(expression)
        assert found is not None and 0 < len(found) < len(searched.runs), expression
