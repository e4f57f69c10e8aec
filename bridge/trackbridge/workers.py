"""Gives chunks to workers, which open the stores themselves, and again what a lost one had."""

from __future__ import annotations

import pickle
import socket
import uuid
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from typing import Any

from trackbridge import __version__, errors
from trackbridge.adapter import Query, Reader, Writer
from trackbridge.clusters import Dask, Ray, Spark
from trackbridge.errors import BridgeError, ConfigError, TransientError, without_secrets
from trackbridge.filing import FileChoice
from trackbridge.isolation import Outcome, apart
from trackbridge.kept_open import kept_open
from trackbridge.plan import Chunk, proven
from trackbridge.pools import QUIET_SECONDS, Pool, Processes
from trackbridge.progress import Progress
from trackbridge.receipts import Receipts, receipts_of
from trackbridge.registry import (
    from_anywhere,
    is_in_process,
    open_reader,
    open_writer,
    path_of,
)
from trackbridge.retry import LOGGER, persist
from trackbridge.splitting import Fault, Split, Step, pieces_of, taken
from trackbridge.transfer import Moved, Written, move


@dataclass(frozen=True)
class Stores:
    """How whoever moves a chunk opens the stores for itself."""

    source: str
    target: str
    source_options: Mapping[str, str]
    target_options: Mapping[str, str]
    files: FileChoice
    through: Callable[[Reader], Reader] | None

    def reader(self) -> Reader:
        reader = open_reader(self.source, self.source_options)
        return reader if self.through is None else self.through(reader)

    def writer(self) -> Writer:
        return open_writer(self.target, self.target_options)

    def from_anywhere(self, source: str, target: str) -> Stores:
        """The same for a process with another working folder, by the addresses as understood."""
        return replace(
            self,
            source=from_anywhere(self.source, source),
            target=from_anywhere(self.target, target),
        )


@dataclass(frozen=True)
class Done:
    """What became of a chunk; whether receipts are kept for all of it that is proven."""

    chunk: Chunk
    outcomes: Iterable[Outcome[Moved]]
    kept: bool = False


Answer = tuple[str, str, "bytes | str"]
"""Where a worker is, the kind of its error (empty: none), and what it has done or the error."""


class _Call:
    """Becomes what `work` answers when it is unpickled."""

    def __init__(self, version: str, data: bytes) -> None:
        self._told = version, data

    def __reduce__(self) -> tuple[Callable[[str, bytes], Answer], tuple[str, bytes]]:
        return work, self._told


def work(version: str, data: bytes) -> Answer:
    """In a worker: do what was given, and keep the receipts of it."""
    host = socket.gethostname()
    if version != __version__:
        return host, "ConfigError", f"has Trackbridge {__version__}; install {version} there"
    try:
        job, stores, receipts, given = pickle.loads(data)
    except (ImportError, AttributeError) as error:
        return host, "ConfigError", f"lacks what this machine has ({error}); install the same there"
    try:
        opening = partial(persist, stores.reader), partial(persist, stores.writer)
        with kept_open(job, *opening) as (reader, writer):
            done = (
                _moved(reader, writer, stores.files, receipts, given)
                if isinstance(given, Chunk)
                else taken(given, reader, writer, stores.files)
            )
    except BridgeError as error:
        return host, type(error).__name__, str(error)
    return host, "", pickle.dumps(done)


def _moved(
    reader: Reader, writer: Writer, files: FileChoice, receipts: Receipts, chunk: Chunk
) -> Done:
    def step(part: Chunk) -> Moved:
        return move(reader, writer, part.runs, files=files)

    outcomes, kept = [], True
    for outcome in apart(chunk, step):
        outcomes.append(outcome)
        if outcome.result is not None:
            kept &= _keep(receipts, outcome.chunk, outcome.result, files)
    return Done(chunk, outcomes, kept)


def _keep(receipts: Receipts, chunk: Chunk, moved: Moved, files: FileChoice) -> bool:
    """Whether there are receipts now: whoever gave the chunk may die before it hears of this."""
    found = receipts_of(
        chunk.runs, moved.digests, moved.targets, moved.damage, files.extent, moved.left
    )
    return not found or receipts.add_for_others(proven(chunk, moved.digests).id, found)


