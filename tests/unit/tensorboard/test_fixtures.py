"""What TensorFlow, PyTorch and tensorboardX wrote is read whole, and as TensorBoard reads it."""

from __future__ import annotations

import json
import struct
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray
from unit.tensorboard import logs

from trackbridge.adapter import FileRef, Query, Reader, RunRef
from trackbridge.optional import Excerpt
from trackbridge.registry import open_reader
from trackbridge.testing.compare import same_rows

FIXTURES = Path(__file__).parents[3] / "fixtures"
STORES = sorted(path.name for path in FIXTURES.glob("tensorboard-*"))
TF, TORCH = "tensorboard-tf-2.21", "tensorboard-torch-2.13"
WHOLE = {"_graph_def", "_meta_graph_def", "_run_metadata", "_session_log", "matrix", "double"}
"""What is kept and none of `EventAccumulator`'s lists has."""
Rows = dict[str, list[dict[str, Any]]]


def opened(store: str) -> Reader:
    return open_reader(f"tensorboard:{FIXTURES / store / 'runs'}")


def read(reader: Reader, run: str) -> Rows:
    rows: Rows = defaultdict(list)
    for batch in reader.read_runs([RunRef("runs", run)]):
        rows[batch.table] += batch.data.to_pylist()
    return rows


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def param(row: dict[str, Any]) -> Any:
    return row["value"] if row["type"] == "string" else json.loads(row["value"])


