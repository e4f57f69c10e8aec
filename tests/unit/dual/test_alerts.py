"""Alerts of runs are raised while they go on: once, in time, and without holding anything up."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from dual_logging import Training, training

from trackbridge.dual import alerts, journaled, pauses, spawn
from trackbridge.dual.alerts import Alerts
from trackbridge.dual.place import DELIVERY
from trackbridge.dual.replay import replay
from trackbridge.dual.sinks import Alert
from trackbridge.dual.starting import start

SECRET = "T0KEN"
PATIENCE = 60.0
TRAIN = """
import sys, time, trackbridge
with trackbridge.start("p", "named", to=sys.argv[1], run_id="r1") as run:
    for number in range(int(sys.argv[2])):
        run.log({"loss": 1.0})
        run.alert(f"title {number}", "text <&>", "warning")
    if len(sys.argv) > 3:
        sys.stdin.readline()
"""


class Hook:
    """A server that takes webhooks down, or answers otherwise while it is told so."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.asked = 0
        self.status = 200
        self.hangs = threading.Event()
        """Set: answers come."""
        self.hangs.set()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.asked += 1
                status = hook.status
                hook.hangs.wait(PATIENCE)
                if status == 200:
                    hook.taken.append(json.loads(body))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.host = f"http://127.0.0.1:{self._server.server_port}"
        self.url = f"{self.host}/services/{SECRET}?token={SECRET}"

    def close(self) -> None:
        self.hangs.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    found = Hook()
    yield found
    found.close()


