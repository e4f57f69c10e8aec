"""Begins runs: ids, folder, what is known of the process, and the forwarder beside it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from getpass import getuser
from pathlib import Path
from typing import Any, TypeVar

from trackbridge.dual import parts, place, spawn
from trackbridge.dual.git import repository
from trackbridge.dual.journal import Journal, now
from trackbridge.dual.run import Run
from trackbridge.errors import BridgeError, ConfigError, without_secrets
from trackbridge.registry import check_store, check_target

AnyRun = TypeVar("AnyRun", bound=Run)
Address = str | os.PathLike[str]
Addresses = Address | Iterable[Address] | None
RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
"""Where launchers say which process of a group this is."""
GROUPS = ("TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", "PMIX_NAMESPACE", "MASTER_PORT")
"""Where they say which group it is, though some say the same of the next one."""
MOST_OF_A_NODE = 1000


def start(
    project: str = "default",
    name: str | None = None,
    config: Any = None,
    to: Addresses = (),
    *,
    run_id: str | None = None,
    resume: bool = False,
    group: str | None = None,
    job_type: str | None = None,
    tags: str | Iterable[str] | Mapping[str, Any] | None = None,
    notes: str | None = None,
    ranks: str = "first",
    folder: str | Path | None = None,
) -> Run:
    """Begin a run that is logged to a local journal, and from there to the stores `to`.

    Of the processes of a distributed training the first alone logs, or `all`: then each has a run
    of its own, in one group. With `resume`, a run of that `run_id` goes on after its last step; so
    it does without, but with a warning. `config` is a mapping, a namespace or a data class.
    An address that no adapter knows, or other `ranks`, is a `ConfigError`; nothing else that fails
    stops the training.
    `TRACKBRIDGE_DISABLED=1` switches everything off.
    """
    check_ranks(ranks)
    rank = rank_of_process()
    run_id = run_id or (place.new_id() if rank is None or ranks == "first" else _common_id())
    if spawn.is_disabled() or (rank and ranks == "first"):
        return Run(None, project, run_id)
    if rank is not None and ranks == "all":
        group, run_id = group or run_id, f"{run_id}-{rank}"
    given = {"name": name, "group": group, "job_type": job_type, "notes": notes}
    fields = {**process_fields(), **{key: text for key, text in given.items() if text is not None}}
    run, is_new = begin(project, run_id, to, folder, kind=Run)
    if not (is_new or resume):
        with suppress(Warning):  # where warnings are errors
            warnings.warn(
                f"trackbridge: the run {run_id} is there already, and goes on", stacklevel=2
            )
    run.set(**fields, **({"started": now()} if is_new else {}))
    if config is not None:
        run.config.update(config)
    if tags is not None:
        run.set_tags(tags)
    run.warn_of_loss()
    return run


def begin(
    project: str,
    run_id: str,
    to: Addresses,
    folder: str | Path | None = None,
    *,
    key: Sequence[str] | None = None,
    kind: type[AnyRun],
    cwd: Path | None = None,
) -> tuple[AnyRun, bool]:
    """A run with its journal, and whether it is new; nothing is said of the run itself yet.

    `key` are the parts of the `RunKey` that it was born with in another store, which is mirrored.
    Relative paths begin at `cwd`, or else in the working directory.
    """
    project, run_id = str(project), str(run_id)
    cwd = cwd or place.here()
    root = place.root(cwd) if folder is None else cwd / folder
    stores = addresses(to)
    found, row, step, ahead = None, 0, 0, 0
    with suppress(OSError):  # what cannot be written is counted by the journal
        place.make_root(root)
        found = place.find(root, project, run_id)
        row, step = place.next_call(found) if found and kind.counts else (0, 0)
        ahead = parts.ahead(found) if found else 0
    name = spawn.key(root, stores, cwd)
    header: dict[str, Any] = {"run": [project, run_id], "host": place.host(), "by": name}
    header |= {"to": [without_secrets(store) for store in stores], "cwd": str(cwd), "ahead": ahead}
    if key is not None:
        header["key"] = list(key)
    journal = Journal(found or place.folder_of(root, project, run_id), header)
    tend = partial(spawn.forwarder, root, name, stores, cwd) if stores else bool
    run = kind(journal, project, run_id, row=row, step=step, stores=header["to"], tend=tend)
    for store in header["to"]:
        try:
            check_target(store)
        except BridgeError as error:
            run.warn(f"to {store}", str(error), "what is logged is kept, but not brought there")
    run.look()
    return run, found is None


def addresses(to: Addresses) -> list[str]:
    """Addresses of stores, each once; `ConfigError` for what is none."""
    given = [to] if isinstance(to, (str, os.PathLike)) else () if to is None else to
    try:
        found = list(dict.fromkeys([os.fspath(store) for store in given]))
    except TypeError as error:
        raise ConfigError(f"to={to!r}: is no address of a store, nor a list of them") from error
    for store in found:
        check_store(store)
    return found


def check_ranks(ranks: str) -> None:
    """`ConfigError` for what does not say which processes of a group log."""
    if ranks not in ("first", "all"):
        raise ConfigError(f"ranks={ranks!r}: is neither 'first' nor 'all'")


def rank_of_process() -> int | None:
    """Which process of a group this is, if it is one of a group."""
    told = (os.environ.get(name, "") for name in RANKS)
    found = next((int(rank) for rank in told if rank.isdecimal()), None)
    local, node = (os.environ.get(name, "") for name in ("LOCAL_RANK", "NODE_RANK"))
    if found is None and local.isdecimal():  # Lightning begins processes so, but not the first
        return int(local) + MOST_OF_A_NODE * int(node if node.isdecimal() else 0)
    return found


def _common_id() -> str:
    """An id that all processes of a group come to, and no group that is begun later."""
    logs = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if logs and os.environ.get("GROUP_WORLD_SIZE") == "1":  # torchrun's: ID_RANDOM/attempt_0/RANK/
        return place.safe(Path(logs).parents[2].name.removeprefix("none_"))
    told = (os.environ.get(name) for name in GROUPS)
    return place.safe(next((text for text in told if text and text != "none"), place.new_id()))


def process_fields() -> dict[str, Any]:
    """What is known of a run by its process: columns of `runs`."""
    user: str | None = None
    with suppress(OSError, KeyError, ImportError):  # no such user is known, as in many a container
        user = getuser()
    remote, commit = repository(place.here())
    program = next(iter(getattr(sys, "argv", ())), None)
    told = {"git_remote": remote, "git_commit": commit, "program": program or None}
    told |= {"user": user, "host": place.host(), "python": sys.version.partition(" ")[0]}
    return {"status": "running", **told}
