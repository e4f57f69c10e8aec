"""What belongs to no run is lost by no writer, however many there are at a time."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import at_once
import pytest
from unit.wandb_service.conftest import NUMBERS
from wandb_server import Server, runs

import trackbridge
from trackbridge.adapter import SHARED_FILE, STORE, FileRef, Query, RunKey
from trackbridge.columns import batches
from trackbridge.errors import IntegrityError, NotFoundError
from trackbridge.registry import open_writer
from trackbridge.testing import samples
from trackbridge.testing.made import MadeRun, store

pytest.importorskip("wandb")
KEPT = FileRef(STORE, "", SHARED_FILE)


@pytest.fixture
def target(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("WANDB_API_KEY", server.user.key)
    return f"wandb:{server.address}/team"


def kept(target: str) -> dict[str, Any]:
    with open_writer(target).open_file(KEPT) as data:
        found: dict[str, Any] = json.loads(data.read())
    return found


def files(server: Server) -> list[str]:
    return sorted(server.run("team/trackbridge/trackbridge-store").files)


def write(target: str, *documents: dict[str, Any]) -> None:
    """Writers that all read before the first of them writes."""
    with ExitStack() as stack:
        sinks = []
        for document in documents:
            writer = open_writer(target)
            sink = stack.enter_context(writer.open([]))
            with suppress(NotFoundError):
                writer.open_file(KEPT).close()
            sink.put_file(KEPT, io.BytesIO(json.dumps(document).encode()))
            sinks.append(sink)
        for sink in sinks:
            sink.commit()


def test_writers_at_the_same_time_lose_nothing(server: Server, target: str) -> None:
    one = {"format": 1, "rows": {"sweeps": [["a", None]]}, "homes": {"x": "y"}}
    other = {"format": 1, "rows": {"sweeps": [["b", None]], "models": [["m", None]]}}
    write(target, one, other)
    both = {**one, "rows": {"sweeps": [["a", None], ["b", None]], "models": [["m", None]]}}
    found = kept(target)
    found["rows"]["sweeps"].sort()
    assert found == both
    write(target, {**both, "rows": {}})
    assert kept(target) == {**both, "rows": {}}
    assert len(files(server)) == 1


def test_what_cannot_be_deleted_counts_no_more(server: Server, target: str) -> None:
    server.faults.fail("TrackbridgeDeleteFiles", times=None, status=403)
    for number in range(3):
        write(target, {"number": number})
    assert kept(target) == {"number": 2}
    assert len(files(server)) == 3
    server.faults.heal()
    write(target, {"number": 3})
    assert len(files(server)) == 1


def test_a_file_that_is_replaced_while_it_is_read_is_read_as_it_is_then(
    server: Server, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(target, {"number": 0})
    reader = open_writer(target)
    opened = reader.wire.open  # type: ignore[attr-defined]

    def late(*given: Any) -> Any:
        monkeypatch.undo()
        monkeypatch.setenv("WANDB_API_KEY", server.user.key)
        write(target, {"number": 1})
        return opened(*given)

    monkeypatch.setattr(reader.wire, "open", late)  # type: ignore[attr-defined]
    assert json.loads(reader.open_file(KEPT).read()) == {"number": 1}


def test_a_file_whose_bytes_are_missing_is_named_with_the_way_out(
    server: Server, target: str
) -> None:
    write(target, {"number": 0})
    run = server.run("team/trackbridge/trackbridge-store")
    [(name, file)] = run.files.items()
    server.state.storage.remove(file.key)
    with pytest.raises(IntegrityError) as caught:
        kept(target)
    assert str(caught.value).startswith(
        f"team/trackbridge: the bytes of {name}, a file of its run trackbridge-store, are missing"
    )
    assert "delete that file and migrate again" in str(caught.value)
    del run.files[name]
    write(target, {"number": 1})
    assert kept(target) == {"number": 1}


def sources(count: int) -> Iterator[str]:
    for number in range(count):
        origin = f"memory:ledger-{next(NUMBERS)}"
        project = f"p{number}"
        run = samples.simple("a", project=project)
        run.key = RunKey("some-kind", str(number), project, "a")
        writer = open_writer(origin)
        store(writer, [MadeRun(run.key, run.tables)])
        rows = samples.shared(project, "a", number)
        rows["models"], rows["model_versions"] = [], []
        with writer.open([]) as sink:
            for table, those in rows.items():
                for batch in batches(table, those):
                    sink.write(batch)
            sink.commit()
        yield origin


def test_migrations_at_the_same_time_lose_nothing(server: Server, target: str) -> None:
    origins = list(sources(4))
    live = {"name": "live", "modelName": "q", "entityName": "team"}
    failures = at_once.migrated(
        origins, target, lambda: runs.upsert(server.state, server.user, live)
    )
    assert failures == []
    for origin in origins:
        assert trackbridge.verify(origin, target).holds
        again = trackbridge.migrate(origin, target)
        assert (again.failures, again.copied, again.updated) == ([], 0, 0)
    assert len(kept(target)["rows"]["sweeps"]) == 4
    assert len(list(open_writer(target).list_runs(Query(run_ids=["live"])))) == 1
