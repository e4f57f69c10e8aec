"""A rich store goes through every lane of MLflow in turn, and MLflow itself sees no difference."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow_asked
import mlflow_servers
import pytest
import rich_store
from servers import MYSQL, POSTGRES, dropped  # noqa: F401

import trackbridge
from trackbridge.proof import Comparison
from trackbridge.schema import ITEMS
from trackbridge_adapters.mlflow import empty

pytestmark = pytest.mark.slow

STEPS = ["PostgreSQL", "REST", "SQLite", "archive", "MariaDB", "MariaDB again"]
"""The way; the last brings what the server did not hold from PostgreSQL."""
SHOWN = [name for name in STEPS if name != "archive"]
"""Those that MLflow's client opens."""
LACKING = {"traces", "evaluation_datasets"}
"""What a server takes none of over REST."""
ON_A_SERVER = {"traces not moved", "evaluation datasets not moved", "projects.deleted not shown"}
LEFT_ALONE = "projects left as they are in the target"
"""The experiment that every MLflow has from the beginning."""


@dataclass
class Shown:
    """What MLflow's client says of a store."""

    answers: dict[str, Any]
    model: dict[str, Any]
    items: dict[str, Any]

    @classmethod
    def of(cls, uri: str) -> Shown:
        client = mlflow_asked.asked(uri)
        return cls(
            mlflow_asked.answers(client),
            mlflow_asked.model(uri),
            mlflow_asked.items(client),
        )


@dataclass
class Step:
    """One migration on the way, and all that was found out about it."""

    report: trackbridge.Report
    again: trackbridge.Report
    compared: Comparison
    untouched: bool
    """The source was the same before and after."""
    shown: Shown | None


@dataclass
class Chain:
    """The store that it all began with, and the steps after it, by name."""

    shown: Shown
    untouched: bool
    steps: dict[str, Step]
    uris: dict[str, str]


@pytest.fixture(scope="module")
def chain(
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Callable[[Path, str], None],
    dropped: None,  # noqa: F811
) -> Iterator[Chain]:
    """Everything is moved and looked at once; the stores stay open for the tests."""
    folder = tmp_path_factory.mktemp("chain")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(empty, "create", empty_database)
        patch.setenv("TRACKBRIDGE_STATE", str(folder / "state"))
        origin = written(folder / "origin", empty_database)
        shown, before = Shown.of(origin.removeprefix("mlflow:")), contents(origin)
        (folder / "server").mkdir()
        empty_database(folder / "server" / "server.db", str(folder / "server" / "artifacts"))
        options = mlflow_servers.proxied(folder / "server")
        stores = {
            "PostgreSQL": f"mlflow:{POSTGRES.new(folder / 'postgres')}",
            "REST": stack.enter_context(mlflow_servers.server(folder / "server", *options)),
            "SQLite": f"mlflow:sqlite:///{folder}/lite/mlflow.db",
            "archive": f"archive:{folder}/archive",
            "MariaDB": f"mlflow:{MYSQL.new(folder / 'maria')}",
        }
        sources = [origin, *list(stores.values())[:-1], stores["PostgreSQL"]]
        pairs = zip(sources, [*stores.values(), stores["MariaDB"]])
        roots = {
            stores["PostgreSQL"]: str(folder / "postgres"),
            stores["MariaDB"]: str(folder / "maria"),
        }
        steps = {
            name: moved(origin, source, target, roots.get(target))
            for name, (source, target) in zip(STEPS, pairs)
        }
        uris = {name: stores[name].removeprefix("mlflow:") for name in SHOWN if name in stores}
        yield Chain(shown, contents(origin) == before, steps, uris)


def written(folder: Path, create: Callable[[Path, str], None]) -> str:
    """The address of the rich store, which a process of its own has made."""
    folder.mkdir()
    create(folder / "mlflow.db", str(folder / "mlartifacts"))
    subprocess.run([sys.executable, rich_store.__file__, str(folder)], check=True, cwd=folder)
    return f"mlflow:sqlite:///{folder}/mlflow.db"


