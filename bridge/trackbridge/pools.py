"""Where work is done: processes of this machine, or a cluster of Dask's, Ray's or Spark's.

Each is an executor of its own library, since what a chunk comes to, its loss too, has to be told
chunk by chunk; joblib's backends for these do not (decision 0044).
"""

from __future__ import annotations

import logging
import os
import pickle
import re
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib import import_module
from io import BytesIO
from typing import Any

import psutil

from trackbridge.errors import ConfigError, TransientError, without_secrets

CONNECT_SECONDS = 10
"""How long a cluster may take to answer, and to have its first worker."""
PARENT_SECONDS = 1
"""How often processes look whether whoever started them lives."""
QUIET_SECONDS = 60
"""After so long without any result it is looked whether workers are there."""
AHEAD = 2
"""Chunks that are given out for each place of a cluster: the next one waits beside it."""
_PLACE = re.compile(r"(?:^|//|,)\[?([\w.:-]*?[\w.-])\]?:(\d+)(?=[/,?]|$)")


class Pool(ABC):
    """A place where work is done; entering it connects or starts, and leaving it ends all work."""

    name = ""
    needs = ""
    """The module that it is worked with, in the extra that is called like the engine."""
    tries = 1
    """How often work is given out whose worker was lost; 1 where the cluster sees to it."""
    is_cluster = True

    def __init__(self, address: str | None, count: int | None) -> None:
        self._address, self._count = address, count
        self._stack = ExitStack()
        self.has_own_machines = address is not None
        """Whether its workers may be on machines with other files."""

    @property
    def where(self) -> str:
        """What a person calls it."""
        return f"{self.name} at {_shown(self._address)}" if self._address else f"{self.name} here"

    @property
    def is_this_process(self) -> bool:
        """Whether nothing is to be given out at all."""
        return False

    def check(self) -> None:
        """`ConfigError` where a package lacks, `TransientError` where nobody answers."""
        if self.needs:
            self._library = _needed(self.needs, self.name)
        if self._address is not None:
            _check_answer(self._address, self.where)

    def __enter__(self) -> Pool:
        with ExitStack() as stack:
            self._connect(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @abstractmethod
    def _connect(self, stack: ExitStack) -> None:
        """Begin, after a check; `TransientError` where it cannot be worked with."""

    @abstractmethod
    def room(self) -> int:
        """How much may be given out now, what is being done included."""

    @abstractmethod
    def submit(self, packed: BytesIO) -> Future[Any]:
        """Have something unpickled by a worker: it becomes the answer while that is done."""

    @abstractmethod
    def is_loss(self, error: BaseException) -> bool:
        """Whether an error means that a worker ended with its work."""

    def look(self) -> str:
        """What a person should know after a long silence; raises `BridgeError` if it is gone."""
        return ""


class Processes(Pool):
    """Processes of this machine, each a pool of its own, so that its end is that of its work alone.

    They are loky's, which start without a second look at the program that they are started from.
    """

    tries = 3
    is_cluster = False

    @property
    def is_this_process(self) -> bool:
        return self.room() == 1

    def _connect(self, stack: ExitStack) -> None:
        self._places: list[tuple[Any, Future[Any]]] = []
        stack.callback(self._end)

    def room(self) -> int:
        return self._count or 1

    def submit(self, packed: BytesIO) -> Future[Any]:
        from concurrent.futures.process import BrokenProcessPool

        for number, (place, last) in enumerate(self._places):
            if last.done():
                del self._places[number]
                try:
                    return self._given(place, packed)
                except BrokenProcessPool:
                    place.shutdown(wait=False)  # its process ended, at work or since
                    break
        return self._given(self._start(), packed)

    def is_loss(self, error: BaseException) -> bool:
        from concurrent.futures.process import BrokenProcessPool

        return isinstance(error, BrokenProcessPool)

    def _given(self, place: Any, packed: BytesIO) -> Future[Any]:
        future: Future[Any] = place.submit(_do, packed)
        self._places.append((place, future))
        return future

    def _start(self) -> Any:
        from joblib.externals.loky import ProcessPoolExecutor

        threads = str(max(1, (os.cpu_count() or 1) // self.room()))
        return ProcessPoolExecutor(
            1,
            initializer=_begin_for,
            initargs=(os.getpid(),),
            env={"OMP_NUM_THREADS": threads},
        )

    def _end(self) -> None:
        for place, last in self._places:
            place.shutdown(wait=True, kill_workers=not last.done())


_at_work = threading.Lock()


def _do(packed: BytesIO) -> Any:
    with _at_work:
        return pickle.loads(packed.getvalue())


def _begin_for(caller: int) -> None:
    """Leave Ctrl-C to whoever gives the work, who hears it too, and end when he has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_after, args=(caller,), daemon=True).start()


def _end_after(caller: int) -> None:
    while os.getppid() == caller and psutil.pid_exists(caller):
        time.sleep(PARENT_SECONDS)
    with _at_work:  # what is begun is done, and its receipts are kept
        os._exit(0)


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
            raise TransientError(
                f"{self.where} has no worker; start one: dask worker {_shown(self._address)}"
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


POOLS: dict[str, type[Pool]] = {"processes": Processes, "dask": Dask, "ray": Ray, "spark": Spark}
"""The engines, by the names that people give them."""


def pool_of(engine: str, address: str | None, count: int | None) -> Pool:
    """The pool of an engine, not connected yet."""
    if engine not in POOLS:
        raise ConfigError(f"no engine is called {engine!r}; there are {', '.join(POOLS)}")
    if engine == "processes" and address is not None:
        raise ConfigError(
            f"{_shown(address)}: processes of this machine have no address; name the engine too "
            "(--engine dask, ray or spark)"
        )
    return POOLS[engine](address, count)


def _needed(module: str, name: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        extra = name.lower()
        raise ConfigError(
            f"--engine {extra} needs {name}: pip install 'trackbridge[{extra}]' ({error})"
        ) from error


def _check_answer(address: str, where: str) -> None:
    """`TransientError` where nobody listens: the libraries would try for minutes."""
    reasons: list[str] = []
    for host, port in _PLACE.findall(address):
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        except OSError as error:
            reasons.append(f"{host}:{port}: {error.strerror or error}")
        else:
            return
    if reasons:
        raise TransientError(f"{where}: nobody answers ({'; '.join(reasons)})")


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


def _shown(address: str | None) -> str:
    return without_secrets(address or "")


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
