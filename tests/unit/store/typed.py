"""What type checkers have to make of the API: mypy reads this file, nothing runs it."""

from typing import BinaryIO

import pandas as pd
import pyarrow as pa
from typing_extensions import assert_type

import trackbridge

store = trackbridge.open("mlflow.db", dtype_backend="pyarrow", max_rps=2)
assert_type(store, trackbridge.Store)
assert_type(store.address, str)
assert_type(store.select("a", where="params.lr = '1'", project=["p"]), trackbridge.Store)

runs: pd.DataFrame = store.runs(where="metrics.loss < 1", since="2024-05-01", local=True)
points: pd.DataFrame = store.metrics(["loss", "val/*"], runs=runs, steps=(0, None), wide=True)
some: pd.DataFrame = store.metrics("loss", runs=["a", ("p", "b")], steps=range(10), system=True)
early: pd.DataFrame = store.metrics(keys={"loss"}, runs=runs.index, steps=3)
params: pd.DataFrame = store.params("lr", wide=True)
files: pd.DataFrame = store.files(hashes=True)
reader: pa.RecordBatchReader = store.arrow("metrics", keys="loss")
file: BinaryIO = store.open("a", "model.bin", owner="weights:v0")
differences: pd.DataFrame = trackbridge.compare(store, "archive:./out", tables=["params"])
changed: pd.DataFrame = store.compare("a", "b")

trackbridge.open("mlflow.db", dtype_backend="numpy")  # type: ignore[arg-type]
store.metrics(steps="all")  # type: ignore[arg-type]
