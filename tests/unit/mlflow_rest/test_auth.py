"""Servers that ask who one is: names and passwords, tokens, and what they say to wrong ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import mlflow_servers
import pytest
from click.testing import CliRunner

from trackbridge.cli import main
from trackbridge_adapters.mlflow.rest_server import Server

FIXTURES = Path(__file__).parents[3] / "fixtures"
SOURCE = f"mlflow:sqlite:///{FIXTURES / 'mlflow-2.9' / 'mlflow.db'}"
RUN = "3e1d8c49ecba40eaa9400415378a4e7c"
"""One with files: this server takes its time over every request, for it hashes the password."""
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server with MLflow's own basic authentication."""
    folder = tmp_path_factory.mktemp("guarded")
    config = folder / "auth.ini"
    config.write_text(
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{folder / 'auth.db'}\nadmin_username = ann\n"
        f"admin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of a test",
    }
    options = ["--app-name", "basic-auth", "--artifacts-destination", str(folder / "artifacts")]
    with mlflow_servers.server(folder, *options, environment=environment) as address:
        yield address


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of somebody whom the server knows."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)


@pytest.mark.usefixtures("known")
def test_runs_and_files_go_to_a_server_that_asks_for_a_password(guarded: str) -> None:
    result = CliRunner().invoke(main, ["migrate", SOURCE, f"mlflow:{guarded}", "--run", RUN])
    assert result.exit_code == 0, result.output
    assert "1 copied" in result.output
    assert PASSWORD not in result.output


@pytest.mark.parametrize("password", ["wrong", None])
def test_a_wrong_password_is_one_line_that_names_the_variables(
    guarded: str, password: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if password:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    result = CliRunner().invoke(main, ["migrate", SOURCE, f"mlflow:{guarded}"])
    assert result.exit_code == 2
    (line,) = [line for line in result.output.splitlines() if guarded in line]
    assert "MLFLOW_TRACKING_PASSWORD" in line and "Traceback" not in result.output
    assert "wrong" not in result.output.replace("went wrong", "")


class Recorder(BaseHTTPRequestHandler):
    """Answers every request with nothing, and remembers who has asked."""

    seen: list[str | None] = []  # noqa: RUF012 - one for all requests

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization"))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: object) -> None:
        pass


def test_a_token_is_sent_with_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    Recorder.seen = []
    with HTTPServer(("127.0.0.1", 0), Recorder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        here = Server(f"http://127.0.0.1:{server.server_address[1]}")
        assert here.get("mlflow/runs/get") == {}
        with here.download("/get-artifact", {"path": "a"}) as data:
            assert data.read() == b"{}"
        server.shutdown()
        thread.join()
    assert Recorder.seen == ["Bearer t0ken", "Bearer t0ken"]
    assert "t0ken" not in here.name
