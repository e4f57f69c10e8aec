"""The run model: the Arrow tables that every store is read into and written from."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

VERSION = 1
"""Raised when a table changes in a way that an older reader cannot understand."""

TEXT = pa.string()
CODE = pa.dictionary(pa.int32(), pa.string())
TIME = pa.timestamp("us", "UTC")
INT = pa.int64()
FLOAT = pa.float64()
BOOL = pa.bool_()


def _table(doc: str, *columns: tuple[str, pa.DataType, str]) -> pa.Schema:
    fields = [pa.field(name, kind, metadata={"doc": text}) for name, kind, text in columns]
    return pa.schema(fields, metadata={"doc": doc})


PROJECT = ("project", TEXT, "name of the experiment or project")
RUN = ("run_id", TEXT, "id of the run, unique within its project")
KEY_PATH = ("path", TEXT, "JSON list of the nested keys, null where it is just [key]")
VALUE = ("value", TEXT, "plain text where type is 'string', JSON text otherwise")
TYPE = ("type", TEXT, "string, integer, float, boolean, null, list, object")
EXTRA = ("extra", TEXT, "JSON object: native fields that have no column of their own")

TABLES: dict[str, pa.Schema] = {
    "projects": _table(
        "one row per experiment or project",
        PROJECT,
        ("project_id", TEXT, "id in the store that it was read from; not compared"),
        ("notes", TEXT, "description"),
        ("tags", TEXT, "JSON object"),
        ("created", TIME, "when it was created"),
        ("deleted", BOOL, "marked as deleted at the source"),
        ("source", TEXT, "where its files lie in the store it was read from; not compared"),
        EXTRA,
    ),
    "runs": _table(
        "one row per run",
        PROJECT,
        RUN,
        ("name", TEXT, "display name"),
        ("status", TEXT, "scheduled, running, finished, failed, killed, crashed; null: unknown"),
        ("started", TIME, "start of the run"),
        ("ended", TIME, "end of the run"),
        ("user", TEXT, "who ran it"),
        ("parent_run_id", TEXT, "the run that this one is nested in"),
        ("group", TEXT, "group of runs"),
        ("job_type", TEXT, "role within the group"),
        ("sweep_id", TEXT, "sweep that started the run"),
        ("notes", TEXT, "description"),
        ("deleted", BOOL, "marked as deleted at the source"),
        ("host", TEXT, "machine"),
        ("program", TEXT, "script or entry point"),
        ("git_remote", TEXT, "address of the repository"),
        ("git_commit", TEXT, "commit"),
        ("python", TEXT, "version of Python"),
        ("source", TEXT, "where it lies in the store that it was read from; not compared"),
        EXTRA,
    ),
    "params": _table(
        "one row per leaf of the configuration",
        PROJECT,
        RUN,
        ("key", TEXT, "nested keys joined by a dot"),
        KEY_PATH,
        VALUE,
        TYPE,
    ),
    "tags": _table(
        "one row per tag or label",
        PROJECT,
        RUN,
        ("key", TEXT, "name of the tag, or the label itself"),
        ("value", TEXT, "null for a bare label"),
    ),
    "metrics": _table(
        "one row per scalar point",
        ("project", CODE, PROJECT[2]),
        ("run_id", CODE, RUN[2]),
        ("key", CODE, "name of the metric; nested keys joined by a dot"),
        ("step", INT, "step as the run set it; system points count samples"),
        ("time", TIME, "when the point was logged"),
        ("row", INT, "ordinal of the log call that it came in; null: the source has none"),
        ("value", FLOAT, "NaN and infinities included"),
        ("system", BOOL, "measured by the tracker, not logged by the run"),
    ),
    "series": _table(
        "one row per point that is no scalar",
        PROJECT,
        RUN,
        ("key", TEXT, "name of the series; nested keys joined by a dot"),
        ("step", INT, "step as the run set it"),
        ("time", TIME, "when the point was logged"),
        ("row", INT, "ordinal of the log call that it came in"),
        (
            "kind",
            TEXT,
            "text, boolean, integer (beyond 2**53), null, histogram, image, audio, "
            "video, table, html, plot, json",
        ),
        ("value", TEXT, "JSON text, as the source has it"),
        ("path", TEXT, "file of the run that holds the content"),
    ),
    "metric_defs": _table(
        "one row per definition of a metric",
        PROJECT,
        RUN,
        ("key", TEXT, "name of the metric, or a pattern"),
        ("glob", BOOL, "the key is a pattern"),
        ("x_axis", TEXT, "metric to plot against"),
        ("summary", TEXT, "comma-separated aggregates kept as the summary: min, max, mean, ..."),
        ("goal", TEXT, "minimize or maximize"),
        ("hidden", BOOL, "not plotted by default"),
        EXTRA,
    ),
    "summary": _table(
        "one row per leaf of the final values that the run set",
        PROJECT,
        RUN,
        ("key", TEXT, "nested keys joined by a dot"),
        KEY_PATH,
        VALUE,
        TYPE,
    ),
    "logs": _table(
        "one row per piece of console output, in order",
        PROJECT,
        RUN,
        ("stream", TEXT, "stdout or stderr"),
        ("line", INT, "ordinal within the run"),
        ("time", TIME, "when it was printed"),
        ("text", TEXT, "raw text, carriage returns and colours included"),
    ),
    "alerts": _table(
        "one row per alert that the run raised",
        PROJECT,
        RUN,
        ("title", TEXT, "headline"),
        ("level", TEXT, "INFO, WARN or ERROR"),
        ("time", TIME, "when it was raised, if the source says so"),
        ("definition", TEXT, "JSON: the whole alert"),
    ),
    "inputs": _table(
        "one row per dataset or artifact that the run used",
        PROJECT,
        RUN,
        ("name", TEXT, "name of the dataset or artifact"),
        ("digest", TEXT, "digest as the source computes it"),
        ("kind", TEXT, "type of the source or artifact"),
        ("source", TEXT, "where it lies, as the source says it"),
        ("schema", TEXT, "JSON"),
        ("profile", TEXT, "JSON"),
        ("context", TEXT, "training, evaluation, ..."),
        EXTRA,
    ),
    "artifacts": _table(
        "one row per artifact version that the run logged or used",
        PROJECT,
        RUN,
        ("collection", TEXT, "name without version"),
        ("kind", TEXT, "type of the artifact"),
        ("version", TEXT, "version, e.g. v0; null where the server has not given one yet"),
        ("aliases", TEXT, "JSON list"),
        ("digest", TEXT, "digest as the source computes it"),
        ("direction", TEXT, "logged or used"),
        ("description", TEXT, "for people"),
        ("metadata", TEXT, "JSON object"),
        ("created", TIME, "when the version was made"),
        EXTRA,
    ),
    "files": _table(
        "one row per file of a run or of an artifact version",
        PROJECT,
        RUN,
        ("owner", TEXT, "'' for the run itself, else collection:version of the artifact"),
        ("path", TEXT, "path below the owner, with forward slashes"),
        ("size", INT, "bytes; null where the source does not say"),
        ("sha256", TEXT, "lower-case hex; null until the bytes were read"),
        ("media_type", TEXT, "as the source says it"),
        ("reference", TEXT, "address of a file that lives elsewhere; its bytes are not moved"),
        EXTRA,
    ),
    "models": _table(
        "one row per registered model",
        ("name", TEXT, "name in the registry"),
        ("created", TIME, "when it was registered"),
        ("updated", TIME, "last change"),
        ("description", TEXT, "for people"),
        ("aliases", TEXT, "JSON object: alias -> version"),
        ("tags", TEXT, "JSON object"),
        EXTRA,
    ),
    "model_versions": _table(
        "one row per version of a registered model",
        ("name", TEXT, "name in the registry"),
        ("version", TEXT, "version"),
        ("run_id", TEXT, "the run that made it; null where none did"),
        ("stage", TEXT, "None, Staging, Production, Archived"),
        ("source", TEXT, "where its files lie in the store it was read from; not compared"),
        ("status", TEXT, "READY or as the source says it"),
        ("user", TEXT, "who registered it"),
        ("created", TIME, "when it was registered"),
        ("updated", TIME, "last change"),
        ("description", TEXT, "for people"),
        ("tags", TEXT, "JSON object"),
        EXTRA,
    ),
    "sweeps": _table(
        "one row per sweep",
        PROJECT,
        ("sweep_id", TEXT, "id"),
        ("name", TEXT, "display name"),
        ("definition", TEXT, "JSON: the whole native definition"),
    ),
    "reports": _table(
        "one row per report",
        PROJECT,
        ("report_id", TEXT, "id"),
        ("title", TEXT, "headline"),
        ("definition", TEXT, "JSON: the whole native definition"),
    ),
}


class Item(NamedTuple):
    """A kind of thing that belongs to a project and not to a run, and of which there may be many.

    Its own table is called like the kind; `id` is the column that names an item in all of them.
    """

    id: str
    parts: tuple[str, ...] = ()
    words: str = ""
    """What people call these."""


ITEMS = {
    "traces": Item("trace_id", ("spans", "assessments"), "traces"),
    "evaluation_datasets": Item("dataset_id", ("evaluation_records",), "evaluation datasets"),
    "scorers": Item("scorer_id", ("scorer_versions",), "scorers"),
    "stray_models": Item("model_id", (), "logged models without a run"),
}
"""Kinds of items; an item's rows flow together: see `optional.ItemStore`."""

