"""The adapters that come with Trackbridge: address scheme -> `module:attribute` of its Adapter."""

BUILTIN = {
    "archive": "trackbridge_adapters.archive:ADAPTER",
    "csv": "trackbridge_adapters.tables:CSV",
    "journal": "trackbridge_adapters.journal:ADAPTER",
    "jsonl": "trackbridge_adapters.tables:JSONL",
    "memory": "trackbridge_adapters.memory:ADAPTER",
    "mlflow": "trackbridge_adapters.mlflow:ADAPTER",
    "neptune": "trackbridge_adapters.neptune:ADAPTER",
    "tensorboard": "trackbridge_adapters.tensorboard:ADAPTER",
    "wandb": "trackbridge_adapters.wandb.service:ADAPTER",
    "wandb-files": "trackbridge_adapters.wandb:ADAPTER",
}