@dataclass(frozen=True)
class _Given:
    """A chunk or a step of one, and how often the worker that had it was lost."""

    task: Chunk | Step
    split: Split | None = None
    number: int = 0
    lost: int = 0


POOLS: dict[str, type[Pool]] = {"processes": Processes, "dask": Dask, "ray": Ray, "spark": Spark}
"""The engines, by the names that people give them."""


def pool_of(engine: str, address: str | None, count: int | None) -> Pool:
    """The pool of an engine, not connected yet."""
    if engine not in POOLS:
        raise ConfigError(f"no engine is called {engine!r}; there are {', '.join(POOLS)}")
    if engine == "processes" and address is not None:
        raise ConfigError(
            f"{without_secrets(address)}: processes of this machine have no address; name the "
            "engine too (--engine dask, ray or spark)"
        )
    return POOLS[engine](address, count)


def pool_for(
    engine: str, address: str | None, count: int | None, reader: Reader, writer: Writer
) -> Pool | None:
    """Where chunks are to be moved, not connected yet; None: in this process.

    `ConfigError` where that cannot be, `TransientError` where nobody answers.
    """
    pool = pool_of(engine, address, count)
    if pool.is_this_process:
        return None
    for store in (reader, writer):
        if is_in_process(store.address):
            raise ConfigError(
                f"{store.address}: is in the memory of this process alone; leave out --workers and "
                "--engine"
            )
    if not writer.capabilities.parallel_writers:
        LOGGER.warning("%s takes one writer: this process moves all", writer.address)
        return None
    pool.check()
    return pool


