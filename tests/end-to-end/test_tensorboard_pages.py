"""The real TensorBoard shows what was migrated into a log folder, in Chromium and over HTTP."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from browser import PROGRAM, Page, browser

import trackbridge
from trackbridge.adapter import Query, RunKey
from trackbridge.registry import open_reader, open_writer
from trackbridge.testing import MadeRun
from trackbridge.testing.made import store

pytest.importorskip("tensorboard")

FIXTURES = Path(__file__).parents[2] / "fixtures"
MLFLOW, WANDB = FIXTURES / "mlflow-3.17/mlflow.db", FIXTURES / "wandb-0.31/wandb"
LOADERS = {"data-server": ("--load_fast", "true"), "python": ("--load_fast", "false")}
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here")
SECONDS = 60
"""How long a page or an answer is waited for."""
SEEN = """(() => {
  const seen = [];
  const walk = (node) => {
    if (node.nodeType === 3 && node.textContent.trim()) seen.push(node.textContent.trim());
    if (['STYLE', 'SCRIPT', 'NOSCRIPT'].includes(node.tagName)) return;
    if (node.shadowRoot) walk(node.shadowRoot);
    node.childNodes.forEach(walk);
  };
  walk(document.body);
  return seen.join('\\n');
})()"""
"""The texts of a page, those in its components too."""
PICTURES = """(() => {
  const found = [];
  const walk = (node) => {
    const {naturalWidth: width, naturalHeight: height} = node;
    if (node.tagName === 'IMG' && node.complete) found.push([width, height]);
    if (node.shadowRoot) walk(node.shadowRoot);
    node.childNodes.forEach(walk);
  };
  walk(document.body);
  return found;
})()"""


class Board:
    """A TensorBoard that is running, and what it answers."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, path: str, body: Any = None, **query: str) -> Any:
        url = f"{self.address}/data/{path}" + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return json.loads(answer.read())

    def scalars(self, run: str, tag: str) -> list[tuple[float, int, float]]:
        """Time, step and value of each point that is shown."""
        points = self.ask("plugin/scalars/scalars", run=run, tag=tag)
        return [(time, step, float(value)) for time, step, value in points]

    def sessions(self) -> dict[str, Any]:
        """The rows of the dashboard of hyperparameters."""
        states = [f"STATUS_{name}" for name in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
        asked = {"allowedStatuses": states, "colParams": [], "startIndex": 0, "sliceSize": 1000}
        found = self.ask("plugin/hparams/session_groups", asked)["sessionGroups"]
        return {group["name"]: group for group in found}


@contextmanager
def board(logs: Path, loader: str = "python") -> Iterator[Board]:
    if loader == "data-server":
        pytest.importorskip("tensorboard_data_server")
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logs)]
    command += ["--host", "127.0.0.1", "--port", "0", "--reload_interval", "1", *LOADERS[loader]]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        told = ""
        while not (match := re.search(r"http://127\.0\.0\.1:\d+", told)):
            line = process.stderr.readline()
            assert line, told
            told += line
        yield Board(match[0])
    finally:
        process.terminate()
        process.wait(30)


def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so: TensorBoard reads in the background."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            if is_so():
                return
        except (urllib.error.URLError, KeyError):
            pass
        time.sleep(0.2)
    raise AssertionError("it did not come to be so")


def run_id(shown: str) -> str:
    """The id of a run by what TensorBoard calls it."""
    return shown.rpartition("@")[2].rpartition("/")[2]


def expected(source: Path) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """Step and value of the points by run and tag, as a reader gives them."""
    reader = open_reader(str(source))
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    refs = [info.ref for info in reader.list_runs(Query())]
    for batch in reader.read_runs(refs, ["metrics"]):
        for row in batch.data.to_pylist():
            tag = "system/" * row["system"] + row["key"]
            points = found.setdefault((row["run_id"], tag), [])
            points.append((row["step"] or 0, row["value"]))
    return found


