"""Versions of artifacts as a server tells of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from trackbridge.adapter import Row
from trackbridge.errors import IntegrityError
from trackbridge_adapters.wandb import tables
from trackbridge_adapters.wandb.artifacts import Version, entry_of_json, is_inside
from trackbridge_adapters.wandb.records import CLASSES
from trackbridge_adapters.wandb.service.canonical import canonical
from trackbridge_adapters.wandb.service.pages import Node


def version_of(node: Node, number: int) -> Version:
    """A version without its entries."""
    sequence = node["artifactSequence"]
    record = CLASSES["ArtifactRecord"](
        name=sequence["name"],
        type=(node["artifactType"] or {}).get("name") or "",
        digest=node["digest"] or "",
        description=node["description"] or "",
        metadata=_metadata(node["metadata"]),
        aliases=sorted(own_aliases(node)),
        tags=[tag["name"] for tag in node["tags"] or ()],
    )
    record.manifest.storage_policy = tables.POLICY["storage_policy"]
    for name, value in tables.POLICY["config"].items():
        record.manifest.storage_policy_config.add(key=name, value_json=json.dumps(value))
    return Version(record, number, [])


def told_version(node: Node, number: int, told: Mapping[str, Any]) -> Version:
    """A version as a run that we wrote logged it: aliases move on from version to version."""
    version = version_of(node, number)
    record = version.record
    record.use_after_commit = told.get("direction") == "used"
    record.digest = ""
    record.metadata = canonical(record.metadata)
    for name in ("description", "metadata"):
        if name in told:  # on the server is another one, which logged the same files before
            setattr(record, name, told[name])
    del record.aliases[:]
    record.aliases.extend(sorted(told.get("aliases", ())))
    return version


def said(node: Node, name: str) -> str:
    """What a version says of itself, its description or metadata."""
    record = version_of(node, 0).record
    return str(canonical(record.metadata) if name == "metadata" else record.description)


def entries_of(manifest: bytes, owner: str, damage: list[str]) -> tuple[list[Any], Node]:
    """The entries of a manifest, and how its files are stored."""
    try:
        document: dict[str, Any] = json.loads(manifest)
        found = [entry_of_json({**e, "path": p}) for p, e in document["contents"].items()]
        config = dict(document.get("storagePolicyConfig") or {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"artifact {owner}: its manifest cannot be read: {error}") from error
    for entry in found:
        if not is_inside(entry.path):
            damage.append(f"artifact {owner}: {entry.path!r} leads out of it")
    return [entry for entry in found if is_inside(entry.path)], config


def artifact_place(node: Node) -> tuple[str, str, str]:
    """Entity, project and collection that a version was logged to."""
    return _place(node["artifactSequence"])


def input_row(node: Node) -> Row:
    """A version that a run used, as a row of `inputs`."""
    *place, collection = artifact_place(node)
    name = f"{collection}:v{node['versionIndex'] or 0}"
    return {
        "name": name,
        "kind": (node["artifactType"] or {}).get("name"),
        "digest": node["digest"],
        "source": "/".join([*place, name]),
        "extra": tables.compact({"id": node["id"]}),
    }


def own_aliases(node: Node) -> Iterator[str]:
    """Of a version in the collection that it was logged to, not those of registries."""
    own = _place(node["artifactSequence"])
    for alias in node["aliases"] or ():
        if _place(alias["artifactCollection"]) == own:
            yield alias["alias"]


def _place(collection: Node) -> tuple[str, str, str]:
    project = collection.get("project") or {}
    entity = (project.get("entity") or {}).get("name", "")
    return entity, project.get("name", ""), collection["name"]


def _metadata(found: Any) -> str:
    """Metadata is a JSON text; some servers give it as the object itself (inferred)."""
    if found in (None, "", "{}", {}):
        return ""
    return found if isinstance(found, str) else json.dumps(found)
