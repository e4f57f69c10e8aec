"""Evaluation datasets and scorers of a database of MLflow's, read and written."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from trackbridge.adapter import ItemRef, Query, Row
from trackbridge.optional import ItemInfo
from trackbridge.times import EPOCH
from trackbridge_adapters.mlflow.entities import (
    WORKSPACE,
    micros,
    milliseconds,
    native_tags,
    packed,
    text,
    unpacked,
)
from trackbridge_adapters.mlflow.session import IN, Session
from trackbridge_adapters.mlflow.sql_list import experiments

if TYPE_CHECKING:
    from trackbridge.adapter import Batch
    from trackbridge_adapters.mlflow.experiments import Experiments
    from trackbridge_adapters.mlflow.session import Transaction

PAGE = 1000
"""Records, or versions, that are in memory at a time."""

NAMED = ("workspace", "schema", "profile", "digest", "created_by", "last_updated_by")
DATASET = ("dataset_id", "name", "created_time", "last_update_time", *NAMED)
JSONS = ("inputs", "outputs", "expectations", "tags", "source")
RECORDED = ("source_id", "source_type", "created_by", "last_updated_by", "input_hash")
RECORD = (
    "dataset_record_id",
    "dataset_id",
    "created_time",
    "last_update_time",
    *JSONS,
    *RECORDED,
)
LINK = ("source_id", "destination_id", "created_time", "association_id")
LINKS = (
    "WHERE source_type = 'evaluation_dataset' AND destination_type = 'experiment'"
    f" AND source_id {IN}"
)


def datasets(session: Session, query: Query, ids: Collection[str] | None) -> Iterator[ItemInfo]:
    """The datasets that are used in an experiment that the query means; without one, all."""
    if query.run_ids:
        return
    labels, deleted = experiments(session)
    gone = {labels[number] for number in deleted}
    found = session.select("evaluation_datasets", ["dataset_id"], "ORDER BY 1")
    wanted = [name for (name,) in found]
    if ids is not None:
        wanted = sorted(set(wanted) & set(ids))
    records = _states(session, "evaluation_dataset_records", "last_update_time")
    for row in _datasets(session, wanted, labels):
        name, used = row["dataset_id"], set(json.loads(row["projects"]))
        if query.projects and not used & set(query.projects):
            continue
        if not query.include_deleted and used and not used - gone:
            continue
        if _is_new(query, row["created"]):
            yield _info("evaluation_datasets", "", name, [row, records.get(name)], records)


def read_datasets(session: Session, refs: Sequence[ItemRef]) -> Iterator[Batch]:
    """The rows of some datasets."""
    from trackbridge.columns import batches

    labels, _ = experiments(session)
    ids = [ref.id for ref in refs]
    yield from batches("evaluation_datasets", _datasets(session, ids, labels))
    last = ""
    rest = (
        f"WHERE dataset_id {IN} AND dataset_record_id > ? ORDER BY dataset_record_id LIMIT {PAGE}"
    )
    values = json.dumps(ids)
    while found := session.select("evaluation_dataset_records", RECORD, rest, [values, last]):
        yield from batches("evaluation_records", map(_record, found))
        last = found[-1][0]


def scorers(session: Session, query: Query, ids: Collection[str] | None) -> Iterator[ItemInfo]:
    """The scorers of the experiments that a query means."""
    if query.run_ids:
        return
    labels, deleted = experiments(session)
    versions = _states(session, "scorer_versions", "creation_time", "scorer_id")
    wanted = None if ids is None else set(ids)
    columns = ["scorer_id", "experiment_id", "scorer_name"]
    for name, number, words in session.select("scorers", columns, "ORDER BY scorer_id"):
        project = labels.get(str(number), str(number))
        last = versions[name][1] if name in versions else None
        meant = (
            (not query.projects or project in query.projects)
            and (query.include_deleted or str(number) not in deleted)
            and _is_new(query, micros(last, "", []))
        )
        if meant and (wanted is None or name in wanted):
            yield _info("scorers", project, name, [words, versions.get(name)], versions)


def read_scorers(session: Session, refs: Sequence[ItemRef]) -> Iterator[Batch]:
    """The rows of some scorers."""
    from trackbridge.columns import batches

    projects, ids = {ref.id: ref.project for ref in refs}, json.dumps([ref.id for ref in refs])
    where = f"WHERE scorer_id {IN} ORDER BY scorer_id"
    found = session.select("scorers", ["scorer_id", "scorer_name"], where, [ids])
    rows = [{"project": projects[s], "scorer_id": s, "name": name} for s, name in found]
    yield from batches("scorers", rows)
    columns = ["scorer_id", "scorer_version", "creation_time", "serialized_scorer"]
    versions = session.select("scorer_versions", columns, f"{where}, scorer_version", [ids])
    for scorer, version, created, definition in versions:
        row = {"project": projects[scorer], "scorer_id": scorer, "version": version}
        more = {"created": micros(created, "", []), "definition": text(definition, "", [])}
        yield from batches("scorer_versions", [{**row, **more}])


def _info(
    kind: str, project: str, name: str, state: list[Any], counts: Mapping[str, tuple[Any, ...]]
) -> ItemInfo:
    content = json.dumps(state, default=str, sort_keys=True)
    mark = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    rows = counts[name][0] if name in counts else 0
    return ItemInfo(ItemRef(kind, project, name), mark, 1 + rows)


def _is_new(query: Query, micros_since_1970: int | None) -> bool:
    """Whether something that was made at that time is not too old for the query."""
    if query.since is None:
        return True
    since = (query.since - EPOCH) // timedelta(microseconds=1)
    return micros_since_1970 is not None and micros_since_1970 >= since


def _states(
    session: Session, table: str, changed: str, owner: str = "dataset_id"
) -> dict[str, tuple[Any, ...]]:
    """Of each owner: how many rows of a table it has, and when the last one changed."""
    if table not in session.tables:
        return {}
    query = f"SELECT {owner}, count(*), max({changed}) FROM {table} GROUP BY {owner}"
    return {name: tuple(rest) for name, *rest in session.fetch(query)}


def _datasets(session: Session, ids: Sequence[str], labels: Mapping[str, str]) -> Iterator[Row]:
    values = [json.dumps(list(ids))]
    tags: dict[str, dict[str, str | None]] = defaultdict(dict)
    where = f"WHERE dataset_id {IN}"
    for name, key, value in session.select(
        "evaluation_dataset_tags", ["dataset_id", "key", "value"], where, values
    ):
        tags[name][key] = value
    used: dict[str, list[tuple[str, int | None, str]]] = defaultdict(list)
    for name, number, made, link in session.select("entity_associations", LINK, LINKS, values):
        used[name].append((link, made, labels.get(str(number), str(number))))
    for row in session.select("evaluation_datasets", DATASET, f"{where} ORDER BY 1", values):
        native = dict(zip(DATASET, row))
        name = native["dataset_id"]
        more = {n: native[n] for n in NAMED if native[n] is not None}
        if more.get("workspace") == WORKSPACE:
            del more["workspace"]
        links = sorted(used[name])  # by their ids, which are the same in every store
        yield {
            "project": "",
            "dataset_id": name,
            "name": native["name"],
            "projects": json.dumps([project for _, _, project in links], ensure_ascii=False),
            "tags": packed(tags[name]),
            "created": micros(native["created_time"], "", []),
            "updated": micros(native["last_update_time"], "", []),
            "extra": packed(more | ({"links": [link[:2] for link in links]} if links else {})),
        }


def _record(values: Sequence[Any]) -> Row:
    native = dict(zip(RECORD, values))
    more = {name: native[name] for name in RECORDED if native[name] is not None}
    return {
        "project": "",
        "dataset_id": native["dataset_id"],
        "record_id": native["dataset_record_id"],
        **{name: _json(native[name]) for name in JSONS},
        "created": micros(native["created_time"], "", []),
        "updated": micros(native["last_update_time"], "", []),
        "extra": packed(more),
    }


def _json(value: Any) -> str | None:
    """A column of the type JSON, which databases give as text or as what it says."""
    if value is None:
        return None
    told = json.loads(value) if isinstance(value, str) else value
    return json.dumps(told, sort_keys=True, ensure_ascii=False)


class DatasetWriter:
    """Datasets on their way into a transaction; those of the same ids are replaced."""

    kind = "evaluation_datasets"

    def __init__(self, transaction: Transaction, experiments: Experiments) -> None:
        self._transaction, self._experiments = transaction, experiments

    def add(self, table: str, rows: Sequence[Row]) -> None:
        """Rows of one of the tables, those of the datasets first."""
        if table == "evaluation_records":
            self._transaction.insert("evaluation_dataset_records", list(map(_native, rows)))
            return
        transaction, ids = self._transaction, [row["dataset_id"] for row in rows]
        for child in ("evaluation_dataset_records", "evaluation_dataset_tags"):
            transaction.delete(child, "dataset_id", ids)
        rest = "AND source_type = 'evaluation_dataset' AND destination_type = 'experiment'"
        transaction.delete("entity_associations", "source_id", ids, rest)
        transaction.delete("evaluation_datasets", "dataset_id", ids)
        transaction.insert("evaluation_datasets", list(map(_native_dataset, rows)))
        tags = [
            {"dataset_id": row["dataset_id"], "key": key, "value": value}
            for row in rows
            for key, value in native_tags(row["tags"]).items()
        ]
        transaction.insert("evaluation_dataset_tags", tags)
        transaction.insert("entity_associations", [li for row in rows for li in self._links(row)])

    def _links(self, row: Row) -> Iterator[Row]:
        links = unpacked(row["extra"]).get("links", [])
        for project, (number, created) in zip(json.loads(row["projects"] or "[]"), links):
            yield {
                "association_id": number,
                "source_type": "evaluation_dataset",
                "source_id": row["dataset_id"],
                "destination_type": "experiment",
                "destination_id": str(self._experiments.find(project).number),
                "created_time": created,
            }


def _native_dataset(row: Row) -> Row:
    more = unpacked(row["extra"])
    return {
        "dataset_id": row["dataset_id"],
        "name": row["name"],
        "created_time": milliseconds(row["created"]),
        "last_update_time": milliseconds(row["updated"]),
        **{name: more.get(name) for name in NAMED},
        "workspace": more.get("workspace", WORKSPACE),
    }


def _native(row: Row) -> Row:
    more = unpacked(row["extra"])
    return {
        "dataset_record_id": row["record_id"],
        "dataset_id": row["dataset_id"],
        "created_time": milliseconds(row["created"]),
        "last_update_time": milliseconds(row["updated"]),
        **{name: row[name] for name in JSONS},
        **{name: more.get(name) for name in RECORDED},
    }


class ScorerWriter:
    """Scorers on their way into a transaction; those of the same ids are replaced."""

    kind = "scorers"

    def __init__(self, transaction: Transaction, experiments: Experiments) -> None:
        self._transaction, self._experiments = transaction, experiments

    def add(self, table: str, rows: Sequence[Row]) -> None:
        """Rows of one of the tables, those of the scorers first.

        A scorer that is there stays, since others refer to it (online scoring, guardrails).
        """
        transaction, ids = self._transaction, [row["scorer_id"] for row in rows]
        if table == "scorer_versions":
            transaction.insert("scorer_versions", list(map(_native_version, rows)))
            return
        transaction.delete("scorer_versions", "scorer_id", ids)
        where = f"WHERE scorer_id {IN}"
        there = transaction.select("scorers", ["scorer_id"], where, [json.dumps(ids)])
        known = {name for (name,) in there}
        for row in (row for row in rows if row["scorer_id"] in known):
            query = "UPDATE scorers SET scorer_name = ? WHERE scorer_id = ?"
            transaction.execute(query, [row["name"], row["scorer_id"]])
        new = [row for row in rows if row["scorer_id"] not in known]
        natives = [
            {
                "experiment_id": self._experiments.find(row["project"]).number,
                "scorer_name": row["name"],
                "scorer_id": row["scorer_id"],
            }
            for row in new
        ]
        transaction.insert("scorers", natives)


def _native_version(row: Row) -> Row:
    return {
        "scorer_id": row["scorer_id"],
        "scorer_version": row["version"],
        "serialized_scorer": row["definition"],
        "creation_time": milliseconds(row["created"]),
    }
