"""What runs that were born as event files said of themselves, for TensorBoard to show it again."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from trackbridge.adapter import Row
from trackbridge_adapters.tensorboard.encode import STRING, Shown, tensor
from trackbridge_adapters.tensorboard.protos import (
    HParamsPluginData,
    SummaryMetadata,
    json_format,
    make_tensor_proto,
)

KINDS = "biuf"
"""Of numpy's types, those whose values stand in JSON as they are."""


class Said:
    """The `extra` of such a run; of any other it says nothing."""

    def __init__(self, row: Row) -> None:
        try:
            extra = json.loads(row.get("extra") or "{}")
        except ValueError:
            extra = {}
        known: dict[str, Any] = extra if isinstance(extra, dict) else {}
        self._tags, self._hparams = (_object(known.get(name)) for name in ("tags", "hparams"))

    @property
    def has_session(self) -> bool:
        return bool(self._hparams)

    def metadata(self, tag: str) -> Any:
        """How a tag was called and described; None where nothing was said of it."""
        told = _object(self._tags.get(tag))
        texts = [told.get(name) for name in ("display_name", "description")]
        name, description = (text if isinstance(text, str) else "" for text in texts)
        if not name and not description:
            return None
        return SummaryMetadata(display_name=name, summary_description=description)

    def experiment(self) -> bytes | None:
        """The experiment that the plugin hparams was told of (`HParamsPluginData`)."""
        told = self._hparams.get("experiment")
        if not isinstance(told, list) or not told or not isinstance(told[-1], dict):
            return None
        data = HParamsPluginData()
        try:
            json_format.ParseDict(told[-1], data.experiment, ignore_unknown_fields=True)
        except json_format.ParseError:
            return None
        return bytes(data.SerializeToString())

    def tensor(self, tag: str, value: Any) -> Shown | None:
        """A tensor for the plugin that showed it; None where the value is none, or is in a file."""
        told = _object(value)
        content = _object(self._tags.get(tag)).get("content", "")
        if told.get("_type") != "tensor" or "values" not in told or not told.get("plugin"):
            return None
        try:
            return Shown(str(told["plugin"]), _tensor(told), base64.b64decode(content))
        except (TypeError, ValueError, KeyError, OverflowError, binascii.Error):
            return None


def _tensor(told: Mapping[str, Any]) -> Any:
    shape = [int(size) for size in told["shape"]]
    if told["dtype"] == "string":
        texts = np.array(told["values"], object).reshape(-1).tolist()
        if len(texts) != np.prod(shape, dtype=int):
            raise ValueError("not as many texts as the shape says")
        return tensor(STRING, shape, string_val=[_bytes(text) for text in texts])
    dtype = np.dtype(told["dtype"])
    if dtype.kind not in KINDS:
        raise ValueError(f"no numbers that JSON has: {dtype}")
    return make_tensor_proto(np.array(told["values"], dtype).reshape(shape))


def _bytes(text: Any) -> bytes:
    if isinstance(text, str):
        return text.encode()
    return base64.b64decode(text["base64"])


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
