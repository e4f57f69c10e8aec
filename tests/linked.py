"""What holds of any store in which runs name their twins in others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import trackbridge
from trackbridge.adapter import Query, RunInfo
from trackbridge.errors import NotFoundError
from trackbridge.optional import Linking, Twin
from trackbridge.registry import open_reader, open_writer
from trackbridge.testing.made import MadeRun, store

TWINS = [
    Twin("mlflow:http://host:5000", "vision", "0" * 32, "http://host:5000/#/x"),
    Twin("archive:./out", "vision", "ä"),
]


def writing(target: str) -> Linking:
    writer = open_writer(target)
    assert isinstance(writer, Linking)
    return writer


def infos(target: str) -> list[RunInfo]:
    return list(open_reader(target).list_runs(Query()))


def check(name: str, target: str, run: MadeRun, told: Callable[[], Any]) -> Twin:
    """Bring a run to a new store, and have it name twins; `told` is what people then see of them.

    Gives the place of the run.
    """
    source = f"memory:{name}"
    with pytest.raises(NotFoundError):
        writing(target).place(run.key)
    store(open_writer(source), [run])
    assert trackbridge.migrate(source, target).verified
    before = infos(target)
    writer = writing(target)
    place = writer.place(run.key)
    for twins in (TWINS, TWINS, TWINS[1:]):
        writer.link(run.key, twins)
        assert told() == [twin._asdict() for twin in twins]
        assert writing(target).place(run.key) == place
    assert infos(target) == before
    assert trackbridge.verify(source, target).holds
    report = trackbridge.migrate(source, target)
    assert (report.skipped, report.copied, report.updated) == (1, 0, 0)
    run.tables["runs"][0]["notes"] = "was changed"
    store(open_writer(source), [run])
    report = trackbridge.migrate(source, target)
    assert report.verified and report.updated == 1
    assert told() == [TWINS[1]._asdict()]
    writing(target).link(run.key, [])
    assert not told()
    return place
