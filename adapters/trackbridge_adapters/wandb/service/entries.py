"""Entries of a run's config, ours among them, and times as they stand there."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Any

from trackbridge.adapter import ORIGIN, RunKey
from trackbridge.errors import IntegrityError
from trackbridge_adapters.wandb import jsontext
from trackbridge_adapters.wandb.jsontext import Node as Json
from trackbridge_adapters.wandb.service.pages import generations


def value_of(entry: Json) -> Json:
    """Entries of a config are objects with a value and a description."""
    return entry["value"] if isinstance(entry, dict) and "value" in entry else entry


def origin_of(config: str | None, name: str) -> dict[str, Any]:
    """Our own entry in the config of a run of which nothing else is known."""
    try:
        entries = json.loads(config or "{}")
    except ValueError:
        return {}
    entry = entries.get(ORIGIN) if isinstance(entries, dict) else None
    return own_entry(entry.get("value") if isinstance(entry, dict) else None, name)


def own_entry(entry: Any, name: str) -> dict[str, Any]:
    """Our own entry; empty for a run that was not brought there.

    Other entries may look like ours, and people copy configs of runs that were brought there.
    """
    try:
        if isinstance(entry, dict) and RunKey.parse(str(entry.get("run_key"))):
            return entry if name in generations(str(entry.get("id", name))) else {}
    except IntegrityError:
        pass
    return {}


def plain(node: Json | None) -> Any:
    return {} if node is None else jsontext.load(jsontext.dump(node))


def moment(text: Any) -> datetime | None:
    """Times as the service and our entries write them: ISO 8601, UTC where they do not say."""
    if not isinstance(text, str) or not text:
        return None
    text = re.sub(r"(\.\d{6})\d+", r"\1", text.removesuffix("Z"))
    text = re.sub(r"\.(\d{1,5})(?!\d)", lambda m: "." + m[1].ljust(6, "0"), text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
