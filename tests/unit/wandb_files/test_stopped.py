"""Writers that are killed, or fail, before their first run is in its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.wandb_files.stores import FIXTURES

from trackbridge.engine import migrate
from trackbridge.errors import BridgeError
from trackbridge_adapters.mlflow import ADAPTER as MLFLOW
from trackbridge_adapters.wandb import ADAPTER
from trackbridge_adapters.wandb.draft import Draft

SOURCE = str(FIXTURES / "wandb-0.31" / "wandb")
PROJECT_WITH_NOTES = str(FIXTURES / "mlflow-3.17" / "mlflow.db")


class Killed(BaseException):
    """Nothing of ours catches it, and nothing is tidied up behind it."""


def kill_at(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers die right after a step of the first run that comes to it."""
    whole = getattr(Draft, step)

    def dying(draft: Draft, *given: object) -> None:
        whole(draft, *given)
        raise Killed

    monkeypatch.setattr(Draft, step, dying)
    monkeypatch.setattr(Draft, "discard", lambda draft: None)


def hidden(place: Path) -> list[Path]:
    return list(place.rglob(".trackbridge-*"))


@pytest.mark.parametrize("step", ["put_file", "complete"])
@pytest.mark.parametrize("source", [SOURCE, PROJECT_WITH_NOTES])
def test_the_same_command_finishes_what_was_killed_in_its_first_chunk(
    source: str, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "wandb-out"
    with monkeypatch.context() as dying:
        kill_at(step, dying)
        with pytest.raises(Killed):
            migrate(source, str(place))
    assert hidden(place)
    assert list(place.glob("*run-*")) == []
    report = migrate(source, str(place))
    assert report.verified
    assert report.copied == report.total
    assert hidden(place) == []


def test_the_same_command_finishes_what_failed_in_its_first_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(draft: Draft) -> None:
        raise BridgeError("No space left on device")

    place = tmp_path / "wandb-out"
    with monkeypatch.context() as failing:
        failing.setattr(Draft, "complete", full)
        assert not migrate(SOURCE, str(place)).verified
    assert migrate(SOURCE, str(place)).verified


def lay(folder: Path, names: list[str]) -> None:
    """Files of these names, and folders where a name ends with a slash."""
    for name in names:
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text("x")


@pytest.mark.parametrize(
    "names",
    [
        [".trackbridge-0123abcd-0123abcd/files/a.txt"],
        [".trackbridge-0123abcd-0123abcd-0/files/a.txt", ".trackbridge-0123abcd-01234567/files/"],
        ["artifacts/staging/.trackbridge-0123abcd-0123abcd/000000"],
        ["artifacts/staging/trackbridge-0123abcd/000000", ".trackbridge-0123abcd-0123abcd/files/"],
        ["artifacts/staging/.trackbridge-0123abcd-0123abcd-old/000000"],
        ["artifacts/staging/"],
        ["trackbridge/.trackbridge-shared.json"],
        ["trackbridge/shared.json"],
    ],
)
def test_what_we_leave_is_taken_up_and_is_no_store_of_mlflow(
    names: list[str], tmp_path: Path
) -> None:
    lay(tmp_path, names)
    assert ADAPTER.recognizes(str(tmp_path))
    assert not MLFLOW.recognizes(str(tmp_path))


@pytest.mark.parametrize(
    "names",
    [
        [".trackbridge-0123abcd/new/0/a.txt"],
        [".trackbridge-0123abcd-0123abcx/a"],
        [".trackbridge-0123abcd-0123abcd/files/a", "photos/a.jpg"],
        ["artifacts/"],
        ["artifacts/staging/.trackbridge-0123abcd-0123abcd/000000", "artifacts/0/model.pkl"],
        ["trackbridge/notes.txt"],
        [],
    ],
)
def test_what_others_leave_is_not_taken_for_ours(names: list[str], tmp_path: Path) -> None:
    lay(tmp_path, names)
    assert not ADAPTER.recognizes(str(tmp_path))
