"""An adapter of somebody else, written from `adapter.py` and the manual, keeps the contract too."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from toy_adapter import trackbridge_toy

from trackbridge import registry
from trackbridge.adapter import Query, RunRef
from trackbridge.testing import AdapterContract, PlainPoint, PlainRun, samples
from trackbridge.testing.made import store

PACKAGE = Path(trackbridge_toy.__file__).parent


class TestToy(AdapterContract):
    adapter = trackbridge_toy.ADAPTER

    def seed(self, location: str, runs: Sequence[PlainRun]) -> Sequence[PlainRun]:
        root = Path(location)
        index: dict[str, dict[str, object]] = {"runs": {}, "shared": {}, "files": {}}
        (root / "files").mkdir(parents=True)
        for number, run in enumerate(runs):
            lines = [["runs", {"name": run.name}]]
            lines += [["params", {"key": k, "value": v}] for k, v in run.params.items()]
            lines += [
                ["metrics", {**p._asdict(), "time": int(p.time.timestamp()) * 1000}]
                for p in run.points
            ]
            lines += [
                ["files", {"path": path, "size": len(content)}]
                for path, content in run.files.items()
            ]
            (root / str(number)).mkdir()
            (root / str(number) / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
            names = {path: f"{number}-{count}" for count, path in enumerate(run.files)}
            for path, content in run.files.items():
                (root / "files" / names[path]).write_bytes(content)
            files = {json.dumps(["", path]): name for path, name in names.items()}
            index["runs"][json.dumps(run.ref)] = {"folder": str(number), "files": files}
        (root / "toy.json").write_text(json.dumps(index))
        return runs

    def peek(self, location: str, run: RunRef) -> PlainRun:
        root = Path(location)
        entry = json.loads((root / "toy.json").read_text())["runs"][json.dumps(run)]
        lines = (root / entry["folder"] / "rows.jsonl").read_text().splitlines()
        rows: dict[str, list[Any]] = {}
        for table, row in map(json.loads, lines):
            rows.setdefault(table, []).append(row)
        return PlainRun(
            *run,
            rows["runs"][0]["name"],
            {row["key"]: row["value"] for row in rows.get("params", [])},
            [
                PlainPoint(row["key"], row["step"], moment(row["time"]), row["value"])
                for row in rows.get("metrics", [])
            ],
            {
                json.loads(place)[1]: (root / "files" / name).read_bytes()
                for place, name in entry["files"].items()
            },
        )


def moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package as pip leaves it: its module, and what its pyproject says of entry points."""
    site = tmp_path / "site-packages"
    described = site / "trackbridge_toy-0.1.0.dist-info"
    described.mkdir(parents=True)
    shutil.copy(PACKAGE / "trackbridge_toy.py", site)
    project = (PACKAGE / "pyproject.toml").read_text()
    found = re.search(r'^\[project\.entry-points\."(.+)"\]\n(\w+) = "(.+)"$', project, re.M)
    assert found
    group, name, value = found.groups()
    (described / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    (described / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: trackbridge-toy\nVersion: 0.1.0\n"
    )
    monkeypatch.syspath_prepend(str(site))
    for cached in (registry.targets, registry.load):
        cached.cache_clear()
    yield site
    for cached in (registry.targets, registry.load):
        cached.cache_clear()


def test_an_installed_adapter_is_found_by_its_entry_point(installed: Path) -> None:
    (point,) = [p for p in entry_points(group="trackbridge.adapters") if p.name == "toy"]
    assert Path(point.load().reader.__code__.co_filename).parent == installed


def test_addresses_and_paths_of_an_installed_adapter_open_like_any_other(
    installed: Path, tmp_path: Path
) -> None:
    place = str(tmp_path / "runs.toy")
    run = samples.simple("a")
    store(registry.open_writer(place), [run])
    for address in (place, f"toy:{place}"):
        assert [info.key for info in registry.open_reader(address).list_runs(Query())] == [run.key]