ITEM_FILES = "item_files"
"""Table of the files of items of every kind."""

ITEM_TABLES: dict[str, pa.Schema] = {
    "traces": _table(
        "one row per GenAI trace",
        PROJECT,
        ("trace_id", TEXT, "id of the trace"),
        ("run_id", TEXT, "the run that it was made in; null where there was none"),
        ("started", TIME, "start of the trace"),
        ("ended", TIME, "end of the trace"),
        ("status", TEXT, "OK, ERROR, IN_PROGRESS, ..."),
        ("tags", TEXT, "JSON object"),
        ("metadata", TEXT, "JSON object: what was set when it was made, token usage and cost too"),
        ("source", TEXT, "where its files lie in the store it was read from; not compared"),
        EXTRA,
    ),
    "spans": _table(
        "one row per span of a trace",
        PROJECT,
        ("trace_id", TEXT, "trace that it belongs to"),
        ("span_id", TEXT, "OpenTelemetry span id"),
        ("parent_id", TEXT, "parent span"),
        ("name", TEXT, "name"),
        ("kind", TEXT, "LLM, TOOL, CHAIN, ..."),
        ("status", TEXT, "OK, ERROR, UNSET"),
        ("started", TIME, "start of the span; nanoseconds are in extra"),
        ("ended", TIME, "end of the span; nanoseconds are in extra"),
        ("payload", TEXT, "JSON: the whole span as its store keeps it, verbatim"),
        EXTRA,
    ),
    "assessments": _table(
        "one row per judgement of a trace or span",
        PROJECT,
        ("trace_id", TEXT, "trace that it belongs to"),
        ("assessment_id", TEXT, "id"),
        ("span_id", TEXT, "span that is judged; null for the whole trace"),
        ("name", TEXT, "what is judged"),
        ("kind", TEXT, "feedback, expectation or issue"),
        ("value", TEXT, "JSON"),
        ("created", TIME, "when it was made"),
        ("updated", TIME, "last change"),
        EXTRA,
    ),
    "evaluation_datasets": _table(
        "one row per dataset for evaluations",
        ("project", TEXT, "empty: it belongs to the store"),
        ("dataset_id", TEXT, "id"),
        ("name", TEXT, "display name"),
        ("projects", TEXT, "JSON list of the projects that it is used in"),
        ("tags", TEXT, "JSON object"),
        ("created", TIME, "when it was made"),
        ("updated", TIME, "last change"),
        EXTRA,
    ),
    "evaluation_records": _table(
        "one row per record of a dataset for evaluations",
        ("project", TEXT, "empty: it belongs to the store"),
        ("dataset_id", TEXT, "dataset that it belongs to"),
        ("record_id", TEXT, "id"),
        ("inputs", TEXT, "JSON"),
        ("outputs", TEXT, "JSON"),
        ("expectations", TEXT, "JSON"),
        ("tags", TEXT, "JSON object"),
        ("source", TEXT, "JSON: where it comes from, such as a trace"),
        ("created", TIME, "when it was made"),
        ("updated", TIME, "last change"),
        EXTRA,
    ),
    "scorers": _table(
        "one row per scorer",
        PROJECT,
        ("scorer_id", TEXT, "id"),
        ("name", TEXT, "name"),
    ),
    "scorer_versions": _table(
        "one row per version of a scorer",
        PROJECT,
        ("scorer_id", TEXT, "scorer that it belongs to"),
        ("version", INT, "number"),
        ("created", TIME, "when it was registered"),
        ("definition", TEXT, "the scorer as its store keeps it, verbatim"),
    ),
    "stray_models": _table(
        "one row per logged model whose run is not there, or that no run has made",
        PROJECT,
        ("model_id", TEXT, "id"),
        ("run_id", TEXT, "the run that made it, which is elsewhere; null where none did"),
        ("name", TEXT, "name"),
        ("created", TIME, "when it was made"),
        ("metadata", TEXT, "JSON object: status, type, params, tags, metrics"),
        ("source", TEXT, "where its files lie in the store it was read from; not compared"),
    ),
    ITEM_FILES: _table(
        "one row per file of an item",
        PROJECT,
        ("kind", TEXT, "kind of the item: the name of its table"),
        ("item_id", TEXT, "the item that it belongs to"),
        ("path", TEXT, "path below the item, with forward slashes"),
        ("size", INT, "bytes"),
        ("sha256", TEXT, "lower-case hex; null until the bytes were read"),
    ),
}
"""The tables of items; `TABLES` has those of runs and the shared ones."""

