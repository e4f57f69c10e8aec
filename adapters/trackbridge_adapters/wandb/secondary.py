"""What the files beside a `.wandb` file say of a run, for what no record has."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trackbridge.adapter import Row
from trackbridge_adapters.wandb import jsontext
from trackbridge_adapters.wandb.facts import Facts
from trackbridge_adapters.wandb.jsontext import Tree
from trackbridge_adapters.wandb.runfiles import RunFile

CONFIG, METADATA, SUMMARY = "config.yaml", "wandb-metadata.json", "wandb-summary.json"


@dataclass
class Told:
    """Columns of `runs`, and trees as the records have them."""

    run: Row = field(default_factory=dict)
    config: Tree = field(default_factory=dict)
    summary: Tree = field(default_factory=dict)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML in which 1e-05 is a number, as it was for the Go library that wrote it."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def read(files: list[RunFile], damage: list[str]) -> Told:
    """What the files of a run say; what cannot be read is damage."""
    told = Told()
    for name, take in ((CONFIG, _config), (METADATA, _metadata), (SUMMARY, _summary)):
        place = next((file.place for file in files if file.path == name), None)
        if place is None:
            continue
        try:
            take(place, told)
        except (ValueError, yaml.YAMLError, AttributeError) as error:
            reason = str(error).splitlines()[0]
            damage.append(f"files/{name}: {reason}")
    return told


def complete(facts: Facts, told: Told) -> None:
    """Adds to the facts what was told of entries that no record has named."""
    for key, node in told.config.items():
        facts.config.setdefault(key, node)
    for key, node in told.summary.items():
        if key not in facts.removed:
            facts.summary.setdefault(key, node)


def _config(place: Path, told: Told) -> None:
    document = yaml.load(place.read_text("utf-8"), _Loader)
    for key, entry in (document or {}).items():
        if key != "wandb_version":
            value = entry["value"] if isinstance(entry, dict) and "value" in entry else entry
            told.config[str(key)] = jsontext.parse(json.dumps(value, default=str))


def _summary(place: Path, told: Told) -> None:
    node = jsontext.parse(place.read_text("utf-8").strip() or "{}")
    if isinstance(node, dict):
        told.summary = node


def _metadata(place: Path, told: Told) -> None:
    document: dict[str, Any] = jsontext.load(place.read_text("utf-8"))
    git = document.get("git") or {}
    texts = {
        "user": document.get("username"),
        "program": document.get("program"),
        "host": document.get("host"),
        "python": document.get("python"),
        "git_remote": git.get("remote"),
        "git_commit": git.get("commit"),
    }
    told.run = {name: text for name, text in texts.items() if isinstance(text, str) and text}
