"""Filters, order, pages, and documents that ask for whole pages of runs at once."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from wandb_server import Server
from wandb_server.client import script
from wandb_server.server import KEY

RUNS = """
for n in range(7):
    with wandb.init(project="p", id=f"r{n}", config={"n": n, "deep": {"x": n % 2}},
                    tags=["odd"] if n % 2 else []) as run:
        run.log({"score": 10 - n})
"""


def ask(server: Server, query: str, key: str = KEY, **variables: Any) -> Any:
    body = json.dumps({"query": query, "variables": variables, "operationName": ""}).encode()
    login = base64.b64encode(f"api:{key}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.address}/graphql", body, headers)
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)["data"]


def test_runs_are_filtered_ordered_and_paged(server: Server) -> None:
    script(server, RUNS)
    found = script(
        server,
        """
        def names(filters=None, order="+created_at", **rest):
            return [r.id for r in wandb.Api().runs("team/p", filters, order=order, **rest)]
        last = wandb.Api().run("team/p/r5").created_at
        result = [
            names(per_page=2), names(order="-created_at", per_page=3),
            names(order="+summary_metrics.score"), names({"tags": "odd"}),
            names({"tags": {"$in": ["odd"]}, "config.n": {"$gt": 1}}),
            names({"$or": [{"config.n.value": 0}, {"summary_metrics.score": {"$lte": 4}}]}),
            names({"$and": [{"config.deep.x": 1}, {"config.n": {"$ne": 3}}]}),
            names({"state": "running"}), names({"created_at": {"$gte": last}}),
            names({"display_name": {"$regex": "-7$"}}), len(wandb.Api().runs("team/p")),
        ]
        """,
    )
    every = [f"r{n}" for n in range(7)]
    assert found[:3] == [every, every[::-1], every[::-1]]
    assert found[3:7] == [["r1", "r3", "r5"], ["r3", "r5"], ["r0", "r6"], ["r1", "r5"]]
    assert found[7] == []
    assert found[8] == ["r5", "r6"]
    assert found[10] == 7


PAGE = """
query Page($project: String!, $entity: String!, $first: Int = 4, $after: String, $all: Boolean!) {
  place: project(name: $project, entityName: $entity) {
    runs(first: $first, after: $after, order: "+created_at") {
      edges { node { ...Whole  summaryMetrics @include(if: $all) } }
      pageInfo { endCursor hasNextPage }
    }
  }
}
fragment Whole on Run {
  id key: name displayName state config tags group jobType notes createdAt heartbeatAt
  historyLineCount historyKeys sweepName user { username } user { name }
  files(first: 2) {
    edges { node { name sizeBytes md5 digest directUrl url } } pageInfo { hasNextPage endCursor }
  }
  parquetHistory(liveKeys: ["_step"]) { parquetUrls liveData }
  outputArtifacts(first: 10) {
    edges { node { id digest currentManifest { file { directUrl } } } }
  }
  inputArtifacts { totalCount }
}
"""


def test_one_request_asks_for_a_page_of_runs(server: Server) -> None:
    script(server, RUNS)
    server.export("team/p/r0")
    place = {"project": "p", "entity": "team", "all": False}
    first = ask(server, PAGE, **place)["place"]["runs"]
    rest = ask(server, PAGE, after=first["pageInfo"]["endCursor"], **place)["place"]["runs"]
    nodes = [edge["node"] for edge in first["edges"] + rest["edges"]]
    assert [node["key"] for node in nodes] == [f"r{n}" for n in range(7)]
    assert [first["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasNextPage"]] == [True, False]
    assert nodes[0]["user"] == {"username": "tester", "name": "tester"}
    assert len(nodes[0]["parquetHistory"]["parquetUrls"]) == 1
    assert nodes[1]["parquetHistory"] == {"parquetUrls": [], "liveData": [{"_step": 0}]}
    assert nodes[0]["files"]["pageInfo"]["hasNextPage"]
    assert "summaryMetrics" not in nodes[0]
    with urllib.request.urlopen(nodes[0]["files"]["edges"][0]["node"]["directUrl"]) as reply:
        assert reply.status == 200  # signed addresses need no key


def test_what_the_service_lacks_is_refused(server: Server) -> None:
    script(server, RUNS.replace("range(7)", "range(1)"))
    server.faults.page_limit = 50
    project = 'project(name: "p", entityName: "team")'
    for query, status in {
        f"{{ {project} {{ runs {{ edges {{ node {{ invented }} }} }} }} }}": 400,
        f"{{ {project} {{ runs(invented: 1) {{ totalCount }} }} }}": 400,
        f"{{ {project} {{ runs(first: 51) {{ totalCount }} }} }}": 400,
        "query A($x: Int!) { viewer { id } }": 400,
        "{ viewer {": 400,
    }.items():
        with pytest.raises(urllib.error.HTTPError) as error:
            ask(server, query)
        assert error.value.code == status, query
    with pytest.raises(urllib.error.HTTPError, match="401"):
        ask(server, "{ viewer { id } }", key="f" * 40)


def test_users_see_their_own_entities(server: Server) -> None:
    other = server.add_user("other", "e" * 40, "elsewhere")
    script(server, RUNS.replace("range(7)", "range(1)"))
    query = '{ project(name: "p", entityName: "team") { name } }'
    assert ask(server, query)["project"] == {"name": "p"}
    assert ask(server, query, key=other.key)["project"] is None
