"""The real client logs runs and reads them back."""

from __future__ import annotations

from wandb_server import Server
from wandb_server.client import script

LOG = """
with wandb.init(project="p", id="r1", name="first", config={"lr": 0.1, "net": {"depth": 3}},
                tags=["a", "b"], group="g", job_type="train", notes="n") as run:
    for step in range(5):
        run.log({"loss": 1 / (step + 1), "nan": float("nan")})
    run.summary["best"] = 7
"""


def test_a_run_is_logged_and_read_back(server: Server) -> None:
    script(server, LOG)
    found = script(
        server,
        """
        run = wandb.Api().run("team/p/r1")
        result = [run.state, run.name, run.tags, run.group, run.job_type, run.notes, run.config,
                  run.summary["best"], run.user.username, list(run.scan_history()),
                  [p.name for p in wandb.Api().projects("team")]]
        """,
    )
    state, name, tags, group, job, notes, config, best, user, rows, projects = found
    assert (state, name, sorted(tags), group, job, notes) == (
        *("finished", "first", ["a", "b"], "g", "train", "n"),
    )
    assert (config, best, user) == ({"lr": 0.1, "net": {"depth": 3}}, 7, "tester")
    assert [row["loss"] for row in rows] == [1 / (step + 1) for step in range(5)]
    assert [row["_step"] for row in rows] == list(range(5))
    assert all(row["nan"] != row["nan"] for row in rows)
    assert projects == ["p"]
