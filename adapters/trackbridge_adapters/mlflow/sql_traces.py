"""Traces of a database of MLflow's: listed and read, with spans and assessments."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackbridge.adapter import ItemRef, Query, Row
from trackbridge.errors import ConfigError, IntegrityError
from trackbridge.optional import ItemInfo
from trackbridge_adapters.mlflow import artifacts, storage, trace_fields
from trackbridge_adapters.mlflow.entities import micros, moment, packed, text, unpacked
from trackbridge_adapters.mlflow.session import IN, Session
from trackbridge_adapters.mlflow.sql_list import experiments

if TYPE_CHECKING:
    from trackbridge.adapter import Batch

KIND = "traces"
PAGE = 2000
"""Traces, or spans, of which all rows are in memory at a time."""

OWN = (
    "execution_time_ms",
    "client_request_id",
    "request_preview",
    "response_preview",
)
"""Native columns of a trace that the run model keeps in `extra`."""

INFO = (
    "request_id",
    "experiment_id",
    "timestamp_ms",
    "status",
    "db_payload_generation",
    *OWN,
    *trace_fields.ANALYTICS,
)
SPAN = (
    "trace_id",
    "span_id",
    "parent_span_id",
    "name",
    "type",
    "status",
    "start_time_unix_nano",
    "end_time_unix_nano",
    "content",
    "dimension_attributes",
    *trace_fields.COST_COLUMNS,
    "model_name",
    "model_provider",
)
JUDGED = ("error", "source_type", "source_id", "run_id", "rationale", "overrides", "valid")
ASSESSMENT = (
    "trace_id",
    "assessment_id",
    "span_id",
    "name",
    "assessment_type",
    "value",
    "created_timestamp",
    "last_updated_timestamp",
    *JUDGED,
    "assessment_metadata",
)
LINK = ("source_id", "destination_type", "destination_id", "created_time", "association_id")
LINKED = f"WHERE source_type = 'trace' AND source_id {IN}"

Pairs = Mapping[str, dict[str, Any]]


class Traces:
    """A page of traces: their rows in the small tables."""

    def __init__(self, session: Session, infos: Sequence[Row]) -> None:
        self.infos = {info["request_id"]: info for info in infos}
        self._session = session
        self.ids = json.dumps(list(self.infos))
        self.tags = self._pairs("trace_tags", "request_id")
        self._kept = self._pairs("trace_request_metadata", "request_id")
        self._metrics = self._pairs("trace_metrics", "request_id")
        self.links: dict[str, list[list[Any]]] = defaultdict(list)
        for source, *link in sorted(
            session.select("entity_associations", LINK, LINKED, [self.ids]), key=repr
        ):
            self.links[source].append(link)

    def location(self, trace: str) -> str | None:
        """Where the files of a trace lie, as MLflow says it."""
        found: str | None = self.tags[trace].get(trace_fields.LOCATION_TAG)
        return found

    def metadata(self, trace: str) -> dict[str, str | None]:
        return trace_fields.shown_metadata(
            self._kept[trace], self.infos[trace], self._metrics[trace]
        )

    def row(self, trace: str, project: str) -> Row:
        info, tags, metadata = self.infos[trace], dict(self.tags[trace]), self.metadata(trace)
        location = tags.pop(trace_fields.LOCATION_TAG, None)
        if info["trace_name"] is not None:
            tags.setdefault(trace_fields.NAME_TAG, info["trace_name"])
        began, took = info["timestamp_ms"], info["execution_time_ms"]
        started = micros(began, "", [])
        more = {name: info[name] for name in OWN} | {
            "generation": info["db_payload_generation"] or None,
            "links": self.links.get(trace),
            "metrics": {
                name: value
                for name, value in self._metrics[trace].items()
                if name not in trace_fields.TOKEN_COLUMNS
            },
            "timestamp_ms": began if started is None else None,
        }
        return {
            "project": project,
            "trace_id": trace,
            "run_id": metadata.get(trace_fields.SOURCE_RUN),
            "started": started,
            "ended": None if started is None else micros(began + (took or 0), "", []),
            "status": info["status"],
            "tags": packed(tags),
            "metadata": packed(metadata),
            "source": location,
            "extra": packed({n: v for n, v in more.items() if v not in (None, {})}),
        }

    def judgements(self) -> list[tuple[Any, ...]]:
        order = f"WHERE trace_id {IN} ORDER BY trace_id, assessment_id"
        return self._session.select("assessments", ASSESSMENT, order, [self.ids])

    def _pairs(self, table: str, owner: str) -> defaultdict[str, dict[str, Any]]:
        found: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        where = f"WHERE {owner} {IN}"
        for trace, key, value in self._session.select(
            table, [owner, "key", "value"], where, [self.ids]
        ):
            found[trace][key] = text(value, "", []) if isinstance(value, (str, bytes)) else value
        return found


def listed(
    session: Session, query: Query, ids: Collection[str] | None, home: Path
) -> Iterator[ItemInfo]:
    """The traces that a query means, by their ids."""
    labels, deleted = experiments(session)
    for page in _pages(session, ids):
        meant = [info for info in page if _is_meant(query, info, labels, deleted)]
        if meant:
            yield from _infos(session, Traces(session, meant), query, labels, home)


def _is_meant(query: Query, info: Row, labels: Mapping[str, str], deleted: set[str]) -> bool:
    number, started = str(info["experiment_id"]), moment(info["timestamp_ms"])
    return (
        (not query.projects or labels.get(number, number) in query.projects)
        and (query.include_deleted or number not in deleted)
        and (query.since is None or (started is not None and started >= query.since))
    )


def _infos(
    session: Session, page: Traces, query: Query, labels: Mapping[str, str], home: Path
) -> Iterator[ItemInfo]:
    spans = {trace: rest for trace, *rest in _span_states(session, page.ids)}
    judged: dict[str, list[Any]] = defaultdict(list)
    for trace, *rest in page.judgements():
        judged[trace].append(rest)
    filed = dict(zip(page.infos, files_there(map(page.location, page.infos), home)))
    for trace, info in page.infos.items():
        number, metadata = str(info["experiment_id"]), page.metadata(trace)
        run = metadata.get(trace_fields.SOURCE_RUN)
        if query.run_ids and run not in query.run_ids:
            continue
        ref = ItemRef(KIND, labels.get(number, number), trace)
        state = [
            *(page.row(trace, "").values()),
            spans.get(trace),
            judged[trace],
            filed[trace],
        ]
        content = json.dumps(state, default=str, sort_keys=True)
        yield ItemInfo(
            ref,
            hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16],
            1 + (spans[trace][0] if trace in spans else 0) + len(judged[trace]),
            moment(info["timestamp_ms"]),
            run,
        )


def _span_states(session: Session, ids: str) -> list[tuple[Any, ...]]:
    """Of each trace: how many spans, how many of them ended, first start and last end."""
    if "spans" not in session.tables:
        return []
    return session.fetch(
        "SELECT trace_id, count(*), count(end_time_unix_nano), min(start_time_unix_nano),"
        f" max(end_time_unix_nano) FROM spans WHERE trace_id {IN} GROUP BY trace_id",
        [ids],
    )


def _pages(session: Session, ids: Collection[str] | None) -> Iterator[list[Row]]:
    """Rows of `trace_info`, some thousands at a time."""
    if ids is not None:
        some = sorted(ids)
        for start in range(0, len(some), PAGE):
            yield _info_rows(
                session, f"WHERE request_id {IN}", [json.dumps(some[start : start + PAGE])]
            )
        return
    last = ""
    rest = f"WHERE request_id > ? ORDER BY request_id LIMIT {PAGE}"
    while page := _info_rows(session, rest, [last]):
        yield page
        last = page[-1]["request_id"]


def _info_rows(session: Session, rest: str, values: Sequence[Any]) -> list[Row]:
    return [dict(zip(INFO, row)) for row in session.select("trace_info", INFO, rest, values)]


def read(session: Session, refs: Sequence[ItemRef], home: Path) -> Iterator[Batch]:
    """The rows of some traces, files last."""
    from trackbridge.columns import batches

    projects = {ref.id: ref.project for ref in refs}
    for page in _pages(session, projects):
        traces = Traces(session, page)
        yield from batches(KIND, [traces.row(t, projects[t]) for t in traces.infos])
        for rows in _spans(session, traces.ids, projects):
            yield from batches("spans", rows)
        judged = [_assessment(dict(zip(ASSESSMENT, row)), projects) for row in traces.judgements()]
        yield from batches("assessments", judged)
        filed = zip(traces.infos, files(map(traces.location, traces.infos), home))
        found = (
            {"project": projects[trace], "kind": KIND, "item_id": trace, "path": path, "size": size}
            for trace, entries in filed
            for path, size, _ in entries
        )
        yield from batches("item_files", found)


def files(locations: Iterable[str | None], home: Path) -> list[list[artifacts.Entry]]:
    """The files at each location, where it is a folder of this machine or behind the server.

    Files in stores of objects stay there, and the items go on referring to them. `IntegrityError`
    where one cannot be read: its item is not whole, which stops no other.
    """
    found = _listings(locations, home)
    for line in (line for _, damage in found for line in damage):
        raise IntegrityError(f"{line}; put a file there that can be read, or take it away")
    return [entries for entries, _ in found]


def files_there(locations: Iterable[str | None], home: Path) -> list[list[Any]]:
    """What is different at each location once its files are; those that cannot be read too."""
    return [[*entries, *damage] for entries, damage in _listings(locations, home)]


def _listings(
    locations: Iterable[str | None], home: Path
) -> list[tuple[list[artifacts.Entry], list[str]]]:
    """The files at each location, and what cannot be read of them."""
    groups: list[list[storage.Wanted]] = []
    for location in locations:
        found = None if storage.is_store(location) else storage.find(location, home)
        groups.append([] if found is None else [storage.Wanted(found, [], False)])
    listed = [[e for one in each for e in one.entries] for each in storage.listed(groups)]
    for place in (place for group in groups for place in group if place.damage):
        if isinstance(place.storage, storage.Elsewhere):  # its server refuses the others as well
            raise ConfigError(f"files of traces and models cannot be listed: {place.damage[0]}")
    damage = [[line for place in group for line in place.damage] for group in groups]
    return list(zip(listed, damage))


def _spans(session: Session, ids: str, projects: Mapping[str, str]) -> Iterator[list[Row]]:
    trace, span = "", ""
    order = (
        f"WHERE trace_id {IN} AND (trace_id > ? OR (trace_id = ? AND span_id > ?))"
        f" ORDER BY trace_id, span_id LIMIT {PAGE}"
    )
    while found := session.select("spans", SPAN, order, [ids, trace, trace, span]):
        natives = [dict(zip(SPAN, row)) for row in found]
        trace, span = natives[-1]["trace_id"], natives[-1]["span_id"]
        measured = _span_metrics(session, natives)
        yield [_span(n, projects, measured[n["trace_id"], n["span_id"]]) for n in natives]


def _span_metrics(
    session: Session, spans: Sequence[Row]
) -> defaultdict[tuple[str, str], dict[str, Any]]:
    found: defaultdict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    traces = json.dumps(sorted({span["trace_id"] for span in spans}))
    names = json.dumps(sorted({span["span_id"] for span in spans}))
    columns = ["trace_id", "span_id", "key", "value"]
    where = f"WHERE trace_id {IN} AND span_id {IN}"
    for trace, span, key, value in session.select("span_metrics", columns, where, [traces, names]):
        found[trace, span][key] = value
    return found


def _span(native: Row, projects: Mapping[str, str], measured: dict[str, Any]) -> Row:
    dimensions = native["dimension_attributes"]
    told = dimensions if isinstance(dimensions, dict) else unpacked(dimensions)
    more = {
        "start_ns": native["start_time_unix_nano"],
        "end_ns": native["end_time_unix_nano"],
        "model_name": native["model_name"] or told.get(trace_fields.MODEL),
        "model_provider": native["model_provider"] or told.get(trace_fields.PROVIDER),
    }
    for name in trace_fields.COST_COLUMNS:
        more[name] = measured.pop(name, None) if native[name] is None else native[name]
    more["metrics"] = measured or None
    return {
        "project": projects[native["trace_id"]],
        "trace_id": native["trace_id"],
        "span_id": native["span_id"],
        "parent_id": native["parent_span_id"],
        "name": text(native["name"], "", []),
        "kind": native["type"],
        "status": native["status"],
        "started": _microseconds(native["start_time_unix_nano"]),
        "ended": _microseconds(native["end_time_unix_nano"]),
        "payload": text(native["content"], "", []),
        "extra": packed({name: value for name, value in more.items() if value is not None}),
    }


def _microseconds(nanoseconds: int | None) -> int | None:
    """A time as the run model has it; null where no calendar has it."""
    if nanoseconds is None:
        return None
    milliseconds, rest = divmod(nanoseconds // 1000, 1000)
    whole = micros(milliseconds, "", [])
    return None if whole is None else whole + rest


def _assessment(native: Row, projects: Mapping[str, str]) -> Row:
    more = {name: native[name] for name in JUDGED} | {"metadata": native["assessment_metadata"]}
    more["valid"] = None if more["valid"] else False
    return {
        "project": projects[native["trace_id"]],
        "trace_id": native["trace_id"],
        "assessment_id": native["assessment_id"],
        "span_id": native["span_id"],
        "name": native["name"],
        "kind": native["assessment_type"],
        "value": text(native["value"], "", []),
        "created": micros(native["created_timestamp"], "", []),
        "updated": micros(native["last_updated_timestamp"], "", []),
        "extra": packed({name: value for name, value in more.items() if value is not None}),
    }
