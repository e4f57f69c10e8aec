"""Artifacts."""

from __future__ import annotations

from typing import Any

from wandb_server.graphql import Node
from wandb_server.state import Run, State


def logged(state: State, run: Run) -> list[Any]:
    return [each for each in state.artifacts.values() if each.created_by is run]


def node(state: State, artifact: Any) -> Node:
    return {}


def blob(entity: str, digest: str) -> str:
    """Where the bytes of a file lie: by entity and MD5 (hex), so that equal files are kept once."""
    return f"wandb_artifacts/{entity}/{digest}"
