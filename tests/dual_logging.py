"""Training programs for tests of dual logging: started, killed, and their forwarders ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import trackbridge
from trackbridge.dual import place, spawn
from trackbridge.dual.status import Status, status

ROOT = Path(__file__).parents[1]
PATIENCE = 300
"""Seconds until everything has to be delivered."""
BEGUN = re.compile(r"begins \(process (\d+)\)")


@dataclass
class Training:
    """Programs that log into one folder of journals."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def journals(self) -> Path:
        return self.folder / "trackbridge"

    def told(self) -> dict[str, str]:
        """The environment of a program."""
        ours = [str(ROOT / "bridge"), str(ROOT / "adapters")]
        told = {**os.environ, "TRACKBRIDGE_PATIENCE": "300", **self.environment}
        told["PYTHONPATH"] = os.pathsep.join([*filter(None, [told.get("PYTHONPATH")]), *ours])
        return told

    def begin(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=self.folder,
            env=self.told(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, program: str, *arguments: str) -> str:
        """What a program has printed that has ended well."""
        process = self.begin(program, *arguments)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        return out

    def forwarders(self) -> list[int]:
        """Processes that were begun, the last one last."""
        log = self.journals / spawn.LOG
        return [int(pid) for pid in BEGUN.findall(log.read_text())] if log.exists() else []

    def end_forwarders(self) -> None:
        for pid in self.forwarders():
            with suppress(ProcessLookupError, FileNotFoundError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
                if b"trackbridge.dual.forwarder" in command:
                    os.kill(pid, signal.SIGKILL)

    def check(self, store: str, runs: int = 1) -> None:
        """So many runs were logged, and each is in the store as it was logged, and once."""
        result = trackbridge.verify(f"journal:{self.journals}", store)
        assert (result.total, result.missing, result.differences) == (runs, 0, [])

    def status(self) -> list[Status]:
        return list(status([self.journals]))

    def wait(self, *states: str, patience: float = PATIENCE) -> list[Status]:
        """The status once every delivery is in one of the states."""
        end = time.monotonic() + patience
        while True:
            found = self.status()
            if {each.state for each in found} <= set(states):
                return found
            log = (self.journals / spawn.LOG).read_text()
            left = [each for each in found if each.state not in states]
            assert time.monotonic() < end, f"{len(left)} left, like {left[0]}\n{log}"
            time.sleep(0.2)


@contextmanager
def training(folder: Path, **environment: str) -> Iterator[Training]:
    """A folder to train in, whose forwarders end with the test."""
    folder.mkdir(parents=True, exist_ok=True)
    found = Training(folder, environment)
    try:
        yield found
    finally:
        found.end_forwarders()


def run_folders(found: Training) -> Sequence[Path]:
    return place.runs(found.journals)
