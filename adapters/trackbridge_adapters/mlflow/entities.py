"""MLflow's entities in terms of the run model: names, tags and values of any store."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from trackbridge.adapter import ORIGIN, RunKey, RunRef
from trackbridge.errors import IntegrityError
from trackbridge.optional import Twin
from trackbridge.times import EPOCH

KIND = "mlflow"
KEY_TAG = f"{ORIGIN}.run_key"
"""Tag of a run that Trackbridge has brought. Any other name that begins alike is a user's own."""
PENDING_TAG = f"{KEY_TAG}.pending"
"""Tag of a run that is being written over REST: its key, until it is whole."""
ABANDONED_TAG = f"{KEY_TAG}.abandoned"
"""Tag of what is left on a server of a run that was not finished, or replaced."""
STORE_TAG = f"{KEY_TAG}.store"
"""Tag of the experiment, and of the run in it, that keep a server's files of no run."""
TWINS_TAG = f"{ORIGIN}.twins"
"""Tag of a run that was brought: the same run in other stores, for people (decision 0034)."""
LOCK_MODEL = f"{ORIGIN}-lock"
"""The registered model that is the lock of a server (decision 0017)."""
LONGEST_TAG = 5000
"""Characters that a tag of a run has had room for in every version."""
PACKED = "zlib "
"""What the text of a packed key begins with; no plain one has a blank."""
EXTRA_TAG = f"{ORIGIN}.extra"
"""Tag of experiments, registered models and their versions, which stands for their `extra`."""
VERSION_TAG = f"{ORIGIN}.version"
"""Tag of versions whose name is no number."""
ODD_TAG = f"{ORIGIN}.odd_tags"
"""Tag of the same in a file store: a JSON object of tags whose names cannot be those of files, or
that have no value."""
VERSION_EXTRA = ("status_message", "run_link")
"""Native columns of a model's version that the run model keeps in `extra`."""

WORKSPACE = "default"
"""Workspace of all that was made before there were any (3.10)."""
PLACE = ("workspace", "name")
"""Fields of the `extra` of what is in another workspace: which, and what it is called there."""

SYSTEM = "system/"
"""Prefix of system metrics (mlflow/system_metrics/metrics_monitor.py)."""

# Tags that stand for columns of the run model (mlflow/utils/mlflow_tags.py).
RUN_NAME = "mlflow.runName"
USER = "mlflow.user"
PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
STRAY_MODELS = "logged models without a run"
"""What a count of such models is called."""
COMMIT = "mlflow.source.git.commit"
REMOTE = "mlflow.source.git.repoURL"
PROGRAM = "mlflow.source.name"
CONTEXT = "mlflow.data.context"

DERIVED = {
    "name": RUN_NAME,
    "user": USER,
    "parent_run_id": PARENT,
    "notes": NOTE,
    "program": PROGRAM,
    "git_remote": REMOTE,
    "git_commit": COMMIT,
}
"""Columns of `runs` and the tags that they are read from."""

NATIVE = frozenset({"name", "user", "program"})
"""Those of them that also have a column in MLflow, which is preferred unless it is empty."""

STATES = {1: "running", 2: "scheduled", 3: "finished", 4: "failed", 5: "killed"}
"""Numbers of `RunStatus` in meta.yaml (mlflow/protos/service.proto)."""

SOURCES = {1: "NOTEBOOK", 2: "JOB", 3: "PROJECT", 4: "LOCAL", 1000: "UNKNOWN"}
"""Numbers of `SourceType` in meta.yaml."""

EXTRA = ("source_type", "source_version", "entry_point_name", "deleted_time")
"""Native columns of a run that the run model keeps in `extra`."""

DAY_LIMIT_MS = 253_402_300_800_000
"""Start of the year 10000 in milliseconds: later times are no dates to Python."""


