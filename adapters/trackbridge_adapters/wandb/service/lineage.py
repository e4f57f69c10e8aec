"""Which versions of a target a run has used, told by what it used where it was born."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from trackbridge.adapter import Row, RunKey
from trackbridge_adapters.wandb.service.identity import Version
from trackbridge_adapters.wandb.service.pages import Place


def used(
    key: RunKey, rows: Iterable[Row], home: Callable[[str], str]
) -> Iterator[tuple[Row, Version]]:
    """Rows of `inputs` that name a version of W&B's and its digest.

    Versions are where runs of their project are, or would go if these were migrated: in its `home`.
    """
    for row in rows if key.kind == "wandb" else ():
        project, _, name = (row.get("source") or "").rpartition("/")
        collection = name.rpartition(":")[0]
        if row.get("digest") and collection and project.count("/") == 1:
            yield row, Version(Place.of(home(project)), collection, row["digest"])
