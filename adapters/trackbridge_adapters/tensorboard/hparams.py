"""What the hparams plugin keeps of a run: its hyperparameters, status and experiment."""

from __future__ import annotations

import json
from typing import Any

from trackbridge.adapter import Row
from trackbridge_adapters.tensorboard.protos import DecodeError, HParamsPluginData, json_format

PLUGIN = "hparams"
STATUS = {"STATUS_SUCCESS": "finished", "STATUS_FAILURE": "failed", "STATUS_RUNNING": "running"}
"""As a session's end says it -> as the run model does (plugins/hparams/api.proto, 2.21)."""
TYPES = {bool: "boolean", float: "float", str: "string", type(None): "null", list: "list"}


class HParams:
    """What was said of the session so far; `said` has it whole, by the names of the fields."""

    def __init__(self) -> None:
        self.said: dict[str, list[Any]] = {}

    def note(self, content: bytes) -> str | None:
        """Take down what a summary's metadata say; a reason where they cannot be read."""
        try:
            data = HParamsPluginData.FromString(content)
        except DecodeError:
            return "metadata of hparams that are none"
        kind = data.WhichOneof("data")
        if kind is None:
            return None
        told = json_format.MessageToDict(getattr(data, kind), preserving_proto_field_name=True)
        if told not in self.said.setdefault(kind, []):
            self.said[kind].append(told)
        return None

    def last(self, kind: str) -> dict[str, Any]:
        """What was said last of `experiment`, `session_start_info` or `session_end_info`."""
        return dict(self.said[kind][-1]) if self.said.get(kind) else {}

    @property
    def status(self) -> str | None:
        return STATUS.get(self.last("session_end_info").get("status", ""))

    @property
    def group(self) -> str | None:
        return self.last("session_start_info").get("group_name") or None

    def params(self) -> list[Row]:
        found = self.last("session_start_info").get("hparams", {})
        return [{"key": key, **_param(found[key])} for key in sorted(found)]

    def metric_defs(self) -> list[Row]:
        """The metrics that an experiment names, as far as they are those of the run itself."""
        found: dict[str, Row] = {}
        for info in self.last("experiment").get("metric_infos", ()):
            name = info.get("name", {})
            about = {key: info[key] for key in sorted(info) if key != "name"}
            about |= {"group": name["group"]} if name.get("group") else {}
            extra = json.dumps(about, ensure_ascii=False) if about else None
            if tag := name.get("tag"):
                row = {"key": tag, "glob": False, "hidden": False, "extra": extra}
                found.setdefault(tag, row)
        return list(found.values())


def _param(value: Any) -> Row:
    if isinstance(value, dict):
        return {"value": json.dumps(value, ensure_ascii=False), "type": "object"}
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return {"value": text, "type": TYPES[type(value)]}
