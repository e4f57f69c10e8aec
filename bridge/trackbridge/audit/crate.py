"""An archive as a Process Run Crate (RO-Crate 1.2): each run with its inputs, outputs and agent.

Sources: https://www.researchobject.org/ro-crate/specification/1.2/ and
https://www.researchobject.org/workflow-run-crate/profiles/process_run_crate/ (0.5).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trackbridge.adapter import Reader, Row
from trackbridge.audit.provenance import Provenance, iso, provenance, without_nothing

CONTEXT = "https://w3id.org/ro/crate/1.2/context"
SPECIFICATION = "https://w3id.org/ro/crate/1.2"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
DESCRIPTOR = "ro-crate-metadata.json"
STATUS = {
    "finished": "CompletedActionStatus",
    "failed": "FailedActionStatus",
    "killed": "FailedActionStatus",
    "crashed": "FailedActionStatus",
    "running": "ActiveActionStatus",
    "scheduled": "PotentialActionStatus",
}
LICENSE = "None is given with these records; they belong to whoever kept them."
Entity = dict[str, Any]


def write(
    reader: Reader, folders: Mapping[str, str], contents: Mapping[str, str], to: Path
) -> None:
    """Write the crate's metadata: one run after the other, so that any number of them fits.

    `folders` says what is in each folder of tables, `contents` where the bytes with a SHA-256 lie;
    paths are below the crate's root. The same records give the same bytes.
    """
    crate = _Crate(contents)
    with to.open("w", encoding="utf-8", newline="\n") as out:
        out.write(f'{{"@context":"{CONTEXT}","@graph":[\n')
        for run in provenance(reader):
            out.write(f"{_text(crate.of(run))},\n")
        out.write(f"{_text([*crate.others(folders), crate.descriptor()])}\n]}}\n")


class _Crate:
    def __init__(self, contents: Mapping[str, str]) -> None:
        self._contents = contents
        self._actions: list[str] = []
        self._agents: dict[str, Entity] = {}
        self._files: dict[str, Entity] = {}
        self._names: dict[str, set[str]] = {}
        self._latest: datetime | None = None

    def of(self, run: Provenance) -> list[Entity]:
        """The action of a run, and what belongs to it alone."""
        row = run.run
        name = _id("run", row["project"], row["run_id"])
        self._actions.append(name)
        for time in (row["started"], row["ended"]):
            if time is not None and (self._latest is None or time > self._latest):
                self._latest = time
        params = [*_values(f"{name}/param", run.params)]
        results = [*_values(f"{name}/summary", run.summary)]
        inputs = [*_inputs(f"{name}/input", run.inputs)]
        status = STATUS.get(row["status"] or "")
        action = without_nothing(
            {
                "@id": name,
                "@type": "CreateAction",
                "name": row["name"] or row["run_id"],
                "identifier": row["run_id"],
                "description": row["notes"] or f"a run of {row['project']}",
                "startTime": iso(row["started"]),
                "endTime": iso(row["ended"]),
                "actionStatus": status and f"http://schema.org/{status}",
                "agent": self._agent(row),
                "instrument": self._instrument(row),
                "object": [*_ids(params), *_ids(inputs), *self._data(run.used())],
                "result": [*self._data(run.made()), *_ids(results)],
            }
        )
        return [*params, *results, *inputs, action]

    def others(self, folders: Mapping[str, str]) -> Iterator[Entity]:
        """What runs have in common, and the root that everything hangs on."""
        yield from self._agents.values()
        for path, entity in sorted(self._files.items()):
            first, *more = sorted(self._names[path])
            yield without_nothing({**entity, "name": first, "alternateName": more})
        for path, what in sorted(folders.items()):
            yield {"@id": path, "@type": "Dataset" if path.endswith("/") else "File", "name": what}
        parts = sorted({*folders, *self._files})
        yield {
            "@id": PROFILE,
            "@type": "CreativeWork",
            "name": "Process Run Crate",
            "version": "0.5",
        }
        yield {
            "@id": "./",
            "@type": "Dataset",
            "name": "Records of experiment tracking",
            "description": "Runs of experiments as they were tracked: tables of all that was "
            "logged, and the files that runs have made and used.",
            "datePublished": iso(self._latest) or "1970-01-01",
            "license": LICENSE,
            "conformsTo": {"@id": PROFILE},
            "hasPart": [{"@id": part} for part in parts],
            "mentions": [{"@id": action} for action in self._actions],
        }

    def descriptor(self) -> Entity:
        return {
            "@id": DESCRIPTOR,
            "@type": "CreativeWork",
            "conformsTo": {"@id": SPECIFICATION},
            "about": {"@id": "./"},
        }

    def _agent(self, row: Row) -> Entity | None:
        if not row["user"]:
            return None
        name = _id("user", row["user"])
        self._agents[name] = {"@id": name, "@type": "Person", "name": row["user"]}
        return {"@id": name}

    def _instrument(self, row: Row) -> Entity:
        """The program; one without a name where nobody has kept which it was."""
        program = row["program"] or "unknown program"
        version = row["git_commit"] or ""
        name = _id("program", row["git_remote"] or "", version, program)
        self._agents[name] = without_nothing(
            {
                "@id": name,
                "@type": "SoftwareApplication",
                "name": program,
                "version": version or None,
                "url": row["git_remote"],
            }
        )
        return {"@id": name}

    def _data(self, files: Iterable[Row]) -> Iterator[Entity]:
        """References to files, each of which becomes an entity once."""
        for file in files:
            place = self._contents.get(file["sha256"] or "") or file["reference"]
            if place is None:
                continue  # listed at the source without bytes
            self._names.setdefault(place, set()).add(file["path"])
            self._files.setdefault(
                place,
                without_nothing(
                    {
                        "@id": place,
                        "@type": "File",
                        "contentSize": None if file["size"] is None else str(file["size"]),
                        "encodingFormat": file["media_type"],
                        "sha256": file["sha256"],
                    }
                ),
            )
            yield {"@id": place}


def _values(prefix: str, rows: Iterable[Row]) -> Iterator[Entity]:
    for row in rows:
        name = f"{prefix}/{_quoted(row['key'])}"
        value = row["value"] if row["value"] is not None else "null"
        yield {"@id": name, "@type": "PropertyValue", "name": row["key"], "value": value}


def _inputs(prefix: str, rows: Iterable[Row]) -> Iterator[Entity]:
    for number, row in enumerate(rows):
        yield without_nothing(
            {
                "@id": f"{prefix}/{number}",
                "@type": "CreativeWork",
                "name": row["name"] or "unnamed",
                "identifier": row["digest"],
                "additionalType": row["kind"],
                "url": row["source"],
            }
        )


def _id(kind: str, *names: str) -> str:
    return f"#{kind}/" + "/".join(map(_quoted, names))


@lru_cache(maxsize=1 << 16)
def _quoted(name: str) -> str:
    return quote(name, safe="")


def _ids(entities: Iterable[Entity]) -> list[Entity]:
    return [{"@id": entity["@id"]} for entity in entities]


def _text(entities: list[Entity]) -> str:
    """Entities of a list, without its brackets; one by one they would take twice as long."""
    return json.dumps(entities, ensure_ascii=False, separators=(",", ":"))[1:-1]