class Workers:
    """Has chunks moved, and says what became of each."""

    def __init__(
        self,
        stores: Stores,
        reader: Reader,
        writer: Writer,
        receipts: Receipts,
        progress: Progress,
    ) -> None:
        self._stores, self._reader, self._writer = stores, reader, writer
        self._receipts, self._progress = receipts, progress
        self._job = uuid.uuid4().hex
        self._trusted = {socket.gethostname()}
        """Machines whose files are ours, as far as the target tells."""

    def each(self, chunks: Collection[Chunk], pool: Pool | None) -> Generator[Done, None, None]:
        """What became of each chunk, in the order in which they are done.

        Runs that are split come first, since they take longest. A chunk alone is moved in this
        process rather than in another one of this machine.
        """
        splits, whole = self._sorted(chunks)
        if pool is None or not chunks or (not splits and len(whole) == 1 and not pool.is_cluster):
            for split in splits:
                yield self._in_pieces(split)
            yield from map(self._moved_here, whole)
            return
        with pool:
            yield from self._each(splits, whole, pool)

    def _sorted(self, chunks: Iterable[Chunk]) -> tuple[list[Split], list[Chunk]]:
        """Runs that are moved in pieces, and chunks that are moved whole."""
        splits, whole = [], []
        for chunk in chunks:
            pieces = persist(partial(pieces_of, self._reader, self._writer, chunk))
            if len(pieces) > 1:
                splits.append(Split(chunk, pieces))
            else:
                whole.append(chunk)
        return splits, whole

    def _moved_here(self, chunk: Chunk) -> Done:
        def step(part: Chunk) -> Moved:
            files = self._stores.files
            return move(self._reader, self._writer, part.runs, self._progress, files)

        return Done(chunk, apart(chunk, step))

    def _in_pieces(self, split: Split) -> Done:
        while split.steps:
            for number, step in enumerate(split.steps):
                result = taken(step, self._reader, self._writer, self._stores.files)
                if isinstance(result, Written):
                    self._progress.points(result.points)
                split.put(number, result)
        return (
            Done(split.chunk, [split.outcome]) if split.outcome else self._moved_here(split.chunk)
        )

    def _each(self, splits: Iterable[Split], whole: Iterable[Chunk], pool: Pool) -> Iterator[Done]:
        self._tell_of_paths(pool)
        self._receipts.share()
        waiting = map(_Given, whole)
        ready = deque(given for split in splits for given in _steps(split))
        out: dict[Future[Any], _Given] = {}
        while True:
            for _ in range(pool.room() - len(out)):
                given = ready.popleft() if ready else next(waiting, None)
                if given is None:
                    break
                out[pool.submit(self._packed(given.task))] = given
            if not out:
                return
            done = wait(out, QUIET_SECONDS, FIRST_COMPLETED).done
            if not done and (said := pool.look()):
                LOGGER.warning(said)
            for future in done:
                given = out.pop(future)
                if _loss(pool, future) is None:
                    result = self._opened(pool, *future.result())
                else:
                    given = replace(given, lost=given.lost + 1)
                    if given.lost < pool.tries:
                        LOGGER.warning("a worker was lost; its chunk is done again")
                        ready.append(given)
                        continue
                    result = _given_up(given)
                done_with, next_ones = self._after(given, result)
                yield from done_with
                ready.extend(next_ones)

    def _after(self, given: _Given, result: object) -> tuple[list[Done], Iterable[_Given]]:
        """What is done, and what is to be done now, once something came of what was given."""
        split = given.split
        if isinstance(result, Written):
            self._progress.points(result.points)
        if isinstance(result, Done):
            moved = [outcome.result.points for outcome in result.outcomes if outcome.result]
            self._progress.points(sum(moved))
            return [result], ()
        if split is None or not split.put(given.number, result):
            return [], ()
        if split.steps:
            return [], _steps(split)
        if split.outcome:
            return [Done(split.chunk, [split.outcome])], ()
        return [], [_Given(split.chunk)]

    def _tell_of_paths(self, pool: Pool) -> None:
        """Say which stores other machines have to see by the same path."""
        paths = [path_of(store.address) for store in (self._reader, self._writer)]
        named = " and ".join(path for path in paths if path is not None)
        if named and pool.has_own_machines:
            LOGGER.warning("%s: each worker has to see the same there", named)

    def _packed(self, task: Chunk | Step) -> BytesIO:
        """What a worker needs, of which logs and dashboards of a cluster show nothing.

        There may be passwords in it. It holds nothing that a worker without Trackbridge, which
        might end then, trips over before it does the work.
        """
        here = (self._reader.address, self._writer.address)
        stores = self._stores.from_anywhere(*here)
        data = pickle.dumps((self._job, stores, self._receipts, task))
        return BytesIO(pickle.dumps(_Call(__version__, data)))

    def _opened(self, pool: Pool, host: str, kind: str, content: bytes | str) -> object:
        if isinstance(content, str):
            where = f"worker on {host}: " if pool.is_cluster else ""
            raise getattr(errors, kind, BridgeError)(f"{where}{content}")
        result: object = pickle.loads(content)
        if isinstance(result, Done) and host not in self._trusted:
            self._check_target(host, result)
            self._trusted.add(host)
        return result

    def _check_target(self, host: str, done: Done) -> None:
        """`ConfigError` where a worker has another target by the same path."""
        path = path_of(self._writer.address)
        proven = {key for o in done.outcomes if o.result for key in o.result.digests}
        if path is None or not proven:
            return
        ids = {self._writer.target(info.key).run_id for info in done.chunk.runs}
        listed = persist(partial(self._listed, ids))
        if not proven <= listed:
            raise ConfigError(
                f"{path}: what a worker on {host} wrote there is not here; name a folder that all "
                "machines share, or an address such as archive:s3://bucket/out"
            )

    def _listed(self, ids: set[str]) -> set[str]:
        return {str(info.key) for info in self._writer.list_runs(Query(run_ids=ids))}


def _steps(split: Split) -> Iterator[_Given]:
    """The steps that a run needs now."""
    return (_Given(step, split, number) for number, step in enumerate(split.steps))


def _given_up(given: _Given) -> Done | Fault:
    """What nobody came back from, as failures of its runs."""
    times = f", {given.lost} times" if given.lost > 1 else ""
    error = f"its worker was lost{times}; give workers more memory, or move it alone (--run)"
    if not isinstance(given.task, Chunk):
        return Fault(error)
    runs = given.task.runs
    return Done(given.task, [Outcome(Chunk((run,)), None, error) for run in runs])


def _loss(pool: Pool, future: Future[Any]) -> BaseException | None:
    """The error by which a worker was lost; any other is raised."""
    try:
        error = future.exception()
    except CancelledError as stopped:
        raise TransientError(f"{pool.where} gave work back: it was stopped") from stopped
    if error is None or pool.is_loss(error):
        return error
    if "No module named 'trackbridge" in str(error):
        raise ConfigError(
            f"{pool.where} has a worker without Trackbridge; install trackbridge=={__version__} "
            "there, with the extras that the stores need"
        ) from error
    raise error
