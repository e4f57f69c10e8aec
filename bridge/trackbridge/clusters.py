"""Clusters of Dask's, Ray's or Spark's, as pools where work is done (decision 0044)."""

from __future__ import annotations

import logging
import os
import pickle
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from io import BytesIO
from typing import Any

from trackbridge.errors import TransientError, without_secrets
from trackbridge.pools import CONNECT_SECONDS, Pool

AHEAD = 2
"""Chunks that are given out for each place of a cluster: the next one waits beside it."""


class Dask(Pool):
    """Workers of a Dask cluster; without an address, of one on this machine."""

    name, needs = "Dask", "distributed"

    def _connect(self, stack: ExitStack) -> None:
        stack.enter_context(_quiet("distributed", "tornado", "asyncio"))
        scheduler: Any = self._address
        if scheduler is None:
            local = self._library.LocalCluster(
                n_workers=self._count or os.cpu_count(),
                threads_per_worker=1,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            )
            scheduler = stack.enter_context(local)
        try:
            client = self._library.Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise TransientError(f"{self.where}: no scheduler answers ({error})") from error
        self._client = stack.enter_context(client)
        try:
            self._client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError as error:
            address = without_secrets(self._address or "")
            raise TransientError(
                f"{self.where} has no worker; start one: dask worker {address}"
            ) from error
        self._executor = self._client.get_executor(pure=False)
        stack.callback(self._executor.shutdown, wait=False)

    def room(self) -> int:
        return self._count or max(1, AHEAD * sum(self._client.ncores().values()))

    def submit(self, packed: BytesIO) -> Future[Any]:
        future: Future[Any] = self._executor.submit(_unpacked(), packed)
        return future

    def is_loss(self, error: BaseException) -> bool:
        return isinstance(error, self._library.scheduler.KilledWorker)

    def look(self) -> str:
        if self._client.status != "running":
            raise TransientError(f"{self.where}: its scheduler is gone")
        return "" if self._client.ncores() else f"{self.where} has no worker any more; waiting"


class Ray(Pool):
    """Workers of a Ray cluster; without an address, of one on this machine."""

    name, needs = "Ray", "ray"

    def _connect(self, stack: ExitStack) -> None:
        ray = self._library
        stack.enter_context(_quiet("ray"))
        if not ray.is_initialized():
            options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
            if self._address is None:
                options |= {"num_cpus": self._count or os.cpu_count(), "include_dashboard": False}
            try:
                ray.init(self._address or "local", **options)
            except (OSError, RuntimeError, ValueError) as error:
                raise TransientError(f"{self.where}: {_first_line(error)}") from error
            stack.callback(ray.shutdown)
        self._given: dict[Future[Any], Any] = {}
        stack.callback(self._cancel)

    def room(self) -> int:
        return self._count or max(1, AHEAD * int(self._library.cluster_resources().get("CPU", 1)))

    def submit(self, packed: BytesIO) -> Future[Any]:
        given = self._library.remote(max_retries=3)(_unpacked()).remote(packed)
        future: Future[Any] = given.future()
        self._given[future] = given
        future.add_done_callback(lambda future: self._given.pop(future, None))
        return future

    def is_loss(self, error: BaseException) -> bool:
        errors = self._library.exceptions
        lost = (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError)
        return isinstance(error, lost)

    def look(self) -> str:
        some = self._library.cluster_resources().get("CPU")
        return "" if some else f"{self.where} has no worker any more; waiting"

    def _cancel(self) -> None:
        for given in list(self._given.values()):
            self._library.cancel(given, force=True)


class Spark(Pool):
    """Executors of a Spark cluster, by Spark Connect too; without an address, of this machine.

    Each piece of work is a job of one task, whose content stands in no plan.
    """

    name, needs = "Spark", "pyspark.sql"

    def _connect(self, stack: ExitStack) -> None:
        sql = self._library
        stack.enter_context(_quiet("py4j", "pyspark"))
        master = self._address or f"local[{self._count or '*'}]"
        builder = sql.SparkSession.builder.appName("trackbridge")
        if master.startswith("sc://"):
            builder = builder.remote(master)
        else:
            builder = builder.master(master).config("spark.ui.showConsoleProgress", "false")
        self.has_own_machines = not master.startswith("local")
        if not self.has_own_machines:
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
            for name in ("spark.driver.host", "spark.driver.bindAddress"):
                builder = builder.config(name, "127.0.0.1")
            builder = builder.config("spark.ui.enabled", "false")
        started = sql.SparkSession.getActiveSession() is None
        with _without_errors() as said:
            try:
                self._session = builder.getOrCreate()
            except Exception as error:
                last = said().strip().rpartition("\n")[2] or _first_line(error)
                raise TransientError(f"{self.where}: {last}") from error
        if started:
            stack.callback(self._session.stop)
        self._places = self._count or AHEAD * self._cores(master)
        threads = ThreadPoolExecutor(self._places, "trackbridge-spark")
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        self._threads = threads

    def room(self) -> int:
        return self._places

    def submit(self, packed: BytesIO) -> Future[Any]:
        return self._threads.submit(self._job, _answering(packed))

    def is_loss(self, error: BaseException) -> bool:
        return "ExecutorLostFailure" in str(error) or "crashed" in str(error)

    def _job(self, step: Callable[[Any], Any]) -> Any:
        frame = self._session.range(1, numPartitions=1).mapInArrow(step, "answer binary")
        return pickle.loads(frame.collect()[0]["answer"])

    def _cores(self, master: str) -> int:
        if master.startswith("sc://"):
            return os.cpu_count() or 1
        return int(self._session.sparkContext.defaultParallelism)


def _unpacked() -> Callable[[BytesIO], Any]:
    """What workers do: a function without a name that they could import, so it comes whole.

    Of one that they cannot import some libraries' workers die.
    """

    def chunk(packed: BytesIO) -> Any:
        import pickle

        return pickle.loads(packed.getvalue())

    return chunk


def _answering(packed: BytesIO) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """The same for Spark, as a step of a plan."""

    def chunk(batches: Iterator[Any]) -> Iterator[Any]:
        import pickle

        import pyarrow

        for _ in batches:
            pass
        answer = pickle.dumps(pickle.loads(packed.getvalue()))
        yield pyarrow.RecordBatch.from_pydict({"answer": [answer]})

    return chunk


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Libraries say nothing of their own: what matters is said once, by us."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for logger, level in zip(loggers, before):
                logger.setLevel(level)


@contextmanager
def _without_errors() -> Iterator[Callable[[], str]]:
    """What programs that are started meanwhile write to stderr, for as long as they live."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:

        def read() -> str:
            said.seek(0)
            return said.read()

        before = os.dup(2)
        try:
            os.dup2(said.fileno(), 2)
            yield read
        finally:
            os.dup2(before, 2)
            os.close(before)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
