"""Every real store survives every way: to an archive, and over all kinds of stores in turn."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

import trackbridge
from trackbridge.errors import BridgeError
from trackbridge.schema import ITEMS

FIXTURES = Path(__file__).parents[2] / "fixtures"
STORES = sorted(
    path.relative_to(FIXTURES).as_posix()
    for pattern in ("wandb-*/wandb", "mlflow-*/mlflow.db", "mlflow-*/mlruns")
    for path in FIXTURES.glob(pattern)
)
DAMAGED = sorted(
    path.relative_to(FIXTURES).as_posix()
    for pattern in ("wandb-*/wandb", "mlruns-*/mlruns")
    for path in (FIXTURES / "damaged").glob(pattern)
)
NO_STORES = sorted(
    path.relative_to(FIXTURES).as_posix() for path in FIXTURES.glob("damaged/db-*/mlflow.db")
)
EXTREMES = [f"wandb-{version}/wandb" for version in ("0.12", "0.31")] + [
    f"mlflow-{version}/{kind}" for version in ("1.30", "3.17") for kind in ("mlflow.db", "mlruns")
]
"""The oldest and the newest of each kind."""
UNHARMED = {"mlruns-ds-store", "mlruns-duplicate-metric-line"}
"""What was done to these is no damage to speak of, or leaves nothing to tell it by."""

Copied = Callable[[str], Path]


def test_there_are_stores_of_every_version() -> None:
    assert len(STORES) >= 6 + 4 + 4
    assert len(DAMAGED) + len(NO_STORES) >= 20


def move(source: str, target: str, origin: str, left: Collection[str] = ()) -> trackbridge.Report:
    """Migrate, and compare the target with the store where it all began.

    `left`: kinds of items that a store on the way did not hold, as its report said.
    """
    report = trackbridge.migrate(source, target)
    assert report.failures == []
    assert report.verified
    assert report.copied == report.total > 0
    found = trackbridge.verify(origin, target)
    assert [d for d in found.differences if d.table not in left] == []
    assert {d.table for d in found.differences} == set(left)
    assert found.equal == found.total == report.total
    return report


def left_by(report: trackbridge.Report) -> set[str]:
    """Kinds of items that were named as not moved."""
    kinds = {f"{item.words} not moved": kind for kind, item in ITEMS.items()}
    return {kinds[loss.kind] for loss in report.losses if loss.kind in kinds}


@pytest.mark.parametrize(
    "store",
    [
        *(*EXTREMES, *DAMAGED),
        *(pytest.param(s, marks=pytest.mark.nightly) for s in STORES if s not in EXTREMES),
    ],
)
def test_a_store_comes_through_all_others_as_it_was(
    store: str, copied: Copied, tmp_path: Path, quick_databases: None
) -> None:
    origin = str(copied(store))
    database = f"mlflow:sqlite:///{tmp_path}/new/mlflow.db"
    files = f"mlflow:{tmp_path}/files/mlruns"
    logs = f"tensorboard:{tmp_path}/logs"
    folders = f"wandb-files:{tmp_path}/wandb-new"
    first = move(origin, database, origin)
    second = move(database, files, origin)
    third = move(files, logs, origin)
    fourth = move(logs, folders, origin)
    fifth = move(folders, f"archive:{tmp_path}/archive", origin, left_by(second))
    points = {report.points for report in (first, second, third, fourth, fifth)}
    assert len(points) == 1


@pytest.mark.parametrize("store", EXTREMES)
def test_an_archive_holds_a_store_and_gives_it_back(
    store: str, copied: Copied, tmp_path: Path
) -> None:
    origin = str(copied(store))
    archive = f"archive:{tmp_path}/archive"
    report = move(origin, archive, origin)
    named = {loss.kind for loss in report.losses}
    assert named <= {"files without bytes", "traces not moved"}
    again = trackbridge.migrate(origin, archive)
    assert (again.skipped, again.copied, again.updated) == (report.total, 0, 0)
    move(archive, f"archive:{tmp_path}/another", origin)


@pytest.mark.parametrize("store", EXTREMES)
def test_nothing_is_lost_that_the_forecast_did_not_name(
    store: str, copied: Copied, tmp_path: Path, quick_databases: None
) -> None:
    from trackbridge.forecast import forecast

    origin = str(copied(store))
    database = f"mlflow:sqlite:///{tmp_path}/new/mlflow.db"
    foreseen = forecast(origin, database)
    assert not (tmp_path / "new").exists()
    report = trackbridge.migrate(origin, database)
    assert {loss.kind for loss in report.losses} - {"files without bytes"} <= {
        loss.kind for loss in foreseen.losses
    }
    assert (foreseen.runs, foreseen.points) == (report.total, report.points)


@pytest.mark.parametrize("store", DAMAGED)
def test_damage_is_reported_with_its_place_and_the_rest_is_moved(
    store: str, copied: Copied, tmp_path: Path
) -> None:
    origin = copied(store)
    report = trackbridge.migrate(str(origin), f"archive:{tmp_path}/archive")
    assert report.verified
    harmed = Path(store).parent.name not in UNHARMED
    assert bool(report.damage) == harmed
    expected = json.loads((origin.parent / "expected.json").read_text(encoding="utf-8"))
    runs = [
        value for name, value in expected.items() if name in ("run", "texts_run", "metrics_run")
    ]
    assert runs
    for text in report.damage:
        assert any(text.startswith("run ") and f"/{run}: " in text for run in runs), text
        assert "\n" not in text


@pytest.mark.parametrize("store", NO_STORES)
@pytest.mark.parametrize("scheme", ["", "mlflow:", "mlflow:sqlite:///"])
def test_what_is_no_store_is_refused_in_one_line(
    store: str, scheme: str, copied: Copied, tmp_path: Path
) -> None:
    address = f"{scheme}{copied(store)}"
    with pytest.raises(BridgeError, match=r"mlflow\.db") as caught:
        trackbridge.migrate(address, f"archive:{tmp_path}/archive")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "archive").exists()
