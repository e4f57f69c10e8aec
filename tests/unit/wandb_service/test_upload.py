"""Uploads that fail end soon, and say why."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wandb_server import Server

from trackbridge.errors import BridgeError, ConfigError, TransientError
from trackbridge_adapters.wandb.service import upload
from trackbridge_adapters.wandb.service.answers import RefusedError
from trackbridge_adapters.wandb.service.login import Login
from trackbridge_adapters.wandb.service.synclog import ENDED, SyncLog
from trackbridge_adapters.wandb.service.wire import Wire

pytest.importorskip("wandb")
FIXTURE = Path(__file__).parents[3] / "fixtures" / "wandb-0.31" / "wandb"


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Run folders that are not of our making; each will do."""
    shutil.copytree(FIXTURE, tmp_path / "runs", symlinks=True)
    return sorted(tmp_path.glob("runs/offline-run-*"))


@pytest.fixture
def wire(server: Server, monkeypatch: pytest.MonkeyPatch) -> Wire:
    """A client that waits for a second at most, and is looked at often."""
    server.add_entity("example")
    monkeypatch.setattr(upload, "LOOK_SECONDS", 0.1)
    for name in upload.ENVIRONMENT:
        if name.endswith(("RETRY_MAX", "MAX_SECONDS")):
            monkeypatch.setitem(upload.ENVIRONMENT, name, "1")
    return Wire(Login(server.address, server.user.key))


