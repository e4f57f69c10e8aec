"""One run of wandb whose records are told to a journal."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from trackbridge.dual.journal import now
from trackbridge.dual.starting import process_fields
from trackbridge_adapters.wandb.facts import project_label, timestamp_us
from trackbridge_adapters.wandb.mirror.contents import Contents
from trackbridge_adapters.wandb.mirror.definitions import Definitions
from trackbridge_adapters.wandb.mirror.rows import Rows
from trackbridge_adapters.wandb.mirror.summary import Summary, Tree, removals_of, updates_of
from trackbridge_adapters.wandb.records import CLASSES
from trackbridge_adapters.wandb.tables import RUN_COLUMNS, alert_rows, input_rows

if TYPE_CHECKING:
    from trackbridge.dual.mirroring import Mirror

KIND = "wandb"
"""Of keys of runs that were born in W&B; an instance they have none, since ids are unique."""
TAKE = "_take_"
"""Methods that begin so are called like the records that they take."""
EXTRA = ("starting_step", "resumed", "forked", "resume")


class Mirrored:
    """Takes the records of a run as wandb sends them to its own service process."""

    def __init__(
        self, mirror: Mirror, record: Any, folder: str | None, attached: bool = False
    ) -> None:
        """`record` is the run's own; `attached` is a process that has not begun it."""
        label = project_label(record.entity, record.project)
        self.run = mirror.begin(label, record.run_id, (KIND, "", label, record.run_id))
        self.run.outlast()
        self.exit_code: int | None = None
        self._attached, self._process = attached, os.getpid()
        self._definitions = Definitions(self.run)
        self._summary = Summary(self.run, self._definitions)
        self._config = Tree(self.run, "config")
        self._contents = Contents(self.run, Path(folder) if folder else None)
        self._rows = Rows(self.run, record.starting_step, self._definitions, self._summary.add_row)
        self._takes = {
            name.removeprefix(TAKE): getattr(self, name)
            for name in dir(self)
            if name.startswith(TAKE)
        }
        self._tags: list[str] = []
        self._special = 0
        if not attached:
            self._begin(record)

    def take(self, kind: str, record: Any) -> None:
        """Take a record or request of some kind; most kinds say nothing of the run."""
        take = self._takes.get(kind)
        if take is not None:
            take(getattr(record, kind))

    def close(self, final: Any) -> None:
        """The run ends: what is left is told. `final` is W&B's answer with its summary, if any."""
        self._rows.close()
        if self._process != os.getpid():  # the rest is its parent's to tell
            return
        self._summary.end(final.item if final is not None else None)
        self._contents.end()
        saved = {path: list(how) for path, how in self._contents.saved.items()}
        if saved:
            self.run.set(extra={"saved": saved})

    def end_with_process(self, exit_code: int | None) -> None:
        """The program has ended and has not finished the run."""
        if self._attached or self._process != os.getpid():
            return
        if exit_code is None:
            failed = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
            exit_code = int(failed is not None)
        self.run.finish(exit_code=exit_code, wait=0)

    def after_fork(self) -> None:
        self._rows.after_fork()

    def _begin(self, record: Any) -> None:
        fields: dict[str, Any] = process_fields()
        if not self.run.row:
            fields["started"] = timestamp_us(record, "start_time") or now()
        record = CLASSES["RunRecord"].FromString(record.SerializeToString())
        extra: dict[str, Any] = {name: getattr(record, name) for name in EXTRA}
        if record.HasField("branch_point"):
            extra["branch_point"] = json_format.MessageToDict(
                record.branch_point, preserving_proto_field_name=True
            )
        fields["extra"] = {name: value for name, value in extra.items() if value}
        self.run.set(**fields)
        self._take_run(record)

    def _take_run(self, record: Any) -> None:
        """What is known of the run, at its beginning and later on."""
        fields = {column: getattr(record, name) for name, column in RUN_COLUMNS.items()}
        fields |= {"git_remote": record.git.remote_url, "git_commit": record.git.commit}
        self.run.set(**{column: text for column, text in fields.items() if text})
        tags = list(dict.fromkeys(record.tags))
        if tags and tags != self._tags:
            gone = [tag for tag in self._tags if tag not in tags]
            if gone:
                self.run.tell("drop", table="tags", keys=gone)
            self.run.set_tags(tags)
            self._tags = tags
        self._take_config(record.config)

    def _take_partial_history(self, request: Any) -> None:
        self._rows.add(request)
        if len(special := self._rows.given.special) != self._special:
            self._special = len(special)
            names = {name: list(path) for name, path in special.items()}
            self.run.set(extra={"special_names": names})

    def _take_log_artifact(self, request: Any) -> None:
        self._contents.add_artifact(request.artifact)

    def _take_config(self, record: Any) -> None:
        self._config.change(updates_of(record), removals_of(record))

    def _take_summary(self, record: Any) -> None:
        self._summary.change(record)

    def _take_metric(self, record: Any) -> None:
        ours = CLASSES["MetricRecord"].FromString(record.SerializeToString())
        self._definitions.add(ours)

    def _take_files(self, record: Any) -> None:
        self._contents.add(record)

    def _take_artifact(self, record: Any) -> None:
        self._contents.add_artifact(record)

    def _take_use_artifact(self, record: Any) -> None:
        self.run.tell("put", table="inputs", rows=list(input_rows([record])))

    def _take_alert(self, record: Any) -> None:
        rows = [{**row, "time": now()} for row in alert_rows([record])]
        self.run.tell("put", table="alerts", rows=rows)

    def _take_preempting(self, record: Any) -> None:
        self.run.set(extra={"preempted": True})

    def _take_exit(self, record: Any) -> None:
        """The run ends: what is known is told, should W&B's own ending take long or hang."""
        self.exit_code = record.exit_code
        self._rows.close()
        self._summary.tell()
