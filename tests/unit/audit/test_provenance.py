"""What is said of where results come from, as others read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from prov.model import ProvActivity, ProvAssociation, ProvDocument, ProvGeneration, ProvUsage
from rocrate.rocrate import ROCrate
from unit.archive.archives import runs, write, writer
from unit.audit.sealed import sealed

from trackbridge.audit.keys import Key
from trackbridge.cli import main
from trackbridge.testing import samples
from trackbridge.testing.made import store


@pytest.fixture
def place(tmp_path: Path, key: Key) -> Path:
    place = tmp_path / "archive"
    [one, other] = runs("ab")
    one.tables["runs"][0] |= {"user": "größe", "program": "train.py", "git_commit": "abc"}
    one.tables["inputs"] = [{"name": "cifar", "digest": "d1", "kind": "dataset"}]
    one.tables["artifacts"] = [{"collection": "model", "version": "v0", "direction": "logged"}]
    one.add_file("model:v0", "weights.bin", b"weights")
    other.tables["artifacts"] = [{"collection": "model", "version": "v0", "direction": "used"}]
    other.add_file("model:v0", "weights.bin", b"weights")
    other.tables["runs"][0] |= {"parent_run_id": "a", "status": "failed"}
    write(place, [one, other])
    store(writer(place), [samples.everything()])
    sealed(place, key)
    return place


def metadata(place: Path) -> dict[str, Any]:
    document = json.loads((place / "data" / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    entities = {entity["@id"]: entity for entity in document["@graph"]}
    assert len(entities) == len(document["@graph"]), "an entity is there twice"
    return entities


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["@id"]] if set(value) == {"@id"} else []
        return own + [ref for inner in value.values() for ref in references(inner)]
    return [ref for inner in value for ref in references(inner)] if isinstance(value, list) else []


def test_every_run_is_an_action_for_those_who_read_crates(place: Path) -> None:
    crate = ROCrate(place / "data")
    actions = {action["identifier"]: action for action in crate.get_by_type("CreateAction")}
    assert {"a", "b"} <= set(actions) and len(actions) == 3
    one, other = actions["a"], actions["b"]
    assert one["agent"]["name"] == "größe"
    assert (one["instrument"]["name"], one["instrument"]["version"]) == ("train.py", "abc")
    assert {each["name"] for each in one["object"]} == {"note", "cifar"}
    assert {each["name"] for each in one["result"]} == {"a.txt", "weights.bin"}
    weights = {each["name"]: each.id for each in one["result"]}["weights.bin"]
    assert (place / "data" / weights).read_bytes() == b"weights"
    assert weights in {each.id for each in other["object"]}
    assert other["actionStatus"] == "http://schema.org/FailedActionStatus"
    assert crate.root_dataset["conformsTo"].id.endswith("/process/0.5")


def test_what_is_referred_to_is_there(place: Path) -> None:
    found = metadata(place)
    known = {"https://w3id.org/ro/crate/1.2"}
    outside = {
        ref for ref in references(list(found.values())) if ref.startswith("http://schema.org")
    }
    assert set(references(list(found.values()))) <= found.keys() | known | outside
    files = [
        e for e in found.values() if e["@type"] in ("File", "Dataset") and "://" not in e["@id"]
    ]
    assert all((place / "data" / each["@id"]).exists() for each in files)


def test_provenance_is_what_the_library_for_it_reads(place: Path, tmp_path: Path) -> None:
    said = CliRunner().invoke(main, ["audit", "prov", f"archive:{place}"])
    assert said.exit_code == 0
    document = ProvDocument.deserialize(content=said.stdout)
    assert len(list(document.get_records(ProvActivity))) == 3
    assert len(list(document.get_records(ProvAssociation))) >= 1
    made = {str(record.args[0]) for record in document.get_records(ProvGeneration)}
    used = {str(record.args[1]) for record in document.get_records(ProvUsage)}
    assert any(name.startswith("content:") for name in made & used), "what one made another used"


def test_a_parameter_says_nothing_of_the_run_itself(tmp_path: Path) -> None:
    [run] = runs("a")
    run.tables["runs"][0] |= {"status": "finished"}
    run.tables["params"] = [
        {"key": "status", "value": '"mine"', "type": "string"},
        {"key": "empty", "value": "", "type": "string"},
        {"key": "none", "value": None, "type": "null"},
    ]
    write(tmp_path / "one", [run])
    said = CliRunner().invoke(main, ["audit", "prov", f"archive:{tmp_path}/one"])
    [activity] = json.loads(said.stdout)["activity"].values()
    assert activity["tb:status"] == "finished"
    params = {name: value for name, value in activity.items() if name.startswith("param:")}
    assert params == {"param:status": '"mine"', "param:empty": "", "param:none": "null"}
    assert ProvDocument.deserialize(content=said.stdout)
