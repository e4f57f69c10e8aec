"""What the records of a run say of it as a whole: one state, changed by each record in order."""

from __future__ import annotations

from typing import Any

from trackbridge.adapter import ORIGIN, RunKey
from trackbridge.errors import IntegrityError
from trackbridge_adapters.wandb import jsontext, names
from trackbridge_adapters.wandb.jsontext import Path, Tree
from trackbridge_adapters.wandb.records import CLASSES

INTERNAL = "_wandb"
"""Entry of config and summary that belongs to the tracker."""
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799
"""Of the years 1 to 9999, which is what a protobuf timestamp may hold."""
OUR_DIGEST = f"{ORIGIN}:digest"
"""Marks, as its uuid, a record of an artifact whose digest had to be computed anew."""


class Facts:
    """A run's state after the records so far; `origin` is our own entry in its config."""

    def __init__(self) -> None:
        self.run = CLASSES["RunRecord"]()
        self.telemetry = CLASSES["TelemetryRecord"]()
        self.environment = CLASSES["EnvironmentRecord"]()
        self.moved = False  # no record has said yet where the current process runs
        self.version = CLASSES["VersionInfo"]()
        self.exit: Any = None
        self.started: int | None = None  # us; of the first process, if the run was resumed
        self.resumed: int | None = None  # us; of the last one
        self.config: Tree = {}
        self._entries: Tree = {}
        self._told: dict[str | Path, str] = {}
        self.removed: set[str] = set()  # from the summary, by name
        self.metrics: dict[tuple[str, str], Any] = {}
        self.alerts: list[Any] = []
        self.artifacts: list[Any] = []
        self.used: list[Any] = []
        self.saved: dict[str, tuple[int, int]] = {}
        self.placed: set[str] = set()  # files that Trackbridge has put beside the run
        self.boards: list[Any] = []
        self.preempted = False
        self.unknown = 0
        self.special_names: dict[str, Path] = {}  # that were met; see `names.Given`

    def apply(self, kind: str | None, record: Any) -> None:
        """Takes a record that is neither history nor stats nor output.

        Records that Trackbridge has added for W&B's own use are no facts of the run.
        """
        if record.uuid == ORIGIN:
            self.placed |= {item.path for item in record.files.files}
            return
        if kind is None:
            self.unknown += 1
            return
        if record.uuid == OUR_DIGEST:
            record.artifact.ClearField("digest")
        change = getattr(self, f"_{kind}", None)
        if change is not None:
            change(getattr(record, kind))

    def _header(self, record: Any) -> None:
        self.version.MergeFrom(record.version_info)

    def _run(self, record: Any) -> None:
        tags = list(record.tags) or list(self.run.tags)
        self._config(record.config)
        self._summary(record.summary)
        if record.HasField("telemetry"):
            self._telemetry(record.telemetry)
        for field in ("config", "summary", "telemetry", "tags"):
            record.ClearField(field)
        self.run.MergeFrom(record)
        self.resumed = timestamp_us(self.run, "start_time")
        if self.started is None:
            self.started = self.resumed
        self.run.ClearField("tags")
        self.run.tags.extend(tags)

    def _config(self, record: Any) -> None:
        _update(self.config, record)

    def _summary(self, record: Any) -> None:
        told = self._told
        for item in record.update:
            path = item.key or tuple(item.nested_key) or ""
            told.pop(path, None)  # the order of the last ones is what counts
            told[path] = item.value_json
        if record.remove:
            _remove(self.summary, record)
            self.removed |= {_path(item)[0] for item in record.remove if len(_path(item)) == 1}

    @property
    def summary(self) -> Tree:
        """The entries of the summary.

        Most log calls name all of them anew, so just the last text of each is ever parsed.
        """
        for path, text in self._told.items():
            _put(self._entries, (path,) if isinstance(path, str) else path, text)
        self._told.clear()
        return self._entries

    def _telemetry(self, record: Any) -> None:
        """Each record says all that is known by then, but for the versions."""
        python, client = self.telemetry.python_version, self.telemetry.cli_version
        self.telemetry.CopyFrom(record)
        self.telemetry.python_version = record.python_version or python
        self.telemetry.cli_version = record.cli_version or client

    def _environment(self, record: Any) -> None:
        """The records of one process add up."""
        if self.moved:
            self.environment.Clear()
            self.moved = False
        if timestamp_us(record, "started_at") is None:
            record.ClearField("started_at")
        self.environment.MergeFrom(record)

    def _exit(self, record: Any) -> None:
        self.exit = record

    def _metric(self, record: Any) -> None:
        name = (record.name, record.glob_name)
        known = self.metrics.get(name)
        if known is None or record._control.overwrite:
            self.metrics[name] = record
        else:
            known.MergeFrom(record)

    def _alert(self, record: Any) -> None:
        self.alerts.append(record)

    def _artifact(self, record: Any) -> None:
        self.artifacts.append(record)

    def _use_artifact(self, record: Any) -> None:
        self.used.append(record)

    def _files(self, record: Any) -> None:
        self.saved.update((item.path, (item.policy, item.type)) for item in record.files)

    def _tbrecord(self, record: Any) -> None:
        self.boards.append(record)

    def _preempting(self, record: Any) -> None:
        self.preempted = True

    def begin(self) -> None:
        """A further folder of the run begins: whether it ended is open again."""
        self.exit = None
        self.moved = True

    @property
    def project(self) -> str:
        """The label in the `project` column."""
        return project_label(self.run.entity, self.run.project)

    def told_names(self) -> dict[str, Path]:
        """Special names that Trackbridge has written down; see `names.Given`."""
        try:
            return names.checked(self.origin().get("special_names", {}))
        except ValueError:  # an entry of the run's own that only looks like ours
            return {}

    def origin(self) -> dict[str, Any]:
        """Our own entry in the config; empty for runs that Trackbridge has not written."""
        entry = self.config.get(ORIGIN)
        if not isinstance(entry, dict) or not isinstance(entry.get("run_key"), str):
            return {}
        return dict(jsontext.load(jsontext.dump(entry)))


def project_label(entity: str, project: str) -> str:
    """As W&B names it: runs without a project are in one that it calls `uncategorized`."""
    name = project or "uncategorized"
    return f"{entity}/{name}" if entity else name


def origin_key(facts: Facts) -> RunKey | None:
    """The key of a run that Trackbridge has written; None for any other."""
    text = facts.origin().get("run_key")
    try:
        return RunKey.parse(text) if isinstance(text, str) else None
    except IntegrityError:  # an entry of the run's own that only looks like ours
        return None


def timestamp_us(message: Any, field: str) -> int | None:
    """A message's timestamp in microseconds, rounded; None where it is not set, or no time."""
    time = getattr(message, field)
    valid = FIRST_SECOND <= time.seconds <= LAST_SECOND and 0 <= time.nanos < 10**9
    if not valid or not message.HasField(field):
        return None
    return int(time.seconds) * 1_000_000 + (int(time.nanos) + 500) // 1000


def _path(item: Any) -> Path:
    return (item.key,) if item.key or not item.nested_key else tuple(item.nested_key)


def _update(tree: Tree, record: Any) -> None:
    for item in record.update:
        _put(tree, _path(item), item.value_json)
    _remove(tree, record)


def _remove(tree: Tree, record: Any) -> None:
    for item in record.remove:
        jsontext.drop(tree, _path(item))


def _put(tree: Tree, path: Path, text: str) -> None:
    try:
        node = jsontext.parse(text)
    except ValueError:
        node = jsontext.quote(text)
    jsontext.put(tree, path, node)
