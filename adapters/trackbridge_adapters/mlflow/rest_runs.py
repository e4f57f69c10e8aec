"""Runs written over REST: made, filled, shown, and those that they replace put away."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from trackbridge.adapter import Row, RunKey, RunRef
from trackbridge.errors import BridgeError, IntegrityError, NotFoundError, TransientError
from trackbridge_adapters.mlflow import artifacts, chunk, models, rest_models
from trackbridge_adapters.mlflow.entities import (
    ABANDONED_TAG,
    CONTEXT,
    KEY_TAG,
    PARENT,
    PENDING_TAG,
    RUN_NAME,
    milliseconds,
    unpacked,
)
from trackbridge_adapters.mlflow.rest_files import Place, is_model_file, renamed, whole
from trackbridge_adapters.mlflow.rest_ids import (
    ID_TAG,
    REPLACES_TAG,
    Experiments,
    Ids,
    Run,
    reference,
)
from trackbridge_adapters.mlflow.rest_list import made
from trackbridge_adapters.mlflow.rest_log import Log, pairs
from trackbridge_adapters.mlflow.rest_server import WRITING, Json, Server, each
from trackbridge_adapters.mlflow.rest_spool import Spool, Waiting

DATASETS = 100
"""Datasets in one request."""
TAKEN = "another Trackbridge writes the same runs and has put ours away; they are written anew"
done = partial(each, threads=WRITING)


class Writing:
    """The runs of a chunk on their way: none of them counts before `show`."""

    def __init__(
        self,
        server: Server,
        ids: Ids,
        keys: Mapping[RunRef, RunKey],
        spool: Spool,
        experiments: Experiments,
    ) -> None:
        self._server, self._ids, self._keys, self._spool = server, ids, keys, spool
        self._experiments = experiments
        self._by_run: dict[str, dict[RunRef, list[Row]]] = {
            table: _by_run(spool.rows[table]) for table in ("params", "tags", "inputs", "artifacts")
        }
        self._runs: dict[RunRef, Run] = {}
        self._natives: dict[str, str] = {}
        self._models: dict[tuple[RunRef, str], Json] = {}
        self._model_ids: dict[str, str] = {}

    def write(self, numbers: Mapping[str, str], old: Mapping[RunRef, Sequence[Run]]) -> None:
        """Make the runs in the experiments of `numbers`, and give them all they have."""
        rows = chunk.by_run(self._server.name, self._spool.rows["runs"], self._keys)
        create = (
            (ref, row, numbers[ref.project], [run.native_id for run in old[ref]])
            for ref, row in rows.items()
        )
        for ref, run in done(lambda one: (one[0], self._create(*one)), create):
            self._runs[ref], self._natives[ref.run_id] = run, run.native_id
        self._check_owners()
        self._find_parents()
        for _ in done(self._fill, rows):
            pass
        natives = {ref: run.native_id for ref, run in self._runs.items()}
        Log(self._server, natives).send(self._spool.points())
        for _ in done(self._send, self._last(self._spool.files)):
            pass
        for _ in done(lambda ref: self._finish(ref, rows[ref]), rows):
            pass

    def show(self, old: Mapping[RunRef, Sequence[Run]]) -> None:
        """Make the runs count; what they replace is put away."""
        for _ in done(self._show, self._spool.rows["runs"]):
            pass
        every = [run for runs in old.values() for run in runs]
        for _ in done(self._put_away_leftover, [run for run in every if run.is_hidden]):
            pass
        replaced = [run for run in every if not run.is_hidden]
        gone = {run.native_id for run in replaced}
        for _ in done(lambda ref: self._agree(ref, gone), list(self._runs)):
            pass
        for ref, run in self._runs.items():
            self._ids.note(ref.run_id, run.native_id)
        for _ in done(self._put_away, replaced):
            pass

    def are_taken(self) -> bool:
        """Whether another process took one of these for a leftover, and put it away."""
        with suppress(BridgeError):
            return any(map(self._is_taken, self._runs.values()))
        return False

    def give_up(self) -> None:
        """Leave nothing that counts of what was written."""
        for run in self._runs.values():
            with suppress(BridgeError):  # it does not count anyway; the next call tidies up
                self._put_away(run)

    def adopt(self, old: Mapping[RunRef, Sequence[Run]]) -> None:
        """Runs that name one of these as their parent by another id get the one on the server."""
        numbers = [row["experiment_id"] for row in self._experiments.rows]
        wanted = [
            (name, run.native_id)
            for ref, run in self._runs.items()
            for name in {ref.run_id, *(each.native_id for each in old[ref])} - {run.native_id}
        ]
        for _ in done(lambda pair: self._adopt(numbers, *pair), wanted):
            pass

    def _create(self, ref: RunRef, row: Row, number: str, old: Sequence[str]) -> Run:
        key = str(self._keys[ref])
        tags = {KEY_TAG: key, ID_TAG: ref.run_id, PENDING_TAG: key}
        if old:
            tags[REPLACES_TAG] = " ".join(old)
        body = {
            "experiment_id": number,
            "user_id": row["user"] or "",
            "start_time": milliseconds(row["started"]) or 0,
            "run_name": row["name"],
            "tags": [{"key": name, "value": value} for name, value in tags.items()],
        }
        run = Run(self._server.create("mlflow/runs/create", body)["run"])
        self._runs[ref] = run
        return run

    def _fill(self, ref: RunRef) -> None:
        """Params, tags, datasets and models of a run."""
        run = self._runs[ref]
        params = {row["key"]: row["value"] or "" for row in self._by_run["params"].get(ref, ())}
        tags = {
            row["key"]: self._told(ref, row["key"], row["value"] or "")
            for row in self._by_run["tags"].get(ref, ())
            if row["key"] != RUN_NAME  # the server made it of the name; four sessions would nest
        }
        pairs(self._server, run.native_id, params, tags)
        datasets = [_dataset(row) for row in self._by_run["inputs"].get(ref, ())]
        for start in range(0, len(datasets), DATASETS):
            some = datasets[start : start + DATASETS]
            body = {"run_id": run.native_id, "datasets": some}
            self._server.post("mlflow/runs/log-inputs", body)
        for row in self._by_run["artifacts"].get(ref, ()):
            if models.is_made(row):
                number = run.info["experiment_id"]
                model = rest_models.create(self._server, row, run.native_id, number)
                self._models[ref, rest_models.owner(row)] = model
                self._model_ids[row["version"]] = model["info"]["model_id"]

    def _told(self, ref: RunRef, name: str, value: str) -> str:
        """The value of a tag with the server's ids of runs in the place of ours."""
        if name == PARENT and value:
            return self._natives.get(value, value)
        if reference(name):
            return value.replace(ref.run_id, self._runs[ref].native_id)
        return value

    def _find_parents(self) -> None:
        """Learn the ids on the server of parents that are there already."""
        rows = self._spool.rows["tags"]
        named = {row["value"] for row in rows if row["key"] == PARENT and row["value"]}
        parents = sorted(named - self._natives.keys())
        for name, run in zip(parents, self._ids.find(parents, self._experiments)):
            if run is not None:
                self._natives[name] = run.native_id

    def _check_owners(self) -> None:
        owners = {
            (ref, rest_models.owner(row))
            for ref, rows in self._by_run["artifacts"].items()
            for row in rows
            if models.is_made(row)
        }
        for waiting in self._spool.files:
            ref, owner, _ = waiting.file
            if ref in self._keys and owner and (ref, owner) not in owners:
                raise IntegrityError(
                    f"run {ref.run_id}: files of {owner!r}, which is no model of the run"
                )

    def _last(self, files: Iterable[Waiting]) -> list[Waiting]:
        """Of files of the same name the last; not those of the store."""
        last = {waiting.file: waiting for waiting in files if waiting.file.run in self._keys}
        return list(last.values())

    def _send(self, waiting: Waiting) -> None:
        ref, owner, path = waiting.file
        run = self._runs[ref]
        info = self._models[ref, owner]["info"] if owner else run.info
        place = Place(self._server, info.get("artifact_uri"), run.native_id).repository()
        with waiting.copy.open("rb") as data:
            if is_model_file(path):
                content = whole(data, path)
                place.put(path, io.BytesIO(renamed(content, self._names(ref))))
            else:
                place.put(path, data)
        smaller = None if owner else artifacts.thumbnail(path)
        if smaller is not None:
            with waiting.copy.open("rb") as data:
                place.put(smaller, data)
        waiting.copy.unlink()

    def _names(self, ref: RunRef) -> dict[str, str]:
        """Ids among us -> on the server, of a run and its models."""
        names = {ref.run_id: self._runs[ref].native_id}
        for row in self._by_run["artifacts"].get(ref, ()):
            if row["version"] in self._model_ids:
                names[row["version"]] = self._model_ids[row["version"]]
        return names

    def _finish(self, ref: RunRef, row: Row) -> None:
        """What has to come after the points: metrics of models, their edges, state and end."""
        run = self._runs[ref]
        rows = self._by_run["artifacts"].get(ref, ())
        for each_row in rows:
            if models.is_made(each_row):
                native_id = self._model_ids[each_row["version"]]
                rest_models.finish(self._server, each_row, run.native_id, native_id)
        known = self._model_ids
        rest_models.connect(self._server, rows, run.native_id, lambda name: known.get(name, name))
        body: Json = {"run_id": run.native_id}
        if row["status"]:
            body["status"] = row["status"].upper()
        if row["ended"] is not None:
            body["end_time"] = milliseconds(row["ended"])
        self._server.post("mlflow/runs/update", body)

    def _show(self, row: Row) -> None:
        run = self._runs[RunRef(row["project"], row["run_id"])]
        body = {"run_id": run.native_id, "key": PENDING_TAG}
        try:
            self._server.post("mlflow/runs/delete-tag", body)
        except (IntegrityError, NotFoundError):
            if not self._is_taken(run):
                raise
            return  # `_agree` looks for the one that counts
        if row["deleted"]:
            self._server.post("mlflow/runs/delete", {"run_id": run.native_id})

    def _agree(self, ref: RunRef, gone: Collection[str]) -> None:
        """Of a run that two processes have brought at once, both keep the same one."""
        found = self._ids.every(ref.run_id, self._experiments)
        shown = [run for run in found if not run.is_hidden and run.native_id not in gone]
        if not shown:
            raise TransientError(f"{self._server.name}: {TAKEN} (run {ref.run_id})")
        first, *others = sorted(shown, key=lambda run: run.native_id)  # as `counting` has it
        self._runs[ref] = first
        for run in others:
            with suppress(BridgeError):  # the other process does it too
                self._put_away(run)

    def _put_away_leftover(self, run: Run) -> None:
        """The same where it still is one: who wrote it may have been alive, and have shown it."""
        now = self._ids.get(run.native_id)
        if now is not None and PENDING_TAG in now.tags:
            self._put_away(now)

    def _is_taken(self, run: Run) -> bool:
        now = self._ids.get(run.native_id)
        return now is None or ABANDONED_TAG in now.tags

    def _put_away(self, run: Run) -> None:
        """Strip a run of what makes it ours, and delete it and its files: nothing can purge it."""
        server, native_id = self._server, run.native_id
        if run.is_deleted:
            server.post("mlflow/runs/restore", {"run_id": native_id})
        tag = {"run_id": native_id, "key": ABANDONED_TAG, "value": run.id}
        server.post("mlflow/runs/set-tag", tag)
        for name in (KEY_TAG, ID_TAG, REPLACES_TAG, PENDING_TAG):
            if name in run.tags:
                with suppress(IntegrityError):  # it was gone before
                    server.post("mlflow/runs/delete-tag", {"run_id": native_id, "key": name})
        number = run.info["experiment_id"]
        found = made(server, [number], f"source_run_id = '{native_id}'")[native_id]
        for model in found:
            _delete_files(Place(server, model["info"].get("artifact_uri"), native_id))
            name = model["info"]["model_id"]
            server.post(f"mlflow/logged-models/{name}", {}, "DELETE")
        server.post("mlflow/runs/delete", {"run_id": native_id})
        _delete_files(Place(server, run.info.get("artifact_uri"), native_id))

    def _adopt(self, numbers: Sequence[str], name: str, native_id: str) -> None:
        for page in self._ids.search(numbers, f"tags.`{PARENT}` = '{name}'"):
            for child in page:
                if child.is_deleted:
                    if ABANDONED_TAG in child.tags:
                        continue
                    self._server.post("mlflow/runs/restore", {"run_id": child.native_id})
                tag = {"run_id": child.native_id, "key": PARENT, "value": native_id}
                self._server.post("mlflow/runs/set-tag", tag)
                if child.is_deleted:
                    self._server.post("mlflow/runs/delete", {"run_id": child.native_id})


def _by_run(rows: Iterable[Row]) -> dict[RunRef, list[Row]]:
    found: dict[RunRef, list[Row]] = defaultdict(list)
    for row in rows:
        found[RunRef(row["project"], row["run_id"])].append(row)
    return found


def _dataset(row: Row) -> Json:
    tags = unpacked(row["extra"])
    if row["context"] is not None:
        tags[CONTEXT] = row["context"]
    dataset = {
        "name": row["name"],
        "digest": row["digest"],
        "source_type": row["kind"],
        "source": row["source"],
    }
    dataset.update({name: row[name] for name in ("schema", "profile") if row[name] is not None})
    return {"tags": [{"key": k, "value": v} for k, v in tags.items()], "dataset": dataset}


def _delete_files(place: Place) -> None:
    with suppress(BridgeError):  # they are nobody's, and only take space
        place.repository().delete()
