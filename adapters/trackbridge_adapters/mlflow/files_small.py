"""The small files of a file store: meta.yaml, and folders with a file for each tag or param."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from trackbridge.fit_paths import Paths
from trackbridge.fit_text import fit_name
from trackbridge_adapters.mlflow.capabilities import FILES
from trackbridge_adapters.mlflow.entities import ODD_TAG
from trackbridge_adapters.mlflow.folders import META

Dumper: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def write_meta(folder: Path, values: Mapping[str, Any]) -> None:
    """A meta.yaml as MLflow writes it (utils/yaml_utils.py, 3.17), in a folder that is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / META).write_bytes(yaml_of(values))


def yaml_of(values: Mapping[str, Any]) -> bytes:
    """A mapping as YAML; what is not ASCII is escaped where it could not be read again as it is."""
    content: str = yaml.dump(
        dict(values), Dumper=Dumper, default_flow_style=False, allow_unicode=_is_plain(values)
    )
    return content.encode()


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(key) and _is_plain(inner) for key, inner in value.items())
    return not isinstance(value, str) or value.isascii() or value.isprintable()


def write_values(folder: Path, values: Mapping[str, str | None]) -> None:
    """A file for each value; names have forward slashes, and fit in the limits of tags."""
    made: set[Path] = set()
    for name, value in values.items():
        path = folder / name
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        path.write_bytes((value or "").encode())


def as_files(tags: Mapping[str, str | None]) -> dict[str, str | None]:
    """Tags with those that cannot be files in one that can."""
    paths, limits = Paths(FILES.names["params"]), FILES.names["params"]
    plain: dict[str, str | None] = {
        name: value
        for name, value in sorted(tags.items())
        if value is not None and name == fit_name(name, limits) == paths.place(name)
    }
    odd = {name: value for name, value in tags.items() if name not in plain}
    return {**plain, ODD_TAG: json.dumps(odd, sort_keys=True)} if odd else plain
