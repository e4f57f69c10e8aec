"""Artifacts of the real client: logged, used, linked, and read back."""

from __future__ import annotations

from wandb_server import Server
from wandb_server.client import script

LOG = """
import pathlib
def log(run, content, **rest):
    artifact = wandb.Artifact("data", "dataset", description="d", metadata={"rows": 2})
    pathlib.Path("data.txt").write_text(content)
    artifact.add_file("data.txt", name="sub/data.txt")
    pathlib.Path("same.txt").write_text("same")
    artifact.add_file("same.txt")
    artifact.add_reference("https://example.com/x", name="far", checksum=False)
    return run.log_artifact(artifact, **rest).wait()

with wandb.init(project="p", id="maker") as run:
    log(run, "one", aliases=["best"], tags=["t1"])
    log(run, "two")
    log(run, "one", aliases=["again"])
with wandb.init(project="p", id="user") as run:
    folder = run.use_artifact("data:best").download("down", path_prefix="sub")  # not what is far
    result = pathlib.Path(folder, "sub/data.txt").read_text()
"""


def test_artifacts_are_read_back(server: Server) -> None:
    assert script(server, LOG) == "one"
    logged, used, makers, users, entries, text, versions, types = script(
        server,
        """
        api = wandb.Api()
        one, two = api.artifact("team/p/data:v0"), api.artifact("team/p/data:v1")
        entries = {name: e.ref for name, e in two.manifest.entries.items()}
        result = [
            [[a.name, sorted(a.aliases), a.tags, a.metadata, a.size, a.file_count, a.description]
             for a in api.run("team/p/maker").logged_artifacts() if a.type == "dataset"],
            [a.name for a in api.run("team/p/user").used_artifacts()],
            one.logged_by().id, [r.id for r in one.used_by()], entries,
            open(two.download("down2", path_prefix="sub") + "/sub/data.txt").read(),
            [a.name for a in api.artifacts("dataset", "team/p/data")],
            [t.name for t in api.artifact_types("team/p")],
        ]
        """,
    )
    one, two = logged
    assert one == ["data:v0", ["again", "best", "latest"], ["t1"], {"rows": 2}, 7, 3, "d"]
    assert two[:2] == ["data:v1", []]
    assert (used, makers, users, text) == (["data:v0"], "maker", ["user"], "two")
    assert entries == {"sub/data.txt": None, "same.txt": None, "far": "https://example.com/x"}
    assert versions == ["data:v1", "data:v0"]
    assert "dataset" in types
    uploads = [each for each in server.faults.requests if each.operation == "upload"]
    blobs = [each for each in uploads if "wandb_artifacts" in each.variables["path"]]
    assert len(blobs) == 3  # what two versions share went once