@pytest.fixture(scope="module", params=[MLFLOW, WANDB], ids=["mlflow", "wandb"])
def migrated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A store, and the log folder that it was migrated into."""
    logs = tmp_path_factory.mktemp("migrated") / "logs"
    report = trackbridge.migrate(str(request.param), f"tensorboard:{logs}")
    assert report.failures == []
    assert report.verified
    return request.param, logs


@pytest.mark.parametrize("loader", LOADERS)
def test_every_point_is_shown_with_its_step_and_value(
    migrated: tuple[Path, Path], loader: str
) -> None:
    """Of points of one step, the last; in single precision, in which TensorBoard shows all."""
    source, logs = migrated
    wanted = expected(source)
    with board(logs, loader) as shown:
        until(lambda: sum(map(len, shown.ask("plugin/scalars/tags").values())) == len(wanted))
        runs = {run_id(run): run for run in shown.ask("runs")}
        for (run, key), points in wanted.items():
            found = shown.scalars(runs[run], key)
            assert {step for _, step, _ in found} == {step for step, _ in points}
            with np.errstate(over="ignore"):
                singles = {(step, str(float(np.float32(value)))) for step, value in points}
            assert {(step, str(value)) for _, step, value in found} <= singles
            assert [step for _, step, _ in found] == sorted(step for _, step, _ in found)


EDGES = {
    "steps": [(step, 0.5) for step in (-(2**63), -5, 0, 1, 2**31, 2**40, 2**63 - 1)],
    "values": list(enumerate([float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1e308])),
    "t" * 3000: [(0, 0.1)],
    "nul \0 and \n": [(0, 1.0)],
    "": [(0, 1.0)],
    **{f"layer_{n}": [(0, float(n))] for n in range(2000)},
}
"""Points (step, value) by tag."""


@pytest.mark.parametrize("loader", LOADERS)
def test_odd_tags_steps_values_and_times_are_shown_as_they_are(tmp_path: Path, loader: str) -> None:
    times = [datetime(1935, 5, 5, tzinfo=timezone.utc), datetime(2090, 1, 1, tzinfo=timezone.utc)]
    points = [
        {"key": tag, "step": step, "time": times[step % 2], "value": value, "system": False}
        for tag, values in EDGES.items()
        for step, value in values
    ]
    run = MadeRun(RunKey("some-kind", "", "odd", "run"), {"metrics": points})
    store(open_writer(f"tensorboard:{tmp_path}/logs"), [run])
    with board(tmp_path / "logs", loader) as shown:
        until(lambda: len(shown.ask("plugin/scalars/tags")["odd/run"]) == len(EDGES))
        for tag in list(EDGES)[:8]:
            with np.errstate(over="ignore"):
                singles = [(s, str(float(np.float32(value)))) for s, value in EDGES[tag]]
            found = shown.scalars("odd/run", tag)
            assert [(step, str(value)) for _, step, value in found] == singles
            assert [time for time, _, _ in found] == [
                times[step % 2].timestamp() for step, _ in EDGES[tag]
            ]
        assert shown.sessions() == {}


def test_every_run_has_a_row_with_its_parameters_status_and_last_values(
    migrated: tuple[Path, Path],
) -> None:
    source, logs = migrated
    reader = open_reader(str(source))
    infos = {i.ref.run_id: i for i in reader.list_runs(Query())}
    beyond = {run for (run, _), points in expected(source).items() if max(points)[0] >= 2**31}
    with board(logs) as shown:
        until(lambda: len(shown.sessions()) == len(infos) - len(beyond))
        rows = {run_id(run): row for run, row in shown.sessions().items()}
        assert rows.keys() == infos.keys() - beyond
        words = {
            "finished": "SUCCESS",
            "running": "RUNNING",
            None: "UNKNOWN",
            "scheduled": "UNKNOWN",
        }
        for run, row in rows.items():
            [session] = row["sessions"]
            status = words.get(infos[run].status, "FAILURE")
            assert session["status"] == f"STATUS_{status}"
        if source == WANDB:
            assert rows["sweep01"]["hparams"] == {"lr": 0.5}
            assert rows["config01"]["hparams"]["on"] is True
            assert rows["config01"]["hparams"]["optimizer.name"] == "adam"
            values = {m["name"]["tag"]: m["value"] for m in rows["long01"]["metricValues"]}
            points = expected(source)["long01", "layer0/loss"]
            assert values["layer0/loss"] == pytest.approx(max(points)[1], rel=1e-6)


def test_it_comes_home_as_it_was(migrated: tuple[Path, Path], tmp_path: Path) -> None:
    source, logs = migrated
    straight, round_about = f"archive:{tmp_path}/straight", f"archive:{tmp_path}/round-about"
    trackbridge.migrate(str(source), straight)
    report = trackbridge.migrate(f"tensorboard:{logs}", round_about)
    assert report.verified
    found = trackbridge.verify(straight, round_about)
    assert [d for d in found.differences if d.table not in ("traces", "spans")] == []
    assert found.equal == found.total == report.total


def look(page: Page, shown: Board, name: str, words: list[str], pictures: Path) -> str:
    """Open a dashboard and wait until words are to be read on it; its texts."""
    page.visit("about:blank")
    page.visit(f"{shown.address}/#{name}")
    until(lambda: all(word in page.value(SEEN) for word in words))
    page.picture(pictures / f"{name}.png")
    return str(page.value(SEEN))


@needs_browser
def test_chromium_shows_curves_texts_images_and_hyperparameters(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    trackbridge.migrate(str(WANDB), f"tensorboard:{logs}")
    with board(logs) as shown, browser(tmp_path / "profile") as page:
        until(lambda: len(shown.ask("runs")) == 14)
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=1400, height=1000, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        media = "example/fixtures/media@media01"
        text = look(page, shown, "scalars", ["example/fixtures/long@long01", "layer0"], tmp_path)
        assert "example/fixtures/history@history01" in text
        look(page, shown, "text", [media, "media/table/chart_table_8"], tmp_path)
        look(page, shown, "images", [media, "sample: 2 of 2"], tmp_path)
        until(lambda: page.value(PICTURES).count([8, 8]) == 3)
        look(page, shown, "histograms", [media, "histogram"], tmp_path)
        text = look(page, shown, "hparams", ["optimizer.name", "0.50000"], tmp_path)
        assert "adam" in text
        look(page, shown, "timeseries", ["layer0"], tmp_path)
        assert {url.split("/")[2] for url in page.requests if url.startswith("http")} == {
            shown.address.removeprefix("http://")
        }


@pytest.mark.parametrize("loader", LOADERS)
def test_a_board_that_is_open_shows_the_points_of_a_replaced_run_once(
    tmp_path: Path, loader: str
) -> None:
    source, logs = tmp_path / "metrics.csv", tmp_path / "logs"
    rows = [f"a,{step},{step / 4}" for step in range(40)]
    source.write_text("\n".join(["run,step,loss", *rows]) + "\n")
    trackbridge.migrate(f"csv:{source}", f"tensorboard:{logs}")
    with board(logs, loader) as shown:
        until(lambda: bool(shown.ask("plugin/scalars/tags")))
        [run] = shown.ask("plugin/scalars/tags")
        until(lambda: len(shown.scalars(run, "loss")) == 40)
        rows = [f"a,{step},{step / 8}" for step in range(30, 50)]
        source.write_text("\n".join(["run,step,loss", *rows]) + "\n")
        assert trackbridge.migrate(f"csv:{source}", f"tensorboard:{logs}").updated == 1
        until(lambda: (49, 49 / 8) in [point[1:] for point in shown.scalars(run, "loss")])
        points = [point[1:] for point in shown.scalars(run, "loss")]
        later = [point for point in points if point[0] >= 30]
        assert later == [(step, step / 8) for step in range(30, 50)]
        assert len({step for step, _ in points}) == len(points)
        assert shown.ask("runs") == [run]
