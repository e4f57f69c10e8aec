"""Experiments of a database of MLflow's: found by label, made, and brought up to date."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from trackbridge.adapter import Row
from trackbridge.errors import ConfigError
from trackbridge_adapters.mlflow import roots, storage
from trackbridge_adapters.mlflow.entities import (
    NOTE,
    PLACE,
    WORKSPACE,
    milliseconds,
    native_extra,
    native_tags,
    placed,
)
from trackbridge_adapters.mlflow.session import Transaction
from trackbridge_adapters.mlflow.sql_list import experiments
from trackbridge_adapters.mlflow.store_files import PREFIX

EXTRA = ("last_update_time",)
WORKSPACES = "workspaces"
"""Table of the workspaces that there are."""


class Experiment(NamedTuple):
    number: int
    folder: str
    """Where the folders of its runs are, a path or a URI."""


class Experiments:
    """The experiments as a transaction sees them; new ones get their folder below `root`."""

    def __init__(self, transaction: Transaction, root: str) -> None:
        self._transaction, self._root = transaction, root
        labels, _ = experiments(transaction)
        self._numbers = {label: int(number) for number, label in labels.items()}
        self._found: dict[str, Experiment] = {}
        has_workspaces = "workspace" in transaction.columns("experiments")
        self._extra = (*EXTRA, *PLACE) if has_workspaces else EXTRA

    def write(self, rows: Sequence[Row]) -> None:
        """Make experiments that are not there, and give all of them the values of their rows."""
        for row in rows:
            own, hidden = native_extra(row["extra"], self._extra)
            where = placed(row["project"], own)
            if where == (WORKSPACE, row["project"]):  # where it is not, as far as this store knows
                own, hidden = native_extra(row["extra"], EXTRA)
            number = self._numbers.get(row["project"])
            if number is None:
                number = self._create(row["project"], row["project_id"], *where)
            self._transaction.execute(
                "UPDATE experiments SET lifecycle_stage = ?, creation_time = ?,"
                " last_update_time = ? WHERE experiment_id = ?",
                [
                    "deleted" if row["deleted"] else "active",
                    milliseconds(row["created"]),
                    own["last_update_time"],
                    number,
                ],
            )
            tags = {**native_tags(row["tags"]), **hidden}
            if row["notes"] is not None:
                tags[NOTE] = row["notes"]
            self._transaction.execute(
                'DELETE FROM experiment_tags WHERE experiment_id = ? AND "key" NOT LIKE ?',
                [number, f"{PREFIX}%"],
            )
            self._transaction.insert(
                "experiment_tags",
                [{"key": k, "value": v, "experiment_id": number} for k, v in tags.items()],
            )

    def find(self, label: str) -> Experiment:
        """The experiment of that label, made if it is not there."""
        if label not in self._found:
            self._found[label] = self._find(label)
        return self._found[label]

    def _find(self, label: str) -> Experiment:
        number = self._numbers.get(label)
        if number is None:
            number = self._create(label, None)
        where = "WHERE experiment_id = ?"
        rows = self._transaction.select("experiments", ["artifact_location"], where, [number])
        for (location,) in rows:
            if storage.is_elsewhere(self._root):
                if (location or "").startswith(f"{self._root}/"):
                    return Experiment(number, location)
                continue
            folder = Path(location or "")
            is_here = folder.is_relative_to(self._root) or folder.parent.is_dir()
            if folder.is_absolute() and is_here and not roots.is_in_store(folder):
                return Experiment(number, str(folder))
        return Experiment(number, f"{self._root}/{number}")

    def _create(
        self, label: str, wish: str | None, workspace: str = WORKSPACE, name: str | None = None
    ) -> int:
        """A new experiment as `create_experiment` makes it (sqlalchemy_store.py, 3.17)."""
        wished = int(wish) if wish and wish.isascii() and wish.isdigit() else None
        taken = set(self._numbers.values())
        number = self._transaction.number("experiments", "experiment_id", wished, taken)
        now = int(time.time() * 1000)
        make_workspace(self._transaction, workspace)
        plain = label if name is None else name
        check_name(
            self._transaction, "experiments", workspace, plain, f"--rename-project '{label}=...'"
        )
        self._transaction.insert(
            "experiments",
            [
                {
                    "experiment_id": number,
                    "name": plain,
                    "artifact_location": f"{self._root}/{number}",
                    "lifecycle_stage": "active",
                    "creation_time": now,
                    "last_update_time": now,
                    "workspace": workspace,
                }
            ],
        )
        self._numbers[label] = number
        return number


def check_name(
    transaction: Transaction, table: str, workspace: str, name: str, way_out: str
) -> None:
    """`ConfigError` where the database takes a name for that of another row of the table.

    Collations of MySQL's do so with names that differ in case, accents or blanks at the end.
    """
    where, values = "WHERE name = ?", [name]
    if "workspace" in transaction.columns(table):
        where, values = f"{where} AND workspace = ?", [name, workspace]
    for (other,) in transaction.select(table, ["name"], where, values):
        if other != name:
            raise ConfigError(
                f"{transaction.name}: {table} {other!r} and {name!r} have the same name to this"
                f" database; give one of them another: {way_out}"
            )


def make_workspace(transaction: Transaction, name: str) -> None:
    """Have a workspace of that name, in databases that list them."""
    if WORKSPACES in transaction.tables and name != WORKSPACE:
        where = "WHERE name = ?"
        if not transaction.select(WORKSPACES, ["name"], where, [name]):
            transaction.insert(WORKSPACES, [{"name": name}])
