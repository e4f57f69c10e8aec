"""What lies beside a table or in its name: the run that it is of, and its params."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, count, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from trackbridge.adapter import RunRef
from trackbridge_adapters.tables.known import CREATED, NAME, of_download
from trackbridge_adapters.tables.mapping import Layout, Use
from trackbridge_adapters.tables.melt import labels, leaf
from trackbridge_adapters.tables.parsed import leaves
from trackbridge_adapters.tables.place import TableFile

if TYPE_CHECKING:
    from trackbridge_adapters.tables.csvfile import CsvFile
    from trackbridge_adapters.tables.index import FileFacts, RunFacts
    from trackbridge_adapters.tables.jsonlfile import JsonlFile

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


def tell_apart(file: CsvFile | JsonlFile, facts: FileFacts) -> None:
    """Where each row is a run and some have one name, give each an id of its own.

    The oldest is called by the name, and later ones by name and time, so that ids stay the same
    when there are more runs.
    """
    uses = facts.layout.uses
    layout = Layout({n: u if n in (NAME, CREATED) else Use("skip") for n, u in uses.items()})
    found: list[tuple[str, int, int, str]] = []
    for block, data in file.blocks():
        parsed = file.parse(block, data, layout)
        names = labels(parsed, NAME, facts.home.run_id).to_pylist()
        created = labels(parsed, CREATED, "").to_pylist()
        found += zip(created, repeat(block.offset), range(len(names)), names)
    ids: dict[tuple[int, int], str] = {}
    taken: set[str] = set()
    more = []
    for time, offset, row, name in sorted(found):
        later = f"{name} {time}".strip()
        numbered = (f"{later} ({number})" for number in count(2))
        ids[offset, row] = next(i for i in chain((name, later), numbered) if i not in taken)
        taken.add(ids[offset, row])
        if ids[offset, row] != name:
            more.append(ids[offset, row])
    if more:
        for offset, row in sorted(ids):
            facts.ids.setdefault(offset, []).append(ids[offset, row])
        some = ", ".join([*more[:3], *(["..."] if len(more) > 3 else [])])
        facts.notes["runs"] = (
            f"{len(more)} of {len(found)} called like an older one, with the time in the id: {some}"
        )


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