class Mailbox(socketserver.ThreadingTCPServer):
    """As much of an SMTP server as takes messages down; a login is refused."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.recipients: list[str] = []
        super().__init__(("127.0.0.1", 0), _Mailing)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Mailing(socketserver.StreamRequestHandler):
    server: Mailbox

    def handle(self) -> None:
        self._say("220 here")
        while line := self.rfile.readline().decode().strip():
            word = line.split(" ", 1)[0].upper()
            if word == "EHLO":
                self._say("250-here\r\n250-AUTH PLAIN\r\n250 8BITMIME")
            elif word == "AUTH":
                self._say(f"535 refused {SECRET}")
            elif word == "RCPT":
                self.server.recipients.append(line)
                self._say("250 ok")
            elif word == "DATA":
                self._say("354 go on")
                data = b""
                while (more := self.rfile.readline()) != b".\r\n":
                    data += more
                message = message_from_bytes(data, policy=policy.default)
                self.server.messages.append(message)
                self._say("250 taken")
            elif word == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as found:
        yield found
        found.shutdown()


@contextmanager
def raising(tmp_path: Path, told: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Alerts]:
    """The alerts of a run in a folder, raised by threads of this process."""
    monkeypatch.setenv("TRACKBRIDGE_ALERTS", told)
    monkeypatch.setattr(alerts, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(pauses, "FIRST", 0.05)
    monkeypatch.setattr(pauses, "LONGEST", 0.1)
    found = Alerts()
    for folder in tmp_path.glob("run-*"):
        found.watch(folder, [])
    yield found
    for folder in tmp_path.glob("run-*"):
        found.leave(folder)
    wait(lambda: not found._runs)


def logged(tmp_path: Path, *titles: str) -> Path:
    run = start("p", "named", folder=tmp_path, run_id="r1", resume=True)
    folder = run.folder
    assert folder is not None
    for title in titles:
        run.alert(title, "text <&>", "warning")
    run.finish()
    return folder


def wait(until: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < end
        time.sleep(0.02)


def states(folder: Path) -> list[str]:
    """What became of each alert at each sink."""
    path = folder / DELIVERY / alerts.RAISED
    told = json.loads(path.read_text()) if path.exists() else {}
    return [how for each in told.values() for how in each.values()]


def test_a_webhook_gets_what_chats_show_and_programs_read(
    tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged(tmp_path, "loss <!channel>")
    with raising(tmp_path, hook.url, monkeypatch):
        wait(lambda: hook.taken)
    [told] = hook.taken
    assert told["content"] == "[WARN] p/named: loss <!channel>\ntext <&>"
    assert told["text"] == "[WARN] p/named: loss &lt;!channel&gt;\ntext &lt;&amp;&gt;"
    assert (told["title"], told["message"], told["level"]) == (
        "loss <!channel>",
        "text <&>",
        "WARN",
    )
    assert (told["project"], told["run"], told["name"]) == ("p", "r1", "named")
    moment = datetime.fromisoformat(told["time"])
    assert abs((datetime.now(timezone.utc) - moment).total_seconds()) < 3600


def test_an_e_mail_has_one_line_as_its_subject(
    tmp_path: Path, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged(tmp_path, "loss\r\nBcc: somebody@else, größer")
    monkeypatch.setenv("TRACKBRIDGE_SMTP", f"smtp://{mailbox.place}")
    with raising(tmp_path, "mailto:me@example.org", monkeypatch):
        wait(lambda: mailbox.messages)
    [message] = mailbox.messages
    assert message["Subject"] == "[WARN] p/named: loss Bcc: somebody@else, größer"
    assert message["To"] == "me@example.org"
    assert "Bcc" not in message
    content = message.get_content()
    assert "run: named (r1)" in content and "text: text <&>" in content and "größer" in content
    assert len(mailbox.recipients) == 1


def test_each_alert_is_raised_once_at_each_sink_also_by_another_forwarder(
    tmp_path: Path, hook: Hook, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = logged(tmp_path, *(f"title {number}" for number in range(5)))
    monkeypatch.setenv("TRACKBRIDGE_SMTP", f"smtp://{mailbox.place}")
    sinks = f"{hook.url} mailto:me@example.org"
    for turn in (5, 10):
        with raising(tmp_path, sinks, monkeypatch):
            wait(lambda: states(folder) == ["raised"] * 2 * turn)  # noqa: B023
        logged(tmp_path, *(f"title {number}" for number in range(5, 10)))
    titles = [told["title"] for told in hook.taken]
    assert titles == [f"title {number}" for number in range(10)]
    assert len(mailbox.messages) == 10


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_refuses_is_asked_again(
    tmp_path: Path, hook: Hook, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = logged(tmp_path, "title")
    hook.status = status
    with raising(tmp_path, hook.url, monkeypatch) as found:
        wait(lambda: hook.asked >= 3)
        assert found.waiting and not states(folder)
        hook.status = 200
        wait(lambda: states(folder) == ["raised"])
        wait(lambda: not found.waiting)
    assert len(hook.taken) == 1


def test_a_webhook_that_hangs_holds_up_no_other_sink(
    tmp_path: Path, hook: Hook, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged(tmp_path, "title")
    hook.hangs.clear()
    monkeypatch.setenv("TRACKBRIDGE_SMTP", f"smtp://{mailbox.place}")
    with raising(tmp_path, f"{hook.url} mailto:me@example.org", monkeypatch):
        wait(lambda: mailbox.messages)
        assert not hook.taken


def test_alerts_of_long_ago_are_counted_and_not_raised(
    tmp_path: Path,
    hook: Hook,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = logged(tmp_path, "one", "two")
    monkeypatch.setattr(alerts, "LATE_SECONDS", 0.0)
    with caplog.at_level("INFO"), raising(tmp_path, hook.url, monkeypatch):
        wait(lambda: states(folder) == ["late", "late"])
        wait(lambda: "2 alerts are not raised" in caplog.text)
    assert not hook.asked


def test_what_fails_for_too_long_is_given_up(
    tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = logged(tmp_path, "title")
    hook.status = 500
    with raising(tmp_path, hook.url, monkeypatch) as found:
        wait(lambda: hook.asked)
        monkeypatch.setattr(alerts, "LATE_SECONDS", 0.0)
        wait(lambda: states(folder) == ["given up"])
        wait(lambda: not found.waiting)


def test_no_address_is_shown_by_anything_that_is_kept(
    tmp_path: Path,
    hook: Hook,
    mailbox: Mailbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = logged(tmp_path, "title")
    hook.status = 500
    with socket.socket() as nobody:  # bound, and not listening
        nobody.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{nobody.getsockname()[1]}/{SECRET}"
        odd = f"ftp://{SECRET}@host http://host:{SECRET}/ http://[{SECRET}/ {SECRET}"
        server = f"smtp://user:{SECRET}@{mailbox.place}"
        monkeypatch.setenv("TRACKBRIDGE_SMTP", server)
        told = f"{hook.url} {closed} mailto:me@example.org {odd}"
        with raising(tmp_path, told, monkeypatch):
            wait(lambda: caplog.text.count("it is tried again") >= 3)
            wait(lambda: hook.asked)
            hook.status = 200
            wait(lambda: states(folder) == ["raised"])
    kept = "".join(
        p.read_text() for p in folder.rglob("*") if p.is_file() and p.suffix != ".journal"
    )
    assert SECRET not in caplog.text + kept
    assert "answers 500" in caplog.text
    assert "answers 535" in caplog.text
    assert len(re.findall("left out", caplog.text)) == 4


def test_a_mail_server_that_is_none_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TRACKBRIDGE_ALERTS", "mailto:me@example.org mailto:nobody")
    monkeypatch.setenv("TRACKBRIDGE_SMTP", f"http://user:{SECRET}@host")
    Alerts()
    assert "no e-mail is sent" in caplog.text and "left out" in caplog.text
    assert SECRET not in caplog.text


posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture
def trained(tmp_path: Path, hook: Hook) -> Iterator[Training]:
    with training(tmp_path / "work", TRACKBRIDGE_ALERTS=hook.url) as found:
        yield found


@posix
def test_alerts_come_once_though_the_forwarder_is_killed(trained: Training, hook: Hook) -> None:
    process = trained.begin(TRAIN, f"archive:{trained.folder}/out", "3", "waits")
    wait(lambda: len(hook.taken) == 3)
    [folder] = trained.journals.glob("run-*")
    wait(lambda: states(folder).count("raised") == 3)
    os.kill(trained.forwarders()[-1], signal.SIGKILL)
    process.communicate("\n")
    assert process.returncode == 0
    trained.wait("done", "stopped")
    trained.run(TRAIN.replace("title", "later"), f"archive:{trained.folder}/out", "2")
    trained.wait("done")
    wait(lambda: len(hook.taken) >= 5)
    titles = [told["title"] for told in hook.taken]
    assert titles == ["title 0", "title 1", "title 2", "later 0", "later 1"]
    log = (trained.journals / spawn.LOG).read_text()
    assert SECRET not in log


@posix
def test_a_webhook_that_hangs_holds_up_no_delivery(trained: Training, hook: Hook) -> None:
    hook.hangs.clear()
    trained.run(TRAIN, f"archive:{trained.folder}/out", "3")
    assert {each.state for each in trained.wait("done")} == {"done"}
    assert not hook.taken


class Mute:
    """A sink that keeps titles, once it does not fail any more."""

    name = id = "mute"

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.error: Exception | None = None

    def raise_alert(self, alert: Alert) -> bool:
        if self.error:
            raise self.error
        self.titles.append(alert.title)
        return True


@pytest.fixture
def mute(monkeypatch: pytest.MonkeyPatch) -> Mute:
    found = Mute()
    monkeypatch.setattr(alerts, "sinks", lambda: [found])
    return found


def test_an_alert_of_a_run_that_cannot_be_read_now_is_raised_later(
    tmp_path: Path, mute: Mute, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged(tmp_path, "title", "other")
    failed = threading.Event()

    def fail(_: object) -> None:
        failed.set()
        raise OSError("stale handle")

    with monkeypatch.context() as patch:
        patch.setattr(journaled, "run_of", fail)
        with raising(tmp_path, "", monkeypatch):
            assert failed.wait(PATIENCE)
            patch.undo()
            wait(lambda: mute.titles == ["title", "other"])


def test_a_sink_that_fails_by_a_mistake_is_asked_again(
    tmp_path: Path, mute: Mute, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = logged(tmp_path, "title")
    mute.error = TypeError(f"of {SECRET}")
    with raising(tmp_path, "", monkeypatch) as found:
        wait(lambda: "mute: TypeError; it is tried again" in caplog.text)
        assert found.waiting
        mute.error = None
        wait(lambda: states(folder) == ["raised"])
    assert mute.titles == ["title"] and SECRET not in caplog.text


def test_a_replay_raises_what_no_forwarder_has(
    tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKBRIDGE_ALERTS", hook.url)
    journals = tmp_path / "journals"
    with start("p", folder=journals) as run:
        run.alert("title", "text", "warning")
    for _ in range(2):
        [found] = replay([journals], [f"archive:{tmp_path}/out"])
        assert found.what in ("delivered", "skipped")
    assert len(hook.taken) == 1
