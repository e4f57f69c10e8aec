"""A run that is being logged: every call becomes a record of its journal, and nothing else.

No method raises into the training, blocks on a server or costs more than a write to the disk; what
cannot be kept is counted, and said when the run ends.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from time import perf_counter_ns, time_ns
from types import TracebackType
from typing import Any, TypeVar, cast

from trackbridge.dual import ending, place, values
from trackbridge.dual.costs import Costs
from trackbridge.dual.frames import CLOSED
from trackbridge.dual.journal import Journal, now
from trackbridge.dual.late import Late
from trackbridge.dual.recorded import Recorded
from trackbridge.dual.values import EXACT, Item, Kept

_FLOATS, _NUMBERS = {float}, {float, int}
_NOTHING: frozenset[str] = frozenset()
TENDED = 30 * 10**9
"""Nanoseconds after which is looked whether a forwarder is at work."""
WAIT_SECONDS = 5.0
LOGGER = logging.getLogger("trackbridge")
LATE_SECONDS = 10.0
"""How long the end of a run waits for values of an accelerator."""
SAMPLED = 8
"""Of so many rows, one is timed."""
Call = TypeVar("Call", bound=Callable[..., Any])


def _kept(call: Call) -> Call:
    """A method whose failure is counted and never reaches the training."""

    @wraps(call)
    def calling(self: Run, *args: Any, **options: Any) -> Any:
        if self._journal is None:
            return None
        try:
            return call(self, *args, **options)
        except Exception as error:
            self._lose(call.__name__, error)
            return None

    return cast("Call", calling)


def _are_exact(numbers: Iterable[float]) -> bool:
    """Whether doubles hold all integers among some numbers."""
    return all(-EXACT <= number <= EXACT for number in numbers if type(number) is int)


class Run:
    """One run; without a journal, every method does nothing."""

    def __init__(
        self,
        journal: Journal | None,
        project: str,
        run_id: str,
        *,
        row: int = 0,
        step: int = 0,
        stores: Sequence[str] = (),
        tend: Callable[[], object] = bool,
    ) -> None:
        """`row` and `step` are those of the next call; `stores` are addresses without secrets.

        `tend` is called now and then, and in the end, to see that a forwarder is at work; `bool`
        does nothing.
        """
        self.project, self.id = project, run_id
        self.config = Recorded(lambda change: self.tell("config", **change))
        self.summary = Recorded(lambda change: self.tell("summary", **change))
        self.costs = Costs()
        self._journal = journal
        self._row, self._step = row, step
        self._used: Iterable[str] = _NOTHING
        """Keys of the row that is still open."""
        self._stores, self._tend, self._tended = stores, tend, perf_counter_ns()
        self._late = Late(self.write)
        self._warned: set[str] = set()
        self._pid = os.getpid()
        atexit.register(self._at_exit)

    @property
    def folder(self) -> Path | None:
        """Where its journal lies; None where logging is switched off."""
        return None if self._journal is None else self._journal.folder

    @property
    def step(self) -> int:
        """The step of the next call that names none."""
        return self._step

    def log(
        self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None
    ) -> None:
        """Log values at a step: the next one where none is given.

        Calls with one step are one row, as are those with `commit=False` and the next one. A step
        may be lower than the last one; a key that repeats within a step begins a row of its own.
        Numbers (of numpy and torch too), texts, booleans, nested mappings, lists, histograms,
        images, tables and data frames are taken; arrays and tensors as histograms. Tensors of an
        accelerator are copied there, and read by another thread.
        """
        journal = self._journal
        if journal is None:
            return
        begun = 0 if self._row % SAMPLED else perf_counter_ns()
        try:
            at = time_ns() // 1000
            keys, found = tuple(data), tuple(data.values())
            kinds = set(map(type, found))
            with journal.lock:
                row, place_at = self._place(keys, step, commit)
                simple = kinds == _FLOATS or (kinds and kinds <= _NUMBERS and _are_exact(found))
                if simple and not self._late.is_waiting:
                    flags = CLOSED if self._row > row else 0
                    journal.points(keys, found, row, place_at, at, flags)
                else:
                    self._log_leaves(data, row, place_at, at, closed=self._row > row)
        except Exception as error:
            self._lose("log", error)
        if begun:
            self.costs.add(perf_counter_ns() - begun)
            if begun - self._tended > TENDED:
                self._look()

    @_kept
    def define_metric(
        self,
        name: str,
        step_metric: str | None = None,
        *,
        summary: str | None = None,
        goal: str | None = None,
        hidden: bool = False,
    ) -> None:
        """Say how a metric, or all that a pattern with `*` means, is plotted and summed up.

        `summary` names aggregates (min, max, mean, last, best), with commas between; `goal` is
        minimize or maximize.
        """
        row = {"key": name, "glob": "*" in name, "x_axis": step_metric, "summary": summary}
        self.tell("put", table="metric_defs", rows=[{**row, "goal": goal, "hidden": hidden}])

    @_kept
    def log_image(
        self, key: str, picture: Any, *, caption: str | None = None, step: int | None = None
    ) -> None:
        """Log a picture; see `values.Image`."""
        self.log({key: values.Image(picture, caption)}, step)

    @_kept
    def log_table(
        self, key: str, columns: Any, data: Any = None, *, step: int | None = None
    ) -> None:
        """Log a data frame, or rows under columns."""
        self.log({key: values.Table(columns, data)}, step)

    @_kept
    def log_artifact(
        self,
        path: str | Path,
        name: str | None = None,
        kind: str = "dataset",
        *,
        aliases: Iterable[str] = ("latest",),
        metadata: Mapping[str, Any] | None = None,
        description: str | None = None,
    ) -> None:
        """Log a file or folder as a version of an artifact; its bytes are copied now."""
        path = Path(path)
        top, files = path.parent, [path]
        if path.is_dir():
            top, files = path, sorted(each for each in path.rglob("*") if each.is_file())
        kept = [self._keep(each.relative_to(top).as_posix(), each) for each in files]
        row: dict[str, Any] = {
            "collection": name or path.stem,
            "kind": kind,
            "aliases": sorted(aliases),
        }
        row |= {"metadata": values.plain(metadata or {}), "description": description}
        self.tell("artifact", row=row, files=[each._asdict() for each in kept])

    @_kept
    def save(self, path: str | Path, name: str | None = None) -> None:
        """Keep a file with the run, under its own or another name; its bytes are copied now."""
        path = Path(path)
        self.keep(name or path.name, path)

    @_kept
    def alert(self, title: str, text: str = "", level: str = "INFO") -> None:
        """Raise an alert: told natively where a back end can, else sent where `TRACKBRIDGE_ALERTS`
        says."""
        at = now()
        definition = {"title": title, "text": text, "level": level}
        row = {"title": title, "level": level, "time": at, "definition": values.dumps(definition)}
        self.tell("put", table="alerts", rows=[row])

    @_kept
    def set_tags(self, tags: Iterable[str] | Mapping[str, Any]) -> None:
        """Add tags: bare labels, or names with values."""
        given = tags.items() if isinstance(tags, Mapping) else ((tag, None) for tag in tags)
        rows = [
            {"key": str(key), "value": None if value is None else str(value)}
            for key, value in given
        ]
        self.tell("put", table="tags", rows=rows)

    @_kept
    def set(self, **fields: Any) -> None:
        """Set fields of the run itself: name, notes, group, job_type and others of `runs`."""
        self.tell("set", row=fields)

    def keep(self, path: str, content: bytes | Path) -> Kept:
        """Keep a file of the run under a name that has forward slashes; raises `OSError`."""
        kept = self._keep(path, content)
        self.tell("file", file=kept._asdict())
        return kept

    def finish(
        self, status: str | None = None, *, exit_code: int | None = None, wait: float = WAIT_SECONDS
    ) -> None:
        """End the run: finished, failed, killed or crashed. Called again, it does nothing.

        Back ends that answer are waited for, at most for `wait` seconds; the others get what is
        left later, without the training.
        """
        if self._journal is None:
            return
        atexit.unregister(self._at_exit)
        for _ in range(self._late.drain(LATE_SECONDS)):
            self._journal.lose("a value was not read from its accelerator in time")
        journal, self._journal = self._journal, None
        self._end(journal, status or ("failed" if exit_code else "finished"), exit_code)
        self._look()
        ending.wait(journal.folder, self._stores, wait)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        code = error.code if isinstance(error, SystemExit) else error
        self.finish(
            "killed" if isinstance(error, KeyboardInterrupt) else None, exit_code=int(bool(code))
        )

    def _place(
        self, keys: tuple[str, ...], step: int | None, commit: bool | None
    ) -> tuple[int, int]:
        """Row and step of a call, and those of the next one; the journal's lock is held."""
        if step is None and not self._used and commit is not False:  # as nearly all are
            row, here = self._row, self._step
            self._row, self._step = row + 1, here + 1
            return row, here
        late = False
        if step is not None:
            step = int(step)
            if step != self._step or not set(keys).isdisjoint(self._used):
                self._close_row()
            late = step < self._step
            if not late:
                self._step = step
        elif self._used and not set(keys).isdisjoint(self._used):
            self._close_row()
        found = self._row, self._step if step is None else step
        if late or (step is None if commit is None else commit):
            self._row, self._used = self._row + 1, _NOTHING
            self._step += not late
        else:
            self._used = {*self._used, *keys}
        return found

    def _close_row(self) -> None:
        if self._used:
            self._row, self._used = self._row + 1, _NOTHING

    def _log_leaves(
        self, data: Mapping[str, Any], row: int, step: int, at: int, *, closed: bool
    ) -> None:
        found = dict(values.leaves(data))
        if self._late.is_waiting or any(map(values.is_late, found.values())):
            self._late.add(found, row, step, at, closed)
        else:
            self.write(found, row, step, at, closed)

    def write(
        self, found: Mapping[str, Any], row: int, step: int, at: int, closed: bool = False
    ) -> None:
        """Write values by their names as they are, with row, step and time (`frames.NONE`: none).

        One that cannot be kept costs the others nothing. After a `closed` one, no others come to
        the row.
        """
        journal = self._journal
        if journal is None:
            return
        numbers: dict[str, float] = {}
        items: list[Item] = []
        for key, value in found.items():
            try:
                number = values.number(value)
                if number is None:
                    items.append(values.item(key, value, f"{place.safe(key)}_{row}", self))
                else:
                    numbers[key] = number
            except Exception as error:
                self._lose(f"log of {key!r}", error)
        if numbers:
            flags = CLOSED if closed and not items else 0
            journal.points(tuple(numbers), tuple(numbers.values()), row, step, at, flags)
        if items:
            place_at = {"row": row, "step": step, "at": at, "closed": closed}
            journal.record({"t": "series", **place_at, "items": items})

    def _keep(self, path: str, content: bytes | Path) -> Kept:
        if self._journal is None:
            raise OSError("the run has ended")
        return place.keep(self._journal.folder, path, content)

    def tell(self, kind: str, **content: Any) -> None:
        """Write a record of a kind that the journal's reader knows."""
        if self._journal is not None:
            self._journal.record({"t": kind, "at": now(), **content})

    def _lose(self, what: str, error: Exception) -> None:
        """Count a call that could not be kept, and warn of its kind once."""
        if self._journal is not None:
            self._journal.lose(f"{what}: {type(error).__name__}: {error}")
        if what not in self._warned:
            self._warned.add(what)
            LOGGER.warning("trackbridge: %s: %s; it is not kept", what, error)

    def _end(self, journal: Journal, status: str, exit_code: int | None) -> None:
        journal.record(
            {"t": "end", "at": now(), "status": status, "exit_code": exit_code}
            | {"cost": self.costs.summary(), "lost": journal.lost}
        )
        journal.close()
        if journal.lost:
            print(
                f"trackbridge: {journal.lost} calls could not be kept ({journal.reason})",
                file=sys.stderr,
            )

    def _look(self) -> None:
        self._tended = perf_counter_ns()
        with suppress(OSError):  # another look will be taken
            self._tend()

    def _at_exit(self) -> None:
        """The program ends without a word: what it ended with is known if it was an error."""
        if os.getpid() == self._pid:
            failed = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
            self.finish(exit_code=int(failed is not None))
