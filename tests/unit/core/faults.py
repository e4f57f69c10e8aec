"""A store in memory whose methods fail as a test wishes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, BinaryIO

from trackbridge.adapter import (
    Batch,
    Capabilities,
    FileRef,
    Presentation,
    Query,
    Row,
    RunInfo,
    RunKey,
    RunRef,
)
from trackbridge_adapters import memory

Fault = Callable[..., None]
"""Is called with a method's arguments before it does anything; may raise."""


class Faults:
    """What goes wrong, by name of the method, and how often each method was called."""

    def __init__(self) -> None:
        self.of: dict[str, Fault] = {}
        self.calls: Counter[str] = Counter()

    def check(self, method: str, *args: Any) -> None:
        self.calls[method] += 1
        if method in self.of:
            self.of[method](*args)

    def first(self, method: str, *errors: Exception) -> None:
        """The first calls of a method raise these, one after the other."""
        waiting = list(errors)

        def fault(*args: Any) -> None:
            if waiting:
                raise waiting.pop(0)

        self.of[method] = fault


FAULTS = Faults()


class _Sink:
    def __init__(self, sink: memory.MemorySink) -> None:
        self._sink = sink

    def __enter__(self) -> _Sink:
        self._sink.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._sink.__exit__(*error)

    def write(self, batch: Batch) -> None:
        FAULTS.check("write", batch)
        self._sink.write(batch)

    def put_file(self, file: FileRef, data: BinaryIO) -> None:
        FAULTS.check("put_file", file)
        self._sink.put_file(file, data)

    def commit(self) -> Mapping[RunKey, RunRef]:
        FAULTS.check("commit")
        return self._sink.commit()


class _Store:
    advice = ""

    def __init__(self, store: memory.MemoryStore, name: str) -> None:
        self._store = store
        self.address = f"faulty:{name}"
        self.capabilities: Capabilities = store.capabilities

    def list_runs(self, query: Query) -> Iterator[RunInfo]:
        FAULTS.check("list_runs", query)
        yield from self._store.list_runs(query)

    def read_runs(
        self, refs: Sequence[RunRef], tables: Collection[str] | None = None
    ) -> Iterator[Batch]:
        """Fails after the first batch: an error in the middle is the harder one."""
        batches = self._store.read_runs(refs, tables)
        yield from islice(batches, 1)
        FAULTS.check("read_runs", refs)
        yield from batches

    def read_shared(self, query: Query) -> Iterator[Batch]:
        FAULTS.check("read_shared", query)
        yield from self._store.read_shared(query)

    def open_file(self, file: FileRef) -> BinaryIO:
        FAULTS.check("open_file", file)
        return self._store.open_file(file)

    def target(self, key: RunKey) -> RunRef:
        return self._store.target(key)

    def present(self, key: RunKey, tables: Mapping[str, list[Row]]) -> Presentation:
        return self._store.present(key, tables)

    def open(self, keys: Sequence[RunKey]) -> _Sink:
        FAULTS.check("open", keys)
        return _Sink(self._store.open(keys))


class _Adapter:
    name = "faulty"

    def recognizes(self, location: str) -> bool:
        return False

    def suggests(self, location: str) -> bool:
        return False

    def reader(self, location: str, options: Mapping[str, str]) -> _Store:
        return self.writer(location, options)

    def writer(self, location: str, options: Mapping[str, str]) -> _Store:
        return _Store(memory.ADAPTER.writer(location, options), location)


ADAPTER = _Adapter()