@pytest.fixture
def patient(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Wire:
    """A client that goes on trying for longer than a test."""
    for name in upload.ENVIRONMENT:
        if name.endswith("RETRY_MAX"):
            monkeypatch.setitem(upload.ENVIRONMENT, name, "1000")
    return wire


def refused(folders: list[Path], wire: Wire, kind: type[BridgeError] = TransientError) -> str:
    with pytest.raises(kind) as caught:
        upload.upload([[(folder, 0)] for folder in folders], wire)
    return str(caught.value)


def test_a_client_that_gives_up_run_after_run_is_stopped(
    server: Server, folders: list[Path], wire: Wire
) -> None:
    server.faults.fail("UpsertBucket", times=None, status=503)
    said = refused(folders, wire)
    assert "HTTP 503" in said
    assert server.faults.counts()["UpsertBucket"] < 2 * len(folders)


def test_a_client_that_is_refused_says_why(server: Server, folders: list[Path], wire: Wire) -> None:
    server.faults.fail("UpsertBucket", times=None, status=403)
    said = refused(folders[:2], wire)
    assert f"`wandb sync` did not upload {folders[0].name} and 1 more" in said
    assert "returned error 403" in said


def test_an_entity_that_nobody_may_write_to_is_named(
    server: Server, folders: list[Path], wire: Wire
) -> None:
    server.user.entities.remove("example")
    said = refused(folders[:1], wire, ConfigError)
    assert said.startswith(f"{server.address}: no such entity as example, or it is not yours")


def test_one_run_that_is_given_up_does_not_stop_the_others(
    server: Server, folders: list[Path], wire: Wire
) -> None:
    """A run is given up after two refusals: who meets them is a matter of time."""
    server.faults.fail("UpsertBucket", times=6, status=503)
    refused(folders, wire, RefusedError)
    left = sum(not list(folder.glob("*.synced")) for folder in folders)
    assert 1 <= left <= 3


def test_settings_of_a_user_change_nothing_of_what_is_uploaded(
    server: Server, folders: list[Path], wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path.home() / ".config" / "wandb" / "settings"
    place.parent.mkdir(parents=True)
    told = ["ignore_globs = *", "resume = must", "x_file_stream_max_line_bytes = 100"]
    told += ["mode = disabled", 'x_extra_http_headers = {"X-From": "me"}']
    place.write_text("\n".join(["[default]", *told]), encoding="utf-8")
    monkeypatch.setenv("WANDB_IGNORE_GLOBS", "*")
    used = upload._environment(wire.login, folders[0].parent)
    assert used["WANDB_X_EXTRA_HTTP_HEADERS"] == '{"X-From": "me"}'
    [folder] = [folder for folder in folders if folder.name.endswith("-media01")]
    upload.upload([[(folder, 0)]], wire)
    run = server.run("example/fixtures/media01")
    assert any(name.startswith("media/") for name in run.files)
    assert run.history


def test_runs_that_were_deleted_on_the_server_are_told_from_those_that_fail(
    server: Server, folders: list[Path], patient: Wire
) -> None:
    """The client would go on for minutes; it is stopped when it has nothing else to do."""
    place = server.state.make_project("example", "fixtures", server.user)
    place.deleted |= {"config01", "long01"}
    lanes = [[(folder, 0)] for folder in folders]
    left = {folder for folder in folders if folder.name.endswith(("-config01", "-long01"))}
    assert upload.upload(lanes, patient) == left
    place.deleted.clear()
    assert upload.upload(lanes, patient) == set()
    assert {"config01", "long01"} <= place.runs.keys()


def test_runs_that_were_deleted_are_told_though_others_are_left(
    server: Server, folders: list[Path], patient: Wire
) -> None:
    """The client uploads so many at a time, and does nothing else for as long as it asks."""
    place = server.state.make_project("example", "fixtures", server.user)
    gone = folders[: upload.STUCK]
    place.deleted |= {folder.name.rpartition("-")[2] for folder in gone}
    deleted = upload.upload([[(folder, 0)] for folder in folders], patient)
    assert deleted == set(gone)


def written(folder: Path, *lines: dict[str, Any]) -> None:
    place = folder / "wandb" / "logs" / "debug-sync.1.log"
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("a", encoding="utf-8") as out:
        out.writelines(json.dumps(line) + "\n" for line in lines)


def error(run: str, msg: str, **more: Any) -> dict[str, Any]:
    return {"level": "ERROR", "msg": msg, "sync_path": f"/x/{run}/run-{run}.wandb", **more}


def test_a_client_ends_when_nobody_waits_for_it_any_more(
    server: Server, folders: list[Path], wire: Wire
) -> None:
    """Else it would upload runs again that the next call has uploaded meanwhile."""
    server.faults.fail("UpsertBucket", times=None)
    code = f"""
from pathlib import Path
from trackbridge_adapters.wandb.service import upload, wire, login
there = wire.Wire(login.Login({server.address!r}, {server.user.key!r}))
upload.upload([[(Path({str(folders[0])!r}), 0)]], there)
"""
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        soon(lambda: server.faults.counts()["UpsertBucket"] > 0)
        process.kill()
    soon(lambda: str(folders[0]) not in listed_processes())


def listed_processes() -> str:
    told = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return told.stdout


def soon(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_runs_with_many_versions_are_uploaded_fewer_at_a_time() -> None:
    waiting = [(Path(str(n)), versions) for n, versions in enumerate((0, 3, 3, 40))]
    assert upload._part(waiting, None) == ([Path(str(n)) for n in range(4)], 4 * 4 + 5 * 46)
    assert upload._part(waiting, 2.5) == ([Path("0"), Path("1")], 2 * 4 + 5 * 3)
    assert upload._part(waiting[3:], 2.5) == ([Path("3")], 4 + 5 * 40)


def test_the_log_of_a_client_is_read_as_it_grows(tmp_path: Path) -> None:
    written(tmp_path, error("old", "of an earlier call"))
    log = SyncLog(tmp_path)
    written(tmp_path, error("a", "sender: failed", error="giving up after 3\nattempts"))
    written(tmp_path, error("a", "later"), error("b", "refused"), error("b", "api: HTTP error"))
    log.read()
    assert log.reasons == {"a": "sender: failed giving up after 3 attempts", "b": "refused"}
    assert log.stuck == {"a"}
    written(tmp_path, {"level": "INFO", "msg": ENDED, "sync_path": "/x/a/run-a.wandb"})
    log.read()
    assert log.stuck == {"a"}
    written(tmp_path, {"level": "INFO", "msg": ENDED, "sync_path": "/x/c/run-c.wandb"})
    log.read()
    assert log.stuck == set()


def test_a_request_that_the_client_ended_itself_is_no_reason_where_there_is_another(
    tmp_path: Path,
) -> None:
    log = SyncLog(tmp_path)
    written(tmp_path, error("a", "giving up after 1 attempt(s): context canceled"))
    log.read()
    written(tmp_path, error("a", "giving up after 2 attempt(s): HTTP 503"), error("a", "later"))
    log.read()
    assert log.reasons == {"a": "giving up after 2 attempt(s): HTTP 503"}


def test_half_a_line_of_a_log_is_waited_for(tmp_path: Path) -> None:
    log = SyncLog(tmp_path)
    written(tmp_path, error("a", "one"))
    place = tmp_path / "wandb" / "logs" / "debug-sync.1.log"
    text = json.dumps(error("b", "two"))
    with place.open("a") as out:
        out.write(f"no JSON\n[]\n{text[:20]}")
    log.read()
    with place.open("a") as out:
        out.write(f"{text[20:]}\n")
    log.read()
    assert log.reasons == {"a": "one", "b": "two"}
