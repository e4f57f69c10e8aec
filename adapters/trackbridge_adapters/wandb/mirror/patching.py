"""Hooks the methods of wandb through which everything passes, when the program imports it."""

from __future__ import annotations

import atexit
import os
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial, wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any

from trackbridge.dual.importing import when_imported
from trackbridge_adapters.wandb.mirror.mirrored import Mirrored

if TYPE_CHECKING:
    from trackbridge.dual.mirroring import Mirror

Original = Callable[..., Any]


class Mirroring:
    """The runs of this process that are mirrored."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror, self._warned = mirror, False
        self._runs: dict[str, Mirrored] = {}
        atexit.register(self.end_all, None)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def take(self, interface: Any, record: Any) -> None:
        """What a run sends; its journal begins with the record that says it has started."""
        kind = record.WhichOneof("record_type")
        if kind == "request":
            record = record.request
            kind = record.WhichOneof("request_type")
            if kind == "run_start":
                self.begin(interface, record.run_start.run)
                return
        mirrored = self._runs.get(interface._stream_id)
        if mirrored is not None:
            mirrored.take(kind, record)

    def begin(self, interface: Any, record: Any, attached: bool = False) -> None:
        found = getattr(interface, "_trackbridge_run", None)
        run = found() if found is not None else None
        folder = run._settings.files_dir if run is not None else None
        self._runs[interface._stream_id] = Mirrored(self._mirror, record, folder, attached)

    def attach(self, run: Any) -> None:
        """A process that did not begin the run logs to it, and is no child of the one that did."""
        interface = run.__dict__["_trackbridge_interface"]
        if interface._stream_id not in self._runs:
            self.begin(interface, interface._make_run(run), attached=True)

    def end(self, run: Any) -> None:
        """W&B has finished a run, or failed to."""
        stream = run.__dict__["_trackbridge_interface"]._stream_id
        mirrored = self._runs.get(stream)
        if mirrored is not None and mirrored.exit_code is not None:
            del self._runs[stream]
            self.guard(mirrored, mirrored.close, run._final_summary)
            mirrored.run.finish(exit_code=mirrored.exit_code, wait=0)

    def end_all(self, exit_code: int | None) -> None:
        """The program ends, and with it the runs that it has not finished."""
        while self._runs:
            _, mirrored = self._runs.popitem()
            self.guard(mirrored, mirrored.close, None)
            mirrored.end_with_process(exit_code)

    def guard(self, whose: Any, call: Callable[..., None], *given: Any) -> None:
        """Do something of ours: whatever fails is counted, and never reaches the training.

        `whose` is a run that is mirrored, or an interface of wandb's that says which one it is.
        """
        try:
            call(*given)
        except Exception as error:
            stream = getattr(whose, "_stream_id", "")
            mirrored = whose if isinstance(whose, Mirrored) else self._runs.get(stream)
            with suppress(Exception):  # a warning may have been made an error
                if mirrored is not None:
                    mirrored.run.lose("mirror", error)
                elif not self._warned:
                    self._warned = True
                    told = f"{type(error).__name__}: {error}"
                    warnings.warn(f"trackbridge: wandb is not mirrored: {told}", stacklevel=4)

    def _after_fork(self) -> None:
        for mirrored in self._runs.values():
            mirrored.after_fork()


def _sees_record(mirroring: Mirroring, original: Original) -> Original:
    @wraps(original)
    def send(self: Any, record: Any, *args: Any, **options: Any) -> Any:
        mirroring.guard(self, mirroring.take, self, record)
        return original(self, record, *args, **options)

    return send


def _sees_interface(mirroring: Mirroring, original: Original) -> Original:
    def join(run: Any, backend: Any) -> None:
        interface = getattr(backend, "interface", backend)
        interface._trackbridge_run = weakref.ref(run)
        run.__dict__["_trackbridge_interface"] = interface

    @wraps(original)
    def set_backend(self: Any, backend: Any) -> Any:
        mirroring.guard(backend, join, self, backend)
        return original(self, backend)

    return set_backend


def _sees_attach(mirroring: Mirroring, original: Original) -> Original:
    @wraps(original)
    def on_attach(self: Any) -> Any:
        mirroring.guard(None, mirroring.attach, self)
        return original(self)

    return on_attach


def _sees_finish(mirroring: Mirroring, original: Original) -> Original:
    @wraps(original)
    def on_finish(self: Any) -> Any:
        try:
            return original(self)
        finally:
            mirroring.guard(None, mirroring.end, self)

    return on_finish


def _sees_teardown(mirroring: Mirroring, original: Original) -> Original:
    @wraps(original)
    def teardown(self: Any, exit_code: int) -> Any:
        try:
            return original(self, exit_code)
        finally:
            mirroring.guard(None, mirroring.end_all, exit_code)

    return teardown


Hook = Callable[[Mirroring, Original], Original]
HOOKS: dict[str, list[tuple[str, str, Hook]]] = {
    "wandb.sdk.interface.interface_sock": [
        ("InterfaceSock", "_publish", _sees_record),
        ("InterfaceSock", "_deliver", _sees_record),
        ("InterfaceSock", "_communicate_async", _sees_record),
    ],
    "wandb.sdk.wandb_run": [
        ("Run", "_set_backend", _sees_interface),
        ("Run", "_on_attach", _sees_attach),
        ("Run", "_on_finish", _sees_finish),
    ],
    "wandb.sdk.lib.service.service_connection": [("ServiceConnection", "teardown", _sees_teardown)],
    "wandb.sdk.lib.service_connection": [("ServiceConnection", "teardown", _sees_teardown)],
    "wandb.sdk.wandb_manager": [("_Manager", "_teardown", _sees_teardown)],
}
"""Modules of wandb 0.17 to 0.31 -> class, method and what sees its calls; not every one has all."""
_INSTALLED: list[Mirroring] = []


def install(mirror: Mirror) -> None:
    """Mirror the runs of this process from now on; a second call changes nothing."""
    if _INSTALLED:
        return
    mirroring = Mirroring(mirror)
    _INSTALLED.append(mirroring)
    when_imported(HOOKS, partial(mirroring.guard, None, hook, mirroring))


def hook(mirroring: Mirroring, module: ModuleType) -> None:
    for holder, method, hooked in HOOKS.get(module.__name__, ()):
        owner = getattr(module, holder, None)
        original = vars(owner).get(method) if owner is not None else None
        if original is not None:
            setattr(owner, method, hooked(mirroring, original))
