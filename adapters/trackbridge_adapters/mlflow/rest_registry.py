"""Experiments, registered models and their versions, written over REST."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from trackbridge.adapter import Row
from trackbridge.errors import IntegrityError, NotFoundError, UnsupportedError
from trackbridge.times import EPOCH
from trackbridge_adapters.mlflow.entities import (
    NOTE,
    VERSION_TAG,
    native_tags,
    unpacked,
)
from trackbridge_adapters.mlflow.rest_ids import ROW_TAG, Experiments, Ids, is_id, pairs
from trackbridge_adapters.mlflow.rest_server import Json, Server
from trackbridge_adapters.mlflow.rest_shared import (
    NO_STAGE,
    all_models,
    all_versions,
    version_name,
)

REGISTERED = "mlflow.modelVersions"
"""Tag of logged models to which a server adds each version (handlers.py, 3.17)."""
ALIAS = re.compile(r"(?!latest$|v\d+$)[\w\-]{1,255}", re.IGNORECASE)
"""What a server takes as an alias (utils/validation.py, 3.17); others stand in the model's tag."""
NOWHERE = "trackbridge-missing:/"
"""Source of a version whose files did not come: a server takes none that it could not reach."""


class Registry:
    """What belongs to no run, brought up to date row by row; other rows are left alone."""

    def __init__(self, server: Server, ids: Ids, experiments: Experiments) -> None:
        self._server, self._ids, self._experiments = server, ids, experiments
        self._every_model: dict[str, str] | None = None

    def experiment(self, label: str) -> str:
        """The id of the experiment of that label, made if it is not there."""
        found = {name: number for number, name in self._experiments.labels.items()}
        if label not in found:
            try:
                self._server.post("mlflow/experiments/create", {"name": label})
            except IntegrityError as error:  # another process may have made it meanwhile
                self._experiments.reload()
                if label not in self._experiments.labels.values():
                    raise error
            self._experiments.reload()
            found = {name: number for number, name in self._experiments.labels.items()}
            if label not in found:
                raise self._server.odd()
        return found[label]

    def write(self, rows: Mapping[str, Sequence[Row]]) -> None:
        """Give experiments, models and versions the values of their rows."""
        for row in rows.get("projects", ()):
            self._write_project(row)
        models, versions = rows.get("models", ()), rows.get("model_versions", ())
        if models or versions:
            there = {native["name"]: native for native in all_models(self._server)}
            for row in models:
                self._write_model(row, there.get(row["name"]))
            self._write_versions(versions, there.keys() | {row["name"] for row in models})
            for row in models:
                self._write_aliases(row, there.get(row["name"]))

    def _write_project(self, row: Row) -> None:
        number = self.experiment(row["project"])
        native = next(r for r in self._experiments.rows if r["experiment_id"] == number)
        tags = native_tags(row["tags"])
        if row["notes"] is not None:
            tags[NOTE] = row["notes"]
        tags[ROW_TAG] = _hidden(row, "created", "extra")
        place = {"experiment_id": number}
        self._tag("experiments", "set-experiment-tag", "delete-experiment-tag", place, native, tags)

    def _write_model(self, row: Row, native: Json | None) -> None:
        server, name = self._server, row["name"]
        more = {a: v for a, v in unpacked(row["aliases"]).items() if not ALIAS.fullmatch(a)}
        columns = ("created", "updated", "extra", *(("aliases",) if more else ()))
        tags = {**native_tags(row["tags"]), ROW_TAG: _hidden({**row, "aliases": more}, *columns)}
        description = row["description"] or ""
        if native is None:
            listed = [{"key": k, "value": v or ""} for k, v in tags.items()]
            body = {"name": name, "tags": listed, "description": description}
            server.post("mlflow/registered-models/create", body)
            return
        body = {"name": name, "description": description}
        server.post("mlflow/registered-models/update", body, "PATCH")
        self._tag("registered-models", "set-tag", "delete-tag", {"name": name}, native, tags)

    def _write_aliases(self, row: Row, native: Json | None) -> None:
        name, aliases = row["name"], unpacked(row["aliases"])
        wanted = {a: version for a, version in aliases.items() if ALIAS.fullmatch(a)}
        numbers = {
            version_name(v): str(v["version"])
            for v in all_versions(self._server)
            if v["name"] == name
        }
        there = {a["alias"]: a["version"] for a in (native or {}).get("aliases") or ()}
        for alias, version in wanted.items():
            if version in numbers:
                body = {"name": name, "alias": alias, "version": numbers[version]}
                self._server.post("mlflow/registered-models/alias", body)
        for alias in there.keys() - wanted.keys():
            body = {"name": name, "alias": alias}
            self._server.post("mlflow/registered-models/alias", body, "DELETE")

    def _write_versions(self, rows: Sequence[Row], names: set[str]) -> None:
        there: dict[tuple[str, str], list[Json]] = defaultdict(list)
        for native in all_versions(self._server):
            there[native["name"], version_name(native)].append(native)
        for row in sorted(rows, key=lambda row: (row["name"], _order(row["version"]))):
            if row["name"] not in names:
                self._server.post("mlflow/registered-models/create", {"name": row["name"]})
                names.add(row["name"])
            self._write_version(row, there[row["name"], row["version"]])

    def _write_version(self, row: Row, natives: Sequence[Json]) -> None:
        """One of `natives` is brought up to date, or a new one made; others are its past."""
        server, run = self._server, self._run(row["run_id"])
        places = self._places(row, run)
        fitting = [
            native
            for native in natives
            if (native.get("run_id") or None) == run and not _leads_elsewhere(native, places[0])
        ]
        native = max(fitting, key=_number, default=None)
        old = [one for one in natives if one is not native]
        tags = native_tags(row["tags"])
        no_stage = () if row["stage"] else ("stage",)
        tags[ROW_TAG] = _hidden(row, "created", "updated", "user", "status", "extra", *no_stage)
        tags[VERSION_TAG] = row["version"]  # by which one is found whose number was not heard
        if native is None:
            native = self._create_version(row, places, tags)
        place = {"name": row["name"], "version": native["version"]}
        self._tag("model-versions", "set-tag", "delete-tag", place, native, tags)
        if (native.get("description") or None) != row["description"]:
            body = {**place, "description": row["description"] or ""}
            server.post("mlflow/model-versions/update", body, "PATCH")
        stage = row["stage"] or NO_STAGE
        if (native.get("current_stage") or NO_STAGE) != stage:
            body = {**place, "stage": stage, "archive_existing_versions": False}
            server.post("mlflow/model-versions/transition-stage", body)
        for one in old:
            self._succeed(one, place)

    def _succeed(self, old: Json, place: Json) -> None:
        """Give another version the aliases of an old one, which goes."""
        gone = {"name": old["name"], "version": old["version"]}
        shown = self._server.get("mlflow/model-versions/get", **gone)["model_version"]
        for alias in shown.get("aliases") or ():
            self._server.post("mlflow/registered-models/alias", {**place, "alias": alias})
        self._server.post("mlflow/model-versions/delete", gone, "DELETE")

    def _create_version(
        self, row: Row, places: Sequence[Mapping[str, str]], tags: Mapping[str, str | None]
    ) -> Json:
        body: Json = {
            "name": row["name"],
            "tags": [{"key": k, "value": v or ""} for k, v in tags.items()],
            **({"description": row["description"]} if row["description"] else {}),
        }
        for place in places:
            before = self._registered(place["model_id"]) if "model_id" in place else None
            try:
                answer = self._server.create("mlflow/model-versions/create", {**body, **place})
            except IntegrityError as error:
                if "source" not in str(error):
                    raise
                refused = error  # a source that this server does not take
                continue
            created: Json = answer["model_version"]
            if "model_id" in place:
                self._restore_tag(place["model_id"], before)
            return created
        raise refused

    def _places(self, row: Row, run: str | None) -> list[dict[str, str]]:
        """Where the files of a version may lie, the best first."""
        source = row["source"] or ""
        of_run = {"run_id": run} if run else {}
        places: list[dict[str, str]] = []
        logged = re.fullmatch(r"models:/(m-[0-9a-f]+)", source)
        if logged:
            native_id = self._model(logged[1], run)
            if native_id:
                places.append({"source": f"models:/{native_id}", "model_id": native_id, **of_run})
        below = re.search(r"/\w+/artifacts(?:\.\d+)?(/.*)?$", source)
        found = self._ids.get(run) if run else None
        if below and found is not None:
            uri = f"{found.info['artifact_uri']}{below[1] or ''}"
            places.append({"source": uri, **of_run})
        if source:
            places.append({"source": source, **of_run})
        places.append({"source": f"{NOWHERE}{row['name']}/{row['version']}", **of_run})
        return places

    def _model(self, name: str, run: str | None) -> str | None:
        """The id on the server of a logged model: one of the version's run, or of any other."""
        from trackbridge_adapters.mlflow.rest_ids import model_id
        from trackbridge_adapters.mlflow.rest_list import made

        numbers = [row["experiment_id"] for row in self._experiments.rows]
        if run is not None and is_id(run):
            for model in made(self._server, numbers, f"source_run_id = '{run}'")[run]:
                if model_id(model) == name:
                    return str(model["info"]["model_id"])
        if self._every_model is None:
            self._every_model = {
                model_id(model): str(model["info"]["model_id"])
                for some in made(self._server, numbers).values()
                for model in some
            }
        return self._every_model.get(name)

    def _registered(self, native_id: str) -> str | None:
        """The tag of a logged model that lists its versions."""
        model = self._server.get(f"mlflow/logged-models/{native_id}")["model"]
        return pairs(model["info"].get("tags")).get(REGISTERED)

    def _restore_tag(self, native_id: str, value: str | None) -> None:
        """The tag as it was brought: the server has just added the new version to it."""
        path = f"mlflow/logged-models/{native_id}/tags"
        if value is None:
            self._server.post(f"{path}/{REGISTERED}", {}, "DELETE")
        else:
            tag = {"key": REGISTERED, "value": value}
            self._server.post(path, {"model_id": native_id, "tags": [tag]}, "PATCH")

    def _run(self, name: str | None) -> str | None:
        """The id on the server of a run; of one that is not there, as it is."""
        if not name:
            return None
        (found,) = self._ids.find([name], self._experiments)
        return name if found is None else found.native_id

    def _tag(
        self,
        kind: str,
        put: str,
        delete: str,
        place: Mapping[str, str],
        native: Json,
        tags: Mapping[str, str | None],
    ) -> None:
        """Make the tags of something those that are given."""
        there = pairs(native.get("tags"))
        for key, value in tags.items():
            if there.get(key) != (value or ""):
                body = {**place, "key": key, "value": value or ""}
                self._server.post(f"mlflow/{kind}/{put}", body)
        method = "POST" if kind == "experiments" else "DELETE"
        for key in there.keys() - tags.keys():
            with suppress(NotFoundError, UnsupportedError):  # before 3.0 experiments keep theirs
                self._server.post(f"mlflow/{kind}/{delete}", {**place, "key": key}, method)


def _hidden(row: Row, *columns: str) -> str:
    """The tag that says what the server sets by itself; times in microseconds."""
    values: dict[str, Any] = {name: row[name] for name in columns}
    for name in ("created", "updated"):
        if values.get(name) is not None:
            age = values[name] - EPOCH
            values[name] = (age.days * 86_400 + age.seconds) * 1_000_000 + age.microseconds
    return json.dumps(values, sort_keys=True, ensure_ascii=False)


def _leads_elsewhere(native: Json, place: Mapping[str, str]) -> bool:
    """Whether a version is not of the logged model that it should be of: that was replaced."""
    return "model_id" in place and native.get("source") != place["source"]


def _number(native: Json) -> int:
    return int(native["version"])


def _order(version: str) -> tuple[int, str]:
    digits = re.fullmatch(r"[vV]?(\d{1,9})", version)
    return (int(digits[1]) if digits else 0, version)
