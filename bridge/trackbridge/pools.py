"""Where work is done: what a pool is, and the one of processes of this machine.

Each is an executor of its own library, since what a chunk comes to, its loss too, has to be told
chunk by chunk; joblib's backends for these do not (decision 0044).
"""

from __future__ import annotations

import os
import pickle
import re
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from concurrent.futures import Future
from contextlib import ExitStack
from importlib import import_module
from io import BytesIO
from typing import Any

import psutil

from trackbridge.errors import ConfigError, TransientError, without_secrets
from trackbridge.prefetch import together

CONNECT_SECONDS = 10
"""How long a cluster may take to answer, and to have its first worker."""
PARENT_SECONDS = 1
"""How often processes look whether whoever started them lives."""
QUIET_SECONDS = 60
"""After so long without any result it is looked whether workers are there."""
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
        place = f"at {without_secrets(self._address)}" if self._address else "here"
        return f"{self.name} {place}"

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
        def end(given: tuple[Any, Future[Any]]) -> None:
            place, last = given
            place.shutdown(wait=True, kill_workers=not last.done())

        # each may take half a second
        with together(end, self._places, max(1, len(self._places))) as ended:
            list(ended)


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
