"""Follows what the client writes in its log while it uploads run folders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PLACE = "wandb/logs/debug-sync*.log"
"""Below the working folder of `wandb sync`; JSON lines (wandb 0.31, core/internal/runsync)."""
GIVEN_UP = "giving up after"
"""In an error for a request that the client has tried for as long as it was told to."""
CANCELLED = "context canceled"
"""In an error for a request that the client has ended itself, whatever the server answers."""
ENDED = "sender: closed"
DELETED = "previously created and deleted"
"""In a server's refusal of an id; the client goes on trying (W&B's issue 1192; measured, 0.31)."""


class SyncLog:
    """What is said since it was made; nothing where the client writes no such log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read = {path: path.stat().st_size for path in folder.glob(PLACE)}
        self.reasons: dict[str, str] = {}
        """The first error of each run that says why, by the name of its folder."""
        self.stuck: set[str] = set()
        """Runs of which a request was given up, none having been uploaded in between."""
        self.deleted: set[str] = set()
        """Runs whose ids are those of deleted ones, by the names of their folders."""

    def read(self) -> None:
        for line in self._lines():
            run = Path(str(line.get("sync_path") or "")).parent.name
            if not run:
                continue
            if DELETED in str(line.get("body")):
                self.deleted.add(run)
            said = _error(line)
            if said:
                if CANCELLED in self.reasons.setdefault(run, said):
                    self.reasons[run] = said
                if GIVEN_UP in said:
                    self.stuck.add(run)
            elif line.get("msg") == ENDED and run not in self.reasons:
                self.stuck.clear()

    def _lines(self) -> Iterator[Mapping[str, Any]]:
        """New lines that are whole."""
        for path in sorted(self._folder.glob(PLACE)):
            begin = self._read.get(path, 0)
            with path.open("rb") as file:
                file.seek(begin)
                whole = file.read().rpartition(b"\n")[0]
            self._read[path] = begin + len(whole) + bool(whole)
            for text in whole.splitlines():
                try:
                    line = json.loads(text)
                except ValueError:
                    continue
                if isinstance(line, dict):
                    yield line


def _error(line: Mapping[str, Any]) -> str:
    """What a line says went wrong, on one line; empty where nothing did."""
    said = " ".join(f"{line.get('msg', '')} {line.get('error', '')}".split())
    told_again = said.startswith("api:")  # by whoever has sent that request, with its reason
    return said if str(line.get("level", "")).startswith("ERROR") and not told_again else ""
