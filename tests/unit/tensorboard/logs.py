"""Log folders, written and read by the libraries that people use."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.plugins.hparams import metadata
from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from trackbridge.testing import PlainPoint

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
EVERYTHING = {
    "compressedHistograms": 1,
    "images": 0,
    "audio": 0,
    "scalars": 0,
    "histograms": 0,
    "tensors": 0,
}
"""How much `EventAccumulator` keeps: all."""


def log(folder: Path, points: Iterable[PlainPoint], params: Mapping[str, Any]) -> None:
    """A run as tensorboardX writes it."""
    with SummaryWriter(str(folder)) as writer:
        if params:
            for summary in hparams(dict(params), {}):
                writer.file_writer.add_summary(summary)
        for point in points:
            writer.add_scalar(point.key, point.value, point.step, point.time.timestamp())


def accumulated(folder: Path) -> EventAccumulator:
    """A run as TensorBoard reads it."""
    return EventAccumulator(str(folder), EVERYTHING).Reload()


def points_of(folder: Path) -> list[PlainPoint]:
    """The scalars that TensorBoard finds in a run; of those that we wrote the exact values."""
    found, exact = accumulated(folder), exact_values(folder)
    return [
        PlainPoint(
            tag,
            event.step,
            datetime.fromtimestamp(event.wall_time, timezone.utc),
            exact.get((tag, event.step, event.value), event.value),
        )
        for tag in found.Tags()["scalars"]
        for event in found.Scalars(tag)
    ]


def exact_values(folder: Path) -> dict[tuple[str, int, float], float]:
    """What stands in the field 1000 of values: by tag, step and the value that is shown."""
    return {
        (value.tag, event.step, value.simple_value): struct.unpack(
            "<d", field.data.to_bytes(8, "little")
        )[0]
        for path in sorted(folder.glob("*tfevents*"))
        for event in LegacyEventFileLoader(str(path)).Load()
        for value in event.summary.value
        for field in UnknownFieldSet(value)
        if field.field_number == 1000
    }


def params_of(folder: Path) -> dict[str, Any]:
    """The hyperparameters that TensorBoard finds in a run."""
    tag = metadata.SESSION_START_INFO_TAG
    found = accumulated(folder).summary_metadata
    if tag not in found:
        return {}
    session = metadata.parse_session_start_info_plugin_data(found[tag].plugin_data.content)
    kinds = {name: value.WhichOneof("kind") for name, value in session.hparams.items()}
    return {name: getattr(session.hparams[name], kind) for name, kind in kinds.items() if kind}
