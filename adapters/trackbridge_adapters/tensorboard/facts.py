"""What the event files of a run say besides its points, gathered while they are read."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from trackbridge.adapter import Names
from trackbridge.fit_text import fit_name
from trackbridge_adapters.tensorboard.contents import Content, Contents
from trackbridge_adapters.tensorboard.framing import Damage
from trackbridge_adapters.tensorboard.hparams import PLUGIN, HParams
from trackbridge_adapters.tensorboard.protos import DecodeError, SummaryMetadata

NAMED = 20
"""Damages of a file that are named one by one."""
PLAIN = Names(length=100, alphabet=r"A-Za-z0-9_.\-")
"""Of files that are named after tags."""
_DOTS = re.compile(r"^\.+")


class Facts:
    """What is known of a run; grows while its files are read."""

    def __init__(self) -> None:
        self.damage: list[str] = []
        self.tags: dict[str, Any] = {}
        """The metadata of each tag that has any: what its first event says."""
        self.hparams = HParams()
        self.ended: float | None = None
        self.event_files: dict[str, dict[str, str]] = {}
        self.shapes: dict[str, list[int]] = {}
        """Of texts that are no scalars though they have one element."""
        self.files = Contents()
        self._shaped: dict[str, tuple[int, int]] = {}
        self._names: dict[str, str] = {}
        self._media: dict[str, int] = {}
        self._parsed: dict[bytes, Any] = {}

    def note_time(self, seconds: float) -> None:
        if seconds == seconds and (self.ended is None or seconds > self.ended):
            self.ended = seconds

    def note_damage(self, file: str, found: list[Damage]) -> None:
        """Name what is damaged of a file; of much the beginning."""
        for each in found[:NAMED]:
            self.damage.append(f"{file}: offset {each.offset}: {each.reason}")
        if len(found) > NAMED:
            self.damage.append(f"{file}: {len(found) - NAMED} more that are damaged")

    def note_tag(self, tag: str, metadata: bytes) -> None:
        """Take down what an event says of its tag; the first one counts."""
        about = self.metadata(metadata)
        if about is None:
            self.damage.append(f"tag {tag!r}: metadata that are none")
            return
        self.tags.setdefault(tag, about)
        if about.plugin_data.plugin_name == PLUGIN:
            reason = self.hparams.note(about.plugin_data.content)
            if reason and f"tag {tag!r}: {reason}" not in self.damage:
                self.damage.append(f"tag {tag!r}: {reason}")

    def note_shape(self, tag: str, offset: int, shape: tuple[int, ...]) -> None:
        """Take down the shape of a text, wherever it is in the last file; the first one counts."""
        place = len(self.event_files), offset
        if place < self._shaped.get(tag, (len(self.event_files) + 1, 0)):
            self._shaped[tag], self.shapes[tag] = place, list(shape)

    def metadata(self, content: bytes) -> Any:
        """Metadata of a summary; None where it is none."""
        if content not in self._parsed:
            try:
                self._parsed[content] = SummaryMetadata.FromString(content)
            except DecodeError:
                self._parsed[content] = None
        return self._parsed[content]

    def plugin(self, tag: str, metadata: bytes | None) -> str:
        """The plugin that shows a value: what its event says, else what the tag's first said."""
        about = self.metadata(metadata) if metadata else self.tags.get(tag)
        return str(about.plugin_data.plugin_name) if about is not None else ""

    def keep(self, folder: str, tag: str, step: int, ending: str, content: Content) -> str:
        """Have a part of an event file as a file of the run; its path."""
        name = self._names.get(tag)
        if name is None:
            name = self._names[tag] = _DOTS.sub("_", fit_name(tag, PLAIN))
        stem = f"media/{folder}/{name}_{step}_"
        number = self._media[stem] = self._media.get(stem, -1) + 1
        path = f"{stem}{number}{ending}"
        self.files.put(path, content)
        return path

    def extra(self) -> str | None:
        """The JSON of what has no column of its own."""
        about = {tag: _about(self.tags[tag]) for tag in sorted(self.tags)}
        for tag, shape in self.shapes.items():
            about.setdefault(tag, {})["shape"] = shape
        found = {
            "damage": self.damage,
            "event_files": self.event_files,
            "hparams": self.hparams.said,
            "tags": {tag: told for tag, told in about.items() if told},
        }
        kept = {name: value for name, value in found.items() if value}
        return json.dumps(kept, ensure_ascii=False, sort_keys=True) if kept else None

    def with_damage(self, extra: Any) -> str | None:
        """The `extra` of a run that we wrote, with what is damaged of it since."""
        if not self.damage:
            return None if extra is None else str(extra)
        try:
            known = json.loads(extra or "{}")
        except ValueError:
            known = {}
        told = {**(known if isinstance(known, dict) else {}), "damage": self.damage}
        return json.dumps(told, ensure_ascii=False, sort_keys=True)


def _about(metadata: Any) -> dict[str, Any]:
    """A tag's metadata as JSON."""
    plugin = metadata.plugin_data
    content = b"" if plugin.plugin_name == PLUGIN else plugin.content
    found = {
        "plugin": plugin.plugin_name,
        "content": base64.b64encode(content).decode(),
        "display_name": metadata.display_name,
        "description": metadata.summary_description,
        "data_class": metadata.data_class,
    }
    return {name: value for name, value in found.items() if value}
