"""Resumed runs, sweeps, alerts, reports, the registry."""

from __future__ import annotations

from unit.wandb_server.test_pages import ask
from wandb_server import Server
from wandb_server.client import script


def test_a_run_is_resumed(server: Server) -> None:
    for rows in (3, 2):
        script(
            server,
            f"""
            with wandb.init(project="p", id="r1", resume="allow", config={{"k{rows}": 1}}) as run:
                result = run.resumed
                for n in range({rows}):
                    run.log({{"x": n}})
            """,
        )
    rows, config = script(
        server,
        """
        run = wandb.Api().run("team/p/r1")
        result = [[(r["_step"], r["x"]) for r in run.scan_history()], run.config]
        """,
    )
    assert rows == [[0, 0], [1, 1], [2, 2], [3, 0], [4, 1]]
    assert config == {"k3": 1, "k2": 1}


def test_a_sweep_is_walked_and_read_back(server: Server) -> None:
    sweep = script(
        server,
        """
        result = wandb.sweep({"name": "s", "method": "grid", "parameters": {
            "lr": {"values": [1, 2]}, "fixed": {"value": 3}}}, project="p")
        def train():
            with wandb.init() as run:
                run.log({"loss": run.config.lr})
        wandb.agent(result, train, project="p")
        """,
    )
    name, method, runs, listed = script(
        server,
        f"""
        sweep = wandb.Api().sweep("team/p/{sweep}")
        result = [sweep.name, sweep.config["method"],
                  sorted([r.config["lr"], r.config["fixed"], r.state] for r in sweep.runs),
                  [s.id for s in wandb.Api().project("p", "team").sweeps()]]
        """,
    )
    assert (name, method, listed) == ("s", "grid", [sweep])
    assert runs == [[1, 3, "finished"], [2, 3, "finished"]]


def test_alerts_arrive(server: Server) -> None:
    script(
        server,
        """
        with wandb.init(project="p", id="r1") as run:
            run.alert("title", "text", level="WARN")
        """,
    )
    [alert] = server.run("team/p/r1").alerts
    assert (alert["title"], alert["text"], alert["severity"]) == ("title", "text", "WARN")


def test_reports_are_read_back(server: Server) -> None:
    save = """
    mutation upsertView($spec: String!) {
      upsertView(input: {entityName: "team", projectName: "p", type: "runs", name: "n",
                         displayName: "Report", description: "d", spec: $spec}) {
        view { id } inserted
      }
    }
    """
    assert ask(server, save, spec='{"blocks": []}')["upsertView"]["inserted"]
    found = script(
        server,
        """
        result = [[r.display_name, r.description, r.spec, r.user["username"]]
                  for r in wandb.Api().reports("team/p")]
        """,
    )
    assert found == [["Report", "d", {"blocks": []}, "tester"]]


def test_artifacts_are_linked_to_a_registry(server: Server) -> None:
    script(
        server,
        """
        import pathlib
        pathlib.Path("m.bin").write_text("m")
        with wandb.init(project="p", id="r1") as run:
            artifact = wandb.Artifact("m", "model")
            artifact.add_file("m.bin")
            run.log_artifact(artifact).wait()
            run.link_artifact(artifact, "wandb-registry-model/Best", aliases=["prod"])
        """,
    )
    found = script(
        server,
        """
        api = wandb.Api()
        registries = api.registries(organization="Organization")
        linked = api.artifact("organization-org/wandb-registry-model/Best:prod")
        result = [[r.name for r in registries],
                  [c.name for c in registries.collections()],
                  [[a.name, sorted(a.aliases), a.source_qualified_name]
                   for a in registries.versions()],
                  linked.source_qualified_name, linked.download("down")]
        """,
    )
    assert found[:2] == [["model"], ["Best"]]
    assert found[2] == [["Best:v0", ["latest", "prod"], "team/p/m:v0"]]
    assert found[3] == "team/p/m:v0"