def derive(columns: Mapping[str, str | None], tags: Mapping[str, str | None]) -> dict[str, Any]:
    """The columns in DERIVED of a run with these native columns and tags."""
    return {
        name: (columns.get(name) if name in NATIVE else None) or tags.get(tag) or None
        for name, tag in DERIVED.items()
    }


def status(value: Any) -> str | None:
    """The state of a run out of a column or a meta.yaml."""
    if isinstance(value, int):
        return STATES.get(value)
    return value.lower() if isinstance(value, str) and value else None


def packed(values: Mapping[str, Any]) -> str | None:
    """A JSON object with sorted keys; null where there is nothing in it."""
    return json.dumps(values, sort_keys=True, ensure_ascii=False) if values else None


def unpacked(text: str | None) -> dict[str, Any]:
    """The inverse of `packed`; anything but a JSON object counts as nothing."""
    try:
        value = json.loads(text) if text else None
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def extra(native: Mapping[str, Any], damage: Sequence[str] = ()) -> str | None:
    """`runs.extra`: what MLflow itself leaves empty (`create_run`, 3.17) is left out."""
    kept = {n: native.get(n) for n in EXTRA if native.get(n) not in (None, "", "UNKNOWN")}
    return packed({**kept, **({"damage": list(damage)} if damage else {})})


def native_extra(
    content: str | None, columns: Sequence[str]
) -> tuple[dict[str, Any], dict[str, str | None]]:
    """Values of native columns out of an `extra`, and tags that keep it where it is more.

    `read_extra` is the inverse.
    """
    values = unpacked(content)
    native = {name: values.get(name) for name in columns}
    return native, {} if content in (None, read_extra(native, None)) else {EXTRA_TAG: content}


def read_extra(values: Mapping[str, Any], tag: str | None) -> str | None:
    """`extra` of an entity with these native columns and, maybe, the tag of `native_extra`."""
    return tag or packed({n: value for n, value in values.items() if value not in (None, "")})


def with_not_read(content: str | None, counts: Mapping[str, int]) -> str | None:
    """`extra` of an experiment, and in it how much belongs to it that no table has."""
    not_read = {name: count for name, count in counts.items() if count}
    return packed({**unpacked(content), "not_read": not_read}) if not_read else content


def label_in(workspace: str | None, name: str) -> str:
    """What an experiment or a model is called where workspaces are not known."""
    return name if workspace in (None, "", WORKSPACE) else f"{name} ({workspace})"


def place(workspace: str | None, name: str) -> dict[str, str]:
    """Fields of an `extra` that say in which workspace something is, unless in the default one."""
    if workspace in (None, "", WORKSPACE):
        return {}
    return {"workspace": str(workspace), "name": name}


def placed(label: str, fields: Mapping[str, Any]) -> tuple[str, str]:
    """Workspace and name of what has that label: the inverse of `label_in`."""
    workspace, name = fields.get("workspace"), fields.get("name")
    if isinstance(workspace, str) and isinstance(name, str) and label_in(workspace, name) == label:
        return workspace, name
    return WORKSPACE, label


def native_tags(content: str | None) -> dict[str, str | None]:
    """Tags out of a JSON object; values that are no text become JSON text."""
    return {
        name: value if value is None or isinstance(value, str) else json.dumps(value)
        for name, value in unpacked(content).items()
    }


def milliseconds(time: datetime | None) -> int | None:
    """A time as MLflow stores it, rounded down."""
    return None if time is None else (time - EPOCH) // timedelta(milliseconds=1)


