"""Servers that fail, refuse, hang, and are killed and started again."""

from __future__ import annotations

import threading
import time
import urllib.error

import pytest
from unit.wandb_server.test_pages import ask
from wandb_server import Server
from wandb_server.client import script, sync

WHO = "query Who { viewer { username } }"

LOG = """
with wandb.init(project="p", id="r1") as run:
    for step in range(20):
        run.log({"x": step})
"""


def test_an_operation_fails_so_often(server: Server) -> None:
    server.faults.fail("Who", times=2, skip=1, status=502)
    ask(server, WHO)
    for _ in range(2):
        with pytest.raises(urllib.error.HTTPError, match="502"):
            ask(server, WHO)
    assert ask(server, WHO) == {"viewer": {"username": "tester"}}
    assert [request.status for request in server.faults.requests] == [200, 502, 502, 200]
    assert server.faults.counts() == {"Who": 4}


def test_connections_are_dropped_and_hang(server: Server) -> None:
    server.faults.fail("Who", "drop")
    with pytest.raises(OSError):
        ask(server, WHO)
    server.faults.fail("Who", "hang", times=None)

    def wait() -> None:
        with pytest.raises(OSError):
            ask(server, WHO)

    hanging = threading.Thread(target=wait)
    hanging.start()
    time.sleep(0.2)
    assert hanging.is_alive()
    server.faults.heal()
    hanging.join(10)
    assert not hanging.is_alive()
    assert ask(server, WHO)


def test_requests_above_the_limit_are_told_when_to_come_back(server: Server) -> None:
    server.faults.limit(60, at_once=2)
    ask(server, WHO)
    ask(server, WHO)
    with pytest.raises(urllib.error.HTTPError, match="429") as error:
        ask(server, WHO)
    headers = error.value.headers
    assert headers["RateLimit-Remaining"] == "0"
    assert headers["Retry-After"] == headers["RateLimit-Reset"]
    assert int(headers["RateLimit-Reset"]) >= 1


def test_a_lost_answer_doubles_no_rows(server: Server) -> None:
    server.faults.fail("file_stream", "lose", skip=1)
    script(server, LOG)
    assert len(server.run("team/p/r1").history) == 20


def test_a_server_killed_in_an_upload_comes_back(server: Server) -> None:
    script(server, LOG.replace("wandb.init(", 'wandb.init(mode="offline", '))
    [folder] = (server.folder / "client/dir/wandb").glob("offline-run-*")
    server.faults.fail("upload", "kill")

    def start_again() -> None:
        server.down.wait(60)
        time.sleep(1)
        server.start()

    again = threading.Thread(target=start_again)
    again.start()
    sync(server, folder)
    again.join()
    assert [request.operation for request in server.faults.requests if request.status is None] == [
        "upload"
    ]
    run = server.run("team/p/r1")
    assert len(run.history) == 20
    assert run.state == "finished"
    assert {"config.yaml", "wandb-summary.json"} <= {
        name for name, file in run.files.items() if file.size is not None
    }
