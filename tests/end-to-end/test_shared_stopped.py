"""A process that dies while it brings experiments and models loses and doubles none of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trackbridge.cli import main
from trackbridge_adapters.mlflow.files_write import FileSink
from trackbridge_adapters.mlflow.locked import LockedTransaction

FIXTURES = Path(__file__).parents[2] / "fixtures"
SOURCE = f"mlflow:{FIXTURES / 'mlflow-3.17' / 'mlflow.db'}"
MOST = 12
"""More commits than there are."""


class Died(BaseException):
    """Nothing of what comes after is done, as after a kill."""


def migrate(target: str) -> str:
    result = CliRunner().invoke(main, ["migrate", SOURCE, target], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("kind", "step"), [("mlflow:{}/t.db", LockedTransaction), ("mlflow:{}/mlruns", FileSink)]
)
def test_a_process_that_dies_at_any_commit_of_shared_rows_is_no_loss(
    kind: str, step: Any, when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    commit = step.commit
    for number in range(MOST):
        place = tmp_path / str(number)
        place.mkdir()
        left = number

        def dying(self: object) -> object:
            nonlocal left
            left -= 1
            if left == -1 and when == "before":
                raise Died
            done = commit(self)
            if left == -1:
                raise Died
            return done

        monkeypatch.setattr(step, "commit", dying)
        try:
            migrate(kind.format(place))
            break
        except Died:
            pass
        finally:
            monkeypatch.setattr(step, "commit", commit)
        again = migrate(kind.format(place))
        # the default experiment of a database that is there is not taken for ours
        named = "\n".join(line for line in again.splitlines() if not line.endswith(" Default"))
        for loss in ("removed or renamed", "undone", "brought before", "left as they are"):
            assert loss not in named
        result = CliRunner().invoke(main, ["verify", SOURCE, kind.format(place), "--strict"])
        assert result.exit_code == 0, result.output
        shutil.rmtree(place)
    else:
        pytest.fail("it never came to its end")
    assert number > 2
