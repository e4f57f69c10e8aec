"""Registered models of Neptune 2 and their versions, from the attributes of both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from trackbridge.adapter import Row, RunRef
from trackbridge_adapters.neptune.facts import Facts
from trackbridge_adapters.neptune.layout import MODELS
from trackbridge_adapters.neptune.tables import packed, time_of

STAGES = {
    "none": "None",
    "staging": "Staging",
    "production": "Production",
    "archived": "Archived",
}
"""ModelVersionStage of neptune 1.14 -> stage of the run model."""
MODEL, VERSION = MODELS.values()
Known = tuple[RunRef, Facts]


def model_rows(known: Iterable[Known]) -> Iterator[Row]:
    """A row for each model, called by its id, which no other model of the workspace has."""
    for ref, facts in known:
        if facts.entity == MODEL:
            yield {"name": ref.run_id, **_common(ref, facts)}


def version_rows(known: Iterable[Known]) -> Iterator[Row]:
    """A row for each version; what it holds is in the run of its id."""
    for ref, facts in known:
        if facts.entity != VERSION:
            continue
        model, _, number = ref.run_id.rpartition("-")
        stage = facts.value("sys/stage", "string")
        yield {
            "name": facts.value("sys/model_id", "string") or model,
            "version": number,
            "run_id": ref.run_id,
            "stage": STAGES.get(stage or "none", stage),
            "status": "READY",
            "user": facts.value("sys/owner", "string"),
            **_common(ref, facts),
        }


def _common(ref: RunRef, facts: Facts) -> dict[str, Any]:
    name = facts.value("sys/name", "string")
    return {
        "created": time_of(facts, "sys/creation_time"),
        "updated": time_of(facts, "sys/modification_time"),
        "description": facts.value("sys/description", "string"),
        "extra": packed({"project": ref.project, **({"name": name} if name else {})}),
    }
