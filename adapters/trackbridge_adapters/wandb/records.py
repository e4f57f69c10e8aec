"""The protobuf messages of `.wandb` records, made without wandb and without generated code.

Names, numbers and types are those of wandb's `wandb_internal.proto`, as of wandb 0.31; field
numbers have not changed since 0.10. Fields that are left out here survive as unknown fields.
The messages live in a pool of their own, so that wandb may be imported in the same process.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

MESSAGES = """
Record: 1 num int64; 2 history HistoryRecord @record_type; 3 summary SummaryRecord @record_type;
  4 output OutputRecord @record_type; 5 config ConfigRecord @record_type;
  6 files FilesRecord @record_type; 7 stats StatsRecord @record_type;
  8 artifact ArtifactRecord @record_type; 9 tbrecord TBRecord @record_type;
  10 alert AlertRecord @record_type; 11 telemetry TelemetryRecord @record_type;
  12 metric MetricRecord @record_type; 13 output_raw OutputRecord @record_type;
  17 run RunRecord @record_type; 18 exit RunExitRecord @record_type;
  20 final Empty @record_type; 21 header HeaderRecord @record_type;
  22 footer Empty @record_type; 23 preempting Empty @record_type;
  24 noop_link_artifact Empty @record_type;
  25 use_artifact UseArtifactRecord @record_type;
  26 environment EnvironmentRecord @record_type;
  27 output_logger OutputLoggerRecord @record_type; 16 control Control; 19 uuid string
Empty:
Control: 4 mailbox_slot string
VersionInfo: 1 producer string; 2 min_consumer string
HeaderRecord: 1 version_info VersionInfo
RunRecord: 1 run_id string; 2 entity string; 3 project string; 4 config ConfigRecord;
  5 summary SummaryRecord; 6 run_group string; 7 job_type string; 8 display_name string;
  9 notes string; 10 tags *string; 11 settings SettingsRecord; 12 sweep_id string;
  13 host string; 14 starting_step int64; 16 storage_id string; 17 start_time Timestamp;
  18 resumed bool; 19 telemetry TelemetryRecord; 20 runtime int32; 21 git GitRepoRecord;
  22 forked bool; 23 branch_point BranchPoint; 24 resume bool
BranchPoint: 1 run string; 2 value double; 3 metric string
GitRepoRecord: 1 remote_url string; 2 commit string
RunExitRecord: 1 exit_code int32; 2 runtime int32; 3 not_complete bool
SettingsRecord: 1 item *SettingsItem
SettingsItem: 1 key string; 16 value_json string
HistoryStep: 1 num int64
HistoryRecord: 1 item *HistoryItem; 2 step HistoryStep
HistoryItem: 1 key string; 2 nested_key *string; 3 none int32 @value; 4 boolean bool @value;
  5 integer sint64 @value; 6 number double @value; 7 text string @value; 8 json string @value;
  16 value_json string
OutputRecord: 1 output_type int32; 2 timestamp Timestamp; 3 line string
OutputLoggerRecord: 1 line string
MetricRecord: 1 name string; 2 glob_name string; 4 step_metric string; 5 step_metric_index int32;
  6 options MetricOptions; 7 summary MetricSummary; 8 goal int32; 9 _control MetricControl;
  10 expanded_from_glob bool
MetricOptions: 1 step_sync bool; 2 hidden bool; 3 defined bool
MetricControl: 1 overwrite bool
MetricSummary: 1 min bool; 2 max bool; 3 mean bool; 4 best bool; 5 last bool; 6 none bool;
  7 copy bool; 8 first bool
ConfigRecord: 1 update *ConfigItem; 2 remove *ConfigItem
ConfigItem: 1 key string; 2 nested_key *string; 16 value_json string
SummaryRecord: 1 update *SummaryItem; 2 remove *SummaryItem
SummaryItem: 1 key string; 2 nested_key *string; 16 value_json string
FilesRecord: 1 files *FilesItem
FilesItem: 1 path string; 2 policy int32; 3 type int32
StatsRecord: 1 stats_type int32; 2 timestamp Timestamp; 3 item *StatsItem
StatsItem: 1 key string; 16 value_json string
ArtifactRecord: 1 run_id string; 2 project string; 3 entity string; 4 type string; 5 name string;
  6 digest string; 7 description string; 8 metadata string; 9 user_created bool;
  10 use_after_commit bool; 11 aliases *string; 12 manifest ArtifactManifest;
  13 distributed_id string; 14 finalize bool; 15 client_id string; 16 sequence_client_id string;
  17 base_id string; 18 ttl_duration_seconds int64; 19 tags *string; 20 digest_algorithm string;
  100 incremental_beta1 bool
ArtifactManifest: 1 version int32; 2 storage_policy string;
  3 storage_policy_config *StoragePolicyConfigItem; 4 contents *ArtifactManifestEntry;
  5 manifest_file_path string
StoragePolicyConfigItem: 1 key string; 2 value_json string
ArtifactManifestEntry: 1 path string; 2 digest string; 3 ref string; 4 size int64;
  5 mimetype string; 6 local_path string; 7 birth_artifact_id string; 8 skip_cache bool;
  16 extra *ExtraItem
