"""History through parquet exports, with the rest live, and in samples."""

from __future__ import annotations

import pyarrow.parquet as pq
from wandb_server import Server
from wandb_server.client import script

LOG = """
with wandb.init(project="p", id="r1") as run:
    for step in range(1200):
        run.log({"loss": step / 2, "name": str(step)} | ({"rare": step} if step % 100 == 0 else {}))
"""

READ = """
run = wandb.Api().run("team/p/r1")
result = [list(run.scan_history(use_cache=False)), list(run.scan_history(keys=["rare"])),
          run.history(samples=50, pandas=False),
          run.history(keys=["loss"], samples=70, pandas=False)]
"""


def test_history_is_whole_with_and_without_exports(server: Server) -> None:
    script(server, LOG)
    live, rare, *sampled = script(server, READ)
    assert [row["_step"] for row in live] == list(range(1200))
    assert [row["rare"] for row in rare] == list(range(0, 1200, 100))
    assert [len(rows) for rows in sampled] == [50, 70]
    for rows in (1200, 700):
        server.export("team/p/r1", rows)
        found, rare, *sampled = script(server, READ)
        plain = [{key: value for key, value in row.items() if value is not None} for row in found]
        assert plain == live
        # out of parquet files the client gives rows without the key too (measured, 0.31)
        keyed = [row["rare"] for row in rare if row["rare"] is not None]
        assert keyed == list(range(0, 1200, 100))
        assert [len(rows) for rows in sampled] == [50, 70]


def test_exports_are_downloaded(server: Server) -> None:
    script(server, LOG)
    server.export("team/p/r1")
    found = script(
        server,
        """
        done = wandb.Api().run("team/p/r1").download_history_exports("exports")
        result = [[str(path) for path in done.paths], done.contains_live_data]
        """,
    )
    [path], live = found
    table = pq.read_table(server.folder / path)
    assert not live
    assert table.column_names[:3] == ["_step", "_timestamp", "_runtime"]
    assert table["loss"].to_pylist() == [step / 2 for step in range(1200)]
    assert server.faults.counts()["download"] >= 1
    before = server.faults.graphql()
    server.export("team/p/r1", 700)
    script(
        server,
        """
        try:
            wandb.Api().run("team/p/r1").download_history_exports("more")
        except Exception as error:
            assert "Incomplete" in type(error).__name__
        else:
            raise AssertionError("rows are live only")
        """,
    )
    assert server.faults.graphql() > before
