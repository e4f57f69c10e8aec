"""The messages of event files that are read with tensorboard's own definitions."""

from __future__ import annotations

from trackbridge.errors import ConfigError

try:
    from google.protobuf import json_format
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event, LogMessage, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    from tensorboard.util.tensor_util import make_ndarray, make_tensor_proto
except ImportError as error:
    raise ConfigError(
        f"event files cannot be read ({error}): pip install trackbridge[tensorboard]"
    ) from error

__all__ = [
    "DecodeError",
    "Event",
    "HParamsPluginData",
    "LogMessage",
    "SessionLog",
    "Summary",
    "SummaryMetadata",
    "TensorProto",
    "json_format",
    "make_ndarray",
    "make_tensor_proto",
]
