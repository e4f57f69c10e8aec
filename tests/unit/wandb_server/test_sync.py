"""`wandb sync` of offline folders, and what files and console lines come of it."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import pytest
from wandb_server import Server
from wandb_server.client import script, sync
from wandb_server.history import rows

FIXTURES = Path(__file__).parents[3] / "fixtures"


def folders(version: str, place: Path) -> list[Path]:
    copytree(FIXTURES / version, place, symlinks=True)
    return sorted(path for path in place.rglob("*run-*") if list(path.glob("*.wandb")))


@pytest.mark.parametrize("version", ["wandb-0.15", "wandb-0.31"])
def test_fixtures_are_synced_whole(version: str, server: Server, tmp_path: Path) -> None:
    server.add_entity("example")
    found = folders(version, tmp_path / "fixture")
    for folder in found:
        sync(server, folder)
    runs = {run.name: run for each in server.state.projects.values() for run in each.runs.values()}
    assert {folder.name.split("-")[-1] for folder in found} == runs.keys()
    assert all(run.state in ("finished", "failed") for run in runs.values())
    assert sum(len(run.history) for run in runs.values()) > 10


def test_syncing_twice_appends_the_rows_again(server: Server, tmp_path: Path) -> None:
    server.add_entity("example")
    found = folders("wandb-0.31", tmp_path / "fixture")
    [folder] = [path for path in found if path.name.endswith("-history01")]
    sync(server, folder)
    [run] = (run for each in server.state.projects.values() for run in each.runs.values())
    once = rows(run)
    [mark] = folder.glob("*.synced")
    mark.unlink()
    sync(server, folder)
    assert [row.keys() for row in rows(run)] == [row.keys() for row in once + once]
    assert [row["_step"] for row in rows(run)] == [row["_step"] for row in once + once]


def test_files_and_console_lines_are_read_back(server: Server) -> None:
    script(
        server,
        """
        import os, pathlib
        with wandb.init(project="p", id="r1") as run:
            pathlib.Path(run.dir, "sub").mkdir()
            pathlib.Path(run.dir, "sub", "my file.txt").write_text("content")
            run.save(os.path.join(run.dir, "sub/my file.txt"), base_path=run.dir)
            print("first line")
            print("second line")
            run.log({"x": 1})
        """,
        WANDB_CONSOLE="wrap",
    )
    files, text, lines, last = script(
        server,
        """
        run = wandb.Api().run("team/p/r1")
        files = {f.name: [f.size, f.md5, f.mimetype] for f in run.files(per_page=2)}
        with run.file("sub/my file.txt").download(root="down") as stream:
            text = stream.read()
        result = [files, text, [line.content for line in run.console_logs(per_page=1)],
                  [line.content for line in run.console_logs(last=1)]]
        """,
    )
    assert files["sub/my file.txt"] == [7, "mgNkuembtIDdJeHwKEyFVQ==", "text/plain"]
    assert {"config.yaml", "wandb-metadata.json", "wandb-summary.json"} <= files.keys()
    assert text == "content"
    assert [line for line in lines if line] == ["first line", "second line"]
    assert last == lines[-1:]
    [entry] = [part for part in server.run("team/p/r1").console.values() if "first" in part]
    assert json.loads(entry)["content"] == "first line"
