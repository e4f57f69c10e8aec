"""The service keeps the contract; the other side is the real client, online.

Each store of a test is an entity of one server.
"""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from wandb_server import Server, client, started

from trackbridge.adapter import RunRef
from trackbridge.testing import AdapterContract, PlainPoint, PlainRun
from trackbridge_adapters.wandb.service import ADAPTER

SEED = """
import base64, itertools, pickle
from pathlib import Path
runs = pickle.loads(base64.b64decode(DATA))
for run in runs:
    settings = wandb.Settings(console="off", x_disable_stats=True, x_save_requirements=False)
    live = wandb.init(
        entity=ENTITY, project=run.project, id=run.run_id, name=run.name, config=dict(run.params),
        settings=settings,
    )
    for step, points in itertools.groupby(run.points, key=lambda point: point.step):
        row = {}
        for point in points:
            row |= {point.key: point.value, "_timestamp": point.time.timestamp()}
        live.log(row, step=step)
    for path, content in run.files.items():
        place = Path(live.dir, path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        live.save(str(place), base_path=live.dir)
    live.finish()
"""

PEEK = """
import base64, tempfile
from pathlib import Path
run = wandb.Api().run(PATH)
rows = [dict(row) for row in run.scan_history()]
files = {}
for file in run.files():
    if not file.name.startswith("trackbridge/"):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(file.download(root=folder, replace=True).name)
            files[file.name] = base64.b64encode(place.read_bytes()).decode()
config = {key: value for key, value in run.config.items() if key != "trackbridge"}
result = [run.name, config, rows, files]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("wandb")
    with started(tmp_path_factory.mktemp("server")) as found:
        yield found
        assert not found.errors


class TestService(AdapterContract):
    adapter = ADAPTER
    recognizable = False
    server: Server

    @pytest.fixture(autouse=True)
    def _server(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        type(self).server = server
        monkeypatch.setenv("WANDB_API_KEY", server.user.key)

    def location(self, folder: Path) -> str:
        entity = "e" + hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        self.server.add_entity(entity)
        return f"{self.server.address}/{entity}"

    def seed(self, location: str, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
        entity = location.rpartition("/")[2]
        data = base64.b64encode(pickle.dumps(list(runs))).decode()
        client.script(self.server, f"DATA, ENTITY = {data!r}, {entity!r}\n{SEED}")
        return [replace(run, project=f"{entity}/{run.project}") for run in runs]

    def peek(self, location: str, run: RunRef) -> PlainRun:
        path = f"{run.project}/{run.run_id}"
        name, config, rows, files = client.script(self.server, f"PATH = {path!r}\n{PEEK}")
        params = {k: v if isinstance(v, str) else json.dumps(v) for k, v in config.items()}
        contents = {path: base64.b64decode(data) for path, data in files.items()}
        return PlainRun(run.project, run.run_id, name, params, list(_points(rows)), contents)


def _points(rows: list[dict[str, object]]) -> Iterator[PlainPoint]:
    for row in rows:
        time = datetime.fromtimestamp(float(str(row["_timestamp"])), timezone.utc)
        for key in row.keys() - {"_step", "_timestamp", "_runtime"}:
            if row[key] is not None:
                yield PlainPoint(key, int(str(row["_step"])), time, float(str(row[key])))
