"""Connections: pages of nodes with cursors."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

from wandb_server.graphql import Node, Refused


def identity(*parts: Any) -> str:
    """An id as the service writes it: base64 of `Kind:...`."""
    return base64.b64encode(":".join(map(str, parts)).encode()).decode()


def place(after: str | None) -> int:
    """How many items lie before a page."""
    if not after:
        return 0
    try:
        return int(base64.b64decode(after).decode().removeprefix("cursor:"))
    except ValueError:
        raise Refused(f"invalid cursor {after!r}") from None


def connection(
    items: Sequence[Any],
    show: Callable[[Any], Node],
    after: str | None = None,
    first: int | None = None,
    **edge: Callable[[Any], Any],
) -> Node:
    """A page of items; all of them where no size is given. `edge` adds fields to the edges."""
    start = place(after)
    page = items[start:] if first is None else items[start : start + first]
    edges = [
        {
            "node": show(item),
            "cursor": identity("cursor", start + at + 1),
            **{name: field(item) for name, field in edge.items()},
        }
        for at, item in enumerate(page)
    ]
    return {
        "edges": edges,
        "totalCount": len(items),
        "pageInfo": {
            "__typename": "PageInfo",
            "endCursor": edges[-1]["cursor"] if edges else None,
            "hasNextPage": start + len(page) < len(items),
        },
    }