EVERY_TABLE = {**TABLES, **ITEM_TABLES}

LOCAL = frozenset(
    {
        ("projects", "project_id"),
        ("projects", "source"),
        ("runs", "source"),
        ("model_versions", "source"),
        ("traces", "source"),
        ("stray_models", "source"),
    }
)
"""Columns that are true only of the store that they were read from; no digest covers them."""

SHARED = frozenset({"projects", "models", "model_versions", "sweeps", "reports"})
"""Tables that belong to a store or a project, not to one run: see `Reader.read_shared`."""

NAMED_BY = {
    "projects": ("project",),
    "models": ("name",),
    "model_versions": ("name", "version"),
    "sweeps": ("project", "sweep_id"),
    "reports": ("project", "report_id"),
}
"""Columns that name a row of a shared table: a later row replaces the one of the same name."""

STREAMS = frozenset({"metrics", "series", "logs"})
"""Tables that may not fit in memory and therefore flow batch by batch."""

POINTS = ("metrics", "series")
"""Tables of what was logged step by step, whose rows `RunInfo.points` counts."""

BATCH_ROWS = 65_536
"""A reader yields no batch with more rows than this."""

DEFAULTS: dict[tuple[str, str], str | bool] = {
    ("params", "type"): "string",
    ("summary", "type"): "string",
    ("metrics", "system"): False,
    ("projects", "deleted"): False,
    ("runs", "deleted"): False,
    ("files", "owner"): "",
}
"""What a column holds where a store has no place for it; every other such column holds null."""


def empty(table: str) -> pa.Table:
    """A table of the model with its columns and no rows."""
    return TABLES[table].empty_table()
