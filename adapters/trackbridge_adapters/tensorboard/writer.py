"""Writes log folders that TensorBoard shows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from trackbridge.adapter import Presentation, Row, RunKey, RunRef
from trackbridge.errors import IntegrityError
from trackbridge.losses import Losses
from trackbridge_adapters.tensorboard import encode
from trackbridge_adapters.tensorboard.folders import KIND, Run
from trackbridge_adapters.tensorboard.hparams import HParams
from trackbridge_adapters.tensorboard.reader import LogFolders
from trackbridge_adapters.tensorboard.restored import Said
from trackbridge_adapters.tensorboard.sink import LogFolderSink

AS_TEXT = "series shown as text"
FORMS = ("text", "image", "audio", "histogram")
"""Kinds of series that TensorBoard has a form for."""


class WritableLogFolders(LogFolders):
    """A log folder that may not exist yet."""

    @property
    def advice(self) -> str:
        return f"to look at them: tensorboard --logdir {self._folder.path}"

    def target(self, key: RunKey) -> RunRef:
        """By its own id, with a mark where ids are unique within an instance only."""
        if not key.instance:
            return RunRef(key.label, key.run_id)
        mark = hashlib.sha256(str(key).encode()).hexdigest()[:8]
        return RunRef(key.label, f"{key.run_id}-{mark}")

    def present(self, key: RunKey, tables: Mapping[str, list[Row]]) -> Presentation:
        shown, losses = dict(tables), Losses()
        params: dict[str, Row] = {}
        for row in tables.get("params", ()):
            if row["key"] in params:  # `a.b`, and `b` in `a`
                losses.add("params not shown", f"{key.run_id}: {row['key']}")
            native = params.setdefault(row["key"], _param(row))
            if native["type"] == "string" != (row.get("type") or "string"):
                losses.add("params shown as text", f"{key.run_id}: {row['key']} ({row['type']})")
        shown["params"] = list(params.values())
        shown["files"] = [
            {**row, "media_type": None}
            for row in tables.get("files", ())
            if row.get("reference") is None
        ]
        shown["metric_defs"] = _metric_defs(key, tables["runs"][0])
        for row in tables.get("series", ()):
            if row["kind"] not in FORMS:
                losses.add(AS_TEXT, f"{key.run_id}: {row['key']} ({row['kind']})")
        return Presentation(shown, losses=losses.list())

    def open(self, keys: Sequence[RunKey]) -> LogFolderSink:
        runs = {self.target(key): key for key in keys}
        if len(runs) < len(set(keys)):
            raise IntegrityError(f"{self.address}: two of the runs have one project and id")
        return LogFolderSink(self._folder.path, runs, self.forget)

    def _look(self) -> dict[RunRef, Run]:
        return super()._look() if self._folder.path.exists() else {}

    def forget(self) -> None:
        """What was known of the folder no longer holds."""
        self._runs = None


def _metric_defs(key: RunKey, row: Row) -> list[Row]:
    """The metrics that the experiment of a run names which was born as event files."""
    found, content = HParams(), Said(row).experiment() if key.kind == KIND else None
    if content is not None:
        found.note(content)
    return found.metric_defs()


def _param(row: Row) -> Row:
    """A parameter as it is read back."""
    value = encode.hparam(row)
    kind = {bool: "boolean", float: "float", str: "string"}[type(value)]
    return {"key": row["key"], "value": encode.told(value), "type": kind}
