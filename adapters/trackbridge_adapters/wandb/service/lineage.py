"""Which versions of a target a run has used, told by what it used where it was born."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from trackbridge.adapter import Row, RunKey, RunRef
from trackbridge_adapters.wandb.service.identity import Version
from trackbridge_adapters.wandb.service.pages import Place


def used(
    key: RunKey, rows: Iterable[Row], target: Callable[[RunKey], RunRef]
) -> Iterator[tuple[Row, Version]]:
    """Rows of `inputs` that name a version of W&B's and its digest; `target` as in `Writer`.

    Versions are where runs of their project would go, if these were migrated.
    """
    for row in rows if key.kind == "wandb" else ():
        project, _, name = (row.get("source") or "").rpartition("/")
        collection = name.rpartition(":")[0]
        if row.get("digest") and collection and project.count("/") == 1:
            home = key if project == key.project else RunKey(*key[:2], project, key.run_id)
            yield row, Version(Place.of(target(home).project), collection, row["digest"])