def by_key(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for row in rows:
        found[row["key"]].append(row)
    return dict(found)


def content(reader: Reader, row: dict[str, Any]) -> bytes:
    ref = RunRef(row["project"], row["run_id"])
    with reader.open_file(FileRef(ref, "", row["path"])) as file:
        return file.read()


@pytest.mark.parametrize("store", STORES)
def test_all_that_was_logged_is_read(store: str) -> None:
    told = json.loads((FIXTURES / store / "expected.json").read_text("utf-8"))
    reader = opened(store)
    assert {info.ref.run_id for info in reader.list_runs(Query())} >= told.keys()
    for run, expected in told.items():
        rows = read(reader, run)
        points = {
            key: [(row["step"], bits(row["value"])) for row in found]
            for key, found in by_key(rows["metrics"]).items()
        }
        scalars = expected["scalars"].items()
        assert points == {key: [(s, bits(v)) for s, v in found] for key, found in scalars}
        texts = by_key([row for row in rows["series"] if row["kind"] == "text"])
        assert {
            key: [[row["step"], json.loads(row["value"])] for row in found]
            for key, found in texts.items()
        } == expected["texts"]
        values = {row["key"]: row for row in rows["params"]}
        params = {
            k: r["value"] if r["type"] == "string" else json.loads(r["value"])
            for k, r in values.items()
        }
        assert params == expected["params"]
        assert rows["runs"][0]["status"] == expected["status"]
        counts = Counter(row["kind"] for row in rows["series"])
        for kind, count in expected["counts"].items():
            assert counts[kind] == count, (run, kind)
        assert "damage" not in json.loads(rows["runs"][0]["extra"])


@pytest.mark.parametrize("store", STORES)
def test_values_steps_and_times_are_those_that_tensorboard_reads(store: str) -> None:
    reader = opened(store)
    for info in reader.list_runs(Query()):
        rows = read(reader, info.ref.run_id)
        found = logs.accumulated(FIXTURES / store / "runs" / info.ref.run_id)
        metrics, series = by_key(rows["metrics"]), by_key(rows["series"])
        for key, step, time, value in shown_scalars(found):
            row = metrics[key].pop(0)
            assert (row["step"], bits(row["value"])) == (step, bits(value))
            assert row["time"].timestamp() == pytest.approx(time, abs=1e-6)
        assert not any(metrics.values())
        for key, step, time, expected in shown_series(found):
            while expected:
                row = series[key].pop(0)
                assert (row["step"], told(reader, row)) == (step, expected.pop(0))
                assert row["time"].timestamp() == pytest.approx(time, abs=1e-6)
        kept = {row["key"] for left in series.values() for row in left}
        assert kept <= WHOLE


def shown_scalars(found: EventAccumulator) -> Iterator[tuple[str, int, float, float]]:
    for key in found.Tags()["scalars"]:
        yield from ((key, event.step, event.wall_time, event.value) for event in found.Scalars(key))
    for key in tensors(found, "scalars"):
        for event in found.Tensors(key):
            yield key, event.step, event.wall_time, float(make_ndarray(event.tensor_proto))


def tensors(found: EventAccumulator, *plugins: str) -> list[str]:
    known = found.summary_metadata
    keys = [key for key in found.Tags()["tensors"] if key in known]
    return [key for key in keys if known[key].plugin_data.plugin_name in plugins]


def shown_series(found: EventAccumulator) -> Iterator[tuple[str, int, float, list[Any]]]:
    """Key, step, time, and what the points are: bytes of files, or numbers."""
    for key in found.Tags()["images"]:
        for event in found.Images(key):
            yield key, event.step, event.wall_time, [event.encoded_image_string]
    for key in found.Tags()["audio"]:
        for event in found.Audio(key):
            yield key, event.step, event.wall_time, [event.encoded_audio_string]
    for key in found.Tags()["histograms"]:
        for event in found.Histograms(key):
            histo = event.histogram_value
            told = [*histo.bucket, histo.min, *histo.bucket_limit[:-1], histo.max]
            yield key, event.step, event.wall_time, [told]
    kinds = ("images", "audio", "histograms", "text", "pr_curves", "mesh", "custom_scalars")
    for key in tensors(found, *kinds):
        kind = found.summary_metadata[key].plugin_data.plugin_name
        for event in found.Tensors(key):
            array = make_ndarray(event.tensor_proto)
            yield key, event.step, event.wall_time, list(_parts(kind, array))


def _parts(kind: str, array: Any) -> Iterator[Any]:
    if kind == "images":
        yield from array[2:]
    elif kind == "audio":
        yield from array.reshape(len(array), -1)[:, 0]
    elif kind == "histograms":
        yield [*array[:, 2], *array[:, 0], array[-1, 1]]
    elif array.dtype.kind == "O":
        yield [text.decode() for text in array.reshape(-1)]
    else:
        yield array.reshape(-1).tolist()


def told(reader: Reader, row: dict[str, Any]) -> Any:
    """What a point is, in the same words."""
    if row["path"]:
        return content(reader, row)
    value = json.loads(row["value"])
    if row["kind"] == "histogram":
        return [*value["values"], *value["bins"]]
    if row["kind"] == "json":
        value = value["values"]
    return np.array(value).reshape(-1).tolist()


def test_files_have_the_sizes_and_digests_that_are_told() -> None:
    from hashlib import sha256

    for store in STORES:
        reader = opened(store)
        for info in reader.list_runs(Query()):
            for row in read(reader, info.ref.run_id)["files"]:
                data = content(opened(store), row)
                assert row["size"] == len(data)
                assert row["sha256"] in (None, sha256(data).hexdigest())


def test_points_are_found_by_key_and_step() -> None:
    reader = opened(TF)
    ref = RunRef("runs", "train")
    part = Excerpt(frozenset({"loss"}), 12, 14)
    batches = list(reader.read_points([ref], part))  # type: ignore[attr-defined]
    rows = [row for batch in batches for row in batch.data.to_pylist()]
    assert [(row["key"], row["step"]) for row in rows] == [("loss", n) for n in (12, 13, 14)] * 2
    same_rows(reader.read_runs([ref], ["metrics"]), reader.read_points([ref], Excerpt()))  # type: ignore[attr-defined]


def test_an_experiment_says_what_its_metrics_are() -> None:
    rows = read(opened(TF), ".")
    [row] = rows["metric_defs"]
    assert (row["key"], json.loads(row["extra"])) == ("loss", {"display_name": "training loss"})
    [experiment] = json.loads(rows["runs"][0]["extra"])["hparams"]["experiment"]
    assert [info["name"] for info in experiment["hparam_infos"]] == ["lr", "optimizer"]
    assert experiment["hparam_infos"][0]["domain_interval"] == {"min_value": 0.01, "max_value": 1.0}


def test_a_session_has_its_group_and_its_params_their_types() -> None:
    rows = read(opened(TF), "search/0")
    assert rows["runs"][0]["group"]
    assert {row["key"]: row["type"] for row in rows["params"]} == {
        "lr": "float",
        "units": "float",
        "optimizer": "string",
        "amp": "boolean",
        "note": "string",
    }


def test_a_restart_and_a_graph_are_kept_whole() -> None:
    reader = opened(TF)
    series = by_key(read(reader, "old")["series"])
    [log] = series["_session_log"]
    assert json.loads(log["value"]) == {"_type": "tensorboard-SessionLog", "status": "START"}
    [graph] = series["_graph_def"]
    assert b"Placeholder" in content(reader, graph)


def test_texts_keep_their_shape() -> None:
    told = json.loads(read(opened(TORCH), "run")["runs"][0]["extra"])["tags"]
    assert told["log/text_summary"] == {"plugin": "text", "shape": [1]}
