"""Moves what belongs to no run: projects, registered models, sweeps, reports."""

from __future__ import annotations

from trackbridge.adapter import Query, Reader, Writer
from trackbridge.columns import batches
from trackbridge.fit import fit_rows, holds_everything
from trackbridge.losses import Losses


def move(reader: Reader, writer: Writer, query: Query) -> Losses:
    """Write the shared tables, as far as the target holds them; gives what it does not."""
    losses = Losses()
    caps = writer.capabilities
    found = list(reader.read_shared(query))
    with writer.open([]) as sink:
        for batch in found:
            if holds_everything(caps):
                sink.write(batch)
                continue
            for fitted in batches(
                batch.table, fit_rows(batch.table, batch.data.to_pylist(), caps, losses)
            ):
                sink.write(fitted)
        sink.commit()
    return losses
