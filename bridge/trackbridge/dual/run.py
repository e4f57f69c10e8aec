"""A run that is being logged: every call becomes a record of its journal, and nothing else.

No method raises into the training, blocks on a server or costs more than a write to the disk; what
cannot be kept is counted, and said when the run ends.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial, wraps
from pathlib import Path
from time import perf_counter_ns, time, time_ns
from types import TracebackType
from typing import Any, TypeVar, cast

from trackbridge.dual import ending, pickled, place, reading, values
from trackbridge.dual.costs import Costs
from trackbridge.dual.frames import CLOSED
from trackbridge.dual.journal import Journal, now
from trackbridge.dual.late import Late
from trackbridge.dual.reading import Points
from trackbridge.dual.recorded import Recorded
from trackbridge.dual.records import is_sound
from trackbridge.dual.steps import Steps
from trackbridge.dual.values import EXACT, Item, Kept

_FLOATS = {float}
TENDED = 30 * 10**9
"""Nanoseconds after which is looked whether a forwarder is at work."""
LATE_SECONDS = 10.0
"""How long the end of a run waits for values of an accelerator."""
SAMPLED = 8
"""Of so many rows, one is timed."""
LEVELS = ("info", "warn", "error", "warning", "critical", "fatal")
"""Of alerts; the last three are other words for those before."""
AGGREGATES = ("min", "max", "mean", "last", "best", "first", "copy", "none")
GOALS = ("minimize", "maximize")
Call = TypeVar("Call", bound=Callable[..., Any])


def _kept(call: Call) -> Call:
    """A method whose failure is counted and never reaches the training."""

    @wraps(call)
    def calling(self: Run, *args: Any, **options: Any) -> Any:
        if self._journal is None:
            self._say_over(call.__name__)
            return None
        try:
            return call(self, *args, **options)
        except Exception as error:
            self.lose(call.__name__, error)
            return None

    return cast("Call", calling)


def _are_doubles(found: Iterable[Any], kinds: Collection[type]) -> bool:
    """Whether there are values, of these kinds, and doubles hold all of them."""
    if not kinds or any(kind is not int and not issubclass(kind, float) for kind in kinds):
        return False
    return all(-EXACT <= number <= EXACT for number in found if type(number) is int)


def _say(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):  # nobody is there to be told
        sys.stderr.write(f"trackbridge: {text}\n")


class Run:
    """One run; without a journal, every method does nothing."""

    counts = True
    """Whether it gives rows and steps to calls, and so has to know the last ones."""

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
        self._config = Recorded(partial(self.tell, "config"), partial(self.lose, "config"))
        self._summary = Recorded(partial(self.tell, "summary"), partial(self.lose, "summary"))
        self.costs = Costs()
        self._journal = journal
        self._steps = Steps(row, step)
        self._stores, self._tend, self._tended = stores, tend, perf_counter_ns()
        self._late = Late(self._write_late)
        self._warned: set[str] = set()
        self._is_over, self._pid, self._begun = False, os.getpid(), time()
        if journal is not None:
            atexit.register(self._at_exit)

    @property
    def folder(self) -> Path | None:
        """Where its journal lies; None where logging is switched off."""
        return None if self._journal is None else self._journal.folder

    @property
    def config(self) -> Recorded:
        """What the run is configured with; what is assigned to it is added."""
        return self._config

    @config.setter
    def config(self, values: Any) -> None:
        self._config.update(values)

    @property
    def summary(self) -> Recorded:
        """What the run comes to; what is assigned to it is added."""
        return self._summary

    @summary.setter
    def summary(self, values: Any) -> None:
        self._summary.update(values)

    @property
    def row(self) -> int:
        """The number of the next row."""
        return self._steps.row

    @property
    def step(self) -> int:
        """The step of the next call that names none."""
        return self._steps.step

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
            self._say_over("log")
            return
        begun = 0 if self._steps.row % SAMPLED else perf_counter_ns()
        try:
            at = time_ns() // 1000
            keys, found = tuple(data), tuple(data.values())
            kinds = set(map(type, found))
            with journal.lock:
                row, place_at, closed = self._steps.place(keys, step, commit)
                simple = kinds == _FLOATS or _are_doubles(found, kinds)
                if simple and self._late.taken == self._late.written:
                    journal.points(keys, found, row, place_at, at, CLOSED if closed else 0)
                else:
                    self._log_any(data, row, place_at, at, closed=closed)
        except Exception as error:
            self.lose("log", error)
        if begun:
            self.costs.add(perf_counter_ns() - begun)
            if begun - self._tended > TENDED:
                self.look()

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
        minimize or maximize. Other words are counted, and the rest is kept without them.
        """
        named = [name.strip().lower() for name in str(summary or "").split(",") if name.strip()]
        what = "summary of define_metric"
        summary = ",".join(name for name in named if self._is_one_of(AGGREGATES, name, what))
        if goal is not None:
            is_one = self._is_one_of(GOALS, goal, "goal of define_metric")
            goal = goal.lower() if is_one else None
        row = {"key": name, "glob": "*" in name, "x_axis": step_metric}
        row |= {"summary": summary or None, "goal": goal, "hidden": hidden}
        self.tell("put", table="metric_defs", rows=[row])

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
        aliases: str | Iterable[str] = ("latest",),
        metadata: Mapping[str, Any] | None = None,
        description: str | None = None,
    ) -> None:
        """Log a file or folder as a version of an artifact; its bytes are copied now."""
        path = Path(path)
        top, files, called = path.parent, [path], path.stem
        if path.is_dir():
            top, called = path, path.resolve().name
            files = sorted(each for each in path.rglob("*") if each.is_file())
        kept = [self._keep(each.relative_to(top).as_posix(), each) for each in files]
        row: dict[str, Any] = {
            "collection": str(name or called),
            "kind": kind,
            "aliases": sorted([aliases] if isinstance(aliases, str) else aliases),
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
        says. A level that is none is counted, and the alert is of INFO."""
        at = now()
        if not self._is_one_of(LEVELS, level, "level of an alert"):
            level = LEVELS[0].upper()
        definition = {"title": title, "text": text, "level": level}
        row = {"title": title, "level": level, "time": at, "definition": values.dumps(definition)}
        self.tell("put", table="alerts", rows=[row])

    @_kept
    def set_tags(self, tags: str | Iterable[str] | Mapping[str, Any]) -> None:
        """Add tags: bare labels, or names with values."""
        bare = [tags] if isinstance(tags, str) else tags
        given = bare.items() if isinstance(bare, Mapping) else ((tag, None) for tag in bare)
        rows = [
            {"key": str(key), "value": None if value is None else str(value)}
            for key, value in given
        ]
        if rows:
            self.tell("put", table="tags", rows=rows)

    @_kept
    def set(self, **fields: Any) -> None:
        """Set fields of the run itself: name, notes, group, job_type and others of `runs`."""
        self.tell("set", row={name: values.field(value) for name, value in fields.items()})

    def keep(self, path: str, content: bytes | Path) -> Kept:
        """Keep a file of the run under a name that has forward slashes; raises `OSError`."""
        kept = self._keep(path, content)
        self.tell("file", file=kept._asdict())
        return kept

    def finish(
        self, status: str | None = None, *, exit_code: int | None = None, wait: float | None = None
    ) -> None:
        """End the run: finished, failed, killed or crashed. Called again, it does nothing.

        A line is said of each back end. Those that answer are waited for, for five seconds at most;
        with `wait` every one is, for so many seconds. What is left then is delivered without the
        training. With 0, nothing is said.
        """
        journal = self._journal
        if journal is None:
            return
        atexit.unregister(self._at_exit)
        unread = self._late.drain(LATE_SECONDS)
        exit_code = ending.code(exit_code)
        status = ending.status(status, exit_code)
        with journal.lock:
            if self._journal is None:  # another thread has ended it
                return
            self._journal, self._is_over = None, True
            for _ in range(unread):
                journal.lose("a value was not read from its accelerator in time")
            is_guest = os.getpid() != self._pid  # the process that began it goes on with it
            if is_guest:
                journal.close()
            else:
                self._end(journal, status, exit_code)
            journal.is_over = True
        if is_guest:
            return
        self.look()
        if wait != 0 and status != "killed":  # whoever did that waits for the prompt
            with suppress(Exception):  # it is ended, whatever can be said of it
                ending.wait(journal.folder, self._stores, wait, self._begun)
                self._report(journal.folder)

    def outlast(self) -> None:
        """It does not end with the program: someone else says when it does."""
        atexit.unregister(self._at_exit)

    __reduce__ = pickled.reduced

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        killed = isinstance(error, KeyboardInterrupt)
        self.finish("killed" if killed else None, exit_code=ending.exit_code(error))

    def _log_any(
        self, data: Mapping[str, Any], row: int, step: int, at: int, *, closed: bool
    ) -> None:
        """Log values of any kind; those of an accelerator, and what comes after them, later."""
        here, away = reading.taken(data, self.lose)
        points = reading.read(here, row, self, self.lose)
        if away or self._late.taken != self._late.written:
            self._late.add(points, away, row, step, at, closed)
        else:
            self.append(*points, row, step, at, closed)

    def _write_late(
        self, points: Points, away: Mapping[str, Any], row: int, step: int, at: int, closed: bool
    ) -> None:
        try:
            late = reading.read(away, row, self, self.lose)
            self.append(*points.joined(late), row, step, at, closed)
        except Exception as error:
            self.lose("log", error)

    def append(
        self,
        keys: tuple[str, ...],
        numbers: tuple[float, ...],
        items: Sequence[Item],
        row: int,
        step: int,
        at: int,
        closed: bool = False,
        flags: int = 0,
    ) -> None:
        """Write points that are what they are to be, numbers and others, with row, step and time
        (`frames.NONE`: none). After `closed` ones, no others come to the row."""
        journal = self._journal
        if journal is None:
            return
        if numbers:
            flags |= CLOSED if closed and not items else 0
            journal.points(keys, numbers, row, step, at, flags)
        if items:
            place_at = {"row": row, "step": step, "at": at, "closed": closed}
            journal.record({"t": "series", **place_at, "items": items})
        if perf_counter_ns() - self._tended > TENDED:
            self.look()

    def _keep(self, path: str, content: bytes | Path) -> Kept:
        if self._journal is None:
            raise OSError("the run has ended")
        return place.keep(self._journal.folder, path, content)

    def tell(self, kind: str, **content: Any) -> None:
        """Write a record; `ValueError` for one that the journal's reader would not understand."""
        journal = self._journal
        if journal is None:
            return
        record = {"t": kind, "at": now(), **content}
        if not is_sound(record):
            raise ValueError("the journal could not be read with that in it")
        journal.record(record)

    def lose(self, what: str, error: Exception) -> None:
        """Count a call that could not be kept, and warn of its kind once."""
        if self._journal is not None:
            self._journal.lose(f"{what}: {type(error).__name__}: {error}")
        self.warn(what, str(error))

    def _is_one_of(self, known: Sequence[str], told: object, what: str) -> bool:
        """Whether a word is known; others are counted."""
        is_known = str(told).lower() in known
        if not is_known:
            self.lose(what, ValueError(f"{told!r} is none of {', '.join(known)}"))
        return is_known

    def _say_over(self, what: str) -> None:
        if self._is_over:
            self.warn(f"{what} after the end", "the run has ended")

    def warn(self, what: str, why: str, so: str = "it is not kept") -> None:
        """Warn once of a kind."""
        if what not in self._warned:
            self._warned.add(what)
            import logging  # here, since many a training never needs it

            with suppress(Exception):  # of whoever has it told
                logging.getLogger("trackbridge").warning("trackbridge: %s: %s; %s", what, why, so)

    def _end(self, journal: Journal, status: str | None, exit_code: int | None) -> None:
        journal.record(
            {"t": "end", "at": now(), "status": status, "exit_code": exit_code}
            | {"cost": self.costs.summary(), "lost": journal.lost}
        )
        journal.close()
        if journal.lost:
            told = f"{journal.lost} calls could not be kept ({journal.reason})"
            _say(f"run {self.id}: {told} in {journal.folder}")

    def warn_of_loss(self) -> None:
        """Say so at once if nothing can be written at all."""
        journal = self._journal
        if journal is not None and journal.lost and journal.is_closed:
            why = f"{journal.folder} cannot be written: {journal.reason}"
            self.warn("the run", f"{why}; nor is anything else, until that is mended")

    def _report(self, folder: Path) -> None:
        """Say how far each back end is."""
        if self._stores:
            from trackbridge.dual.brief import short  # here: see `ending`

            for text in short(folder):
                _say(f"run {self.id} to {text}")

    def look(self) -> None:
        """See that a forwarder is at work."""
        self._tended = perf_counter_ns()
        try:
            self._tend()
        except Exception as error:
            so = "it is tried again; `trackbridge replay` delivers what is kept, too"
            self.warn("no forwarder can be begun", f"{type(error).__name__}: {error}", so)

    def _at_exit(self) -> None:
        """The program ends without a word: what it ended with is known if it was an error."""
        if os.getpid() == self._pid:
            error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
            self.__exit__(None, error, None)