def moved(origin: str, source: str, target: str, root: str | None) -> Step:
    options = {"artifact_root": root} if root else {}
    before = contents(source)
    report, again = (trackbridge.migrate(source, target, target_options=options) for _ in range(2))
    untouched = contents(source) == before
    compared = trackbridge.verify(origin, target, target_options=options)
    shown = None if target.startswith("archive:") else Shown.of(target.removeprefix("mlflow:"))
    return Step(report, again, compared, untouched, shown)


def contents(address: str) -> Any:
    """All that a store consists of."""
    location = address.removeprefix("mlflow:").removeprefix("archive:")
    if location.startswith("postgresql"):
        name = location.rpartition("/")[2]
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        tables = sorted(table for (table,) in POSTGRES.run(query, name))
        return {t: sorted(map(repr, POSTGRES.run(f"SELECT * FROM {t}", name))) for t in tables}
    if location.startswith("http"):
        return mlflow_asked.answers(mlflow_asked.asked(location))
    place = Path(location.removeprefix("sqlite:///"))
    folder = place.parent if place.suffix == ".db" else place
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", STEPS)
def test_every_run_arrives_and_is_equal_to_the_origin(chain: Chain, name: str) -> None:
    step = chain.steps[name]
    assert step.report.failures == []
    assert step.report.verified
    assert step.report.damage == []
    assert step.report.total == len(chain.shown.answers["runs"])
    assert step.compared.equal == step.compared.total == step.report.total
    assert step.compared.series == step.compared.series_equal > 20
    lacking = LACKING if name in ("SQLite", "archive", "MariaDB") else set()
    assert {difference.table for difference in step.compared.differences} == lacking


@pytest.mark.parametrize("name", STEPS)
def test_what_is_not_there_is_named_and_nothing_else(chain: Chain, name: str) -> None:
    named = {loss.kind for loss in chain.steps[name].report.losses} - {LEFT_ALONE}
    assert named == (ON_A_SERVER if name == "REST" else set())
    held = {kind for kind, tally in chain.steps[name].compared.items.items() if tally.held}
    assert (held & ITEMS.keys() == set()) == (name == "REST")


@pytest.mark.parametrize("name", STEPS)
def test_a_second_migration_skips_everything(chain: Chain, name: str) -> None:
    again = chain.steps[name].again
    assert (again.copied, again.updated, again.skipped) == (0, 0, again.total)
    assert again.failures == []
    for kind, tally in again.items.items():
        assert (tally.copied, tally.updated, tally.skipped) == (0, 0, tally.total), kind


@pytest.mark.parametrize("name", STEPS)
def test_reading_leaves_a_store_as_it_was(chain: Chain, name: str) -> None:
    assert chain.steps[name].untouched
    assert chain.untouched


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("part", ["experiments", "runs", "searches", "registry"])
def test_mlflow_answers_as_it_did_at_the_origin(chain: Chain, name: str, part: str) -> None:
    shown = chain.steps[name].shown
    assert shown is not None
    expected = chain.shown.answers[part]
    if (part, name) == ("experiments", "REST"):  # deleting one would forbid to write into it
        expected = {**expected, rich_store.GONE: (expected[rich_store.GONE][0], "active")}
    assert shown.answers[part] == expected


@pytest.mark.parametrize("name", SHOWN)
def test_a_migrated_model_predicts_the_same_by_alias_version_and_id(
    chain: Chain, name: str
) -> None:
    shown = chain.steps[name].shown
    assert shown is not None
    assert shown.model == chain.shown.model
    assert len(shown.model["predicted"]) == 4


@pytest.mark.parametrize("name", SHOWN)
def test_mlflow_shows_traces_and_datasets_where_they_are_held(chain: Chain, name: str) -> None:
    shown = chain.steps[name].shown
    assert shown is not None
    held = name in ("PostgreSQL", "MariaDB again")
    assert shown.items == (chain.shown.items if held else {"traces": {}, "datasets": {}})
    assert len(chain.shown.items["traces"]) == 3


@pytest.mark.parametrize("name", ["PostgreSQL", "REST", "SQLite", "MariaDB"])
def test_training_goes_on_in_a_migrated_store(chain: Chain, name: str) -> None:
    mlflow_asked.log_into(mlflow_asked.asked(chain.uris[name]))
