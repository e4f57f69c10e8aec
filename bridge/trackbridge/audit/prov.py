"""The provenance of runs as W3C PROV, in PROV-JSON (https://www.w3.org/submissions/prov-json/)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import IO, Any
from urllib.parse import quote

from trackbridge.adapter import Reader, Row
from trackbridge.audit.provenance import Provenance, iso, provenance, without_nothing

PREFIXES = {
    "run": "urn:trackbridge:run:",
    "agent": "urn:trackbridge:user:",
    "program": "urn:trackbridge:program:",
    "file": "urn:trackbridge:file:",
    "content": "urn:hash::sha256:",
    "input": "urn:trackbridge:input:",
    "param": "urn:trackbridge:param:",
    "tb": "urn:trackbridge:term:",
}
KINDS = (
    "entity",
    "activity",
    "agent",
    "used",
    "wasGeneratedBy",
    "wasAssociatedWith",
    "wasInformedBy",
)


def write(reader: Reader, out: IO[str]) -> None:
    """Write the provenance of every run of a store."""
    document: dict[str, dict[str, Any]] = {"prefix": PREFIXES, **{kind: {} for kind in KINDS}}
    for run in provenance(reader):
        for kind, name, what in _said(run):
            document[kind][name] = what
    json.dump({kind: said for kind, said in document.items() if said}, out, ensure_ascii=False)
    out.write("\n")


def _said(run: Provenance) -> Iterator[tuple[str, str, dict[str, Any]]]:
    row = run.run
    name = _name("run", row["project"], row["run_id"])
    params = {
        f"param:{quote(p['key'], safe='')}": "null" if p["value"] is None else p["value"]
        for p in run.params
    }
    times = {"prov:startTime": iso(row["started"]), "prov:endTime": iso(row["ended"])}
    own = {"prov:label": row["name"] or row["run_id"], "tb:status": row["status"]}
    yield "activity", name, {**without_nothing({**times, **own}), **params}
    if row["user"]:
        agent = _name("agent", row["user"])
        yield "agent", agent, {"prov:type": "prov:Person", "prov:label": row["user"]}
        yield from _relation("wasAssociatedWith", activity=name, agent=agent)
    if row["program"]:
        program = _name("program", row["git_commit"] or "", row["program"])
        what = {"prov:label": row["program"], "tb:repository": row["git_remote"]}
        yield "entity", program, without_nothing(what)
        yield from _relation("used", activity=name, entity=program)
    if row["parent_run_id"]:
        parent = _name("run", row["project"], row["parent_run_id"])
        yield from _relation("wasInformedBy", informed=name, informant=parent)
    for number, each in enumerate(run.inputs):
        entity = _name("input", row["project"], row["run_id"], str(number))
        what = {"prov:label": each["name"], "tb:digest": each["digest"], "tb:at": each["source"]}
        yield "entity", entity, without_nothing(what)
        yield from _relation("used", activity=name, entity=entity)
    for relation, files in (("used", run.used()), ("wasGeneratedBy", run.made())):
        for entity, what in _files(row, files):
            yield "entity", entity, what
            yield from _relation(relation, activity=name, entity=entity)


def _files(run: Row, files: Iterable[Row]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Files by their bytes, so that what one run made and another used is one entity."""
    for file in files:
        own = _name("file", run["project"], run["run_id"], file["owner"], file["path"])
        name = f"content:{file['sha256']}" if file["sha256"] else own
        what = {"prov:label": file["path"], "tb:at": file["reference"], "tb:size": file["size"]}
        yield name, without_nothing(what)


def _relation(kind: str, **ends: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    name = "_:" + quote(" ".join((kind, *ends.values())), safe="")
    yield kind, name, {f"prov:{end}": what for end, what in ends.items()}


def _name(prefix: str, *parts: str) -> str:
    return f"{prefix}:" + "/".join(quote(part, safe="") for part in parts)
