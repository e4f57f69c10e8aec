"""Runs on database servers that are shown while they go on, and written whole in the end."""

from __future__ import annotations

from pathlib import Path

import growing
import pytest
from mlflow.tracking import MlflowClient
from servers import MYSQL, POSTGRES, Databases

import trackbridge
from trackbridge.optional import Extending
from trackbridge.registry import open_writer


@pytest.mark.parametrize("databases", [POSTGRES, MYSQL])
def test_a_run_that_grew_in_rounds_is_the_same_as_one_that_came_whole(
    databases: Databases, tmp_path: Path
) -> None:
    uri = databases.new(tmp_path / "mlruns")
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    writer, client = open_writer(f"mlflow:{uri}"), MlflowClient(uri)
    assert isinstance(writer, Extending)
    for rate in ("0.1", "0.2"):
        growing.grow(writer, "vision", rate)
    run_id = writer.target(growing.grown("vision").key).run_id
    growing.check_natively(client, run_id)
    assert client.get_run(run_id).data.params == {"rate": "0.2"}
    assert trackbridge.migrate(growing.source("vision"), f"mlflow:{uri}").verified
    growing.check_natively(client, run_id)
    assert client.get_run(run_id).info.status == "FINISHED"
    assert client.get_run(run_id).data.params == {"rate": "0.1"}
