"""What MLflow's stores hold natively."""

from __future__ import annotations

from dataclasses import replace

from trackbridge.adapter import Capabilities, Names
from trackbridge_adapters.mlflow.artifacts import WINDOWS
from trackbridge_adapters.mlflow.entities import KEY_TAG, SYSTEM, TWINS_TAG
from trackbridge_adapters.mlflow.folders import STRAY

LARGEST = 1.7976931348623157e308
"""What MLflow makes of infinity (sqlalchemy_store.py, `sanitize_metric_value`, 3.17)."""

_NAME = Names(250, r"/\w.\- :")
"""mlflow/utils/validation.py, 3.17: `MAX_ENTITY_KEY_LENGTH`, `_VALID_PARAM_AND_METRIC_NAMES`."""

_HOLDS = {
    "projects": ("project_id", "notes", "tags", "created", "deleted", "source", "extra"),
    "runs": (
        "name",
        "status",
        "started",
        "ended",
        "user",
        "parent_run_id",
        "notes",
        "deleted",
        "program",
        "git_remote",
        "git_commit",
        "source",
        "extra",
    ),
    "params": ("key", "value"),
    "tags": ("key", "value"),
    "metrics": ("key", "step", "time", "value", "system"),
    "inputs": ("name", "digest", "kind", "source", "schema", "profile", "context", "extra"),
    "artifacts": ("collection", "kind", "version", "direction", "metadata", "created"),
    "models": ("name", "created", "updated", "description", "aliases", "tags", "extra"),
    "model_versions": (
        "name",
        "version",
        "run_id",
        "stage",
        "source",
        "status",
        "user",
        "created",
        "updated",
        "description",
        "tags",
        "extra",
    ),
    "files": ("owner", "path", "size", "sha256"),
}

SQL = Capabilities(
    holds=_HOLDS,
    time_unit_us=1000,
    nan=True,
    largest=LARGEST,
    names={
        "metrics": replace(_NAME, reserved=(SYSTEM,), before_system=len(SYSTEM)),
        "params": _NAME,
        "tags": replace(_NAME, reserved=(KEY_TAG, TWINS_TAG)),
    },
    # MAX_PARAM_VAL_LENGTH, MAX_TAG_VAL_LENGTH (mlflow/utils/validation.py, 3.17)
    lengths={"params": {"value": 6000}, "tags": {"value": 8000}},
    nul=True,
    console="output.log",
    items=("traces", "stray_models", "evaluation_datasets", "scorers"),
    files_at_hand=False,  # they may have to be fetched whole; and what is listed is there
)

TEXT = 16383
"""Most characters of MySQL's type TEXT: 65535 bytes, at most four of them a character."""

LENGTHS = {
    **SQL.lengths,
    "runs": {
        "name": 250,
        "user": 256,
        "program": 500,
        "extra.source_version": 50,
        "extra.entry_point_name": 50,
    },
    "inputs": {
        "name": 500,
        "digest": 36,
        "kind": 36,
        "source": TEXT,
        "context": 500,
        "extra.*": 500,
    },
    "artifacts": {"collection": 500, "metadata.model_type": 500, "metadata.status_message": 1000},
    "models": {"description": 5000, "tags.*": 5000},
    "model_versions": {
        "stage": 20,
        "source": 500,
        "status": 20,
        "user": 256,
        "description": 5000,
        "tags.*": TEXT,
        "extra.status_message": 500,
        "extra.run_link": 500,
    },
}
"""Widths of columns (store/tracking/dbmodels/models.py, store/model_registry/dbmodels/models.py,
3.17), which SQLite does not enforce."""

POSTGRES = replace(SQL, lengths=LENGTHS, nul=False)
MYSQL = replace(
    SQL,
    lengths=LENGTHS,
    names={table: replace(names, folded=True) for table, names in SQL.names.items()},
)
"""Its collations take names that differ in case or accents for one."""

_STRAY = tuple(name for name in STRAY if not name.startswith("."))
_PATH = replace(_NAME, alphabet=r"/\w.\- " if WINDOWS else _NAME.alphabet, paths=True)
"""Keys are names of files, without a colon on Windows (`validate_param_and_metric_name`, 3.17)."""

FILES = replace(
    SQL,
    items=(),
    largest=None,
    signed_zero=True,
    repeated_points=True,
    names={
        "metrics": replace(_PATH, reserved=(SYSTEM, *_STRAY), before_system=len(SYSTEM)),
        "params": replace(_PATH, reserved=_STRAY),
        "tags": replace(_PATH, reserved=(KEY_TAG, TWINS_TAG, *_STRAY)),
    },
    lengths={},
    parallel_writers=True,
)
"""MLflow cuts values where they are logged, not where they are kept (file_store.py, 3.17)."""

REST_READ = replace(
    SQL,
    holds={**_HOLDS, "runs": tuple(name for name in _HOLDS["runs"] if name != "extra")},
    items=(),
    parallel_writers=True,
)
"""A server does not say of a run what only columns of its database hold."""

REST = replace(
    REST_READ,
    holds={
        **REST_READ.holds,
        "projects": tuple(name for name in _HOLDS["projects"] if name != "deleted"),
    },
    # `_validate_metric`: no negative times (mlflow/utils/validation.py, 3.17)
    times=(0, 2**63 - 1),
    names={table: replace(names, shortest=True) for table, names in SQL.names.items()},
    # what is a column of a run elsewhere is a tag here, but for two that `rest_present` cuts
    lengths={table: widths for table, widths in LENGTHS.items() if table != "runs"},
    nul=False,
)
"""What can be written over REST: nothing goes into a deleted experiment, and deleting one
deletes its runs. The database behind a server may be of any kind, so the limits of all hold."""
