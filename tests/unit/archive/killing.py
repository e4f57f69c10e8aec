"""Processes that die in the middle of changing an archive."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from trackbridge import folder

STEPS = ("publish", "remove", "settle")


class Killed(BaseException):
    """The process is gone: nothing after this is done."""


@contextmanager
def killed_at(moment: int) -> Iterator[Callable[[], bool]]:
    """The process dies before its `moment`-th change of the archive; says whether it did."""
    count = itertools.count()
    dead = False

    def mortal(act: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(self: Any, *args: Any) -> Any:
            nonlocal dead
            changes = act.__name__ != "remove" or self.size(*args) is not None
            dead = dead or (changes and next(count) == moment)
            if dead:
                raise Killed
            return act(self, *args)

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        for step in STEPS:
            patch.setattr(folder.LocalFolder, step, mortal(getattr(folder.LocalFolder, step)))
        patch.setattr(folder.shutil, "rmtree", _unless(lambda: dead, folder.shutil.rmtree))
        yield lambda: dead


def _unless(condition: Callable[[], bool], act: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: None if condition() else act(*args, **kwargs)
