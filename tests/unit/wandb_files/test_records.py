"""Our own protobuf messages against those of wandb."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from unit.wandb_files.stores import STORES

from trackbridge_adapters.wandb.framing import read_records
from trackbridge_adapters.wandb.records import CLASSES, TYPES, Record, peek

wandb_internal_pb2 = pytest.importorskip("wandb.proto.wandb_internal_pb2")
wandb_telemetry_pb2 = pytest.importorskip("wandb.proto.wandb_telemetry_pb2")
RENAMED = {"OutputRecord": ["OutputRecord", "OutputRawRecord"], "Empty": []}


def theirs(name: str) -> list[Any]:
    """wandb's descriptors of a message of ours."""
    if name in ("DiskEntry", "SlurmEntry"):
        environment = wandb_internal_pb2.DESCRIPTOR.message_types_by_name["EnvironmentRecord"]
        return [environment.nested_types_by_name[name]]
    names = RENAMED.get(name, [name])
    files = (wandb_internal_pb2.DESCRIPTOR, wandb_telemetry_pb2.DESCRIPTOR)
    return [
        f.message_types_by_name[n] for n in names for f in files if n in f.message_types_by_name
    ]


def repeated(field: Any) -> bool:
    if hasattr(field, "is_repeated"):
        return bool(field.is_repeated)
    return bool(field.label == FieldDescriptor.LABEL_REPEATED)


def shape(field: Any) -> tuple[Any, ...]:
    kind = FieldDescriptor.TYPE_INT32 if field.type == FieldDescriptor.TYPE_ENUM else field.type
    return field.number, kind, repeated(field)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_field_is_wandbs(name: str) -> None:
    others = theirs(name)
    assert others or name == "Empty"
    for other in others:
        for field in CLASSES[name].DESCRIPTOR.fields:
            assert shape(field) == shape(other.fields_by_name[field.name])


def test_every_type_of_record_is_known_but_requests() -> None:
    known = wandb_internal_pb2.Record.DESCRIPTOR.oneofs_by_name["record_type"].fields
    assert {f.number: f.name for f in known if f.name != "request"} == TYPES


def records(store: Path) -> Iterator[bytes]:
    for path in sorted(store.glob("wandb/*/*.wandb")):
        with path.open("rb") as stream:
            yield from (data for _, data in read_records(stream, []))


@pytest.mark.parametrize("store", STORES, ids=lambda path: path.name)
def test_records_are_parsed_as_wandb_parses_them(store: Path) -> None:
    for data in records(store):
        ours, other = Record.FromString(data), wandb_internal_pb2.Record.FromString(data)
        kind = other.WhichOneof("record_type")
        assert ours.WhichOneof("record_type") == kind == peek(data)
        assert_equal(ours, other)
        again = wandb_internal_pb2.Record.FromString(ours.SerializeToString())
        assert again == other


def assert_equal(ours: Any, other: Any) -> None:
    """Every field that we know has the value that wandb sees."""
    for field in ours.DESCRIPTOR.fields:
        one, two = getattr(ours, field.name), getattr(other, field.name)
        if field.message_type is None:
            assert (list(one) == list(two)) if repeated(field) else one == two
        elif not repeated(field):
            assert ours.HasField(field.name) == other.HasField(field.name)
            assert_equal(one, two)
        elif not hasattr(two, "items"):  # a map, which is repeated entries on the wire
            assert len(one) == len(two)
            for part, whole in zip(one, two):
                assert_equal(part, whole)


def test_peek_tells_types_without_parsing() -> None:
    record = Record(num=2**40, uuid="x")
    record.control.mailbox_slot = "slot"
    assert peek(record.SerializeToString()) is None
    record.exit.exit_code = 1
    assert peek(record.SerializeToString()) == "exit"
    assert peek(b"") is None
    assert peek(b"\xff\xff") is None