ExtraItem: 1 key string; 2 value_json string
TBRecord: 1 log_dir string; 2 save bool; 3 root_dir string; 5 save_path string
AlertRecord: 1 title string; 2 text string; 3 level string; 4 wait_duration int64
UseArtifactRecord: 1 id string; 2 type string; 3 name string
TelemetryRecord: 4 python_version string; 5 cli_version string
EnvironmentRecord: 1 os string; 2 python string; 3 started_at Timestamp; 4 docker string;
  5 args *string; 6 program string; 7 code_path string; 8 code_path_local string;
  9 git GitRepoRecord; 10 email string; 11 root string; 12 host string; 13 username string;
  14 executable string; 15 colab string; 16 cpu_count uint32; 17 cpu_count_logical uint32;
  18 gpu_type string; 19 gpu_count uint32; 20 disk *DiskEntry; 21 memory MemoryInfo;
  22 cpu CpuInfo; 23 apple AppleInfo; 24 gpu_nvidia *GpuNvidiaInfo; 25 cuda_version string;
  26 gpu_amd *GpuAmdInfo; 27 slurm *SlurmEntry; 28 trainium TrainiumInfo; 29 tpu TPUInfo;
  30 coreweave CoreWeaveInfo; 199 writer_id string
DiskEntry: 1 key string; 2 value DiskInfo
DiskInfo: 1 total uint64; 2 used uint64
MemoryInfo: 1 total uint64
CpuInfo: 1 count uint32; 2 count_logical uint32; 3 model string
AppleInfo: 1 name string; 2 ecpu_cores uint32; 3 pcpu_cores uint32; 4 gpu_cores uint32;
  5 memory_gb uint32; 6 swap_total_bytes uint64; 7 ram_total_bytes uint64; 8 mac_model string
GpuNvidiaInfo: 1 name string; 2 memory_total uint64; 3 cuda_cores uint32; 4 architecture string;
  5 uuid string; 6 pci_bus_id string; 7 numa_node uint32
GpuAmdInfo: 1 id string; 2 unique_id string; 3 vbios_version string; 4 performance_level string;
  5 gpu_overdrive string; 6 gpu_memory_overdrive string; 7 max_power string; 8 series string;
  9 model string; 10 vendor string; 11 sku string; 12 sclk_range string; 13 mclk_range string
SlurmEntry: 1 key string; 2 value string
TrainiumInfo: 1 name string; 2 vendor string; 3 neuron_device_count uint32;
  4 neuroncore_per_device_count uint32
TPUInfo: 1 name string; 2 hbm_gib uint32; 3 devices_per_chip uint32; 4 count uint32
CoreWeaveInfo: 1 cluster_name string; 2 org_id string; 3 region string
"""
"""One message a line: fields as number, name, type (`*` repeated), `@` the oneof they are in.

Enums stand as int32 and maps as repeated entries, which is the same on the wire.
"""

SCALARS = {
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "sint64": descriptor_pb2.FieldDescriptorProto.TYPE_SINT64,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "uint32": descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
    "uint64": descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
}
PACKAGE = "trackbridge.wandb"


def _message(line: str) -> descriptor_pb2.DescriptorProto:
    name, _, fields = line.partition(":")
    message = descriptor_pb2.DescriptorProto(name=name)
    oneofs: list[str] = []
    for text in filter(None, map(str.strip, fields.split(";"))):
        number, label, kind, *oneof = text.split()
        field = message.field.add(name=label, number=int(number))
        field.label = field.LABEL_REPEATED if kind.startswith("*") else field.LABEL_OPTIONAL
        kind = kind.lstrip("*")
        if kind in SCALARS:
            field.type = SCALARS[kind]
        else:
            field.type = field.TYPE_MESSAGE
            package = "google.protobuf" if kind == "Timestamp" else PACKAGE
            field.type_name = f".{package}.{kind}"
        if oneof:
            group = oneof[0].removeprefix("@")
            if group not in oneofs:
                oneofs.append(group)
                message.oneof_decl.add(name=group)
            field.oneof_index = oneofs.index(group)
    return message


def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="trackbridge/wandb.proto",
        package=PACKAGE,
        syntax="proto3",
        dependency=[timestamp_pb2.DESCRIPTOR.name],
    )
    lines = MESSAGES.strip().replace("\n  ", " ").splitlines()
    file.message_type.extend(map(_message, lines))
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{PACKAGE}.{message.name}")
        )
        for message in file.message_type
    }


CLASSES = _classes()
Record = CLASSES["Record"]

TYPES: dict[int, str] = {
    field.number: field.name for field in Record.DESCRIPTOR.oneofs_by_name["record_type"].fields
}


def peek(data: bytes) -> str | None:
    """The type of a serialised record without parsing it; None where it is not known.

    Other fields may stand first: Python writes by number, Go writes the oneof last.
    """
    at = 0
    try:
        while at < len(data):
            tag, at = _varint(data, at)
            name = TYPES.get(tag >> 3)
            if name is not None:
                return name
            if tag & 7 == 2:
                size, at = _varint(data, at)
                at += size
            elif tag & 7 == 0:
                _, at = _varint(data, at)
            else:
                at += 8 if tag & 7 == 1 else 4
    except IndexError:
        pass
    return None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] & 0x80:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
    return value | data[at] << shift, at + 1
