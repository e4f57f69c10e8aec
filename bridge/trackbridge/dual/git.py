"""The repository that a program runs in, read from its files: no process is started for it."""

from __future__ import annotations

import re
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_REMOTE = re.compile(r'\[remote "origin"\][^\[]*?^\s*url\s*=\s*(\S+)', re.MULTILINE)

_LOGIN = re.compile(r"^(https?://)[^/@]*@")
"""What stands before the host, and may be a token."""


def repository(folder: Path) -> tuple[str | None, str | None]:
    """Address of the remote `origin`, and commit; none where they are not found."""
    try:
        for place in (folder, *folder.parents):
            if (found := place / ".git").exists():
                return _read(found)
    except (OSError, ValueError):  # it may not be read, or is something else
        pass
    return None, None


def _read(git: Path) -> tuple[str | None, str | None]:
    if git.is_file():  # of a worktree or submodule
        git = git.parent / git.read_text().partition("gitdir:")[2].strip()
    told = git / "commondir"
    common = git / told.read_text().strip() if told.exists() else git
    config = common / "config"
    remote = _REMOTE.search(config.read_text()) if config.exists() else None
    return remote and _LOGIN.sub(r"\1", remote.group(1)), _commit(git, common)


def _commit(git: Path, common: Path) -> str | None:
    head = (git / "HEAD").read_text().strip()
    name = head.partition("ref: ")[2]
    if not name:
        return head if _COMMIT.fullmatch(head) else None
    for place in (git / name, common / name):
        if place.exists():
            return place.read_text().strip()
    packed = common / "packed-refs"
    lines = packed.read_text().splitlines() if packed.exists() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), None)
