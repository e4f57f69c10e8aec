"""What lies beside a table or in its name: the run that it is of, and its params."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from trackbridge.adapter import RunRef
from trackbridge_adapters.tables.known import of_download
from trackbridge_adapters.tables.mapping import Layout, Use
from trackbridge_adapters.tables.melt import leaf
from trackbridge_adapters.tables.parsed import leaves
from trackbridge_adapters.tables.place import TableFile

if TYPE_CHECKING:
    from trackbridge_adapters.tables.index import FileFacts, RunFacts

LIGHTNING = "metrics"
HPARAMS = "hparams.yaml"
"""Beside `metrics.csv`, as the CSVLogger of Lightning (2.x) writes both into a folder for a run."""


def home(table: TableFile, project: str) -> RunRef:
    """The run of a table that names none: called like the file, or like the folder of a logger."""
    above, _, name = table.name.rpartition("/")
    if name != LIGHTNING or not _hparams(table).is_file():
        return RunRef(project, table.name)
    if above:
        return RunRef(project, above)
    folder = Path(table.path).absolute().parent
    return RunRef(folder.parent.name or project, folder.name)


def _hparams(table: TableFile) -> Path:
    return Path(table.path).parent / HPARAMS


def guess_download(facts: FileFacts) -> None:
    """Of a file that TensorBoard's pages have made, run and key stand in its name."""
    stem = facts.table.name.rpartition("/")[2]
    found = of_download(stem, [column.name for column in facts.columns])
    uses = facts.layout.uses
    if found is None or any(use.declared for use in uses.values()):
        return
    run, key = found
    facts.home = RunRef(facts.home.project, run)
    why = "run and key are in the name of the file"
    facts.layout = Layout({**uses, "Value": Use("metric", key, why=why)})


def add_params(facts: FileFacts, runs: Sequence[RunFacts]) -> None:
    """The hyperparameters beside a table of one run."""
    path = _hparams(facts.table)
    if facts.table.name.rpartition("/")[2] != LIGHTNING or len(runs) != 1 or not path.is_file():
        return
    run = runs[0]
    try:
        data = path.read_bytes()
        found = yaml.safe_load(data)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        run.note(f"{path}: cannot be read ({reason})")
        return
    run.digest.update(data)
    facts.notes["params"] = f"{HPARAMS} beside it"
    for key, value in leaves(found if isinstance(found, dict) else {}):
        run.cells.setdefault(("param", key), leaf(_cell(value), "texts"))


def _cell(value: Any) -> Any:
    """A value of YAML as one of JSON."""
    if value is None or isinstance(value, (bool, int, float, str, list, dict)):
        return value
    return str(value)
