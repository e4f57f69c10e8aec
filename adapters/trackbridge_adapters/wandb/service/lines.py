"""Lines of the streams of a run as the client makes them (measured, `wandb sync` of 0.31)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trackbridge_adapters.wandb import jsontext
from trackbridge_adapters.wandb.jsontext import Tree
from trackbridge_adapters.wandb.service.live import SYSTEM

HISTORY, EVENTS, SUMMARY = "wandb-history.jsonl", "wandb-events.jsonl", "wandb-summary.json"
MOST_LINES = 10_000
MOST_CHARACTERS = 5_000_000
"""In one request; a longer line goes alone."""
Stream = tuple[int, Iterable[str]]
"""The number of its first line, and the lines."""


def history(records: Iterable[Any]) -> Iterator[str]:
    for record in records:
        tree: Tree = {}
        for item in record.history.item:
            jsontext.put(tree, item.nested_key or (item.key,), number(item.value_json))
        yield dump(tree)


def events(records: Iterable[Any], started: float) -> Iterator[str]:
    """Samples of the system; `started` is when the run did, in seconds."""
    for record in records:
        at = record.stats.timestamp
        seconds = (at.seconds * 1_000_000 + at.nanos // 1000) / 1e6
        line: Tree = {"_wandb": "true", "_timestamp": repr(seconds)}
        line["_runtime"] = f"{seconds - started:.17g}"
        line |= {f"{SYSTEM}{item.key}": number(item.value_json) for item in record.stats.item}
        yield dump(line)


def number(text: str) -> str:
    """A JSON text; the client knows no negative zero."""
    return "0" if text == "-0" else text


def dump(tree: Tree) -> str:
    """A tree as JSON without spaces, but for those in its leaves."""
    items = (
        f"{jsontext.quote(key)}:{node if isinstance(node, str) else dump(node)}"
        for key, node in tree.items()
    )
    return "{" + ",".join(items) + "}"


def requests(streams: Mapping[str, Stream]) -> Iterator[dict[str, Any]]:
    """What is to be sent of some streams, by their names, in that order; once where it is nothing.

    Each is `files` of a request to `file_stream`.
    """
    files: dict[str, Any] = {}
    lines = characters = 0
    for name, (first, content) in streams.items():
        for at, line in enumerate(content, first):
            if files and (lines == MOST_LINES or characters + len(line) > MOST_CHARACTERS):
                yield files
                files, lines, characters = {}, 0, 0
            part = files.setdefault(name, {"offset": at, "content": []})
            part["content"].append(line)
            lines, characters = lines + 1, characters + len(line)
    yield files
