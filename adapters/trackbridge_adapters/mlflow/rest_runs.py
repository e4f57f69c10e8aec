"""Runs written over REST: made, filled, shown, and those that they replace put away."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

import pyarrow as pa

from trackbridge.adapter import Row, RunKey, RunRef
from trackbridge.errors import BridgeError, IntegrityError, NotFoundError, TransientError
from trackbridge_adapters.mlflow import artifacts, chunk, models, rest_models, rest_resume
from trackbridge_adapters.mlflow.entities import (
    ABANDONED_TAG,
    CONTEXT,
    KEY_TAG,
    PARENT,
    PENDING_TAG,
    RUN_NAME,
    TWINS_TAG,
    milliseconds,
    unpacked,
)
from trackbridge_adapters.mlflow.repository import Repository
from trackbridge_adapters.mlflow.rest_away import put_away
from trackbridge_adapters.mlflow.rest_files import Place, is_model_file, renamed, whole
from trackbridge_adapters.mlflow.rest_ids import (
    ID_TAG,
    OWN_TAGS,
    REPLACES_TAG,
    Experiments,
    Ids,
    Run,
    counting,
    reference,
)
from trackbridge_adapters.mlflow.rest_log import Log, pairs
from trackbridge_adapters.mlflow.rest_resume import Rest
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
        self._rests: dict[RunRef, Rest] = {}
        self._natives: dict[str, str] = {}
        self._models: dict[tuple[RunRef, str], Json] = {}
        self._model_ids: dict[str, str] = {}

    def write(self, numbers: Mapping[str, str], old: Mapping[RunRef, Sequence[Run]]) -> None:
        """Make the runs in the experiments of `numbers`, and give them all they have.

        One that is there and still running is gone on with, where what it has can stay.
        """
        rows = chunk.by_run(self._server.name, self._spool.rows["runs"], self._keys)
        going_on = (
            (ref, rest_resume.goes_on(old[ref], self._ids.gone_on), row, numbers[ref.project])
            for ref, row in rows.items()
        )
        for ref, rest in done(lambda one: (one[0], self._resume(*one)), going_on):
            if rest is not None:
                self._rests[ref], self._runs[ref] = rest, rest.run
                self._natives[ref.run_id] = rest.run.native_id
        create = (
            (ref, row, numbers[ref.project], old[ref])
            for ref, row in rows.items()
            if ref not in self._rests
        )
        for ref, run in done(lambda one: (one[0], self._create(*one)), create):
            self._runs[ref], self._natives[ref.run_id] = run, run.native_id
        self._check_owners()
        self._find_parents()
        for _ in done(self._fill, rows):
            pass
        natives = {ref: run.native_id for ref, run in self._runs.items()}
        Log(self._server, natives).send(self._missing())
        for _ in done(self._send, self._last(self._spool.files)):
            pass
        for _ in done(lambda ref: self._finish(ref, rows[ref]), rows):
            pass

    def show(self, old: Mapping[RunRef, Sequence[Run]]) -> None:
        """Make the runs count; what they replace is put away."""
        for _ in done(self._show, self._spool.rows["runs"]):
            pass
        kept = {rest.run.native_id for rest in self._rests.values()}
        every = [run for runs in old.values() for run in runs if run.native_id not in kept]
        for _ in done(self._put_away_leftover, [run for run in every if run.is_hidden]):
            pass
        replaced = [run for run in every if not run.is_hidden]
        gone = {run.native_id for run in replaced}
        for _ in done(lambda ref: self._agree(ref, gone), list(self._runs)):
            pass
        for ref, run in self._runs.items():
            self._ids.note(ref.run_id, run.native_id)
        for _ in done(lambda run: put_away(self._server, run), replaced):
            pass

    def are_taken(self) -> bool:
        """Whether another process took one of these for a leftover, and put it away."""
        with suppress(BridgeError):
            return any(map(self._is_taken, self._runs.values()))
        return False

    def give_up(self) -> None:
        """Leave nothing that counts of what was written; what goes on still does."""
        for run in [run for ref, run in self._runs.items() if ref not in self._rests]:
            with suppress(BridgeError):  # it does not count anyway; the next call tidies up
                put_away(self._server, run)

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

    def _resume(self, ref: RunRef, old: Run | None, row: Row, number: str) -> Rest | None:
        now = None if old is None else self._ids.get(old.native_id)
        if now is None or rest_resume.goes_on([now], self._ids.gone_on) is None:
            return None
        files = (waiting.file for waiting in self._spool.files)
        paths = {path for run, owner, path in files if run == ref and not owner}
        params = self._params(ref)
        wanted = rest_resume.Wanted(row, number, params, paths, self._spool.hashes(ref))
        found = rest_resume.rest(self._server, ref, now, wanted)
        if found is not None:
            self._ids.gone_on.add(now.native_id)
        return found

    def _missing(self) -> Iterator[tuple[RunRef, pa.RecordBatch]]:
        for ref, data in self._spool.points():
            yield ref, self._rests[ref].missing(data) if ref in self._rests else data

    def _create(self, ref: RunRef, row: Row, number: str, old: Sequence[Run]) -> Run:
        key = str(self._keys[ref])
        tags = {KEY_TAG: key, ID_TAG: ref.run_id, PENDING_TAG: key}
        if old:
            tags[REPLACES_TAG] = " ".join(run.native_id for run in old)
        for run in old:
            if TWINS_TAG in run.tags and run.carried:
                tags[TWINS_TAG] = run.tags[TWINS_TAG]
        made = self._runs[ref] = create(self._server, number, row, tags)
        return made

    def _params(self, ref: RunRef) -> dict[str, str]:
        return {row["key"]: row["value"] or "" for row in self._by_run["params"].get(ref, ())}

    def _fill(self, ref: RunRef) -> None:
        """Params, tags, datasets and models of a run."""
        run = self._runs[ref]
        params = self._params(ref)
        tags = {
            row["key"]: self._told(ref, row["key"], row["value"] or "")
            for row in self._by_run["tags"].get(ref, ())
            if row["key"] != RUN_NAME  # the server made it of the name; four sessions would nest
        }
        if ref in self._rests:
            for name in run.tags.keys() - tags.keys() - OWN_TAGS - {RUN_NAME}:
                body: Json = {"run_id": run.native_id, "key": name}
                self._server.post("mlflow/runs/delete-tag", body)
            params = {name: v for name, v in params.items() if name not in run.params}
            tags = {name: value for name, value in tags.items() if run.tags.get(name) != value}
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
        return list({one.file: one for one in files if one.file.run in self._keys}.values())

    def _send(self, waiting: Waiting) -> None:
        ref, owner, _ = waiting.file
        run = self._runs[ref]
        info = self._models[ref, owner]["info"] if owner else run.info
        place = Place(self._server, info.get("artifact_uri"), run.native_id).repository()
        send(place, waiting, self._names(ref))
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
        if ref not in self._rests:  # else it still counts as one that is running
            self._end({"run_id": run.native_id}, row)

    def _end(self, body: Json, row: Row) -> None:
        if row["status"]:
            body["status"] = row["status"].upper()
        if row["ended"] is not None:
            body["end_time"] = milliseconds(row["ended"])
        self._server.post("mlflow/runs/update", body)

    def _show(self, row: Row) -> None:
        ref = RunRef(row["project"], row["run_id"])
        run = self._runs[ref]
        body = {"run_id": run.native_id, "key": PENDING_TAG}
        try:
            if ref in self._rests:
                self._end({"run_id": run.native_id, "run_name": row["name"]}, row)
            else:
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
        replaced = frozenset[str]().union(*(run.replaced for run in shown))
        counts = counting(shown)
        if not counts:
            raise TransientError(f"{self._server.name}: {TAKEN} (run {ref.run_id})")
        is_ours = counts[0].native_id == self._runs[ref].native_id
        self._runs[ref] = counts[0]
        for run in shown:
            if run is counts[0] or (run.native_id in replaced and not is_ours):
                continue  # whoever has replaced it puts it away
            with suppress(BridgeError):  # the other process does it too
                put_away(self._server, run)

    def _put_away_leftover(self, run: Run) -> None:
        """The same where it still is one: who wrote it may have been alive, and have shown it."""
        now = self._ids.get(run.native_id)
        if now is not None and PENDING_TAG in now.tags:
            put_away(self._server, now)

    def _is_taken(self, run: Run) -> bool:
        now = self._ids.get(run.native_id)
        return now is None or ABANDONED_TAG in now.tags

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


def create(server: Server, number: str, row: Row, tags: Mapping[str, str]) -> Run:
    """Make a run as its row says that it began."""
    body = {
        "experiment_id": number,
        "user_id": row["user"] or "",
        "start_time": milliseconds(row["started"]) or 0,
        "run_name": row["name"],
        "tags": [{"key": name, "value": value} for name, value in tags.items()],
    }
    return Run(server.create("mlflow/runs/create", body)["run"])


def send(place: Repository, waiting: Waiting, names: Mapping[str, str]) -> None:
    """Put a file, in which ids of the server stand for ours, and its thumbnail."""
    path = waiting.file.path
    with waiting.copy.open("rb") as data:
        if is_model_file(path):
            place.put(path, io.BytesIO(renamed(whole(data, path), dict(names))))
        else:
            place.put(path, data)
    smaller = None if waiting.file.owner else artifacts.thumbnail(path)
    if smaller is not None:
        with waiting.copy.open("rb") as data:
            place.put(smaller, data)


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