def short_hash(text: str) -> str:
    """Eight hex digits that tell names apart."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def labels(experiments: Sequence[tuple[Any, str, int | None]]) -> dict[str, str]:
    """Experiment id -> project label, for (id, name, creation time) of every experiment.

    A name that occurs again gets the id behind it. The oldest experiment keeps the plain name,
    so that a label never changes because an experiment was added.
    """
    taken = {name for _, name, _ in experiments}
    given: dict[str, str] = {}
    used: set[str] = set()
    for number, name, _ in sorted(experiments, key=_age):
        label = name
        while label in used or (label != name and label in taken):
            label += f" ({number})"
        used.add(label)
        given[str(number)] = label
    return given


def _age(experiment: tuple[Any, str, int | None]) -> tuple[int, int, str]:
    number, _, created = experiment
    return created or 0, len(str(number)), str(number)


def key_text(key: RunKey) -> str:
    """A key as the tag keeps it: packed where it is too long for one."""
    text = str(key)
    if len(text) <= LONGEST_TAG:
        return text
    return PACKED + base64.b64encode(zlib.compress(text.encode())).decode()


def is_own_tag(tag: str, *, carried: bool) -> bool:
    """Whether a tag of a run, which was brought or not, is ours and none of the run's."""
    return tag == KEY_TAG or (carried and tag == TWINS_TAG)


def without_twins(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Tags of a run as its fingerprint has them: without what we tell of its twins."""
    return {name: v for name, v in tags.items() if name != TWINS_TAG or KEY_TAG not in tags}


def twins_text(twins: Sequence[Twin]) -> str:
    """Twins as the tag names them: as many as there is room for; empty where there are none."""
    told = [each._asdict() for each in twins]
    while told and len(json.dumps(told)) > LONGEST_TAG:
        told.pop()
    return json.dumps(told) if told else ""


def is_lock(name: str | None) -> bool:
    """Whether a registered model is the lock of a server, or one that is being taken away."""
    return re.fullmatch(LOCK_MODEL + "(-[0-9a-f]{32})?", name or "") is not None


def is_hidden(tags: Mapping[str, str | None]) -> bool:
    """Whether a run is none of the user's: half-written over REST, left over, or our own."""
    pending = tags.get(PENDING_TAG)
    return (
        (pending is not None and pending == tags.get(KEY_TAG))
        or (ABANDONED_TAG in tags and KEY_TAG not in tags)
        or tags.get(STORE_TAG) == "1"
    )


def run_key(tag: str | None, ref: RunRef) -> RunKey:
    """Where a run was born: what Trackbridge wrote down, else (or if that is garbled) here."""
    try:
        if tag and tag.startswith(PACKED):
            tag = zlib.decompress(base64.b64decode(tag.removeprefix(PACKED))).decode()
        return RunKey.parse(tag) if tag else RunKey(KIND, "", *ref)
    except (IntegrityError, ValueError, zlib.error):
        return RunKey(KIND, "", *ref)


def micros(value: Any, where: str, damage: list[str]) -> int | None:
    """A time in milliseconds as microseconds since 1970; null where it is no time."""
    number = integer(value, where, damage)
    if number is not None and not -62_135_596_800_000 <= number < DAY_LIMIT_MS:
        damage.append(f"{where}: {number} is no time in milliseconds")
        return None
    return None if number is None else number * 1000


def moment(milliseconds: Any) -> datetime | None:
    """A time as MLflow stores it; None where it is none."""
    time = micros(milliseconds, "", [])
    return None if time is None else EPOCH + timedelta(microseconds=time)


def integer(value: Any, where: str, damage: list[str]) -> int | None:
    """A whole number out of a column that may hold anything."""
    if value is None or isinstance(value, int):
        return value
    try:
        number = int(value)
    except (ValueError, OverflowError):
        number = None
    if number is None or (isinstance(value, float) and number != value):
        damage.append(f"{where}: {str(value)[:40]!r} is no whole number")
        return None
    return number


def text(value: Any, where: str, damage: list[str]) -> str | None:
    """Text out of a column or file that may hold anything; odd bytes are shown as \\xNN."""
    if value is None:
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    elif not isinstance(value, str):
        value = str(value)
    if value.isascii():
        return str(value)
    try:
        value.encode()
    except UnicodeEncodeError:
        damage.append(f"{where}: not UTF-8, odd bytes shown as \\xNN")
        raw = value.encode("utf-8", "surrogateescape")
        value = raw.decode("utf-8", "backslashreplace")
    return str(value)
